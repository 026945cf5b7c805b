//! The pages of engines as a Prometheus recorded them, one per step, with the time of the scrape.
//!
//! What a page lacked is NaN, never zero; only an engine that has no step counter at all shows an
//! empty one.

use std::collections::{BTreeMap, HashMap};

use forebay_core::observe::{Aged, EngineSample, Histogram};
use forebay_core::time::Time;

use super::HistoryError;
use super::fetch::Server;
use super::request::HistoryRequest;

/// Steps per query; histograms make these answers larger than those of [`super::fetch`].
const CHUNK_STEPS: u64 = 240;

/// All pages of one engine in order of time, which counts from the Unix epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct EnginePages {
    /// `job/instance`, and the data-parallel rank where there are several.
    pub endpoint: String,
    /// Its pages.
    pub pages: Vec<Aged<EngineSample>>,
}

/// Fetches the engine pages of the range that `prometheus:URL` names; see [`super::fetch`] for its
/// parameters (`dialect` is of no use here).
///
/// # Errors
/// A wrong address, a server that does not answer, or no engine's series in the range.
pub async fn fetch_pages(path: &str, now_unix_s: f64) -> Result<Vec<EnginePages>, HistoryError> {
    let request = HistoryRequest::parse(path, now_unix_s)?;
    let server = Server::new(&request)?;
    let mut engines = BTreeMap::new();
    let mut from = 0;
    while from <= request.steps {
        let to = (from + CHUNK_STEPS - 1).min(request.steps);
        chunk(&server, from, to, &mut engines).await?;
        from = to + 1;
    }
    if engines.is_empty() {
        return Err(HistoryError::MissingSeries {
            url: request.server.clone(),
            looked_for: server.selector(SCRAPED),
            hint: "check the range, the model and that the server scrapes the engines".into(),
        });
    }
    Ok(engines.into_iter().map(|(engine, pages)| finish(&engine, pages)).collect())
}

/// [`fetch_pages`] for callers without a runtime.
///
/// # Errors
/// As [`fetch_pages`].
pub fn fetch_pages_blocking(path: &str, now_unix_s: f64) -> Result<Vec<EnginePages>, HistoryError> {
    super::blocking(path, fetch_pages(path, now_unix_s))
}

/// The series whose scrape times are those of the page.
const SCRAPED: &str = "vllm:generation_tokens_total";

/// Job, instance, data-parallel rank.
type EngineKey = (String, String, String);
type Pages = BTreeMap<u64, Page>;

struct Page {
    scraped_unix_s: f64,
    sample: EngineSample,
}

type Gauge = fn(&mut EngineSample) -> &mut f64;
type Family = fn(&mut EngineSample) -> &mut Histogram;

/// Single figures; where a page holds several series of one (reasons), they add up.
const FIGURES: [(&str, Gauge); 8] = [
    ("vllm:num_requests_running", |page| &mut page.running),
    ("vllm:kv_cache_usage_perc", |page| &mut page.kv_usage),
    ("vllm:prompt_tokens_total", |page| &mut page.prompt_tokens_total),
    (SCRAPED, |page| &mut page.generation_tokens_total),
    ("vllm:request_success_total", |page| &mut page.requests_finished_total),
    ("vllm:num_preemptions_total", |page| &mut page.preemptions_total),
    ("vllm:prefix_cache_queries_total", |page| &mut page.prefix_queries_tokens_total),
    ("vllm:prefix_cache_hits_total", |page| &mut page.prefix_hits_tokens_total),
];

/// Histograms of which only count and sum are needed.
const MEANS: [(&str, Family); 4] = [
    ("vllm:inter_token_latency_seconds", |page| &mut page.itl),
    ("vllm:time_to_first_token_seconds", |page| &mut page.ttft),
    ("vllm:e2e_request_latency_seconds", |page| &mut page.e2e),
    ("vllm:request_queue_time_seconds", |page| &mut page.queue_time),
];

/// Histograms that are needed by bucket.
const BUCKETED: [(&str, Family); 3] = [
    ("vllm:iteration_tokens_total", |page| &mut page.iteration_tokens),
    ("vllm:request_prompt_tokens", |page| &mut page.prompt_lengths),
    ("vllm:request_generation_tokens", |page| &mut page.generation_lengths),
];

async fn chunk(
    server: &Server<'_>,
    from: u64,
    to: u64,
    engines: &mut BTreeMap<EngineKey, Pages>,
) -> Result<(), HistoryError> {
    let scrapes = format!("timestamp({})", server.selector(SCRAPED));
    for series in server.steps(&scrapes, from, to).await? {
        let pages = engines.entry(engine(series.metric())).or_default();
        for point in server.points(&series) {
            let sample = absent();
            pages.entry(point.step).or_insert(Page { scraped_unix_s: point.value, sample });
        }
    }
    for (name, field) in FIGURES {
        each(server, &server.selector(name), from, to, engines, |page, _, value| {
            add(field(page), value);
        })
        .await?;
    }
    for (name, family) in MEANS {
        let (count, sum) = (format!("{name}_count"), format!("{name}_sum"));
        each(server, &server.selector(&count), from, to, engines, |page, _, value| {
            let histogram = present(family(page));
            histogram.counts[0] += value;
        })
        .await?;
        each(server, &server.selector(&sum), from, to, engines, |page, _, value| {
            add(&mut family(page).sum, value);
        })
        .await?;
    }
    for (name, family) in BUCKETED {
        let (bucket, sum) = (format!("{name}_bucket"), format!("{name}_sum"));
        each(server, &server.selector(&bucket), from, to, engines, |page, labels, value| {
            let histogram = present(family(page));
            let bounds = histogram.buckets.bounds();
            let bound = labels.get("le").and_then(|le| le.parse::<f64>().ok());
            // A bound that the family does not have counts with the next larger one.
            let place =
                bound.map_or(bounds.len(), |bound| bounds.partition_point(|&own| own < bound));
            // Cumulative over buckets until `finish`; the largest of those that fall together.
            histogram.counts[place] = histogram.counts[place].max(value);
        })
        .await?;
        each(server, &server.selector(&sum), from, to, engines, |page, _, value| {
            add(&mut family(page).sum, value);
        })
        .await?;
    }
    // The configuration carries no model; engines are told apart by their target.
    each(server, "vllm:cache_config_info", from, to, engines, |page, labels, _| {
        let number = |name: &str| labels.get(name).and_then(|text| text.parse::<f64>().ok());
        if let (Some(size), Some(blocks)) = (number("block_size"), number("num_gpu_blocks")) {
            page.kv_capacity_tokens = size * blocks;
        }
    })
    .await
}

/// Feeds each point of a query to the page that it belongs to.
async fn each(
    server: &Server<'_>,
    query: &str,
    from: u64,
    to: u64,
    engines: &mut BTreeMap<EngineKey, Pages>,
    mut take: impl FnMut(&mut EngineSample, &HashMap<String, String>, f64),
) -> Result<(), HistoryError> {
    for series in server.steps(query, from, to).await? {
        let Some(pages) = engines.get_mut(&engine(series.metric())) else { continue };
        for point in server.points(&series) {
            if let Some(page) = pages.get_mut(&point.step) {
                take(&mut page.sample, series.metric(), point.value);
            }
        }
    }
    Ok(())
}

fn engine(labels: &HashMap<String, String>) -> EngineKey {
    let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
    (label("job"), label("instance"), label("engine"))
}

/// A page on which nothing is.
fn absent() -> EngineSample {
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
fn present(histogram: &mut Histogram) -> &mut Histogram {
    if histogram.counts[0].is_nan() {
        histogram.counts.fill(0.0);
    }
    histogram
}

fn add(figure: &mut f64, value: f64) {
    *figure = if figure.is_nan() { value } else { *figure + value };
}

fn finish((job, instance, rank): &EngineKey, pages: Pages) -> EnginePages {
    let endpoint = match rank.as_str() {
        "" | "0" => format!("{job}/{instance}"),
        rank => format!("{job}/{instance}/{rank}"),
    };
    let counts_steps =
        pages.values().any(|page| page.sample.iteration_tokens.counts[0].is_finite());
    let pages = pages
        .into_values()
        .map(|mut page| {
            for (_, family) in BUCKETED {
                apart(family(&mut page.sample));
            }
            if !counts_steps {
                page.sample.iteration_tokens = EngineSample::idle(0.0).iteration_tokens;
            }
            Aged { at: Time::from_seconds(page.scraped_unix_s), value: page.sample }
        })
        .collect();
    EnginePages { endpoint, pages }
}

/// From counts cumulative over buckets to counts per bucket.
fn apart(histogram: &mut Histogram) {
    let mut below = 0.0_f64;
    for count in &mut histogram.counts[..=histogram.buckets.bounds().len()] {
        let cumulative = count.max(below);
        *count = if count.is_nan() { f64::NAN } else { cumulative - below };
        below = cumulative;
    }
}
