//! Whether clients that come back when they were told find room.

use forebay_core::time::{Span, Time};

use super::slots::{CAPACITY, Clients, Outcomes, Trial, run};
use super::testing::world;

/// Twice the capacity for a minute, then half of it; each refused client returns once.
fn rush(clients: Clients) -> Outcomes {
    run(Trial {
        gate: "forebay",
        tunables: Vec::new(),
        world: world(),
        scrape: Some(Span::from_millis(50)),
        streams: false,
        offered: vec![
            (Time::ZERO, [2.0 * CAPACITY, 0.0]),
            (Time::ZERO + Span::from_secs(60), [CAPACITY / 2.0, 0.0]),
        ],
        offered_for: Time::ZERO + Span::from_secs(240),
        deadline: [Span::from_secs(5); 2],
        clients,
    })
}

fn expect_room(outcomes: &Outcomes) {
    let told: Vec<_> = outcomes.told.values().collect();
    assert!(told.len() > 2_000, "a rush that nobody is refused in: {}", told.len());
    let admitted = told.iter().filter(|told| told.admitted == Some(true)).count();
    let share = admitted as f64 / told.len() as f64;
    let mut late: Vec<f64> =
        told.iter().map(|told| told.span.as_seconds() / told.earliest_s.max(0.1)).collect();
    late.sort_by(f64::total_cmp);
    let median = late[late.len() / 2];
    assert!(
        share >= 0.9 && median <= 1.5,
        "{share} of {} admitted, told {median} x the earliest; {} told the cap",
        told.len(),
        outcomes.told_the_cap
    );
}

#[test]
fn those_who_return_with_their_place_find_room() {
    expect_room(&rush(Clients::ReturnWithPlace));
}

#[test]
fn those_who_just_ask_again_find_room() {
    expect_room(&rush(Clients::Return));
}
