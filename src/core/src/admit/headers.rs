//! Request headers by which clients and proxies speak to a gate, under the names that llm-d gave
//! them and the older ones of the Gateway API Inference Extension.

/// A header with its older name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name that wins, in lower case.
    pub canonical: &'static str,
    /// The older name.
    pub alias: Option<&'static str>,
}

const fn name(canonical: &'static str, alias: &'static str) -> Name {
    Name { canonical, alias: Some(alias) }
}

/// Whom the request is to be fair to.
pub const FAIRNESS_ID: Name =
    name("x-llm-d-inference-fairness-id", "x-gateway-inference-fairness-id");
/// The name of an `InferenceObjective`.
pub const OBJECTIVE: Name = name("x-llm-d-inference-objective", "x-gateway-inference-objective");
/// The model that the engine is to be asked for.
pub const MODEL_REWRITE: Name = name("x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite");
/// Time to first token that the client wants, in milliseconds.
pub const SLO_TTFT_MS: Name = name("x-llm-d-slo-ttft-ms", "x-slo-ttft-ms");
/// Time per output token that the client wants, in milliseconds.
pub const SLO_TPOT_MS: Name = name("x-llm-d-slo-tpot-ms", "x-slo-tpot-ms");
/// How long the request may wait, in milliseconds or with a unit (`800ms`, `30s`).
pub const TTL: Name = Name { canonical: "x-llm-d-inference-ttl", alias: None };
/// The name of a tier.
pub const TIER: Name = Name { canonical: "x-forebay-tier", alias: None };
/// A ticket, to come back at its old place.
pub const TICKET: Name = Name { canonical: "x-forebay-ticket", alias: None };

/// All of them: none goes on to an engine.
pub const ALL: [Name; 8] =
    [FAIRNESS_ID, OBJECTIVE, MODEL_REWRITE, SLO_TTFT_MS, SLO_TPOT_MS, TTL, TIER, TICKET];

impl Name {
    /// What the header says, by its canonical name or else by its alias. `lookup` answers for a
    /// name in lower case.
    pub fn read<'a>(self, lookup: impl Fn(&str) -> Option<&'a str>) -> Option<&'a str> {
        lookup(self.canonical).or_else(|| lookup(self.alias?))
    }

    /// The header of that name, in lower case, canonical or alias.
    #[must_use]
    pub fn known(name: &str) -> Option<Self> {
        ALL.into_iter().find(|header| header.canonical == name || header.alias == Some(name))
    }

    /// Both names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.canonical).chain(self.alias)
    }
}
