//! NVIDIA Dynamo's planner (`components/src/dynamo/planner/core`): the throughput loop, the load
//! loop, or both, the first as a floor under the second.
//!
//! One planner per fleet covers its pools, as one per graph deployment does: while any pool is
//! not as many ready replicas as asked for, it changes nothing. Its performance model is read off
//! the engine profile, which is what a pre-deployment sweep would have given it; so it is spared
//! the regression that slow first passes corrupt. The load predictor is the constant one.

use forebay_core::fleet::{Role, Slo, World};
use forebay_core::ids::FleetId;
use forebay_core::time::{Span, Time};

use super::common::Common;
use super::dynamo_model::{Model, Sla, Traffic};
use super::error::SpecError;
use super::keys::Keys;
use super::pools::{Scaler, Scope, Want};
use super::query::{Query, Sight};
use super::series::Series;

/// Settings of one planner.
#[derive(Clone, Debug, PartialEq)]
struct Settings {
    throughput: bool,
    load: bool,
    throughput_interval: Span,
    load_interval: Span,
    /// `load_scaling_down_sensitivity / 100`.
    sensitivity: f64,
    /// `min_endpoint`.
    least: u32,
    sla: Sla,
}

/// The planner of one fleet.
pub(crate) struct Dynamo {
    settings: Settings,
    pools: Vec<Pool>,
    next_throughput: Time,
    next_load: Time,
}

struct Pool {
    group: usize,
    role: Role,
    model: Model,
    /// Floor set by the throughput loop when both run.
    floor: u32,
}

/// What the load loop makes of one signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Every engine exceeds the SLA.
    Up,
    /// A consolidation to one replica less would keep within the sensitivity.
    Down,
    Hold,
}

/// One planner per fleet.
pub(crate) fn read(
    keys: &mut Keys<'_>,
    common: &Common,
    world: &World,
) -> Result<Vec<Box<dyn Scaler>>, SpecError> {
    let mode = keys.choice("mode", "both", &["throughput", "load", "both"])?;
    let scale = keys.number("sla_scale", 1.0, 0.01..=10.0)?;
    let throughput_interval = keys.span("throughput_interval", Span::from_secs(180))?;
    let load_interval = keys.span("load_interval", Span::from_secs(5))?;
    if throughput_interval == Span::ZERO || load_interval == Span::ZERO {
        return Err(keys.error("an interval of 0s", "Dynamo has 180s and 5s"));
    }
    let sensitivity = keys.number("sensitivity", 80.0, 0.0..=100.0)? / 100.0;
    let least = keys.count("min_endpoint", Some(1))?.unwrap_or(1);
    let mut scalers: Vec<Box<dyn Scaler>> = Vec::new();
    for (index, fleet) in world.fleets.iter().enumerate() {
        let own = |group: &super::group::Group| group.fleet == FleetId(index as u16);
        let groups: Vec<_> =
            common.groups.iter().enumerate().filter(|(_, group)| own(group)).collect();
        let strictest = fleet.slos.iter().flatten().filter_map(|slo| match slo {
            Slo::Latency { ttft, tpot, .. } => Some((*ttft, *tpot)),
            Slo::Completion { .. } => None,
        });
        let (ttft, tpot) = strictest
            .reduce(|left, right| (left.0.min(right.0), left.1.min(right.1)))
            .unwrap_or((Span::from_millis(500), Span::from_millis(50)));
        let sla = Sla {
            ttft_s: keys.span("ttft", ttft)?.as_seconds() * scale,
            itl_s: keys.span("itl", tpot)?.as_seconds() * scale,
        };
        let settings = Settings {
            throughput: mode != "load",
            load: mode != "throughput",
            throughput_interval,
            load_interval,
            sensitivity,
            least,
            sla,
        };
        let pools = groups.into_iter().map(|(group, scope)| Pool {
            group,
            role: scope.role,
            model: Model::new(&world.variants[scope.first().index()].profile),
            floor: 0,
        });
        let pools = pools.collect();
        scalers.push(Box::new(Dynamo {
            next_throughput: Time::ZERO + settings.throughput_interval,
            next_load: Time::ZERO + settings.load_interval,
            settings,
            pools,
        }));
    }
    Ok(scalers)
}

impl Dynamo {
    /// Requests per second and mean lengths over the interval, as the frontend counted them.
    fn traffic(&self, now: Time, scope: &Scope<'_>) -> Option<Traffic> {
        let group = &scope.groups[self.pools.first()?.group];
        let sight = Sight { view: scope.view, group, now };
        let window = self.settings.throughput_interval;
        let rate = |series| Query::rate(series, window).answer(&sight);
        let requests_per_s = rate(Series::Requests)?;
        if requests_per_s <= 0.0 {
            return Some(Traffic::default());
        }
        let prompt_tokens = rate(Series::RouterPromptTokens)? / requests_per_s;
        let output_tokens = rate(Series::RouterOutputTokens)? / requests_per_s;
        Some(Traffic { requests_per_s, prompt_tokens, output_tokens })
    }

    /// `N = ceil(predicted rate / rate of one engine)`: no headroom, no backlog.
    fn throughput(&self, pool: &Pool, traffic: &Traffic) -> Option<u32> {
        if traffic.requests_per_s <= 0.0 {
            return Some(self.settings.least);
        }
        let sla = self.settings.sla;
        let (engine_rps, floor) = match pool.role {
            Role::Both => (pool.model.best_aggregated_rps(traffic, sla), 1),
            Role::Decode => (pool.model.best_decode_rps(traffic, sla), 1),
            Role::Prefill => {
                let ttft_s = pool.model.prefill_s(traffic.prompt_tokens);
                // A TTFT that one engine cannot keep raises the floor.
                (1.0 / ttft_s, (ttft_s / sla.ttft_s).ceil().max(1.0) as u32)
            }
        };
        let engines = (traffic.requests_per_s / engine_rps).ceil();
        engines.is_finite().then(|| (engines as u32).max(floor).max(self.settings.least))
    }

    /// +1 if every engine exceeds the SLA; -1 if every engine would keep within the sensitivity
    /// with the work of one replica less.
    fn load(&self, now: Time, pool: &Pool, scope: &Scope<'_>) -> Option<u32> {
        let group = &scope.groups[pool.group];
        let sight = Sight { view: scope.view, group, now };
        let replicas = group.replicas(scope.view).ready;
        let engines = self.engines(now, pool, &sight);
        if engines.is_empty() || engines.len() as u32 != replicas {
            return None;
        }
        let ttft = || self.ttft_verdict(pool, &engines);
        let itl = || self.itl_verdict(pool, &engines);
        let verdict = match pool.role {
            Role::Prefill => ttft(),
            Role::Decode => itl(),
            Role::Both => match (ttft(), itl()) {
                (Verdict::Up, _) | (_, Verdict::Up) => Verdict::Up,
                (Verdict::Down, Verdict::Down) => Verdict::Down,
                _ => Verdict::Hold,
            },
        };
        Some(match verdict {
            Verdict::Up => replicas + 1,
            Verdict::Down => (replicas - 1).max(self.settings.least),
            Verdict::Hold => replicas,
        })
    }

    fn engines(&self, now: Time, pool: &Pool, sight: &Sight<'_>) -> Vec<EngineState> {
        let mut engines = Vec::new();
        for variant in &sight.group.variants {
            for (endpoint, sample) in sight.view.metrics.engines(*variant, now) {
                let ends = sight.view.metrics.engine_window(endpoint, now, LENGTHS_WINDOW);
                let mean = |read: fn(&forebay_core::observe::EngineSample) -> f64| {
                    let (first, last) = ends?;
                    let finished =
                        last.value.requests_finished_total - first.value.requests_finished_total;
                    (finished > 0.0).then(|| (read(last.value) - read(first.value)) / finished)
                };
                let prompt_tokens = mean(|sample| sample.prompt_tokens_total).unwrap_or(0.0);
                let kv_tokens = sample.value.kv_usage * sample.value.kv_capacity_tokens;
                let context = if sample.value.running > 0.0 {
                    kv_tokens / sample.value.running
                } else {
                    prompt_tokens
                };
                let queued = if pool.role == Role::Decode { context } else { prompt_tokens };
                engines.push(EngineState {
                    queued_tokens: sample.value.waiting * queued,
                    kv_tokens,
                    running: sample.value.running,
                    prompt_tokens,
                    context,
                });
            }
        }
        engines
    }

    fn ttft_verdict(&self, pool: &Pool, engines: &[EngineState]) -> Verdict {
        let sla = self.settings.sla.ttft_s;
        let more = consolidation(engines.len());
        let ttft = |engine: &EngineState, queued: f64, kv: f64| {
            pool.model.next_ttft_s(queued + engine.prompt_tokens, kv)
        };
        if engines.iter().all(|engine| ttft(engine, engine.queued_tokens, engine.kv_tokens) > sla) {
            return Verdict::Up;
        }
        let safe = engines.iter().all(|engine| {
            let kv = engine.kv_tokens * more;
            let own = ttft(engine, 0.0, kv);
            let budget = (sla - own) * self.settings.sensitivity;
            let induced = ttft(engine, engine.queued_tokens * more, kv) - own;
            budget > 0.0 && induced < budget
        });
        if engines.len() > 1 && safe { Verdict::Down } else { Verdict::Hold }
    }

    fn itl_verdict(&self, pool: &Pool, engines: &[EngineState]) -> Verdict {
        let sla = self.settings.sla.itl_s;
        let more = consolidation(engines.len());
        let itl = |engine: &EngineState, kv: f64, running: f64| {
            pool.model.step_s(0.0, kv + engine.context, running + 1.0)
        };
        let now = |engine: &EngineState| {
            let queued = if pool.role == Role::Decode { engine.queued_tokens } else { 0.0 };
            itl(engine, engine.kv_tokens + queued, engine.running)
        };
        if engines.iter().all(|engine| now(engine) > sla) {
            return Verdict::Up;
        }
        let safe = engines.iter().all(|engine| {
            let kv = (engine.kv_tokens + engine.queued_tokens) * more;
            let fits = kv < pool.model.kv_capacity_tokens;
            fits && itl(engine, kv, engine.running * more) < sla * self.settings.sensitivity
        });
        if engines.len() > 1 && safe { Verdict::Down } else { Verdict::Hold }
    }

    fn settled(&self, scope: &Scope<'_>) -> bool {
        self.pools.iter().all(|pool| {
            let replicas = scope.groups[pool.group].replicas(scope.view);
            replicas.ready == replicas.desired && replicas.current == replicas.desired
        })
    }
}

/// Over how long the mean lengths of an engine are taken.
const LENGTHS_WINDOW: Span = Span::from_secs(60);

/// What one engine shows.
#[derive(Clone, Copy, Debug, PartialEq)]
struct EngineState {
    queued_tokens: f64,
    kv_tokens: f64,
    running: f64,
    prompt_tokens: f64,
    context: f64,
}

/// Each survivor's share of the work once one of `engines` is gone.
fn consolidation(engines: usize) -> f64 {
    if engines > 1 { engines as f64 / (engines as f64 - 1.0) } else { 1.0 }
}

impl Scaler for Dynamo {
    fn step(&mut self, now: Time, scope: &Scope<'_>, wants: &mut Vec<Want>) {
        let settled = self.settled(scope);
        let current = |pool: &Pool| scope.groups[pool.group].replicas(scope.view).desired;
        if self.settings.throughput && self.next_throughput <= now {
            self.next_throughput = now + self.settings.throughput_interval;
            if let Some(traffic) = self.traffic(now, scope) {
                let floors: Vec<Option<u32>> =
                    self.pools.iter().map(|pool| self.throughput(pool, &traffic)).collect();
                // A pool whose rate is unknown blocks its partner, too.
                if floors.iter().all(Option::is_some) {
                    for (pool, floor) in self.pools.iter_mut().zip(floors) {
                        pool.floor = floor.unwrap_or_default();
                        if !self.settings.load && settled && pool.floor != current(pool) {
                            let rate = traffic.requests_per_s;
                            let reason = format!("throughput: {rate:.2} req/s");
                            wants.push(Want { group: pool.group, replicas: pool.floor, reason });
                        }
                    }
                }
            }
        }
        if self.settings.load && self.next_load <= now {
            self.next_load = now + self.settings.load_interval;
            if !settled {
                return;
            }
            for pool in &self.pools {
                let now_there = current(pool);
                let asked = self.load(now, pool, scope).unwrap_or(now_there);
                let replicas = asked.max(pool.floor);
                if replicas != now_there {
                    let reason = format!("load asks for {asked}, throughput for {}", pool.floor);
                    wants.push(Want { group: pool.group, replicas, reason });
                }
            }
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        let throughput = self.settings.throughput.then_some(self.next_throughput);
        let load = self.settings.load.then_some(self.next_load);
        throughput.into_iter().chain(load).min()
    }
}
