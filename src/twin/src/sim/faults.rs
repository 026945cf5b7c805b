//! Faults as data: when they begin and end, and what they do to starts and scrapes.

use forebay_core::ids::{EndpointId, VariantId};
use forebay_core::scenario::{Fault, FaultKind, ScenarioPlan};
use forebay_core::time::{Picos, Time};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Simulation;
use super::calendar::Event;
use super::replicas::State;

/// The scenario's faults and the luck they draw.
#[derive(Debug)]
pub(super) struct Faults {
    faults: Vec<Fault>,
    seed: u64,
}

/// What a scrape of one endpoint meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScrapeLuck {
    /// The page is read.
    Read,
    /// The page is read, its gauges are NaN.
    Nan,
    /// Nothing is read.
    Failed,
}

impl Faults {
    pub(super) fn new(scenario: &ScenarioPlan, seed: u64) -> Self {
        Self { faults: scenario.faults.clone(), seed }
    }

    /// Beginnings and ends, for the calendar.
    pub(super) fn schedule(&self) -> Vec<(Picos, Event)> {
        self.faults
            .iter()
            .enumerate()
            .flat_map(|(index, fault)| {
                let index = index as u32;
                [
                    (fault.from.as_picos(), Event::Fault { index, begins: true }),
                    (fault.to.as_picos(), Event::Fault { index, begins: false }),
                ]
            })
            .collect()
    }

    fn in_force(&self, now: Picos) -> impl Iterator<Item = &FaultKind> {
        let now = Time::from_picos(now);
        self.faults
            .iter()
            .filter(move |fault| fault.from <= now && now < fault.to)
            .map(|fault| &fault.kind)
    }

    /// How many times longer a start takes that begins now.
    pub(super) fn start_factor(&self, now: Picos) -> f64 {
        self.in_force(now)
            .map(|kind| match kind {
                FaultKind::SlowStart { factor } => *factor,
                _ => 1.0,
            })
            .product()
    }

    /// Whether nothing at all can be scraped now.
    pub(super) fn blackout(&self, now: Picos) -> bool {
        self.in_force(now).any(|kind| matches!(kind, FaultKind::MetricBlackout { variant: None }))
    }

    /// What a scrape of an endpoint meets now.
    pub(super) fn scrape(
        &self,
        now: Picos,
        variant: VariantId,
        endpoint: EndpointId,
    ) -> ScrapeLuck {
        let mut luck = ScrapeLuck::Read;
        for (index, kind) in self.in_force(now).enumerate() {
            match kind {
                FaultKind::MetricBlackout { variant: Some(dark) } if *dark != variant => {}
                FaultKind::MetricBlackout { .. } => return ScrapeLuck::Failed,
                FaultKind::PartialScrape { share } => {
                    let key = [now, u64::from(endpoint.0), index as u64];
                    if self.draw(&key) < *share {
                        return ScrapeLuck::Failed;
                    }
                }
                // The same endpoints as long as the fault lasts: a broken exporter stays so.
                FaultKind::MetricNan { share }
                    if self.draw(&[u64::from(endpoint.0), index as u64]) < *share =>
                {
                    luck = ScrapeLuck::Nan;
                }
                _ => {}
            }
        }
        luck
    }

    fn draw(&self, key: &[u64]) -> f64 {
        let bytes: Vec<u8> = key.iter().flat_map(|word| word.to_le_bytes()).collect();
        (xxh3_64_with_seed(&bytes, self.seed) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Simulation<'_> {
    /// A fault begins or ends.
    pub(super) fn fault(&mut self, index: u32, begins: bool) {
        let kind = self.faults.faults[index as usize].kind;
        match kind {
            FaultKind::NodeLoss { accelerator, nodes } if begins => {
                for node in self.nodes_to_lose(accelerator, nodes) {
                    self.lose_node(node);
                }
            }
            FaultKind::SpotReclaim { replicas, notice } if begins => self.reclaim(replicas, notice),
            FaultKind::OutOfStock { accelerator } => {
                self.nodes.set_out_of_stock(accelerator, begins);
                self.place_pending();
            }
            _ => {}
        }
    }

    /// The nodes of the oldest ready replicas: deterministic, and the worst for the fleet.
    fn nodes_to_lose(
        &self,
        class: Option<forebay_core::ids::AcceleratorId>,
        count: u32,
    ) -> Vec<u32> {
        let mut nodes: Vec<u32> = Vec::new();
        for replica in &self.replicas {
            let Some(node) = replica.node else { continue };
            let matches = class.is_none_or(|class| self.nodes.class(node) == class);
            if replica.state == State::Ready && matches && !nodes.contains(&node) {
                nodes.push(node);
            }
        }
        nodes.truncate(count as usize);
        nodes
    }
}
