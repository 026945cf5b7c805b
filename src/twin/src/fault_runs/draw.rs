//! What is drawn for one run: its traffic and its faults.

use forebay_core::fleet::World;
use forebay_core::ids::{AcceleratorId, VariantId};
use forebay_core::scenario::{Fault, FaultKind};
use forebay_core::time::{Span, Time};
use rand::{Rng, RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64Mcg;

use crate::trace::{Request, Source, TraceError};

/// Faults of one run.
const FAULTS_MAX: u32 = 4;
/// They begin in this stretch: after the policy has seen something, before the traffic ends.
const BEGINS_S: std::ops::Range<u64> = 120..840;
/// Those that last, last this long.
const LASTS_S: std::ops::Range<u64> = 30..300;
/// So that faults do not follow from traffic.
const FAULT_SALT: u64 = 0x66_61_75_6c_74;

/// The faults of a seed, at least one.
pub(super) fn faults(seed: u64, world: &World) -> Vec<Fault> {
    let mut random = Pcg64Mcg::seed_from_u64(seed ^ FAULT_SALT);
    // The first draws of nearby seeds are correlated.
    let _ = random.next_u64();
    let count = random.random_range(1..=FAULTS_MAX);
    (0..count).map(|_| fault(&mut random, world)).collect()
}

fn fault(random: &mut impl Rng, world: &World) -> Fault {
    let from = Time::ZERO + Span::from_secs(random.random_range(BEGINS_S));
    let to = from + Span::from_secs(random.random_range(LASTS_S));
    let accelerator = AcceleratorId(random.random_range(0..world.accelerators.len()) as u8);
    let variant = VariantId(random.random_range(0..world.variants.len()) as u16);
    let share = random.random_range(0.1..0.9);
    let some = random.random::<bool>();
    let kind = match random.random_range(0..8_u32) {
        0 => FaultKind::MetricBlackout { variant: None },
        1 => FaultKind::MetricBlackout { variant: Some(variant) },
        2 => FaultKind::MetricNan { share },
        3 => FaultKind::PartialScrape { share },
        4 => FaultKind::OutOfStock { accelerator },
        5 => FaultKind::SpotReclaim {
            replicas: random.random_range(1..4),
            notice: Span::from_secs(random.random_range(5..120)),
        },
        6 => FaultKind::SlowStart { factor: random.random_range(1.5..5.0) },
        _ => FaultKind::NodeLoss {
            accelerator: some.then_some(accelerator),
            nodes: random.random_range(1..3),
        },
    };
    let event = matches!(kind, FaultKind::SpotReclaim { .. } | FaultKind::NodeLoss { .. });
    Fault { from, to: if event { from } else { to }, kind }
}

/// A day in a quarter of an hour: up and down once, with bursts and spread lengths.
pub(super) struct Day {
    random: Pcg64Mcg,
    duration_s: f64,
    at_s: f64,
    /// Mean rate, and how far it swings, as a share.
    per_s: f64,
    swing: f64,
    /// Where in the day it begins, in radians.
    phase: f64,
}

impl Day {
    pub(super) fn new(seed: u64, duration: Span) -> Self {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let _ = random.next_u64();
        Self {
            duration_s: duration.as_seconds(),
            at_s: 0.0,
            per_s: random.random_range(3.0..7.0),
            swing: random.random_range(0.0..0.7),
            phase: random.random_range(0.0..std::f64::consts::TAU),
            random,
        }
    }

    fn length(&mut self, median: f64, sigma: f64, max: f64) -> u32 {
        let normal: f64 = StandardNormal.sample(&mut self.random);
        (median * (sigma * normal).exp()).clamp(1.0, max) as u32
    }
}

impl Source for Day {
    fn next_request(&mut self) -> Result<Option<Request>, TraceError> {
        let angle = self.at_s / self.duration_s * std::f64::consts::TAU + self.phase;
        let rate = self.per_s * (1.0 + self.swing * angle.sin());
        self.at_s -= (1.0 - self.random.random::<f64>()).ln() / rate;
        if self.at_s >= self.duration_s {
            return Ok(None);
        }
        let prompt_tokens = self.length(500.0, 0.9, 6_000.0);
        let output_tokens = self.length(100.0, 0.8, 1_500.0);
        let at = Time::from_seconds(self.at_s);
        Ok(Some(Request { at, prompt_tokens, output_tokens, client: 0, prefix: None }))
    }
}
