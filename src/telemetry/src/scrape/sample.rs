//! From the text of an engine's page to all that is learned from: its counters and histograms.

use forebay_core::observe::EngineSample;

use super::engine::split;
use crate::series::{BUCKETED, FIGURES, MEANS, absent, add, apart, bucket, present};

/// Reads the page of a vLLM engine in the Prometheus text format. What it lacks is NaN, never
/// zero; only one without any step counter shows an empty one.
///
/// `None` for a page of another engine, and for one of several data-parallel ranks: their steps
/// cannot be told apart once they are added up.
#[must_use]
pub fn read_engine_sample(page: &str) -> Option<EngineSample> {
    let mut sample = absent();
    let mut rank: Option<&str> = None;
    for line in page.lines().filter(|line| line.starts_with("vllm:")) {
        let Some((name, labels, value)) = split(line) else { continue };
        let own = label(labels, "engine").unwrap_or_default();
        if *rank.get_or_insert(own) != own {
            return None;
        }
        take(&mut sample, name, labels, value);
    }
    rank?;
    for (_, family) in BUCKETED {
        apart(family(&mut sample));
    }
    if sample.iteration_tokens.counts[0].is_nan() {
        sample.iteration_tokens = EngineSample::idle(0.0).iteration_tokens;
    }
    let known = !sample.running.is_nan() && !sample.generation_tokens_total.is_nan();
    known.then_some(sample)
}

fn take(sample: &mut EngineSample, name: &str, labels: &str, value: f64) {
    if let Some((_, field)) = FIGURES.iter().find(|(figure, _)| *figure == name) {
        add(field(sample), value);
    } else if let Some(family) = name.strip_suffix("_count") {
        if let Some((_, field)) = MEANS.iter().find(|(mean, _)| *mean == family) {
            present(field(sample)).counts[0] += value;
        }
    } else if let Some(family) = name.strip_suffix("_sum") {
        let mut families = MEANS.iter().chain(&BUCKETED);
        if let Some((_, field)) = families.find(|(known, _)| *known == family) {
            add(&mut field(sample).sum, value);
        }
    } else if let Some(family) = name.strip_suffix("_bucket") {
        if let Some((_, field)) = BUCKETED.iter().find(|(known, _)| *known == family) {
            let bound = label(labels, "le").and_then(|bound| bound.parse().ok());
            bucket(field(sample), bound, value);
        }
    } else if name == "vllm:cache_config_info" {
        let number = |name| label(labels, name).and_then(|text| text.parse::<f64>().ok());
        if let (Some(size), Some(blocks)) = (number("block_size"), number("num_gpu_blocks")) {
            sample.kv_capacity_tokens = size * blocks;
        }
    }
}

/// The value of a label; those that are read here are numbers.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = labels.split_once(&format!("{name}=\""))?;
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::vllm_page;

    #[test]
    fn what_is_learned_from_reads_back_as_it_was_written() {
        let mut sample = EngineSample::idle(16_000.0);
        (sample.running, sample.kv_usage) = (7.0, 0.25);
        (sample.prompt_tokens_total, sample.generation_tokens_total) = (4_000.0, 900.0);
        (sample.preemptions_total, sample.requests_finished_total) = (2.0, 30.0);
        sample.itl.observe(0.02, 870.0);
        sample.e2e.observe(3.0, 30.0);
        sample.iteration_tokens.observe(12.0, 100.0);
        sample.iteration_tokens.observe(2_000.0, 5.0);
        sample.iteration_tokens.observe(1e6, 1.0);
        sample.prompt_lengths.observe(130.0, 30.0);
        let read = read_engine_sample(&vllm_page(&sample, "a{b}\"c", 0)).unwrap();
        assert_eq!(read.iteration_tokens, sample.iteration_tokens);
        assert_eq!(read.prompt_lengths, sample.prompt_lengths);
        assert_eq!(read.generation_lengths, sample.generation_lengths);
        let means = |sample: &EngineSample| {
            [&sample.itl, &sample.e2e, &sample.queue_time]
                .map(|it| (it.count().to_bits(), it.sum.to_bits()))
        };
        assert_eq!(means(&read), means(&sample));
        let figures = |sample: &EngineSample| {
            let mut copy = sample.clone();
            FIGURES.map(|(_, field)| field(&mut copy).to_bits())
        };
        assert_eq!(figures(&read), figures(&sample));
        assert!((read.kv_capacity_tokens - 16_000.0).abs() < 1e-9);
    }

    #[test]
    fn what_a_page_lacks_is_unknown_and_ranks_are_not_mixed() {
        let few = "vllm:num_requests_running{engine=\"0\"} 1\nvllm:generation_tokens_total 5\n";
        assert_eq!(read_engine_sample(few), None, "two ranks");
        let few = few.replace("{engine=\"0\"}", "");
        let read = read_engine_sample(&few).unwrap();
        assert!(read.prompt_tokens_total.is_nan() && read.itl.sum.is_nan());
        assert!(read.iteration_tokens.count() < 1e-9, "no step counter");
        assert_eq!(read_engine_sample("sglang:num_running_reqs 1\n"), None);
        assert_eq!(read_engine_sample(""), None);
    }
}
