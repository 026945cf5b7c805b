//! What guard and rails judge by: whether the data are whole, how well the tiers fare, how far the
//! model is off.

use serde::{Deserialize, Serialize};

use super::FleetView;
use crate::ids::{EndpointId, FleetId, VariantId};
use crate::observe::EngineSample;
use crate::time::{Span, Time};

/// A scrape older than this says nothing about now: three usual intervals.
pub const FRESH: Span = Span::from_secs(45);

/// Everything that guard and rails judge by besides the view.
#[derive(Clone, Copy)]
pub struct Evidence<'a> {
    /// By [`FleetId`].
    pub fleets: &'a [FleetEvidence],
    /// By [`VariantId`]: from asking for a replica until it is ready, node included, as learned;
    /// a high percentile.
    pub leads: &'a [Span],
}

/// What is known of one fleet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FleetEvidence {
    /// What is not known and should be; `None` = all data are there and fresh.
    pub missing: Option<Missing>,
    /// How the tiers fared lately, by [`crate::ids::TierId`]; `None` = not known.
    pub attainment: Vec<Option<Attainment>>,
    /// How far predictions were off lately; `None` = not known.
    pub prediction_error: Option<PredictionError>,
}

/// How a tier fared over the last few minutes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attainment {
    /// Share of requests that met the objective, 0..1.
    pub share: f64,
    /// Requests that were judged.
    pub requests: f64,
}

/// How far predictions were off.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictionError {
    /// Mean of `|seen - predicted| / predicted`, a ratio.
    pub relative: f64,
    /// Predictions that were judged.
    pub samples: u32,
}

/// What is not known and should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Missing {
    /// The router that was there does not answer.
    Router {
        /// Age of its last scrape; `None` = older than the look-back.
        age: Option<Span>,
    },
    /// A ready endpoint does not answer.
    Endpoint {
        /// Whose.
        variant: VariantId,
        /// Which.
        endpoint: EndpointId,
        /// Age of its last scrape; `None` = never, or older than the look-back.
        age: Option<Span>,
    },
    /// A ready endpoint answers with gauges that are not numbers.
    Gauges {
        /// Whose.
        variant: VariantId,
        /// Which.
        endpoint: EndpointId,
    },
    /// Nothing tells what is asked of the fleet.
    Demand,
}

/// Whether data are missing. It remembers which fleets have a router: one that fell silent for so
/// long that its series is gone is missing, not absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DataWatch {
    routers_seen: Vec<bool>,
}

impl DataWatch {
    /// What of a fleet's data is missing, the first thing that is.
    pub fn missing(&mut self, now: Time, view: &FleetView<'_>, fleet: FleetId) -> Option<Missing> {
        if self.routers_seen.len() <= fleet.index() {
            self.routers_seen.resize(fleet.index() + 1, false);
        }
        let age = view.metrics.router(fleet, now).map(|router| now.since(router.at));
        let seen = &mut self.routers_seen[fleet.index()];
        *seen |= age.is_some();
        if *seen && age.is_none_or(|age| age > FRESH) {
            return Some(Missing::Router { age });
        }
        view.world.variants_of(fleet).find_map(|(variant, _)| engines(now, view, variant))
    }
}

fn engines(now: Time, view: &FleetView<'_>, variant: VariantId) -> Option<Missing> {
    let scraped: Vec<_> = view.metrics.engines(variant, now).collect();
    view.targets[variant.index()].endpoints_ready.iter().find_map(|&endpoint| {
        // The store hands them out in order of their numbers.
        let found = scraped.binary_search_by_key(&endpoint, |(known, _)| *known).ok();
        let sample = found.map(|index| scraped[index].1);
        let age = sample.map(|sample| now.since(sample.at));
        match sample {
            Some(sample) if age.is_some_and(|age| age <= FRESH) => {
                let numbers = gauges(sample.value).iter().all(|gauge| gauge.is_finite());
                (!numbers).then_some(Missing::Gauges { variant, endpoint })
            }
            _ => Some(Missing::Endpoint { variant, endpoint, age }),
        }
    })
}

const fn gauges(sample: &EngineSample) -> [f64; 3] {
    [sample.running, sample.waiting, sample.kv_usage]
}

impl std::fmt::Display for Missing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since = |age: &Option<Span>| match age {
            Some(age) => format!("has been silent for {:.0} s", age.as_seconds()),
            None => "shows nothing at all".to_owned(),
        };
        match self {
            Self::Router { age } => write!(formatter, "the router {}", since(age)),
            Self::Endpoint { endpoint, age, .. } => {
                write!(formatter, "endpoint {} {}", endpoint.0, since(age))
            }
            Self::Gauges { endpoint, .. } => {
                write!(formatter, "gauges of endpoint {} are not numbers", endpoint.0)
            }
            Self::Demand => formatter.write_str("nothing tells what is asked of the fleet"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Role;
    use crate::plan::testing::{Bench, world};

    const FLEET: FleetId = FleetId(0);

    #[test]
    fn a_router_that_fell_silent_is_missing_and_one_that_never_was_is_not() {
        let mut bench = Bench::new(world(&[("l40s", Role::Both)]));
        let endpoint = bench.targets[0].endpoints_ready[0];
        let engine = |bench: &mut Bench, second: f64| {
            let at = Time::from_seconds(second);
            bench.store.record_engine(endpoint, VariantId(0), at, EngineSample::idle(1.0));
        };
        let mut watch = DataWatch::default();
        let mut missing = |bench: &Bench, second: f64| {
            watch.missing(Time::from_seconds(second), &bench.view(), FLEET)
        };
        let never = Missing::Endpoint { variant: VariantId(0), endpoint, age: None };
        assert_eq!(missing(&bench, 0.0), Some(never));
        engine(&mut bench, 0.0);
        assert_eq!(missing(&bench, 0.0), None, "it has no router");
        bench.scrape(15.0, 10.0, 0.0);
        assert_eq!(missing(&bench, 15.0), None);
        engine(&mut bench, 75.0);
        let age = Some(Span::from_secs(60));
        assert_eq!(missing(&bench, 75.0), Some(Missing::Router { age }));
        // Beyond the look-back its series is gone: it is missing all the more.
        engine(&mut bench, 600.0);
        assert_eq!(missing(&bench, 600.0), Some(Missing::Router { age: None }));
    }

    #[test]
    fn gauges_that_are_not_numbers_are_missing() {
        let mut bench = Bench::new(world(&[("l40s", Role::Both)]));
        let endpoint = bench.targets[0].endpoints_ready[0];
        let mut sample = EngineSample::idle(1.0);
        sample.waiting = f64::NAN;
        bench.store.record_engine(endpoint, VariantId(0), Time::ZERO, sample);
        let missing = DataWatch::default().missing(Time::ZERO, &bench.view(), FLEET);
        assert_eq!(missing, Some(Missing::Gauges { variant: VariantId(0), endpoint }));
    }
}
