//! Engines of a few slots under three times their capacity: the comparison measured on llm-d's
//! real picker, and what our gate must reach.

use forebay_core::fleet::{Late, World};
use forebay_core::time::{Span, Time};

use super::slots::{CAPACITY, Clients, Outcomes, Trial, run};
use super::testing::world;

const SCRAPE: Span = Span::from_millis(50);

/// High and low per second for 30 s, pages every 50 ms, and nobody in a hurry.
fn trial(
    gate: &'static str,
    tunables: &[(&'static str, &'static str)],
    offered: [f64; 2],
) -> Trial {
    Trial {
        gate,
        tunables: tunables.to_vec(),
        world: world(),
        scrape: Some(SCRAPE),
        streams: false,
        offered: vec![(Time::ZERO, offered)],
        offered_for: Time::ZERO + Span::from_secs(30),
        deadline: [Span::from_secs(60); 2],
        clients: Clients::Leave,
    }
}

fn with_floor(floor: f64) -> World {
    let mut world = world();
    world.tiers[1].floor = floor;
    world
}

#[test]
fn flow_control_with_its_defaults_loses_near_half_the_engines() {
    // Measured on the real picker: 52-55 % of capacity used.
    let outcomes = run(trial("stock-flow", &[], [240.0, 240.0]));
    assert!((0.40..0.70).contains(&outcomes.used), "{}", outcomes.used);
    assert!(outcomes.longest_engine_queue > 30, "{}", outcomes.longest_engine_queue);
    assert!(outcomes.quantile_s(0, 0.5) > 5.0, "the high tier waits in the engines");
}

#[test]
fn flow_control_told_the_right_concurrency_uses_all_engines() {
    // Measured on the real picker: 100 %.
    let told = [("detector", "concurrency"), ("concurrency", "4"), ("filter", "on")];
    let outcomes = run(trial("stock-flow", &told, [80.0, 400.0]));
    assert!(outcomes.used > 0.97, "{}", outcomes.used);
    assert!(outcomes.quantile_s(0, 0.99) < 0.5, "{}", outcomes.quantile_s(0, 0.99));
}

#[test]
fn a_pool_wide_limit_alone_leaves_engines_idle_beside_full_ones() {
    let told = [("detector", "concurrency"), ("concurrency", "4")];
    let outcomes = run(trial("stock-flow", &told, [80.0, 400.0]));
    assert!(outcomes.used < 0.7, "{}", outcomes.used);
}

#[test]
fn without_flow_control_the_engines_are_busy_and_everybody_waits_in_them() {
    // Measured on the real picker: 96 %.
    let outcomes = run(trial("stock", &[], [80.0, 400.0]));
    assert!(outcomes.used > 0.93, "{}", outcomes.used);
    assert!(outcomes.longest_engine_queue > 100);
}

/// The high tier fits alone: it hardly waits, and the low tier gets all that it leaves.
fn expect_kept_apart(outcomes: &Outcomes, what: &str) {
    assert!(outcomes.used >= 0.97, "{what}: {}", outcomes.used);
    let (p50, p99) = (outcomes.quantile_s(0, 0.5), outcomes.quantile_s(0, 0.99));
    assert!(p50 <= 0.1 && p99 <= 0.3, "{what}: the high tier waits {p50} s, {p99} s");
    assert!(outcomes.longest_gap <= Span::from_secs(1), "{what}: {}", outcomes.longest_gap);
    let answered = outcomes.answered[0] + outcomes.answered[1];
    assert!(answered as f64 >= 0.96 * CAPACITY * 30.0, "{what}: {answered}");
}

#[test]
fn credits_find_the_capacity_and_keep_the_tiers_apart() {
    for milliseconds in [50, 1_000] {
        let scrape = Some(Span::from_millis(milliseconds));
        let outcomes = run(Trial { scrape, ..trial("forebay", &[], [80.0, 400.0]) });
        expect_kept_apart(&outcomes, &format!("pages every {milliseconds} ms"));
    }
}

#[test]
fn engines_without_pages_are_held_by_their_first_tokens() {
    let streams = Trial { scrape: None, streams: true, ..trial("forebay", &[], [80.0, 400.0]) };
    let outcomes = run(streams);
    assert!(outcomes.used >= 0.97, "{}", outcomes.used);
    let p99 = outcomes.quantile_s(0, 0.99);
    assert!(p99 <= 0.4, "the high tier waits {p99} s");
}

#[test]
fn a_low_tier_keeps_its_floor_where_the_high_one_would_take_all() {
    let world = with_floor(0.1);
    let outcomes = run(Trial { world, ..trial("forebay", &[], [240.0, 240.0]) });
    assert!(outcomes.used >= 0.97, "{}", outcomes.used);
    let answered = outcomes.answered[0] + outcomes.answered[1];
    let low = outcomes.answered[1] as f64 / answered as f64;
    assert!((0.095..0.12).contains(&low), "{low}");
    assert!(outcomes.longest_gap <= Span::from_secs(1), "{}", outcomes.longest_gap);
}

#[test]
fn below_capacity_nobody_waits_for_a_credit() {
    let outcomes = run(trial("forebay", &[], [50.0, 50.0]));
    assert!((0.55..0.70).contains(&outcomes.used), "{}", outcomes.used);
    assert!(outcomes.refused.is_empty(), "{:?}", outcomes.refused);
    assert!(outcomes.quantile_s(1, 0.99) < 0.2, "{}", outcomes.quantile_s(1, 0.99));
}

#[test]
fn ten_minutes_at_three_times_capacity_cost_no_goodput_and_the_top_tier_nothing() {
    let hurry = |seconds| Span::from_secs(seconds);
    let outcomes = run(Trial {
        world: with_floor(0.1),
        deadline: [hurry(2), hurry(5)],
        offered_for: Time::ZERO + Span::from_secs(600),
        ..trial("forebay", &[], [80.0, 400.0])
    });
    let high = outcomes.attained[0] as f64 / outcomes.arrived[0] as f64;
    assert!(high >= 0.99, "{high}");
    let goodput = (outcomes.attained[0] + outcomes.attained[1]) as f64 / (600.0 * CAPACITY);
    assert!(goodput >= 0.95, "{goodput}");
}

#[test]
fn at_ten_times_capacity_what_is_held_stays_bounded() {
    let mut world = with_floor(0.1);
    world.tiers[1].late = Late::ServeLast;
    let outcomes = run(Trial {
        world,
        deadline: [Span::from_secs(2), Span::from_secs(600)],
        ..trial("forebay", &[], [80.0, 1_520.0])
    });
    assert!(outcomes.most_held <= 20_000, "{}", outcomes.most_held);
    assert!(outcomes.used >= 0.97, "{}", outcomes.used);
}
