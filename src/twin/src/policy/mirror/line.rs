//! `forebay.observation/v1` as it is read back. What is missing or `null` is NaN or absent, never
//! zero; fields that are not known are passed over, as fields may be added.

use forebay_core::observe::histogram::BUCKETS_MAX;
use forebay_core::observe::{Buckets, EngineSample, Histogram, RouterTierSample};
use serde::{Deserialize, Deserializer};

#[derive(Debug, Deserialize)]
pub(super) struct Observation {
    pub(super) decision: u64,
    pub(super) now_s: f64,
    #[serde(default)]
    pub(super) starts_at_unix_s: i64,
    pub(super) fleets: Vec<Fleet>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Fleet {
    pub(super) name: String,
    #[serde(default)]
    pub(super) router: Option<Router>,
    pub(super) variants: Vec<Variant>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Router {
    pub(super) age_s: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    pub(super) saturation: f64,
    pub(super) tiers: Vec<RouterTier>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RouterTier {
    pub(super) tier: String,
    #[serde(default = "unknown", deserialize_with = "number")]
    queued: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    queued_prompt_tokens: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    running: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    inflight_prompt_tokens: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    requests_total: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    prompt_tokens_total: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    output_tokens_total: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    errors_total: f64,
    #[serde(default)]
    ttft: Option<Counts>,
    #[serde(default)]
    tpot: Option<Counts>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Variant {
    pub(super) name: String,
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) max_num_batched_tokens: u32,
    pub(super) max_num_seqs: u32,
    pub(super) replicas_desired: u32,
    pub(super) replicas_current: u32,
    pub(super) replicas_ready: usize,
    #[serde(default)]
    pub(super) endpoints_ready: Option<Vec<u32>>,
    pub(super) starting_since_s: Vec<f64>,
    pub(super) unschedulable_since_s: Vec<f64>,
    pub(super) draining: u32,
    pub(super) engines: Vec<Engine>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Engine {
    pub(super) endpoint: u32,
    pub(super) age_s: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    running: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    waiting: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    waiting_deferred: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    kv_usage: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    kv_capacity_tokens: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    prompt_tokens_total: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    generation_tokens_total: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    requests_finished_total: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    preemptions_total: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    prefix_queries_tokens_total: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    prefix_hits_tokens_total: f64,
    #[serde(default)]
    ttft: Option<Counts>,
    #[serde(default)]
    itl: Option<Counts>,
    #[serde(default)]
    tpot: Option<Counts>,
    #[serde(default)]
    queue_time: Option<Counts>,
    #[serde(default)]
    e2e: Option<Counts>,
    #[serde(default)]
    iteration_tokens: Option<Counts>,
    #[serde(default)]
    prompt_lengths: Option<Counts>,
    #[serde(default)]
    generation_lengths: Option<Counts>,
}

/// A histogram's observations per bucket and their sum.
#[derive(Debug, Deserialize)]
struct Counts {
    counts: Vec<Option<f64>>,
    #[serde(default = "unknown", deserialize_with = "number")]
    sum: f64,
}

const fn unknown() -> f64 {
    f64::NAN
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// The histogram; all NaN where there is none, which nobody takes for an empty one.
fn histogram(counts: Option<&Counts>, buckets: Buckets) -> Histogram {
    let mut histogram = Histogram::new(buckets);
    match counts {
        None => {
            histogram.counts = [f64::NAN; BUCKETS_MAX];
            histogram.sum = f64::NAN;
        }
        Some(given) => {
            for (count, given) in histogram.counts.iter_mut().zip(&given.counts) {
                *count = given.unwrap_or(f64::NAN);
            }
            histogram.sum = given.sum;
        }
    }
    histogram
}

/// A tier of which the router says nothing.
pub(super) fn unknown_tier() -> RouterTierSample {
    let nan = f64::NAN;
    RouterTierSample {
        queued: nan,
        queued_prompt_tokens: nan,
        running: nan,
        inflight_prompt_tokens: nan,
        requests_total: nan,
        prompt_tokens_total: nan,
        output_tokens_total: nan,
        errors_total: nan,
        ttft: histogram(None, Buckets::Ttft),
        tpot: histogram(None, Buckets::InterToken),
    }
}

impl RouterTier {
    pub(super) fn sample(&self) -> RouterTierSample {
        RouterTierSample {
            queued: self.queued,
            queued_prompt_tokens: self.queued_prompt_tokens,
            running: self.running,
            inflight_prompt_tokens: self.inflight_prompt_tokens,
            requests_total: self.requests_total,
            prompt_tokens_total: self.prompt_tokens_total,
            output_tokens_total: self.output_tokens_total,
            errors_total: self.errors_total,
            ttft: histogram(self.ttft.as_ref(), Buckets::Ttft),
            tpot: histogram(self.tpot.as_ref(), Buckets::InterToken),
        }
    }
}

impl Engine {
    pub(super) fn sample(&self) -> EngineSample {
        EngineSample {
            running: self.running,
            waiting: self.waiting,
            waiting_deferred: self.waiting_deferred,
            kv_usage: self.kv_usage,
            kv_capacity_tokens: self.kv_capacity_tokens,
            prompt_tokens_total: self.prompt_tokens_total,
            generation_tokens_total: self.generation_tokens_total,
            requests_finished_total: self.requests_finished_total,
            preemptions_total: self.preemptions_total,
            prefix_queries_tokens_total: self.prefix_queries_tokens_total,
            prefix_hits_tokens_total: self.prefix_hits_tokens_total,
            ttft: histogram(self.ttft.as_ref(), Buckets::Ttft),
            itl: histogram(self.itl.as_ref(), Buckets::InterToken),
            tpot: histogram(self.tpot.as_ref(), Buckets::InterToken),
            queue_time: histogram(self.queue_time.as_ref(), Buckets::RequestLatency),
            e2e: histogram(self.e2e.as_ref(), Buckets::RequestLatency),
            iteration_tokens: histogram(self.iteration_tokens.as_ref(), Buckets::IterationTokens),
            prompt_lengths: histogram(self.prompt_lengths.as_ref(), Buckets::Lengths),
            generation_lengths: histogram(self.generation_lengths.as_ref(), Buckets::Lengths),
        }
    }
}
