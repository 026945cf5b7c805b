//! One replica from the moment it is asked for until it is gone.

use forebay_core::engine::Engine;
use forebay_core::ids::{EndpointId, VariantId};
use forebay_core::time::Picos;

/// Where a replica is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Waits for a place on a node.
    Unplaced,
    /// Has a node that is not there yet.
    Provisioning,
    /// Loads.
    Starting,
    /// Serves.
    Ready,
    /// Finishes what it has, takes nothing new.
    Draining,
    /// Gone.
    Gone,
}

/// One replica. Its number is its endpoint's.
pub(super) struct Replica {
    pub(super) endpoint: EndpointId,
    pub(super) variant: VariantId,
    /// How many of its variant were asked for before.
    pub(super) nth: u32,
    pub(super) state: State,
    pub(super) node: Option<u32>,
    pub(super) asked_at: Picos,
    pub(super) ready_at: Picos,
    /// There from ready to gone.
    pub(super) engine: Option<Engine>,
    /// When the calendar last was told that the engine is due, and with which turn.
    pub(super) due_at: Option<Picos>,
    pub(super) turn: u32,
    /// Requests that hold anything in this engine.
    pub(super) in_flight: u32,
    /// Last tick of the gate's scrape that was delivered.
    pub(super) scraped_tick: u64,
    /// Whether the gate was told that its scrapes fail.
    pub(super) scrape_lost: bool,
    /// What the engine showed at a tick that was not delivered yet.
    pub(super) scrape_waiting: Option<(u64, forebay_core::gate::EndpointLoad)>,
}

impl Replica {
    pub(super) const fn new(
        endpoint: EndpointId,
        variant: VariantId,
        nth: u32,
        asked_at: Picos,
    ) -> Self {
        Self {
            endpoint,
            variant,
            nth,
            state: State::Unplaced,
            node: None,
            asked_at,
            ready_at: Picos::MAX,
            engine: None,
            due_at: None,
            turn: 0,
            in_flight: 0,
            scraped_tick: 0,
            scrape_lost: false,
            scrape_waiting: None,
        }
    }

    /// Whether it counts towards `status.replicas`.
    pub(super) const fn is_wanted(&self) -> bool {
        !matches!(self.state, State::Draining | State::Gone)
    }

    /// Who goes first on a scale-down, as a ReplicaSet ranks its pods: without a node, then not
    /// ready, then the youngest (`ready_at`, then number, the latest first).
    pub(super) const fn removal_rank(&self) -> (u8, Picos, u32) {
        let class = match self.state {
            State::Unplaced => 0,
            State::Provisioning => 1,
            State::Starting => 2,
            _ => 3,
        };
        (class, Picos::MAX - self.ready_at, u32::MAX - self.endpoint.0)
    }
}
