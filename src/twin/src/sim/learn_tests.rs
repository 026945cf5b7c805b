//! Learning from what a simulated fleet shows, with profiles that are wrong on purpose.

use std::sync::{Arc, Mutex};

use forebay_core::engine::Physics;
use forebay_core::engine::physics::half_pairs;
use forebay_core::engine::profile::EngineProfile;
use forebay_core::fleet::{Role, World};
use forebay_core::ids::{FleetId, TierId, VariantId};
use forebay_core::learn::Learner;
use forebay_core::learn::lengths::LengthEstimate;
use forebay_core::learn::predict::scaled_profile;
use forebay_core::learn::steps::{Context, StepWindow};
use forebay_core::plan::{FleetView, PlanEffect, PlanEvent, Planner};
use forebay_core::time::{Span, Time};
use rand::RngExt;
use rand::SeedableRng;
use rand_distr::{Distribution, LogNormal};
use rand_pcg::Pcg64Mcg;

use super::tests::{scenario, variant, world};
use super::{Setup, run};
use crate::fit::samples::Sample;
use crate::fit::{LeftOutCounts, fit};
use crate::gates;
use crate::trace::{Request, Source, TraceError};

/// Requests at random whose rate swings, with lengths that spread.
struct Swinging {
    random: Pcg64Mcg,
    at_s: f64,
    until_s: f64,
    rate: f64,
    swing: f64,
    prompt: LogNormal<f64>,
    output: LogNormal<f64>,
}

impl Swinging {
    fn new(seed: u64, minutes: u64, rate: f64, prompt: f64, output: f64) -> Self {
        Self {
            random: Pcg64Mcg::seed_from_u64(seed),
            at_s: 0.0,
            until_s: minutes as f64 * 60.0,
            rate,
            swing: 0.8,
            prompt: LogNormal::new(prompt.ln(), 0.8).unwrap(),
            output: LogNormal::new(output.ln(), 0.7).unwrap(),
        }
    }
}

impl Source for Swinging {
    fn next_request(&mut self) -> Result<Option<Request>, TraceError> {
        let phase = (self.at_s / 1_500.0 * std::f64::consts::TAU).sin();
        let rate = self.rate * (1.0 + self.swing * phase);
        self.at_s += -(1.0 - self.random.random::<f64>()).ln() / rate;
        if self.at_s > self.until_s {
            return Ok(None);
        }
        let whole = |tokens: f64| tokens.clamp(4.0, 16_000.0) as u32;
        Ok(Some(Request {
            at: Time::from_seconds(self.at_s),
            prompt_tokens: whole(self.prompt.sample(&mut self.random)),
            output_tokens: whole(self.output.sample(&mut self.random)),
            client: 0,
            prefix: None,
        }))
    }
}

/// Learns, believing in a world whose profiles are wrong.
struct Recorder {
    believed: World,
    learner: Arc<Mutex<Learner>>,
    windows: Arc<Mutex<Vec<StepWindow>>>,
    due: Time,
    until: Time,
    /// When it asks for a third replica.
    grows_at: Time,
}

impl Planner for Recorder {
    fn step(&mut self, now: Time, event: PlanEvent<'_>, effects: &mut Vec<PlanEffect>) {
        let PlanEvent::Due(view) = event else { return };
        let seen = FleetView { world: &self.believed, ..*view };
        self.learner.lock().unwrap().observe(now, &seen);
        for (index, entry) in self.believed.variants.iter().enumerate() {
            for (endpoint, _) in view.metrics.engines(VariantId(index as u16), now) {
                let pages: Vec<_> =
                    view.metrics.engine_scrapes(endpoint, now, Span::from_secs(31)).collect();
                if let [.., first, last] = pages[..] {
                    let limits = &entry.profile.limits;
                    let window = StepWindow::between(first, last, limits, entry.role);
                    self.windows.lock().unwrap().extend(window);
                }
            }
        }
        if now >= self.grows_at {
            let reason = "a third".into();
            effects.push(PlanEffect::Scale { variant: VariantId(0), replicas: 3, reason });
            self.grows_at = Time::MAX;
        }
        self.due = now + Span::from_secs(15);
    }

    fn next_deadline(&self) -> Option<Time> {
        (self.due <= self.until).then_some(self.due)
    }
}

fn mis_scaled(profile: &EngineProfile, [fixed, token, kv]: [f64; 3]) -> EngineProfile {
    scaled_profile(profile, &[fixed.ln(), token.ln(), kv.ln()])
}

/// Runs a fleet and learns from it with the profile scaled.
fn learn(
    world: &World,
    scale: [f64; 3],
    source: Swinging,
    grows_at: Time,
) -> (World, Learner, Vec<StepWindow>) {
    let mut believed = world.clone();
    for variant in &mut believed.variants {
        variant.profile = mis_scaled(&variant.profile, scale);
    }
    let learner = Arc::new(Mutex::new(Learner::new(&believed)));
    let windows = Arc::default();
    let duration = Span::from_seconds(source.until_s);
    let recorder = Recorder {
        believed: believed.clone(),
        learner: Arc::clone(&learner),
        windows: Arc::clone(&windows),
        due: Time::from_seconds(1.0),
        until: Time::ZERO + duration,
        grows_at,
    };
    let gate = gates::build("least-loaded", &Default::default(), world, FleetId(0), 1).unwrap();
    run(Setup {
        world,
        scenario: &scenario(),
        source: Box::new(source),
        duration,
        planner: Box::new(recorder),
        gates: vec![gate],
        seed: 1,
    })
    .unwrap();
    let learner = learner.lock().unwrap().clone();
    let windows = windows.lock().unwrap().clone();
    (believed, learner, windows)
}

/// Mean and worst absolute error of what a profile makes of the states that a fleet went through,
/// against what the true one makes of them, relative.
fn errors(truth: &EngineProfile, learned: &EngineProfile, windows: &[StepWindow]) -> (f64, f64) {
    let mut context = Context::default();
    let errors: Vec<f64> = windows
        .iter()
        .map(|window| {
            let mix = context.smooth(window).mix(&truth.limits);
            (mix.seconds(&learned.step_time) / mix.seconds(&truth.step_time) - 1.0).abs()
        })
        .collect();
    let worst = errors.iter().fold(0.0_f64, |worst, error| worst.max(*error));
    (errors.iter().sum::<f64>() / errors.len() as f64, worst)
}

/// The same for single steps from almost empty to full, whether they came by or not.
fn step_errors(truth: &EngineProfile, learned: &EngineProfile) -> (f64, f64) {
    let (truth, learned) =
        (Physics::new(truth, &truth.limits), Physics::new(learned, &learned.limits));
    let mut errors = Vec::new();
    for batch in [8_u32, 16, 32, 64, 128] {
        for context in [500_u64, 1_000, 1_500] {
            for chunk in [0, 256, 1_024, 1_900] {
                let kv_tokens = u64::from(batch) * context;
                let picos = |physics: &Physics| match chunk {
                    0 => physics.decode_step_picos(batch, kv_tokens),
                    _ => physics.step_picos(batch + chunk, kv_tokens, half_pairs(chunk, 0)),
                };
                errors.push((picos(&learned) as f64 / picos(&truth) as f64 - 1.0).abs());
            }
        }
    }
    let worst = errors.iter().fold(0.0_f64, |worst, error| worst.max(*error));
    (errors.iter().sum::<f64>() / errors.len() as f64, worst)
}

/// Profiles that are wrong by a third and a half in every coefficient are put right by an hour of
/// moving load, on every kind of traffic.
#[test]
fn a_wrong_profile_is_put_right_by_an_hour_of_traffic() {
    let wrong = [1.3, 0.7, 1.5];
    // Where prompts take a tenth of a gap or less, what a window's mean leaves out (about 1 % of
    // it) stands beside a token's time as one to ten: that traffic tells of the states met alone.
    let traffic = [
        (12.0, 500.0, 200.0, true),
        (6.0, 500.0, 200.0, false),
        (4.0, 1_200.0, 250.0, true),
        (25.0, 150.0, 150.0, true),
    ];
    for (rate, prompt, output, tells_all) in traffic {
        let world = world(vec![variant("l40s", Role::Both, 2)]);
        let truth = &world.variants[0].profile;
        let source = Swinging::new(7, 60, rate, prompt, output);
        let (believed, learner, windows) = learn(&world, wrong, source, Time::MAX);
        let learned = learner.variant(VariantId(0));
        let (mean, worst) = errors(truth, learned.profile(), &windows);
        let (mean_before, _) = errors(truth, &believed.variants[0].profile, &windows);
        let (mean_step, worst_step) = step_errors(truth, learned.profile());
        let score = learned.physics().score();
        println!(
            "{rate}/s, {prompt}/{output} tokens: {:.1} % before; states met {:.1} % (worst \
             {:.1} %), any step {:.1} % (worst {:.1} %), window {:.1} %; {:?}",
            100.0 * mean_before,
            100.0 * mean,
            100.0 * worst,
            100.0 * mean_step,
            100.0 * worst_step,
            100.0 * score.learned,
            learned.physics().multipliers().map(|multiplier| multiplier.value),
        );
        assert!(learned.physics().in_force() && mean_before > 0.15, "{mean_before}");
        assert!(mean < 0.02 && worst < 0.05, "{mean} {worst}");
        if tells_all {
            assert!(mean_step < 0.06 && worst_step < 0.12, "{mean_step} {worst_step}");
        }
        // The same windows in one batch, judged on the last quarter of the hour.
        let mut context = Context::default();
        let samples = windows.iter().enumerate().map(|(index, window)| Sample {
            at_s: index as f64,
            endpoint: "all".into(),
            window: context.smooth(window),
        });
        let prior = &believed.variants[0].profile;
        let report = fit(samples.collect(), LeftOutCounts::new(), Some(prior)).unwrap();
        let (mean, worst) = errors(truth, &report.profile, &windows);
        println!(
            "  batch: {:.1} % (worst {:.1} %), {:?}",
            100.0 * mean,
            100.0 * worst,
            report.error_out_of_sample
        );
        assert!(mean < 0.025 && worst < 0.05, "{mean} {worst}");
        assert!(report.error_out_of_sample.mean_percent < 4.0);
    }
}

#[test]
fn lengths_and_start_ups_are_learned_from_what_the_fleet_shows() {
    let world = world(vec![variant("l40s", Role::Both, 2)]);
    let source = Swinging::new(3, 30, 8.0, 500.0, 200.0);
    let (_, learner, _) = learn(&world, [1.0; 3], source, Time::from_seconds(600.0));
    let lengths = learner.lengths(FleetId(0));
    // Means of the log-normals: 500 e^(0.8^2/2) and 200 e^(0.7^2/2).
    let near = |found: LengthEstimate, mean: f64| {
        let off = (found.moments.mean - mean).abs();
        assert!(off < 4.0 * found.deviation && off < 0.06 * mean, "{found:?} for {mean}");
    };
    near(lengths.prompt_tokens.unwrap(), 500.0 * 0.32_f64.exp());
    near(lengths.output_tokens.unwrap(), 200.0 * 0.245_f64.exp());
    let tier = learner.tier_lengths(FleetId(0), TierId(0));
    near(tier.output_tokens.unwrap(), 200.0 * 0.245_f64.exp());
    assert!(learner.tier_lengths(FleetId(0), TierId(1)).output_tokens.is_none());
    // The recorder asks for a third replica after ten minutes: a node in 120 s, ready 60 s later.
    let start_up = learner.variant(VariantId(0)).start_up();
    // Looks 15 s apart at a start of 60 s tell a third of what its exact time would.
    assert!(start_up.engine.samples > 0.3 && start_up.node.samples > 0.5, "{start_up:?}");
    assert!((45.0..80.0).contains(&start_up.engine.median_s), "{start_up:?}");
}
