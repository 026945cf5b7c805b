//! What the endpoints of one variant demonstrably do, held against what its profile foretells.
//!
//! A profile stands until nearly all that was lately seen contradicts it, and then it is corrected
//! by no more than nearly all of that agrees on. So one that is right is left alone whatever single
//! requests meet, and one that is wrong by orders of magnitude is mended by the first few answers,
//! long before an engine's pages have taught anything. Short and long prompts are judged apart: a
//! profile may be right about the one and wrong about the other.

use std::collections::VecDeque;

use crate::time::{Span, Time};

/// Answers that count, per length of prompt: enough to leave odd ones out, few enough to follow
/// within seconds.
const SEEN_MAX: usize = 16;

/// Fewest answers that contradict a profile.
const SEEN_MIN: usize = 4;

/// One of so many at either end is odd: a cache that we did not know of, a step that was long.
const ODD: usize = 8;

/// A profile that is off by less is not contradicted: half a step of waiting makes as much of a
/// short prompt's time.
const TOLERANCE: f64 = 1.5;

/// Most that a profile is taken to be wrong, either way: beyond it somebody else answers (a cache
/// in front of the engine) or nobody does.
const FACTOR_MAX: f64 = 32.0;

/// A step is foretold anew when it is off by so much more or less than before: what depends on it
/// is costly, and no figure here is that exact.
const STEP_CHANGE: f64 = 0.1;

/// Lengths of prompts that are judged apart: below 128 tokens, then by doublings to 64k and more.
const BANDS: usize = 11;

/// Prompts below this are of the first band.
const BAND_TOKENS: u32 = 128;

/// Shortest and longest time between two requests of one length that are sent although the
/// profile says that it is in vain: the first few at once, and one in ten minutes costs nothing.
const TRY: (Span, Span) = (Span::from_millis(250), Span::from_secs(600));

/// What an engine has to do for a first token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::gate) struct Work {
    /// Prompt tokens to compute, those ahead and its own.
    pub(in crate::gate) prompt_tokens: u32,
    /// Sequences that run beside it.
    pub(in crate::gate) sequences: u32,
}

/// The last answers of one kind: what they took, ns, and for what.
type Seen = VecDeque<(f64, Work)>;

/// What was seen of prompts of about one length.
#[derive(Clone, Debug, Default)]
struct Band {
    /// Times within which a first token came: of an answer in one piece, when all of it came.
    at_most: Seen,
    /// Times to first tokens of answers that came token by token, from engines without a queue.
    exactly: Seen,
}

/// By how much a profile's times to first token are wrong, by length of prompt, and its steps.
#[derive(Clone, Debug)]
pub(super) struct Calibration {
    bands: [Band; BANDS],
    /// What each band says by itself.
    own: [Option<f64>; BANDS],
    factors: [f64; BANDS],
    steps: Seen,
    step_factor: f64,
}

impl Calibration {
    /// Nothing was seen: the profile stands.
    pub(super) fn new() -> Self {
        Self {
            bands: std::array::from_fn(|_| Band::default()),
            own: [None; BANDS],
            factors: [1.0; BANDS],
            steps: Seen::new(),
            step_factor: 1.0,
        }
    }

    /// What a foretold step is to be multiplied by: at most 1. That steps are slower than the
    /// profile says is left to those who read pages: how many tokens an answer had is not always
    /// known, and a wrong guess must not shut engines that have room.
    pub(super) const fn step_factor(&self) -> f64 {
        self.step_factor
    }

    /// An answer came with this mean gap between tokens, so many others beside it when it was
    /// sent. Says whether steps are foretold otherwise from now on.
    pub(super) fn stepped(
        &mut self,
        gap_ns: f64,
        sequences: u32,
        foretold: impl Fn(&Work) -> f64,
    ) -> bool {
        note(&mut self.steps, gap_ns, Work { prompt_tokens: 0, sequences });
        self.judge_steps(foretold)
    }

    /// Holds the gaps that were seen against what the profile foretells.
    pub(super) fn judge_steps(&mut self, foretold: impl Fn(&Work) -> f64) -> bool {
        let slowest = agreed(&self.steps, &foretold).map_or(1.0, |(_, slowest)| slowest);
        let factor = if slowest < 1.0 / TOLERANCE { slowest.max(1.0 / FACTOR_MAX) } else { 1.0 };
        let changed = (factor / self.step_factor - 1.0).abs() > STEP_CHANGE;
        if changed {
            self.step_factor = factor;
        }
        changed
    }

    /// What a foretold time is to be multiplied by.
    pub(super) fn factor(&self, prompt_tokens: u32) -> f64 {
        self.factors[band(prompt_tokens)]
    }

    /// A first token, and perhaps more, came within this time.
    pub(super) fn within(&mut self, took_ns: f64, work: Work, foretold: impl Fn(&Work) -> f64) {
        let band = band(work.prompt_tokens);
        note(&mut self.bands[band].at_most, took_ns, work);
        self.judge_band(band, &foretold);
    }

    /// A first token came after this time, though nothing waited at its engine.
    pub(super) fn after(&mut self, took_ns: f64, work: Work, foretold: impl Fn(&Work) -> f64) {
        let band = band(work.prompt_tokens);
        note(&mut self.bands[band].exactly, took_ns, work);
        self.judge_band(band, &foretold);
    }

    /// Holds what was seen against what the profile foretells, which may be another one by now.
    pub(super) fn judge(&mut self, foretold: impl Fn(&Work) -> f64) {
        self.own = std::array::from_fn(|band| self.bands[band].factor(&foretold));
        self.spread();
    }

    /// The same of the one band that an answer came from.
    fn judge_band(&mut self, band: usize, foretold: &impl Fn(&Work) -> f64) {
        let own = self.bands[band].factor(foretold);
        if own != self.own[band] {
            self.own[band] = own;
            self.spread();
        }
    }

    /// From what bands say by themselves to what holds for each.
    fn spread(&mut self) {
        let own = &self.own;
        self.factors = std::array::from_fn(|index| {
            own[index].unwrap_or_else(|| {
                // Nothing is known of prompts of this length. That others are fast may hold for
                // them too, and costs a few late answers if not; that others are slow would turn
                // them away without a try.
                let known = (0..BANDS).filter(|other| own[*other].is_some());
                let nearest = known.min_by_key(|other| other.abs_diff(index));
                nearest.and_then(|other| own[other]).map_or(1.0, |factor| factor.min(1.0))
            })
        });
    }
}

impl Band {
    /// What the profile is wrong by; 1 if it is not contradicted, `None` where too little was
    /// seen.
    fn factor(&self, foretold: &impl Fn(&Work) -> f64) -> Option<f64> {
        let (_, slowest) = agreed(&self.at_most, foretold)?;
        if slowest < 1.0 / TOLERANCE {
            return Some(slowest.max(1.0 / FACTOR_MAX));
        }
        let fastest = agreed(&self.exactly, foretold).map_or(1.0, |(fastest, _)| fastest);
        Some(if fastest > TOLERANCE { fastest.min(FACTOR_MAX) } else { 1.0 })
    }
}

fn band(prompt_tokens: u32) -> usize {
    let doublings = (prompt_tokens / BAND_TOKENS).checked_ilog2();
    doublings.map_or(0, |doublings| (doublings as usize + 1).min(BANDS - 1))
}

fn note(seen: &mut Seen, took_ns: f64, work: Work) {
    if seen.len() == SEEN_MAX {
        seen.pop_front();
    }
    seen.push_back((took_ns, work));
}

/// Between what nearly all answers lie, as parts of what was foretold for them.
fn agreed(seen: &Seen, foretold: &impl Fn(&Work) -> f64) -> Option<(f64, f64)> {
    if seen.len() < SEEN_MIN {
        return None;
    }
    let mut parts = [0.0; SEEN_MAX];
    for (part, (took_ns, work)) in parts.iter_mut().zip(seen) {
        *part = took_ns / foretold(work).max(1.0);
    }
    let parts = &mut parts[..seen.len()];
    parts.sort_unstable_by(f64::total_cmp);
    let odd = parts.len() / ODD;
    Some((parts[odd], parts[parts.len() - 1 - odd]))
}

/// When prompts may be sent although they are foretold to be late even on an idle engine: nobody
/// would ever learn that the profile is wrong about them if none were.
#[derive(Clone, Debug, Default)]
pub(super) struct Tries {
    bands: [(Time, u32); BANDS],
}

impl Tries {
    /// Whether one of this length may be tried now; if so, the next has to wait, twice as long
    /// each time, for if the profile is wrong the first few mend it.
    pub(super) fn take(&mut self, now: Time, prompt_tokens: u32) -> bool {
        let (next, count) = &mut self.bands[band(prompt_tokens)];
        if now < *next {
            return false;
        }
        let wait = TRY.0.0.saturating_mul(1 << (*count).min(32));
        (*next, *count) = (now + Span(wait.min(TRY.1.0)), count.saturating_add(1));
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A profile of 10 ms and 0.1 ms per token, ns.
    fn foretold(work: &Work) -> f64 {
        1e7 + f64::from(work.prompt_tokens) * 1e5
    }

    fn work(prompt_tokens: u32) -> Work {
        Work { prompt_tokens, sequences: 0 }
    }

    #[test]
    fn a_profile_that_all_contradict_is_mended_by_the_first_few() {
        let mut fast = Calibration::new();
        for _ in 0..3 {
            fast.within(foretold(&work(1_000)) / 10.0, work(1_000), foretold);
        }
        assert!((fast.factor(1_000) - 1.0).abs() < 1e-9, "three prove nothing");
        fast.within(foretold(&work(1_000)) / 10.0, work(1_000), foretold);
        assert!((fast.factor(1_000) - 0.1).abs() < 1e-9);
        assert!((fast.factor(60_000) - 0.1).abs() < 1e-9, "longer ones perhaps too");
        for _ in 0..4 {
            fast.within(foretold(&work(60_000)), work(60_000), foretold);
        }
        assert!((fast.factor(60_000) - 1.0).abs() < 1e-9, "they are not");

        let mut slow = Calibration::new();
        for _ in 0..4 {
            slow.within(foretold(&work(100)) * 10.0, work(100), foretold);
            assert!((slow.factor(100) - 1.0).abs() < 1e-9, "the rest of an answer is not slow");
        }
        for _ in 0..4 {
            slow.after(foretold(&work(100)) * 10.0, work(100), foretold);
        }
        assert!((slow.factor(100) - 10.0).abs() < 1e-9);
        assert!((slow.factor(1_000) - 1.0).abs() < 1e-9, "nobody knows of longer ones");
        // The profile is replaced by one that is right.
        slow.judge(|work| foretold(work) * 10.0);
        assert!((slow.factor(100) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_was_in_vain_is_tried_again_ever_more_rarely() {
        let mut tries = Tries::default();
        let mut at = Vec::new();
        for second in 0..36_000_u64 {
            let now = Time::ZERO + Span::from_millis(second * 100);
            if tries.take(now, 4_000) {
                at.push(now.as_seconds());
            }
        }
        assert!(at.iter().filter(|at| **at < 2.0).count() >= 4, "{at:?}");
        assert!(at.len() < 20, "{at:?}");
        assert!(tries.take(Time::ZERO, 100), "of other lengths nothing was tried");
    }

    proptest! {
        /// A right profile stays in force whatever one in eight meets, and however noisy.
        #[test]
        fn a_profile_that_is_right_is_left_alone(
            answers in proptest::collection::vec((1_u32..20_000, 0.7_f64..1.5, 0_u8..16), 1..200)
        ) {
            let mut calibration = Calibration::new();
            let mut since_odd = [0_u32; BANDS];
            for (prompt_tokens, noise, odd) in answers {
                let work = work(prompt_tokens);
                // At most one of any sixteen in a row is far off.
                let since = &mut since_odd[band(prompt_tokens)];
                let far = odd < 2 && *since >= 16;
                *since = if far { 0 } else { *since + 1 };
                let part = if far { [0.001, 1_000.0][usize::from(odd)] } else { noise };
                let took_ns = foretold(&work) * part;
                calibration.within(took_ns, work, foretold);
                calibration.after(took_ns, work, foretold);
                for tokens in [1, 200, 3_000, 100_000] {
                    prop_assert!((calibration.factor(tokens) - 1.0).abs() < 1e-9);
                }
            }
        }

        /// Whatever was seen, a correction is no more than nearly all of it agrees on, and bounded.
        #[test]
        fn a_correction_lies_within_what_was_seen(
            parts in proptest::collection::vec(1e-6_f64..1e6, 1..100)
        ) {
            let mut calibration = Calibration::new();
            for part in &parts {
                calibration.within(foretold(&work(500)) * part, work(500), foretold);
                calibration.after(foretold(&work(500)) * part, work(500), foretold);
                let factor = calibration.factor(500);
                let least = parts.iter().copied().fold(1.0, f64::min).max(1.0 / FACTOR_MAX);
                let most = parts.iter().copied().fold(1.0, f64::max).min(FACTOR_MAX);
                prop_assert!((least * 0.999..=most * 1.001).contains(&factor), "{factor}");
            }
        }
    }
}
