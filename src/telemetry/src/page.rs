//! The page that a vLLM engine exports, in the Prometheus text format.
//!
//! Names, labels and buckets as in vLLM 0.33.0 (`v1/metrics/loggers.py`), as far as
//! [`EngineSample`] holds them; labels in order of name and numbers as `prometheus_client` writes
//! them.

use std::fmt::Write;

use forebay_core::observe::{EngineSample, Histogram};

/// KV block that the page states; vLLM's default.
const BLOCK_TOKENS: f64 = 16.0;
/// Reasons of `vllm:request_success_total`. A sample does not tell them apart: all are `stop`.
const FINISHED_REASONS: [&str; 5] = ["stop", "length", "abort", "error", "repetition"];

/// The page of one engine that serves `model`; `engine` is the index of its data-parallel rank.
#[must_use]
pub fn vllm_page(sample: &EngineSample, model: &str, engine: u32) -> String {
    let mut page = Page { text: String::with_capacity(16 << 10), engine, model: escaped(model) };
    let zero = |value: f64| value.max(0.0);
    page.gauge(
        "num_requests_running",
        "Number of requests in model execution batches.",
        sample.running,
    );
    page.gauge(
        "num_requests_waiting",
        "Number of requests waiting to be processed.",
        sample.waiting,
    );
    page.family("num_requests_waiting_by_reason", "gauge", "Number of waiting requests by reason. Reason labels: 'capacity' = waiting for scheduling capacity; 'deferred' = deferred by transient constraints.");
    page.labelled(
        "num_requests_waiting_by_reason",
        "reason",
        "capacity",
        zero(sample.waiting - sample.waiting_deferred),
    );
    page.labelled("num_requests_waiting_by_reason", "reason", "deferred", sample.waiting_deferred);
    page.gauge(
        "kv_cache_usage_perc",
        "KV-cache usage. 1 means 100 percent usage.",
        sample.kv_usage,
    );
    page.counter(
        "prefix_cache_queries",
        "Prefix cache queries, in terms of number of queried tokens.",
        sample.prefix_queries_tokens_total,
    );
    page.counter(
        "prefix_cache_hits",
        "Prefix cache hits, in terms of number of cached tokens.",
        sample.prefix_hits_tokens_total,
    );
    page.counter(
        "num_preemptions",
        "Cumulative number of preemption from the engine.",
        sample.preemptions_total,
    );
    page.counter(
        "prompt_tokens",
        "Number of prefill tokens processed.",
        sample.prompt_tokens_total,
    );
    page.counter(
        "generation_tokens",
        "Number of generation tokens processed.",
        sample.generation_tokens_total,
    );
    page.family("request_success_total", "counter", "Count of successfully processed requests.");
    for reason in FINISHED_REASONS {
        let value =
            if reason == FINISHED_REASONS[0] { sample.requests_finished_total } else { 0.0 };
        page.labelled("request_success_total", "finished_reason", reason, value);
    }
    page.histogram(
        "request_prompt_tokens",
        "Number of prefill tokens processed.",
        &sample.prompt_lengths,
    );
    page.histogram(
        "request_generation_tokens",
        "Number of generation tokens processed.",
        &sample.generation_lengths,
    );
    page.histogram(
        "iteration_tokens_total",
        "Histogram of number of tokens per engine_step.",
        &sample.iteration_tokens,
    );
    page.histogram(
        "time_to_first_token_seconds",
        "Histogram of time to first token in seconds.",
        &sample.ttft,
    );
    page.histogram(
        "inter_token_latency_seconds",
        "Histogram of inter-token latency in seconds.",
        &sample.itl,
    );
    page.histogram(
        "request_time_per_output_token_seconds",
        "Histogram of time_per_output_token_seconds per request.",
        &sample.tpot,
    );
    page.histogram(
        "e2e_request_latency_seconds",
        "Histogram of e2e request latency in seconds.",
        &sample.e2e,
    );
    page.histogram(
        "request_queue_time_seconds",
        "Histogram of time spent in WAITING phase for request.",
        &sample.queue_time,
    );
    page.family("cache_config_info", "gauge", "Information of the LLMEngine CacheConfig");
    let blocks = (sample.kv_capacity_tokens / BLOCK_TOKENS).floor();
    // Writing to a String cannot fail.
    let _infallible = writeln!(
        page.text,
        "vllm:cache_config_info{{block_size=\"{BLOCK_TOKENS}\",engine=\"{engine}\",num_gpu_blocks=\"{blocks}\"}} 1.0"
    );
    page.text
}

struct Page {
    text: String,
    engine: u32,
    model: String,
}

impl Page {
    fn line(&mut self, arguments: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _infallible = self.text.write_fmt(arguments);
        self.text.push('\n');
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP vllm:{name} {help}"));
        self.line(format_args!("# TYPE vllm:{name} {kind}"));
    }

    fn sample(&mut self, name: &str, value: f64) {
        let (engine, model) = (self.engine, std::mem::take(&mut self.model));
        self.line(format_args!(
            "vllm:{name}{{engine=\"{engine}\",model_name=\"{model}\"}} {}",
            number(value)
        ));
        self.model = model;
    }

    /// A sample with one label more, whose name sorts before or after ours.
    fn labelled(&mut self, name: &str, label: &str, value_of: &str, value: f64) {
        let (engine, model) = (self.engine, std::mem::take(&mut self.model));
        let mut labels = [
            ("engine", engine.to_string()),
            ("model_name", model.clone()),
            (label, value_of.to_owned()),
        ];
        labels.sort_unstable_by_key(|label| label.0);
        let [first, second, third] = labels.map(|(name, value)| format!("{name}=\"{value}\""));
        self.line(format_args!("vllm:{name}{{{first},{second},{third}}} {}", number(value)));
        self.model = model;
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, "gauge", help);
        self.sample(name, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: f64) {
        let name = format!("{name}_total");
        self.family(&name, "counter", help);
        self.sample(&name, value);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let bounds = histogram.buckets.bounds();
        let mut count = 0.0;
        for (bound, observations) in bounds.iter().zip(&histogram.counts) {
            count += observations;
            self.labelled(&bucket, "le", &number(*bound), count);
        }
        let count = histogram.count();
        self.labelled(&bucket, "le", "+Inf", count);
        self.sample(&format!("{name}_count"), count);
        self.sample(&format!("{name}_sum"), histogram.sum);
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A number as `prometheus_client` writes it: Python's shortest form, but with an exponent from a
/// million on, as Go has it.
fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let plain = format!("{value:?}");
    match plain.find('.') {
        Some(point) if value > 0.0 && point > 6 && !plain.contains('e') => {
            let digits = format!("{}.{}{}", &plain[..1], &plain[1..point], &plain[point + 1..]);
            let mantissa = digits.trim_end_matches(['0', '.']);
            format!("{mantissa}e+{:02}", point - 1)
        }
        _ => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_reads_as_vllm_writes_it() {
        let mut sample = EngineSample::idle(262_144.0);
        sample.running = 3.0;
        sample.waiting = 2.0;
        sample.waiting_deferred = 1.0;
        sample.kv_usage = 0.125;
        sample.prompt_tokens_total = 12_345_678.0;
        sample.generation_tokens_total = 1_000_000.0;
        sample.requests_finished_total = 2.0;
        for (prompt, output, ttft) in [(600.0, 71.0, 0.07), (20_000.0, 900.0, 3.0)] {
            sample.prompt_lengths.observe(prompt, 1.0);
            sample.generation_lengths.observe(output, 1.0);
            sample.ttft.observe(ttft, 1.0);
        }
        insta::assert_snapshot!(vllm_page(&sample, "meta/llama \"8b\"", 0));
    }

    #[test]
    fn numbers_are_written_as_prometheus_client_does() {
        for (value, written) in [
            (0.0, "0.0"),
            (0.001, "0.001"),
            (2560.0, "2560.0"),
            (100_000.0, "100000.0"),
            (1_000_000.0, "1e+06"),
            (12_345_678.0, "1.2345678e+07"),
            (1_234_567.5, "1.2345675e+06"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), written);
        }
    }
}
