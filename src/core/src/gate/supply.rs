//! How fast work is served, now and when what is on its way is there.
//!
//! The physics foretell tokens per second; what is really served while something waits corrects
//! them by one factor. So the rate is known before anything was measured, follows what is
//! measured, and foretells replicas that are not there yet.

use super::Coming;
use crate::ids::VariantId;
use crate::time::{Span, Time};

/// Half of what was measured is forgotten after so much time during which something waited.
const HALF_LIFE: Span = Span::from_secs(10);

/// The foretold rate counts until so much time was measured, less and less.
const PRIOR_S: f64 = 2.0;

/// Bounds of the factor: a profile may be wrong by orders of magnitude, but not more.
const FACTOR: (f64, f64) = (1e-4, 1e4);

/// Replicas on their way that are remembered: more than any fleet starts at a time.
const COMING_MAX: usize = 1_024;

/// What is served, and what will be.
#[derive(Clone, Debug)]
pub(super) struct Supply {
    /// Tokens sent from the queue while something waited, decaying.
    served_tokens: f64,
    /// Tokens foretold for the same time, decaying.
    foretold_tokens: f64,
    /// Time measured, at most [`PRIOR_S`].
    measured_s: f64,
    at: Time,
    /// Replicas on their way with the tokens per second foretold for each, by when it is ready.
    coming: Vec<(Coming, f64)>,
    /// Whether anybody ever told what is on its way.
    told: bool,
    on_demand: bool,
}

impl Supply {
    pub(super) const fn new() -> Self {
        Self {
            served_tokens: 0.0,
            foretold_tokens: 0.0,
            measured_s: 0.0,
            at: Time::ZERO,
            coming: Vec::new(),
            told: false,
            on_demand: false,
        }
    }

    /// What is on its way, each with the tokens per second foretold for it.
    pub(super) fn outlook(&mut self, coming: impl Iterator<Item = (Coming, f64)>, on_demand: bool) {
        self.coming.clear();
        self.coming.extend(coming.take(COMING_MAX));
        self.coming.sort_by_key(|(coming, _)| *coming);
        (self.told, self.on_demand) = (true, on_demand);
    }

    /// Other physics are in force: what was foretold is `before` and `after`, now, and `rate` for
    /// each replica of the variant on its way. What was measured stays true.
    pub(super) fn relearned(&mut self, variant: VariantId, rate: f64, before: f64, after: f64) {
        if before > 0.0 && after > 0.0 {
            self.foretold_tokens *= after / before;
        }
        let of_it = self.coming.iter_mut().filter(|(coming, _)| coming.variant == variant);
        of_it.for_each(|(_, foretold)| *foretold = rate);
    }

    /// Whether nobody will be there, as far as anybody knows: nothing is on its way, and nothing
    /// is started for whoever waits.
    pub(super) const fn is_barren(&self) -> bool {
        self.told && self.coming.is_empty() && !self.on_demand
    }

    /// Time passes; `waited` whether something waited since, `foretold` tokens per second.
    pub(super) fn pass(&mut self, now: Time, waited: bool, foretold: f64) {
        let passed_s = now.since(self.at).as_seconds();
        self.at = now;
        if waited && passed_s > 0.0 {
            let keep = (-passed_s / HALF_LIFE.as_seconds()).exp2();
            self.served_tokens *= keep;
            self.measured_s = (self.measured_s + passed_s).min(PRIOR_S);
            self.foretold_tokens = self.foretold_tokens * keep + foretold * passed_s;
        }
    }

    /// Something was sent from the queue.
    pub(super) fn served(&mut self, tokens: f64) {
        self.served_tokens += tokens;
    }

    /// Really served over foretold.
    fn factor(&self, foretold: f64) -> f64 {
        let prior = foretold * (PRIOR_S - self.measured_s);
        let foretold_tokens = self.foretold_tokens + prior;
        if foretold_tokens <= 0.0 {
            return 1.0;
        }
        ((self.served_tokens + prior) / foretold_tokens).clamp(FACTOR.0, FACTOR.1)
    }

    /// From when on how many tokens are served per second: now first, then at each replica's
    /// time.
    pub(super) fn course(&self, now: Time, foretold: f64) -> impl Iterator<Item = (Time, f64)> {
        let factor = self.factor(foretold);
        let steps = self.coming.iter().scan(foretold, move |sum, (coming, rate)| {
            *sum += rate;
            // One that should be there and is not may come at any time.
            Some((coming.ready_at.max(now), *sum * factor))
        });
        std::iter::once((now, foretold * factor)).chain(steps)
    }
}

/// When so many tokens are served, if a share of each rate of the course and a constant part less
/// is there for them; `None` = not before `end`.
pub(super) fn served_at(
    course: impl Iterator<Item = (Time, f64)>,
    tokens: f64,
    share: impl Fn(f64) -> f64,
    end: Time,
) -> Option<Time> {
    let mut left = tokens;
    let mut course = course.peekable();
    while let Some((from, rate)) = course.next() {
        let until = course.peek().map_or(end, |(next, _)| (*next).min(end));
        let rate = share(rate).max(0.0);
        let span_s = until.since(from).as_seconds();
        if left <= rate * span_s {
            let wait_s = if rate > 0.0 { left / rate } else { 0.0 };
            return Some(from + Span::from_seconds(wait_s));
        }
        left -= rate * span_s;
        if until >= end {
            break;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Time {
        Time::from_seconds(seconds)
    }

    fn coming(seconds: f64) -> (Coming, f64) {
        (Coming { ready_at: at(seconds), variant: VariantId(0) }, 100.0)
    }

    fn rate(supply: &Supply, foretold: f64) -> f64 {
        supply.course(supply.at, foretold).next().unwrap().1
    }

    #[test]
    fn the_rate_is_foretold_until_something_was_measured() {
        let mut supply = Supply::new();
        assert!((rate(&supply, 1_000.0) - 1_000.0).abs() < 1e-9);
        for tick in 1..=600 {
            supply.pass(at(f64::from(tick) / 10.0), true, 1_000.0);
            supply.served(25.0);
        }
        let measured = rate(&supply, 1_000.0);
        assert!((240.0..320.0).contains(&measured), "{measured}");
        // Time in which nobody waits proves nothing.
        supply.pass(at(600.0), false, 1_000.0);
        assert!((rate(&supply, 1_000.0) - measured).abs() < 1e-9);
        let twice = rate(&supply, 2_000.0);
        assert!(twice > 1.8 * measured, "as much again for as many again: {twice}");
        // The physics turn out to be a tenth: what was measured is as true as before.
        supply.relearned(VariantId(0), 0.0, 1_000.0, 100.0);
        let still = rate(&supply, 100.0);
        assert!((still / measured - 1.0).abs() < 1e-9, "{still} instead of {measured}");
    }

    #[test]
    fn replicas_on_their_way_count_from_when_they_are_ready() {
        let mut supply = Supply::new();
        assert!(!supply.is_barren(), "nobody ever said");
        supply.outlook([coming(20.0), coming(10.0)].into_iter(), false);
        let course = || supply.course(at(0.0), 0.0);
        assert_eq!(
            course().collect::<Vec<_>>(),
            [(at(0.0), 0.0), (at(10.0), 100.0), (at(20.0), 200.0)]
        );
        let all = |rate| rate;
        assert_eq!(served_at(course(), 500.0, all, at(120.0)), Some(at(15.0)));
        assert_eq!(served_at(course(), 1_400.0, all, at(120.0)), Some(at(22.0)));
        assert_eq!(served_at(course(), 1_400.0, all, at(21.0)), None);
        assert_eq!(served_at(course(), 1_400.0, |rate| rate - 100.0, at(120.0)), Some(at(34.0)));
        supply.relearned(VariantId(0), 50.0, 0.0, 0.0);
        assert_eq!(
            supply.course(at(0.0), 0.0).last(),
            Some((at(20.0), 100.0)),
            "replicas on their way are foretold anew"
        );
        supply.outlook(std::iter::empty(), false);
        assert!(supply.is_barren());
    }
}
