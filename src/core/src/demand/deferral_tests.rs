use super::*;

const MINUTE: Span = Span::from_secs(60);

fn at(minutes: u64) -> Time {
    Time::ZERO + Span(MINUTE.0 * minutes)
}

fn due(minutes: u64, work: f64) -> Due {
    Due { by: at(minutes), work }
}

fn slots(interactive: &[f64], most: f64) -> Vec<Slot> {
    let slot =
        |(index, &interactive)| Slot { until: at(10 * (index as u64 + 1)), interactive, most };
    interactive.iter().enumerate().map(slot).collect()
}

#[test]
fn what_came_first_is_done_first_and_deadlines_follow_the_arrival() {
    let mut backlog = Backlog::new(Span::from_secs(3_600));
    for half_minute in 0..20_u64 {
        let now = Time::ZERO + Span::from_secs(30 * half_minute);
        backlog.observe(now, 30.0, 30.0 * (half_minute as f64 + 1.0));
    }
    assert!((backlog.requests() - 600.0).abs() < 1e-9);
    assert_eq!(backlog.due(2.0)[0], due(60, 120.0), "a bucket is a minute long");
    // 490 of them done, nothing new: the newest 110 wait.
    backlog.observe(at(10), 0.0, 110.0);
    assert_eq!(backlog.due(1.0), [due(68, 50.0), due(69, 60.0)]);
    // 20 more wait than are known: they came since the last look.
    backlog.observe(at(11), f64::NAN, 130.0);
    assert_eq!(backlog.due(1.0)[2..], [due(70, 20.0)]);
    // A reading that is no number takes nothing away.
    backlog.observe(at(12), 0.0, f64::NAN);
    assert_eq!(backlog.due(1.0).len(), 3);
    backlog.observe(at(12), 0.0, 0.0);
    assert_eq!(backlog.due(1.0), []);
}

#[test]
fn a_queue_without_a_history_has_half_of_its_time_left() {
    let mut backlog = Backlog::new(Span::from_secs(3_600));
    backlog.observe(at(100), 5.0, 55.0);
    assert_eq!(backlog.due(1.0), [due(130, 50.0), due(160, 5.0)]);
}

#[test]
fn a_backlog_is_bounded_and_keeps_its_oldest_deadline() {
    let mut backlog = Backlog::new(Span::from_secs(3_600));
    for minute in 0..300_u64 {
        backlog.observe(at(2 * minute), 1.0, minute as f64 + 1.0);
    }
    assert_eq!(backlog.due(1.0).len(), BUCKETS_MAX);
    assert_eq!((backlog.requests(), backlog.due(1.0)[0].by), (300.0, at(60)));
    let text = serde_json::to_string(&backlog).unwrap();
    assert!(text.len() < 4_096, "{}", text.len());
    assert_eq!(serde_json::from_str::<Backlog>(&text).unwrap(), backlog);
}

#[test]
fn the_rate_is_that_of_the_tightest_deadline() {
    // 600 by minute 15 and 600 more by minute 65, ready at minute 5: 1 then 1,200 / 3,600.
    let work = [due(65, 600.0), due(15, 600.0)];
    let rate = |work: &[Due]| rate_needed(Time::ZERO, work, MINUTE, Span::from_secs(240));
    assert!((rate(&work) - 1.0).abs() < 1e-12);
    assert!((rate(&work[..1]) - 600.0 / 3_600.0).abs() < 1e-12);
    // Due before anything can be ready: within a minute.
    assert!((rate(&[due(3, 600.0)]) - 10.0).abs() < 1e-12);
    assert!(rate(&[]) < 1e-12);
    // Interactive 7 at 0.7 hides deferred work of 2 at 0.95; 4 more need their own.
    assert!((replicas_needed(7.0, 2.0, 0.7, 0.95) - 10.0).abs() < 1e-12);
    assert!((replicas_needed(7.0, 4.0, 0.7, 0.95) - 11.0 / 0.95).abs() < 1e-12);
}

#[test]
fn valleys_are_filled_before_a_peak() {
    // Three slots of 600 s, a peak in the last. 3,600 due after it fit below 5 in the first two:
    // (5 - 2) x 1,200. An even spread would need 2 on top of the peak.
    let forecast = slots(&[2.0, 2.0, 8.0], 20.0);
    let fill = fill_valleys(Time::ZERO, &forecast, &[due(30, 3_600.0)]);
    assert!((fill.level - 5.0).abs() < 1e-3 && fill.unplaced == 0.0, "{fill:?}");
    assert!((fill.rates[0] - 3.0).abs() < 1e-3 && fill.rates[2] < 1e-3, "{fill:?}");
    // More work than the valleys hold rises over the peak: 3 x 600 x (L) - 12 x 600 = 9,000.
    let fill = fill_valleys(Time::ZERO, &forecast, &[due(30, 9_000.0)]);
    assert!((fill.level - 9.0).abs() < 1e-3, "{fill:?}");
}

#[test]
fn an_early_deadline_is_kept_before_a_valley_that_comes_later() {
    // 1,800 by minute 5, half-way through the first slot: 6 on top of 4 for that time.
    let forecast = slots(&[4.0, 0.0], 20.0);
    let work = [due(20, 600.0), due(5, 1_800.0)];
    let fill = fill_valleys(Time::ZERO, &forecast, &work);
    assert!((fill.level - 10.0).abs() < 1e-3 && fill.unplaced == 0.0, "{fill:?}");
    // In order of deadlines the second follows in the same slot.
    assert!((fill.rates[0] - 4.0).abs() < 1e-3, "{fill:?}");
}

#[test]
fn what_cannot_be_done_in_time_is_said_and_the_rest_is_done() {
    let mut forecast = slots(&[4.0, 4.0], 6.0);
    // 2 free in 1,200 s: 2,400 of 3,000.
    let fill = fill_valleys(Time::ZERO, &forecast, &[due(60, 3_000.0)]);
    assert!((fill.unplaced - 600.0).abs() < 1e-6 && (fill.level - 6.0).abs() < 1e-3, "{fill:?}");
    assert!((fill.rates[1] - 2.0).abs() < 1e-3, "{fill:?}");
    // Overloaded already: nothing is free, no rate is negative.
    forecast[0].interactive = 9.0;
    let fill = fill_valleys(Time::ZERO, &forecast, &[due(10, 100.0)]);
    assert_eq!((fill.rates[0], fill.unplaced), (0.0, 100.0));
    let fill = fill_valleys(Time::ZERO, &[], &[due(10, 100.0)]);
    assert_eq!((fill.rates.len(), fill.unplaced), (0, 100.0));
}
