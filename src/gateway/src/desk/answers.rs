//! How long the answers of an endpoint are, in tokens and in time, from its pages: what a request
//! is settled at when nobody could read its usage, and how long one stays whose end nobody sees.

use forebay_core::time::{Span, Time};

/// Counters of an engine, since it started.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Served {
    /// Tokens generated.
    pub output_tokens_total: f64,
    /// Requests answered.
    pub requests_total: f64,
}

/// Part of what was seen that still counts after one more page: the last ten or so.
const KEPT: f64 = 0.9;

/// Recent answers of one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Answers {
    last: Option<(Served, Option<Time>)>,
    output_tokens: f64,
    requests: f64,
    /// Requests that ran, times how long, s.
    running_s: f64,
}

/// Longest mean stay that is believed.
const STAY_MAX: Span = Span::from_secs(300);

impl Answers {
    /// Takes note of a page, of that time and with so many requests running, where it tells.
    /// Counters that fell belong to another start of the engine.
    pub(super) fn note(&mut self, served: Served, page: Option<(Time, f64)>) {
        let before = self.last.replace((served, page.map(|(at, _)| at)));
        if let Some((last, then)) = before {
            let requests = served.requests_total - last.requests_total;
            let output_tokens = served.output_tokens_total - last.output_tokens_total;
            if requests >= 0.0 && output_tokens >= 0.0 {
                self.requests = self.requests * KEPT + requests;
                self.output_tokens = self.output_tokens * KEPT + output_tokens;
                self.running_s *= KEPT;
                if let (Some(then), Some((at, running))) = (then, page)
                    && running.is_finite()
                {
                    self.running_s += running * at.since(then).as_seconds();
                }
            }
        }
    }

    /// Mean length of an answer, tokens; `None` before one was seen to end.
    #[must_use]
    pub fn mean_output_tokens(&self) -> Option<u32> {
        (self.requests >= 1.0).then(|| (self.output_tokens / self.requests).round() as u32)
    }

    /// Mean time for which a request runs: those that run over those that end (Little, 1961);
    /// `None` before one was seen to run and one to end.
    pub(super) fn mean_stay(&self) -> Option<Span> {
        let stay = || Span::from_seconds(self.running_s / self.requests).min(STAY_MAX);
        (self.requests >= 1.0 && self.running_s > 0.0).then(stay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_follows_the_counters_and_survives_a_restart() {
        let mut answers = Answers::default();
        let mut note = |output_tokens_total, requests_total| {
            answers.note(Served { output_tokens_total, requests_total }, None);
            answers.mean_output_tokens()
        };
        assert_eq!(note(5_000.0, 100.0), None, "what was before is not recent");
        assert_eq!(note(5_000.0, 100.0), None);
        assert_eq!(note(5_200.0, 101.0), Some(200));
        assert_eq!(note(10.0, 0.0), Some(200), "a restart teaches nothing");
        for step in 1..60_u32 {
            note(10.0 + 50.0 * f64::from(step), f64::from(step));
        }
        assert_eq!(note(3_010.0, 60.0), Some(50));
    }

    #[test]
    fn a_request_stays_as_long_as_those_that_run_take_to_end() {
        let mut answers = Answers::default();
        for second in 0..40_u32 {
            let requests_total = 2.0 * f64::from(second);
            let served = Served { output_tokens_total: 100.0 * requests_total, requests_total };
            answers.note(served, Some((Time::from_seconds(f64::from(second)), 10.0)));
        }
        assert_eq!(answers.mean_stay(), Some(Span::from_secs(5)));
        let mut untold = Answers::default();
        assert_eq!(untold.mean_stay(), None);
        for requests_total in [0.0, 9.0] {
            untold.note(Served { output_tokens_total: 0.0, requests_total }, None);
        }
        assert_eq!(untold.mean_stay(), None, "nobody told how many run");
    }
}
