//! `stock`: llm-d's endpoint picker as it comes, flow control off. Everything is dispatched at once;
//! only tiers of negative priority are refused while the pool is saturated.

use forebay_core::fleet::World;
use forebay_core::gate::{Gate, GateEffect, GateEvent, Queued, Refusal};
use forebay_core::ids::TierId;
use forebay_core::time::{Span, Time};

use super::picker::{PickSettings, Picker, Prompt};
use super::priorities::Priorities;
use super::saturation::{Detector, FilterRule, Pool};
use super::tunables::{GateSpecError, Tunables};

/// `--refresh-metrics-interval`, and its least.
pub(super) const SCRAPE_INTERVAL: Span = Span::from_millis(50);

/// Tunables of the gate.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pick: PickSettings,
    detector: Detector,
    filter: FilterRule,
    scrape_interval: Span,
    priorities: Priorities,
}

impl Settings {
    pub(super) fn read(tunables: &mut Tunables<'_>) -> Result<Self, GateSpecError> {
        Ok(Self {
            pick: PickSettings::read(tunables)?,
            detector: Detector::read_utilization(tunables)?,
            filter: FilterRule::read(tunables)?,
            scrape_interval: tunables.span("scrape_interval", SCRAPE_INTERVAL)?,
            priorities: Priorities::read(tunables)?,
        })
    }
}

/// The gate.
#[derive(Debug)]
pub(super) struct Stock {
    picker: Picker,
    pool: Pool,
    detector: Detector,
    filter: FilterRule,
    scrape_interval: Span,
    /// By tier.
    priorities: Vec<i32>,
    now: Time,
}

impl Stock {
    pub(super) fn new(settings: Settings, world: &World, seed: u64) -> Result<Self, GateSpecError> {
        Ok(Self {
            picker: Picker::new(settings.pick, world, seed),
            pool: Pool::default(),
            detector: settings.detector,
            filter: settings.filter,
            scrape_interval: settings.scrape_interval,
            priorities: settings.priorities.resolve(world)?,
            now: Time::ZERO,
        })
    }
}

impl Gate for Stock {
    fn step(&mut self, now: Time, event: GateEvent<'_>, effects: &mut Vec<GateEffect>) {
        self.now = now;
        match event {
            GateEvent::Arrived(arrival) => {
                let request = arrival.request;
                let sheddable = self.priorities.get(arrival.tier.index()).is_some_and(|p| *p < 0);
                if sheddable && self.pool.saturation(&self.detector, now) >= 1.0 {
                    let reason = Refusal::Saturated;
                    effects.push(GateEffect::Refuse {
                        request,
                        reason,
                        retry_after: None,
                        place: None,
                    });
                    return;
                }
                let (tokens, prefix) = (arrival.prompt_tokens, arrival.prefix);
                let prompt = Prompt { request, tokens, prefix };
                let Self { filter, picker, pool, detector, .. } = self;
                effects.push(filter.dispatch(picker, pool, detector, prompt, now));
            }
            GateEvent::EndpointReady { endpoint, variant, role } => {
                self.picker.ready(endpoint, variant, role);
                self.pool.ready(endpoint, role);
            }
            GateEvent::EndpointDraining { endpoint } | GateEvent::EndpointGone { endpoint } => {
                self.picker.remove(endpoint);
                self.pool.remove(endpoint);
            }
            GateEvent::Scraped { endpoint, at, load } => {
                self.picker.scraped(endpoint, load);
                self.pool.scraped(endpoint, at, load);
            }
            GateEvent::ScrapeLost { endpoint } => self.pool.lost(endpoint, now),
            GateEvent::FirstToken { .. }
            | GateEvent::PrefillDone { .. }
            | GateEvent::Finished { .. }
            | GateEvent::Failed { .. }
            | GateEvent::ClientGone { .. }
            | GateEvent::Outlook(_)
            | GateEvent::Learned { .. }
            | GateEvent::Due => {}
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        None
    }

    fn queued(&self, _tier: TierId) -> Queued {
        Queued::default()
    }

    fn scrape_interval(&self) -> Option<Span> {
        Some(self.scrape_interval)
    }

    fn saturation(&self) -> Option<f64> {
        Some(self.pool.saturation_by_stage(&self.detector, self.now))
    }
}
