//! `stock-flow`: llm-d's endpoint picker with flow control on (llm-d-router ebab687), with its order
//! of events: one dispatch per arrival and one per tick of a millisecond, nothing on completion;
//! saturation as its detector sees it; expiry in a sweep each second.
//!
//! The real loop ticks on when idle or blocked. Here a tick is asked for only where it can change
//! something: something is queued, and nothing was found saturated since the last news.

use forebay_core::fleet::World;
use forebay_core::gate::{Arrival, Gate, GateEffect, GateEvent, Queued, Refusal, RequestMap};
use forebay_core::ids::{EndpointId, RequestId, TierId};
use forebay_core::time::{Span, Time};

use super::bands::{Band, Fairness, Item};
use super::picker::{PickSettings, Picker, Prompt};
use super::priorities::Priorities;
use super::saturation::{Detector, FilterRule, Pool};
use super::stock::SCRAPE_INTERVAL;
use super::tunables::{GateSpecError, Tunables};

/// The dispatch ticker.
const TICK: Span = Span::from_millis(1);
/// `defaultExpiryCleanupInterval`.
const SWEEP: Span = Span::from_secs(1);
/// `defaultRequestTTL`.
const TTL: Span = Span::from_secs(60);
/// `defaultPriorityBandMaxRequests`.
const BAND_REQUESTS: u64 = 5_000;
/// `defaultPriorityBandMaxBytes`.
const BAND_BYTES: u64 = 1_000_000_000;

/// Tunables of the gate.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pick: PickSettings,
    detector: Detector,
    filter: FilterRule,
    scrape_interval: Span,
    priorities: Priorities,
    fairness: Fairness,
    ttl: Span,
    no_endpoint_ttl: Span,
    band_requests: u64,
    band_bytes: u64,
}

impl Settings {
    pub(super) fn read(tunables: &mut Tunables<'_>) -> Result<Self, GateSpecError> {
        let ttl = tunables.span("ttl", TTL)?;
        Ok(Self {
            pick: PickSettings::read(tunables)?,
            detector: Detector::read(tunables)?,
            filter: FilterRule::read(tunables)?,
            scrape_interval: tunables.span("scrape_interval", SCRAPE_INTERVAL)?,
            priorities: Priorities::read(tunables)?,
            fairness: tunables.word(
                "fairness",
                &[("global-strict", Fairness::GlobalStrict), ("round-robin", Fairness::RoundRobin)],
            )?,
            ttl,
            // Follows the TTL unless it is set apart.
            no_endpoint_ttl: tunables.span("no_endpoint_ttl", ttl)?,
            band_requests: tunables.number("band_requests", BAND_REQUESTS, 1)?,
            band_bytes: tunables.number("band_bytes", BAND_BYTES, 1)?,
        })
    }
}

/// A request's stay in a queue.
#[derive(Clone, Copy, Debug)]
struct Stay {
    serial: u64,
    tier: TierId,
    tokens: u32,
}

/// The gate.
#[derive(Debug)]
pub(super) struct StockFlow {
    settings: Settings,
    picker: Picker,
    pool: Pool,
    bands: Vec<Band>,
    /// Band of each tier.
    band_of: Vec<usize>,
    /// Requests in a queue whose client is there.
    waiting: RequestMap<Stay>,
    serial: u64,
    queued: Vec<Queued>,
    in_flight: RequestMap<(EndpointId, Option<EndpointId>)>,
    /// When the pool last turned empty or not: budgets of time start again there.
    regime_since: Time,
    /// Found saturated, and no news since.
    blocked: bool,
    /// The saturation, as long as neither news nor the age of a scrape can have changed it.
    known_saturation: Option<f64>,
    tick_at: Option<Time>,
    sweep_at: Option<Time>,
    now: Time,
}

impl StockFlow {
    pub(super) fn new(settings: Settings, world: &World, seed: u64) -> Result<Self, GateSpecError> {
        let priorities = settings.priorities.resolve(world)?;
        let bands = Band::all(&priorities, settings.fairness);
        let band = |priority| bands.iter().position(|band| band.priority() == priority);
        Ok(Self {
            picker: Picker::new(settings.pick, world, seed),
            pool: Pool::default(),
            band_of: priorities.iter().filter_map(|priority| band(*priority)).collect(),
            bands,
            waiting: RequestMap::default(),
            serial: 0,
            queued: vec![Queued::default(); priorities.len()],
            in_flight: RequestMap::default(),
            regime_since: Time::ZERO,
            blocked: false,
            known_saturation: None,
            tick_at: None,
            sweep_at: None,
            now: Time::ZERO,
            settings,
        })
    }

    fn arrived(&mut self, arrival: &Arrival<'_>, effects: &mut Vec<GateEffect>) {
        self.serial += 1;
        let item = Item::new(arrival, self.serial, self.now);
        let band = &mut self.bands[self.band_of[arrival.tier.index()]];
        if band.has_room(&item, self.settings.band_requests, self.settings.band_bytes) {
            let queued = &mut self.queued[arrival.tier.index()];
            queued.requests += 1;
            queued.prompt_tokens += u64::from(item.tokens);
            let stay = Stay { serial: item.serial, tier: item.tier, tokens: item.tokens };
            self.waiting.insert(item.request, stay);
            band.push(arrival.flow, item);
        } else {
            let empty = self.pool.is_empty();
            let reason = if empty { Refusal::NoEndpoints } else { Refusal::Saturated };
            let request = arrival.request;
            effects.push(GateEffect::Refuse { request, reason, retry_after: None, place: None });
        }
        self.cycle(effects);
    }

    /// At most one request leaves: the next one of the highest band that holds any.
    fn cycle(&mut self, effects: &mut Vec<GateEffect>) {
        if self.blocked || self.bands.iter().all(Band::is_empty) {
            return;
        }
        if self.saturation_now() >= 1.0 {
            self.blocked = true;
            return;
        }
        let Some(item) = self.bands.iter_mut().find_map(Band::pop) else { return };
        // A cycle spent on a client that is gone is spent.
        if !self.is_waiting(&item) {
            return;
        }
        self.leave(item.request);
        let Item { request, tokens, ref prefix, .. } = item;
        let prompt = Prompt { request, tokens, prefix: prefix.as_ref() };
        let Self { settings, picker, pool, now, .. } = self;
        let effect = settings.filter.dispatch(picker, pool, &settings.detector, prompt, *now);
        if let GateEffect::Dispatch { request, endpoint, prefill } = effect {
            self.in_flight.insert(request, (endpoint, prefill));
            self.pool.count(endpoint, 1);
            if let Some(prefill) = prefill {
                self.pool.count(prefill, 1);
            }
        }
        effects.push(effect);
    }

    fn saturation_now(&mut self) -> f64 {
        if let Some(known) = self.known_saturation {
            return known;
        }
        let saturation = self.pool.saturation_by_stage(&self.settings.detector, self.now);
        let by_scrapes = matches!(self.settings.detector, Detector::Utilization { .. });
        self.known_saturation = (by_scrapes && !self.pool.any_lost()).then_some(saturation);
        saturation
    }

    /// Whether this item is the request's present stay, its client still there.
    fn is_waiting(&self, item: &Item) -> bool {
        self.waiting.get(&item.request).is_some_and(|stay| stay.serial == item.serial)
    }

    /// A request leaves the queues, as far as its client is concerned. False if it was in none.
    fn leave(&mut self, request: RequestId) -> bool {
        let Some(stay) = self.waiting.remove(&request) else { return false };
        let queued = &mut self.queued[stay.tier.index()];
        queued.requests -= 1;
        queued.prompt_tokens -= u64::from(stay.tokens);
        true
    }

    fn sweep(&mut self, effects: &mut Vec<GateEffect>) {
        let (ttl, reason) = if self.pool.is_empty() {
            (self.settings.no_endpoint_ttl, Refusal::NoEndpoints)
        } else {
            (self.settings.ttl, Refusal::TtlExpired)
        };
        let mut bands = std::mem::take(&mut self.bands);
        for band in &mut bands {
            band.sweep(|item| {
                if !self.is_waiting(item) {
                    return true;
                }
                let expired = item.enqueued.max(self.regime_since) + ttl <= self.now;
                if expired {
                    self.leave(item.request);
                    let request = item.request;
                    effects.push(GateEffect::Refuse {
                        request,
                        reason,
                        retry_after: None,
                        place: None,
                    });
                }
                expired
            });
        }
        self.bands = bands;
    }

    fn first_token(&mut self, request: RequestId) {
        let prefill = self.in_flight.get_mut(&request).and_then(|(_, prefill)| prefill.take());
        if let Some(prefill) = prefill {
            self.pool.count(prefill, -1);
        }
    }

    fn ended(&mut self, request: RequestId) {
        self.first_token(request);
        if let Some((endpoint, _)) = self.in_flight.remove(&request) {
            self.pool.count(endpoint, -1);
        }
    }

    fn pool_changes(&mut self, change: impl FnOnce(&mut Picker, &mut Pool)) {
        let was_empty = self.pool.is_empty();
        change(&mut self.picker, &mut self.pool);
        if self.pool.is_empty() != was_empty {
            self.regime_since = self.now;
        }
    }

    /// Asks for the ticks and sweeps that can change something.
    fn arrange(&mut self) {
        if self.bands.iter().all(Band::is_empty) {
            (self.tick_at, self.sweep_at) = (None, None);
            return;
        }
        if self.sweep_at.is_none_or(|at| at <= self.now) {
            self.sweep_at = Some(next_multiple(self.now, SWEEP));
        }
        self.tick_at = if self.blocked {
            let stale_at = self.pool.next_stale(&self.settings.detector, self.now);
            stale_at.map(|at| next_multiple(at - Span(1), TICK))
        } else {
            let next = next_multiple(self.now, TICK);
            Some(self.tick_at.map_or(next, |at| at.min(next)))
        };
    }

    /// Whether an event may change the saturation.
    fn is_news(&self, event: &GateEvent<'_>) -> bool {
        match event {
            GateEvent::Scraped { .. }
            | GateEvent::EndpointReady { .. }
            | GateEvent::EndpointDraining { .. }
            | GateEvent::EndpointGone { .. } => true,
            GateEvent::FirstToken { .. }
            | GateEvent::Finished { .. }
            | GateEvent::Failed { .. }
            | GateEvent::ClientGone { .. } => {
                matches!(self.settings.detector, Detector::Concurrency { .. })
            }
            GateEvent::Arrived(_)
            | GateEvent::PrefillDone { .. }
            | GateEvent::ScrapeLost { .. }
            | GateEvent::Outlook(_)
            | GateEvent::Learned { .. }
            | GateEvent::Due => false,
        }
    }
}

/// The first multiple of `period` after `time`.
fn next_multiple(time: Time, period: Span) -> Time {
    Time((time.0 / period.0 + 1) * period.0)
}

impl Gate for StockFlow {
    fn step(&mut self, now: Time, event: GateEvent<'_>, effects: &mut Vec<GateEffect>) {
        self.now = now;
        if self.is_news(&event) {
            (self.blocked, self.known_saturation) = (false, None);
        }
        match event {
            GateEvent::Arrived(arrival) => self.arrived(arrival, effects),
            GateEvent::FirstToken { request } => self.first_token(request),
            GateEvent::Finished { request, .. } | GateEvent::Failed { request } => {
                self.ended(request);
            }
            // The item stays where it is, and counts, until it is reached or swept.
            GateEvent::ClientGone { request } => {
                if !self.leave(request) {
                    self.ended(request);
                }
            }
            GateEvent::EndpointReady { endpoint, variant, role } => {
                self.pool_changes(|picker, pool| {
                    picker.ready(endpoint, variant, role);
                    pool.ready(endpoint, role);
                });
            }
            GateEvent::EndpointDraining { endpoint } | GateEvent::EndpointGone { endpoint } => {
                self.pool_changes(|picker, pool| {
                    picker.remove(endpoint);
                    pool.remove(endpoint);
                });
            }
            GateEvent::Scraped { endpoint, at, load } => {
                self.picker.scraped(endpoint, load);
                self.pool.scraped(endpoint, at, load);
            }
            GateEvent::ScrapeLost { endpoint } => {
                self.pool.lost(endpoint, now);
                self.known_saturation = None;
            }
            GateEvent::PrefillDone { .. } | GateEvent::Outlook(_) | GateEvent::Learned { .. } => {}
            GateEvent::Due => {
                if self.sweep_at.is_some_and(|at| at <= now) {
                    self.sweep(effects);
                }
                if self.tick_at.is_some_and(|at| at <= now) {
                    (self.tick_at, self.blocked) = (None, false);
                    self.cycle(effects);
                }
            }
        }
        self.arrange();
    }

    fn next_deadline(&self) -> Option<Time> {
        self.tick_at.into_iter().chain(self.sweep_at).min()
    }

    fn queued(&self, tier: TierId) -> Queued {
        self.queued.get(tier.index()).copied().unwrap_or_default()
    }

    fn scrape_interval(&self) -> Option<Span> {
        Some(self.settings.scrape_interval)
    }

    fn saturation(&self) -> Option<f64> {
        Some(self.pool.saturation_by_stage(&self.settings.detector, self.now))
    }
}
