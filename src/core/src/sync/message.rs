//! What gates and controllers tell each other.
//!
//! Fleets, tiers, variants and endpoints go by name or address: numbers are each process's own.

use crate::observe::RouterTierSample;
use crate::time::Span;

/// Tiers of one message at most: there are 256 numbers for them.
pub const TIERS_MAX: usize = 256;
/// Endpoints of one message at most: as many as a gate follows.
pub const ENDPOINTS_MAX: usize = 10_000;
/// Replicas on their way of one message at most.
pub const REPLICAS_MAX: usize = 10_000;
/// Variants of one message at most.
pub const VARIANTS_MAX: usize = 1_024;
/// Longest name, bytes: what Kubernetes allows for a namespace, a name and what joins them.
pub const NAME_BYTES_MAX: usize = 512;

/// How often the lease changed hands: the larger one is the present one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

/// Which directive of which leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The leader's term.
    pub term: Term,
    /// The leader: names one process, so that a restarted one is another holder.
    pub holder: String,
    /// Counts the directives of this holder in this term.
    pub sequence: u64,
}

/// One gate process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GateName {
    /// Its pod, or whatever tells it from others.
    pub name: String,
    /// Larger after each restart (say, nanoseconds of the wall clock when it began).
    pub incarnation: u64,
}

/// Everything that a gate says.
#[derive(Clone, Debug, PartialEq)]
pub enum FromGate {
    /// How things are.
    Report(Report),
    /// What became of a directive.
    Ack(Ack),
}

/// Everything that a controller says.
#[derive(Clone, Debug, PartialEq)]
pub enum ToGate {
    /// What the leader wants.
    Directive(Directive),
    /// The fleet has an active gate already.
    SecondGate(SecondGate),
}

/// How things are at a gate, as a whole: the latest is all that counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Whose.
    pub gate: GateName,
    /// Counts the reports of this gate.
    pub sequence: u64,
    /// The fleet that it serves.
    pub fleet: String,
    /// Whether it takes requests; one that stands by only listens.
    pub active: bool,
    /// By tier: what came, what waits, what was refused.
    pub tiers: Vec<TierReport>,
    /// By endpoint: what is in flight.
    pub endpoints: Vec<EndpointReport>,
}

/// What a gate knows of one tier. Counters run from the start of the process.
#[derive(Clone, Debug, PartialEq)]
pub struct TierReport {
    /// Its name.
    pub tier: String,
    /// How old this was when it was sent.
    pub age: Span,
    /// Demand, queue and latencies.
    pub seen: RouterTierSample,
    /// Requests refused, also those that came back later.
    pub refused_total: f64,
    /// Requests that wait outside with a ticket; `None` = the gate gives none.
    pub tickets: Option<f64>,
    /// Their prompt tokens.
    pub tickets_prompt_tokens: Option<f64>,
}

/// What a gate knows of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointReport {
    /// `address:port`.
    pub address: String,
    /// How old this was when it was sent.
    pub age: Span,
    /// Requests that it sent there and that have not ended; `None` = not known yet (a gate that
    /// just began rebuilds it from scrapes).
    pub in_flight: Option<u32>,
    /// Whether it still sends requests there.
    pub draining: bool,
}

/// What the leader wants, as a whole: the latest is all that counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Directive {
    /// Of which fleet.
    pub fleet: String,
    /// Which one, of whom.
    pub mark: Mark,
    /// What.
    pub guidance: Guidance,
}

/// Capacity on its way, how to admit, what to drain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Guidance {
    /// Replicas on their way.
    pub coming: Vec<ComingReplica>,
    /// Whether something is started for whoever comes while the fleet is empty; `None` = not
    /// known, and nobody is held for it.
    pub on_demand: Option<bool>,
    /// By tier; one that is not named is admitted as its policy says.
    pub admission: Vec<TierAdmission>,
    /// By variant; one that is not named behaves as its profile says.
    pub physics: Vec<VariantPhysics>,
    /// Addresses that get no more requests.
    pub drain: Vec<String>,
}

/// One replica on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComingReplica {
    /// Of which variant.
    pub variant: String,
    /// How long after sending it is expected to be ready.
    pub ready_in: Span,
}

/// How to admit one tier.
#[derive(Clone, Debug, PartialEq)]
pub struct TierAdmission {
    /// Which.
    pub tier: String,
    /// Requests/s of deferrable work that the plan has room for; `None` = no bound beyond what the
    /// gate itself sees.
    pub deferred_per_s: Option<f64>,
}

/// What was learned about a variant's step times, as multipliers on its profile (above 0).
#[derive(Clone, Debug, PartialEq)]
pub struct VariantPhysics {
    /// Which.
    pub variant: String,
    /// On fixed time and weights.
    pub fixed: f64,
    /// On the time per token.
    pub token: f64,
    /// On the time per KV token.
    pub kv: f64,
}

/// What became of a directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Of which gate.
    pub gate: GateName,
    /// Of which fleet.
    pub fleet: String,
    /// The directive.
    pub mark: Mark,
    /// The latest directive that the gate follows: the same, if it took it; one of a later term
    /// tells an old leader that it is none any more.
    pub follows: Mark,
}

/// Another gate serves the fleet; this one should stand by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondGate {
    /// Which fleet.
    pub fleet: String,
    /// The gate that is active.
    pub active: GateName,
}

/// A message that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Too much of something.
    #[error("a message with {found} {what}, at most {most} are taken; it was left out")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// A name that is none.
    #[error(
        "a message whose {what} is empty or longer than {NAME_BYTES_MAX} bytes; it was left out"
    )]
    Name {
        /// Of what.
        what: &'static str,
    },
    /// A number that is none.
    #[error("a message whose {what} is {found}; it was left out")]
    Number {
        /// Which.
        what: &'static str,
        /// What it is.
        found: String,
    },
}

impl FromGate {
    /// Whether the message is within its bounds.
    ///
    /// # Errors
    /// [`MessageError`]: the first thing that is not.
    pub fn check(&self) -> Result<(), MessageError> {
        match self {
            Self::Report(report) => report.check(),
            Self::Ack(ack) => {
                name("gate", &ack.gate.name)?;
                name("fleet", &ack.fleet)?;
                name("holder", &ack.mark.holder)?;
                name("holder", &ack.follows.holder)
            }
        }
    }
}

impl ToGate {
    /// Whether the message is within its bounds.
    ///
    /// # Errors
    /// [`MessageError`]: the first thing that is not.
    pub fn check(&self) -> Result<(), MessageError> {
        match self {
            Self::Directive(directive) => directive.check(),
            Self::SecondGate(second) => {
                name("fleet", &second.fleet)?;
                name("gate", &second.active.name)
            }
        }
    }
}

impl Report {
    fn check(&self) -> Result<(), MessageError> {
        name("gate", &self.gate.name)?;
        name("fleet", &self.fleet)?;
        count("tiers", self.tiers.len(), TIERS_MAX)?;
        count("endpoints", self.endpoints.len(), ENDPOINTS_MAX)?;
        for tier in &self.tiers {
            name("tier", &tier.tier)?;
        }
        self.endpoints.iter().try_for_each(|endpoint| name("address", &endpoint.address))
    }
}

impl Directive {
    fn check(&self) -> Result<(), MessageError> {
        name("fleet", &self.fleet)?;
        name("holder", &self.mark.holder)?;
        let Guidance { coming, on_demand: _, admission, physics, drain } = &self.guidance;
        count("replicas on their way", coming.len(), REPLICAS_MAX)?;
        count("tiers", admission.len(), TIERS_MAX)?;
        count("variants", physics.len(), VARIANTS_MAX)?;
        count("endpoints to drain", drain.len(), ENDPOINTS_MAX)?;
        coming.iter().try_for_each(|replica| name("variant", &replica.variant))?;
        drain.iter().try_for_each(|address| name("address", address))?;
        for tier in admission {
            name("tier", &tier.tier)?;
            if let Some(rate) = tier.deferred_per_s {
                number("rate of deferred work", rate, rate >= 0.0)?;
            }
        }
        for physics in physics {
            name("variant", &physics.variant)?;
            for multiplier in [physics.fixed, physics.token, physics.kv] {
                number("multiplier", multiplier, multiplier > 0.0)?;
            }
        }
        Ok(())
    }
}

fn name(what: &'static str, name: &str) -> Result<(), MessageError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(MessageError::Name { what });
    }
    Ok(())
}

fn count(what: &'static str, found: usize, most: usize) -> Result<(), MessageError> {
    if found > most { Err(MessageError::TooMany { what, found, most }) } else { Ok(()) }
}

fn number(what: &'static str, found: f64, sound: bool) -> Result<(), MessageError> {
    if sound && found.is_finite() {
        return Ok(());
    }
    Err(MessageError::Number { what, found: found.to_string() })
}
