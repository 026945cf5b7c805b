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

const FOREBAY: &[Tunable] = &[
    tunable("rho", 0.3, 0.98, Scale::Linear, 0.7),
    tunable("rho_prefill", 0.2, 0.95, Scale::Linear, 0.6),
    tunable("window", 60.0, 3600.0, Scale::Seconds, 600.0),
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
        _ => &[],
    }
}
