//! One scrape of one engine, and one of the router, with the series that each field stands for.

use super::histogram::{Buckets, Histogram};

/// One scrape of one engine. Gauges may be NaN, as a real page may say; counters only rise until
/// the engine restarts. Names are vLLM's; other engines' dialects map onto the same fields.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineSample {
    /// `vllm:num_requests_running`.
    pub running: f64,
    /// `vllm:num_requests_waiting` (includes `waiting_deferred`).
    pub waiting: f64,
    /// `vllm:num_requests_waiting_by_reason{reason="deferred"}`: waits for remote KV.
    pub waiting_deferred: f64,
    /// `vllm:kv_cache_usage_perc`, 0..1: blocks held by live requests.
    pub kv_usage: f64,
    /// `num_gpu_blocks * block_size` of `vllm:cache_config_info`.
    pub kv_capacity_tokens: f64,
    /// `vllm:prompt_tokens_total`.
    pub prompt_tokens_total: f64,
    /// `vllm:generation_tokens_total`.
    pub generation_tokens_total: f64,
    /// `vllm:request_success_total`, all reasons.
    pub requests_finished_total: f64,
    /// `vllm:num_preemptions_total`.
    pub preemptions_total: f64,
    /// `vllm:prefix_cache_queries_total`, tokens.
    pub prefix_queries_tokens_total: f64,
    /// `vllm:prefix_cache_hits_total`, tokens.
    pub prefix_hits_tokens_total: f64,
    /// `vllm:time_to_first_token_seconds`.
    pub ttft: Histogram,
    /// `vllm:inter_token_latency_seconds`.
    pub itl: Histogram,
    /// `vllm:request_time_per_output_token_seconds`.
    pub tpot: Histogram,
    /// `vllm:request_queue_time_seconds`.
    pub queue_time: Histogram,
    /// `vllm:e2e_request_latency_seconds`.
    pub e2e: Histogram,
    /// `vllm:iteration_tokens_total`; its count is the number of steps.
    pub iteration_tokens: Histogram,
    /// `vllm:request_prompt_tokens`.
    pub prompt_lengths: Histogram,
    /// `vllm:request_generation_tokens`.
    pub generation_lengths: Histogram,
}

impl EngineSample {
    /// The page of an engine that has served nothing yet.
    #[must_use]
    pub const fn idle(kv_capacity_tokens: f64) -> Self {
        Self {
            running: 0.0,
            waiting: 0.0,
            waiting_deferred: 0.0,
            kv_usage: 0.0,
            kv_capacity_tokens,
            prompt_tokens_total: 0.0,
            generation_tokens_total: 0.0,
            requests_finished_total: 0.0,
            preemptions_total: 0.0,
            prefix_queries_tokens_total: 0.0,
            prefix_hits_tokens_total: 0.0,
            ttft: Histogram::new(Buckets::Ttft),
            itl: Histogram::new(Buckets::InterToken),
            tpot: Histogram::new(Buckets::InterToken),
            queue_time: Histogram::new(Buckets::RequestLatency),
            e2e: Histogram::new(Buckets::RequestLatency),
            iteration_tokens: Histogram::new(Buckets::IterationTokens),
            prompt_lengths: Histogram::new(Buckets::Lengths),
            generation_lengths: Histogram::new(Buckets::Lengths),
        }
    }
}

/// One scrape of the router (gate, endpoint picker) of one fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterSample {
    /// By [`crate::ids::TierId`].
    pub tiers: Vec<RouterTierSample>,
    /// `llm_d_epp_flow_control_pool_saturation`; NaN where the gate has none.
    pub saturation: f64,
}

/// What the router exports of one tier (label `priority`).
#[derive(Clone, Debug, PartialEq)]
pub struct RouterTierSample {
    /// `llm_d_epp_flow_control_queue_size`: requests held in the gate.
    pub queued: f64,
    /// Prompt tokens of the queued requests (`llm_d_epp_flow_control_queue_bytes`, in tokens).
    pub queued_prompt_tokens: f64,
    /// `llm_d_epp_request_running`.
    pub running: f64,
    /// `llm_d_epp_inflight_tokens`: prompt tokens of dispatched requests without a first token
    /// yet, the cached part left out where the router can tell.
    pub inflight_prompt_tokens: f64,
    /// `llm_d_epp_request_total`: arrivals, admitted or not.
    pub requests_total: f64,
    /// Sum of `llm_d_epp_request_input_tokens`: prompt tokens of arrivals.
    pub prompt_tokens_total: f64,
    /// Sum of `llm_d_epp_request_output_tokens`: tokens of finished requests.
    pub output_tokens_total: f64,
    /// `llm_d_epp_request_error_total`: refused, timed out or failed.
    pub errors_total: f64,
    /// `llm_d_epp_request_ttft_seconds`: from arrival at the router.
    pub ttft: Histogram,
    /// `llm_d_epp_request_streaming_tpot_seconds`.
    pub tpot: Histogram,
}

impl Default for RouterTierSample {
    fn default() -> Self {
        Self {
            queued: 0.0,
            queued_prompt_tokens: 0.0,
            running: 0.0,
            inflight_prompt_tokens: 0.0,
            requests_total: 0.0,
            prompt_tokens_total: 0.0,
            output_tokens_total: 0.0,
            errors_total: 0.0,
            ttft: Histogram::new(Buckets::Ttft),
            tpot: Histogram::new(Buckets::InterToken),
        }
    }
}
