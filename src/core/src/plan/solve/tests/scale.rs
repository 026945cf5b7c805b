//! Forty models on tight pools: proven, warm as cold, within a small budget.

use super::generator::Dice;
use super::*;

fn crowd(models: u32, seed: u64) -> Instance {
    let mut dice = Dice(seed);
    let classes = [("a100", 2.45, 1.0), ("h100", 2.95, 2.1), ("l40s", 1.55, 0.75)];
    let mut alone = [0.0; 3];
    let mut fleets = Vec::new();
    for model in 0..models {
        let load = 0.6 + 8.0 * dice.unit() * dice.unit();
        let offers = classes.iter().zip(&mut alone).map(|((name, price, speed), alone)| {
            let each = speed * (0.7 + 0.6 * dice.unit()) / load;
            *alone += (1.0 / each).ceil();
            variant(name, *price, 60, &[("decode", each)], &[(name, 1)])
        });
        let offers = offers.collect();
        fleets.push(FleetAsk::new(format!("m{model}"), vec![Row::new("decode")], offers));
    }
    let share = |class: usize, share: f64| (alone[class] * share).round() as u32;
    instance(&[("a100", share(0, 0.4)), ("h100", share(1, 0.3)), ("l40s", share(2, 0.4))], fleets)
}

#[test]
fn forty_models_on_tight_pools_are_proven_cold_and_warm() {
    for seed in 0..8 {
        let asked = crowd(40, seed);
        let cold = solve(&asked, None, Budget::nodes(300_000)).unwrap();
        assert!(cold.optimal && cold.levels[0].shortfall == 0.0, "seed {seed}: {:?}", cold.work);
        assert!(cold.pools.iter().any(|pool| pool.price_per_hour > 0.0), "the pools are tight");
        let mut later = asked.clone();
        for (index, fleet) in later.fleets.iter_mut().enumerate() {
            fleet.rows[0].need *= if index % 2 == 0 { 1.05 } else { 0.96 };
        }
        let warm = solve(&later, Some(&cold.plan()), Budget::nodes(300_000)).unwrap();
        let again = solve(&later, None, Budget::nodes(300_000)).unwrap();
        assert!(warm.optimal && again.optimal, "seed {seed}: {:?} {:?}", warm.work, again.work);
        assert!((warm.objective - again.objective).abs() < 1e-9, "seed {seed}");
    }
}

#[test]
fn the_same_question_gets_the_same_answer_to_the_byte() {
    let asked = crowd(20, 7);
    let once = serde_json::to_string(&solved(&asked)).unwrap();
    assert_eq!(once, serde_json::to_string(&solved(&asked)).unwrap());
}
