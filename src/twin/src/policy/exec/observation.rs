//! `forebay.observation/v1`: what an external policy is told, as one line of JSON. A value that
//! is not known is `null`; it is never zero.

use forebay_core::fleet::{Slo, World};
use forebay_core::ids::{FleetId, VariantId};
use forebay_core::observe::Histogram;
use forebay_core::plan::FleetView;
use forebay_core::time::{Span, Time};
use serde::Serialize;

/// Version of the line.
pub(crate) const SCHEMA: &str = "forebay.observation/v1";

/// Over which latency quantiles are taken.
const QUANTILES_WINDOW: Span = Span::from_secs(60);

#[derive(Serialize)]
struct Observation<'a> {
    schema: &'static str,
    decision: u64,
    now_s: f64,
    starts_at_unix_s: i64,
    fleets: Vec<Fleet<'a>>,
}

#[derive(Serialize)]
struct Fleet<'a> {
    name: &'a str,
    slos: Vec<TierSlo<'a>>,
    router: Option<Router<'a>>,
    variants: Vec<Variant<'a>>,
}

#[derive(Serialize)]
struct TierSlo<'a> {
    tier: &'a str,
    ttft_s: Option<f64>,
    tpot_s: Option<f64>,
    completion_s: Option<f64>,
    percentile: f64,
}

#[derive(Serialize)]
struct Router<'a> {
    age_s: f64,
    saturation: f64,
    tiers: Vec<RouterTier<'a>>,
}

#[derive(Serialize)]
struct RouterTier<'a> {
    tier: &'a str,
    queued: f64,
    queued_prompt_tokens: f64,
    running: f64,
    inflight_prompt_tokens: f64,
    requests_total: f64,
    prompt_tokens_total: f64,
    output_tokens_total: f64,
    errors_total: f64,
    ttft_p90_s: Option<f64>,
    tpot_p90_s: Option<f64>,
    ttft: Buckets<'a>,
    tpot: Buckets<'a>,
}

/// A histogram: observations per bucket (not cumulative), zeros at the end left out, and their
/// sum.
#[derive(Serialize)]
struct Buckets<'a> {
    counts: &'a [f64],
    sum: f64,
}

impl<'a> From<&'a Histogram> for Buckets<'a> {
    fn from(histogram: &'a Histogram) -> Self {
        // A count that is not a number is not zero.
        let used = histogram.counts.iter().rposition(|count| *count != 0.0);
        Self { counts: &histogram.counts[..used.map_or(0, |last| last + 1)], sum: histogram.sum }
    }
}

#[derive(Serialize)]
struct Variant<'a> {
    name: String,
    role: &'static str,
    accelerator: &'a str,
    accelerators_per_replica: u32,
    usd_per_hour: Option<f64>,
    min: u32,
    max: u32,
    start_up_s: f64,
    max_num_batched_tokens: u32,
    max_num_seqs: u32,
    replicas_desired: u32,
    replicas_current: u32,
    replicas_ready: usize,
    endpoints_ready: Vec<u32>,
    starting_since_s: Vec<f64>,
    unschedulable_since_s: Vec<f64>,
    draining: u32,
    engines: Vec<Engine<'a>>,
}

#[derive(Serialize)]
struct Engine<'a> {
    endpoint: u32,
    age_s: f64,
    running: f64,
    waiting: f64,
    waiting_deferred: f64,
    kv_usage: f64,
    kv_capacity_tokens: f64,
    prompt_tokens_total: f64,
    generation_tokens_total: f64,
    requests_finished_total: f64,
    preemptions_total: f64,
    prefix_queries_tokens_total: f64,
    prefix_hits_tokens_total: f64,
    ttft: Buckets<'a>,
    itl: Buckets<'a>,
    tpot: Buckets<'a>,
    queue_time: Buckets<'a>,
    e2e: Buckets<'a>,
    iteration_tokens: Buckets<'a>,
    prompt_lengths: Buckets<'a>,
    generation_lengths: Buckets<'a>,
}

/// The observation of one decision, with its line end.
pub(crate) fn line(now: Time, decision: u64, view: &FleetView<'_>) -> String {
    let fleets = (0..view.world.fleets.len()).map(|index| fleet(now, FleetId(index as u16), view));
    let observation = Observation {
        schema: SCHEMA,
        decision,
        now_s: now.as_seconds(),
        starts_at_unix_s: view.origin.0,
        fleets: fleets.collect(),
    };
    // Plain numbers and strings always serialise; NaN becomes null.
    let mut line = serde_json::to_string(&observation).unwrap_or_default();
    line.push('\n');
    line
}

fn fleet<'a>(now: Time, id: FleetId, view: &FleetView<'a>) -> Fleet<'a> {
    let world = view.world;
    let fleet = &world.fleets[id.index()];
    let slos = fleet.slos.iter().zip(&world.tiers).filter_map(|(slo, tier)| {
        let tier = tier.name.as_str();
        Some(match slo.as_ref()? {
            Slo::Latency { ttft, tpot, percentile } => TierSlo {
                tier,
                ttft_s: Some(ttft.as_seconds()),
                tpot_s: Some(tpot.as_seconds()),
                completion_s: None,
                percentile: *percentile,
            },
            Slo::Completion { within, percentile } => TierSlo {
                tier,
                ttft_s: None,
                tpot_s: None,
                completion_s: Some(within.as_seconds()),
                percentile: *percentile,
            },
        })
    });
    Fleet {
        name: &fleet.name,
        slos: slos.collect(),
        router: router(now, id, view),
        variants: world.variants_of(id).map(|(id, _)| variant(now, id, world, view)).collect(),
    }
}

fn router<'a>(now: Time, fleet: FleetId, view: &FleetView<'a>) -> Option<Router<'a>> {
    let sample = view.metrics.router(fleet, now)?;
    let window = view.metrics.router_window(fleet, now, QUANTILES_WINDOW);
    let tiers = view.world.tiers.iter().zip(&sample.value.tiers).enumerate();
    let tiers = tiers.map(|(index, (tier, page))| {
        let p90 = |read: fn(&forebay_core::observe::RouterTierSample) -> &Histogram| {
            let (first, last) = window?;
            let (first, last) = (first.value.tiers.get(index)?, last.value.tiers.get(index)?);
            read(last).since(read(first)).quantile(0.9)
        };
        RouterTier {
            tier: &tier.name,
            queued: page.queued,
            queued_prompt_tokens: page.queued_prompt_tokens,
            running: page.running,
            inflight_prompt_tokens: page.inflight_prompt_tokens,
            requests_total: page.requests_total,
            prompt_tokens_total: page.prompt_tokens_total,
            output_tokens_total: page.output_tokens_total,
            errors_total: page.errors_total,
            ttft_p90_s: p90(|page| &page.ttft),
            tpot_p90_s: p90(|page| &page.tpot),
            ttft: Buckets::from(&page.ttft),
            tpot: Buckets::from(&page.tpot),
        }
    });
    Some(Router {
        age_s: now.since(sample.at).as_seconds(),
        saturation: sample.value.saturation,
        tiers: tiers.collect(),
    })
}

fn variant<'a>(now: Time, id: VariantId, world: &'a World, view: &FleetView<'a>) -> Variant<'a> {
    let variant = &world.variants[id.index()];
    let target = &view.targets[id.index()];
    let seconds = |times: &[Time]| times.iter().map(|time| time.as_seconds()).collect();
    let engines = view.metrics.engines(id, now).map(|(endpoint, sample)| Engine {
        endpoint: endpoint.0,
        age_s: now.since(sample.at).as_seconds(),
        running: sample.value.running,
        waiting: sample.value.waiting,
        waiting_deferred: sample.value.waiting_deferred,
        kv_usage: sample.value.kv_usage,
        kv_capacity_tokens: sample.value.kv_capacity_tokens,
        prompt_tokens_total: sample.value.prompt_tokens_total,
        generation_tokens_total: sample.value.generation_tokens_total,
        requests_finished_total: sample.value.requests_finished_total,
        preemptions_total: sample.value.preemptions_total,
        prefix_queries_tokens_total: sample.value.prefix_queries_tokens_total,
        prefix_hits_tokens_total: sample.value.prefix_hits_tokens_total,
        ttft: Buckets::from(&sample.value.ttft),
        itl: Buckets::from(&sample.value.itl),
        tpot: Buckets::from(&sample.value.tpot),
        queue_time: Buckets::from(&sample.value.queue_time),
        e2e: Buckets::from(&sample.value.e2e),
        iteration_tokens: Buckets::from(&sample.value.iteration_tokens),
        prompt_lengths: Buckets::from(&sample.value.prompt_lengths),
        generation_lengths: Buckets::from(&sample.value.generation_lengths),
    });
    Variant {
        name: format!("{}/{}", world.fleets[variant.fleet.index()].name, variant.name),
        role: variant.role.name(),
        accelerator: &world.accelerators[variant.accelerator.index()].name,
        accelerators_per_replica: variant.accelerators_per_replica,
        usd_per_hour: world.replica_price(id).map(|price| price.0),
        min: variant.replicas_min,
        max: variant.replicas_max,
        start_up_s: variant.start_up.median().as_seconds(),
        max_num_batched_tokens: variant.profile.limits.max_num_batched_tokens,
        max_num_seqs: variant.profile.limits.max_num_seqs,
        replicas_desired: target.replicas_desired,
        replicas_current: target.replicas_current,
        replicas_ready: target.endpoints_ready.len(),
        endpoints_ready: target.endpoints_ready.iter().map(|endpoint| endpoint.0).collect(),
        starting_since_s: seconds(&target.starting_since),
        unschedulable_since_s: seconds(&target.unschedulable_since),
        draining: target.draining,
        engines: engines.collect(),
    }
}
