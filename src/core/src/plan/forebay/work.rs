//! Demand as work: the replica-seconds that it costs, the scale on which it is forecast.

use crate::demand::TierLoad;
use crate::engine::profile::EngineProfile;
use crate::engine::work::WorkModel;
use crate::fleet::{Fleet, Role, Slo, Transfer};
use crate::time::Span;

/// Replicas that a demand keeps busy, at the batch that room for KV allows.
#[must_use]
pub(super) fn busy(profile: &EngineProfile, role: Role, load: &TierLoad) -> f64 {
    let prompt = load.workload.prompt_tokens;
    let output = load.workload.output_tokens;
    let model = WorkModel::new(profile, prompt.mean, output.mean.max(1.0));
    let cached = prompt.mean * load.workload.cached_share;
    let prefill = match role {
        Role::Decode => 0.0,
        Role::Both | Role::Prefill => model.prefill_s(prompt.mean - cached, cached),
    };
    let decode = match role {
        Role::Prefill => 0.0,
        Role::Both | Role::Decode => model.decode_s(prompt.mean, output.mean.max(1.0)),
    };
    load.requests_per_s * (prefill + decode)
}

/// What a role has to keep of an SLO. Prefill keeps the TTFT less what the transfer of the prompt
/// takes; decode the TPOT, and a tenth of the TTFT for the wait for a seat.
#[must_use]
pub(super) fn share_of(
    slo: Slo,
    role: Role,
    transfer: &Transfer,
    profile: &EngineProfile,
    prompt_tokens: f64,
) -> Slo {
    /// Share of the TTFT that decode replicas may take for a seat.
    const SEAT_SHARE: f64 = 0.1;
    let Slo::Latency { ttft, tpot, percentile } = slo else { return slo };
    let bytes = prompt_tokens * profile.kv.bytes_per_token as f64;
    let moved = transfer.setup.as_seconds() + bytes / transfer.bytes_per_second.max(1.0);
    let ttft_s = ttft.as_seconds();
    let seat_s = ttft_s * SEAT_SHARE;
    let ttft = match role {
        Role::Both => ttft,
        // Never so little that the objective looks out of reach for the transfer alone.
        Role::Prefill => Span::from_seconds((ttft_s - moved - seat_s).max(ttft_s * SEAT_SHARE)),
        Role::Decode => Span::from_seconds(seat_s),
    };
    Slo::Latency { ttft, tpot, percentile }
}

/// What a queue without priorities has to keep for everybody: the strictest of everything.
#[must_use]
pub(super) fn strictest(fleet: &Fleet) -> Option<Slo> {
    let latencies = fleet.slos.iter().flatten().filter_map(|slo| match slo {
        Slo::Latency { ttft, tpot, percentile } => Some((*ttft, *tpot, *percentile)),
        Slo::Completion { .. } => None,
    });
    let strictest = latencies.reduce(|a, b| (a.0.min(b.0), a.1.min(b.1), a.2.max(b.2)));
    let (ttft, tpot, percentile) = strictest?;
    Some(Slo::Latency { ttft, tpot, percentile })
}
