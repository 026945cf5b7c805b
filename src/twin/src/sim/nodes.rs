//! Where replicas live: nodes that are asked for, arrive, fill up and are given back, within
//! quotas, committed units and what is in stock.

use forebay_core::fleet::{CapacityType, World};
use forebay_core::ids::AcceleratorId;
use forebay_core::scenario::Billing;
use forebay_core::time::Picos;

use super::billing::Meter;
use super::calendar::{Calendar, Event};

/// All nodes of a run. Numbers count up; a node that is gone keeps its (small) entry.
#[derive(Debug)]
pub(super) struct Nodes {
    billing: Billing,
    nodes: Vec<Node>,
    /// Per class: how many out-of-stock faults are in force.
    out_of_stock: Vec<u32>,
}

#[derive(Debug)]
struct Node {
    class: AcceleratorId,
    capacity: CapacityType,
    size: u32,
    free: u32,
    ready: bool,
    gone: bool,
    /// Changes whenever its load changes, so that old removal timers are void.
    turn: u32,
}

/// What a replica needs of a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    pub(super) class: AcceleratorId,
    pub(super) capacity: CapacityType,
    pub(super) accelerators: u32,
}

impl Nodes {
    pub(super) fn new(world: &World, billing: Billing) -> Self {
        Self { billing, nodes: Vec::new(), out_of_stock: vec![0; world.accelerators.len()] }
    }

    /// Gives a replica a place: on a node with room, else on a new one if stock, quota and
    /// commitment allow. `instant` nodes are there at once (the start of a run).
    pub(super) fn place(
        &mut self,
        now: Picos,
        need: Need,
        instant: bool,
        world: &World,
        meter: &mut Meter,
        calendar: &mut Calendar,
    ) -> Option<u32> {
        if let Some(node) = self.fitting(need) {
            self.nodes[node].free -= need.accelerators;
            self.nodes[node].turn += 1;
            return Some(node as u32);
        }
        let class = &world.accelerators[need.class.index()];
        let size = match (self.billing, need.capacity) {
            (Billing::PerReplica, _) | (_, CapacityType::Committed) => need.accelerators,
            (Billing::PerNode, _) => {
                need.accelerators.next_multiple_of(class.accelerators_per_node.max(1))
            }
        };
        if !self.allowed(need, size, world, meter) {
            return None;
        }
        meter.hold(now, (need.class, need.capacity), i64::from(size));
        let there = instant || need.capacity == CapacityType::Committed;
        let node = self.nodes.len() as u32;
        self.nodes.push(Node {
            class: need.class,
            capacity: need.capacity,
            size,
            free: size - need.accelerators,
            ready: there,
            gone: false,
            turn: 0,
        });
        if !there {
            let at = now + class.node_provisioning.as_picos();
            calendar.push(at, Event::NodeReady { node });
        }
        Some(node)
    }

    /// The fullest node that still fits, ready ones first.
    fn fitting(&self, need: Need) -> Option<usize> {
        if self.billing == Billing::PerReplica || need.capacity == CapacityType::Committed {
            return None;
        }
        self.nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| {
                !node.gone
                    && node.class == need.class
                    && node.capacity == need.capacity
                    && node.free >= need.accelerators
            })
            .min_by_key(|(index, node)| (!node.ready, node.free, *index))
            .map(|(index, _)| index)
    }

    fn allowed(&self, need: Need, size: u32, world: &World, meter: &Meter) -> bool {
        let class = &world.accelerators[need.class.index()];
        if !meter.offers(need.class, need.capacity) {
            return false;
        }
        if class.quota.is_some_and(|quota| meter.held(need.class) + size > quota) {
            return false;
        }
        match need.capacity {
            CapacityType::Committed => {
                meter.held_as(need.class, need.capacity) + size <= class.committed
            }
            CapacityType::OnDemand | CapacityType::Spot => {
                self.out_of_stock[need.class.index()] == 0
            }
        }
    }

    /// Whether the node is there.
    pub(super) fn is_ready(&self, node: u32) -> bool {
        let node = &self.nodes[node as usize];
        node.ready && !node.gone
    }

    /// The node arrived. False when it was given back meanwhile.
    pub(super) fn arrived(&mut self, node: u32) -> bool {
        let node = &mut self.nodes[node as usize];
        node.ready = true;
        !node.gone
    }

    /// A replica leaves its node.
    pub(super) fn leave(
        &mut self,
        now: Picos,
        node: u32,
        accelerators: u32,
        world: &World,
        meter: &mut Meter,
        calendar: &mut Calendar,
    ) {
        let entry = &mut self.nodes[node as usize];
        if entry.gone {
            return;
        }
        entry.free += accelerators;
        entry.turn += 1;
        if entry.free < entry.size {
            return;
        }
        let delayed = self.billing == Billing::PerNode && entry.capacity != CapacityType::Committed;
        if delayed {
            let delay = world.accelerators[entry.class.index()].node_removal_delay.as_picos();
            calendar.push(now + delay, Event::NodeIdle { node, turn: entry.turn });
        } else {
            self.give_back(now, node, meter);
        }
    }

    /// The removal delay of an empty node is over.
    pub(super) fn idle_over(
        &mut self,
        now: Picos,
        node: u32,
        turn: u32,
        meter: &mut Meter,
    ) -> bool {
        let entry = &self.nodes[node as usize];
        let void = entry.gone || entry.turn != turn || entry.free < entry.size;
        if !void {
            self.give_back(now, node, meter);
        }
        !void
    }

    /// The node is gone, with whatever was on it.
    pub(super) fn give_back(&mut self, now: Picos, node: u32, meter: &mut Meter) {
        let entry = &mut self.nodes[node as usize];
        if !entry.gone {
            entry.gone = true;
            meter.hold(now, (entry.class, entry.capacity), -i64::from(entry.size));
        }
    }

    /// Class of a node.
    pub(super) fn class(&self, node: u32) -> AcceleratorId {
        self.nodes[node as usize].class
    }

    /// An out-of-stock fault of a class begins or ends.
    pub(super) fn set_out_of_stock(&mut self, class: AcceleratorId, begins: bool) {
        let count = &mut self.out_of_stock[class.index()];
        *count = if begins { *count + 1 } else { count.saturating_sub(1) };
    }
}
