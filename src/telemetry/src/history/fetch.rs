//! The queries, in chunks of time.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::time::Duration;

use forebay_core::observe::History;
use prometheus_http_query::Client;
use prometheus_http_query::response::RangeVector;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use super::HistoryError;
use super::dialect::Dialect;
use super::rebuild::{Counts, Part, Point, Rebuild, Target};
use super::request::HistoryRequest;

/// Steps per query: far below Prometheus's limit of 11,000 points per series, so that one answer
/// stays a few MB for a hundred replicas.
const CHUNK_STEPS: u64 = 500;
/// Coarse steps in which a dialect is looked for.
const PROBE_STEPS: f64 = 200.0;
/// A query over a chunk takes seconds at worst; Prometheus itself gives up after two minutes.
const TIMEOUT: Duration = Duration::from_secs(120);

pub(super) async fn history(request: &HistoryRequest) -> Result<History, HistoryError> {
    let server = Server::new(request)?;
    let mut found = None;
    for dialect in &request.dialects {
        if server.has(dialect.arrivals).await? {
            found = Some(*dialect);
            break;
        }
    }
    let missing = |series: Vec<String>, hint: &str| HistoryError::MissingSeries {
        url: request.server.clone(),
        looked_for: series.join(", "),
        hint: hint.into(),
    };
    let dialect = found.ok_or_else(|| {
        let tried = request.dialects.iter().map(|dialect| server.selector(dialect.arrivals)).collect();
        missing(tried, "check the range, the model and that the server scrapes the engines or the endpoint picker")
    })?;
    let mut rebuild = Rebuild::new(request.start_unix_s as f64, request.step, request.steps);
    let mut seen = Seen::default();
    // One step past the end: the scrape after it tells what came before it.
    let last = request.steps + 1;
    let mut from = 0;
    while from <= last {
        let to = (from + CHUNK_STEPS - 1).min(last);
        server.chunk(&dialect, from, to, &mut rebuild, &mut seen).await?;
        from = to + 1;
    }
    for (there, name) in [(seen.prompt, dialect.prompt), (seen.output, dialect.output)] {
        if !there {
            return Err(missing(
                vec![
                    server.selector(&format!("{name}_bucket")),
                    server.selector(&format!("{name}_sum")),
                ],
                "lengths are needed beside arrivals; check relabelling rules that drop histograms",
            ));
        }
    }
    let notes = vec![
        format!(
            "arrivals are read from {}: {}",
            server.selector(dialect.arrivals),
            dialect.arrivals_are
        ),
        format!(
            "lengths are read from {} and {}, counted when a request ends",
            dialect.prompt, dialect.output
        ),
    ];
    Ok(rebuild.finish(request.step, notes))
}

/// Whether lengths were found at all.
#[derive(Default)]
struct Seen {
    prompt: bool,
    output: bool,
}

pub(super) struct Server<'a> {
    client: Client,
    request: &'a HistoryRequest,
}

impl<'a> Server<'a> {
    pub(super) fn new(request: &'a HistoryRequest) -> Result<Self, HistoryError> {
        let wrong = |what: String, hint: &str| HistoryError::Address {
            url: request.server.clone(),
            what,
            hint: hint.into(),
        };
        // Another part of the process may have installed it: then it is there.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        if let Some(file) = &request.token_file {
            let token = std::fs::read_to_string(file).map_err(|error| {
                wrong(
                    format!("token_file {file}: {error}"),
                    "give a readable file with a bearer token",
                )
            })?;
            let mut value =
                HeaderValue::from_str(&format!("Bearer {}", token.trim())).map_err(|_| {
                    wrong(
                        format!("token_file {file} holds no token"),
                        "give a file with nothing but the token",
                    )
                })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let client =
            reqwest::Client::builder()
                .timeout(TIMEOUT)
                .default_headers(headers)
                .build()
                .map_err(|error| wrong(causes(&error), "check the TLS set-up of this machine"))?;
        let client = Client::from(client, &request.server).map_err(|error| {
            wrong(error.to_string(), "give an address such as prometheus:http://localhost:9090")
        })?;
        Ok(Self { client, request })
    }

    pub(super) fn selector(&self, series: &str) -> String {
        format!("{series}{{{}}}", self.request.matchers)
    }

    /// Whether the range holds any sample of a series.
    async fn has(&self, series: &str) -> Result<bool, HistoryError> {
        let step_s = self.request.step.as_seconds();
        let range_s = self.request.steps as f64 * step_s;
        let coarse_s = (range_s / PROBE_STEPS).ceil().max(step_s);
        let query = format!("count(last_over_time({}[{coarse_s}s]))", self.selector(series));
        let start = self.request.start_unix_s;
        let end = start + range_s.ceil() as i64 + coarse_s as i64;
        Ok(!self.range(&query, start, end, coarse_s).await?.is_empty())
    }

    /// Reads all series at the ends of steps `from..=to`.
    async fn chunk(
        &self,
        dialect: &Dialect,
        from: u64,
        to: u64,
        rebuild: &mut Rebuild,
        seen: &mut Seen,
    ) -> Result<(), HistoryError> {
        let scrapes =
            format!("max by (job, instance) (timestamp({}))", self.selector(dialect.arrivals));
        let mut scraped: BTreeMap<Target, BTreeMap<u64, f64>> = BTreeMap::new();
        for series in self.steps(&scrapes, from, to).await? {
            let target = target(series.metric());
            let times = rebuild.scrapes(&target, &self.points(&series));
            scraped.insert(target, times);
        }
        if scraped.is_empty() {
            return Ok(());
        }
        let bucket = |part: fn(Part) -> Counts| {
            move |labels: &HashMap<String, String>| {
                let bound: f64 = labels.get("le")?.parse().ok()?;
                (bound > 0.0).then(|| part(Part::Bucket(bound.to_bits())))
            }
        };
        let [arrivals, prompts, prompt_sum, outputs, output_sum] = [
            self.selector(dialect.arrivals),
            self.selector(&format!("{}_bucket", dialect.prompt)),
            self.selector(&format!("{}_sum", dialect.prompt)),
            self.selector(&format!("{}_bucket", dialect.output)),
            self.selector(&format!("{}_sum", dialect.output)),
        ];
        let mut feed =
            |answer: Vec<RangeVector>,
             counts: &dyn Fn(&HashMap<String, String>) -> Option<Counts>| {
                let mut any = false;
                for series in &answer {
                    let target = target(series.metric());
                    if let (Some(times), Some(counts)) =
                        (scraped.get(&target), counts(series.metric()))
                    {
                        any = true;
                        rebuild.series(
                            counts,
                            &target,
                            identity(series.metric()),
                            times,
                            &self.points(series),
                        );
                    }
                }
                any
            };
        feed(self.steps(&arrivals, from, to).await?, &|_| Some(Counts::Arrivals));
        seen.prompt |= feed(self.steps(&prompts, from, to).await?, &bucket(Counts::Prompt));
        feed(self.steps(&prompt_sum, from, to).await?, &|_| Some(Counts::Prompt(Part::Sum)));
        seen.output |= feed(self.steps(&outputs, from, to).await?, &bucket(Counts::Output));
        feed(self.steps(&output_sum, from, to).await?, &|_| Some(Counts::Output(Part::Sum)));
        Ok(())
    }

    pub(super) fn points(&self, series: &RangeVector) -> Vec<Point> {
        let (start, step) = (self.request.start_unix_s as f64, self.request.step.as_seconds());
        series
            .samples()
            .iter()
            .filter(|sample| sample.value().is_finite())
            .map(|sample| Point {
                step: ((sample.timestamp() - start) / step).round().max(0.0) as u64,
                value: sample.value(),
            })
            .collect()
    }

    pub(super) async fn steps(
        &self,
        query: &str,
        from: u64,
        to: u64,
    ) -> Result<Vec<RangeVector>, HistoryError> {
        let step_s = self.request.step.as_seconds();
        let at = |step: u64| self.request.start_unix_s + (step as f64 * step_s) as i64;
        self.range(query, at(from), at(to), step_s).await
    }

    async fn range(
        &self,
        query: &str,
        start: i64,
        end: i64,
        step_s: f64,
    ) -> Result<Vec<RangeVector>, HistoryError> {
        let failed = |reason: String| HistoryError::Server {
            url: self.request.server.clone(),
            query: query.into(),
            reason,
        };
        let answer = self
            .client
            .query_range(query, start, end, step_s)
            .get()
            .await
            .map_err(|error| failed(causes(&error)))?;
        let (data, _) = answer.into_inner();
        data.into_matrix().map_err(|_| failed("the answer is no matrix of series over time".into()))
    }
}

fn target(labels: &HashMap<String, String>) -> Target {
    let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
    (label("job"), label("instance"))
}

/// All labels that tell a counter from others of its name.
fn identity(labels: &HashMap<String, String>) -> String {
    let mut pairs: Vec<String> = labels
        .iter()
        .filter(|(name, _)| *name != "__name__")
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    pairs.sort_unstable();
    pairs.join(",")
}

/// An error with what caused it.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
