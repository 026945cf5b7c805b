//! Families under the names of llm-d's endpoint picker (`pkg/epp/metrics`), as far as this gate
//! knows what they mean.

use forebay_core::gate::Refusal;
use forebay_core::ids::TierId;
use forebay_core::observe::Histogram;

use super::families::{Families, Labels};
use crate::desk::{Reason, View};
use crate::front::Front;

pub(super) fn collect(front: &Front, families: &mut Families) {
    let terms = front.terms();
    let fleet = &terms.world.fleets[terms.fleet.index()];
    let model = fleet.models.first().unwrap_or(&fleet.name).clone();
    front.desk().inspect(|view| {
        for (index, tier) in terms.world.tiers.iter().enumerate() {
            let priority = tier.priority.to_string();
            of_tier(&model, &priority, TierId(index as u8), view, families);
        }
        pool(&fleet.name, view, families);
    });
}

fn of_tier(model: &str, priority: &str, tier: TierId, view: &View<'_>, families: &mut Families) {
    let Some(counted) = view.meters.tiers().get(tier.index()) else { return };
    let router = &counted.router;
    let labels = || -> Labels {
        vec![
            ("model_name", model.to_owned()),
            ("target_model_name", model.to_owned()),
            ("priority", priority.to_owned()),
        ]
    };
    families.counter("llm_d_epp_request", "Requests", labels(), router.requests_total);
    families.counter(
        "llm_d_epp_request_error",
        "Requests refused or broken off",
        labels(),
        router.errors_total,
    );
    families.gauge(
        "llm_d_epp_request_running",
        "Requests sent and not ended",
        labels(),
        Some(router.running),
    );
    families.gauge(
        "llm_d_epp_inflight_tokens",
        "Prompt tokens of requests sent whose first token is not out",
        labels(),
        Some(router.inflight_prompt_tokens),
    );
    let histograms: [(&str, &str, Histogram); 6] = [
        ("llm_d_epp_request_duration_seconds", "Arrival to end of answer", counted.duration),
        ("llm_d_epp_request_ttft_seconds", "Arrival to first token", router.ttft),
        ("llm_d_epp_request_streaming_tpot_seconds", "Time per output token", router.tpot),
        ("llm_d_epp_request_input_tokens", "Prompt tokens on arrival", counted.prompt_lengths),
        ("llm_d_epp_request_output_tokens", "Tokens of answers", counted.output_lengths),
        (
            "llm_d_epp_flow_control_request_queue_duration_seconds",
            "Time held before dispatch or refusal",
            counted.queue_time,
        ),
    ];
    for (name, help, histogram) in histograms {
        families.histogram(name, help, labels(), histogram);
    }
    let queued = view.gate.queued(tier);
    let in_queue = || vec![("priority", priority.to_owned()), ("model_name", model.to_owned())];
    families.gauge(
        "llm_d_epp_flow_control_queue_size",
        "Requests held",
        in_queue(),
        Some(queued.requests as f64),
    );
    families.gauge(
        "llm_d_epp_flow_control_queue_bytes",
        "Prompts held, at four bytes a token",
        in_queue(),
        Some(queued.prompt_tokens as f64 * 4.0),
    );
    let refused = |reason: Reason| counted.refused[reason.index()];
    let outcomes = [
        ("Dispatched", counted.dispatched),
        (
            "RejectedCapacity",
            refused(Reason::Gate(Refusal::Saturated))
                + refused(Reason::Gate(Refusal::NoCapacityInSight)),
        ),
        ("RejectedNoEndpoints", refused(Reason::Gate(Refusal::NoEndpoints))),
        ("RejectedLate", refused(Reason::Gate(Refusal::Late))),
        ("RejectedOther", refused(Reason::ShuttingDown)),
        ("EvictedTTL", refused(Reason::Gate(Refusal::TtlExpired))),
    ];
    for (outcome, value) in outcomes {
        let mut labels = in_queue();
        labels.push(("outcome", outcome.to_owned()));
        let help = "Requests that went through flow control";
        families.counter("llm_d_epp_flow_control_requests", help, labels, value as f64);
    }
}

fn pool(name: &str, view: &View<'_>, families: &mut Families) {
    let of_pool = || vec![("name", name.to_owned())];
    let count = view.directory.len() as f64;
    families.gauge("llm_d_epp_ready_endpoints", "Endpoints", of_pool(), Some(count));
    let loads: Vec<_> = view.directory.iter().filter_map(|(_, info)| info.load).collect();
    // An endpoint of which nothing is known counts neither as idle nor as full.
    let mean = |read: fn(&forebay_core::gate::EndpointLoad) -> f64| {
        let known: Vec<f64> =
            loads.iter().map(|(_, load)| read(load)).filter(|value| value.is_finite()).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    };
    families.gauge(
        "llm_d_epp_average_kv_cache_utilization",
        "Mean use of KV caches",
        of_pool(),
        mean(|load| load.kv_usage),
    );
    families.gauge(
        "llm_d_epp_average_queue_size",
        "Mean requests waiting in engines",
        of_pool(),
        mean(|load| load.waiting),
    );
    families.gauge(
        "llm_d_epp_average_running_requests",
        "Mean requests running in engines",
        of_pool(),
        mean(|load| load.running),
    );
    for (_, info) in view.directory.iter() {
        let mut labels = of_pool();
        labels.push(("model_server_pod", info.address.to_string()));
        families.gauge(
            "llm_d_epp_per_endpoint_queue_size",
            "Requests waiting in one engine",
            labels,
            info.load.map(|(_, load)| load.waiting),
        );
    }
    families.gauge(
        "llm_d_epp_flow_control_pool_saturation",
        "Use of the pool, 0 to 1",
        of_pool(),
        view.gate.saturation(),
    );
}
