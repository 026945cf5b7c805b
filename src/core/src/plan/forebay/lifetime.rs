//! How long replicas of a variant last: what a start costs is spread over it.
//!
//! A mix follows the need, and the need moves with every scrape. A variant that is taken for the
//! rounding of one minute pays its start for that minute, not for the hour that the mix as a whole
//! may last; one that stays pays it off. Nobody has to say which is which: it shows.

use serde::{Deserialize, Serialize};

use crate::time::{Span, Time};

/// Time after which half of what was seen is forgotten.
const HALF_LIFE_SECONDS: f64 = 6.0 * 3_600.0;
/// Nobody looked for longer than this: what was held meanwhile is not known.
const GAP_MAX: Span = Span::from_secs(180);

/// Lives of the replicas of each variant, by [`crate::ids::VariantId`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Lifetimes {
    at: Time,
    variants: Vec<Lived>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Lived {
    held: u32,
    /// Replicas times seconds.
    seconds: f64,
    ended: f64,
}

impl Lifetimes {
    /// Takes in how many replicas of each variant are asked for now.
    pub(super) fn observe(&mut self, now: Time, held: impl IntoIterator<Item = u32>) {
        let passed = now.since(self.at);
        let seen = passed <= GAP_MAX;
        let (seconds, left) =
            (passed.as_seconds(), (-passed.as_seconds() / HALF_LIFE_SECONDS).exp2());
        self.at = now;
        for (index, held) in held.into_iter().enumerate() {
            if index == self.variants.len() {
                self.variants.push(Lived::default());
            }
            let lived = &mut self.variants[index];
            (lived.seconds, lived.ended) = (lived.seconds * left, lived.ended * left);
            if seen {
                lived.seconds += f64::from(lived.held.min(held)) * seconds;
                lived.ended += f64::from(lived.held.saturating_sub(held));
            }
            lived.held = held;
        }
    }

    /// How long a replica that is started now will last: what those before it did (time lived
    /// over ends, which counts those that still live), with one that lasted `most` put beside
    /// them; at most `most`.
    pub(super) fn of(&self, variant: usize, most: Span) -> Span {
        let lived = self.variants.get(variant).copied().unwrap_or_default();
        let mean = (most.as_seconds() + lived.seconds) / (1.0 + lived.ended);
        Span::from_seconds(mean).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Span = Span::from_secs(3_600);

    fn lifetimes(held: impl Fn(u64) -> u32, steps: u64) -> Lifetimes {
        let mut lifetimes = Lifetimes::default();
        for step in 0..steps {
            lifetimes.observe(Time::ZERO + Span::from_secs(step * 15), [held(step)]);
        }
        lifetimes
    }

    #[test]
    fn one_that_comes_and_goes_is_short_lived_and_one_that_stays_is_not() {
        assert_eq!(Lifetimes::default().of(0, HOUR), HOUR);
        let flips = lifetimes(|step| u32::from(step % 4 == 0), 240).of(0, HOUR);
        assert!(flips < Span::from_secs(90), "{flips}");
        let stays = lifetimes(|_| 3, 2_000).of(0, HOUR);
        assert_eq!(stays, HOUR);
        // Thirty of them, one of which goes and comes every ten minutes: it is one of thirty.
        let most = lifetimes(|step| 30 - u32::from(step % 40 == 0), 2_000).of(0, HOUR);
        assert_eq!(most, HOUR);
    }

    #[test]
    fn what_was_seen_is_forgotten_within_a_day_or_two_so_that_it_is_tried_again() {
        let mut flips = lifetimes(|step| u32::from(step % 4 == 0), 240);
        for step in 240..240 + 2 * 5_760 {
            flips.observe(Time::ZERO + Span::from_secs(step * 15), [0]);
        }
        assert!(flips.of(0, HOUR) > Span::from_secs(1_800), "{}", flips.of(0, HOUR));
    }

    #[test]
    fn what_nobody_watched_is_not_counted() {
        let mut lifetimes = lifetimes(|_| 5, 2);
        let before = lifetimes.clone();
        lifetimes.observe(Time::ZERO + Span::from_secs(7_200), [0]);
        assert!(lifetimes.variants[0].ended.abs() < 1e-12);
        assert!(lifetimes.variants[0].seconds < before.variants[0].seconds);
    }
}
