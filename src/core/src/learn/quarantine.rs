//! New replicas: their first steps compile, capture graphs and fill caches, and teach nothing.

use crate::observe::EngineSample;
use crate::time::{Span, Time};

/// How long a replica that has begun to serve is not learned from.
const WARM_UP: Span = Span::from_secs(120);
/// Steps (tokens, where steps are not counted) that it must have made besides.
const WARM_STEPS: f64 = 1_000.0;
/// A replica that has made this many when it is first seen has long been warm: it is not new, we
/// are.
const OLD_STEPS: f64 = 10_000.0;

/// One replica's way out of quarantine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Quarantine {
    serving_since: Option<Time>,
    met: bool,
    old: bool,
}

impl Quarantine {
    /// A page was read. Returns whether the replica may be learned from.
    pub(super) fn passed(&mut self, at: Time, page: &EngineSample) -> bool {
        let made = made(page);
        if !self.met {
            self.met = true;
            self.old = made >= OLD_STEPS;
        }
        if self.serving_since.is_none() && made > 0.0 {
            self.serving_since = Some(at);
        }
        let warm = self.serving_since.is_some_and(|since| at.since(since) >= WARM_UP);
        self.old || (warm && made >= WARM_STEPS)
    }
}

fn made(page: &EngineSample) -> f64 {
    let steps = page.iteration_tokens.count();
    if steps > 0.0 { steps } else { page.generation_tokens_total }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(steps: f64) -> EngineSample {
        let mut page = EngineSample::idle(1.0);
        page.iteration_tokens.observe(10.0, steps);
        page
    }

    fn at(second: u64) -> Time {
        Time::ZERO + Span::from_secs(second)
    }

    #[test]
    fn a_new_replica_waits_for_time_and_steps_from_its_first_step() {
        let mut new = Quarantine::default();
        assert!(!new.passed(at(0), &page(0.0)));
        assert!(!new.passed(at(600), &page(5.0)), "idle time does not warm it up");
        assert!(!new.passed(at(720), &page(900.0)));
        assert!(new.passed(at(735), &page(1_500.0)));
        let mut busy = Quarantine::default();
        assert!(!busy.passed(at(0), &page(500.0)) && !busy.passed(at(60), &page(50_000.0)));
        let mut old = Quarantine::default();
        assert!(old.passed(at(0), &page(20_000.0)), "it was warm before we looked");
    }
}
