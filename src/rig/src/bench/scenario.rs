//! What is measured.

use std::fmt::Write;

/// One load, or none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Requests a second; 0: nothing is asked, only the picker's idling is measured.
    pub rate: f64,
    /// How long, seconds.
    pub seconds: f64,
    /// Engines.
    pub engines: u16,
    /// Prompt, tokens of four bytes; each is unique.
    pub prompt_tokens: u32,
    /// Answer, tokens; one event each if it is streamed.
    pub output_tokens: u32,
    /// The answer is streamed.
    pub streamed: bool,
    /// Time to an engine's first token, ms.
    pub first_token_ms: f64,
    /// Time of each token after it, ms.
    pub token_ms: f64,
}

impl Scenario {
    /// Time that the engine itself takes for an answer, ms.
    #[must_use]
    pub fn service_ms(&self) -> f64 {
        self.first_token_ms + self.token_ms * (f64::from(self.output_tokens) - 1.0)
    }
}

const PLAIN: Scenario = Scenario {
    name: "500/s",
    rate: 500.0,
    seconds: 20.0,
    engines: 10,
    prompt_tokens: 1_024,
    output_tokens: 16,
    streamed: false,
    first_token_ms: 50.0,
    token_ms: 0.0,
};

/// All there are. Rates, lengths and sizes as in the measurements of llm-d's picker that we
/// compare with: 4 KiB prompts, engines of 50 ms, pages of 26 kB.
pub const ALL: [Scenario; 5] = [
    PLAIN,
    Scenario { name: "1500/s", rate: 1_500.0, seconds: 15.0, ..PLAIN },
    Scenario {
        name: "streams",
        rate: 25.0,
        output_tokens: 200,
        streamed: true,
        token_ms: 10.0,
        ..PLAIN
    },
    Scenario { name: "100k-prompts", rate: 10.0, prompt_tokens: 100_000, ..PLAIN },
    Scenario { name: "idle-100", rate: 0.0, engines: 100, ..PLAIN },
];

/// A fleet of one tier at these endpoints, as a gate reads it. Its profile says what the engines
/// of the scenario are, so that no picker is measured while it refuses.
pub(super) fn fleet(scenario: &Scenario, endpoints: &[String]) -> String {
    let slos = "    - {tier: only, ttft: 2s, tpot: 100ms, percentile: 0.99}\n";
    let tiers = "    - {name: only, priority: 0}\n";
    let profile = PROFILE
        .replace("FIRST_TOKEN_MS", &scenario.first_token_ms.to_string())
        .replace("TOKEN_MS", &scenario.token_ms.max(STEP_MS_MIN).to_string());
    manifests("fixed", endpoints, slos, tiers) + &profile
}

/// A fleet of two tiers at these endpoints; what they hold is not told.
pub(super) fn two_tiers(endpoints: &[String]) -> String {
    let slos = "    - {tier: high, ttft: 2s, tpot: 100ms, percentile: 0.99}\n    \
                - {tier: low, ttft: 5s, tpot: 200ms, percentile: 0.99}\n";
    let tiers = "    - {name: high, priority: 100, holdSecondsMax: 5, late: Refuse}\n    \
                 - {name: low, priority: 0, floor: 10%, holdSecondsMax: 5, late: Refuse}\n";
    manifests("llama-3.1-8b-fp8-l40s-tp1", endpoints, slos, tiers)
}

/// Shortest step of an engine, ms; none takes no time.
const STEP_MS_MIN: f64 = 0.1;

/// An engine whose time does not depend on what it computes.
const PROFILE: &str = "---
apiVersion: forebay.dev/v1alpha1
kind: EngineProfile
metadata: {name: fixed}
spec:
  model: test-model
  quantization: none
  accelerator: l40s
  tensorParallel: 1
  engine: test engine
  stepTime: {fixedMs: TOKEN_MS, weightsMs: 0.0, computeMsPerKtoken: 0.0, overlapExponent: 1.0, kvReadMsPerKtoken: 0.0, attentionMsPerMpair: 0.0, calibration: 1.0}
  kv: {capacityTokens: 100000000, blockTokens: 16, bytesPerToken: 131072}
  limits: {maxNumBatchedTokens: 131072, maxNumSeqs: 1024}
  requestOverheadMs: FIRST_TOKEN_MS
  evidence: {level: Measured, source: \"the test engine's own settings\"}
";

fn manifests(profile: &str, endpoints: &[String], slos: &str, tiers: &str) -> String {
    let mut text = format!(
        "apiVersion: forebay.dev/v1alpha1\nkind: InferenceFleet\nmetadata: {{name: bench}}\n\
         spec:\n  models: [test-model]\n  trafficPolicyRef: {{name: bench}}\n  slos:\n{slos}  \
         variants:\n    - name: test\n      role: Both\n      acceleratorClass: l40s\n      \
         profile: {profile}\n      endpoints:\n"
    );
    for endpoint in endpoints {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "        - \"{endpoint}\"");
    }
    let _infallible = write!(
        text,
        "---\napiVersion: forebay.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: bench}}\n\
         spec:\n  enforcement: Enforce\n  identity: {{trustClients: true}}\n  tiers:\n{tiers}"
    );
    text
}

#[cfg(test)]
mod tests {
    use forebay_core::manifest::{Source, parse};

    use super::*;

    #[test]
    fn the_fleets_are_fleets() {
        let endpoints = ["127.0.0.1:8000".into(), "127.0.0.1:8001".into()];
        let single = ALL.map(|scenario| (fleet(&scenario, &endpoints), 1));
        for (text, tiers) in single.into_iter().chain([(two_tiers(&endpoints), 2)]) {
            let manifests = parse(&[Source::new("fleet.yaml", text)]).unwrap();
            let (world, _) = manifests.resolve(None).unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!((world.fleets.len(), world.tiers.len()), (1, tiers));
        }
    }

    #[test]
    fn a_stream_of_two_hundred_lasts_two_seconds() {
        assert!((ALL[2].service_ms() - 2_040.0).abs() < 1e-9);
        assert!((PLAIN.service_ms() - 50.0).abs() < 1e-9);
    }
}
