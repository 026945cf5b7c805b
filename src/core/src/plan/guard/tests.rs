//! The guard against the failures that other autoscalers are known for.

use super::*;
use crate::fleet::World;
use crate::ids::EndpointId;
use crate::plan::evidence::{FleetEvidence, Missing};
use crate::plan::testing::{Bench, world};

/// A guard with what it is shown. Leads are 180 s; the window is ten minutes.
struct Case {
    bench: Bench,
    guard: Guard,
    missing: Option<Missing>,
    verdicts: Vec<Verdict>,
}

impl Case {
    fn new(world: World, ready: &[u32]) -> Self {
        let mut bench = Bench::new(world);
        for (variant, count) in ready.iter().enumerate() {
            bench.ready(variant, *count);
        }
        let guard = Guard::new(GuardSettings::default());
        Self { bench, guard, missing: None, verdicts: Vec::new() }
    }

    fn one(ready: u32) -> Self {
        Self::new(world(&[("l40s", Role::Both)]), &[ready])
    }

    /// One step in which each variant is its own share of its role's need.
    fn step(&mut self, second: f64, replicas: &[u32], needs: &[(Role, Option<f64>)]) -> Vec<u32> {
        let view = self.bench.view();
        let pools = needs.iter().map(|(role, need)| {
            let of_role = view.world.variants_of(FleetId(0)).filter(|(_, v)| v.role == *role);
            let shares = of_role.map(|(id, _)| (id, 1.0)).collect();
            PoolNeed { fleet: FleetId(0), role: *role, need: *need, shares }
        });
        let wanted = Wanted { replicas: replicas.to_vec(), pools: pools.collect() };
        let fleets = [FleetEvidence { missing: self.missing, ..FleetEvidence::default() }];
        let leads = vec![Span::from_secs(180); replicas.len()];
        let evidence = Evidence { fleets: &fleets, leads: &leads };
        self.verdicts.clear();
        let now = Time::from_seconds(second);
        self.guard.step(now, &view, &wanted, &evidence, &mut self.verdicts)
    }

    /// We ask for `count` of a variant, and none of what is new is placed yet.
    fn ask(&mut self, second: f64, variant: usize, count: u32) {
        let mut replicas: Vec<u32> =
            self.bench.targets.iter().map(|target| target.replicas_desired).collect();
        replicas[variant] = count;
        self.guard.asked(Time::from_seconds(second), &self.bench.view(), &replicas);
        self.bench.targets[variant].replicas_desired = count;
        self.bench.targets[variant].replicas_current = count;
    }

    /// The same for one aggregated pool whose need is what is wanted; what comes of it is asked
    /// for and ready at once.
    fn follow(&mut self, second: f64, need: f64) -> u32 {
        let wanted = need.ceil() as u32;
        let given = self.step(second, &[wanted], &[(Role::Both, Some(need))]);
        self.guard.asked(Time::from_seconds(second), &self.bench.view(), &given);
        self.bench.ready(0, given[0]);
        given[0]
    }

    /// Watches a steady need every 15 s in `from..to`.
    fn watch(&mut self, from: u32, to: u32, need: f64) {
        for second in (from..to).step_by(15) {
            self.follow(f64::from(second), need);
        }
    }

    fn rule(&self) -> &Rule {
        assert_eq!(self.verdicts.len(), 1, "{:?}", self.verdicts);
        &self.verdicts[0].rule
    }
}

#[test]
fn no_drop_on_the_first_tick_before_a_burst() {
    let mut case = Case::one(2);
    assert_eq!(case.follow(0.0, 0.4), 2);
    assert!(matches!(case.rule(), Rule::NotWatchedLongEnough { .. }), "{:?}", case.rule());
    case.watch(15, 600, 0.4);
    assert_eq!(case.bench.targets[0].replicas_desired, 2);
    assert_eq!(case.follow(600.0, 0.4), 1);
}

#[test]
fn up_at_once_by_as_much_as_is_needed() {
    let mut case = Case::one(1);
    assert_eq!(case.follow(0.0, 17.2), 18);
    assert!(case.verdicts.is_empty());
}

#[test]
fn down_only_to_the_highest_need_of_the_window_and_not_to_the_lowest() {
    let mut case = Case::one(8);
    case.watch(0, 900, 7.5);
    assert_eq!(case.follow(900.0, 2.0), 8);
    assert!(matches!(case.rule(), Rule::Glide { highest, .. } if (*highest - 7.5).abs() < 1e-9));
    case.watch(915, 1_200, 2.0);
    case.watch(1_200, 1_215, 4.5);
    case.watch(1_215, 1_485, 2.0);
    assert_eq!(case.follow(1_485.0, 2.0), 8, "7.5 was needed ten minutes ago");
    assert_eq!(case.follow(1_500.0, 2.0), 5, "the highest since was 4.5");
    case.watch(1_515, 1_800, 2.0);
    assert_eq!(case.follow(1_815.0, 2.0), 2);
}

#[test]
fn load_that_falls_does_not_flap() {
    let mut case = Case::one(5);
    case.watch(0, 900, 4.6);
    // Collapses for 15 s, comes back, and so on for an hour.
    let mut lowest = 5;
    for tick in 0..240_u32 {
        let need = if tick % 8 < 4 { 1.6 } else { 4.6 };
        lowest = lowest.min(case.follow(900.0 + f64::from(tick) * 15.0, need));
    }
    assert_eq!(lowest, 5);
}

#[test]
fn a_pool_that_flaps_more_slowly_than_the_window_gets_a_longer_one() {
    // Low for just over ten minutes, then high for half a minute: eleven rounds of it.
    let changes = |flaps_max: u32| {
        let mut case = Case::one(5);
        case.guard = Guard::new(GuardSettings { flaps_max, ..GuardSettings::default() });
        let (mut changes, mut before) = (0, 5);
        for tick in 0..480_u32 {
            let need = if tick % 44 < 42 { 1.6 } else { 4.6 };
            let given = case.follow(f64::from(tick) * 15.0, need);
            changes += u32::from(given != before);
            before = given;
        }
        changes
    };
    let (free, guarded) = (changes(u32::MAX), changes(3));
    assert!(free >= 18 && guarded <= free * 2 / 3, "{free} and {guarded}");
}

#[test]
fn the_rounding_of_a_large_pool_does_not_lengthen_its_window() {
    // Some of thirty go and come back every twelve minutes, then half of the load goes.
    let held = |low: f64| {
        let mut case = Case::one(30);
        for tick in 0..480_u32 {
            case.follow(f64::from(tick) * 15.0, if tick % 48 < 46 { low } else { 29.6 });
        }
        case.watch(7_200, 7_815, 14.6);
        case.bench.targets[0].replicas_desired
    };
    assert_eq!(held(28.6), 15, "one of them");
    assert_eq!(held(19.6), 30, "a third of them");
}

#[test]
fn missing_scrapes_are_not_read_as_zero() {
    let mut case = Case::one(5);
    case.watch(0, 900, 1.0);
    assert_eq!(case.bench.targets[0].replicas_desired, 1);
    case.bench.ready(0, 5);
    case.guard = Guard::new(GuardSettings::default());
    case.watch(0, 600, 4.9);
    // Two of four scrapes fail: what is seen is half of it.
    case.missing = Some(Missing::Router { age: None });
    for second in (600..7_200).step_by(15) {
        assert_eq!(case.follow(f64::from(second), 1.0), 5);
        assert!(matches!(case.rule(), Rule::DataMissing(_)));
    }
    // Back again: what was needed meanwhile is not known, so watching begins anew.
    case.missing = None;
    assert_eq!(case.follow(7_200.0, 1.0), 5);
    assert!(matches!(case.rule(), Rule::NotWatchedLongEnough { .. }));
    case.watch(7_215, 7_800, 1.0);
    assert_eq!(case.follow(7_800.0, 1.0), 1);
}

#[test]
fn an_unknown_demand_lets_nothing_go_and_still_goes_up() {
    let mut case = Case::one(3);
    case.watch(0, 900, 2.5);
    assert_eq!(case.step(900.0, &[0], &[(Role::Both, None)]), [3]);
    assert_eq!(*case.rule(), Rule::DataMissing(Missing::Demand));
    assert_eq!(case.step(900.0, &[6], &[(Role::Both, None)]), [6]);
    assert_eq!(case.step(900.0, &[6], &[(Role::Both, Some(f64::NAN))]), [6]);
    // Nobody said what the pool needs.
    assert_eq!(case.step(900.0, &[1], &[]), [3]);
}

#[test]
fn start_up_of_one_pool_does_not_freeze_the_other() {
    let split = world(&[("p", Role::Prefill), ("d", Role::Decode)]);
    let mut case = Case::new(split, &[4, 4]);
    for second in (0..=600).step_by(15) {
        let needs = [(Role::Prefill, Some(1.5)), (Role::Decode, Some(3.5))];
        case.step(f64::from(second), &[4, 4], &needs);
    }
    // Six more decode replicas start.
    case.ask(600.0, 1, 10);
    case.bench.targets[1].starting_since = vec![Time::from_seconds(600.0); 6];
    let needs = [(Role::Prefill, Some(1.5)), (Role::Decode, Some(12.5))];
    assert_eq!(case.step(615.0, &[2, 13], &needs), [2, 13], "prefill goes down, decode up");
    let needs = [(Role::Prefill, Some(6.5)), (Role::Decode, Some(12.5))];
    assert_eq!(case.step(630.0, &[7, 13], &needs), [7, 13], "and prefill up");
}

#[test]
fn nothing_goes_before_its_successor_is_ready() {
    let mut case = Case::new(world(&[("a", Role::Both), ("b", Role::Both)]), &[6, 0]);
    let needs = [(Role::Both, Some(5.5))];
    for second in (0..600).step_by(15) {
        case.step(f64::from(second), &[6, 0], &needs);
    }
    // b is cheaper: six of it are asked for, and a stays.
    assert_eq!(case.step(600.0, &[0, 6], &needs), [6, 6]);
    assert!(matches!(case.rule(), Rule::SuccessorNotReady { .. }), "{:?}", case.rule());
    case.ask(600.0, 1, 6);
    case.bench.targets[1].starting_since = vec![Time::from_seconds(600.0); 6];
    assert_eq!(case.step(615.0, &[0, 6], &needs), [6, 6]);
    case.bench.targets[1].starting_since.truncate(2);
    case.bench.targets[1].endpoints_ready = (0..4).map(|n| EndpointId(200 + n)).collect();
    // Ready ten, needed 5.5: four may go.
    assert_eq!(case.step(630.0, &[0, 6], &needs), [2, 6]);
}

#[test]
fn pods_pending_for_lack_of_an_accelerator_are_handed_back() {
    let mut case = Case::new(world(&[("a", Role::Both), ("b", Role::Both)]), &[2, 1]);
    let needs = [(Role::Both, Some(7.5))];
    let at = Time::from_seconds;
    for second in (0..900).step_by(15) {
        case.step(f64::from(second), &[2, 1], &[(Role::Both, Some(2.5))]);
    }
    case.ask(900.0, 1, 6);
    case.bench.targets[1].unschedulable_since = vec![at(900.0); 5];
    for second in (900..1_200).step_by(15) {
        case.step(f64::from(second), &[2, 6], &needs);
    }
    assert_eq!(case.step(1_200.0, &[2, 6], &needs), [2, 6], "patience");
    assert_eq!(case.guard.ceilings(at(1_200.0)), [None, None]);
    // The solver wants more of it still: no.
    assert_eq!(case.step(1_215.0, &[2, 7], &needs), [2, 6]);
    assert!(matches!(case.rule(), Rule::Shortage { stuck: 5, .. }), "{:?}", case.rule());
    assert_eq!(case.guard.ceilings(at(1_215.0)), [None, Some(1)]);
    // Solved again under that ceiling: seven on a, and those that wait are given up.
    assert_eq!(case.step(1_230.0, &[7, 1], &needs), [7, 1]);
    // Where nothing else can be had they go on waiting.
    assert_eq!(case.step(1_230.0, &[2, 1], &needs), [2, 6]);
    assert!(matches!(case.rule(), Rule::NothingElseToBeHad { stuck: 5 }), "{:?}", case.rule());
    // After ten minutes one more is tried; they still wait, so it is believed for twenty.
    let (ready, tried) = (case.guard.clone(), at(1_815.0));
    assert_eq!(ready.ceilings(tried), [None, Some(2)]);
    case.step(1_815.0, &[2, 2], &needs);
    assert_eq!(case.guard.ceilings(at(3_000.0)), [None, Some(1)]);
    assert_eq!(case.guard.ceilings(at(3_015.0)), [None, Some(2)]);
    // One found a place: there is stock again.
    case.bench.targets[1].unschedulable_since.pop();
    case.step(1_830.0, &[2, 6], &needs);
    assert_eq!(case.guard.ceilings(at(1_830.0)), [None, None]);
}

#[test]
fn replicas_on_their_way_count_when_they_are_ready() {
    let mut case = Case::one(1);
    let at = Time::from_seconds;
    case.bench.targets[0].starting_since = vec![at(100.0), at(40.0)];
    case.bench.targets[0].unschedulable_since = vec![at(90.0), at(0.0)];
    let leads = [Span::from_secs(180)];
    let outlook = |now: f64| -> Vec<f64> {
        let coming = case.guard.outlook(at(now), &case.bench.view(), &leads);
        coming.into_iter().map(|coming| coming.ready_at.as_seconds()).collect()
    };
    assert_eq!(outlook(120.0), [180.0, 220.0, 270.0, 280.0]);
    // One is late: expected in another tenth of its lead. Another waits beyond its patience.
    assert_eq!(outlook(310.0), [328.0, 328.0, 328.0]);
}

#[test]
fn a_hand_edit_is_held_as_given_and_the_third_in_an_hour_stops_us() {
    let mut case = Case::one(3);
    case.watch(0, 900, 2.5);
    let edit = |case: &mut Case, second: f64, count: u32| {
        case.bench.ready(0, count);
        case.follow(second, 2.5)
    };
    assert_eq!(edit(&mut case, 900.0, 9), 9);
    let until = Time::from_seconds(1_800.0);
    assert_eq!(*case.rule(), Rule::HeldAsGiven { until });
    assert_eq!(case.guard.given(Time::from_seconds(900.0), &case.bench.view()), [Some(9)]);
    case.watch(915, 1_800, 2.5);
    assert_eq!(case.bench.targets[0].replicas_desired, 9);
    assert_eq!(case.follow(1_800.0, 2.5), 3, "fifteen minutes are over");
    assert_eq!(edit(&mut case, 1_815.0, 1), 1, "also where it is less than is needed");
    assert_eq!(edit(&mut case, 3_000.0, 2), 2);
    assert_eq!(*case.rule(), Rule::StoppedByEdits { edits: 3 });
    assert_eq!(case.follow(4_485.0, 2.5), 2, "stopped for longer than fifteen minutes");
    assert_eq!(case.follow(4_500.0, 2.5), 3, "an hour after the first of the three");
}

#[test]
fn a_controller_that_sets_our_writes_back_at_once_stops_us_too() {
    let mut case = Case::one(3);
    let mut stopped = None;
    for tick in 0..300_u32 {
        let second = f64::from(tick) * 15.0;
        let given = case.step(second, &[6], &[(Role::Both, Some(5.5))]);
        if matches!(case.verdicts.first().map(|v| &v.rule), Some(Rule::StoppedByEdits { .. })) {
            stopped = stopped.or(Some(second));
        }
        // It is 3 again before we look.
        case.guard.asked(Time::from_seconds(second), &case.bench.view(), &given);
    }
    assert!(stopped.is_some_and(|at| at < 3_000.0), "{stopped:?}");
}

#[test]
fn what_it_remembers_is_small_and_survives_a_restart() {
    let mut case = Case::one(8);
    for tick in 0..5_000_u32 {
        let wave = 8.0 + 6.0 * (f64::from(tick) / 37.0).sin() - f64::from(tick % 7) * 0.1;
        case.follow(f64::from(tick) * 5.0, wave);
    }
    let text = serde_json::to_string(&case.guard).unwrap();
    assert!(text.len() < 8_192, "{} bytes", text.len());
    assert_eq!(serde_json::from_str::<Guard>(&text).unwrap(), case.guard);
}
