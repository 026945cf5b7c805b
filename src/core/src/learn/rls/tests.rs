use linfa::Dataset;
use linfa::traits::Fit;
use linfa_linear::LinearRegression;
use ndarray::{Array1, Array2};
use proptest::prelude::*;

use super::*;

fn settings<const D: usize>() -> Settings<D> {
    Settings {
        prior: [0.0; D],
        prior_deviation: [1.0; D],
        forgetting: 1.0,
        innovation_deviations_max: f64::INFINITY,
        excitation_min: 0.0,
    }
}

fn learn<const D: usize>(
    rls: &mut Rls<D>,
    settings: &Settings<D>,
    x: [f64; D],
    y: f64,
    noise: f64,
) {
    let innovation = y - dot(&x, rls.parameters());
    rls.update(settings, &x, innovation, noise);
}

/// Pseudo-random numbers in -1..1, so that the tests need no generator.
fn noise(index: u64) -> f64 {
    let mixed = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed ^ (mixed >> 29)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

fn determinant(matrix: &Array2<f64>) -> f64 {
    let minor =
        |a: usize, b: usize| matrix[[1, a]] * matrix[[2, b]] - matrix[[1, b]] * matrix[[2, a]];
    matrix[[0, 0]] * minor(1, 2) - matrix[[0, 1]] * minor(0, 2) + matrix[[0, 2]] * minor(0, 1)
}

proptest! {
    /// Forgetting 1 and no prior: the ordinary least squares of everything seen.
    #[test]
    fn without_prior_and_forgetting_it_is_linfas_ordinary_least_squares(
        truth in prop::array::uniform3(-5.0..5.0_f64),
        rows in prop::collection::vec((prop::array::uniform2(-3.0..3.0_f64), -1.0..1.0_f64), 12..60),
    ) {
        let diffuse = Settings { prior_deviation: [1e3; 3], ..settings() };
        let mut rls = Rls::new(&diffuse);
        let mut inputs = Array2::zeros((rows.len(), 3));
        let mut targets = Array1::zeros(rows.len());
        for (row, (x, error)) in rows.iter().enumerate() {
            // What hardly moves is not learned from; OLS knows no such bound.
            let moved = x.map(|value: f64| value + 0.5 * value.signum());
            let x = [1.0, moved[0], moved[1]];
            let y = dot(&x, &truth) + error;
            learn(&mut rls, &diffuse, x, y, 1.0);
            for (column, value) in x.iter().enumerate() {
                inputs[[row, column]] = *value;
            }
            targets[row] = y;
        }
        // Where the data hardly tell the parameters apart, even a diffuse prior has a say.
        prop_assume!(determinant(&inputs.t().dot(&inputs)) > 1_000.0);
        let fit = LinearRegression::new()
            .with_intercept(false)
            .fit(&Dataset::new(inputs, targets))
            .unwrap();
        for (ours, theirs) in rls.parameters().iter().zip(fit.params()) {
            prop_assert!((ours - theirs).abs() < 1e-4 * theirs.abs().max(1.0), "{ours} {theirs}");
        }
    }

    /// Whatever comes, the covariance stays a covariance and under its cap.
    #[test]
    fn no_parameter_is_ever_less_certain_than_at_first(
        rows in prop::collection::vec((prop::array::uniform3(-1e3..1e3_f64), -1e6..1e6_f64), 1..200),
        forgetting in 0.5..1.0_f64,
    ) {
        let guarded = Settings { forgetting, excitation_min: 0.1, ..settings() };
        let mut rls = Rls::new(&guarded);
        for (x, y) in rows {
            learn(&mut rls, &guarded, x, y, 0.3);
            for deviation in rls.deviations() {
                prop_assert!(deviation.is_finite() && deviation <= 1.0 + 1e-9, "{deviation}");
            }
            let p = rls.covariance;
            let minor = p[0][0] * p[1][1] - p[0][1] * p[1][0];
            prop_assert!(minor >= -1e-9 * p[0][0] * p[1][1], "{p:?}");
        }
    }
}

#[test]
fn one_wild_observation_moves_it_by_no_more_than_the_clip() {
    let moved_by = |most| {
        let guarded = Settings { innovation_deviations_max: most, ..settings() };
        let mut rls = Rls::<1>::new(&guarded);
        for index in 0..50 {
            learn(&mut rls, &guarded, [1.0], 0.1 * noise(index), 0.1);
        }
        let before = rls.parameters()[0];
        learn(&mut rls, &guarded, [1.0], 100.0, 0.1);
        rls.parameters()[0] - before
    };
    assert!(moved_by(3.0) < 0.01, "{}", moved_by(3.0));
    assert!(moved_by(f64::INFINITY) > 1.0, "without the guard it is thrown off");
}

#[test]
fn a_direction_without_excitation_keeps_what_was_learned() {
    // The second parameter is learned, then its regressor hardly shows for a long time while an
    // error that is not its fault comes in.
    let run = |excitation_min: f64| {
        let guarded = Settings { forgetting: 0.98, excitation_min, ..settings() };
        let mut rls = Rls::<2>::new(&guarded);
        for index in 0..200 {
            let x = [1.0, noise(index)];
            learn(&mut rls, &guarded, x, 0.2 * x[0] + 0.5 * x[1], 0.05);
        }
        for index in 0..5_000 {
            learn(&mut rls, &guarded, [0.0, 0.01], 0.02 + 0.05 * noise(index), 0.05);
        }
        rls.parameters()[1]
    };
    assert!((run(0.5) - 0.5).abs() < 0.01, "{}", run(0.5));
    assert!((run(0.0) - 0.5).abs() > 0.2, "without the guard it drifts: {}", run(0.0));
}

#[test]
fn what_changed_is_followed_and_what_was_not_seen_since_is_kept() {
    let guarded = Settings { forgetting: 0.95, ..settings() };
    let mut rls = Rls::<2>::new(&guarded);
    for _ in 0..100 {
        learn(&mut rls, &guarded, [1.0, 0.0], 0.3, 0.05);
        learn(&mut rls, &guarded, [0.0, 1.0], -0.4, 0.05);
    }
    for _ in 0..200 {
        learn(&mut rls, &guarded, [1.0, 0.0], 0.6, 0.05);
    }
    let [first, second] = *rls.parameters();
    assert!((first - 0.6).abs() < 0.01 && (second + 0.4).abs() < 0.01, "{first} {second}");
    let uncertain = Rls::<2>::new(&guarded).deviations()[1];
    assert!(rls.deviations()[1] < uncertain / 5.0, "its certainty was not forgotten either");
}

#[test]
fn it_survives_being_stored_and_refuses_what_is_not_one() {
    let guarded = settings();
    let mut rls = Rls::<3>::new(&guarded);
    learn(&mut rls, &guarded, [1.0, 2.0, 3.0], 4.0, 0.5);
    let text = serde_json::to_string(&rls).unwrap();
    assert_eq!(serde_json::from_str::<Rls<3>>(&text).unwrap(), rls);
    assert!(serde_json::from_str::<Rls<2>>(&text).is_err());
    let broken = text.replacen("covariance\":[", "covariance\":[-", 1);
    assert!(serde_json::from_str::<Rls<3>>(&broken).is_err(), "{broken}");
}
