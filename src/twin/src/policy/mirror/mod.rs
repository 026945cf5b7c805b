//! A policy of ours as somebody else's program: the other side of `exec:`. It reads
//! observations and answers each; see `docs/external-policy.md`.

mod line;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use forebay_core::fleet::World;
use forebay_core::ids::{EndpointId, FleetId, VariantId};
use forebay_core::observe::{RouterSample, Store};
use forebay_core::plan::{FleetView, PlanEffect, PlanEvent, Planner, ScaleTarget};
use forebay_core::time::{Span, Time, WallTime};
use serde::{Deserialize, Serialize};

use self::line::{Observation, Router};
use super::error::SpecError;
use super::exec::OBSERVATION_SCHEMA;
use super::{PolicySpec, registry};

/// Why an observation cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The line is no JSON of the schema.
    #[error("this is no observation: {0}; expected one line of {OBSERVATION_SCHEMA}")]
    Line(#[from] serde_json::Error),
    /// The line says that it is something else.
    #[error("the observation is `{0}`; this program reads {OBSERVATION_SCHEMA}")]
    Schema(String),
    /// The observation is about other fleets than the manifests.
    #[error("{0}; give the same manifests as those of the run")]
    Stranger(String),
    /// Time runs backwards.
    #[error("the observation is of {now}, but the one before was of {before}; send them in order")]
    Order {
        /// Its time.
        now: Time,
        /// The time of the one before.
        before: Time,
    },
    /// The settings of the policy do not fit the manifests.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

/// A planner that is told about the world by lines.
pub struct Mirror {
    world: World,
    spec: PolicySpec,
    /// From the first observation on: what may be set from outside is in there.
    planner: Option<Box<dyn Planner + Send>>,
    store: Store,
    /// Newest page of each endpoint.
    scraped: BTreeMap<EndpointId, Time>,
    router_scraped: BTreeMap<FleetId, Time>,
    now: Option<Time>,
}

/// The first thing to know of a line.
#[derive(Deserialize)]
struct Header {
    schema: String,
}

/// What is answered.
#[derive(Debug, Serialize)]
struct Answer {
    replicas: BTreeMap<String, u32>,
    reason: String,
    decision: u64,
}

impl Mirror {
    /// A policy for the world of the manifests.
    ///
    /// # Errors
    /// A SPEC that does not fit the world.
    pub fn new(mut world: World, spec: PolicySpec) -> Result<Self, SpecError> {
        spec.apply(&mut world)?;
        registry::build(&spec, &world)?;
        Ok(Self {
            world,
            spec,
            planner: None,
            store: Store::default(),
            scraped: BTreeMap::new(),
            router_scraped: BTreeMap::new(),
            now: None,
        })
    }

    /// Answers one observation with one line, its end included.
    ///
    /// # Errors
    /// An observation that cannot be understood.
    pub fn answer(&mut self, line: &str) -> Result<String, MirrorError> {
        let header: Header = serde_json::from_str(line)?;
        if header.schema != OBSERVATION_SCHEMA {
            return Err(MirrorError::Schema(header.schema));
        }
        let observation: Observation = serde_json::from_str(line)?;
        let now = Time::from_seconds(observation.now_s);
        if let Some(before) = self.now.filter(|before| now < *before) {
            return Err(MirrorError::Order { now, before });
        }
        self.now = Some(now);
        let targets = self.take(now, &observation)?;
        let planner = match &mut self.planner {
            Some(planner) => planner,
            None => self.planner.insert(registry::build(&self.spec, &self.world)?),
        };
        let view = FleetView {
            world: &self.world,
            targets: &targets,
            metrics: &self.store,
            origin: WallTime(observation.starts_at_unix_s),
        };
        let mut effects = Vec::new();
        planner.step(now, PlanEvent::Due(&view), &mut effects);
        let mut answer = Answer {
            replicas: BTreeMap::new(),
            reason: String::new(),
            decision: observation.decision,
        };
        for effect in effects {
            let PlanEffect::Scale { variant, replicas, reason } = effect else { continue };
            answer.replicas.insert(self.name(variant), replicas);
            if answer.reason.is_empty() {
                answer.reason = reason;
            }
        }
        let mut text = serde_json::to_string(&answer)?;
        text.push('\n');
        Ok(text)
    }

    fn name(&self, variant: VariantId) -> String {
        let entry = &self.world.variants[variant.index()];
        format!("{}/{}", self.world.fleets[entry.fleet.index()].name, entry.name)
    }

    /// Takes over what is told; returns the scale targets.
    fn take(
        &mut self,
        now: Time,
        observation: &Observation,
    ) -> Result<Vec<ScaleTarget>, MirrorError> {
        let mut targets: Vec<Option<ScaleTarget>> = vec![None; self.world.variants.len()];
        let mut seen: Vec<EndpointId> = Vec::new();
        for fleet in &observation.fleets {
            let found = self.world.fleets.iter().position(|known| known.name == fleet.name);
            let Some(index) = found else {
                let what = format!("the observation has a fleet `{}`", fleet.name);
                return Err(MirrorError::Stranger(format!("{what} that the manifests lack")));
            };
            if let Some(router) = &fleet.router {
                self.take_router(now, FleetId(index as u16), router)?;
            }
            for variant in &fleet.variants {
                let known = (0..self.world.variants.len())
                    .find(|index| self.name(VariantId(*index as u16)) == variant.name);
                let Some(known) = known else {
                    let what = format!("the observation has a variant `{}`", variant.name);
                    return Err(MirrorError::Stranger(format!("{what} that the manifests lack")));
                };
                targets[known] = Some(self.take_variant(now, known, variant, &mut seen));
            }
        }
        let gone: Vec<EndpointId> =
            self.scraped.keys().filter(|endpoint| !seen.contains(endpoint)).copied().collect();
        for endpoint in gone {
            self.scraped.remove(&endpoint);
            self.store.forget(endpoint);
        }
        let complete = targets.into_iter().enumerate().map(|(index, target)| {
            target.ok_or_else(|| {
                let name = self.name(VariantId(index as u16));
                MirrorError::Stranger(format!("the observation lacks the variant `{name}`"))
            })
        });
        complete.collect()
    }

    fn take_router(
        &mut self,
        now: Time,
        fleet: FleetId,
        router: &Router,
    ) -> Result<(), MirrorError> {
        let at = ago(now, router.age_s);
        let mut tiers = vec![line::unknown_tier(); self.world.tiers.len()];
        for page in &router.tiers {
            let Some(tier) = self.world.tier(&page.tier) else {
                let what = format!("the observation has a tier `{}`", page.tier);
                return Err(MirrorError::Stranger(format!("{what} that the manifests lack")));
            };
            tiers[tier.index()] = page.sample();
        }
        // A page that was sent before is no new one.
        if self.router_scraped.get(&fleet).is_none_or(|before| *before < at) {
            self.router_scraped.insert(fleet, at);
            let sample = RouterSample { tiers, saturation: router.saturation };
            self.store.record_router(fleet, at, sample);
        }
        Ok(())
    }

    fn take_variant(
        &mut self,
        now: Time,
        index: usize,
        told: &line::Variant,
        seen: &mut Vec<EndpointId>,
    ) -> ScaleTarget {
        let entry = &mut self.world.variants[index];
        (entry.replicas_min, entry.replicas_max) = (told.min, told.max);
        entry.profile.limits.max_num_batched_tokens = told.max_num_batched_tokens;
        entry.profile.limits.max_num_seqs = told.max_num_seqs;
        for engine in &told.engines {
            let endpoint = EndpointId(engine.endpoint);
            let at = ago(now, engine.age_s);
            seen.push(endpoint);
            if self.scraped.get(&endpoint).is_none_or(|before| *before < at) {
                self.scraped.insert(endpoint, at);
                let variant = VariantId(index as u16);
                self.store.record_engine(endpoint, variant, at, engine.sample());
            }
        }
        // A program that does not say which are ready has at least scraped them.
        let scraped = || told.engines.iter().map(|engine| engine.endpoint);
        let ready: Vec<u32> = told
            .endpoints_ready
            .clone()
            .unwrap_or_else(|| scraped().take(told.replicas_ready).collect());
        let times = |seconds: &[f64]| seconds.iter().map(|at| Time::from_seconds(*at)).collect();
        ScaleTarget {
            replicas_desired: told.replicas_desired,
            replicas_current: told.replicas_current,
            endpoints_ready: ready.into_iter().map(EndpointId).collect(),
            starting_since: times(&told.starting_since_s),
            unschedulable_since: times(&told.unschedulable_since_s),
            draining: told.draining,
        }
    }
}

/// The instant so many seconds before another.
fn ago(now: Time, seconds: f64) -> Time {
    Time(now.0.saturating_sub(Span::from_seconds(seconds).0))
}
