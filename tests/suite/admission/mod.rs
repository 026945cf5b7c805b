//! The request admission webhook and what stands in front of the gate in other people's houses:
//! callers over HTTP, NGINX, the OpenAI client library, a fuzzer of described interfaces.

mod http;
mod nginx;
mod python;
mod webhook;

pub(crate) use http::{ask, get, post};

/// One slot of 300 ms in each engine, tiers that the client names, one tenant with a limit.
pub(crate) fn fleet(endpoints: &[std::net::SocketAddr]) -> String {
    let quoted: Vec<_> = endpoints.iter().map(|at| format!("\"{at}\"")).collect();
    format!(
        "apiVersion: forebay.dev/v1alpha1
kind: InferenceFleet
metadata: {{name: demo}}
spec:
  models: [demo]
  slos:
  - {{tier: interactive, ttft: 60s, tpot: 1s, percentile: 99%}}
  - {{tier: batch, completion: 1h, percentile: 99%}}
  variants:
  - name: l40s
    acceleratorClass: l40s
    profile: llama-3.1-8b-fp8-l40s-tp1
    endpoints: [{}]
---
apiVersion: forebay.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: demo}}
spec:
  enforcement: Enforce
  defaultTier: interactive
  identity: {{trustClients: true}}
  tiers:
  - {{name: interactive, priority: 100, holdSecondsMax: 20}}
  - {{name: batch, priority: -100, deferrable: true, floor: 5%, holdSecondsMax: 20, late: ServeLast}}
  tenants:
  - {{name: trial, limits: {{requestsPerMinute: 30}}}}
",
        quoted.join(", ")
    )
}
