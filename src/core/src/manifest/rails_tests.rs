//! Limits, schedules and pauses reach the world, and wrong ones are told what is wrong with them.

use super::tests::{BASE, said_of};
use super::{Source, parse};
use crate::fleet::{FleetRails, Moment, Pause, World};
use crate::ids::{AcceleratorId, VariantId};
use crate::time::{Span, WallTime};
use crate::units::UsdPerHour;

/// What is added to the spec of the fleet in [`BASE`].
const RAILS: &str = "
  limits:
    maxCostPerHour: 12.5
    accelerators: [{acceleratorClass: l40s, max: 6}]
    replicasAddedPer10Minutes: 4
    replicasRemovedPer10Minutes: 2
  schedules:
  - cron: 0 8 * * 1-5
    timeZone: Europe/Berlin
    duration: 10h
    minimums: [{variant: l40s, min: 5}]
    noScaleIn: true
  slos:";

fn with(rails: &str) -> String {
    BASE.replacen("\n  slos:", rails, 1)
}

fn world(text: &str) -> World {
    let read = parse(&[Source::new("fleet.yaml", text)]);
    read.and_then(|read| read.resolve(None)).unwrap_or_else(|errors| panic!("{errors}")).0
}

#[test]
fn limits_and_schedules_reach_the_world() {
    let rails = &world(&with(RAILS)).fleets[0].rails;
    assert_eq!(rails.limits.cost_per_hour_max, Some(UsdPerHour(12.5)));
    assert_eq!(rails.limits.accelerators_max, [(AcceleratorId(0), 6)]);
    assert_eq!(rails.limits.replicas_added_max, Some(4));
    assert_eq!(rails.limits.replicas_removed_max, Some(2));
    assert_eq!(rails.paused, None);
    let [schedule] = rails.schedules.as_slice() else { panic!("one schedule") };
    assert_eq!(schedule.name, "0 8 * * 1-5 Europe/Berlin");
    assert_eq!(schedule.minimums, [(VariantId(0), 5)]);
    assert!(schedule.no_scale_in);
    // Thursday, 1970-01-01: Berlin was one hour ahead.
    let moment = schedule.moment(WallTime(7 * 3_600), Span::ZERO);
    assert_eq!(moment, Moment::Inside { ends: WallTime(17 * 3_600) });
    assert_eq!(world(BASE).fleets[0].rails, FleetRails::default());
}

#[test]
fn a_fleet_is_paused_by_its_spec_or_by_an_annotation_with_an_end() {
    let paused = |text: &str| world(text).fleets[0].rails.paused;
    let forever = Some(Pause { until: None });
    assert_eq!(paused(&with("\n  paused: true\n  slos:")), forever);
    let annotated = |value: &str| {
        let annotation =
            format!("name: chat\n  annotations: {{forebay.dev/paused: \"{value}\"}}\n");
        BASE.replacen("name: chat\n", &annotation, 1)
    };
    assert_eq!(paused(&annotated("true")), forever);
    assert_eq!(paused(&annotated("false")), None);
    let until = Some(Pause { until: Some(WallTime(3_600)) });
    assert_eq!(paused(&annotated("1970-01-01T02:00:00+01:00")), until);
    insta::assert_snapshot!(said_of(&annotated("tomorrow")));
}

#[test]
fn a_run_begins_when_its_scenario_says() {
    let begins = |text: &str| {
        let read = parse(&[Source::new("fleet.yaml", text)]).unwrap();
        read.resolve(None).unwrap().1.starts_at
    };
    assert_eq!(begins(BASE), WallTime(0));
    let text =
        BASE.replace("spec:\n  shares:", "spec:\n  startsAt: 1970-01-02T00:00:00Z\n  shares:");
    assert_eq!(begins(&text), WallTime(86_400));
    insta::assert_snapshot!(said_of(&text.replace("T00:00:00Z", "")));
}

macro_rules! wrong_rails {
    ($($name:ident: $from:expr => $to:expr;)*) => {
        $(#[test]
        fn $name() {
            assert_eq!(RAILS.matches($from).count(), 1);
            insta::assert_snapshot!(said_of(&with(&RAILS.replace($from, $to))));
        })*
    };
}

wrong_rails! {
    limit_of_an_unused_class: "acceleratorClass: l40s" => "acceleratorClass: l40";
    limit_given_twice: "[{acceleratorClass: l40s, max: 6}]" => "[{acceleratorClass: l40s, max: 6}, {acceleratorClass: l40s, max: 5}]";
    schedule_in_no_time_zone: "Europe/Berlin" => "Europe/Berlim";
    schedule_that_never_begins: "0 8 * * 1-5" => "0 8 30 2 *";
    schedule_of_no_time: "duration: 10h" => "duration: 0s";
    schedule_of_an_unknown_variant: "variant: l40s" => "variant: l4";
    schedule_beyond_the_most: "min: 5" => "min: 9";
}
