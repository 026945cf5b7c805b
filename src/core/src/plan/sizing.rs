//! How many replicas of a variant a demand keeps busy.

use crate::engine::profile::EngineProfile;
use crate::engine::work::{WorkModel, step_seconds};
use crate::fleet::{Fleet, Role, Slo};
use crate::plan::demand::Demand;
use crate::time::Span;

/// Replica-seconds that one request costs a replica of a role.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RequestWork {
    /// Replica-seconds per request; the demand keeps `requests_per_s` times as many replicas busy.
    pub seconds: f64,
    /// The batch at which decoding is counted, sequences.
    pub operating_batch: f64,
}

/// Halvings of the search for the batch: from a million sequences to one.
const HALVINGS: usize = 20;

/// Work of the mean request of a demand on one variant.
///
/// Decoding is counted at the largest batch that the KV cache, `max_num_seqs` and the strictest
/// TPOT allow. A replica kept busy spends a share of its time on prefill, in which nobody
/// decodes: its decode steps must be faster than the TPOT by that share. Without a batch that is
/// fast enough it is counted at 1.
#[must_use]
pub fn request_work(
    profile: &EngineProfile,
    role: Role,
    tpot: Option<Span>,
    demand: &Demand,
) -> RequestWork {
    let output = demand.output_tokens.max(1.0);
    let room = WorkModel::new(profile, demand.prompt_tokens, output).operating_batch();
    let at_room = at_batch(profile, role, demand, room);
    let (Some(tpot), false) = (tpot, role == Role::Prefill) else {
        return at_room.total();
    };
    if at_room.keeps(tpot) {
        return at_room.total();
    }
    let (mut low, mut high) = (1.0, room);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if at_batch(profile, role, demand, middle).keeps(tpot) {
            low = middle;
        } else {
            high = middle;
        }
    }
    at_batch(profile, role, demand, low).total()
}

/// The mean request at one batch.
struct AtBatch {
    batch: f64,
    step_s: f64,
    prefill_s: f64,
    decode_s: f64,
}

impl AtBatch {
    fn total(&self) -> RequestWork {
        RequestWork { seconds: self.prefill_s + self.decode_s, operating_batch: self.batch }
    }

    fn keeps(&self, tpot: Span) -> bool {
        let share = self.decode_s / (self.prefill_s + self.decode_s);
        self.step_s <= tpot.as_seconds() * share
    }
}

fn at_batch(profile: &EngineProfile, role: Role, demand: &Demand, batch: f64) -> AtBatch {
    let (prompt, output) = (demand.prompt_tokens, demand.output_tokens.max(1.0));
    let cached = prompt * demand.cached_share;
    let step = &profile.step_time;
    let model = WorkModel::at_batch(step, batch);
    let context = batch * (prompt + output / 2.0);
    let kv_s = step.calibration * step.kv_read_ms_per_ktoken * 1e-6 * context;
    AtBatch {
        batch,
        step_s: step_seconds(step, batch) + kv_s,
        prefill_s: if role == Role::Decode {
            0.0
        } else {
            model.prefill_s(prompt - cached, cached)
        },
        decode_s: if role == Role::Prefill { 0.0 } else { model.decode_s(prompt, output) },
    }
}

/// The strictest TPOT that a fleet promises to any tier.
#[must_use]
pub fn strictest_tpot(fleet: &Fleet) -> Option<Span> {
    let tpots = fleet.slos.iter().flatten().filter_map(|slo| match slo {
        Slo::Latency { tpot, .. } => Some(*tpot),
        Slo::Completion { .. } => None,
    });
    tpots.min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing::profile;

    fn demand(cached_share: f64) -> Demand {
        Demand { requests_per_s: 1.0, prompt_tokens: 1_000.0, cached_share, output_tokens: 100.0 }
    }

    fn close(left: f64, right: f64) {
        assert!((left - right).abs() < 1e-3 * right.abs(), "{left} is not {right}");
    }

    #[test]
    fn a_request_is_prefill_and_decode_at_the_batch_that_fits() {
        // KV: 100,000 / 1,050 = 95.24 sequences. Prefill 1,000 x 40 us = 40 ms. A step of 95.24:
        // 10 + 3.81 = 13.81 ms, 0.145 ms a token: 14.5 ms for 100; KV 105,000 x 10 ns = 1.05 ms.
        let work = request_work(&profile(), Role::Both, None, &demand(0.0));
        close(work.operating_batch, 95.238);
        close(work.seconds, 0.055_55);
        close(request_work(&profile(), Role::Prefill, None, &demand(0.0)).seconds, 0.04);
        close(request_work(&profile(), Role::Decode, None, &demand(0.0)).seconds, 0.015_55);
        // Half of the prompt cached: 20 ms less.
        close(request_work(&profile(), Role::Both, None, &demand(0.5)).seconds, 0.035_55);
    }

    #[test]
    fn a_strict_tpot_shrinks_the_batch_by_what_prefill_takes() {
        // At TPOT 20 ms, batch 21: step 10 + 0.84 + 0.22 = 11.06 ms; decode 100 x 10.84 / 21 +
        // 1.05 = 52.7 ms; share 52.7 / 92.7 = 0.568: 11.37 ms allowed. At 22: 11.11 and 11.19.
        // At 23: 11.16 and 11.02: too slow.
        let strict = Some(Span::from_millis(20));
        let work = request_work(&profile(), Role::Both, strict, &demand(0.0));
        assert!((22.0..23.0).contains(&work.operating_batch), "{}", work.operating_batch);
        // Decode alone keeps 20 ms at any batch that fits.
        let decode = request_work(&profile(), Role::Decode, strict, &demand(0.0));
        close(decode.operating_batch, 95.238);
        // Nothing keeps 1 ms.
        let hopeless =
            request_work(&profile(), Role::Both, Some(Span::from_millis(1)), &demand(0.0));
        close(hopeless.operating_batch, 1.0);
    }
}
