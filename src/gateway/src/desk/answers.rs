//! How long the answers of an endpoint are, from the counters on its page: what a request is
//! settled at when nobody could read its usage.

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
    last: Option<Served>,
    output_tokens: f64,
    requests: f64,
}

impl Answers {
    /// Takes note of a page. Counters that fell belong to another start of the engine.
    pub(super) fn note(&mut self, served: Served) {
        if let Some(last) = self.last.replace(served) {
            let requests = served.requests_total - last.requests_total;
            let output_tokens = served.output_tokens_total - last.output_tokens_total;
            if requests >= 0.0 && output_tokens >= 0.0 {
                self.requests = self.requests * KEPT + requests;
                self.output_tokens = self.output_tokens * KEPT + output_tokens;
            }
        }
    }

    /// Mean length of an answer, tokens; `None` before one was seen to end.
    #[must_use]
    pub fn mean_output_tokens(&self) -> Option<u32> {
        (self.requests >= 1.0).then(|| (self.output_tokens / self.requests).round() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_follows_the_counters_and_survives_a_restart() {
        let mut answers = Answers::default();
        let mut note = |output_tokens_total, requests_total| {
            answers.note(Served { output_tokens_total, requests_total });
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
}
