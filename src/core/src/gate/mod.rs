//! Who goes now, who waits, who is refused, and where to: the port that every gate fills, ours
//! and the baselines alike, in the twin and live.

mod arrival;
mod arrive;
#[cfg(test)]
mod bench;
mod dispatch;
mod engines;
mod forebay;
mod line;
mod outlook;
#[cfg(test)]
mod physics_tests;
mod policy;
#[cfg(test)]
mod promise_tests;
mod queue;
mod refuse;
mod requests;
mod reserve;
mod returning;
#[cfg(test)]
mod returning_tests;
#[cfg(test)]
mod steady_tests;
mod supply;
mod would_have;

pub use arrival::{Arrival, Place};
pub use forebay::{Forebay, SCRAPE_INTERVAL};
pub use outlook::{Coming, Outlook};
pub use requests::{RequestHasher, RequestMap};
pub use would_have::WouldHave;

use crate::engine::profile::EngineProfile;
use crate::ids::{EndpointId, RequestId, TierId, VariantId};
use crate::time::{Span, Time};

/// An admission and picking policy for one fleet, as a state machine without I/O.
///
/// Every arrived request gets exactly one of [`GateEffect::Dispatch`] or [`GateEffect::Refuse`],
/// in this step or in a later one, unless its client goes first.
pub trait Gate {
    /// Takes in one event at `now`. Appends what is to be done to `effects`.
    fn step(&mut self, now: Time, event: GateEvent<'_>, effects: &mut Vec<GateEffect>);

    /// When the gate wants a [`GateEvent::Due`]; `None` while it waits for nothing but events.
    fn next_deadline(&self) -> Option<Time>;

    /// Requests that it holds, by [`TierId`] index: count and prompt tokens.
    fn queued(&self, tier: TierId) -> Queued;

    /// How often, if at all, it scrapes the endpoints on its own account.
    fn scrape_interval(&self) -> Option<Span> {
        None
    }

    /// Requests of a tier that workers outside may send now, on top of what is here; `None` where
    /// the gate has no such notion.
    fn budget(&self, _now: Time, _tier: TierId) -> Option<u64> {
        None
    }

    /// What it would have done with the requests of a tier that it only watched (see
    /// [`Arrival::enforced`]), counted from the start; `None` where the gate has no such notion.
    fn would_have(&self, _tier: TierId) -> Option<WouldHave> {
        None
    }

    /// What it counts on one endpoint; `None` where it does not know the endpoint, or counts
    /// nothing.
    fn account(&self, _endpoint: EndpointId) -> Option<Account> {
        None
    }

    /// Pool saturation as it would export it, 0..1; `None` where it has no such notion.
    fn saturation(&self) -> Option<f64> {
        None
    }
}

/// What a gate holds of one tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    /// Requests.
    pub requests: u64,
    /// Their prompt tokens.
    pub prompt_tokens: u64,
}

/// What a gate counts on one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Requests there that have not ended, those that a page shows and nobody here sent among
    /// them; `None` until a page was read, for before that others may be there.
    pub in_flight: Option<u32>,
    /// Whether it gets no more.
    pub draining: bool,
}

/// What a gate is told.
#[derive(Clone, Copy, Debug)]
pub enum GateEvent<'a> {
    /// A request came in.
    Arrived(&'a Arrival<'a>),
    /// The first token of a dispatched request went out.
    FirstToken {
        /// Which request.
        request: RequestId,
    },
    /// The prefill part of a dispatched request is done; only with separate prefill endpoints.
    PrefillDone {
        /// Which request.
        request: RequestId,
    },
    /// A dispatched request ended well.
    Finished {
        /// Which request.
        request: RequestId,
        /// Tokens that it generated.
        output_tokens: u32,
    },
    /// A dispatched request broke off: its engine died or refused it.
    Failed {
        /// Which request.
        request: RequestId,
    },
    /// The client hung up, queued or dispatched.
    ClientGone {
        /// Which request.
        request: RequestId,
    },
    /// An endpoint became ready.
    EndpointReady {
        /// Which.
        endpoint: EndpointId,
        /// Of which variant.
        variant: VariantId,
        /// What it may be used for.
        role: crate::fleet::Role,
    },
    /// An endpoint takes no more requests; those in flight go on.
    EndpointDraining {
        /// Which.
        endpoint: EndpointId,
    },
    /// An endpoint is gone; its requests fail one by one.
    EndpointGone {
        /// Which.
        endpoint: EndpointId,
    },
    /// What capacity is on its way. Each one replaces the one before. A gate that was never told
    /// one does not know; that is not the same as nothing on its way.
    Outlook(&'a Outlook<'a>),
    /// Other physics of a variant are in force: its profile with what was learned of its engines
    /// (see [`crate::learn::Learner`]), which replaces the one before. Until the first, the
    /// manifest's counts.
    Learned {
        /// Of which variant.
        variant: VariantId,
        /// The profile in force.
        profile: &'a EngineProfile,
    },
    /// The gate's own scrape of an endpoint came back. The driver may leave out a scrape if nothing
    /// was told since the one before, but never the first. Scrapes may come as seldom as once a
    /// second, and an endpoint of which none ever comes is used on credits alone.
    Scraped {
        /// Which.
        endpoint: EndpointId,
        /// When the page was true.
        at: Time,
        /// What it says.
        load: EndpointLoad,
    },
    /// The gate's scrapes of an endpoint fail, from now until the next [`GateEvent::Scraped`].
    ScrapeLost {
        /// Which.
        endpoint: EndpointId,
    },
    /// The gate's deadline has come.
    Due,
}

/// The three gauges that endpoint pickers scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EndpointLoad {
    /// `vllm:num_requests_running`.
    pub running: f64,
    /// `vllm:num_requests_waiting`: those that wait for capacity. Where the engine tells by
    /// reason, without those that wait for KV from another engine.
    pub waiting: f64,
    /// `vllm:kv_cache_usage_perc`, 0..1.
    pub kv_usage: f64,
}

/// What a gate wants done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GateEffect {
    /// Send the request to `endpoint`, by way of `prefill` if that is given.
    Dispatch {
        /// Which request.
        request: RequestId,
        /// Aggregated or decode endpoint.
        endpoint: EndpointId,
        /// Prefill endpoint; `None` = the whole request runs on `endpoint`.
        prefill: Option<EndpointId>,
    },
    /// Answer the request with a refusal.
    Refuse {
        /// Which request.
        request: RequestId,
        /// Why.
        reason: Refusal,
        /// When to come back, if the gate can tell.
        retry_after: Option<Span>,
        /// What it takes to come back at the same place in order; `None` where the gate keeps no
        /// such thing.
        place: Option<Place>,
    },
}

/// Why a gate refuses (reasons as llm-d's `x-llm-d-request-dropped-reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// `rejected-saturated`: the queue is full.
    Saturated,
    /// `rejected-ttl-expired`: it waited too long.
    TtlExpired,
    /// `rejected-no-endpoints`: nobody can serve it.
    NoEndpoints,
    /// Its objective cannot be met any more.
    Late,
    /// `rejected-no-capacity-in-sight`: it would have to come back later than the longest time
    /// that a refusal names.
    NoCapacityInSight,
}
