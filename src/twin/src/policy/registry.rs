//! Every policy by name.

use std::collections::BTreeMap;

use forebay_core::fleet::{Role, World};
use forebay_core::plan::Planner;
use forebay_core::plan::forebay::{Forebay, Settings as PlannerSettings};
use forebay_core::time::Span;

use super::autoscaler::{Autoscaler, Keda};
use super::common::Common;
use super::error::SpecError;
use super::fixed::Fixed;
use super::group::Group;
use super::hpa::settings::Settings;
use super::keys::Keys;
use super::objects;
use super::pools::{Pools, Scaler};
use super::spec::PolicySpec;

/// Names of the policies, each with what it is in one line.
pub const NAMES: &[(&str, &str)] = &[
    ("static", "a fixed number of replicas"),
    ("hpa", "HorizontalPodAutoscaler on any of the usual metrics, or your own hpa.yaml"),
    ("keda", "KEDA ScaledObject on the same metrics, to zero and back, or your own file"),
    ("llmd-queue", "llm-d: KEDA on the flow-control queue and running requests"),
    ("llmd-saturation", "llm-d: KEDA on pool saturation and running requests"),
    ("llmd-tokens", "llm-d: KEDA on seconds of prefill backlog and full KV caches"),
    ("llmd-slo", "llm-d: KEDA on P90 latency over its SLO"),
    ("dynamo", "NVIDIA Dynamo planner: throughput loop, load loop, or both"),
    ("wva", "llm-d Workload Variant Autoscaler, V1 analyzer (deprecated)"),
    (
        "forebay",
        "ours: forecast at the lead time, sized at the percentile, the exact least-cost mix",
    ),
    ("exec", "your own program over stdin and stdout, see docs/external-policy.md"),
];

/// Builds the planner of a SPEC. Build it against the world that [`PolicySpec::apply`] changed.
///
/// # Errors
/// An unknown key, a value out of range, a variant or file that is not there.
pub fn build(spec: &PolicySpec, world: &World) -> Result<Box<dyn Planner + Send>, SpecError> {
    prepare(spec, world).map(|(planner, _)| planner)
}

/// A planner with every tunable in force.
type Prepared = (Box<dyn Planner + Send>, BTreeMap<String, String>);

/// The planner with every tunable in force.
pub(crate) fn prepare(spec: &PolicySpec, world: &World) -> Result<Prepared, SpecError> {
    let mut keys = Keys::new(spec);
    let mut common = Common::read(&mut keys, world)?;
    let scalers = match spec.name() {
        "exec" => {
            let planner = super::exec::Exec::read(&mut keys)?;
            return Ok((Box::new(planner), keys.finish()?));
        }
        "forebay" => {
            let planner = Forebay::new(world, read_forebay(&mut keys, &common)?);
            return Ok((Box::new(planner), keys.finish()?));
        }
        "hpa" | "keda" | "llmd-queue" | "llmd-saturation" | "llmd-tokens" => {
            let pools = match spec.name() {
                "hpa" | "keda" => read_autoscalers(&mut keys, &common, world)?,
                _ => super::llmd::read_autoscalers(&mut keys, &common, world)?,
            };
            common.groups.clear();
            let mut scalers: Vec<Box<dyn Scaler>> = Vec::new();
            for (index, (group, settings, keda)) in pools.into_iter().enumerate() {
                common.groups.push(group);
                scalers.push(Box::new(Autoscaler::new(index, settings, keda)));
            }
            scalers
        }
        "dynamo" => super::dynamo::read(&mut keys, &common, world)?,
        "wva" => super::wva::read(&mut keys, &common)?,
        "llmd-slo" => super::llmd::read_slo(&mut keys, &common, world)?,
        _ => Fixed::read(&mut keys, &common, world)?,
    };
    let parameters = keys.finish()?;
    Ok((Box::new(Pools::new(common.groups, common.split, scalers)), parameters))
}

/// A pool with its autoscaler.
pub(crate) type Autoscaled = (Group, Settings, Option<Keda>);

/// The pools of a policy that is an HPA or a ScaledObject per pool.
///
/// # Errors
/// As [`build`], and a policy that is something else.
pub(crate) fn autoscalers_of(
    spec: &PolicySpec,
    world: &World,
) -> Result<Vec<Autoscaled>, SpecError> {
    let mut keys = Keys::new(spec);
    let common = Common::read(&mut keys, world)?;
    let pools = match spec.name() {
        "hpa" | "keda" => read_autoscalers(&mut keys, &common, world)?,
        "llmd-queue" | "llmd-saturation" | "llmd-tokens" => {
            super::llmd::read_autoscalers(&mut keys, &common, world)?
        }
        name => {
            let hint = "only hpa, keda, llmd-queue, llmd-saturation and llmd-tokens are plain \
                        scaling objects";
            return Err(keys.error(format!("{name} is no HPA and no ScaledObject"), hint));
        }
    };
    keys.finish()?;
    Ok(pools)
}

/// One autoscaler per pool, from the keys or from the user's own objects.
fn read_autoscalers(
    keys: &mut Keys<'_>,
    common: &Common,
    world: &World,
) -> Result<Vec<Autoscaled>, SpecError> {
    let with_keda = keys.spec().name() == "keda";
    if let Some(path) = keys.text("file") {
        let objects = objects::read_file(path, with_keda)
            .map_err(|what| keys.error(what, "mend the file, or give metric= and target="))?;
        let scale = keys.number("target_scale", 1.0, 0.01..=100.0)?;
        let sync = keys.span("sync", Span::from_secs(15))?.max(Span::from_secs(1));
        let pools = objects.into_iter().map(|object| {
            let group = common.group_of(&object, world).map_err(|what| {
                let hint = format!("name it in annotation {}: fleet/variant", objects::VARIANT);
                keys.error(what, hint)
            })?;
            let mut settings = object.settings;
            settings.sync = sync;
            for metric in &mut settings.metrics {
                metric.target *= scale;
            }
            Ok((group, settings, object.keda))
        });
        return pools.collect();
    }
    let mut pools = Vec::new();
    for group in &common.groups {
        keys.set_role(role_prefix(group.role));
        // A prefill engine runs few prompts at a time: what waits counts, too.
        let (metric, target) = match group.role {
            Role::Prefill => ("load", "2"),
            Role::Both | Role::Decode => ("running", "16"),
        };
        let settings = Settings::read(keys, metric, target, with_keda)?;
        let keda = if with_keda { Some(read_keda(keys)?) } else { None };
        pools.push((group.clone(), settings, keda));
    }
    keys.set_role(None);
    Ok(pools)
}

fn read_keda(keys: &mut Keys<'_>) -> Result<Keda, SpecError> {
    let polling = keys.span("polling", Span::from_secs(30))?;
    if polling == Span::ZERO {
        return Err(keys.error("polling=0s", "KEDA needs an interval, for instance 30s"));
    }
    Ok(Keda { polling, cooldown: keys.span("cooldown", Span::from_secs(300))?, min: None })
}

fn read_forebay(keys: &mut Keys<'_>, common: &Common) -> Result<PlannerSettings, SpecError> {
    let defaults = PlannerSettings::default();
    let interval = keys.span("interval", defaults.interval)?;
    if interval == Span::ZERO {
        return Err(keys.error("interval=0s", "the planner needs an interval, for instance 15s"));
    }
    let prioritises = matches!(keys.spec().gate(), "forebay" | "stock-flow");
    Ok(PlannerSettings {
        rho: keys.number("rho", defaults.rho, 0.05..=3.0)?,
        rho_saturated: keys.number("rho_saturated", defaults.rho_saturated, 0.05..=1.0)?,
        safety: keys.number("safety", defaults.safety, -6.0..=6.0)?,
        level: keys.number("level", defaults.level, -1.0..=3.0)?,
        miss_budget: switch(keys, "miss_budget", true)?,
        tiered: switch(keys, "tiered", prioritises)?,
        learn: switch(keys, "learn", true)?,
        roll: switch(keys, "roll", defaults.roll)?,
        window: keys.span("window", defaults.window)?,
        interval,
        rate_window: keys.span("rate_window", defaults.rate_window)?,
        drain: keys.span("drain", defaults.drain)?,
        margin: keys.span("margin", defaults.margin)?,
        patience: keys.span("patience", defaults.patience)?,
        horizon: keys.span("horizon", defaults.horizon)?,
        split: common.split,
    })
}

/// Something that is on (1) or off (0).
fn switch(keys: &mut Keys<'_>, key: &str, default: bool) -> Result<bool, SpecError> {
    Ok(keys.number(key, f64::from(u8::from(default)), 0.0..=1.0)? > 0.5)
}

/// The prefix of keys that hold for one role only.
pub(crate) const fn role_prefix(role: Role) -> Option<&'static str> {
    match role {
        Role::Both => None,
        Role::Prefill => Some("prefill"),
        Role::Decode => Some("decode"),
    }
}

/// Keys that may stand before `command=` in `exec:`.
pub(crate) fn is_exec_key(key: &str) -> bool {
    let own =
        ["interval", "timeout", "gate", "variants", "fill", "min", "max", "initial", "pd_split"];
    own.contains(&key) || key.starts_with("gate.") || key.starts_with("engine.")
}

/// The gate that a policy is run with unless its SPEC says otherwise: stock, and stock with flow
/// control for those who scale on its queue or its saturation.
pub(crate) fn default_gate(spec: &PolicySpec) -> &'static str {
    match spec.name() {
        "forebay" => return "forebay",
        "llmd-queue" | "llmd-saturation" => return "stock-flow",
        _ => {}
    }
    // A file that cannot be read is reported when the policy is built.
    if let Some(text) = spec.get("file").and_then(|path| std::fs::read_to_string(path).ok()) {
        return if text.contains("flow_control") { "stock-flow" } else { "stock" };
    }
    let metrics = ["metric", "prefill.metric", "decode.metric"];
    let mut named = metrics.iter().filter_map(|key| spec.get(key)).flat_map(|list| list.split('|'));
    if named.any(|metric| metric == "queue" || metric == "saturation") {
        "stock-flow"
    } else {
        "stock"
    }
}
