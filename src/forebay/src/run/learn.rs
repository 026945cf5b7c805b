//! What engines' pages teach of their physics, and who is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use forebay_core::fleet::World;
use forebay_core::ids::{EndpointId, VariantId};
use forebay_core::learn::Learner;
use forebay_core::observe::{EngineSample, Store};
use forebay_core::plan::FleetView;
use forebay_core::time::{Span, Time, WallTime};
use forebay_gateway::clock::Clock;
use forebay_gateway::front::Fronts;
use tokio::time::Instant;
use tracing::info;

/// How often new pages are learned from: a few times in the interval at which they come.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// What is learned of all engines of this process. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Lessons {
    clock: Clock,
    shared: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    world: Arc<World>,
    learner: Learner,
    pages: Store,
    /// Numbers of engines, by address.
    known: BTreeMap<String, EndpointId>,
    next: u32,
    /// Whether what was learned of a variant is in force, to say so once.
    in_force: Vec<bool>,
}

impl Lessons {
    /// Nothing is known but the manifests.
    pub(super) fn new(world: Arc<World>) -> Self {
        let state = State {
            learner: Learner::new(&world),
            in_force: vec![false; world.variants.len()],
            world,
            pages: Store::default(),
            known: BTreeMap::new(),
            next: 0,
        };
        Self { clock: Clock::since(Instant::now()), shared: Arc::new(Mutex::new(state)) }
    }

    /// A page of an engine, which was true `age` ago.
    pub(super) fn read(&self, address: &str, variant: VariantId, age: Span, page: EngineSample) {
        let at = Time(self.clock.now().0.saturating_sub(age.0));
        let mut state = self.lock();
        let endpoint = state.known.get(address).copied().unwrap_or_else(|| {
            let endpoint = EndpointId(state.next);
            state.next += 1;
            state.known.insert(address.to_owned(), endpoint);
            endpoint
        });
        state.pages.record_engine(endpoint, variant, at, page);
    }

    /// An engine is not listed any more, or nobody listens there: another may come in its place.
    pub(super) fn forget(&self, address: &str) {
        let mut state = self.lock();
        if let Some(endpoint) = state.known.remove(address) {
            state.pages.forget(endpoint);
        }
    }

    /// Other manifests: what was learned of a variant stays with its name.
    pub(super) fn reload(&self, world: Arc<World>) {
        let mut state = self.lock();
        if *state.world == *world {
            state.world = world;
            return;
        }
        let snapshot = state.learner.snapshot(&state.world);
        // Its own snapshot is sound.
        state.learner = Learner::restore(&world, snapshot).unwrap_or_else(|_| Learner::new(&world));
        state.in_force = vec![false; world.variants.len()];
        // Numbers of variants are given out anew: pages so far would teach the wrong ones.
        (state.pages, state.known) = (Store::default(), BTreeMap::new());
        state.world = world;
    }

    /// Learns for ever, and tells each fleet's gate what is in force.
    pub(super) async fn teach(self, fronts: Fronts) {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            self.learn(&fronts);
        }
    }

    fn learn(&self, fronts: &Fronts) {
        let mut state = self.lock();
        let State { world, learner, pages, in_force, .. } = &mut *state;
        let view = FleetView { world, targets: &[], metrics: pages, origin: WallTime::default() };
        learner.observe(self.clock.now(), &view);
        for (index, (entry, in_force)) in world.variants.iter().zip(in_force).enumerate() {
            let variant = VariantId(index as u16);
            let learned = learner.variant(variant);
            let physics = learned.physics();
            if *in_force != physics.in_force() {
                *in_force = physics.in_force();
                let multipliers = physics.multipliers().map(|it| it.value);
                info!(
                    variant = entry.name,
                    in_force = *in_force,
                    ?multipliers,
                    "what its engines' pages taught: fixed, per token, KV"
                );
            }
            if let Some((_, front)) = fronts.all().get(entry.fleet.index())
                && Arc::ptr_eq(&front.terms().world, world)
            {
                front.learned(variant, learned.profile());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::manifest::{self, builtin};

    use super::*;

    fn world() -> Arc<World> {
        let source = builtin::fleet("gate-demo").unwrap();
        let (world, _) = manifest::parse(&[source]).unwrap().resolve(None).unwrap();
        Arc::new(world)
    }

    /// A page of an engine that has generated so much.
    fn page(tokens: f64) -> EngineSample {
        let mut page = EngineSample::idle(100_000.0);
        page.generation_tokens_total = tokens;
        page.iteration_tokens.observe(8.0, tokens / 8.0);
        page.itl.observe(0.02, tokens);
        page
    }

    #[tokio::test(start_paused = true)]
    async fn pages_are_learned_from_and_what_was_learned_outlives_a_reload() {
        let lessons = Lessons::new(world());
        let fronts = Fronts::new(Vec::new());
        let windows = |lessons: &Lessons| {
            let state = lessons.lock();
            let learned = state.learner.variant(VariantId(0));
            let left_out: u64 = learned.left_out().values().sum();
            left_out + learned.physics().score().windows
        };
        for step in 0..10_u32 {
            let page = page(f64::from(step) * 4_000.0);
            lessons.read("127.0.0.1:8101", VariantId(0), Span::ZERO, page);
            lessons.learn(&fronts);
            tokio::time::sleep(Duration::from_secs(15)).await;
        }
        assert_eq!(windows(&lessons), 9, "each pair of pages is a window, taught or left out");
        let mut other = World::clone(&lessons.lock().world);
        other.tiers[0].floor = 0.01;
        lessons.reload(Arc::new(other));
        assert_eq!(windows(&lessons), 9);
        lessons.forget("127.0.0.1:8101");
    }
}
