//! What a gate tells Prometheus: under our names, and under llm-d's, so that dashboards, scalers
//! and queue workers that know llm-d's endpoint picker go on working.
//!
//! Everything is read when the page is asked for; nothing is counted twice.

mod families;
mod ours;
mod peer;
mod waiting;

#[cfg(test)]
mod tests;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;

use crate::admission::Admission;
use crate::front::Fronts;
use crate::spans::Spans;
use families::Families;

/// Content type of [`page`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a page is made of.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The gates.
    pub fronts: Fronts,
    /// The webhook, where there is one.
    pub admission: Option<Admission>,
    /// Spans, where they are asked for.
    pub spans: Option<Spans>,
}

/// The page of these sources, in the OpenMetrics text format.
///
/// # Errors
/// When the text cannot be written.
pub fn page(sources: &Sources) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(sources.clone()));
    let mut text = String::with_capacity(16 << 10);
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut families = Families::default();
        for (fleet, front) in self.fronts.all() {
            ours::collect(fleet, front, &mut families);
            peer::collect(front, &mut families);
        }
        if let Some(admission) = &self.admission {
            waiting::collect(admission, &mut families);
        }
        if let Some(spans) = &self.spans {
            ours::of_spans(spans.meters(), &mut families);
        }
        families.encode(&mut encoder)
    }
}
