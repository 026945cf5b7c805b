//! The fleet at the moment of the question, as far as it shows itself.

use serde::{Deserialize, Serialize};

use super::Record;
use crate::ids::{EndpointId, FleetId, TierId, VariantId};
use crate::plan::FleetView;
use crate::time::{Span, Time};

/// A scrape older than this says nothing about now: four usual intervals.
const FRESH: Span = Span::from_secs(60);
/// Groups of one age that a tier's queue is told apart into: intervals of a quarter of an hour.
const HELD_MAX: usize = 64;

/// The fleet at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LiveState {
    /// Ready and draining endpoints.
    pub endpoints: Vec<LiveEndpoint>,
    /// Replicas that were asked for and are not ready.
    pub pending: Vec<PendingReplica>,
    /// Requests that the gate holds, in groups of one age.
    pub queue: Vec<Held>,
    /// Where those wait who cannot go at once.
    pub queues_at: QueuesAt,
}

/// Where those wait who cannot go at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueuesAt {
    /// In the gate, by priority, until an engine has room.
    #[default]
    Gate,
    /// In the engines: the gate sends everybody on at once, to the engine with the fewest.
    Engines,
}

/// One endpoint as its last page shows it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveEndpoint {
    /// Which.
    pub endpoint: EndpointId,
    /// Of which variant.
    pub variant: VariantId,
    /// What it is doing; `None` = no fresh page says.
    pub load: Option<EngineLoad>,
    /// Takes no more requests.
    pub draining: bool,
}

/// What an engine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineLoad {
    /// Sequences in the batch.
    pub running: u32,
    /// Requests that wait for a seat or for blocks, those that wait for remote KV left out.
    pub waiting: u32,
    /// Requests that wait for remote KV.
    pub waiting_for_kv: u32,
    /// Share of KV blocks held, 0..1.
    pub kv_usage: f64,
}

/// A replica that is not ready yet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PendingReplica {
    /// Of which variant.
    pub variant: VariantId,
    /// When it was asked for.
    pub asked_at: Time,
    /// When it is expected to be ready; `None` = nobody knows (no node to be had): not within
    /// the horizon.
    pub ready_at: Option<Time>,
}

/// Requests of one tier and age that the gate holds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The tier.
    pub tier: TierId,
    /// When they arrived.
    pub arrived_at: Time,
    /// How many.
    pub requests: u32,
    /// Mean prompt length, tokens; 0 = not known.
    pub prompt_tokens: f64,
}

impl LiveState {
    /// What shows of a fleet. `ready_at` says when a replica is expected that was asked for at a
    /// time, and whether it has a node. Draining replicas that no page belongs to any more are
    /// left out: what they still do takes nothing from anybody.
    #[must_use]
    pub fn observe(
        view: &FleetView<'_>,
        fleet: FleetId,
        now: Time,
        record: &Record,
        ready_at: impl Fn(VariantId, Time, bool) -> Option<Time>,
    ) -> Self {
        let mut endpoints = Vec::new();
        let mut pending = Vec::new();
        for (variant, _) in view.world.variants_of(fleet) {
            let target = &view.targets[variant.index()];
            let page = |endpoint: EndpointId| {
                view.metrics
                    .engines(variant, now)
                    .find(|(id, page)| *id == endpoint && now.since(page.at) <= FRESH)
                    .and_then(|(_, page)| load(page.value))
            };
            endpoints.extend(target.endpoints_ready.iter().map(|&endpoint| LiveEndpoint {
                endpoint,
                variant,
                load: page(endpoint),
                draining: false,
            }));
            let mut add = |asked: &[Time], placed| {
                pending.extend(asked.iter().map(|&asked_at| PendingReplica {
                    variant,
                    asked_at,
                    ready_at: ready_at(variant, asked_at, placed),
                }));
            };
            add(&target.starting_since, true);
            add(&target.unschedulable_since, false);
        }
        let queues_at = if record.router_queues { QueuesAt::Gate } else { QueuesAt::Engines };
        Self { endpoints, pending, queue: queue(view, fleet, now, record), queues_at }
    }
}

fn load(page: &crate::observe::EngineSample) -> Option<EngineLoad> {
    let waiting_for_kv = page.waiting_deferred;
    let known = [page.running, page.waiting, waiting_for_kv, page.kv_usage];
    known.iter().all(|value| value.is_finite()).then(|| EngineLoad {
        running: page.running as u32,
        waiting: (page.waiting - waiting_for_kv) as u32,
        waiting_for_kv: waiting_for_kv as u32,
        kv_usage: page.kv_usage.clamp(0.0, 1.0),
    })
}

/// The gate's queue by age. A page says how many wait, not since when: within a tier the last to
/// come are taken to be those who wait, which is so where each tier is served in its order.
fn queue(view: &FleetView<'_>, fleet: FleetId, now: Time, record: &Record) -> Vec<Held> {
    let Some(page) = view.metrics.router(fleet, now) else { return Vec::new() };
    let mut queue = Vec::new();
    for (index, sample) in page.value.tiers.iter().enumerate() {
        let tier = TierId(index as u8);
        let mut left = if sample.queued.is_finite() { sample.queued.max(0.0) as u32 } else { 0 };
        let mean = if left > 0 { sample.queued_prompt_tokens / f64::from(left) } else { 0.0 };
        let prompt_tokens = if mean.is_finite() { mean } else { 0.0 };
        let before = record.intervals().rev().filter(|interval| interval.until <= page.at);
        let mut oldest = page.at;
        for interval in before.take(HELD_MAX) {
            if left == 0 {
                break;
            }
            let arrived = interval.tiers.get(index).map_or(0, |count| count.requests as u32);
            let requests = arrived.min(left);
            let arrived_at = interval.until - Span(interval.span.0 / 2);
            oldest = interval.until - interval.span;
            if requests > 0 {
                queue.push(Held { tier, arrived_at, requests, prompt_tokens });
                left -= requests;
            }
        }
        // Older than the record reaches.
        if left > 0 {
            queue.push(Held { tier, arrived_at: oldest, requests: left, prompt_tokens });
        }
    }
    queue.sort_by_key(|held| (held.tier, held.arrived_at));
    queue
}
