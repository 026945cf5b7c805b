//! Families of samples, gathered from several fleets and written one family after the other.

use std::collections::BTreeMap;
use std::fmt;

use forebay_core::observe::Histogram;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

pub(super) type Labels = Vec<(&'static str, String)>;

/// What is written, by name.
#[derive(Default)]
pub(super) struct Families(BTreeMap<&'static str, Family>);

struct Family {
    help: &'static str,
    samples: Samples,
}

enum Samples {
    Counters(Vec<(Labels, f64)>),
    Gauges(Vec<(Labels, f64)>),
    Histograms(Vec<(Labels, Histogram)>),
}

impl Families {
    /// A counter; `name` without `_total`.
    pub(super) fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels,
        value: f64,
    ) {
        let empty = || Family { help, samples: Samples::Counters(Vec::new()) };
        if let Samples::Counters(samples) = &mut self.0.entry(name).or_insert_with(empty).samples {
            samples.push((labels, value));
        }
    }

    /// A gauge; one that is not known is left out: absent is not zero.
    pub(super) fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels,
        value: Option<f64>,
    ) {
        let Some(value) = value.filter(|value| value.is_finite()) else { return };
        let empty = || Family { help, samples: Samples::Gauges(Vec::new()) };
        if let Samples::Gauges(samples) = &mut self.0.entry(name).or_insert_with(empty).samples {
            samples.push((labels, value));
        }
    }

    /// A histogram.
    pub(super) fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels,
        value: Histogram,
    ) {
        let empty = || Family { help, samples: Samples::Histograms(Vec::new()) };
        let family = self.0.entry(name).or_insert_with(empty);
        if let Samples::Histograms(samples) = &mut family.samples {
            samples.push((labels, value));
        }
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, family) in &self.0 {
            let kind = match &family.samples {
                Samples::Counters(_) => MetricType::Counter,
                Samples::Gauges(_) => MetricType::Gauge,
                Samples::Histograms(_) => MetricType::Histogram,
            };
            let mut metrics = encoder.encode_descriptor(name, family.help, None, kind)?;
            match &family.samples {
                Samples::Counters(samples) => {
                    for (labels, value) in samples {
                        metrics
                            .encode_family(labels)?
                            .encode_counter::<NoLabelSet, _, f64>(value, None)?;
                    }
                }
                Samples::Gauges(samples) => {
                    for (labels, value) in samples {
                        if labels.is_empty() {
                            // Else there would be empty braces.
                            metrics.encode_gauge(value)?;
                        } else {
                            metrics.encode_family(labels)?.encode_gauge(value)?;
                        }
                    }
                }
                Samples::Histograms(samples) => {
                    for (labels, value) in samples {
                        let buckets = buckets(value);
                        metrics.encode_family(labels)?.encode_histogram::<NoLabelSet>(
                            value.sum,
                            value.count() as u64,
                            &buckets,
                            None,
                        )?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Upper bounds and counts, as the encoder wants them: the last bound is infinity.
fn buckets(histogram: &Histogram) -> Vec<(f64, u64)> {
    let bounds = histogram.buckets.bounds().iter().copied().chain(std::iter::once(f64::INFINITY));
    bounds.zip(histogram.counts).map(|(bound, count)| (bound, count as u64)).collect()
}
