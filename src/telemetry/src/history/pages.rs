//! The pages of engines as a Prometheus recorded them, one per step, with the time of the scrape.
//!
//! What a page lacked is NaN, never zero; only an engine that has no step counter at all shows an
//! empty one.

use std::collections::{BTreeMap, HashMap};

use forebay_core::observe::{Aged, EngineSample};
use forebay_core::time::Time;

use super::HistoryError;
use super::fetch::Server;
use super::request::HistoryRequest;
use crate::series::{BUCKETED, FIGURES, MEANS, absent, add, apart, bucket, present};

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
        let (buckets, sum) = (format!("{name}_bucket"), format!("{name}_sum"));
        each(server, &server.selector(&buckets), from, to, engines, |page, labels, value| {
            let bound = labels.get("le").and_then(|le| le.parse::<f64>().ok());
            bucket(family(page), bound, value);
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
