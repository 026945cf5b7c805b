//! A request as a gate sees it, and the place that it keeps when it has to come back.

use serde::{Deserialize, Serialize};

use crate::engine::Prefix;
use crate::ids::{EndpointId, RequestId, TierId};
use crate::time::{Span, Time};

/// A request as a gate sees it on arrival.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Our identity.
    pub request: RequestId,
    /// Its tier.
    pub tier: TierId,
    /// Its flow (tenant), hashed by us.
    pub flow: u64,
    /// The user inside the flow, hashed by us: the second level of fairness. 0 where nobody says.
    pub user: u64,
    /// What its flow may have, relative to other flows of the tier; 1 where nobody says.
    pub weight: f64,
    /// Prompt length in tokens.
    pub prompt_tokens: u32,
    /// Most tokens that the client lets it generate; `None` where it sets no limit.
    pub output_tokens_max: Option<u32>,
    /// Chained content identities of the prompt, if known.
    pub prefix: Option<&'a Prefix>,
    /// The LoRA adapter that it names, hashed by us; `None` for the base model.
    pub adapter: Option<u64>,
    /// Endpoints that it may go to; `None` = all, an empty list = nobody.
    pub candidates: Option<&'a [EndpointId]>,
    /// When it must be complete (deferrable) or have its first token.
    pub deadline: Time,
    /// Time per output token that this request asks for itself; `None` = its tier's.
    pub tpot: Option<Span>,
    /// Longest time that it may be held; `None` = its tier's.
    pub hold_max: Option<Span>,
    /// Whether the gate's word counts. If not, it is picked and sent at once whatever the gate
    /// thinks of it, and what would have been done is counted in [`super::WouldHave`].
    pub enforced: bool,
    /// The place that it had when it was last refused; `None` for one that comes for the first
    /// time.
    pub place: Option<Place>,
}

impl Arrival<'_> {
    /// A request of which nothing else is known: one flow, no limits, enforced.
    #[must_use]
    pub const fn new(request: RequestId, tier: TierId, prompt_tokens: u32, deadline: Time) -> Self {
        Self {
            request,
            tier,
            flow: 0,
            user: 0,
            weight: 1.0,
            prompt_tokens,
            output_tokens_max: None,
            prefix: None,
            adapter: None,
            candidates: None,
            deadline,
            tpot: None,
            hold_max: None,
            enforced: true,
            place: None,
        }
    }
}

/// A place in the order of a gate: what a ticket carries while its request is away.
///
/// Good at the gate that gave it, and harmless at another: it orders a request inside its own
/// flow and user, and never before what other flows are owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// When the request first came.
    pub since: Time,
    /// The deadline by which it was ordered.
    pub deadline: Time,
    /// Breaks ties between deadlines: the identity under which it first came.
    pub sequence: u64,
    /// Virtual tokens that its flow had had: its flow comes back there, not at the present, as if
    /// it had waited inside.
    pub flow_had: u64,
    /// The same for its user inside the flow.
    pub user_had: u64,
}
