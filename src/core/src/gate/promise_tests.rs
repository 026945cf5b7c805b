//! What is promised to tiers in overload, whatever comes.

use proptest::prelude::*;

use super::Gate;
use super::bench::{Bench, Fate, Physics, world};
use crate::fleet::Late;
use crate::ids::TierId;
use crate::time::Span;

/// Nobody is in a hurry: what is measured is order.
const PATIENT: Span = Span::from_secs(3_600);

fn prompt(draw: f64) -> u32 {
    50 + (draw * 950.0) as u32
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// A tier's floor is kept however much comes from above: of all that is sent while it waits,
    /// it has its share, but for one request.
    #[test]
    fn a_floor_is_kept_under_saturation_from_above(
        seed in 0_u64..1_000_000,
        slots in 2_usize..12,
        floor in 0.05_f64..0.45,
        above in 2.0_f64..8.0,
    ) {
        let physics = Physics::toy(slots);
        let mut bench = Bench::new(&world(&[0.0, floor], Late::Refuse), 2, physics, seed);
        let capacity = 2.0 * slots as f64 / physics.service(525).as_seconds();
        let rates = [above * capacity, 2.0 * floor * capacity];
        // Both wait from here on.
        bench.offer(&rates, Span::from_secs(3), PATIENT, prompt);
        let before = bench.sent_tokens.clone();
        let mut least_waiting = u64::MAX;
        for _ in 0..20 {
            bench.offer(&rates, Span::from_secs(1), PATIENT, prompt);
            least_waiting = least_waiting.min(bench.gate.queued(TierId(1)).requests);
        }
        prop_assume!(least_waiting > 0);
        let sent = |tier: usize| (bench.sent_tokens[tier] - before[tier]) as f64;
        let (high, low) = (sent(0), sent(1));
        // Lengths of answers are learned on the way: what is owed is reckoned in foretold tokens.
        let owed = floor * (high + low) * 0.9 - 1_050.0;
        prop_assert!(low >= owed, "{low} of {} with a floor of {floor}", high + low);
    }

    /// So is it where nobody waits for long: those who would be served within their floor are not
    /// refused for what waits above them.
    #[test]
    fn a_floor_is_kept_for_those_in_a_hurry(
        seed in 0_u64..1_000_000,
        slots in 4_usize..12,
        floor in 0.1_f64..0.3,
    ) {
        let physics = Physics::toy(slots);
        let mut bench = Bench::new(&world(&[0.0, floor], Late::Refuse), 4, physics, seed);
        let capacity = 4.0 * slots as f64 / physics.service(525).as_seconds();
        let rates = [1.5 * capacity, 1.5 * capacity];
        let soon = Span::from_secs(2);
        bench.offer(&rates, Span::from_secs(10), soon, prompt);
        let before = bench.sent_tokens.clone();
        bench.offer(&rates, Span::from_secs(60), soon, prompt);
        let sent = |tier: usize| (bench.sent_tokens[tier] - before[tier]) as f64;
        let share = sent(1) / (sent(0) + sent(1));
        prop_assert!(share >= 0.93 * floor, "{share} with a floor of {floor}");
        prop_assert!(share <= 1.1 * floor + 0.02, "{share} with a floor of {floor}");
    }

    /// No request waits for a credit that a lower tier is given, but for what a floor
    /// guarantees.
    #[test]
    fn no_tier_waits_for_the_credit_of_a_lower_one(
        seed in 0_u64..1_000_000,
        slots in 1_usize..8,
        rates in proptest::array::uniform3(0.0_f64..40.0),
        last in any::<bool>(),
    ) {
        prop_assume!(rates.iter().sum::<f64>() > 5.0);
        let late = if last { Late::ServeLast } else { Late::Refuse };
        let world = world(&[0.0, 0.0, 0.0], late);
        let mut bench = Bench::new(&world, 2, Physics::toy(slots), seed);
        bench.offer(&rates, Span::from_secs(15), Span::from_secs(4), prompt);
        prop_assert_eq!(bench.inversions, 0);
        bench.run_until(bench.now + Span::from_secs(120));
        prop_assert_eq!(bench.open(), 0, "everybody has an outcome");
    }

    /// Ten times as much as engines hold fills no memory: a step leaves no more than what waits
    /// and runs, and when all of that has ended, nothing.
    #[test]
    fn ten_times_the_load_leaves_nothing_behind(seed in 0_u64..1_000_000, slots in 1_usize..5) {
        let physics = Physics::toy(slots);
        let mut bench = Bench::new(&world(&[0.0, 0.1], Late::ServeLast), 2, physics, seed);
        let capacity = 2.0 * slots as f64 / physics.service(525).as_seconds();
        for _ in 0..15 {
            let rates = [2.0 * capacity, 8.0 * capacity];
            bench.offer(&rates, Span::from_secs(1), Span::from_secs(2), prompt);
            let (queued, sent) = (bench.gate.queue.len(), bench.gate.in_flight.len());
            prop_assert_eq!(queued + sent, bench.open());
            let engines = &bench.gate.engines;
            prop_assert_eq!(engines.places(), engines.count_places(), "kept up by differences");
            prop_assert!(sent <= 8 * slots + 64, "{sent} on {} slots", 2 * slots);
        }
        bench.run_until(bench.now + Span::from_secs(400));
        let left = (bench.gate.queue.len(), bench.gate.in_flight.len(), bench.open());
        prop_assert_eq!(left, (0, 0, 0));
    }
}

#[test]
fn a_flood_is_bounded_by_the_queue_and_the_lowest_tier_gives_way() {
    let mut bench = Bench::new(&world(&[0.0, 0.0], Late::ServeLast), 1, Physics::toy(1), 7);
    let soon = Span::from_secs(2);
    for _ in 0..20_100 {
        bench.arrive(TierId(1), 10, soon);
    }
    assert_eq!(bench.gate.queue.len(), 20_000, "late ones are served last");
    for _ in 0..500 {
        bench.arrive(TierId(0), 10, soon);
    }
    assert_eq!(bench.gate.queue.len(), 20_000);
    assert_eq!(bench.gate.queued(TierId(0)).requests, 500, "the lower tier gave way");
}

/// Eight engines of four slots and 200 ms, which nobody told the gate; three times what fits.
#[test]
fn the_upper_tier_of_an_overload_notices_little_of_it() {
    let physics = Physics {
        slots: 4,
        first: Span::from_millis(200),
        per_token: Span::ZERO,
        gap: Span::ZERO,
        output_tokens: 16,
        streams: false,
    };
    let mut bench = Bench::new(&world(&[0.0, 0.1], Late::Refuse), 8, physics, 1);
    let (offered, soon) = ([80.0, 400.0], Span::from_secs(2));
    bench.offer(&offered, Span::from_secs(2), soon, |_| 64);
    let (seen, before) = (bench.outcomes.len(), bench.sent_tokens.clone());
    let from = bench.now;
    bench.offer(&offered, Span::from_secs(28), soon, |_| 64);
    let late = bench.outcomes[seen..].iter().filter(|outcome| outcome.arrived >= from);
    let upper =
        late.filter(|outcome| outcome.tier == TierId(0)).map(|outcome| match outcome.fate {
            Fate::Answered(ttft) => Span(ttft.0.saturating_sub(physics.first.0)),
            Fate::Refused(reason) => panic!("refused: {reason:?}"),
        });
    let mut waits: Vec<Span> = upper.collect();
    waits.sort_unstable();
    let at = |share: f64| waits[(waits.len() as f64 * share) as usize];
    assert!(at(0.5) <= Span::from_millis(100), "P50 {} beyond its service", at(0.5));
    assert!(at(0.99) <= Span::from_millis(300), "P99 {} beyond its service", at(0.99));
    let sent: u64 = bench.sent_tokens.iter().zip(&before).map(|(now, then)| now - then).sum();
    let used = sent as f64 / (28.0 * 160.0 * 80.0);
    assert!((0.97..1.03).contains(&used), "{used} of the capacity");
}
