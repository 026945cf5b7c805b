//! The metrics page: what telemetry writes of an engine, and the rest of what a real vLLM server
//! shows, so that a scraper has as much to read.
//!
//! Names, labels and buckets of the rest as in vLLM 0.33.0, its HTTP instrumentation and
//! `prometheus_client`'s process and garbage collector series. Series of features that are off are
//! 0, as there; the times of phases that the simulated engine does not tell apart (prefill,
//! inference) are left out.

use std::fmt::Write;

use forebay_core::observe::{Buckets, EngineSample};
use forebay_telemetry::page::vllm_page;

use super::clocked::Counts;

/// Counters of features that are off: 0 throughout.
const IDLE_COUNTERS: [(&str, &str); 6] = [
    (
        "external_prefix_cache_queries",
        "External prefix cache queries from KV connector cross-instance cache sharing, in tokens.",
    ),
    (
        "external_prefix_cache_hits",
        "External prefix cache hits from KV connector cross-instance cache sharing, in tokens.",
    ),
    ("mm_cache_queries", "Multi-modal cache queries, in terms of number of queried items."),
    ("mm_cache_hits", "Multi-modal cache hits, in terms of number of cached items."),
    ("corrupted_requests", "Corrupted requests, in terms of total number of requests with NaNs."),
    ("prompt_tokens_cached", "Number of cached prompt tokens (local + external)."),
];

/// Histograms that nothing is recorded in here. A real server has some more; with these the page
/// is as long as that of a server whose traffic has not used them all.
const EMPTY_HISTOGRAMS: [(&str, &str, Buckets); 1] = [(
    "request_params_max_tokens",
    "Histogram of the max_tokens request parameter.",
    Buckets::Lengths,
)];

const CREATED: &str = "1.7637e+09";

/// The page of one engine.
pub(super) fn write(sample: &EngineSample, counts: Counts, model: &str) -> String {
    let mut page = process();
    page.push_str(&vllm_page(sample, model, 0));
    let labels = format!("engine=\"0\",model_name=\"{}\"", escaped(model));
    for (name, help) in IDLE_COUNTERS {
        family(&mut page, &format!("vllm:{name}_total"), "counter", help);
        line(&mut page, format_args!("vllm:{name}_total{{{labels}}} 0.0"));
        created(&mut page, name, &labels);
    }
    sources(&mut page, sample, &labels);
    family(
        &mut page,
        "vllm:engine_sleep_state",
        "gauge",
        "Engine sleep state; awake = 1 means engine is awake; weights_offloaded = 1 means sleep level 1; discard_all = 1 means sleep level 2.",
    );
    for (state, value) in [("awake", 1.0), ("weights_offloaded", 0.0), ("discard_all", 0.0)] {
        let labels = format!("{labels},sleep_state=\"{state}\"");
        line(&mut page, format_args!("vllm:engine_sleep_state{{{labels}}} {value:?}"));
    }
    for (name, help, buckets) in EMPTY_HISTOGRAMS {
        empty_histogram(&mut page, name, help, buckets, &labels);
    }
    requests_by_http(&mut page, counts);
    page
}

/// Where prompt tokens came from.
fn sources(page: &mut String, sample: &EngineSample, labels: &str) {
    let name = "vllm:prompt_tokens_by_source_total";
    family(page, name, "counter", "Number of prompt tokens by source.");
    let hits = sample.prefix_hits_tokens_total.min(sample.prompt_tokens_total);
    let of_source = [
        ("local_compute", sample.prompt_tokens_total - hits),
        ("local_cache_hit", hits),
        ("external_kv_transfer", 0.0),
    ];
    for (source, tokens) in of_source {
        line(page, format_args!("{name}{{{labels},source=\"{source}\"}} {tokens:?}"));
    }
}

fn empty_histogram(page: &mut String, name: &str, help: &str, buckets: Buckets, labels: &str) {
    let name = format!("vllm:{name}");
    family(page, &name, "histogram", help);
    for bound in buckets.bounds() {
        line(page, format_args!("{name}_bucket{{{labels},le=\"{bound:?}\"}} 0.0"));
    }
    line(page, format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} 0.0"));
    line(page, format_args!("{name}_count{{{labels}}} 0.0"));
    line(page, format_args!("{name}_sum{{{labels}}} 0.0"));
    created(page, name.trim_start_matches("vllm:"), labels);
}

/// What `prometheus_fastapi_instrumentator` counts.
fn requests_by_http(page: &mut String, counts: Counts) {
    let name = "http_requests_total";
    family(page, name, "counter", "Total number of requests by method, status and handler.");
    let of_status = [("2xx", counts.finished), ("5xx", 0)];
    for handler in ["/v1/chat/completions", "/v1/completions", "/metrics"] {
        for (status, count) in of_status {
            // Which of the two paths was asked is not told apart: all count on the first.
            let count = if handler == "/v1/chat/completions" { count as f64 } else { 0.0 };
            line(
                page,
                format_args!(
                    "{name}{{handler=\"{handler}\",method=\"POST\",status=\"{status}\"}} {count:?}"
                ),
            );
        }
    }
}

/// What `prometheus_client` says of a Python process; the figures are made up and do not move.
fn process() -> String {
    let mut page = String::with_capacity(32 << 10);
    for (name, help) in [
        ("python_gc_objects_collected_total", "Objects collected during gc"),
        ("python_gc_objects_uncollectable_total", "Uncollectable objects found during GC"),
        ("python_gc_collections_total", "Number of times this generation was collected"),
    ] {
        family(&mut page, name, "counter", help);
        for generation in 0..3 {
            line(&mut page, format_args!("{name}{{generation=\"{generation}\"}} 1000.0"));
        }
    }
    for (name, kind, help, value) in [
        ("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", "1.1e+10"),
        ("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", "9.1e+08"),
        (
            "process_start_time_seconds",
            "gauge",
            "Start time of the process since unix epoch in seconds.",
            CREATED,
        ),
        ("process_open_fds", "gauge", "Number of open file descriptors.", "98.0"),
        ("process_max_fds", "gauge", "Maximum number of open file descriptors.", "65535.0"),
    ] {
        family(&mut page, name, kind, help);
        line(&mut page, format_args!("{name} {value}"));
    }
    page
}

fn created(page: &mut String, name: &str, labels: &str) {
    let name = format!("vllm:{name}_created");
    family(page, &name, "gauge", "When the series began.");
    line(page, format_args!("{name}{{{labels}}} {CREATED}"));
}

fn family(page: &mut String, name: &str, kind: &str, help: &str) {
    line(page, format_args!("# HELP {name} {help}"));
    line(page, format_args!("# TYPE {name} {kind}"));
}

fn line(page: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _infallible = page.write_fmt(arguments);
    page.push('\n');
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_page_is_as_long_as_a_real_one_and_says_nothing_twice() {
        let page = write(&EngineSample::idle(1e6), Counts::default(), "meta-llama/Llama-3.1-8B");
        assert!((24_000..30_000).contains(&page.len()), "{} bytes", page.len());
        let mut seen = HashSet::new();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(seen.insert(series), "{series} stands there twice");
        }
        assert!(page.contains("vllm:num_requests_running{engine=\"0\","));
    }
}
