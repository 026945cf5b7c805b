//! What a front tells controllers of itself.

use std::collections::BTreeMap;

use forebay_core::observe::RouterTierSample;
use forebay_core::sync::{EndpointReport, TierReport};
use forebay_core::time::Span;

use super::Front;
use crate::desk::Desk;
use crate::fleet_sync::GateSource;

/// A front as the source of its gate's reports.
pub struct FrontSource<A> {
    front: Front,
    active: A,
}

impl<A> FrontSource<A> {
    /// `active` says whether the process takes requests, or would if no other gate did.
    pub const fn new(front: Front, active: A) -> Self {
        Self { front, active }
    }
}

impl<A: Fn() -> bool + Send + Sync + 'static> GateSource for FrontSource<A> {
    fn active(&self) -> bool {
        (self.active)()
    }

    /// Counters run from the start of the oldest gate that still holds something: when other
    /// terms have replaced one, and it is empty, they fall once, as at a restart.
    fn tiers(&self) -> Vec<TierReport> {
        let terms = self.front.terms();
        let tiers = terms.world.tiers.iter().map(|tier| TierReport {
            tier: tier.name.clone(),
            // It is read as it is sent.
            age: Span::ZERO,
            seen: RouterTierSample::default(),
            refused_total: 0.0,
            // Tickets are not counted by tier.
            tickets: None,
            tickets_prompt_tokens: None,
        });
        let mut tiers: Vec<_> = tiers.collect();
        for desk in self.front.desks() {
            add(&mut tiers, &desk);
        }
        tiers
    }

    fn endpoints(&self) -> Vec<EndpointReport> {
        let mut found: BTreeMap<String, EndpointReport> = BTreeMap::new();
        for desk in self.front.desks() {
            desk.inspect(|view| {
                for (endpoint, info) in view.directory.iter() {
                    let Some(account) = view.gate.account(endpoint) else { continue };
                    let address = info.address.to_string();
                    let report =
                        found.entry(address).or_insert_with_key(|address| EndpointReport {
                            address: address.clone(),
                            age: Span::ZERO,
                            in_flight: Some(0),
                            draining: account.draining,
                        });
                    // Each gate counts what the others have there as that of strangers.
                    let counts = report.in_flight.zip(account.in_flight);
                    report.in_flight = counts.map(|(left, right)| left.max(right));
                }
            });
        }
        found.into_values().collect()
    }
}

/// Adds what one gate counted. Gates of other terms may have other tiers: what has no place in
/// those of now is left out.
fn add(tiers: &mut [TierReport], desk: &Desk) {
    desk.inspect(|view| {
        for ((index, counted), report) in view.meters.tiers().iter().enumerate().zip(tiers) {
            let queued = view.gate.queued(forebay_core::ids::TierId(index as u8));
            let (seen, router) = (&mut report.seen, &counted.router);
            seen.queued += queued.requests as f64;
            seen.queued_prompt_tokens += queued.prompt_tokens as f64;
            seen.running += router.running;
            seen.inflight_prompt_tokens += router.inflight_prompt_tokens;
            seen.requests_total += router.requests_total;
            seen.prompt_tokens_total += router.prompt_tokens_total;
            seen.output_tokens_total += router.output_tokens_total;
            seen.errors_total += router.errors_total;
            seen.ttft.merge(&router.ttft);
            seen.tpot.merge(&router.tpot);
            report.refused_total += counted.refused.iter().sum::<u64>() as f64;
        }
    });
}
