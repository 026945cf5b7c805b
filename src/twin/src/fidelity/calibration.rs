//! What is fitted to measured runs: few factors on a profile's coefficients.

use forebay_core::engine::profile::{EngineProfile, EvidenceLevel};

/// Factors and overheads of one group of profiles: a model in one weight format on one accelerator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// Logarithm of the factor on the whole step.
    pub step: f64,
    /// Logarithm of the further factor on prefill: compute per token and attention.
    pub prefill: f64,
    /// Logarithm of the further factor on reading KV.
    pub kv_read: f64,
    /// Logarithm of the further factor on reading experts.
    pub experts: f64,
    /// Time of the host per step that kernels do not show, ms.
    pub host_ms: f64,
    /// Time per request outside the step loop, ms.
    pub request_ms: f64,
}

/// Figures of a [`Calibration`].
pub(super) const FIGURES: usize = 6;

impl Calibration {
    /// The figures as a vector, in the order of the fields.
    #[must_use]
    pub const fn figures(&self) -> [f64; FIGURES] {
        [self.step, self.prefill, self.kv_read, self.experts, self.host_ms, self.request_ms]
    }

    /// The reverse of [`Self::figures`]; overheads below zero become zero.
    #[must_use]
    pub const fn from_figures(figures: [f64; FIGURES]) -> Self {
        let [step, prefill, kv_read, experts, host_ms, request_ms] = figures;
        Self {
            step,
            prefill,
            kv_read,
            experts,
            host_ms: host_ms.max(0.0),
            request_ms: request_ms.max(0.0),
        }
    }

    /// The profile with this calibration; its evidence stays as it is.
    #[must_use]
    pub fn apply(&self, profile: &EngineProfile) -> EngineProfile {
        let mut profile = profile.clone();
        let step = &mut profile.step_time;
        step.calibration = rounded(self.step.exp(), 4);
        step.compute_ms_per_ktoken = rounded(step.compute_ms_per_ktoken * self.prefill.exp(), 6);
        step.attention_ms_per_mpair = rounded(step.attention_ms_per_mpair * self.prefill.exp(), 6);
        step.kv_read_ms_per_ktoken = rounded(step.kv_read_ms_per_ktoken * self.kv_read.exp(), 6);
        step.experts_ms = rounded(step.experts_ms * self.experts.exp(), 6);
        // Inside the factor on the whole step, but not meant to scale with it.
        step.fixed_ms = rounded(step.fixed_ms + self.host_ms / step.calibration, 6);
        profile.request_overhead_ms = rounded(self.request_ms, 2);
        profile
    }

    /// The profile with this calibration and evidence that says so: measured where runs of its
    /// own parallelism took part, else carried over from its siblings.
    #[must_use]
    pub fn apply_with_evidence(
        &self,
        profile: &EngineProfile,
        runs: usize,
        own: bool,
    ) -> EngineProfile {
        let mut applied = self.apply(profile);
        let evidence = &mut applied.evidence;
        let calibrated = format!(
            "{} on {runs} measured runs of this model and accelerator: step x{:.2}, prefill \
             x{:.2}, KV x{:.2}{}, {:.2} ms host time per step",
            if own {
                "Calibrated"
            } else {
                "Calibration carried over from other parallelism, fitted"
            },
            self.step.exp(),
            (self.step + self.prefill).exp(),
            (self.step + self.kv_read).exp(),
            if profile.step_time.experts_ms > 0.0 {
                format!(", experts x{:.2}", (self.step + self.experts).exp())
            } else {
                String::new()
            },
            self.host_ms,
        );
        if own {
            evidence.level = EvidenceLevel::Measured;
        }
        evidence.note = Some(match evidence.note.take() {
            Some(note) => format!("{calibrated}. {note}"),
            None => calibrated,
        });
        applied
    }
}

/// A figure to so many decimal places: what files show, and the same on every machine.
fn rounded(figure: f64, places: i32) -> f64 {
    let scale = 10_f64.powi(places);
    (figure * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_land_on_their_coefficients_and_host_time_is_not_scaled() {
        let profile = crate::profiles::built_in().unwrap().remove(0);
        let calibration = Calibration {
            step: 1.25_f64.ln(),
            prefill: 2.0_f64.ln(),
            kv_read: 0.5_f64.ln(),
            experts: 0.0,
            host_ms: 1.0,
            request_ms: 17.0,
        };
        let applied = calibration.apply(&profile);
        let (before, after) = (&profile.step_time, &applied.step_time);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 2e-6, "{a} {b}");
        close(after.calibration, 1.25);
        close(after.compute_ms_per_ktoken, 2.0 * before.compute_ms_per_ktoken);
        close(after.attention_ms_per_mpair, 2.0 * before.attention_ms_per_mpair);
        close(after.kv_read_ms_per_ktoken, 0.5 * before.kv_read_ms_per_ktoken);
        close((after.fixed_ms - before.fixed_ms) * after.calibration, 1.0);
        close(applied.request_overhead_ms, 17.0);
        let figures = calibration.figures();
        assert_eq!(Calibration::from_figures(figures), calibration);
    }
}
