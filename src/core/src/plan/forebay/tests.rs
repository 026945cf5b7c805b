use super::*;
use crate::explain::{self, Decision};
use crate::fleet::Role;
use crate::ids::VariantId;
use crate::plan::roll;
use crate::plan::testing::{Bench, world};

/// Everything that one step did.
pub(super) fn decide(
    bench: &Bench,
    planner: &mut Forebay,
    second: f64,
) -> (Vec<(u16, u32)>, Vec<Decision>) {
    let mut effects = Vec::new();
    planner.step(Time::from_seconds(second), PlanEvent::Due(&bench.view()), &mut effects);
    let (mut scales, mut decisions) = (Vec::new(), Vec::new());
    for effect in effects {
        match effect {
            PlanEffect::Scale { variant, replicas, .. } => scales.push((variant.0, replicas)),
            PlanEffect::Decided(decision) => decisions.push(*decision),
            // Nobody answers: nothing is waited for.
            PlanEffect::Roll(_) => {}
            PlanEffect::Abort { what } => panic!("{what}"),
        }
    }
    (scales, decisions)
}

/// Steady arrivals, scraped and decided on every 15 s in `from..to`; what was asked for is ready
/// at once.
pub(super) fn steady(
    bench: &mut Bench,
    planner: &mut Forebay,
    from: u32,
    to: u32,
    per_s: f64,
) -> Decision {
    let mut last = Decision::default();
    for tick in from..to {
        let second = f64::from(tick) * 15.0;
        bench.scrape(second, per_s * 15.0, 0.0);
        let (scales, decisions) = decide(bench, planner, second);
        for (variant, replicas) in scales {
            bench.ready(usize::from(variant), replicas);
        }
        last = decisions.into_iter().next().unwrap();
    }
    last
}

#[test]
fn a_steady_demand_gets_what_holds_it_and_the_record_says_why() {
    let mut bench = Bench::new(world(&[("l40s", Role::Both)]));
    let mut planner = Forebay::new(&bench.world, Settings::default());
    let record = steady(&mut bench, &mut planner, 0, 80, 50.0);
    let [variant] = &record.variants[..] else { panic!("{record:?}") };
    // 50/s of 0.0555 s each keep 2.8 busy.
    assert!((3..=5).contains(&variant.decided), "{}", explain::render(&record));
    let need = &record.needs[0];
    assert!((2.6..3.0).contains(&need.busy_now), "{need:?}");
    assert!(need.busy_ahead.high >= need.busy_ahead.point, "{need:?}");
    assert_eq!(record.inputs.arrivals_from.as_deref(), Some("router"));
    assert!(!record.binding.is_empty() && !record.would_change.is_empty(), "{record:?}");
    let cost = f64::from(variant.decided) * 3.0;
    assert!((record.usd_per_hour.unwrap() - cost).abs() < 1e-9);
    // Stable as JSON.
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<Decision>(&text).unwrap(), record);
}

#[test]
fn the_cheaper_way_to_hold_it_is_taken_and_the_other_one_is_named() {
    // 3 $/h and 1 $/h for the same engine.
    let mut bench = Bench::new(world(&[("dear", Role::Both), ("cheap", Role::Both)]));
    bench.world.variants[0].replicas_min = 0;
    bench.world.variants[1].replicas_min = 0;
    let mut planner = Forebay::new(&bench.world, Settings::default());
    let record = steady(&mut bench, &mut planner, 0, 100, 50.0);
    assert_eq!(record.variants[0].decided, 0, "{}", explain::render(&record));
    assert!(record.variants[1].decided >= 3);
    let other = record.alternatives.iter().find(|other| other.replicas.contains_key("dear"));
    assert!(other.is_some_and(|other| other.usd_per_hour > record.usd_per_hour.unwrap()));
}

#[test]
fn prefill_and_decode_are_sized_apart() {
    let mut bench = Bench::new(world(&[("p", Role::Prefill), ("d", Role::Decode)]));
    let mut planner = Forebay::new(&bench.world, Settings::default());
    let record = steady(&mut bench, &mut planner, 0, 80, 100.0);
    // 100/s keep 4 prefill replicas (40 ms each) and 1.6 decode replicas busy.
    let decided: Vec<u32> = record.variants.iter().map(|variant| variant.decided).collect();
    assert!(decided[0] > decided[1] && decided[0] >= 5 && decided[1] >= 2, "{decided:?}");
}

#[test]
fn demand_that_nobody_saw_changes_nothing_and_says_so() {
    let mut bench = Bench::new(world(&[("l40s", Role::Both)]));
    let mut planner = Forebay::new(&bench.world, Settings::default());
    bench.ready(0, 6);
    let (scales, decisions) = decide(&bench, &mut planner, 0.0);
    assert_eq!(scales, []);
    assert_eq!(decisions[0].variants[0].decided, 6);
    assert!(decisions[0].binding.contains("nobody can tell"), "{}", decisions[0].binding);
    assert_eq!(decisions[0].tiers[0].requests_per_s, None, "unknown is not zero");
}

#[test]
fn scrapes_that_stop_let_nothing_go() {
    let mut bench = Bench::new(world(&[("l40s", Role::Both)]));
    let mut planner = Forebay::new(&bench.world, Settings::default());
    let held = steady(&mut bench, &mut planner, 0, 80, 100.0).variants[0].decided;
    for tick in 80..240 {
        let (scales, decisions) = decide(&bench, &mut planner, f64::from(tick) * 15.0);
        assert_eq!(scales, [], "at tick {tick}: {}", explain::render(&decisions[0]));
        assert_eq!(decisions[0].variants[0].decided, held);
    }
}

#[test]
fn what_it_knows_survives_a_restart_and_decides_the_same() {
    let mut bench = Bench::new(world(&[("l40s", Role::Both), ("a100", Role::Both)]));
    let mut planner = Forebay::new(&bench.world, Settings::default());
    steady(&mut bench, &mut planner, 0, 400, 70.0);
    let text = planner.snapshot(&bench.world).unwrap();
    assert!(text.len() <= BYTES_PER_FLEET_MAX, "{} bytes", text.len());
    let mut restored = Forebay::restore(&bench.world, Settings::default(), &text).unwrap();
    for tick in 400..480 {
        let second = f64::from(tick) * 15.0;
        bench.scrape(second, if tick < 440 { 1_500.0 } else { 300.0 }, 0.0);
        let (scales, before) = decide(&bench, &mut planner, second);
        let (again, after) = decide(&bench, &mut restored, second);
        assert_eq!(scales, again, "{}{}", explain::render(&before[0]), explain::render(&after[0]));
        for (variant, replicas) in scales {
            bench.ready(usize::from(variant), replicas);
        }
    }
}

#[test]
fn a_snapshot_that_does_not_fit_is_refused_politely() {
    let bench = Bench::new(world(&[("l40s", Role::Both)]));
    let planner = Forebay::new(&bench.world, Settings::default());
    let text = planner.snapshot(&bench.world).unwrap();
    let refused = |world: &World, text: &str| {
        Forebay::restore(world, Settings::default(), text).unwrap_err().to_string()
    };
    let other = world(&[("h100", Role::Both)]);
    let error = refused(&other, &text);
    assert!(error.contains("chat/l40s") && error.contains("chat/h100"), "{error}");
    let newer = text.replace("forebay.snapshot/v1", "forebay.snapshot/v9");
    assert!(refused(&bench.world, &newer).contains("v9"), "{}", refused(&bench.world, &newer));
    assert!(refused(&bench.world, "{").contains("cannot be read"));
    let padded = format!("{text}{}", " ".repeat(BYTES_PER_FLEET_MAX));
    assert!(
        refused(&bench.world, &padded).contains("262144"),
        "{}",
        refused(&bench.world, &padded)
    );
}

/// One decision in a world whose driver answers every roll-forward before the next one.
fn foreseen(
    bench: &Bench,
    planner: &mut Forebay,
    second: f64,
    verdict: impl Fn(&roll::Candidate) -> roll::Verdict,
) -> Decision {
    let mut effects = Vec::new();
    let now = Time::from_seconds(second);
    planner.step(now, PlanEvent::Due(&bench.view()), &mut effects);
    let mut record = Decision::default();
    for effect in effects {
        match effect {
            PlanEffect::Decided(decision) => record = *decision,
            PlanEffect::Roll(request) => {
                let rolled = |plan: &roll::Candidate| roll::Rolled {
                    plan: plan.clone(),
                    tiers: Vec::new(),
                    cost: None,
                    scenarios: 1,
                    verdict: verdict(plan),
                };
                let answer = roll::RollAnswer {
                    id: request.id,
                    asked_at: request.asked_at,
                    fleet: request.fleet,
                    horizon: request.horizon,
                    requests: 1,
                    candidates: request.candidates.iter().map(rolled).collect(),
                };
                planner.step(now, PlanEvent::Rolled(&answer), &mut Vec::new());
            }
            _ => {}
        }
    }
    record
}

#[test]
fn nothing_goes_that_the_twin_speaks_against() {
    let mut bench = Bench::new(world(&[("l40s", Role::Both)]));
    let mut planner = Forebay::new(&bench.world, Settings { roll: true, ..Settings::default() });
    let held = steady(&mut bench, &mut planner, 0, 80, 100.0).variants[0].decided;
    // The load halves and stays there; each time something could go, the twin foretells a miss.
    let veto = roll::Verdict::Veto("standard would fall to 70 %".to_owned());
    let mut vetoed = 0;
    for tick in 80..200 {
        let second = f64::from(tick) * 15.0;
        bench.scrape(second, 50.0 * 15.0, 0.0);
        let record = foreseen(&bench, &mut planner, second, |_| veto.clone());
        // The first plan was asked about while nobody had ever answered.
        let went = record.variants[0].decided;
        assert!(went + 1 >= held, "{}", explain::render(&record));
        vetoed += u32::from(record.verdicts.iter().any(|v| v.name == "roll-forward-veto"));
        bench.ready(0, went);
    }
    assert!(vetoed > 10, "{vetoed}");
    // It changes its mind.
    let mut last = held;
    for tick in 200..260 {
        let second = f64::from(tick) * 15.0;
        bench.scrape(second, 50.0 * 15.0, 0.0);
        last = foreseen(&bench, &mut planner, second, |_| roll::Verdict::Keep).variants[0].decided;
        bench.ready(0, last);
    }
    assert!(last < held, "{last} of {held}");
}

#[test]
fn where_the_twin_speaks_against_the_cheapest_mix_another_of_what_is_there_is_kept() {
    let mut bench = Bench::new(world(&[("dear", Role::Both), ("cheap", Role::Both)]));
    bench.world.variants[0].replicas_min = 0;
    bench.world.variants[1].replicas_min = 0;
    bench.world.variants[1].replicas_max = 8;
    let mut planner = Forebay::new(&bench.world, Settings { roll: true, ..Settings::default() });
    let only_dear = |plan: &roll::Candidate| {
        if plan.of(VariantId(1)) == 0 {
            roll::Verdict::Keep
        } else {
            roll::Verdict::Veto("standard would fall to 70 %".to_owned())
        }
    };
    let mut last = Decision::default();
    // What goes first is let go while nobody has ever answered.
    for tick in 0..400 {
        let per_s = [220.0, 190.0, 50.0, 50.0][tick / 100];
        let second = tick as f64 * 15.0;
        bench.scrape(second, per_s * 15.0, 0.0);
        last = foreseen(&bench, &mut planner, second, only_dear);
        for (index, variant) in last.variants.iter().enumerate() {
            bench.ready(index, variant.decided);
        }
        if last.verdicts.iter().any(|verdict| verdict.name == "roll-forward-instead") {
            break;
        }
    }
    let (dear, cheap) = (&last.variants[0], &last.variants[1]);
    assert!(dear.wanted == 0 && cheap.wanted >= 3, "{}", explain::render(&last));
    assert!(dear.decided >= 3 && cheap.decided == 0, "{}", explain::render(&last));
}

/// Engines that take two and a half times as long as their profile says: without learning all
/// sizing is wrong, and nothing is done on the strength of it.
#[test]
fn predictions_that_are_far_off_only_advise() {
    use crate::ids::EndpointId;
    use crate::learn::testing::{BUSY, Engine, State, profile};
    use crate::observe::{RouterSample, RouterTierSample};
    let run = |learn: bool| {
        let mut bench = Bench::new(world(&[("l40s", Role::Both)]));
        bench.world.variants[0].profile = profile();
        let mut planner = Forebay::new(&bench.world, Settings { learn, ..Settings::default() });
        let mut engine = Engine::warm();
        let slow = State { slower: 2.5, ..BUSY };
        let (mut degraded, mut scales_late) = (0, 0);
        for tick in 0..120_u32 {
            let second = f64::from(tick) * 15.0;
            let at = Time::from_seconds(second);
            engine.run(&profile(), &slow);
            bench.store.record_engine(EndpointId(0), VariantId(0), at, engine.page.clone());
            // The demand doubles late.
            let requests = 30.0 * (second + (second - 1_200.0).max(0.0));
            let tier = RouterTierSample {
                requests_total: requests,
                prompt_tokens_total: requests * 1_000.0,
                ..RouterTierSample::default()
            };
            let page = RouterSample { tiers: vec![tier], saturation: f64::NAN };
            bench.store.record_router(FleetId(0), at, page);
            let (scales, decisions) = decide(&bench, &mut planner, second);
            let named = |verdict: &explain::VerdictRecord| verdict.name == "degraded";
            degraded += u32::from(decisions[0].verdicts.iter().any(named));
            scales_late += if tick > 60 { scales.len() } else { 0 };
            for (variant, replicas) in scales {
                bench.targets[usize::from(variant)].replicas_desired = replicas;
            }
        }
        (degraded, scales_late)
    };
    let (degraded, scales_late) = run(false);
    assert!(degraded > 60 && scales_late == 0, "{degraded} {scales_late}");
    let (degraded, scales_late) = run(true);
    assert!(degraded < 30 && scales_late > 0, "{degraded} {scales_late}");
}
