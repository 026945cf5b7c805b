//! The demand that is asked about, as a person writes it in a file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::Share;
use crate::demand::{Moments, TierLoad, Workload};
use crate::fleet::{Slo, World};
use crate::ids::{FleetId, TierId};
use crate::manifest::{Document, Errors, Problem, Source, suggest};
use crate::plan::forebay::needs::Asked;

/// Coefficient of variation of a length of which only the mean is given.
pub const VARIATION_DEFAULT: f64 = 1.0;
/// Standard normal deviate of the 95th percentile.
const Z_P95: f64 = 1.644_853_6;

/// A demand: `tiers` for the only fleet, or `fleets` with the tiers of each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Demand {
    /// What arrives, where there is one fleet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<TierDemand>,
    /// What arrives at each fleet; a fleet that is left out gets nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fleets: Vec<FleetDemand>,
}

/// What arrives at one fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FleetDemand {
    /// Name of the `InferenceFleet`.
    pub fleet: String,
    /// What arrives, by tier.
    pub tiers: Vec<TierDemand>,
}

/// What arrives of one tier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TierDemand {
    /// Name of the tier in the `TrafficPolicy`.
    pub tier: String,
    /// Arrivals per second.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub requests_per_second: f64,
    /// Prompt length in tokens, cached part included: the mean, or more.
    pub prompt_tokens: Length,
    /// Output length in tokens: the mean, or more.
    pub output_tokens: Length,
    /// Share of the prompt tokens that a prefix cache holds.
    #[serde(default)]
    pub cached_share: Share,
    /// Variance over mean of the arrivals in ten seconds; 1 = Poisson.
    #[serde(default = "poisson")]
    #[schemars(range(min = 0.0, max = 1e3))]
    pub burstiness: f64,
}

const fn poisson() -> f64 {
    1.0
}

/// A length in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Length {
    /// Its mean, with a standard deviation of the same size.
    Mean(#[schemars(range(min = 1.0, max = 1e7))] f64),
    /// Its mean and how far it spreads.
    Spread(Spread),
}

/// A mean, and either its 95th percentile or its variation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spread {
    /// Mean, tokens.
    #[schemars(range(min = 1.0, max = 1e7))]
    pub mean: f64,
    /// 95th percentile, tokens; lengths are taken to be log-normal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 1e7))]
    pub p95: Option<f64>,
    /// Standard deviation over mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 20.0))]
    pub variation: Option<f64>,
}

impl Length {
    /// First two moments.
    ///
    /// # Errors
    /// What is wrong, and how to mend it.
    fn moments(self) -> Result<Moments, (String, String)> {
        let spread = match self {
            Self::Mean(mean) => Spread { mean, p95: None, variation: None },
            Self::Spread(spread) => spread,
        };
        let variation = match (spread.p95, spread.variation) {
            (None, variation) => variation.unwrap_or(VARIATION_DEFAULT),
            (Some(_), Some(_)) => {
                let what = "the 95th percentile and the variation are both given".to_owned();
                return Err((what, "keep one of them".to_owned()));
            }
            (Some(p95), None) => variation_of(spread.mean, p95)?,
        };
        Ok(Moments::with_variation(spread.mean, variation))
    }
}

/// Coefficient of variation of the log-normal length with that mean and 95th percentile.
fn variation_of(mean: f64, p95: f64) -> Result<f64, (String, String)> {
    let ratio = (p95 / mean).ln();
    let root = Z_P95 * Z_P95 - 2.0 * ratio;
    if ratio < 0.0 || root < 0.0 {
        let most = (Z_P95 * Z_P95 / 2.0).exp();
        let what = format!("a 95th percentile of {p95} does not go with a mean of {mean}");
        let hint = format!(
            "log-normal lengths have it at 1 to {most:.1} times the mean; give the variation \
             (standard deviation over mean) instead"
        );
        return Err((what, hint));
    }
    let sigma = Z_P95 - root.sqrt();
    Ok(((sigma * sigma).exp() - 1.0).sqrt())
}

/// A demand and where its fields stand.
pub(super) trait Places {
    /// Something wrong with the field at `path`.
    fn problem(&self, path: &str, what: String) -> Problem;
}

impl Places for Document<Demand> {
    fn problem(&self, path: &str, what: String) -> Problem {
        Self::problem(self, path, what)
    }
}

/// Demand of a fleet, by tier; `None` for a fleet of which nothing was said.
pub(super) type Asks = Vec<Option<Asked>>;

impl Demand {
    /// The JSON schema of a demand file.
    #[must_use]
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }

    /// Reads a file (YAML or JSON) and checks it against the world.
    ///
    /// # Errors
    /// Everything that is wrong, with its place.
    pub fn read(source: Source, world: &World) -> Result<Self, Errors> {
        let document = Document::<Self>::read(source)?;
        document.value.asks(world, &document, true)?;
        Ok(document.value)
    }

    /// By [`FleetId`], what every fleet is asked for.
    pub(super) fn asks(
        &self,
        world: &World,
        places: &dyn Places,
        tiered: bool,
    ) -> Result<Asks, Errors> {
        let mut reader = Reader { world, places, problems: Vec::new(), tiered };
        let mut asks: Asks = vec![None; world.fleets.len()];
        let at = if self.fleets.is_empty() { "tiers" } else { "fleets[0]" };
        match (self.tiers.is_empty(), self.fleets.is_empty()) {
            (true, true) => reader.wrong("", "nothing is demanded", "list `tiers`, or `fleets`"),
            (false, false) => {
                let hint = "put the tiers below the fleets that they are for";
                reader.wrong(at, "there are `tiers` and `fleets`", hint);
            }
            (false, true) if world.fleets.len() > 1 => {
                let names: Vec<&str> = world.fleets.iter().map(|f| f.name.as_str()).collect();
                let hint = format!("say for which: `{}`", names.join("`, `"));
                reader.wrong(at, "there are several fleets", &hint);
            }
            (false, true) => {
                asks[0] = Some(reader.fleet(FleetId(0), &self.tiers, "tiers"));
            }
            (true, false) => {
                for (index, ask) in self.fleets.iter().enumerate() {
                    let path = format!("fleets[{index}]");
                    let names = world.fleets.iter().map(|fleet| fleet.name.as_str());
                    let Some(found) = names.clone().position(|name| name == ask.fleet) else {
                        let what = format!("there is no fleet `{}`", ask.fleet);
                        let hint = suggest::hint(&ask.fleet, names);
                        reader.wrong(&format!("{path}.fleet"), &what, &hint);
                        continue;
                    };
                    if asks[found].is_some() {
                        let what = format!("fleet `{}` is there twice", ask.fleet);
                        reader.wrong(&format!("{path}.fleet"), &what, "put its tiers together");
                    }
                    let tiers = format!("{path}.tiers");
                    asks[found] = Some(reader.fleet(FleetId(found as u16), &ask.tiers, &tiers));
                }
            }
        }
        Errors::check(reader.problems).map(|()| asks)
    }
}

struct Reader<'a> {
    world: &'a World,
    places: &'a dyn Places,
    problems: Vec<Problem>,
    tiered: bool,
}

impl Reader<'_> {
    fn wrong(&mut self, path: &str, what: &str, hint: &str) {
        let problem = self.places.problem(path, what.to_owned());
        self.problems.push(problem.hint(hint));
    }

    fn fleet(&mut self, fleet: FleetId, tiers: &[TierDemand], path: &str) -> Asked {
        let mut loads: Vec<(TierId, TierLoad)> = Vec::with_capacity(tiers.len());
        for (index, demand) in tiers.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(tier) = self.world.tier(&demand.tier) else {
                let what = format!("there is no tier `{}`", demand.tier);
                let names = self.world.tiers.iter().map(|tier| tier.name.as_str());
                let hint = suggest::hint(&demand.tier, names);
                self.wrong(&format!("{path}.tier"), &what, &hint);
                continue;
            };
            if loads.iter().any(|(other, _)| *other == tier) {
                let what = format!("tier `{}` is there twice", demand.tier);
                self.wrong(&format!("{path}.tier"), &what, "keep one of them");
            }
            let mut length = |field: &str, length: Length| {
                length.moments().unwrap_or_else(|(what, hint)| {
                    self.wrong(&format!("{path}.{field}"), &what, &hint);
                    Moments::default()
                })
            };
            let prompt_tokens = length("promptTokens", demand.prompt_tokens);
            let output_tokens = length("outputTokens", demand.output_tokens);
            let workload = Workload {
                prompt_tokens,
                output_tokens,
                cached_share: demand.cached_share.0,
                dispersion: demand.burstiness,
            };
            let requests_per_s = demand.requests_per_second;
            if requests_per_s > 0.0 {
                loads.push((tier, TierLoad { requests_per_s, workload }));
            }
        }
        // The highest priority first.
        loads.sort_by_key(|(tier, _)| *tier);
        let slos = &self.world.fleets[fleet.index()].slos;
        let waits = |tier: TierId| {
            let completion = matches!(slos.get(tier.index()), Some(Some(Slo::Completion { .. })));
            self.tiered && completion && self.world.tiers[tier.index()].deferrable
        };
        let (deferred, urgent): (Vec<_>, Vec<_>) =
            loads.into_iter().partition(|(tier, _)| waits(*tier));
        Asked { expected: urgent.clone(), urgent, deferred, waiting: 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_gives_the_spread_of_a_log_normal_length() {
        // sigma = 1: mean e^0.5, 95th percentile e^1.645, variation sqrt(e - 1).
        let (mean, p95) = (0.5_f64.exp(), Z_P95.exp());
        let variation = variation_of(mean, p95).unwrap();
        assert!((variation - 1.0_f64.exp_m1().sqrt()).abs() < 1e-6, "{variation}");
        assert!(variation_of(100.0, 90.0).is_err());
        assert!(variation_of(100.0, 400.0).is_err());
    }
}
