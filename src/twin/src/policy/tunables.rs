//! What `forebay tune` may turn, with sensible ranges.

/// How values between the ends of a range are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly by ratio.
    Log,
    /// Evenly by difference.
    Linear,
    /// Whole numbers, evenly by ratio.
    Integer,
    /// Whole seconds, evenly by ratio above zero; printed as `15s`.
    Seconds,
}

/// One key of a policy that may be tuned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tunable {
    /// Key in the SPEC.
    pub key: &'static str,
    /// Smallest value worth trying.
    pub min: f64,
    /// Largest value worth trying.
    pub max: f64,
    /// How to spread values between.
    pub scale: Scale,
    /// Value in force without the key.
    pub default: f64,
}

const fn tunable(key: &'static str, min: f64, max: f64, scale: Scale, default: f64) -> Tunable {
    Tunable { key, min, max, scale, default }
}

/// Tunables that work for every policy.
const ENGINE: Tunable =
    tunable("engine.max_num_batched_tokens", 512.0, 8192.0, Scale::Integer, 2048.0);

const STATIC: &[Tunable] = &[tunable("replicas", 1.0, 256.0, Scale::Integer, 1.0), ENGINE];

const HPA: &[Tunable] = &[
    tunable("target_scale", 0.05, 20.0, Scale::Log, 1.0),
    tunable("up.window", 0.0, 300.0, Scale::Seconds, 0.0),
    tunable("down.window", 30.0, 1800.0, Scale::Seconds, 300.0),
    tunable("tolerance", 0.0, 0.2, Scale::Linear, 0.1),
    ENGINE,
];

const LLMD_QUEUE: &[Tunable] = &[
    tunable("running_target", 1.0, 512.0, Scale::Log, 16.0),
    tunable("queue_target", 0.1, 64.0, Scale::Log, 1.0),
    tunable("up.window", 0.0, 300.0, Scale::Seconds, 300.0),
    tunable("down.window", 30.0, 1800.0, Scale::Seconds, 300.0),
    ENGINE,
];

const LLMD_SATURATION: &[Tunable] = &[
    tunable("running_target", 1.0, 512.0, Scale::Log, 16.0),
    tunable("saturation_target", 0.05, 2.0, Scale::Log, 0.7),
    tunable("up.window", 0.0, 300.0, Scale::Seconds, 300.0),
    tunable("down.window", 30.0, 1800.0, Scale::Seconds, 300.0),
    ENGINE,
];

const LLMD_TOKENS: &[Tunable] = &[
    tunable("target_scale", 0.05, 4.0, Scale::Log, 1.0),
    tunable("backlog_target", 0.1, 10.0, Scale::Log, 1.5),
    tunable("kv_target", 0.05, 1.0, Scale::Log, 0.8),
    tunable("down.window", 30.0, 1800.0, Scale::Seconds, 300.0),
    ENGINE,
];

const LLMD_SLO: &[Tunable] = &[
    tunable("theta_up", 0.05, 1.5, Scale::Log, 0.55),
    tunable("smoothing", 15.0, 180.0, Scale::Seconds, 45.0),
    tunable("up.window", 0.0, 300.0, Scale::Seconds, 30.0),
    tunable("down.window", 30.0, 1800.0, Scale::Seconds, 180.0),
    ENGINE,
];

const DYNAMO: &[Tunable] = &[
    tunable("sla_scale", 0.05, 2.0, Scale::Log, 1.0),
    tunable("sensitivity", 5.0, 100.0, Scale::Linear, 80.0),
    tunable("throughput_interval", 30.0, 600.0, Scale::Seconds, 180.0),
    ENGINE,
];

const WVA: &[Tunable] = &[
    tunable("kv_threshold", 0.1, 0.95, Scale::Linear, 0.80),
    tunable("kv_spare", 0.01, 0.5, Scale::Log, 0.1),
    tunable("queue_threshold", 1.0, 50.0, Scale::Log, 5.0),
    tunable("queue_spare", 0.5, 20.0, Scale::Log, 3.0),
    ENGINE,
];

const FOREBAY: &[Tunable] = &[
    tunable("rho", 0.5, 1.6, Scale::Linear, 0.9),
    tunable("level", 0.3, 2.0, Scale::Linear, 1.28),
    tunable("window", 60.0, 3600.0, Scale::Seconds, 600.0),
    tunable("rho_saturated", 0.5, 0.98, Scale::Linear, 0.78),
    tunable("drain", 30.0, 600.0, Scale::Seconds, 120.0),
    ENGINE,
];

/// Tunables of a policy, its headroom knob first; empty for those without any (`exec`) and for
/// unknown names. `target_scale` multiplies whatever targets the SPEC gives its metrics.
#[must_use]
pub fn tunables(name: &str) -> &'static [Tunable] {
    match name {
        "static" => STATIC,
        "hpa" | "keda" => HPA,
        "forebay" => FOREBAY,
        "llmd-queue" => LLMD_QUEUE,
        "llmd-saturation" => LLMD_SATURATION,
        "llmd-tokens" => LLMD_TOKENS,
        "llmd-slo" => LLMD_SLO,
        "dynamo" => DYNAMO,
        "wva" => WVA,
        _ => &[],
    }
}
