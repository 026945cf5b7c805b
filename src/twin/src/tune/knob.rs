//! One tunable as a place between 0 and 1.

use crate::policy::{Scale, Tunable};

/// Places of a tunable's range, spread as its scale says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Knob {
    tunable: Tunable,
}

impl Knob {
    pub(super) const fn new(tunable: Tunable) -> Self {
        Self { tunable }
    }

    pub(super) const fn key(&self) -> &'static str {
        self.tunable.key
    }

    /// The place of the default value.
    pub(super) fn default_place(&self) -> f64 {
        let Tunable { min, max, default, .. } = self.tunable;
        let (low, high, value) = (self.bend(min), self.bend(max), self.bend(default));
        if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 0.0 }
    }

    /// The value at a place, as a SPEC writes it.
    pub(super) fn text(&self, place: f64) -> String {
        let value = self.value(place);
        match self.tunable.scale {
            Scale::Integer => format!("{value:.0}"),
            Scale::Seconds => format!("{value:.0}s"),
            Scale::Log | Scale::Linear => significant(value),
        }
    }

    fn value(&self, place: f64) -> f64 {
        let Tunable { min, max, scale, .. } = self.tunable;
        let (low, high) = (self.bend(min), self.bend(max));
        let bent = low + (high - low) * place.clamp(0.0, 1.0);
        let value = match scale {
            Scale::Linear => bent,
            Scale::Log => bent.exp(),
            Scale::Integer | Scale::Seconds => bent.exp_m1().round(),
        };
        value.clamp(min, max)
    }

    /// The value on the axis on which places are even.
    fn bend(&self, value: f64) -> f64 {
        match self.tunable.scale {
            Scale::Linear => value,
            Scale::Log => value.max(f64::MIN_POSITIVE).ln(),
            Scale::Integer | Scale::Seconds => value.max(0.0).ln_1p(),
        }
    }
}

/// Four significant digits without trailing zeros: finer steps than a policy can tell apart.
fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let decimals = (3 - value.abs().log10().floor() as i32).clamp(0, 12) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knob(min: f64, max: f64, scale: Scale, default: f64) -> Knob {
        Knob::new(Tunable { key: "k", min, max, scale, default })
    }

    #[test]
    fn ends_and_defaults_are_met() {
        for (min, max, scale, default, texts) in [
            (0.05, 20.0, Scale::Log, 1.0, ["0.05", "1", "20"]),
            (0.0, 300.0, Scale::Seconds, 0.0, ["0s", "0s", "300s"]),
            (0.0, 0.2, Scale::Linear, 0.1, ["0", "0.1", "0.2"]),
            (1.0, 256.0, Scale::Integer, 7.0, ["1", "7", "256"]),
        ] {
            let knob = knob(min, max, scale, default);
            let places = [0.0, knob.default_place(), 1.0];
            assert_eq!(places.map(|place| knob.text(place)), texts);
        }
    }

    #[test]
    fn digits_are_few() {
        assert_eq!(significant(0.123_456), "0.1235");
        assert_eq!(significant(12_345.6), "12346");
        assert_eq!(significant(1.0), "1");
    }
}
