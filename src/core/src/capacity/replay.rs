//! A sample on simulated engines: what share of it attains at a rate, and the rate at which the
//! objective's share does.

use std::sync::Arc;

use super::sample::{Arrivals, Sample};
use super::shape::Shape;
use super::{Limit, Objective, logit};
use crate::demand::Workload;
use crate::engine::profile::EngineProfile;
use crate::engine::{Engine, EngineEvent, EngineEventKind, Part, Physics, Work};
use crate::fleet::{Role, TPOT_OUTPUT_TOKENS_MIN};
use crate::ids::RequestId;
use crate::time::{PICOS_PER_SECOND, Picos};

/// Seed of every sample: one luck for all, so that answers differ only by what was asked.
const SEED: u64 = 0x666F_7265_6261_7921;
/// Requests that one replay scores: within these, enough for [`RESIDENCES`] and [`WINDOWS_S`].
const SCORED_RANGE: (f64, f64) = (10_000.0, 30_000.0);
/// Times of a mean request that a replay lasts at least: batches fluctuate no faster.
const RESIDENCES: f64 = 20.0;
/// Time that a replay of bursty arrivals lasts, s: 160 windows of ten seconds, as far as
/// [`SCORED_RANGE`] reaches.
const WINDOWS_S: f64 = 1_600.0;
/// Mean times of a request that pass before scoring begins, and that traffic goes on after it.
const WARM_RESIDENCES: f64 = 2.5;
const TAIL_RESIDENCES: f64 = 0.5;
/// Times as many misses as allowed after which a replay has told enough.
const HOPELESS: f64 = 12.0;
/// Requests in flight on one engine at which the queue will not recover within a replay.
const IN_FLIGHT_MAX: u32 = 20_000;
/// First step of the search for the rate, as a factor.
const STRIDE: f64 = 1.15;
/// By how much each further step is longer.
const STRIDE_GROWTH: f64 = 1.5;
/// The search ends when the rate is known to this factor; between, log-odds are interpolated.
const PRECISION: f64 = 1.04;
/// Most replays of one search.
const REPLAYS_MAX: usize = 16;
/// Rates below this share of the first guess are not looked for: the objective is unreachable.
const REACH: f64 = 0.01;
/// Up to this dispersion arrivals are as good as Poisson.
const POISSON_MAX: f64 = 1.1;
/// What a change of rate may be believed to do to the log-odds: below, long prompts alone miss;
/// above, the sample was too coarse to tell.
const STEEPNESS_RANGE: (f64, f64) = (1.0, 200.0);
/// By how much a short, evened-out sample is too kind to replicas: the median error over Poisson
/// arrivals of the training half of the grid before this was taken off.
const OPTIMISM: f64 = 0.03;
/// What is taken off besides where arrivals are bursty, for a tail that a short sample does not
/// have: over the training half of the grid the 95th percentile of errors on the unsafe side is
/// 14 % without it, 11 % with it (docs/decisions/0029).
const BURSTY_OPTIMISM: f64 = 0.05;
/// KV usage from which waiting is for KV.
const KV_FULL: f64 = 0.9;

/// How much of the dispersion beyond that of a Poisson process is clumps rather than waves.
/// Nothing in ten-second counts tells them apart, so each role gets mostly what is worse for it:
/// clumps, of which prompts queue, or waves, in which batches swell.
const fn clumped_share(role: Role) -> f64 {
    match role {
        Role::Prefill => 0.8,
        Role::Both => 0.5,
        Role::Decode => 0.3,
    }
}

/// What replicas were seen to hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// Of all replicas; 0 where the objective is unreachable.
    pub(super) requests_per_s: f64,
    pub(super) binding: Limit,
    /// Requests that decode on each replica, mean.
    pub(super) batch: f64,
    /// By how much the log-odds of attaining fall when the rate grows by a factor e.
    pub(super) steepness: f64,
}

/// One replay at one rate.
struct Probe {
    log_rate: f64,
    /// Log-odds of missing over those allowed.
    excess: f64,
    outcome: Outcome,
}

/// What came of one replay.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    scored: u32,
    missed: u32,
    ttft_missed: u32,
    tpot_missed: u32,
    /// Of those that missed their TTFT: had waited for KV, or for a seat.
    for_kv: u32,
    for_seat: u32,
    decode_s: f64,
    duration_s: f64,
}

/// Engines and a sample to replay on them.
pub(super) struct Bench<'a> {
    shape: &'a Shape<'a>,
    physics: Arc<Physics>,
    sample: Sample,
    objective: Objective,
    role: Role,
    replicas: u32,
    dispersion: f64,
}

impl<'a> Bench<'a> {
    pub(super) fn new(
        profile: &EngineProfile,
        shape: &'a Shape<'a>,
        role: Role,
        workload: &Workload,
        objective: Objective,
        replicas: u32,
    ) -> Self {
        let physics = Physics::new(profile, &profile.limits);
        let sample = Sample::new(workload, physics.block_tokens(), SEED);
        let dispersion = shape.dispersion;
        Self { shape, physics, sample, objective, role, replicas: replicas.max(1), dispersion }
    }

    /// The largest rate at which the objective's share of the requests attains, searched from a
    /// first guess for all replicas.
    pub(super) fn held(&mut self, guess_per_s: f64) -> Held {
        let target = -logit(self.objective.percentile);
        let (mut below, mut above): (Option<Probe>, Option<Probe>) = (None, None);
        let (mut log_rate, mut stride) = (guess_per_s.ln(), STRIDE.ln());
        for _ in 0..REPLAYS_MAX {
            let outcome = self.replay(log_rate.exp());
            let excess = outcome.log_odds() - target;
            let probe = Probe { log_rate, excess, outcome };
            if excess <= 0.0 {
                below = Some(probe)
            } else {
                above = Some(probe)
            }
            log_rate = match (&below, &above) {
                (Some(low), Some(high)) => {
                    let width = high.log_rate - low.log_rate;
                    if width <= PRECISION.ln() {
                        break;
                    }
                    // The secant, kept off the ends.
                    let share = -low.excess / (high.excess - low.excess);
                    low.log_rate + share.clamp(0.2, 0.8) * width
                }
                (Some(low), None) => low.log_rate + stride,
                (None, Some(high)) => high.log_rate - stride,
                (None, None) => break,
            };
            stride *= STRIDE_GROWTH;
            if log_rate < (guess_per_s * REACH).ln() {
                break;
            }
        }
        let Some(low) = below else {
            let binding = above.map_or(Limit::Stability, |high| high.outcome.unreachable());
            let steepness = super::STEEPNESS;
            return Held { requests_per_s: 0.0, binding, batch: 0.0, steepness };
        };
        let batch = low.outcome.batch(self.replicas);
        let Some(high) = above else {
            // Nothing that was tried is too much.
            let (requests_per_s, binding) = (low.log_rate.exp(), Limit::Stability);
            return Held { requests_per_s, binding, batch, steepness: super::STEEPNESS };
        };
        let width = high.log_rate - low.log_rate;
        let steepness =
            ((high.excess - low.excess) / width).clamp(STEEPNESS_RANGE.0, STEEPNESS_RANGE.1);
        let log_rate = low.log_rate + (-low.excess / steepness).min(width);
        let bursty = if self.dispersion > POISSON_MAX { BURSTY_OPTIMISM } else { 0.0 };
        let requests_per_s = log_rate.exp() * (1.0 - OPTIMISM) * (1.0 - bursty);
        Held { requests_per_s, binding: high.outcome.binding(), batch, steepness }
    }

    /// Replays the sample at a rate, least loaded first.
    fn replay(&mut self, requests_per_s: f64) -> Outcome {
        let step_s = self.objective.tpot_s.min(self.shape.step_s(self.shape.batch_max(), 1.0));
        let residence_s = self.shape.gaps * step_s + 1.0;
        let bursty_s = if self.dispersion > POISSON_MAX { WINDOWS_S } else { 0.0 };
        let lasting = requests_per_s * bursty_s.max(residence_s * RESIDENCES);
        let scored = lasting.clamp(SCORED_RANGE.0, SCORED_RANGE.1) as u32;
        let around = |residences: f64| {
            (requests_per_s * residence_s * residences).min(SCORED_RANGE.1) as u32
        };
        let first = around(WARM_RESIDENCES);
        let total = first + scored + around(TAIL_RESIDENCES);
        let mut run = Run::new(self, requests_per_s, first..first + scored, total);
        run.go();
        run.outcome
    }
}

impl Outcome {
    /// Log-odds of missing.
    fn log_odds(&self) -> f64 {
        let (missed, attained) = (f64::from(self.missed), f64::from(self.scored - self.missed));
        ((missed + 0.5) / (attained + 0.5)).ln()
    }

    fn batch(&self, replicas: u32) -> f64 {
        if self.duration_s > 0.0 {
            self.decode_s / self.duration_s / f64::from(replicas)
        } else {
            0.0
        }
    }

    fn binding(&self) -> Limit {
        if self.tpot_missed >= self.ttft_missed {
            Limit::Tpot
        } else if 2 * self.for_kv > self.ttft_missed {
            Limit::Kv
        } else if 2 * self.for_seat > self.ttft_missed {
            Limit::Sequences
        } else {
            Limit::Ttft
        }
    }

    fn unreachable(&self) -> Limit {
        if self.tpot_missed >= self.ttft_missed {
            Limit::TpotUnreachable
        } else {
            Limit::TtftUnreachable
        }
    }
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    engine: u32,
    arrived_at: Picos,
    first_token_at: Picos,
    output_tokens: u32,
    waited: Option<Limit>,
}

/// A replay under way.
struct Run<'b, 'a> {
    bench: &'b mut Bench<'a>,
    engines: Vec<Engine>,
    /// Of each engine, in flight and sent ever.
    loads: Vec<(u32, u32)>,
    flights: Vec<Flight>,
    arrivals: Arrivals,
    requests_per_s: f64,
    scored: std::ops::Range<u32>,
    total: u32,
    open: u32,
    limits: (Picos, Picos),
    overhead: Picos,
    outcome: Outcome,
}

impl<'b, 'a> Run<'b, 'a> {
    fn new(
        bench: &'b mut Bench<'a>,
        requests_per_s: f64,
        scored: std::ops::Range<u32>,
        total: u32,
    ) -> Self {
        let engines =
            (0..bench.replicas).map(|_| Engine::new(Arc::clone(&bench.physics))).collect();
        let picos = |seconds: f64| (seconds * PICOS_PER_SECOND as f64) as Picos;
        Self {
            engines,
            loads: vec![(0, 0); bench.replicas as usize],
            flights: Vec::with_capacity(total as usize),
            arrivals: Arrivals::new(
                requests_per_s,
                bench.dispersion,
                clumped_share(bench.role),
                SEED,
            ),
            requests_per_s,
            open: scored.len() as u32,
            scored,
            total,
            limits: (picos(bench.objective.ttft_s), picos(bench.objective.tpot_s)),
            overhead: picos(bench.shape.profile().request_overhead_ms * 1e-3),
            outcome: Outcome::default(),
            bench,
        }
    }

    fn go(&mut self) {
        let allowed = f64::from(self.open) * (1.0 - self.bench.objective.percentile);
        let missed_max = (allowed * HOPELESS + HOPELESS) as u32;
        let mut events = Vec::new();
        let next = |arrivals: &mut Arrivals| (arrivals.next_s() * PICOS_PER_SECOND as f64) as Picos;
        let mut arrival = next(&mut self.arrivals);
        while self.open > 0 && self.outcome.missed <= missed_max {
            let due = self.engines.iter().enumerate();
            let due = due.filter_map(|(index, engine)| Some((engine.next_event_at()?, index)));
            let due = due.min();
            let coming = (self.flights.len() as u32) < self.total;
            match due {
                Some((at, index)) if !coming || at <= arrival => {
                    self.engines[index].advance(at, &mut events);
                    self.hear(index, &mut events);
                }
                _ if coming => {
                    if !self.submit(arrival, &mut events) {
                        break;
                    }
                    arrival = next(&mut self.arrivals);
                }
                _ => break,
            }
        }
        // Whoever is still under way has missed: nothing moves any more, or all hope is gone.
        let hopeless = self.outcome.missed > missed_max;
        if !hopeless {
            self.outcome.missed += self.open;
            self.outcome.scored += self.open;
            self.outcome.ttft_missed += self.open;
        }
        self.outcome.duration_s = f64::from(self.outcome.scored) / self.requests_per_s;
    }

    /// Sends the next request to the engine with the fewest in flight; `false` when even that one
    /// is beyond recovery.
    fn submit(&mut self, at: Picos, events: &mut Vec<EngineEvent>) -> bool {
        let least = self.loads.iter().enumerate().min_by_key(|(_, load)| **load);
        let Some((engine, &(in_flight, _))) = least else { return false };
        if in_flight >= IN_FLIGHT_MAX {
            return false;
        }
        let number = self.flights.len();
        let lengths = self.bench.sample.requests(number + 1)[number];
        let waited = self.waits(engine, at);
        self.loads[engine].0 += 1;
        self.loads[engine].1 += 1;
        self.flights.push(Flight {
            engine: engine as u32,
            arrived_at: at,
            first_token_at: at,
            output_tokens: lengths.output_tokens,
            waited,
        });
        let part = match self.bench.role {
            Role::Both => Part::Whole,
            Role::Prefill => Part::Prefill,
            Role::Decode => Part::Decode,
        };
        let work = Work {
            request: RequestId(number as u64),
            prompt_tokens: lengths.prompt_tokens,
            output_tokens: lengths.output_tokens,
            part,
            prefix: self.bench.sample.prefix(lengths.pieces),
        };
        self.engines[engine].submit(at, work, events);
        self.hear(engine, events);
        true
    }

    /// What whoever arrives now at an engine has to wait for, other than its turn.
    fn waits(&self, engine: usize, at: Picos) -> Option<Limit> {
        let load = self.engines[engine].load(at);
        if load.waiting == 0.0 {
            None
        } else if load.running >= f64::from(self.bench.physics.sequences_max()) {
            Some(Limit::Sequences)
        } else {
            (load.kv_usage >= KV_FULL).then_some(Limit::Kv)
        }
    }

    fn hear(&mut self, engine: usize, events: &mut Vec<EngineEvent>) {
        for event in events.drain(..) {
            let index = event.request.index();
            match event.kind {
                EngineEventKind::FirstToken => self.flights[index].first_token_at = event.at,
                EngineEventKind::Finished => self.finish(index, event.at),
                EngineEventKind::PrefillDone => {
                    // The prompt's KV is taken as moved at once.
                    self.engines[engine].release(event.at, event.request);
                    let flight = &mut self.flights[index];
                    (flight.first_token_at, flight.output_tokens) = (event.at, 1);
                    self.finish(index, event.at);
                }
                EngineEventKind::KvWanted { .. } => {
                    self.engines[engine].kv_loaded(event.at, event.request);
                }
                EngineEventKind::TooLarge => self.finish(index, Picos::MAX),
            }
        }
    }

    fn finish(&mut self, index: usize, at: Picos) {
        let flight = self.flights[index];
        self.loads[flight.engine as usize].0 -= 1;
        if !self.scored.contains(&(index as u32)) {
            return;
        }
        let (ttft_max, tpot_max) = self.limits;
        let gaps = u64::from(flight.output_tokens - 1);
        let ttft = (flight.first_token_at - flight.arrived_at).saturating_add(self.overhead);
        let decode = at - flight.first_token_at;
        let short = flight.output_tokens < TPOT_OUTPUT_TOKENS_MIN;
        let (late, slow) = if at == Picos::MAX {
            (true, false)
        } else if short {
            (ttft.saturating_add(decode) > ttft_max.saturating_add(gaps * tpot_max), false)
        } else {
            (ttft > ttft_max, decode > gaps.saturating_mul(tpot_max))
        };
        let outcome = &mut self.outcome;
        self.open -= 1;
        outcome.scored += 1;
        outcome.missed += u32::from(late || slow);
        outcome.tpot_missed += u32::from(slow);
        outcome.ttft_missed += u32::from(late);
        outcome.for_kv += u32::from(late && flight.waited == Some(Limit::Kv));
        outcome.for_seat += u32::from(late && flight.waited == Some(Limit::Sequences));
        if at < Picos::MAX {
            outcome.decode_s += decode as f64 / PICOS_PER_SECOND as f64;
        }
    }
}
