//! Answers worked out by hand.

use super::*;

fn kinds(solution: &Solution) -> Vec<(BindingKind, Option<&str>)> {
    solution.binding.iter().map(|found| (found.kind, found.name.as_deref())).collect()
}

/// Prefill on two classes, decode on two, quotas on both.
fn split_fleet(h100: u32, l40s: u32) -> Instance {
    let (prefill, decode) = ("prefill", "decode");
    let variants = vec![
        variant("prefill-h100", 3.0, 20, &[(prefill, 0.5)], &[("h100", 1)]),
        variant("prefill-l40s", 1.5, 20, &[(prefill, 0.2)], &[("l40s", 1)]),
        variant("decode-h100", 3.0, 20, &[(decode, 0.25)], &[("h100", 1)]),
        variant("decode-l40s", 1.5, 20, &[(decode, 0.2)], &[("l40s", 1)]),
    ];
    let rows = vec![Row::new(prefill), Row::new(decode)];
    instance(&[("h100", h100), ("l40s", l40s)], vec![FleetAsk::new("chat", rows, variants)])
}

#[test]
fn prefill_and_decode_share_what_is_scarce() {
    // Plenty: prefill on 2 H100 (6 $), decode on 5 L40S (7.50 $).
    assert_eq!(mix(&solved(&split_fleet(20, 20))), [2, 0, 0, 5]);
    // Three L40S: 0.6 of decode; the rest takes two H100.
    let scarce = solved(&split_fleet(20, 3));
    assert_eq!(mix(&scarce), [2, 0, 2, 3]);
    assert!(scarce.optimal && (scarce.cost_per_hour - 16.5).abs() < 1e-9);
    assert!(kinds(&scarce).contains(&(BindingKind::Pool, Some("l40s"))));
    // One H100: prefill takes it and three L40S.
    assert_eq!(mix(&solved(&split_fleet(1, 20))), [1, 3, 0, 5]);
}

#[test]
fn the_higher_priority_is_served_first_whatever_it_costs() {
    let one = |name: &str, priority: i32, price: f64| {
        let offers = vec![variant("v", price, 10, &[("row", 0.25)], &[("h100", 1)])];
        FleetAsk { priority, ..FleetAsk::new(name, vec![Row::new("row")], offers) }
    };
    let asked = instance(&[("h100", 5)], vec![one("low", 0, 1.0), one("high", 10, 4.0)]);
    let solution = solved(&asked);
    assert_eq!(mix(&solution), [1, 4]);
    let levels: Vec<_> = solution.levels.iter().map(|l| (l.priority, l.shortfall)).collect();
    assert_eq!(levels, [(Some(10), 0.0), (Some(0), 0.75)]);
    assert!((solution.fleets[0].rows[0].shortfall - 0.75).abs() < 1e-9);
    assert!(solution.optimal);
}

#[test]
fn committed_units_are_used_before_anything_is_bought() {
    let offers = vec![
        variant("committed", 0.0, 20, &[("row", 0.1)], &[("h100-committed", 1)]),
        variant("on-demand", 3.0, 20, &[("row", 0.1)], &[("h100", 1)]),
        variant("l40s", 1.0, 20, &[("row", 0.04)], &[]),
    ];
    let fleet = FleetAsk::new("chat", vec![Row::new("row")], offers);
    let solution = solved(&instance(&[("h100", 8), ("h100-committed", 6)], vec![fleet]));
    // 0.6 is free. 0.4 on demand is 12 $; ten L40S are 10 $.
    assert_eq!(mix(&solution), [6, 0, 10]);
    assert!((solution.cost_per_hour - 10.0).abs() < 1e-9);
}

#[test]
fn an_unknown_price_is_never_free() {
    let mut unknown = variant("unknown", 0.0, 20, &[("row", 0.5)], &[]);
    unknown.price_per_hour = None;
    let known = variant("known", 9.0, 20, &[("row", 0.5)], &[]);
    let fleet = FleetAsk::new("chat", vec![Row::new("row")], vec![unknown, known]);
    let mut asked = instance(&[], vec![fleet]);
    assert_eq!(mix(&solved(&asked)), [0, 2], "none is held, so none is bought");
    // One is held: it may stay, at the dearest price known, and no second one comes.
    asked.fleets[0].variants[0].held = 1;
    asked.fleets[0].variants[1].start_cost = 1.0;
    let solution = solved(&asked);
    assert_eq!(mix(&solution), [1, 1]);
    assert!((solution.cost_per_hour - 18.0).abs() < 1e-9);
    assert!(solution.fleets[0].variants[0].price_assumed);
    assert!(kinds(&solution).contains(&(BindingKind::PriceUnknown, Some("unknown"))));
}

#[test]
fn starting_a_cheaper_replica_must_pay_within_the_horizon() {
    let mut held = variant("held", 3.0, 5, &[("row", 1.0)], &[]);
    held.held = 1;
    let mut cheap = variant("cheap", 2.0, 5, &[("row", 1.0)], &[]);
    cheap.start_cost = 1.5;
    let fleet = FleetAsk::new("chat", vec![Row::new("row")], vec![held, cheap]);
    let mut asked = instance(&[], vec![fleet]);
    assert_eq!(mix(&solved(&asked)), [1, 0], "1 $ an hour does not pay for 1.50 $ in an hour");
    asked.horizon_hours = 2.0;
    let later = solved(&asked);
    assert_eq!(mix(&later), [0, 1]);
    assert!((later.one_off_cost - 1.5).abs() < 1e-9 && (later.objective - 5.5).abs() < 1e-9);
    // What is cheaper to keep than to remove stays, needed or not.
    asked.fleets[0].variants[0].removal_cost = 7.0;
    asked.fleets[0].variants[1].covers.insert("row".to_owned(), 2.0);
    assert_eq!(mix(&solved(&asked)), [1, 0]);
}

#[test]
fn spot_is_held_with_its_spares_and_its_risk() {
    let mut spot = variant("spot", 1.0, 20, &[("row", 0.25)], &[]);
    spot.spare = 2;
    let firm = variant("firm", 2.0, 20, &[("row", 0.25)], &[]);
    let fleet = FleetAsk::new("chat", vec![Row::new("row")], vec![spot, firm]);
    let mut asked = instance(&[], vec![fleet]);
    assert_eq!(mix(&solved(&asked)), [6, 0], "4 + 2 at 1 $ against 4 at 2 $");
    asked.fleets[0].variants[0].reclaim_risk_per_hour = UsdPerHour(0.4);
    let solution = solved(&asked);
    assert_eq!(mix(&solution), [0, 4], "6 at 1.40 $ against 8 $");
    assert!((solution.objective - 8.0).abs() < 1e-9);
}

#[test]
fn what_is_sold_out_is_done_without() {
    let mut scarce = variant("scarce", 1.0, 20, &[("row", 0.25)], &[]);
    (scarce.most_available, scarce.held) = (Some(1), 1);
    let other = variant("other", 2.0, 20, &[("row", 0.25)], &[]);
    let fleet = FleetAsk::new("chat", vec![Row::new("row")], vec![scarce, other]);
    let solution = solved(&instance(&[], vec![fleet]));
    assert_eq!(mix(&solution), [1, 3]);
    assert!(kinds(&solution).contains(&(BindingKind::SoldOut, Some("scarce"))));
}

#[test]
fn a_ratio_holds_even_where_it_holds_too_much() {
    let rows = vec![Row::new("prefill"), Row::new("decode")];
    let offers = vec![
        variant("p", 1.0, 20, &[("prefill", 0.5)], &[]),
        variant("d", 1.0, 20, &[("decode", 0.2)], &[]),
    ];
    let mut fleet = FleetAsk::new("chat", rows, offers);
    let part = |name: &str, replicas| RatioPart { variants: vec![name.to_owned()], replicas };
    fleet.ratio = vec![part("p", 2), part("d", 3)];
    let solution = solved(&instance(&[], vec![fleet]));
    assert_eq!(mix(&solution), [4, 6], "decode needs 5, so two units");
    assert!(solution.optimal);
}

#[test]
fn cost_limits_leave_the_lowest_priority_short() {
    let row = |name: &str, priority| Row { priority: Some(priority), ..Row::new(name) };
    let offers = vec![
        variant("now", 2.0, 20, &[("interactive", 0.5)], &[]),
        variant("later", 2.0, 20, &[("batch", 0.5)], &[]),
    ];
    let rows = vec![row("batch", 0), row("interactive", 10)];
    let mut asked = instance(&[], vec![FleetAsk::new("chat", rows, offers)]);
    asked.fleets[0].max_cost_per_hour = Some(UsdPerHour(7.0));
    let solution = solved(&asked);
    assert_eq!(mix(&solution), [2, 1]);
    assert!(kinds(&solution).contains(&(BindingKind::CostLimit, None)));
    assert!(solution.cost_per_hour <= 7.0);
}

#[test]
fn minimums_give_way_where_they_do_not_fit() {
    let fleet = |name: &str, min| {
        let mut offer = variant("v", 1.0, 10, &[("row", 1.0)], &[("h100", 1)]);
        offer.min = min;
        FleetAsk::new(name, vec![Row::new("row")], vec![offer])
    };
    let solution = solved(&instance(&[("h100", 4)], vec![fleet("a", 2), fleet("b", 4)]));
    assert!(!solution.minimums_fit && solution.optimal);
    assert_eq!(solution.levels[0].priority, None);
    // Shares of 2 and of 4 missing: the smaller minimum is the cheaper one to keep whole.
    assert_eq!(mix(&solution), [2, 2]);
    let fits = solved(&instance(&[("h100", 6)], vec![fleet("a", 2), fleet("b", 4)]));
    assert!(fits.minimums_fit);
    assert_eq!(mix(&fits), [2, 4]);
    assert!(kinds(&fits).contains(&(BindingKind::Min, Some("v"))));
}

#[test]
fn the_next_best_mixes_use_other_variants_and_waste_nothing() {
    let solution = solved(&split_fleet(20, 20));
    let next = &solution.fleets[0].alternatives;
    assert_eq!(next.len(), 3);
    // Decode on 4 H100: 12 $ instead of 7.50 $; prefill on 5 L40S: 7.50 $ instead of 6 $.
    let costs: Vec<f64> = next.iter().map(|mix| mix.cost_per_hour).collect();
    assert!(costs.windows(2).all(|pair| pair[0] <= pair[1]));
    // 0.5 + 3 x 0.2 of prefill on both: 3 + 4.50 $ = 7.50 $ as well, or 5 x 0.2 alone.
    assert!((costs[0] - 15.0).abs() < 1e-9, "{next:#?}");
    let used = |mix: &Alternative| mix.replicas.keys().cloned().collect::<Vec<_>>();
    assert!(next.iter().all(|mix| used(mix) != ["decode-l40s", "prefill-h100"]));
    for (index, mix) in next.iter().enumerate() {
        assert!(next[..index].iter().all(|other| used(other) != used(mix)));
    }
}

#[test]
fn a_spent_budget_gives_an_answer_that_keeps_every_limit() {
    for seed in 0..300 {
        let asked = super::generator::small(seed);
        let told = solve(&asked, None, Budget::nodes(1)).unwrap();
        let best = solved(&asked);
        for (pool, most) in told.pools.iter().filter_map(|pool| Some((pool, pool.quota?))) {
            assert!(pool.used <= u64::from(most), "seed {seed}: {}", pool.name);
        }
        if told.optimal {
            assert!((told.objective - best.objective).abs() < 1e-6, "seed {seed}");
        }
        let limit = asked.max_cost_per_hour.map_or(f64::INFINITY, |most| most.0);
        assert!(told.cost_per_hour <= limit + 1e-9, "seed {seed}");
    }
}

#[test]
fn the_answer_reads_back_as_it_was_written() {
    let solution = solved(&split_fleet(20, 3));
    let text = serde_json::to_string(&solution).unwrap();
    assert_eq!(serde_json::from_str::<Solution>(&text).unwrap(), solution);
    let asked = split_fleet(20, 3);
    let text = serde_json::to_string(&asked).unwrap();
    assert_eq!(serde_json::from_str::<Instance>(&text).unwrap(), asked);
    assert!(serde_json::from_str::<Instance>(r#"{"fleets":[],"quota":1}"#).is_err());
}
