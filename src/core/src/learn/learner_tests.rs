use super::predict::scaled_profile;
use super::steps::LeftOut;
use super::testing::{BUSY, Engine, State, profile};
use super::{Learner, Revision};
use crate::engine::profile::EngineProfile;
use crate::fleet::{Role, World};
use crate::ids::{EndpointId, FleetId, TierId, VariantId};
use crate::observe::{EngineSample, RouterSample, RouterTierSample, Store};
use crate::plan::{FleetView, ScaleTarget};
use crate::time::{Span, Time, WallTime};

const V: VariantId = VariantId(0);

fn world() -> World {
    let mut world = crate::plan::testing::world(&[("a", Role::Both)]);
    world.variants[0].profile = profile();
    world
}

/// Load that moves as load does: slowly against the time between scrapes.
fn state(index: u64) -> State {
    let swing = |period: f64, phase: f64| 0.5 + 0.5 * (index as f64 / period + phase).sin();
    State {
        batch: 10.0 + 90.0 * swing(7.0, 0.0),
        context: 400.0 + 1_400.0 * swing(150.0, 1.0),
        prefill_share: 0.05 + 0.2 * swing(5.0, 2.0),
        ..BUSY
    }
}

/// Scrapes of some engines, looked at each 15 s.
struct Watch {
    world: World,
    learner: Learner,
    store: Store,
    engines: Vec<Engine>,
    rounds: u64,
}

impl Watch {
    fn new(engines: Vec<Engine>) -> Self {
        let world = world();
        let learner = Learner::new(&world);
        Self { world, learner, store: Store::default(), engines, rounds: 0 }
    }

    fn now(&self) -> Time {
        Time::ZERO + Span::from_secs(15 * self.rounds)
    }

    /// Scrapes all, the page changed by `spoil`, and learns.
    fn look(&mut self, spoil: impl Fn(&mut EngineSample)) {
        let now = self.now();
        for (index, engine) in self.engines.iter().enumerate() {
            let mut page = engine.page.clone();
            spoil(&mut page);
            self.store.record_engine(EndpointId(index as u32), V, now, page);
        }
        self.learn();
    }

    fn learn(&mut self) {
        let targets = [ScaleTarget::default()];
        let view = FleetView {
            world: &self.world,
            targets: &targets,
            metrics: &self.store,
            origin: WallTime::default(),
        };
        self.learner.observe(self.now(), &view);
    }

    /// Runs all engines as `truth` does, slower by a factor that depends on the engine.
    fn round(&mut self, truth: &EngineProfile, slower: impl Fn(usize) -> f64) {
        self.rounds += 1;
        for (index, engine) in self.engines.iter_mut().enumerate() {
            let state = State { slower: slower(index), ..state(self.rounds + index as u64) };
            engine.run(truth, &state);
        }
    }

    fn rounds(&mut self, count: u64, truth: &EngineProfile) {
        for _ in 0..count {
            self.round(truth, |_| 1.0);
            self.look(|_| {});
        }
    }

    /// How far the profile in force is off at a busy state, relative.
    fn error(&self, truth: &EngineProfile) -> f64 {
        let (mut first, mut last) = (Engine::warm(), Engine::warm());
        first.run(truth, &BUSY);
        last.run(truth, &BUSY);
        last.run(truth, &BUSY);
        let window = super::steps::StepWindow::between(
            first.shown(),
            last.shown(),
            &truth.limits,
            Role::Both,
        )
        .unwrap();
        let mix = window.mix(&truth.limits);
        let learned = &self.learner.profile(V).step_time;
        mix.seconds(learned) / mix.seconds(&truth.step_time) - 1.0
    }

    fn left_out(&self, reason: LeftOut) -> u64 {
        self.learner.variant(V).left_out().get(&reason).copied().unwrap_or(0)
    }
}

#[test]
fn a_view_after_the_other_puts_the_profile_in_force_right() {
    let truth = scaled_profile(&profile(), &[-0.3, 0.3, -0.3]);
    let mut watch = Watch::new(vec![Engine::warm(), Engine::warm()]);
    watch.look(|_| {});
    assert_eq!(watch.learner.profile(V), &profile());
    watch.rounds(60, &truth);
    assert!(watch.error(&truth).abs() < 0.02, "{}", watch.error(&truth));
    assert_eq!(watch.learner.variant(V).physics().score().windows, 120);
    let lengths = watch.learner.lengths(FleetId(0));
    assert!((lengths.output_tokens.unwrap().moments.mean - 200.0).abs() < 1e-6);
    assert!((lengths.prompt_tokens.unwrap().moments.mean - 600.0).abs() < 1e-6);
    assert!(lengths.cached_share.unwrap().value < 1e-9);
}

/// Two of three replicas are new and ten times slower until they are warm.
#[test]
fn warming_up_replicas_do_not_poison_what_is_learned() {
    let truth = profile();
    let cold = || {
        let mut engine = Engine::new();
        engine.page.iteration_tokens.observe(1.0, 5.0);
        engine
    };
    let run = |guarded: bool| {
        let mut new = vec![Engine::warm(), cold(), cold()];
        if !guarded {
            // The same replicas, but they look as if they had been warm for long.
            new = vec![Engine::warm(), Engine::warm(), Engine::warm()];
        }
        let mut watch = Watch::new(new);
        watch.look(|_| {});
        let mut worst = 0.0_f64;
        for round in 0..40 {
            let warming = round < 7;
            watch.round(&truth, |index| if warming && index > 0 { 10.0 } else { 1.0 });
            watch.look(|_| {});
            let learned = &watch.learner.variant(V).physics().parameters_learned();
            worst = learned.iter().fold(worst, |worst, parameter| worst.max(parameter.abs()));
        }
        (worst, watch.left_out(LeftOut::WarmingUp))
    };
    let (worst, left_out) = run(true);
    assert!(worst < 0.03 && left_out >= 14, "{worst} {left_out}");
    assert!(run(false).0 > 0.1, "without quarantine it is poisoned: {:?}", run(false));
}

#[test]
fn a_replica_that_restarts_is_new_again() {
    let truth = profile();
    let mut watch = Watch::new(vec![Engine::warm()]);
    watch.look(|_| {});
    watch.rounds(10, &truth);
    let learned = watch.learner.variant(V).physics().score().windows;
    watch.engines[0].page = EngineSample::idle(4e5);
    watch.rounds(6, &truth);
    assert_eq!(watch.left_out(LeftOut::CounterReset), 1);
    assert!(watch.left_out(LeftOut::WarmingUp) >= 5);
    assert_eq!(watch.learner.variant(V).physics().score().windows, learned);
}

#[test]
fn nonsense_on_a_page_is_named_and_nothing_is_learned_from_it() {
    let truth = profile();
    let mut watch = Watch::new(vec![Engine::warm()]);
    watch.look(|_| {});
    watch.rounds(5, &truth);
    let before = watch.learner.variant(V).physics().clone();
    for _ in 0..10 {
        watch.round(&truth, |_| 1.0);
        watch.look(|page| page.kv_usage = f64::NAN);
    }
    assert_eq!(watch.learner.variant(V).physics(), &before);
    assert_eq!(watch.left_out(LeftOut::NotANumber), 10);
    // A page that comes twice, and one that carries an earlier time.
    let at = watch.now();
    let page = watch.engines[0].page.clone();
    watch.store.record_engine(EndpointId(0), V, at, page);
    watch.learn();
    assert_eq!(watch.learner.variant(V).physics(), &before);
    assert!(watch.left_out(LeftOut::ClockSkew) >= 1);
    // Nothing scraped for long: a gap, not a mean over it.
    for _ in 0..15 {
        watch.round(&truth, |_| 1.0);
    }
    watch.look(|_| {});
    assert_eq!(watch.left_out(LeftOut::Gap), 1);
}

#[test]
fn a_new_revision_is_learned_apart_and_a_roll_back_finds_the_old_one() {
    let truth = scaled_profile(&profile(), &[0.4, 0.4, 0.4]);
    let mut watch = Watch::new(vec![Engine::warm()]);
    watch.look(|_| {});
    watch.rounds(60, &truth);
    assert!(watch.error(&truth).abs() < 0.02);
    let first = watch.learner.variant(V).revision();
    watch.world.variants[0].profile.limits.max_num_batched_tokens = 4_096;
    watch.rounds(1, &profile());
    assert_ne!(watch.learner.variant(V).revision(), first);
    assert!(watch.learner.variant(V).physics().score().windows <= 1);
    assert!(watch.error(&profile()).abs() < 1e-9, "the new revision begins with its profile");
    watch.world.variants[0].profile.limits.max_num_batched_tokens = 2_048;
    watch.rounds(1, &truth);
    assert!(watch.error(&truth).abs() < 0.02, "{}", watch.error(&truth));
    // Another source of the same figures makes no other engine.
    let mut renamed = watch.world.variants[0].clone();
    renamed.profile.evidence.source = "measured again".into();
    assert_eq!(Revision::of(&renamed), first);
}

#[test]
fn what_was_learned_survives_a_restart_in_a_few_kib() {
    let truth = scaled_profile(&profile(), &[-0.3, 0.3, -0.3]);
    let mut watch = Watch::new(vec![Engine::warm(), Engine::warm()]);
    watch.look(|_| {});
    watch.rounds(40, &truth);
    let text = serde_json::to_string(&watch.learner.snapshot(&watch.world)).unwrap();
    assert!(text.len() < 4_096, "{} bytes", text.len());
    let restored = Learner::restore(&watch.world, serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!(restored.profile(V), watch.learner.profile(V));
    assert_eq!(restored.lengths(FleetId(0)), watch.learner.lengths(FleetId(0)));
    assert_eq!(restored.variant(V).start_up(), watch.learner.variant(V).start_up());
    // The same under another order of variants; one that is gone is dropped.
    let mut other = crate::plan::testing::world(&[("new", Role::Both), ("a", Role::Both)]);
    other.variants[1].profile = profile();
    let moved = Learner::restore(&other, serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!(moved.profile(VariantId(1)), watch.learner.profile(V));
    assert_eq!(moved.profile(V), &other.variants[0].profile);
    let later = text.replacen("\"version\":1", "\"version\":9", 1);
    let refused = Learner::restore(&watch.world, serde_json::from_str(&later).unwrap());
    assert!(refused.unwrap_err().to_string().contains("version 9"));
    let broken = text.replacen("\"weight\":", "\"weight\":-", 1);
    let refused = Learner::restore(&watch.world, serde_json::from_str(&broken).unwrap());
    assert!(refused.unwrap_err().to_string().contains("chat/a"));
}

#[test]
fn lengths_of_tiers_come_from_the_router_and_are_unknown_before() {
    let mut watch = Watch::new(vec![Engine::warm()]);
    let tier = TierId(0);
    assert!(watch.learner.workload(FleetId(0), tier, 1.0).is_none(), "absence is not zero");
    let mut router = RouterTierSample::default();
    for round in 0..20 {
        watch.rounds = round;
        let sample = RouterSample { tiers: vec![router.clone()], saturation: f64::NAN };
        watch.store.record_router(FleetId(0), watch.now(), sample);
        watch.learn();
        router.requests_total += 50.0;
        router.prompt_tokens_total += 50.0 * 900.0;
        router.output_tokens_total += 40.0 * 120.0;
        router.tpot.observe(0.02, 40.0);
    }
    let workload = watch.learner.workload(FleetId(0), tier, 1.5).unwrap();
    assert!((workload.prompt_tokens.mean - 900.0).abs() < 1e-6);
    assert!((workload.output_tokens.mean - 120.0).abs() < 1e-6);
    assert!(workload.output_tokens.squared > 120.0 * 120.0);
    let estimate = watch.learner.tier_lengths(FleetId(0), tier).output_tokens.unwrap();
    assert!(estimate.deviation > 0.0 && (estimate.requests - 760.0).abs() < 60.0, "{estimate:?}");
}

#[test]
fn cached_share_is_by_tokens_and_says_how_sure_it_is() {
    let mut watch = Watch::new(vec![Engine::warm()]);
    watch.look(|_| {});
    for round in 0..30 {
        watch.round(&profile(), |_| 1.0);
        let page = &mut watch.engines[0].page;
        // A third is found, give or take.
        let share = if round % 2 == 0 { 0.25 } else { 0.35 };
        page.prefix_queries_tokens_total += 100_000.0;
        page.prefix_hits_tokens_total += 100_000.0 * share;
        watch.look(|_| {});
    }
    let lengths = watch.learner.variant(V).lengths();
    let share = lengths.cached_share.unwrap();
    assert!(share.value > 0.05 && share.value < 0.3, "{share:?}");
    assert!(share.deviation > 0.0 && share.deviation < 0.05, "{share:?}");
}
