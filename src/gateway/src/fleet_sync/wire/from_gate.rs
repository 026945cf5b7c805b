//! What gates say.

use forebay_core::observe::{Buckets, Histogram, RouterTierSample};
use forebay_core::sync::{Ack, EndpointReport, FromGate, Report, TierReport};
use forebay_core::time::Span;

use super::{WireError, gate, gate_out, mark, mark_out, v1};

impl From<FromGate> for v1::FromGate {
    fn from(message: FromGate) -> Self {
        let what = match message {
            FromGate::Report(report) => v1::from_gate::What::Report(report_out(report)),
            FromGate::Ack(ack) => v1::from_gate::What::Ack(v1::Ack {
                gate: Some(gate_out(ack.gate)),
                fleet: ack.fleet,
                mark: Some(mark_out(ack.mark)),
                follows: Some(mark_out(ack.follows)),
            }),
        };
        Self { what: Some(what) }
    }
}

impl TryFrom<v1::FromGate> for FromGate {
    type Error = WireError;

    fn try_from(message: v1::FromGate) -> Result<Self, WireError> {
        let message = match message.what.ok_or(WireError::Missing("content"))? {
            v1::from_gate::What::Report(report) => Self::Report(report_in(report)?),
            v1::from_gate::What::Ack(ack) => Self::Ack(Ack {
                gate: gate(ack.gate)?,
                fleet: ack.fleet,
                mark: mark(ack.mark)?,
                follows: mark(ack.follows)?,
            }),
        };
        message.check()?;
        Ok(message)
    }
}

fn report_out(report: Report) -> v1::Report {
    let endpoints = report.endpoints.into_iter().map(|endpoint| v1::EndpointReport {
        address: endpoint.address,
        age_ns: endpoint.age.0,
        in_flight: endpoint.in_flight,
        draining: endpoint.draining,
    });
    v1::Report {
        gate: Some(gate_out(report.gate)),
        sequence: report.sequence,
        fleet: report.fleet,
        active: report.active,
        tiers: report.tiers.into_iter().map(tier_out).collect(),
        endpoints: endpoints.collect(),
    }
}

fn report_in(report: v1::Report) -> Result<Report, WireError> {
    let endpoints = report.endpoints.into_iter().map(|endpoint| EndpointReport {
        address: endpoint.address,
        age: Span(endpoint.age_ns),
        in_flight: endpoint.in_flight,
        draining: endpoint.draining,
    });
    Ok(Report {
        gate: gate(report.gate)?,
        sequence: report.sequence,
        fleet: report.fleet,
        active: report.active,
        tiers: report.tiers.into_iter().map(tier_in).collect(),
        endpoints: endpoints.collect(),
    })
}

fn tier_out(tier: TierReport) -> v1::TierReport {
    let seen = &tier.seen;
    v1::TierReport {
        tier: tier.tier,
        age_ns: tier.age.0,
        queued: known(seen.queued),
        queued_prompt_tokens: known(seen.queued_prompt_tokens),
        running: known(seen.running),
        inflight_prompt_tokens: known(seen.inflight_prompt_tokens),
        requests_total: known(seen.requests_total),
        prompt_tokens_total: known(seen.prompt_tokens_total),
        output_tokens_total: known(seen.output_tokens_total),
        errors_total: known(seen.errors_total),
        ttft_s: Some(histogram_out(&seen.ttft)),
        tpot_s: Some(histogram_out(&seen.tpot)),
        refused_total: known(tier.refused_total),
        tickets: tier.tickets,
        tickets_prompt_tokens: tier.tickets_prompt_tokens,
    }
}

fn tier_in(tier: v1::TierReport) -> TierReport {
    let figure = |figure: Option<f64>| figure.unwrap_or(f64::NAN);
    TierReport {
        tier: tier.tier,
        age: Span(tier.age_ns),
        seen: RouterTierSample {
            queued: figure(tier.queued),
            queued_prompt_tokens: figure(tier.queued_prompt_tokens),
            running: figure(tier.running),
            inflight_prompt_tokens: figure(tier.inflight_prompt_tokens),
            requests_total: figure(tier.requests_total),
            prompt_tokens_total: figure(tier.prompt_tokens_total),
            output_tokens_total: figure(tier.output_tokens_total),
            errors_total: figure(tier.errors_total),
            ttft: histogram_in(tier.ttft_s, Buckets::Ttft),
            tpot: histogram_in(tier.tpot_s, Buckets::InterToken),
        },
        refused_total: figure(tier.refused_total),
        tickets: tier.tickets,
        tickets_prompt_tokens: tier.tickets_prompt_tokens,
    }
}

/// A figure that is no number is not known.
fn known(figure: f64) -> Option<f64> {
    (!figure.is_nan()).then_some(figure)
}

fn histogram_out(histogram: &Histogram) -> v1::Histogram {
    let bounds = histogram.buckets.bounds();
    v1::Histogram {
        bounds: bounds.to_vec(),
        counts: histogram.counts[..=bounds.len()].to_vec(),
        sum: histogram.sum,
    }
}

/// A histogram with other bounds than ours says nothing that could be read: it is not known.
fn histogram_in(found: Option<v1::Histogram>, buckets: Buckets) -> Histogram {
    let mut histogram = Histogram::new(buckets);
    let bounds = buckets.bounds();
    let same = |found: &v1::Histogram| {
        let near = |(one, other): (&f64, &f64)| (one - other).abs() <= 1e-9 * other;
        found.counts.len() == bounds.len() + 1
            && found.bounds.len() == bounds.len()
            && found.bounds.iter().zip(bounds).all(near)
    };
    match found.filter(same) {
        Some(found) => {
            histogram.counts[..=bounds.len()].copy_from_slice(&found.counts);
            histogram.sum = found.sum;
        }
        None => {
            histogram.counts[..=bounds.len()].fill(f64::NAN);
            histogram.sum = f64::NAN;
        }
    }
    histogram
}
