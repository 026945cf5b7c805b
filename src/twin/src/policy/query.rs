//! What a policy asks of Prometheus, and the answer out of the store: the part of PromQL that
//! scaling objects use.

use forebay_core::observe::Histogram;
use forebay_core::plan::FleetView;
use forebay_core::time::{Span, Time};

use super::group::Group;
use super::series::{Family, Level, Series};

/// A query that comes to one number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Query {
    Number(f64),
    /// A gauge, or the rate of a counter over a window, over all that carry it.
    Read {
        series: Series,
        aggregate: Aggregate,
        window: Option<Span>,
    },
    /// `histogram_quantile(q, sum by (le) (rate(family[window])))`.
    Quantile {
        family: Family,
        quantile: f64,
        window: Span,
    },
    Combine {
        operator: Operator,
        left: Box<Query>,
        right: Box<Query>,
    },
    /// `... or vector(0)`.
    OrZero(Box<Query>),
}

/// How the values of several engines or tiers become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aggregate {
    Sum,
    Average,
    Max,
    Min,
}

/// An operator between two queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Max,
    Min,
}

/// From where a query is asked.
#[derive(Clone, Copy)]
pub(crate) struct Sight<'a> {
    pub(crate) view: &'a FleetView<'a>,
    pub(crate) group: &'a Group,
    pub(crate) now: Time,
}

impl Query {
    pub(crate) fn gauge(series: Series) -> Self {
        Self::Read { series, aggregate: Aggregate::Sum, window: None }
    }

    pub(crate) fn rate(series: Series, window: Span) -> Self {
        Self::Read { series, aggregate: Aggregate::Sum, window: Some(window) }
    }

    pub(crate) fn combine(operator: Operator, left: Self, right: Self) -> Self {
        Self::Combine { operator, left: Box::new(left), right: Box::new(right) }
    }

    /// The answer; `None` where Prometheus would answer with no series at all. It can be NaN.
    pub(crate) fn answer(&self, sight: &Sight<'_>) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Read { series, aggregate, window } => {
                aggregate.of(sight.values(*series, *window).into_iter())
            }
            Self::Quantile { family, quantile, window } => {
                sight.increase(*family, *window)?.quantile(*quantile)
            }
            Self::Combine { operator, left, right } => {
                let (left, right) = (left.answer(sight)?, right.answer(sight)?);
                Some(match operator {
                    Operator::Add => left + right,
                    Operator::Subtract => left - right,
                    Operator::Multiply => left * right,
                    Operator::Divide => left / right,
                    Operator::Max => left.max(right),
                    Operator::Min => left.min(right),
                })
            }
            Self::OrZero(query) => Some(query.answer(sight).unwrap_or(0.0)),
        }
    }

    /// The value of every pod, for a Pods metric: engine series and sums of them.
    pub(crate) fn per_pod(&self, sight: &Sight<'_>) -> Vec<f64> {
        match self {
            Self::Read { series, window, .. } if series.level() == Level::Engine => {
                sight.per_pod(*series, *window).into_iter().map(|(_, value)| value).collect()
            }
            Self::Combine { operator: Operator::Add, left, right } => {
                let (left, right) = (left.per_pod(sight), right.per_pod(sight));
                left.iter().zip(&right).map(|(left, right)| left + right).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Aggregate {
    fn of(self, values: impl Iterator<Item = f64>) -> Option<f64> {
        let (mut count, mut result) = (0.0, None);
        for value in values {
            count += 1.0;
            result = Some(match (result, self) {
                (None, _) => value,
                (Some(so_far), Self::Sum | Self::Average) => so_far + value,
                (Some(so_far), Self::Max) => f64::max(so_far, value),
                (Some(so_far), Self::Min) => f64::min(so_far, value),
            });
        }
        result.map(|value| if self == Self::Average { value / count } else { value })
    }
}

impl Sight<'_> {
    /// One value per engine of the group, per tier of its router, or per scale target.
    fn values(&self, series: Series, window: Option<Span>) -> Vec<f64> {
        match series.level() {
            Level::Engine => {
                self.per_pod(series, window).into_iter().map(|(_, value)| value).collect()
            }
            Level::Router => self.of_router(series, window),
            Level::Target => {
                let replicas = self.group.replicas(self.view);
                vec![f64::from(match series {
                    Series::ReplicasReady => replicas.ready,
                    Series::ReplicasUnavailable => replicas.current.saturating_sub(replicas.ready),
                    _ => replicas.current,
                })]
            }
        }
    }

    /// The value of every engine that shows one.
    pub(crate) fn per_pod(
        &self,
        series: Series,
        window: Option<Span>,
    ) -> Vec<(forebay_core::ids::EndpointId, f64)> {
        let mut values = Vec::new();
        for variant in &self.group.variants {
            for (endpoint, sample) in self.view.metrics.engines(*variant, self.now) {
                let value = match window {
                    None => series.of_engine(sample.value),
                    Some(window) => {
                        let scrapes = self.view.metrics.engine_scrapes(endpoint, self.now, window);
                        rate(scrapes.filter_map(|scrape| {
                            Some((scrape.at, series.of_engine(scrape.value)?))
                        }))
                    }
                };
                values.extend(value.map(|value| (endpoint, value)));
            }
        }
        values
    }

    fn of_router(&self, series: Series, window: Option<Span>) -> Vec<f64> {
        let Some(newest) = self.view.metrics.router(self.group.fleet, self.now) else {
            return Vec::new();
        };
        let tiers = 0..newest.value.tiers.len();
        // Saturation is one series, not one per tier.
        let tiers = if series == Series::Saturation { 0..tiers.end.min(1) } else { tiers };
        let read = |tier: usize, sample: &forebay_core::observe::RouterSample| {
            series.of_tier(sample.tiers.get(tier)?, sample)
        };
        match window {
            None => tiers.filter_map(|tier| read(tier, newest.value)).collect(),
            Some(window) => tiers
                .filter_map(|tier| {
                    let scrapes =
                        self.view.metrics.router_scrapes(self.group.fleet, self.now, window);
                    rate(scrapes.filter_map(|scrape| Some((scrape.at, read(tier, scrape.value)?))))
                })
                .collect(),
        }
    }

    /// What was added to a histogram within the window, over all engines or tiers.
    pub(crate) fn increase(&self, family: Family, window: Span) -> Option<Histogram> {
        let mut total: Option<Histogram> = None;
        let mut add = |more: Histogram| match &mut total {
            Some(total) => total.merge(&more),
            None => total = Some(more),
        };
        match family.level() {
            Level::Router => {
                let (first, last) =
                    self.view.metrics.router_window(self.group.fleet, self.now, window)?;
                for (then, now) in first.value.tiers.iter().zip(&last.value.tiers) {
                    add(family.of_tier(now)?.since(family.of_tier(then)?));
                }
            }
            _ => {
                for variant in &self.group.variants {
                    for (endpoint, _) in self.view.metrics.engines(*variant, self.now) {
                        let ends = self.view.metrics.engine_window(endpoint, self.now, window);
                        let Some((first, last)) = ends else { continue };
                        add(family.of_engine(last.value)?.since(family.of_engine(first.value)?));
                    }
                }
            }
        }
        total
    }
}

/// Increase per second between the first and the last scrape, a fall counted as a restart from
/// zero; `None` with fewer than two scrapes. PromQL besides extrapolates to the edges of the
/// window, which at a steady rate comes to the same.
pub(crate) fn rate(scrapes: impl Iterator<Item = (Time, f64)>) -> Option<f64> {
    let mut increase = 0.0;
    let mut ends: Option<(Time, Time, f64)> = None;
    for (at, value) in scrapes {
        ends = Some(match ends {
            None => (at, at, value),
            Some((first, _, before)) => {
                increase += if value < before { value } else { value - before };
                (first, at, value)
            }
        });
    }
    let (first, last, _) = ends?;
    let seconds = last.since(first).as_seconds();
    (seconds > 0.0).then(|| increase / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_survives_a_restart_and_needs_two_scrapes() {
        let at = |seconds| Time::from_seconds(seconds);
        assert_eq!(rate([(at(0.0), 5.0)].into_iter()), None);
        // +30, then a restart to 10: 40 in 20 s.
        let scrapes = [(at(0.0), 100.0), (at(10.0), 130.0), (at(20.0), 10.0)];
        assert_eq!(rate(scrapes.into_iter()), Some(2.0));
    }

    #[test]
    fn aggregates_of_nothing_are_nothing() {
        assert_eq!(Aggregate::Sum.of([].into_iter()), None);
        assert_eq!(Aggregate::Average.of([1.0, 3.0].into_iter()), Some(2.0));
        assert_eq!(Aggregate::Max.of([1.0, 3.0].into_iter()), Some(3.0));
        assert!(Aggregate::Sum.of([1.0, f64::NAN].into_iter()).is_some_and(f64::is_nan));
    }
}
