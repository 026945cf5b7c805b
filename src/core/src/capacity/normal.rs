//! The normal distribution.

/// The value that a standard normal variable exceeds with probability `1 - share`; `share` is
/// clamped to 1e-12 from either end. Relative error below 1.2e-9 (Acklam's rational
/// approximation, 2003).
#[must_use]
pub(super) fn quantile(share: f64) -> f64 {
    const CENTRE: ([f64; 6], [f64; 5]) = (
        [
            -39.696_830_286_653_76,
            220.946_098_424_520_5,
            -275.928_510_446_968_7,
            138.357_751_867_269,
            -30.664_798_066_147_16,
            2.506_628_277_459_239,
        ],
        [
            -54.476_098_798_224_06,
            161.585_836_858_040_9,
            -155.698_979_859_886_6,
            66.801_311_887_719_72,
            -13.280_681_552_885_72,
        ],
    );
    const TAIL: ([f64; 6], [f64; 4]) = (
        [
            -0.007_784_894_002_430_293,
            -0.322_396_458_041_136_5,
            -2.400_758_277_161_838,
            -2.549_732_539_343_734,
            4.374_664_141_464_968,
            2.938_163_982_698_783,
        ],
        [
            0.007_784_695_709_041_462,
            0.322_467_129_070_039_8,
            2.445_134_137_142_996,
            3.754_408_661_907_416,
        ],
    );
    /// Below this share, and above one minus it, the tail's formula holds.
    const TAIL_SHARE: f64 = 0.024_25;
    let share = if share.is_nan() { 0.5 } else { share.clamp(1e-12, 1.0 - 1e-12) };
    let tail = |share: f64| {
        let root = (-2.0 * share.ln()).sqrt();
        polynomial(&TAIL.0, root) / (polynomial(&TAIL.1, root) * root + 1.0)
    };
    if share < TAIL_SHARE {
        tail(share)
    } else if share > 1.0 - TAIL_SHARE {
        -tail(1.0 - share)
    } else {
        let offset = share - 0.5;
        let square = offset * offset;
        polynomial(&CENTRE.0, square) * offset / (polynomial(&CENTRE.1, square) * square + 1.0)
    }
}

/// A polynomial by Horner's rule, the highest coefficient first.
fn polynomial(coefficients: &[f64], at: f64) -> f64 {
    coefficients.iter().fold(0.0, |sum, coefficient| sum * at + coefficient)
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (share, value) in [
            (0.5, 0.0),
            (0.8, 0.841_621_233_572_914),
            (0.95, 1.644_853_626_951_472),
            (0.99, 2.326_347_874_040_841),
            (0.001, -3.090_232_306_167_814),
        ] {
            assert!((quantile(share) - value).abs() < 1e-8, "{share}: {}", quantile(share));
        }
    }
}
