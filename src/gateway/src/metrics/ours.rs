//! Families under our own names.

use forebay_core::gate::EndpointLoad;
use forebay_core::ids::TierId;

use super::families::{Families, Labels};
use crate::desk::{Reason, View};
use crate::front::Front;
use crate::spans::SpanMeters;

pub(super) fn collect(fleet: &str, front: &Front, families: &mut Families) {
    let terms = front.terms();
    let names: Vec<&str> = terms.world.tiers.iter().map(|tier| tier.name.as_str()).collect();
    front.desk().inspect(|view| {
        for (index, tier) in names.iter().enumerate() {
            of_tier(fleet, tier, TierId(index as u8), view, families);
        }
        for (_, info) in view.directory.iter() {
            let labels =
                || vec![("fleet", fleet.to_owned()), ("endpoint", info.address.to_string())];
            let (at, load) = info.load.unzip();
            let of = |read: fn(EndpointLoad) -> f64| load.map(read);
            families.gauge(
                "forebay_endpoint_page_age_seconds",
                "Age of the last page that could be read; absent while none can",
                labels(),
                at.map(|at| view.now.since(at).as_seconds()),
            );
            families.gauge(
                "forebay_endpoint_requests_running",
                "Requests running, as the engine says",
                labels(),
                of(|load| load.running),
            );
            families.gauge(
                "forebay_endpoint_requests_waiting",
                "Requests waiting for capacity, as the engine says",
                labels(),
                of(|load| load.waiting),
            );
        }
    });
    let tier_name = |tier: TierId| names.get(tier.index()).copied().unwrap_or_default().to_owned();
    front.inspect_meters(|meters| {
        for ((tenant, tier), counted) in &meters.tenants {
            let labels = |what: Option<&str>| -> Labels {
                let mut labels = vec![
                    ("fleet", fleet.to_owned()),
                    ("tenant", tenant.to_string()),
                    ("tier", tier_name(*tier)),
                ];
                labels.extend(what.map(|what| ("outcome", what.to_owned())));
                labels
            };
            let name = "forebay_tenant_requests";
            let help = "Requests by tenant, tier and what became of them";
            for (outcome, value) in [
                ("arrived", counted.requests),
                ("finished", counted.finished),
                ("unobserved", counted.unobserved),
                ("refused", counted.refused),
                ("limited", counted.limited),
                ("would_have_limited", counted.would_have_limited),
            ] {
                families.counter(name, help, labels(Some(outcome)), value as f64);
            }
            families.counter(
                "forebay_tenant_prompt_tokens",
                "Prompt tokens by tenant and tier, estimated on arrival",
                labels(None),
                counted.prompt_tokens as f64,
            );
            families.counter(
                "forebay_tenant_output_tokens",
                "Generated tokens by tenant and tier, as engines told",
                labels(None),
                counted.output_tokens as f64,
            );
        }
        for (by, count) in &meters.tier_by {
            let labels = vec![("fleet", fleet.to_owned()), ("by", by.name().to_owned())];
            let help = "Requests by what decided their tier";
            families.counter("forebay_gate_tier_by", help, labels, *count as f64);
        }
        let of_fleet = || vec![("fleet", fleet.to_owned())];
        families.counter(
            "forebay_gate_tier_not_allowed",
            "Requests whose tenant may not use the tier that was asked for",
            of_fleet(),
            meters.not_allowed as f64,
        );
        let help = "Tickets given out";
        families.counter("forebay_gate_tickets", help, of_fleet(), meters.tickets as f64);
    });
    families.gauge(
        "forebay_gate_tickets_open",
        "Tickets of the proxy and the picker that can still be redeemed",
        vec![("fleet", fleet.to_owned())],
        Some(front.tickets_open() as f64),
    );
}

/// What became of spans.
pub(super) fn of_spans(spans: SpanMeters, families: &mut Families) {
    for (outcome, value) in
        [("exported", spans.exported), ("failed", spans.failed), ("dropped", spans.dropped)]
    {
        families.counter(
            "forebay_spans",
            "Spans that ended, by what became of them: taken by the collector, not taken, or \
             dropped since too many waited",
            vec![("outcome", outcome.to_owned())],
            value as f64,
        );
    }
}

fn of_tier(fleet: &str, name: &str, tier: TierId, view: &View<'_>, families: &mut Families) {
    let Some(counted) = view.meters.tiers().get(tier.index()) else { return };
    let labels = || vec![("fleet", fleet.to_owned()), ("tier", name.to_owned())];
    let with = |key: &'static str, value: &str| {
        let mut labels = labels();
        labels.push((key, value.to_owned()));
        labels
    };
    let outcomes = [
        ("finished", counted.finished),
        ("unobserved", counted.unobserved),
        ("failed", counted.failed),
        ("client_gone", counted.client_gone),
        ("refused", counted.refused.iter().sum()),
    ];
    for (outcome, value) in outcomes {
        families.counter(
            "forebay_gate_outcomes",
            "Requests that ended, each in exactly one outcome",
            with("outcome", outcome),
            value as f64,
        );
    }
    families.counter(
        "forebay_gate_requests",
        "Requests that arrived",
        labels(),
        counted.arrived() as f64,
    );
    for reason in Reason::ALL {
        families.counter(
            "forebay_gate_refused",
            "Requests that were refused, by reason",
            with("reason", reason.name()),
            counted.refused[reason.index()] as f64,
        );
    }
    if let Some(would_have) = view.gate.would_have(tier) {
        let watched = [
            ("sent", would_have.sent),
            ("held", would_have.held),
            ("refused_saturated", would_have.refused_saturated),
            ("refused_no_endpoints", would_have.refused_no_endpoints),
            ("refused_late", would_have.refused_late),
            ("refused_otherwise", would_have.refused_otherwise),
        ];
        for (what, value) in watched {
            families.counter(
                "forebay_gate_would_have",
                "Requests that were only watched, by what would have been done with them",
                with("what", what),
                value as f64,
            );
        }
    }
    let queued = view.gate.queued(tier);
    families.gauge(
        "forebay_gate_queued_requests",
        "Requests held",
        labels(),
        Some(queued.requests as f64),
    );
    families.gauge(
        "forebay_gate_queued_prompt_tokens",
        "Prompt tokens of the requests held",
        labels(),
        Some(queued.prompt_tokens as f64),
    );
    families.gauge(
        "forebay_gate_budget_requests",
        "Requests of the tier that workers outside may send now",
        labels(),
        view.gate.budget(view.now, tier).map(|budget| budget as f64),
    );
    families.histogram(
        "forebay_gate_queue_seconds",
        "Time that requests were held before they were sent or refused",
        labels(),
        counted.queue_time,
    );
    families.histogram(
        "forebay_gate_ttft_seconds",
        "Time from arrival to the first token",
        labels(),
        counted.router.ttft,
    );
    families.histogram(
        "forebay_gate_tpot_seconds",
        "Time per output token after the first, mean of each request",
        labels(),
        counted.router.tpot,
    );
}
