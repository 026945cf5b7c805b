//! Replicas from asked for to gone: scaling, placing, starting, draining, dying.

use forebay_core::fleet::CapacityType;
use forebay_core::gate::GateEvent;
use forebay_core::ids::{EndpointId, VariantId};
use forebay_core::plan::ScaleTarget;
use forebay_core::time::{PICOS_PER_SECOND, Picos, Span, Time};
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64Mcg;

use super::Simulation;
use super::calendar::Event;
use super::nodes::Need;
use super::replicas::{Replica, State};
use crate::report::ReplicaSummary;

/// A change of direction within this time of the last change is a flap.
const FLAP_WINDOW: Span = Span::from_secs(600);

impl Simulation<'_> {
    /// The replicas that a run starts with: ready at time zero.
    pub(super) fn start_initial(&mut self, variant: VariantId) {
        for _ in 0..self.world.variants[variant.index()].replicas_initial {
            let endpoint = self.new_replica(variant);
            let need = self.need(variant);
            let node =
                self.nodes.place(0, need, true, self.world, &mut self.meter, &mut self.calendar);
            self.replicas[endpoint.index()].node = node;
            if node.is_some() {
                self.replicas[endpoint.index()].state = State::Starting;
                self.replica_ready(endpoint);
            }
        }
    }

    /// Carries out a planner's wish, within the variant's bounds.
    pub(super) fn scale(&mut self, variant: VariantId, replicas: u32) {
        let entry = &self.world.variants[variant.index()];
        let replicas = replicas.clamp(entry.replicas_min, entry.replicas_max);
        let before = self.desired[variant.index()];
        if replicas == before {
            return;
        }
        self.desired[variant.index()] = replicas;
        if self.now >= self.scenario.unscored.as_picos() {
            self.flaps.record(variant, self.now, replicas > before);
        }
        self.reconcile(variant);
    }

    /// What the workload controller does: as many pods as are desired.
    pub(super) fn reconcile(&mut self, variant: VariantId) {
        let desired = self.desired[variant.index()] as usize;
        let mut wanted: Vec<EndpointId> = self.alive[variant.index()]
            .iter()
            .copied()
            .filter(|endpoint| self.replicas[endpoint.index()].is_wanted())
            .collect();
        if wanted.len() < desired {
            for _ in wanted.len()..desired {
                self.new_replica(variant);
            }
            self.place_pending();
            self.tell_outlook(variant);
        } else if wanted.len() > desired {
            let excess = wanted.len() - desired;
            wanted.sort_by_key(|endpoint| self.replicas[endpoint.index()].removal_rank());
            for endpoint in wanted.into_iter().take(excess) {
                self.drain(endpoint, None);
            }
            // What went may have freed a quota that somebody waits for.
            self.place_pending();
        }
    }

    fn new_replica(&mut self, variant: VariantId) -> EndpointId {
        let endpoint = EndpointId(self.replicas.len() as u32);
        let nth = self.starts[variant.index()];
        self.starts[variant.index()] += 1;
        self.replicas.push(Replica::new(endpoint, variant, nth, self.now));
        self.alive[variant.index()].push(endpoint);
        let alive = self.alive[variant.index()].len() as u32;
        self.replica_log[variant.index()].change(self.now, alive, true);
        endpoint
    }

    fn need(&self, variant: VariantId) -> Need {
        let entry = &self.world.variants[variant.index()];
        Need {
            class: entry.accelerator,
            capacity: entry.capacity_type,
            accelerators: entry.accelerators_per_replica,
        }
    }

    /// Gives pending replicas a place, the first asked first.
    pub(super) fn place_pending(&mut self) {
        for variant in 0..self.alive.len() {
            let variant = VariantId(variant as u16);
            for index in 0..self.alive[variant.index()].len() {
                let endpoint = self.alive[variant.index()][index];
                if self.replicas[endpoint.index()].state == State::Unplaced {
                    let need = self.need(variant);
                    let place = self.nodes.place(
                        self.now,
                        need,
                        false,
                        self.world,
                        &mut self.meter,
                        &mut self.calendar,
                    );
                    // The others of this variant need the same and will not fit either.
                    let Some(node) = place else { break };
                    self.placed(endpoint, node);
                }
            }
        }
    }

    fn placed(&mut self, endpoint: EndpointId, node: u32) {
        self.replicas[endpoint.index()].node = Some(node);
        if self.nodes.is_ready(node) {
            self.begin_start(endpoint);
        } else {
            self.replicas[endpoint.index()].state = State::Provisioning;
        }
    }

    /// A node arrived: those that waited for it begin to load.
    pub(super) fn node_ready(&mut self, node: u32) {
        if !self.nodes.arrived(node) {
            return;
        }
        let waiting: Vec<EndpointId> = self
            .alive
            .iter()
            .flatten()
            .copied()
            .filter(|endpoint| {
                let replica = &self.replicas[endpoint.index()];
                replica.node == Some(node) && replica.state == State::Provisioning
            })
            .collect();
        for endpoint in waiting {
            self.begin_start(endpoint);
        }
    }

    fn begin_start(&mut self, endpoint: EndpointId) {
        let variant = self.replicas[endpoint.index()].variant;
        let span = self.start_up(variant, endpoint);
        let replica = &mut self.replicas[endpoint.index()];
        replica.state = State::Starting;
        replica.ready_at = self.now + span;
        self.calendar.push(replica.ready_at, Event::ReplicaReady { endpoint });
        self.tell_outlook(variant);
    }

    /// Start-up time: the phases' median, log-normally spread. The n-th start of a variant has
    /// the same luck under every policy.
    fn start_up(&self, variant: VariantId, endpoint: EndpointId) -> Picos {
        let start_up = &self.world.variants[variant.index()].start_up;
        let nth = u64::from(self.replicas[endpoint.index()].nth);
        let stream = (u64::from(variant.0) << 40) | nth;
        let mut random = Pcg64Mcg::seed_from_u64(self.seed ^ stream.wrapping_mul(START_SALT));
        // The first draws of nearby seeds are correlated.
        let _ = random.next_u64();
        let normal: f64 = StandardNormal.sample(&mut random);
        let spread = (start_up.sigma * normal).exp();
        let factor = spread * self.faults.start_factor(self.now);
        Span::from_seconds(start_up.median().as_seconds() * factor).as_picos()
    }

    /// A replica answers its probe: it gets an engine, and the gate is told.
    pub(super) fn replica_ready(&mut self, endpoint: EndpointId) {
        let variant = self.replicas[endpoint.index()].variant;
        if self.replicas[endpoint.index()].state != State::Starting {
            return;
        }
        let engine = self.new_engine(variant);
        let now = self.now;
        let replica = &mut self.replicas[endpoint.index()];
        replica.state = State::Ready;
        replica.ready_at = now;
        replica.engine = Some(engine);
        let entry = &self.world.variants[variant.index()];
        self.timeline.capacity_changed(now, variant, 1);
        let seat = &mut self.gates[entry.fleet.index()];
        seat.endpoints.push(endpoint);
        seat.endpoints.sort_unstable();
        let event = GateEvent::EndpointReady { endpoint, variant, role: entry.role };
        self.tell_gate(entry.fleet, event);
        if now > 0 {
            self.tell_outlook(variant);
        }
    }

    /// Takes a replica out: at once if it serves nobody, else when its requests are done or its
    /// grace (the variant's drain time, or what a reclaim notice leaves) is over.
    pub(super) fn drain(&mut self, endpoint: EndpointId, grace: Option<Span>) {
        let replica = &mut self.replicas[endpoint.index()];
        match replica.state {
            State::Gone | State::Draining => {}
            State::Unplaced | State::Provisioning | State::Starting => self.remove(endpoint),
            State::Ready => {
                replica.state = State::Draining;
                let variant = replica.variant;
                self.timeline.capacity_changed(self.now, variant, -1);
                let fleet = self.fleet_of(endpoint);
                self.tell_gate(fleet, GateEvent::EndpointDraining { endpoint });
                if self.replicas[endpoint.index()].in_flight == 0 {
                    self.lose(endpoint);
                } else {
                    let limit = self.world.variants[variant.index()].drain_max;
                    let span = grace.map_or(limit, |grace| grace.min(limit)).as_picos();
                    self.calendar.push(self.now + span, Event::DrainOver { endpoint });
                }
            }
        }
    }

    /// A replica ends with whatever it still serves.
    pub(super) fn lose(&mut self, endpoint: EndpointId) {
        let state = self.replicas[endpoint.index()].state;
        if state == State::Gone {
            return;
        }
        if state == State::Ready {
            let variant = self.replicas[endpoint.index()].variant;
            self.timeline.capacity_changed(self.now, variant, -1);
        }
        let fleet = self.fleet_of(endpoint);
        let served = matches!(state, State::Ready | State::Draining);
        if served {
            // The gate hears of the endpoint before it hears of its requests, so that it sends
            // nobody there in answer.
            self.gates[fleet.index()].endpoints.retain(|other| *other != endpoint);
            self.tell_gate(fleet, GateEvent::EndpointGone { endpoint });
            self.fail_requests_of(endpoint);
        }
        self.remove(endpoint);
    }

    /// Frees what a replica holds and, where pods are missing now, asks for another.
    fn remove(&mut self, endpoint: EndpointId) {
        let replica = &mut self.replicas[endpoint.index()];
        let variant = replica.variant;
        let served = matches!(replica.state, State::Ready | State::Draining);
        replica.state = State::Gone;
        replica.engine = None;
        replica.turn += 1;
        let node = replica.node.take();
        self.alive[variant.index()].retain(|other| *other != endpoint);
        let alive = self.alive[variant.index()].len() as u32;
        self.replica_log[variant.index()].change(self.now, alive, false);
        self.store.forget(endpoint);
        if let Some(node) = node {
            let accelerators = self.world.variants[variant.index()].accelerators_per_replica;
            self.nodes.leave(
                self.now,
                node,
                accelerators,
                self.world,
                &mut self.meter,
                &mut self.calendar,
            );
            self.calendar.push(self.now, Event::Place);
        }
        if !served {
            self.tell_outlook(variant);
        }
    }

    /// Whether a draining replica has nothing left to do.
    pub(super) fn end_drain_if_idle(&mut self, endpoint: EndpointId) {
        let replica = &self.replicas[endpoint.index()];
        if replica.state == State::Draining && replica.in_flight == 0 {
            self.lose(endpoint);
        }
    }

    /// A node dies with all its replicas; the workload controllers replace them.
    pub(super) fn lose_node(&mut self, node: u32) {
        let victims: Vec<EndpointId> = self
            .alive
            .iter()
            .flatten()
            .copied()
            .filter(|endpoint| self.replicas[endpoint.index()].node == Some(node))
            .collect();
        self.nodes.give_back(self.now, node, &mut self.meter);
        for &endpoint in &victims {
            self.lose(endpoint);
        }
        self.reconcile_all();
    }

    /// Spot replicas get their notice: they drain, and are taken at its end; replacements are
    /// asked for at once.
    pub(super) fn reclaim(&mut self, count: u32, notice: Span) {
        let mut spot: Vec<EndpointId> = self
            .alive
            .iter()
            .flatten()
            .copied()
            .filter(|endpoint| {
                let replica = &self.replicas[endpoint.index()];
                replica.state == State::Ready
                    && self.world.variants[replica.variant.index()].capacity_type
                        == CapacityType::Spot
            })
            .collect();
        spot.sort_unstable();
        for endpoint in spot.into_iter().take(count as usize) {
            self.drain(endpoint, Some(notice));
            self.calendar.push(self.now + notice.as_picos(), Event::Reclaim { endpoint });
        }
        self.reconcile_all();
    }

    fn reconcile_all(&mut self) {
        for variant in 0..self.alive.len() {
            self.reconcile(VariantId(variant as u16));
        }
    }

    /// A scale target as Kubernetes shows it.
    pub(super) fn scale_target(&self, variant: VariantId) -> ScaleTarget {
        let mut target = ScaleTarget {
            replicas_desired: self.desired[variant.index()],
            ..ScaleTarget::default()
        };
        for endpoint in &self.alive[variant.index()] {
            let replica = &self.replicas[endpoint.index()];
            let asked_at = Time::from_picos(replica.asked_at);
            match replica.state {
                State::Unplaced | State::Provisioning => target.unschedulable_since.push(asked_at),
                State::Starting => target.starting_since.push(asked_at),
                State::Ready => target.endpoints_ready.push(*endpoint),
                State::Draining => target.draining += 1,
                State::Gone => {}
            }
        }
        target.replicas_current = (target.unschedulable_since.len()
            + target.starting_since.len()
            + target.endpoints_ready.len()) as u32;
        target
    }

    /// Scoring begins: forget the replicas held before.
    pub(super) fn reset_replica_log(&mut self) {
        for (variant, log) in self.replica_log.iter_mut().enumerate() {
            let alive = self.alive[variant].len() as u32;
            let held_s = log.replica_seconds_until(self.now);
            *log = ReplicaLog { since: self.now, held: alive, max: alive, ..ReplicaLog::default() };
            self.timeline.replica_log_reset(variant, held_s);
        }
    }
}

/// Odd, so that every stream number gives another seed.
const START_SALT: u64 = 0x9e37_79b9_7f4a_7c15;

/// Replicas of one variant held over time.
#[derive(Clone, Debug, Default)]
pub(super) struct ReplicaLog {
    since: Picos,
    held: u32,
    replica_seconds: f64,
    max: u32,
    starts: u32,
}

impl ReplicaLog {
    fn change(&mut self, now: Picos, held: u32, started: bool) {
        self.settle(now);
        self.held = held;
        self.max = self.max.max(held);
        self.starts += u32::from(started);
    }

    fn settle(&mut self, now: Picos) {
        let span = now.saturating_sub(self.since) as f64 / PICOS_PER_SECOND as f64;
        self.replica_seconds += span * f64::from(self.held);
        self.since = now;
    }

    /// Replica-seconds held up to `now`.
    pub(super) fn replica_seconds_until(&self, now: Picos) -> f64 {
        let span = now.saturating_sub(self.since) as f64 / PICOS_PER_SECOND as f64;
        self.replica_seconds + span * f64::from(self.held)
    }

    /// Mean, maximum and starts up to `now`, over `scored_s` seconds.
    pub(super) fn summary(&self, now: Picos, scored_s: f64) -> ReplicaSummary {
        let mut log = self.clone();
        log.settle(now);
        let mean = if scored_s > 0.0 { log.replica_seconds / scored_s } else { 0.0 };
        ReplicaSummary { mean, max: log.max, starts: log.starts }
    }
}

/// Changes of direction of what is desired.
#[derive(Debug)]
pub(super) struct FlapCounter {
    last: Vec<Option<(Picos, bool)>>,
    total: u32,
}

impl FlapCounter {
    pub(super) fn new(variants: usize) -> Self {
        Self { last: vec![None; variants], total: 0 }
    }

    fn record(&mut self, variant: VariantId, now: Picos, up: bool) {
        if let Some((at, was_up)) = self.last[variant.index()]
            && was_up != up
            && now - at <= FLAP_WINDOW.as_picos()
        {
            self.total += 1;
        }
        self.last[variant.index()] = Some((now, up));
    }

    pub(super) const fn total(&self) -> u32 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_quick_reversals_are_flaps() {
        let mut flaps = FlapCounter::new(1);
        let minute = 60 * PICOS_PER_SECOND;
        for (at, up) in [(0, true), (5, true), (9, false), (12, true), (40, false)] {
            flaps.record(VariantId(0), at * minute, up);
        }
        assert_eq!(flaps.total(), 2);
    }

    #[test]
    fn the_mean_weighs_by_time() {
        let mut log = ReplicaLog::default();
        log.change(0, 2, true);
        log.change(30 * PICOS_PER_SECOND, 4, true);
        let summary = log.summary(40 * PICOS_PER_SECOND, 40.0);
        assert!((summary.mean - 2.5).abs() < 1e-12);
        assert_eq!((summary.max, summary.starts), (4, 2));
    }
}
