//! What the record and the live state make of scrapes.

use super::*;
use crate::fleet::Role;
use crate::ids::EndpointId;
use crate::observe::{RouterSample, RouterTierSample};
use crate::plan::testing::{Bench, world};
use crate::plan::{FleetView, ScaleTarget};
use crate::time::WallTime;

fn view(bench: &Bench) -> FleetView<'_> {
    FleetView {
        world: &bench.world,
        targets: &bench.targets,
        metrics: &bench.store,
        origin: WallTime::default(),
    }
}

fn watch(record: &mut Record, bench: &Bench, second: f64) {
    record.observe(&view(bench), FleetId(0), Time::from_seconds(second));
}

fn router(bench: &mut Bench, second: f64, requests_total: f64) {
    let tier = RouterTierSample { requests_total, ..RouterTierSample::default() };
    let sample = RouterSample { tiers: vec![tier], saturation: f64::NAN };
    bench.store.record_router(FleetId(0), Time::from_seconds(second), sample);
}

fn counts(record: &Record) -> Vec<f32> {
    record.intervals().map(|interval| interval.tiers[0].requests).collect()
}

#[test]
fn arrivals_are_recorded_once_per_scrape_and_the_record_is_bounded() {
    let mut bench = Bench::new(world(&[("l40s", Role::Both)]));
    let mut record = Record::default();
    for scrape in 0..300 {
        let second = f64::from(scrape) * 15.0;
        bench.scrape(second, 30.0, 0.0);
        watch(&mut record, &bench, second);
        watch(&mut record, &bench, second + 5.0);
    }
    assert_eq!(record.intervals().len(), INTERVALS_MAX);
    assert!(counts(&record).iter().all(|count| (count - 30.0).abs() < 1e-3));
    assert_eq!(record.requests_per_s(0).map(f64::round), Some(2.0));
    assert!((record.prompt_tokens_mean(0) - 1_000.0).abs() < 1.0);
    let kept = serde_json::to_string(&record).unwrap();
    assert!(kept.len() < 40_000, "{} bytes", kept.len());
    assert_eq!(serde_json::from_str::<Record>(&kept).unwrap(), record);
}

#[test]
fn a_reset_a_gap_and_nonsense_are_no_arrivals() {
    let mut bench = Bench::new(world(&[("l40s", Role::Both)]));
    let mut record = Record::default();
    // A reset at 30 s, a gap of three minutes before 225 s, NaN at 240 s.
    for (second, total) in
        [(0.0, 100.0), (15.0, 130.0), (30.0, 4.0), (45.0, 24.0), (225.0, 900.0), (240.0, f64::NAN)]
    {
        router(&mut bench, second, total);
        watch(&mut record, &bench, second);
    }
    assert_eq!(counts(&record), [30.0, 20.0]);
    // Frequent scrapes are put together.
    let mut often = Record::default();
    let mut bench = Bench::new(world(&[("l40s", Role::Both)]));
    for second in 0..31 {
        router(&mut bench, f64::from(second), f64::from(second));
        watch(&mut often, &bench, f64::from(second));
    }
    assert_eq!(counts(&often), [10.0, 10.0, 10.0]);
}

#[test]
fn the_queue_is_the_last_to_come_and_unknown_engines_stay_unknown() {
    let mut bench = Bench::new(world(&[("l40s", Role::Both)]));
    bench.ready(0, 2);
    let mut record = Record::default();
    for scrape in 0..5 {
        let second = f64::from(scrape) * 15.0;
        bench.scrape(second, 30.0, if scrape == 4 { 70.0 } else { 0.0 });
        watch(&mut record, &bench, second);
    }
    bench.targets[0] = ScaleTarget {
        starting_since: vec![Time::from_seconds(40.0)],
        unschedulable_since: vec![Time::from_seconds(50.0)],
        ..bench.targets[0].clone()
    };
    bench.store.forget(EndpointId(1));
    let now = Time::from_seconds(61.0);
    let ready_at = |_, asked: Time, placed: bool| placed.then(|| asked + Span::from_secs(100));
    let live = LiveState::observe(&view(&bench), FleetId(0), now, &record, ready_at);
    assert_eq!(live.queues_at, QueuesAt::Gate);
    // 70 wait, 30 come per interval: 10 of the third last, all of the last two.
    let held: Vec<(f64, u32)> =
        live.queue.iter().map(|held| (held.arrived_at.as_seconds(), held.requests)).collect();
    assert_eq!(held, [(22.5, 10), (37.5, 30), (52.5, 30)]);
    let loads: Vec<bool> = live.endpoints.iter().map(|endpoint| endpoint.load.is_some()).collect();
    assert_eq!(loads, [true, false]);
    let ready: Vec<Option<f64>> =
        live.pending.iter().map(|pending| pending.ready_at.map(Time::as_seconds)).collect();
    assert_eq!(ready, [Some(140.0), None]);
}
