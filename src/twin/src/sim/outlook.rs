//! What a gate is told of capacity on its way: what is known of starts, never their luck.

use forebay_core::gate::{Coming, GateEvent, Outlook};
use forebay_core::ids::{FleetId, VariantId};
use forebay_core::time::{Span, Time};

use super::Simulation;
use super::replicas::{Replica, State};

/// A start that is late is expected after this share of its usual time again.
const OVERDUE_SHARE: f64 = 0.1;

impl Simulation<'_> {
    /// Tells the gate of a variant's fleet what is on its way now.
    pub(super) fn tell_outlook(&mut self, variant: VariantId) {
        let fleet = self.world.variants[variant.index()].fleet;
        let mut coming: Vec<Coming> = self
            .world
            .variants_of(fleet)
            .flat_map(|(variant, _)| &self.alive[variant.index()])
            .filter_map(|endpoint| self.expected(&self.replicas[endpoint.index()]))
            .collect();
        coming.sort_unstable();
        let outlook = Outlook { coming: &coming, on_demand: self.starts_on_demand(fleet) };
        self.tell_gate(fleet, GateEvent::Outlook(&outlook));
    }

    /// A planner that could start something is taken to do so for whoever waits.
    fn starts_on_demand(&self, fleet: FleetId) -> bool {
        self.world.variants_of(fleet).any(|(_, variant)| variant.replicas_max > 0)
    }

    /// When a replica on its way is usually ready, counted from when it was asked for.
    fn expected(&self, replica: &Replica) -> Option<Coming> {
        let variant = &self.world.variants[replica.variant.index()];
        let start = variant.start_up.median();
        let usual = match replica.state {
            State::Starting => start,
            State::Unplaced | State::Provisioning => {
                start + self.world.accelerators[variant.accelerator.index()].node_provisioning
            }
            State::Ready | State::Draining | State::Gone => return None,
        };
        let now = Time::from_picos(self.now);
        let due = Time::from_picos(replica.asked_at) + usual;
        let overdue = now + Span::from_seconds(usual.as_seconds() * OVERDUE_SHARE);
        let ready_at = if due > now { due } else { overdue };
        Some(Coming { ready_at, variant: replica.variant })
    }
}
