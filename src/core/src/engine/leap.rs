//! A stretch of steps in closed form: while a pure decode batch of B sequences runs, its KV grows
//! by B tokens a step, so step times are an arithmetic series.

use crate::time::Picos;

/// Most steps in one leap; keeps sums of picoseconds inside `u64`. A longer stretch is simply
/// leapt over in several leaps. Tests make it small, so that this happens.
pub(super) const LEAP_STEPS_MAX: u32 = if cfg!(test) { 24 } else { 8_192 };

/// Steps of equal content: one mixed step, or a stretch of pure decode steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leap {
    /// Start of the first step.
    pub(super) start: Picos,
    /// End of the last step.
    pub(super) end: Picos,
    /// Steps; at least 1.
    pub(super) steps: u32,
    /// Time of the first step.
    pub(super) first_step: Picos,
    /// By how much each step is longer than the one before.
    pub(super) growth: Picos,
    /// Sequences that decode in each step.
    pub(super) decodes: u32,
}

impl Leap {
    pub(super) fn new(
        start: Picos,
        steps: u32,
        first_step: Picos,
        growth: Picos,
        decodes: u32,
    ) -> Self {
        let mut leap = Self { start, end: start, steps, first_step, growth, decodes };
        leap.end = start.saturating_add(leap.elapsed(steps));
        leap
    }

    /// Time that the first `steps` steps take.
    fn elapsed(&self, steps: u32) -> Picos {
        let steps = u64::from(steps);
        let linear = self.first_step.saturating_mul(steps);
        // steps * (steps - 1) is even and fits, as steps <= LEAP_STEPS_MAX.
        linear.saturating_add(self.growth.saturating_mul(steps * steps.saturating_sub(1) / 2))
    }

    /// Steps that have ended at `at` or before.
    pub(super) fn steps_done(&self, at: Picos) -> u32 {
        if at >= self.end {
            return self.steps;
        }
        let Some(passed) = at.checked_sub(self.start) else { return 0 };
        if self.steps == 1 || passed < self.first_step {
            return 0;
        }
        let mut done = self.steps_guess(passed);
        // The guess is within rounding of the truth; whole numbers decide.
        while done < self.steps && self.elapsed(done + 1) <= passed {
            done += 1;
        }
        while self.elapsed(done) > passed {
            done -= 1;
        }
        done
    }

    fn steps_guess(&self, passed: Picos) -> u32 {
        if self.growth == 0 {
            return u32::try_from(passed / self.first_step).unwrap_or(u32::MAX).min(self.steps);
        }
        // growth/2 * n^2 + (first - growth/2) * n - passed = 0, in the form that does not cancel.
        let half_growth = self.growth as f64 / 2.0;
        let slope = self.first_step as f64 - half_growth;
        let passed = passed as f64;
        let root = (slope * slope + 4.0 * half_growth * passed).sqrt();
        let guess = if slope >= 0.0 {
            2.0 * passed / (slope + root)
        } else {
            (root - slope) / self.growth as f64
        };
        (guess as u32).min(self.steps)
    }

    /// The end of the step that is under way at `at`: the first border after it.
    pub(super) fn border_after(&self, at: Picos) -> Picos {
        let steps = (self.steps_done(at) + 1).min(self.steps);
        self.start.saturating_add(self.elapsed(steps))
    }

    /// Ends the leap at the first step border after `at`.
    pub(super) fn cut(&mut self, at: Picos) {
        let steps = self.steps_done(at) + 1;
        if steps < self.steps {
            self.steps = steps;
            self.end = self.start.saturating_add(self.elapsed(steps));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn steps_done_turns_at_each_border(
            start in 0_u64..10_u64.pow(18),
            first_step in 1_000_u64..10_u64.pow(12),
            growth in prop_oneof![Just(0), 1_u64..1_000, 1_000_000_u64..10_u64.pow(10)],
            steps in 1_u32..8_192,
            share in 0.0..1.0,
        ) {
            let leap = Leap::new(start, steps, first_step, growth, 1);
            let done = (f64::from(steps) * share) as u32;
            let border = start + leap.elapsed(done);
            prop_assert_eq!(leap.steps_done(border), done);
            let next = start + leap.elapsed(done + 1);
            prop_assert_eq!(leap.steps_done(next - 1), done);
            let mut cut = leap;
            cut.cut(border);
            prop_assert_eq!((cut.steps, cut.end), (done + 1, next));
        }
    }

    #[test]
    fn steps_add_up_one_by_one() {
        let leap = Leap::new(100, 50, 7_000, 13, 1);
        let mut end = 100;
        for step in 0..50 {
            assert_eq!(leap.steps_done(end), step);
            end += 7_000 + 13 * u64::from(step);
        }
        assert_eq!((leap.end, leap.steps_done(end)), (end, 50));
    }
}
