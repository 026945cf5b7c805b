//! Which series of a page stands for which field of a sample: for pages that Prometheus kept and
//! for those that engines show.

use forebay_core::observe::{EngineSample, Histogram};

pub(crate) type Gauge = fn(&mut EngineSample) -> &mut f64;
pub(crate) type Family = fn(&mut EngineSample) -> &mut Histogram;

/// Single figures; where a page holds several series of one (reasons), they add up.
pub(crate) const FIGURES: [(&str, Gauge); 8] = [
    ("vllm:num_requests_running", |page| &mut page.running),
    ("vllm:kv_cache_usage_perc", |page| &mut page.kv_usage),
    ("vllm:prompt_tokens_total", |page| &mut page.prompt_tokens_total),
    ("vllm:generation_tokens_total", |page| &mut page.generation_tokens_total),
    ("vllm:request_success_total", |page| &mut page.requests_finished_total),
    ("vllm:num_preemptions_total", |page| &mut page.preemptions_total),
    ("vllm:prefix_cache_queries_total", |page| &mut page.prefix_queries_tokens_total),
    ("vllm:prefix_cache_hits_total", |page| &mut page.prefix_hits_tokens_total),
];

/// Histograms of which only count and sum are needed.
pub(crate) const MEANS: [(&str, Family); 4] = [
    ("vllm:inter_token_latency_seconds", |page| &mut page.itl),
    ("vllm:time_to_first_token_seconds", |page| &mut page.ttft),
    ("vllm:e2e_request_latency_seconds", |page| &mut page.e2e),
    ("vllm:request_queue_time_seconds", |page| &mut page.queue_time),
];

/// Histograms that are needed by bucket.
pub(crate) const BUCKETED: [(&str, Family); 3] = [
    ("vllm:iteration_tokens_total", |page| &mut page.iteration_tokens),
    ("vllm:request_prompt_tokens", |page| &mut page.prompt_lengths),
    ("vllm:request_generation_tokens", |page| &mut page.generation_lengths),
];

/// A bucket of a histogram: its upper bound (`None` = infinite) and its count, which is cumulative
/// over buckets until [`apart`].
pub(crate) fn bucket(histogram: &mut Histogram, bound: Option<f64>, value: f64) {
    let histogram = present(histogram);
    let bounds = histogram.buckets.bounds();
    // A bound that the family does not have counts with the next larger one.
    let place = bound.map_or(bounds.len(), |bound| bounds.partition_point(|&own| own < bound));
    // The largest of those that fall together.
    histogram.counts[place] = histogram.counts[place].max(value);
}

/// A page on which nothing is.
pub(crate) fn absent() -> EngineSample {
    let mut sample = EngineSample::idle(f64::NAN);
    for (_, field) in FIGURES {
        *field(&mut sample) = f64::NAN;
    }
    for (_, family) in MEANS.into_iter().chain(BUCKETED) {
        let histogram = family(&mut sample);
        histogram.counts.fill(f64::NAN);
        histogram.sum = f64::NAN;
    }
    sample
}

/// Counts begin at zero with the first that is there.
pub(crate) fn present(histogram: &mut Histogram) -> &mut Histogram {
    if histogram.counts[0].is_nan() {
        histogram.counts.fill(0.0);
    }
    histogram
}

pub(crate) fn add(figure: &mut f64, value: f64) {
    *figure = if figure.is_nan() { value } else { *figure + value };
}

/// From counts cumulative over buckets to counts per bucket.
pub(crate) fn apart(histogram: &mut Histogram) {
    let mut below = 0.0_f64;
    for count in &mut histogram.counts[..=histogram.buckets.bounds().len()] {
        let cumulative = count.max(below);
        *count = if count.is_nan() { f64::NAN } else { cumulative - below };
        below = cumulative;
    }
}
