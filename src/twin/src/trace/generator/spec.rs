//! The YAML of a generator.

use serde::Deserialize;

use forebay_core::api::scalar::Duration;
use forebay_core::time::Span;

use crate::trace::TraceError;
use crate::trace::alias::AliasTable;
use crate::trace::lengths::{LengthDistribution, QuantilePoint, TOKENS_MAX};

/// The kind that a generator's document may carry; a plain document is the `spec` alone.
pub(super) const KIND: &str = "GeneratedTraffic";
/// Most clients.
const CLIENTS_MAX: u32 = 100_000;
/// How lengths are to be given.
pub(super) const LENGTHS_HINT: &str = "give one of logNormal {median, mean, max}, quantiles \
     [{share, tokens}] from share 0 to share 1, or histogram [{tokens, share}]";

/// What a generator makes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    pub(super) duration: Duration,
    /// Mean over the duration, bursts included.
    pub(super) mean_requests_per_second: f64,
    #[serde(default)]
    pub(super) curve: Option<Curve>,
    #[serde(default)]
    pub(super) bursts: Vec<Burst>,
    #[serde(default)]
    pub(super) clients: Clients,
    pub(super) prompt_tokens: Lengths,
    pub(super) output_tokens: Lengths,
}

/// Relative rate over a period, straight between points, repeated.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Curve {
    #[serde(default = "day")]
    period: Duration,
    points: Vec<CurvePoint>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CurvePoint {
    at: Duration,
    level: f64,
}

/// The rate times a factor, for a while.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Burst {
    pub(super) at: Duration,
    pub(super) length: Duration,
    pub(super) factor: f64,
}

/// Who sends.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Clients {
    #[serde(default = "one_client")]
    count: u32,
    /// Coefficient of variation of each client's gaps; 1 is Poisson.
    #[serde(default = "poisson")]
    pub(super) cv: f64,
    /// The i-th client sends in proportion to `i^-skew`.
    #[serde(default)]
    skew: f64,
}

/// Lengths in tokens.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Lengths {
    LogNormal(LogNormal),
    Quantiles(Vec<Quantile>),
    Histogram(Vec<Share>),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LogNormal {
    median: f64,
    mean: f64,
    #[serde(default = "tokens_max")]
    max: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Quantile {
    share: f64,
    tokens: f64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Share {
    tokens: u32,
    share: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: serde::de::IgnoredAny,
    spec: Spec,
}

const fn day() -> Duration {
    Duration(Span::from_secs(86_400))
}
const fn one_client() -> u32 {
    1
}
const fn poisson() -> f64 {
    1.0
}
const fn tokens_max() -> u32 {
    TOKENS_MAX
}

impl Default for Clients {
    fn default() -> Self {
        Self { count: one_client(), cv: poisson(), skew: 0.0 }
    }
}

impl Spec {
    /// Reads and checks a document of the kind, or a plain one.
    pub(super) fn parse(path: &str, text: &str) -> Result<Self, TraceError> {
        let is_document = text.lines().any(|line| line.starts_with("kind:"));
        let parsed = if is_document {
            serde_saphyr::from_str::<Document>(text).map(|document| (document.kind, document.spec))
        } else {
            serde_saphyr::from_str::<Self>(text).map(|spec| (KIND.to_owned(), spec))
        };
        let (kind, spec) = parsed.map_err(|error| TraceError::Line {
            path: path.into(),
            line: error.location().map_or(1, |location| location.line()),
            what: first_line(&error.to_string()),
            expected: format!("a {KIND} with duration, meanRequestsPerSecond, promptTokens, outputTokens and optionally curve, bursts, clients"),
        })?;
        let wrong = |what: String, hint: &str| {
            Err(TraceError::Format { path: path.into(), what, hint: hint.into() })
        };
        if kind != KIND {
            return wrong(format!("kind is {kind}"), "a trace is of kind GeneratedTraffic");
        }
        if let Err((what, hint)) = spec.check() {
            return wrong(what, hint);
        }
        Ok(spec)
    }

    fn check(&self) -> Result<(), (String, &'static str)> {
        let at_least = |name: &str, value: f64, least: f64, hint| {
            if value >= least && value.is_finite() {
                Ok(())
            } else {
                Err((format!("{name} is {value}"), hint))
            }
        };
        at_least(
            "meanRequestsPerSecond",
            self.mean_requests_per_second,
            f64::MIN_POSITIVE,
            "give a mean above 0",
        )?;
        at_least("clients.cv", self.clients.cv, 0.0, "give a coefficient of variation, 0 or more")?;
        at_least("clients.skew", self.clients.skew, 0.0, "give a skew of 0 or more")?;
        if !(1..=CLIENTS_MAX).contains(&self.clients.count) {
            return Err((
                format!("clients.count is {}", self.clients.count),
                "give 1 to 100,000 clients",
            ));
        }
        for burst in &self.bursts {
            at_least("a burst's factor", burst.factor, 0.0, "give a factor of 0 or more")?;
        }
        if let Some(curve) = &self.curve {
            let rising = curve.points.windows(2).all(|pair| pair[0].at.0 < pair[1].at.0);
            let inside = curve.points.last().is_some_and(|point| point.at.0 <= curve.period.0);
            if !(rising && inside && curve.period.0 > Span::ZERO) {
                return Err((
                    "curve.points are not in order".into(),
                    "give at least one point, each later than the one before, within the period",
                ));
            }
            for point in &curve.points {
                at_least("a curve point's level", point.level, 0.0, "give a level of 0 or more")?;
            }
        }
        Ok(())
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

impl Curve {
    /// The level at a time, straight between the points around it and over the period's end.
    pub(super) fn level(&self, at_s: f64) -> f64 {
        let period = self.period.0.as_seconds();
        let at = at_s.rem_euclid(period);
        let place = |index: usize| (self.points[index].at.0.as_seconds(), self.points[index].level);
        let last = self.points.len() - 1;
        let after = self.points.partition_point(|point| point.at.0.as_seconds() <= at);
        let (from, to) = match after {
            0 => ((place(last).0 - period, place(last).1), place(0)),
            after if after > last => (place(last), (place(0).0 + period, place(0).1)),
            after => (place(after - 1), place(after)),
        };
        if to.0 <= from.0 {
            return from.1;
        }
        (to.1 - from.1).mul_add((at - from.0) / (to.0 - from.0), from.1)
    }
}

impl Clients {
    /// Each client's share of the requests; they add up to 1.
    pub(super) fn shares(&self) -> Vec<f64> {
        let weights: Vec<f64> =
            (1..=self.count).map(|rank| f64::from(rank).powf(-self.skew)).collect();
        let total: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / total).collect()
    }
}

impl Lengths {
    /// The distribution, or what is wrong with it.
    pub(super) fn distribution(&self) -> Result<LengthDistribution, String> {
        match self {
            Self::LogNormal(lengths) => {
                if !(lengths.median >= 1.0
                    && lengths.mean >= lengths.median
                    && lengths.mean.is_finite())
                {
                    return Err(format!(
                        "median {} and mean {} are no log-normal's",
                        lengths.median, lengths.mean
                    ));
                }
                Ok(LengthDistribution::LogNormal {
                    log_median: lengths.median.ln(),
                    sigma: (2.0 * (lengths.mean / lengths.median).ln()).sqrt(),
                    tokens_max: lengths.max.clamp(1, TOKENS_MAX),
                })
            }
            Self::Quantiles(points) => {
                let shares_rise = points.windows(2).all(|pair| pair[0].share < pair[1].share);
                let tokens_rise = points.windows(2).all(|pair| pair[0].tokens <= pair[1].tokens);
                let ends = points.first().zip(points.last());
                let whole = ends.is_some_and(|(first, last)| {
                    points.len() > 1
                        && first.share.abs() < 1e-12
                        && (last.share - 1.0).abs() < 1e-12
                        && first.tokens >= 1.0
                        && last.tokens <= f64::from(TOKENS_MAX)
                });
                if !(shares_rise && tokens_rise && whole) {
                    return Err(
                        "the quantiles do not rise from share 0 (1 token or more) to share 1"
                            .into(),
                    );
                }
                Ok(LengthDistribution::Quantiles(
                    points
                        .iter()
                        .map(|point| QuantilePoint {
                            share: point.share,
                            log_tokens: point.tokens.ln(),
                        })
                        .collect(),
                ))
            }
            Self::Histogram(shares) => {
                let valid = |share: &Share| {
                    (1..=TOKENS_MAX).contains(&share.tokens)
                        && share.share >= 0.0
                        && share.share.is_finite()
                };
                let entries: Vec<(u32, f64)> =
                    shares.iter().map(|share| (share.tokens, share.share)).collect();
                AliasTable::new(&entries)
                    .filter(|_| shares.iter().all(valid))
                    .map(LengthDistribution::Histogram)
                    .ok_or_else(|| {
                        "the histogram has no share above 0, or a length or share that is none"
                            .into()
                    })
            }
        }
    }
}
