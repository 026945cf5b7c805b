//! What a fleet is asked for now, by tier, as scrapes show it.
//!
//! The router counts every arrival, also those that wait or were refused. Engines count what they
//! could serve; without a router demand is what they finished plus what piled up in them. A
//! request that is refused and comes back counts once where the router knows it again (a ticket)
//! and anew where it does not: counters cannot tell the two apart.

use serde::{Deserialize, Serialize};

use super::counters::{Gained, increase, is_count};
use super::dispersion::Dispersion;
use super::engines::{self, EngineDemand};
use super::lengths::{Ratio, Spread};
use super::{Moments, TierLoad, Workload};
use crate::ids::{FleetId, TierId};
use crate::observe::{Aged, RouterSample, RouterTierSample};
use crate::plan::FleetView;
use crate::time::{Span, Time};

/// How far back scrapes are read when lengths and dispersion are brought up to date: a planner
/// that decides less often than this loses some of both.
const CATCH_UP: Span = Span::from_secs(300);
/// Requests that what was known of prompt lengths weighs beside those of the window.
const PROMPT_PRIOR_REQUESTS: f64 = 10.0;
/// A router whose time per token covers less than this share of first tokens does not see all
/// outputs stream; first tokens are then the better count of finished requests.
const STREAMED_SHARE_MIN: f64 = 0.5;

/// Where demand was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// The router: everything that came to the door.
    Router,
    /// The engines: what they finished and what piled up in them. What was refused before them is
    /// not in it, and tiers are not told apart: all counts as the most important tier.
    Engines,
}

/// What a router holds of one tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Queued {
    /// Requests.
    pub requests: f64,
    /// Their prompt tokens.
    pub prompt_tokens: f64,
}

/// Demand on one fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FleetDemand {
    /// The newest scrape behind it.
    pub at: Time,
    /// How old that was when it was read.
    pub age: Span,
    /// Where arrivals were counted.
    pub source: Source,
    /// By [`TierId`]; `None` = nobody saw, which is not zero. A tier that never had a request has
    /// lengths of 0.
    pub tiers: Vec<Option<TierLoad>>,
    /// Waits in the router, by [`TierId`]; `None` = unknown.
    pub queued: Vec<Option<Queued>>,
    /// Refused, timed out or failed, requests/s by [`TierId`]; part of the arrivals, not besides
    /// them. `None` = unknown.
    pub refused_per_s: Vec<Option<f64>>,
    /// Whether a tier's work may be started late, by [`TierId`].
    pub deferrable: Vec<bool>,
    /// Requests that wait for capacity inside engines; `None` = no engine tells.
    pub engines_waiting: Option<f64>,
    /// Share of ready endpoints whose scrapes are behind lengths and what waits, 0..1; with
    /// [`Source::Engines`] also behind the arrivals, which are scaled up to all of them.
    pub endpoints_seen_share: f64,
    /// When a length of an output was last counted; `None` = never.
    pub lengths_at: Option<Time>,
}

/// Reads the demand on one fleet and remembers what scrapes of a minute cannot tell: lengths,
/// spread, burstiness and the cached share. A few hundred bytes per tier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observer {
    fleet: FleetId,
    /// Over which rates are taken.
    rate_window: Span,
    tiers: Vec<TierMemory>,
    prompt_spread: Spread,
    output_spread: Spread,
    cached: Ratio,
    /// Newest router scrape taken in.
    router_until: Time,
    /// Newest engine scrapes taken in.
    engines_until: Time,
    lengths_at: Option<Time>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct TierMemory {
    prompt: Ratio,
    output: Ratio,
    dispersion: Dispersion,
}

impl Observer {
    /// Knows nothing yet. Rates will be taken over `rate_window`, which should hold several
    /// scrapes: a minute at the usual interval of 15 s.
    #[must_use]
    pub fn new(fleet: FleetId, rate_window: Span) -> Self {
        Self {
            fleet,
            rate_window,
            tiers: Vec::new(),
            prompt_spread: Spread::default(),
            output_spread: Spread::default(),
            cached: Ratio::default(),
            router_until: Time::ZERO,
            engines_until: Time::ZERO,
            lengths_at: None,
        }
    }

    /// The demand now; `None` when neither router nor engines tell (fewer than two scrapes each).
    /// Call it at each decision.
    pub fn observe(&mut self, view: &FleetView<'_>, now: Time) -> Option<FleetDemand> {
        self.tiers.resize_with(view.world.tiers.len(), TierMemory::default);
        let engines = engines::read(view, self.fleet, now, self.rate_window, self.engines_until);
        self.remember_engines(&engines);
        self.remember_router(view, now);
        let scrapes: Vec<_> =
            view.metrics.router_scrapes(self.fleet, now, self.rate_window).collect();
        let rates: Vec<_> = (0..self.tiers.len()).map(|tier| Rates::read(&scrapes, tier)).collect();
        let (source, at) = if rates.iter().any(Option::is_some) {
            (Source::Router, view.metrics.router(self.fleet, now)?.at)
        } else {
            (Source::Engines, engines.arrivals?.1)
        };
        let mut tiers: Vec<_> = rates
            .iter()
            .enumerate()
            .map(|(tier, rates)| self.load(tier, rates.as_ref()?, &engines))
            .collect();
        if source == Source::Engines {
            let first = self.most_important(view);
            if let Some(tier) = tiers.get_mut(first) {
                *tier = self.load_of_engines(&engines);
            }
        }
        let page = view.metrics.router(self.fleet, now);
        let read = |tier: usize| page.and_then(|page| queued(page.value.tiers.get(tier)?));
        Some(FleetDemand {
            at,
            age: now.since(at),
            source,
            queued: (0..tiers.len()).map(read).collect(),
            refused_per_s: rates.iter().map(|rates| rates.as_ref()?.refused).collect(),
            deferrable: view.world.tiers.iter().map(|tier| tier.deferrable).collect(),
            engines_waiting: engines.waiting,
            endpoints_seen_share: engines.seen_share,
            lengths_at: self.lengths_at,
            tiers,
        })
    }

    fn load(&self, tier: usize, rates: &Rates, engines: &EngineDemand) -> Option<TierLoad> {
        let memory = &self.tiers[tier];
        let (requests, prompt) = (rates.requests, rates.prompt_tokens);
        let prompt_mean =
            memory.prompt.leaning(prompt.amount, requests.amount, PROMPT_PRIOR_REQUESTS);
        let requests_per_s = requests.per_second()?;
        let output_mean = memory
            .output
            .value()
            .or_else(|| self.output_of_other_tiers())
            .or(engines.output_mean)
            .or_else(|| self.output_spread.mean());
        if requests_per_s > 0.0 && output_mean.is_none() {
            // Requests whose outputs nobody has seen are work of an unknown size.
            return None;
        }
        Some(TierLoad {
            requests_per_s,
            workload: self.workload(prompt_mean, output_mean, memory.dispersion.value()),
        })
    }

    fn output_of_other_tiers(&self) -> Option<f64> {
        let known: Vec<f64> =
            self.tiers.iter().filter_map(|memory| memory.output.value()).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }

    fn load_of_engines(&self, engines: &EngineDemand) -> Option<TierLoad> {
        let (requests_per_s, _) = engines.arrivals?;
        let output = engines.output_mean.or_else(|| self.output_spread.mean());
        let prompt = engines.prompt_mean.or_else(|| self.prompt_spread.mean());
        if requests_per_s > 0.0 && (output.is_none() || prompt.is_none()) {
            return None;
        }
        Some(TierLoad { requests_per_s, workload: self.workload(prompt, output, 1.0) })
    }

    fn workload(&self, prompt: Option<f64>, output: Option<f64>, dispersion: f64) -> Workload {
        let around = |spread: &Spread, mean: Option<f64>| {
            mean.map_or(Moments::constant(0.0), |mean| spread.around(mean))
        };
        Workload {
            prompt_tokens: around(&self.prompt_spread, prompt),
            output_tokens: around(&self.output_spread, output),
            cached_share: self.cached.value().unwrap_or(0.0).clamp(0.0, 1.0),
            dispersion,
        }
    }

    /// The tier that all demand counts as when tiers are not told apart: the strictest promise.
    fn most_important(&self, view: &FleetView<'_>) -> usize {
        let slos = &view.world.fleets[self.fleet.index()].slos;
        slos.iter().position(Option::is_some).unwrap_or(0)
    }

    fn remember_engines(&mut self, engines: &EngineDemand) {
        let Some(until) = engines.until else { return };
        let seconds = until.since(self.engines_until).as_seconds();
        self.prompt_spread.fade(seconds);
        self.output_spread.fade(seconds);
        self.cached.fade(seconds);
        if let Some(prompts) = &engines.prompts {
            self.prompt_spread.add(prompts);
        }
        if let Some(outputs) = &engines.outputs {
            self.output_spread.add(outputs);
            if outputs.count() > 0.0 {
                self.lengths_at = Some(until);
            }
        }
        self.cached.add(engines.hits_tokens, engines.queries_tokens);
        self.engines_until = until;
    }

    /// Takes in the router scrapes that are new.
    fn remember_router(&mut self, view: &FleetView<'_>, now: Time) {
        let scrapes: Vec<_> = view.metrics.router_scrapes(self.fleet, now, CATCH_UP).collect();
        for pair in scrapes.windows(2) {
            let (before, after) = (&pair[0], &pair[1]);
            if after.at <= self.router_until || after.at <= before.at {
                continue;
            }
            let seconds = after.at.since(before.at).as_seconds();
            for (tier, memory) in self.tiers.iter_mut().enumerate() {
                let pages = (before.value.tiers.get(tier), after.value.tiers.get(tier));
                let (Some(then), Some(new)) = pages else { continue };
                if memory.take_in(then, new, seconds) {
                    self.lengths_at = self.lengths_at.max(Some(after.at));
                }
            }
            self.router_until = after.at;
        }
    }
}

impl TierMemory {
    /// Takes in one pair of scrapes; whether outputs were counted.
    fn take_in(&mut self, then: &RouterTierSample, now: &RouterTierSample, seconds: f64) -> bool {
        let gained = |read: fn(&RouterTierSample) -> f64| {
            let (then, now) = (read(then), read(now));
            (is_count(then) && is_count(now)).then(|| increase(then, now))
        };
        self.prompt.fade(seconds);
        self.output.fade(seconds);
        let requests = gained(|tier| tier.requests_total);
        if let (Some(tokens), Some(requests)) = (gained(|tier| tier.prompt_tokens_total), requests)
        {
            self.prompt.add(tokens, requests);
        }
        match requests {
            Some(requests) if now.requests_total >= then.requests_total => {
                self.dispersion.add(requests, seconds);
            }
            // After a restart the count is of a shorter time than it seems.
            _ => self.dispersion.interrupt(),
        }
        let timed = now.tpot.since(&then.tpot).count();
        let begun = now.ttft.since(&then.ttft).count();
        let finished = if timed < STREAMED_SHARE_MIN * begun { begun } else { timed };
        if let Some(tokens) = gained(|tier| tier.output_tokens_total).filter(|&tokens| tokens > 0.0)
        {
            self.output.add(tokens, finished);
            return finished > 0.0;
        }
        false
    }
}

/// Counters of one tier over the rate window.
struct Rates {
    requests: Gained,
    prompt_tokens: Gained,
    refused: Option<f64>,
}

impl Rates {
    fn read(scrapes: &[Aged<&RouterSample>], tier: usize) -> Option<Self> {
        let over = |read: fn(&RouterTierSample) -> f64| {
            let pages = scrapes.iter().filter_map(|page| {
                page.value.tiers.get(tier).map(|sample| (page.at, read(sample)))
            });
            Gained::over(pages)
        };
        Some(Self {
            requests: over(|tier| tier.requests_total)?,
            prompt_tokens: over(|tier| tier.prompt_tokens_total)?,
            refused: over(|tier| tier.errors_total).and_then(Gained::per_second),
        })
    }
}

fn queued(tier: &RouterTierSample) -> Option<Queued> {
    let known = is_count(tier.queued) && is_count(tier.queued_prompt_tokens);
    known.then_some(Queued { requests: tier.queued, prompt_tokens: tier.queued_prompt_tokens })
}

impl FleetDemand {
    /// Load of one tier; `None` = unknown.
    #[must_use]
    pub fn tier(&self, tier: TierId) -> Option<&TierLoad> {
        self.tiers.get(tier.index())?.as_ref()
    }

    /// Requests/s over all tiers that are known.
    #[must_use]
    pub fn requests_per_s(&self) -> f64 {
        self.tiers.iter().flatten().map(|load| load.requests_per_s).sum()
    }
}
