//! Each rail by itself.

use super::*;
use crate::api::cron::Cron;
use crate::fleet::{Limits, Pause, Role, Schedule, time_zone};
use crate::plan::evidence::{Attainment, PredictionError};
use crate::plan::testing::{Bench, world};
use crate::units::UsdPerHour;

/// Two aggregated variants: `a` at 3 $/h and `b` at 1 $/h; leads are 180 s.
struct Case {
    bench: Bench,
    rails: Rails,
    known: FleetEvidence,
    verdicts: Vec<Verdict>,
    standing: Standing,
}

impl Case {
    fn new(held: [u32; 2]) -> Self {
        Self::of(&[("a", Role::Both), ("b", Role::Both)], &held)
    }

    fn of(variants: &[(&str, Role)], held: &[u32]) -> Self {
        let mut bench = Bench::new(world(variants));
        for (variant, count) in held.iter().enumerate() {
            bench.ready(variant, *count);
        }
        Self {
            bench,
            rails: Rails::new(RailSettings::default()),
            known: FleetEvidence::default(),
            verdicts: Vec::new(),
            standing: Standing::Normal,
        }
    }

    fn rails(&mut self) -> &mut crate::fleet::FleetRails {
        &mut self.bench.world.fleets[0].rails
    }

    fn apply(&mut self, second: f64, wanted: &[u32]) -> Vec<u32> {
        let leads = vec![Span::from_secs(180); wanted.len()];
        let known = [self.known.clone()];
        let evidence = Evidence { fleets: &known, leads: &leads };
        let mut replicas = wanted.to_vec();
        self.verdicts.clear();
        let now = Time::from_seconds(second);
        let view = self.bench.view();
        let standing = self.rails.apply(now, &view, &mut replicas, &evidence, &mut self.verdicts);
        self.standing = standing[0];
        replicas
    }

    /// Applies, asks for it, and has it at once.
    fn follow(&mut self, second: f64, wanted: &[u32]) -> Vec<u32> {
        let given = self.apply(second, wanted);
        self.rails.asked(Time::from_seconds(second), &self.bench.view(), &given);
        for (variant, count) in given.iter().enumerate() {
            self.bench.ready(variant, *count);
        }
        given
    }

    fn said(&self) -> Vec<String> {
        self.verdicts.iter().map(|verdict| verdict.rule.to_string()).collect()
    }
}

#[test]
fn without_rails_a_plan_is_left_alone() {
    let mut case = Case::new([3, 3]);
    assert_eq!(case.apply(0.0, &[1, 20]), [1, 20]);
    assert!(case.verdicts.is_empty());
    assert_eq!(case.standing, Standing::Normal);
}

#[test]
fn a_paused_fleet_stays_as_it_is_until_the_pause_ends() {
    let mut case = Case::new([3, 3]);
    case.rails().paused = Some(Pause { until: Some(WallTime(3_600)) });
    case.rails().limits.cost_per_hour_max = Some(UsdPerHour(1.0));
    assert_eq!(case.apply(3_599.0, &[1, 9]), [3, 3]);
    assert_eq!(case.said()[0], "paused until 1970-01-01T01:00:00Z");
    case.rails().limits = Limits::default();
    assert_eq!(case.apply(3_600.0, &[1, 9]), [1, 9]);
    case.rails().paused = Some(Pause { until: None });
    assert_eq!(case.apply(1e6, &[1, 9]), [3, 3]);
}

#[test]
fn the_limit_on_cost_is_kept_by_growing_less() {
    let mut case = Case::new([2, 2]);
    case.rails().limits.cost_per_hour_max = Some(UsdPerHour(12.0));
    // 8 $/h are held; 3 x 3 + 6 = 15 are wanted. Growth of the dearest goes first.
    assert_eq!(case.apply(0.0, &[3, 6]), [2, 6]);
    assert_eq!(case.said(), ["more would cost beyond the limit of 12.00 $/h"]);
    assert_eq!(case.apply(0.0, &[2, 6]), [2, 6], "exactly the limit is within it");
    assert_eq!(case.apply(0.0, &[2, 20]), [2, 6]);
}

#[test]
fn over_budget_held_replicas_go_down_to_the_fewest_but_never_blindly() {
    let mut case = Case::new([4, 4]);
    case.rails().limits.cost_per_hour_max = Some(UsdPerHour(9.0));
    // 16 $/h are held: a goes first, then b, one of each being the fewest.
    let kept = case.apply(0.0, &[4, 4]);
    assert!(3 * kept[0] + kept[1] <= 9 && kept[0] >= 1 && kept[1] >= 1, "{kept:?}");
    case.known.missing = Some(Missing::Router { age: None });
    assert_eq!(case.apply(0.0, &[4, 9]), [4, 4], "no growth, and nothing goes");
    assert!(case.said().contains(&Rule::LimitExceeded.to_string()));
    case.known.missing = None;
    case.rails().limits.cost_per_hour_max = Some(UsdPerHour(3.0));
    assert_eq!(case.apply(0.0, &[4, 4]), [1, 1]);
    assert!(case.said().contains(&Rule::LimitBelowMinimums.to_string()));
}

#[test]
fn prefill_and_decode_give_way_evenly() {
    let mut case = Case::of(&[("p", Role::Prefill), ("d", Role::Decode)], &[1, 1]);
    // 4 x 3 + 12 x 1 = 24; half of it may be had.
    case.rails().limits.cost_per_hour_max = Some(UsdPerHour(12.0));
    let given = case.apply(0.0, &[4, 12]);
    assert_eq!(given, [2, 6]);
}

#[test]
fn an_unknown_cost_is_not_read_as_free() {
    let mut case = Case::new([1, 1]);
    case.bench.world.accelerators[1].price_on_demand = None;
    // Nobody limits the cost: nothing to keep to.
    assert_eq!(case.apply(0.0, &[1, 9]), [1, 9]);
    case.rails().limits.cost_per_hour_max = Some(UsdPerHour(100.0));
    assert_eq!(case.apply(0.0, &[1, 9]), [1, 1]);
    assert_eq!(case.verdicts[0].rule, Rule::PriceUnknown);
    // The one that is held may cost anything, so nothing grows beside it.
    assert_eq!(case.apply(0.0, &[9, 1]), [1, 1]);
    // Without it the rest may.
    case.bench.world.variants[1].replicas_min = 0;
    case.bench.ready(1, 0);
    assert_eq!(case.apply(0.0, &[9, 4]), [9, 0]);
}

#[test]
fn the_limit_on_accelerators_counts_those_of_each_replica() {
    let mut case = Case::new([1, 1]);
    case.bench.world.variants[1].accelerators_per_replica = 4;
    let class = case.bench.world.variants[1].accelerator;
    case.rails().limits.accelerators_max = vec![(class, 19)];
    assert_eq!(case.apply(0.0, &[9, 9]), [9, 4]);
    assert!(matches!(case.verdicts[0].rule, Rule::AcceleratorLimit { limit: 19, .. }));
}

#[test]
fn not_more_than_the_limits_are_added_or_removed_in_ten_minutes() {
    let mut case = Case::new([3, 3]);
    case.rails().limits.replicas_added_max = Some(4);
    case.rails().limits.replicas_removed_max = Some(2);
    let sum = |given: &[u32]| given.iter().sum::<u32>();
    assert_eq!(sum(&case.follow(0.0, &[3, 6])), 9);
    assert_eq!(sum(&case.follow(300.0, &[9, 9])), 10, "three and one are four");
    assert!(case.said().contains(&"not more than 4 added in ten minutes".to_owned()));
    assert_eq!(sum(&case.follow(599.0, &[9, 9])), 10);
    assert_eq!(sum(&case.follow(600.0, &[9, 9])), 13, "the first three are ten minutes ago");
    assert_eq!(sum(&case.follow(700.0, &[1, 1])), 11);
    assert_eq!(sum(&case.follow(1_200.0, &[1, 1])), 11);
    assert_eq!(sum(&case.follow(1_300.0, &[1, 1])), 9);
}

pub(super) fn schedule(minimum: u32, no_scale_in: bool) -> Schedule {
    Schedule {
        name: "0 8 * * * UTC".to_owned(),
        begins: Cron::parse("0 8 * * *").unwrap(),
        time_zone: time_zone("UTC").unwrap(),
        duration: Span::from_secs(3_600),
        minimums: vec![(VariantId(1), minimum)],
        no_scale_in,
    }
}

/// 08:00 in seconds.
const EIGHT: f64 = 28_800.0;

#[test]
fn the_minimum_of_a_schedule_is_ready_when_it_begins() {
    let mut case = Case::new([1, 1]);
    case.rails().schedules = vec![schedule(6, false)];
    assert_eq!(case.apply(EIGHT - 181.0, &[1, 1]), [1, 1]);
    assert_eq!(case.apply(EIGHT - 180.0, &[1, 1]), [1, 6], "asked for a lead earlier");
    assert_eq!(case.said(), ["schedule `0 8 * * * UTC` asks for so many at 1970-01-01T08:00:00Z"]);
    assert_eq!(case.apply(EIGHT + 3_599.0, &[1, 1]), [1, 6]);
    assert_eq!(case.apply(EIGHT + 3_600.0, &[1, 1]), [1, 1]);
    // Five are missing and two may be added in ten minutes: twenty minutes earlier.
    case.rails().limits.replicas_added_max = Some(2);
    assert_eq!(case.apply(EIGHT - 1_381.0, &[1, 1]), [1, 1]);
    assert_eq!(case.apply(EIGHT - 1_380.0, &[1, 1]), [1, 3]);
    // The limit on cost goes before a schedule.
    case.rails().limits = Limits { cost_per_hour_max: Some(UsdPerHour(7.0)), ..Limits::default() };
    assert_eq!(case.apply(EIGHT, &[1, 1]), [1, 4]);
}

#[test]
fn a_schedule_may_let_nothing_go() {
    let mut case = Case::new([5, 5]);
    case.rails().schedules = vec![schedule(0, true)];
    assert_eq!(case.apply(EIGHT - 1.0, &[2, 7]), [2, 7]);
    assert_eq!(case.apply(EIGHT, &[2, 7]), [5, 7]);
    assert_eq!(case.said(), ["schedule `0 8 * * * UTC` lets nothing go"]);
    assert_eq!(case.apply(EIGHT + 3_600.0, &[2, 7]), [2, 7]);
}

#[test]
fn the_fewest_and_the_most_of_a_variant() {
    let mut case = Case::new([1, 1]);
    assert_eq!(case.apply(0.0, &[0, 99]), [1, 20]);
    assert_eq!(
        case.said(),
        ["the fewest that the variant may have", "the most that the variant may have"]
    );
    // The fewest go before every limit.
    case.rails().limits.cost_per_hour_max = Some(UsdPerHour(0.5));
    case.bench.world.variants[0].replicas_min = 3;
    assert_eq!(case.apply(0.0, &[0, 0]), [3, 1]);
}

#[test]
fn attainment_that_falls_after_a_scale_in_undoes_and_holds_it() {
    let mut case = Case::new([3, 6]);
    let attained = |share: f64, requests: f64| vec![Some(Attainment { share, requests })];
    case.known.attainment = attained(0.992, 2_000.0);
    assert_eq!(case.follow(0.0, &[3, 5]), [3, 5]);
    assert_eq!(case.follow(60.0, &[3, 4]), [3, 4]);
    // Too few to tell, a fall within chance, and nothing known at all.
    for unclear in [attained(0.5, 20.0), attained(0.97, 150.0), vec![None], Vec::new()] {
        case.known.attainment = unclear;
        assert_eq!(case.apply(120.0, &[3, 4]), [3, 4]);
    }
    case.known.attainment = attained(0.95, 2_000.0);
    assert_eq!(case.follow(180.0, &[3, 4]), [3, 6], "as before both");
    assert_eq!(case.said(), ["undone: 95.0 % attained of 99.0 % promised after replicas went"]);
    // What comes for a burst meanwhile may go again.
    assert_eq!(case.follow(240.0, &[5, 9]), [5, 9]);
    case.known.attainment = attained(0.995, 2_000.0);
    assert_eq!(case.follow(900.0, &[3, 6]), [3, 6]);
    assert_eq!(case.follow(1_979.0, &[1, 1]), [3, 6], "held for half an hour");
    assert_eq!(
        case.said().last().map(String::as_str),
        Some("as many as before stay until 00:33:00.000: attainment fell when replicas went")
    );
    assert_eq!(case.follow(1_980.0, &[3, 5]), [3, 5]);
    // Bad without a scale-in lately: nothing to undo.
    case.known.attainment = attained(0.5, 2_000.0);
    assert_eq!(case.follow(3_000.0, &[3, 5]), [3, 5]);
}

#[test]
fn attainment_that_was_bad_before_a_scale_in_did_not_fall() {
    let mut case = Case::new([3, 6]);
    let attained = |share: f64| vec![Some(Attainment { share, requests: 2_000.0 })];
    // A burst that nobody was ready for is over; its misses are still in the window.
    case.known.attainment = attained(0.75);
    assert_eq!(case.follow(0.0, &[3, 5]), [3, 5]);
    case.known.attainment = attained(0.8);
    assert_eq!(case.follow(60.0, &[3, 4]), [3, 4]);
    case.known.attainment = attained(0.79);
    assert_eq!(case.follow(120.0, &[3, 4]), [3, 4]);
    // Worse than it had become before the last of them.
    case.known.attainment = attained(0.77);
    assert_eq!(case.follow(180.0, &[3, 4]), [3, 6]);
    assert_eq!(case.said(), ["undone: 77.0 % attained of 99.0 % promised after replicas went"]);
}

#[test]
fn predictions_that_are_far_off_leave_only_advice_until_they_are_right_again() {
    let mut case = Case::new([1, 1]);
    let mut standing = |relative: f64, samples: u32| {
        case.known.prediction_error = Some(PredictionError { relative, samples });
        case.apply(0.0, &[1, 1]);
        case.standing
    };
    assert_eq!(standing(0.49, 100), Standing::Normal);
    assert_eq!(standing(5.0, 5), Standing::Normal, "too few to tell");
    assert_eq!(standing(0.6, 100), Standing::Degraded { error: 0.6, band: 0.5 });
    assert_eq!(standing(0.4, 100), Standing::Degraded { error: 0.4, band: 0.5 });
    assert!(matches!(standing(0.1, 5), Standing::Degraded { .. }), "too few to tell");
    assert_eq!(standing(0.2, 100), Standing::Normal);
}
