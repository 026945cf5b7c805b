//! The series that scaling policies query, by their Prometheus names.

use forebay_core::observe::{EngineSample, Histogram, RouterSample, RouterTierSample};

/// One series with a value per engine, per tier of the router, or per scale target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Series {
    Running,
    Waiting,
    Kv,
    PromptTokens,
    GenerationTokens,
    Finished,
    Preemptions,
    Queue,
    QueueTokens,
    RouterRunning,
    InflightTokens,
    Saturation,
    Requests,
    RouterPromptTokens,
    RouterOutputTokens,
    Errors,
    Replicas,
    ReplicasReady,
    ReplicasUnavailable,
}

/// Whose values a series holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Engine,
    Router,
    Target,
}

/// Every series with its canonical name first, then the other names under which it is known.
const NAMES: &[(Series, &[&str])] = &[
    (Series::Running, &["vllm:num_requests_running"]),
    (Series::Waiting, &["vllm:num_requests_waiting"]),
    (Series::Kv, &["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"]),
    (Series::PromptTokens, &["vllm:prompt_tokens_total"]),
    (Series::GenerationTokens, &["vllm:generation_tokens_total"]),
    (Series::Finished, &["vllm:request_success_total"]),
    (Series::Preemptions, &["vllm:num_preemptions_total"]),
    (
        Series::Queue,
        &["llm_d_epp_flow_control_queue_size", "inference_extension_flow_control_queue_size"],
    ),
    (
        Series::QueueTokens,
        &["llm_d_epp_flow_control_queue_bytes", "inference_extension_flow_control_queue_bytes"],
    ),
    (
        Series::RouterRunning,
        &[
            "llm_d_epp_request_running",
            "llm_d_epp_inflight_requests",
            "inference_model_running_requests",
            "inference_objective_running_requests",
        ],
    ),
    (Series::InflightTokens, &["llm_d_epp_inflight_tokens"]),
    (
        Series::Saturation,
        &[
            "llm_d_epp_flow_control_pool_saturation",
            "inference_extension_flow_control_pool_saturation",
        ],
    ),
    (
        Series::Requests,
        &[
            "llm_d_epp_request_total",
            "inference_model_request_total",
            "inference_objective_request_total",
        ],
    ),
    (
        Series::RouterPromptTokens,
        &["llm_d_epp_request_input_tokens_sum", "inference_objective_input_tokens_sum"],
    ),
    (
        Series::RouterOutputTokens,
        &["llm_d_epp_request_output_tokens_sum", "inference_objective_output_tokens_sum"],
    ),
    (Series::Errors, &["llm_d_epp_request_error_total", "inference_objective_request_error_total"]),
    (Series::Replicas, &["kube_deployment_status_replicas", "kube_deployment_spec_replicas"]),
    (
        Series::ReplicasReady,
        &["kube_deployment_status_replicas_ready", "kube_deployment_status_replicas_available"],
    ),
    (Series::ReplicasUnavailable, &["kube_deployment_status_replicas_unavailable"]),
];

impl Series {
    /// The series of that name. Adapters that cannot write a colon write `_` instead.
    pub(crate) fn find(name: &str) -> Option<Self> {
        let same = |known: &str| known == name || known.replace(':', "_") == name;
        NAMES
            .iter()
            .find(|(_, names)| names.iter().any(|known| same(known)))
            .map(|(series, _)| *series)
    }

    /// Its canonical Prometheus name.
    pub(crate) fn name(self) -> &'static str {
        let names = NAMES.iter().find(|(series, _)| *series == self);
        names.and_then(|(_, names)| names.first()).copied().unwrap_or_default()
    }

    /// All canonical names.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().filter_map(|(_, names)| names.first()).copied()
    }

    pub(crate) const fn level(self) -> Level {
        match self {
            Self::Running
            | Self::Waiting
            | Self::Kv
            | Self::PromptTokens
            | Self::GenerationTokens
            | Self::Finished
            | Self::Preemptions => Level::Engine,
            Self::Replicas | Self::ReplicasReady | Self::ReplicasUnavailable => Level::Target,
            _ => Level::Router,
        }
    }

    /// Whether it only rises, so that only its rate means anything.
    pub(crate) const fn is_counter(self) -> bool {
        matches!(
            self,
            Self::PromptTokens
                | Self::GenerationTokens
                | Self::Finished
                | Self::Preemptions
                | Self::Requests
                | Self::RouterPromptTokens
                | Self::RouterOutputTokens
                | Self::Errors
        )
    }

    pub(crate) fn of_engine(self, sample: &EngineSample) -> Option<f64> {
        Some(match self {
            Self::Running => sample.running,
            Self::Waiting => sample.waiting,
            Self::Kv => sample.kv_usage,
            Self::PromptTokens => sample.prompt_tokens_total,
            Self::GenerationTokens => sample.generation_tokens_total,
            Self::Finished => sample.requests_finished_total,
            Self::Preemptions => sample.preemptions_total,
            _ => return None,
        })
    }

    pub(crate) fn of_tier(self, tier: &RouterTierSample, router: &RouterSample) -> Option<f64> {
        Some(match self {
            Self::Queue => tier.queued,
            Self::QueueTokens => tier.queued_prompt_tokens,
            Self::RouterRunning => tier.running,
            Self::InflightTokens => tier.inflight_prompt_tokens,
            Self::Saturation => router.saturation,
            Self::Requests => tier.requests_total,
            Self::RouterPromptTokens => tier.prompt_tokens_total,
            Self::RouterOutputTokens => tier.output_tokens_total,
            Self::Errors => tier.errors_total,
            _ => return None,
        })
    }
}

/// One histogram that policies take quantiles of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    EngineTtft,
    EngineTpot,
    EngineItl,
    EngineQueueTime,
    EngineE2e,
    RouterTtft,
    RouterTpot,
}

const FAMILIES: &[(Family, &[&str])] = &[
    (Family::EngineTtft, &["vllm:time_to_first_token_seconds"]),
    (Family::EngineTpot, &["vllm:request_time_per_output_token_seconds"]),
    (
        Family::EngineItl,
        &["vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"],
    ),
    (Family::EngineQueueTime, &["vllm:request_queue_time_seconds"]),
    (Family::EngineE2e, &["vllm:e2e_request_latency_seconds"]),
    (
        Family::RouterTtft,
        &["llm_d_epp_request_ttft_seconds", "llm_d_epp_request_predicted_ttft_seconds"],
    ),
    (
        Family::RouterTpot,
        &["llm_d_epp_request_streaming_tpot_seconds", "llm_d_epp_request_predicted_tpot_seconds"],
    ),
];

impl Family {
    /// The histogram whose buckets have that name (with or without `_bucket`).
    pub(crate) fn find(name: &str) -> Option<Self> {
        let name = name.strip_suffix("_bucket").unwrap_or(name);
        let same = |known: &str| known == name || known.replace(':', "_") == name;
        FAMILIES
            .iter()
            .find(|(_, names)| names.iter().any(|known| same(known)))
            .map(|(family, _)| *family)
    }

    pub(crate) fn name(self) -> &'static str {
        let names = FAMILIES.iter().find(|(family, _)| *family == self);
        names.and_then(|(_, names)| names.first()).copied().unwrap_or_default()
    }

    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        FAMILIES.iter().filter_map(|(_, names)| names.first()).copied()
    }

    pub(crate) const fn level(self) -> Level {
        match self {
            Self::RouterTtft | Self::RouterTpot => Level::Router,
            _ => Level::Engine,
        }
    }

    pub(crate) const fn of_engine(self, sample: &EngineSample) -> Option<&Histogram> {
        Some(match self {
            Self::EngineTtft => &sample.ttft,
            Self::EngineTpot => &sample.tpot,
            Self::EngineItl => &sample.itl,
            Self::EngineQueueTime => &sample.queue_time,
            Self::EngineE2e => &sample.e2e,
            _ => return None,
        })
    }

    pub(crate) const fn of_tier(self, tier: &RouterTierSample) -> Option<&Histogram> {
        Some(match self {
            Self::RouterTtft => &tier.ttft,
            Self::RouterTpot => &tier.tpot,
            _ => return None,
        })
    }
}
