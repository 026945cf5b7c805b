//! Against a mixed-integer solver, where brute force is out of reach: more fleets, more replicas,
//! start-up billed, shared pools.

use microlp::{ComparisonOp, OptimizationDirection, Problem, Variable};

use super::generator::Dice;
use super::*;

/// Instances that are compared; the other solver takes most of the time.
const SEEDS: u64 = 60;

/// One or two fleets of prefill and decode on three classes; everything fits.
fn middling(seed: u64) -> Instance {
    let mut dice = Dice(seed);
    let classes = [("a100", 2.45), ("h100", 2.95), ("l40s", 1.55)];
    let mut fleets = Vec::new();
    let mut alone = [0.0; 3];
    for number in 0..dice.between(1, 2) {
        let mut variants = Vec::new();
        for (class, (name, price)) in classes.iter().enumerate() {
            for role in ["prefill", "decode"] {
                let each = f64::from(dice.between(15, 60)) / 100.0;
                alone[class] += (1.0 / each).ceil();
                let named = format!("{role}-{name}");
                let mut offer = variant(&named, *price, 12, &[(role, each)], &[(name, 1)]);
                if dice.chance(0.5) {
                    offer.held = dice.between(0, 4);
                    offer.start_cost = f64::from(dice.between(0, 8)) * 0.25;
                }
                variants.push(offer);
            }
        }
        let rows = vec![Row::new("prefill"), Row::new("decode")];
        fleets.push(FleetAsk::new(format!("fleet{number}"), rows, variants));
    }
    let quota = |class: usize, share: f64| (alone[class] * share).ceil() as u32 + 1;
    let pools = [("a100", quota(0, 0.45)), ("h100", quota(1, 0.3)), ("l40s", quota(2, 0.4))];
    instance(&pools, fleets)
}

fn by_linear_program(asked: &Instance) -> Option<f64> {
    let mut problem = Problem::new(OptimizationDirection::Minimize);
    let mut pools: Vec<(&String, Vec<(Variable, f64)>)> =
        asked.pools.keys().map(|name| (name, Vec::new())).collect();
    for fleet in &asked.fleets {
        let mut rows: Vec<Vec<(Variable, f64)>> = vec![Vec::new(); fleet.rows.len()];
        for offer in &fleet.variants {
            let most = i32::try_from(offer.max).unwrap();
            let price = offer.price_per_hour.unwrap().0;
            let count = problem.add_integer_var(price, (0, most));
            let started = problem.add_var(offer.start_cost, (0.0, f64::INFINITY));
            let more = [(count, 1.0), (started, -1.0)];
            problem.add_constraint(more, ComparisonOp::Le, f64::from(offer.held));
            for (row, covering) in fleet.rows.iter().zip(&mut rows) {
                if let Some(each) = offer.covers.get(&row.name) {
                    covering.push((count, *each));
                }
            }
            for (pool, taking) in &mut pools {
                if let Some(each) = offer.uses.get(*pool) {
                    taking.push((count, f64::from(*each)));
                }
            }
        }
        for covering in rows {
            problem.add_constraint(covering, ComparisonOp::Ge, 1.0);
        }
    }
    for (pool, taking) in pools {
        let quota = asked.pools[pool].unwrap();
        problem.add_constraint(taking, ComparisonOp::Le, f64::from(quota));
    }
    problem.solve().ok().map(|solution| solution.objective())
}

#[test]
fn a_mixed_integer_solver_finds_nothing_cheaper_and_nothing_else() {
    let mut compared = 0;
    for seed in 0..SEEDS {
        let asked = middling(seed);
        let found = solve(&asked, None, Budget::nodes(2_000_000)).unwrap();
        let missing: f64 = found.levels.iter().map(|level| level.shortfall).sum();
        let Some(best) = by_linear_program(&asked) else {
            assert!(missing > 0.0, "seed {seed}: it does not fit, and we say it does");
            continue;
        };
        assert!(found.optimal && missing == 0.0, "seed {seed}: {found:#?}");
        assert!((found.objective - best).abs() < 1e-5, "seed {seed}: {} {best}", found.objective);
        compared += 1;
    }
    assert!(compared >= SEEDS / 2, "{compared} of them fit");
}
