//! Which series tell of arrivals and lengths, by who exported them.

/// Names of one exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    /// As the address may ask for it.
    pub(super) name: &'static str,
    /// Counter that stands for arrivals.
    pub(super) arrivals: &'static str,
    /// What that counter really counts.
    pub(super) arrivals_are: &'static str,
    /// Histogram of prompt lengths, without suffix.
    pub(super) prompt: &'static str,
    /// Histogram of output lengths, without suffix.
    pub(super) output: &'static str,
}

impl Dialect {
    /// In the order in which they are looked for: a router sees arrivals themselves, also of
    /// requests that it refused; an engine sees what reached it.
    pub(super) const ALL: [Self; 3] = [
        Self {
            name: "llm-d",
            arrivals: "llm_d_epp_request_total",
            arrivals_are: "requests that came to the endpoint picker",
            prompt: "llm_d_epp_request_input_tokens",
            output: "llm_d_epp_request_output_tokens",
        },
        Self {
            name: "vllm",
            arrivals: "vllm:time_to_first_token_seconds_count",
            arrivals_are: "first tokens, so an arrival shows one TTFT late and a queue flattens a burst; \
                           requests refused before the engine are missing",
            prompt: "vllm:request_prompt_tokens",
            output: "vllm:request_generation_tokens",
        },
        Self {
            name: "vllm-finished",
            arrivals: "vllm:request_success_total",
            arrivals_are: "finished requests, so an arrival shows one whole response late; \
                           requests refused before the engine are missing",
            prompt: "vllm:request_prompt_tokens",
            output: "vllm:request_generation_tokens",
        },
    ];
}
