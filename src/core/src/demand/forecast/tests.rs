use super::*;

const STEP: Span = Span::from_secs(15);

fn at(step: u64) -> Time {
    Time(step * STEP.0)
}

fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as f64 / (1_u64 << 31) as f64
}

/// A noisy day: a wave around 10 with noise of `noise` of it.
fn noisy(steps: u64, noise: f64) -> Vec<f64> {
    let mut state = 11;
    let value = |step: u64| {
        let wave = 10.0 + 4.0 * (step as f64 / 5_760.0 * std::f64::consts::TAU).sin();
        wave * (1.0 + noise * (uniform(&mut state) + uniform(&mut state) - 1.0))
    };
    (0..steps).map(value).collect()
}

fn run(values: &[f64]) -> Forecaster {
    let mut forecaster = Forecaster::new(STEP);
    for (step, &value) in values.iter().enumerate() {
        forecaster.observe(at(step as u64), value);
    }
    forecaster
}

#[test]
fn intervals_cover_as_often_as_they_say_at_every_lead() {
    let values = noisy(11_520, 0.3);
    let leads = [60_u64, 150, 240, 600, 960].map(Span::from_secs);
    let (mut covered, mut asked) = ([0_u32; 5], 0_u32);
    let mut forecaster = Forecaster::new(STEP);
    for (step, &value) in values.iter().enumerate() {
        forecaster.observe(at(step as u64), value);
        if step < 2_000 || step % 3 > 0 || step + 66 >= values.len() {
            continue;
        }
        asked += 1;
        for (lead, covered) in leads.iter().zip(&mut covered) {
            let steps = (lead.0 / STEP.0) as usize + 1;
            let highest = values[step..=step + steps].iter().copied().fold(0.0, f64::max);
            let ahead = forecaster.ahead(at(step as u64), *lead, 0.9).unwrap();
            assert!(ahead.low <= ahead.point && ahead.point <= ahead.high, "{ahead:?}");
            *covered += u32::from(highest <= ahead.high);
        }
    }
    for (lead, covered) in leads.iter().zip(covered) {
        let share = f64::from(covered) / f64::from(asked);
        assert!((0.86..0.95).contains(&share), "{lead}: {share}");
    }
}

#[test]
fn the_level_is_in_force_on_noise_and_dropped_where_the_last_value_does_better() {
    let noise = run(&noisy(4_000, 0.3)).ahead(at(3_999), Span::from_secs(240), 0.9).unwrap();
    assert!(noise.corrected, "{noise:?}");
    // A staircase without noise: what is last is what comes, and a level lags behind each fall.
    let stairs: Vec<f64> =
        (0..4_000_u64).map(|step| 40.0 - (step % 2_000 / 10) as f64 * 0.15).collect();
    let stairs = run(&stairs).ahead(at(3_999), Span::from_secs(240), 0.9).unwrap();
    assert!(!stairs.corrected, "{stairs:?}");
}

#[test]
fn a_quantile_beyond_what_scores_can_tell_is_capped_and_said() {
    let new = run(&noisy(10, 0.3)).ahead(at(9), Span::from_secs(960), 0.99).unwrap();
    assert!(new.scores_used == 0 && new.quantile <= 0.95, "{new:?}");
    assert!((new.high - 1.4 * new.point).abs() < 1e-9, "{new:?}");
    // The shortest horizon is scored first and stands in for the others.
    let young = run(&noisy(40, 0.3));
    let high = |lead: u64| young.ahead(at(39), Span::from_secs(lead), 0.9).unwrap().high;
    assert!(young.ahead(at(39), Span::from_secs(960), 0.99).unwrap().quantile < 0.98);
    assert!(high(960) > high(60), "{} {}", high(960), high(60));
    let old = run(&noisy(4_000, 0.3));
    let ahead = old.ahead(at(3_999), Span::from_secs(240), 0.9999).unwrap();
    assert!((ahead.quantile - 480.0 / 481.0).abs() < 1e-9, "{ahead:?}");
    assert_eq!(Forecaster::new(STEP).ahead(at(0), STEP, 0.9), None);
}

#[test]
fn the_older_the_last_value_the_wider_and_longer_leads_are_not_narrower() {
    let forecaster = run(&noisy(6_000, 0.3));
    let high = |late: u64, lead: u64| {
        let now = at(5_999) + Span::from_secs(late);
        forecaster.ahead(now, Span::from_secs(lead), 0.9).unwrap().high
    };
    assert!(high(900, 240) > high(0, 240), "{} {}", high(900, 240), high(0, 240));
    assert!(high(0, 3_600) > high(0, 960) && high(0, 960) > high(0, 60));
    let late = forecaster.ahead(at(6_059), STEP, 0.9).unwrap();
    assert_eq!(late.age, Span::from_secs(900));
}

#[test]
fn unknown_steps_are_not_zeros_and_skewed_ones_are_ignored() {
    let values = noisy(4_000, 0.3);
    let mut holes = Forecaster::new(STEP);
    for (step, &value) in values.iter().enumerate() {
        // Every fifth step is unknown, and a tenth of an hour is missing altogether.
        if !(2_000..2_024).contains(&step) {
            holes.observe(at(step as u64), if step % 5 == 4 { f64::NAN } else { value });
        }
    }
    holes.observe(at(10), 1e9);
    holes.observe(at(4_000), -1.0);
    let whole = run(&values[..3_999]);
    let ask =
        |forecaster: &Forecaster| forecaster.ahead(at(3_998), Span::from_secs(240), 0.9).unwrap();
    let (holes, whole) = (ask(&holes), ask(&whole));
    assert!((holes.high / whole.high - 1.0).abs() < 0.15, "{holes:?} {whole:?}");
    assert!(holes.scores_used > 100, "{holes:?}");
}

#[test]
fn state_is_small_and_survives_a_restart() {
    let forecaster = run(&noisy(6_000, 0.3));
    let text = serde_json::to_string(&forecaster).unwrap();
    assert!(text.len() < 48 << 10, "{}", text.len());
    let back: Forecaster = serde_json::from_str(&text).unwrap();
    assert_eq!(back, forecaster);
}
