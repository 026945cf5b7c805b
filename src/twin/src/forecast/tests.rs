use forebay_core::fleet::Role;
use forebay_core::time::{Span, Time};

use super::{Series, render, score};
use crate::policy::testing::world;
use crate::trace::{Request, Source, TraceError};

fn series(work: impl Iterator<Item = f64>) -> Series {
    let work: Vec<f64> = work.collect();
    Series { step_seconds: 15.0, requests: work.len() as u64, work, variant: "toy".to_owned() }
}

const LEADS: [Span; 2] = [Span::from_secs(120), Span::from_secs(240)];

#[test]
fn a_series_that_never_changes_is_foreseen_without_excess() {
    let report = score(&series((0..2_000).map(|_| 5.0)), &LEADS, 0.9);
    for lead in &report.leads {
        assert!(lead.wape_last < 1e-9 && lead.wape_point < 0.02, "{lead:?}");
        assert!(lead.forecaster.coverage > 0.999 && lead.forecaster.mean_excess < 0.02, "{lead:?}");
        assert_eq!((lead.rises, lead.forecaster.coverage_given_rise), (0.0, None));
    }
    // Scored from one hour until the longest lead and one step no longer fit.
    assert_eq!(report.unscored_steps, 240);
    assert_eq!(report.leads[0].predictions, 2_000 - 240 - 9);
}

#[test]
fn the_constant_covers_as_often_and_every_figure_is_in_the_table() {
    // A triangle of half an hour between 1 and 3: rises half of the time.
    let triangle = |step: usize| 1.0 + 2.0 * (1.0 - ((step % 120) as f64 / 60.0 - 1.0).abs());
    let report = score(&series((0..5_000).map(triangle)), &LEADS, 0.9);
    for lead in &report.leads {
        let (ours, constant) = (&lead.forecaster, &lead.constant);
        assert!((ours.coverage - constant.coverage).abs() < 0.03, "{lead:?}");
        assert!((0.15..0.5).contains(&lead.rises), "{lead:?}");
        assert!(lead.wape_last > 0.02 && ours.mean_excess > 0.0, "{lead:?}");
    }
    let text = render(&report);
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    for part in ["2m", "4m", "forecaster", "constant", "90 %"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// Equal requests at given seconds.
struct At(Vec<u64>);

impl Source for At {
    fn next_request(&mut self) -> Result<Option<Request>, TraceError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        Ok(Some(Request {
            at: Time::ZERO + Span::from_secs(self.0.remove(0)),
            prompt_tokens: 1_000,
            output_tokens: 100,
            client: 0,
            prefix: None,
        }))
    }
}

#[test]
fn the_series_is_the_mean_of_the_last_minute_in_busy_replicas() {
    let world = world(&[("l40s", Role::Both)]);
    let source = Box::new(At(vec![16, 20, 29, 151, 9_000]));
    let step = Span::from_secs(15);
    let series = Series::read(source, &world, Span::from_secs(180), step).unwrap();
    assert_eq!((series.work.len(), series.requests), (12, 4), "the last one comes too late");
    // Three requests in the second step, one in the eleventh.
    let three = series.work[1] * 2.0;
    let expected =
        [0.0, 0.5, 1.0 / 3.0, 0.25, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0 / 12.0, 1.0 / 12.0];
    for (value, expected) in series.work.iter().zip(expected) {
        assert!((value - three * expected).abs() < 1e-12, "{:?}", series.work);
    }
    // Each takes some 55 ms of a replica.
    assert!((0.05..0.06).contains(&(three * 15.0 / 3.0)), "{three}");
}
