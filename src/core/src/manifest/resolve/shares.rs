//! The plan of a scenario: whose each request is.

use std::collections::BTreeMap;

use super::tiers::{default_tier, policy_of};
use super::{Resolver, find};
use crate::api::ScenarioSpec;
use crate::api::scenario::{self, ClientKind, ShareSpec, TenantShare};
use crate::ids::{FleetId, TierId};
use crate::manifest::{Located, Problem};
use crate::scenario::{Billing, Client, ScenarioPlan, Shape, Share};
use crate::time::Span;

/// Shares are sums of decimal fractions; this far they may be off.
const SUM_TOLERANCE: f64 = 1e-9;
/// Name of the tenant of a share that names none.
const TENANT_DEFAULT: &str = "default";
/// A client with a ticket asks again as often as a held connection would end.
const RETRY_DEFAULT: Span = Span::from_secs(30);
/// Workers that cannot ask for a budget keep this many requests in flight: about what one engine
/// runs well at once.
const CONCURRENCY_DEFAULT: u32 = 64;

impl<'a> Resolver<'a> {
    /// The plan; without a scenario all traffic goes to the default tier of each fleet.
    pub(super) fn plan(&mut self, scenario: Option<&'a Located<ScenarioSpec>>) -> ScenarioPlan {
        let defaults = ScenarioSpec::default();
        let spec = scenario.map_or(&defaults, Located::spec);
        let mut plan = ScenarioPlan {
            name: scenario.map_or("default", Located::name).to_owned(),
            shares: Vec::new(),
            starts_at: self.starts_at(scenario),
            billing: match spec.billing {
                scenario::Billing::PerReplica => Billing::PerReplica,
                scenario::Billing::PerNode => Billing::PerNode,
            },
            faults: Vec::new(),
            scrape_interval: spec.scrape_interval.0,
            unscored: spec.unscored.0,
            tenant_weights: self.tenant_weights(),
        };
        match scenario {
            Some(scenario) => {
                self.overrides(scenario);
                plan.faults = self.faults(scenario);
                plan.shares = self.shares(scenario);
            }
            None => plan.shares = self.default_shares(),
        }
        plan
    }

    fn default_shares(&mut self) -> Vec<Share> {
        let mut shares = Vec::new();
        for (index, fleet) in self.fleets.clone().into_iter().enumerate() {
            let tier = match policy_of(self.manifests, fleet) {
                Ok(policy) => default_tier(policy.spec()).and_then(|name| self.world.tier(name)),
                Err(problem) => {
                    self.problems.push(*problem);
                    None
                }
            };
            let Some(tier) = tier else { continue };
            shares.push(Share {
                fleet: FleetId(index as u16),
                tier,
                weight: 1.0 / self.fleets.len() as f64,
                tenants: vec![(TENANT_DEFAULT.to_owned(), 1.0)],
                shape: Shape::Constant,
                client: Client::Held,
            });
        }
        shares
    }

    fn shares(&mut self, scenario: &'a Located<ScenarioSpec>) -> Vec<Share> {
        let specs = &scenario.spec().shares;
        let given: Vec<Option<f64>> = specs.iter().map(|spec| spec.share.map(|s| s.0)).collect();
        let parts = self.parts(scenario, "spec.shares", &given);
        let mut shares = Vec::new();
        for (index, (spec, part)) in specs.iter().zip(parts).enumerate() {
            let path = format!("spec.shares[{index}]");
            let Some(tier) = self.tier_named(scenario, &format!("{path}.tier"), &spec.tier) else {
                continue;
            };
            let client = self.client(scenario, &path, spec, tier);
            let tenants = self.tenants(scenario, &format!("{path}.tenants"), spec);
            let fleets: Vec<FleetId> = match &spec.fleet {
                Some(name) => {
                    self.fleet_named(scenario, &format!("{path}.fleet"), name).into_iter().collect()
                }
                None => (0..self.fleets.len()).map(|index| FleetId(index as u16)).collect(),
            };
            for fleet in &fleets {
                shares.push(Share {
                    fleet: *fleet,
                    tier,
                    weight: part / fleets.len() as f64,
                    tenants: tenants.clone(),
                    shape: match spec.shape {
                        scenario::Shape::Constant => Shape::Constant,
                        scenario::Shape::HourlyDump => Shape::HourlyDump,
                    },
                    client,
                });
            }
        }
        shares
    }

    /// How the clients of a share wait. Only deferrable work can wait outside.
    fn client(
        &mut self,
        scenario: &Located<ScenarioSpec>,
        path: &str,
        spec: &ShareSpec,
        tier: TierId,
    ) -> Client {
        if spec.client != ClientKind::Held && !self.world.tiers[tier.index()].deferrable {
            let what = format!(
                "tier `{}` is not deferrable, so its clients cannot wait outside",
                spec.tier
            );
            self.problems.push(
                scenario
                    .problem(&format!("{path}.client"), what)
                    .hint("use `client: Held`, or make the tier deferrable"),
            );
        }
        let of_others = [
            ("retryAfter", spec.retry_after.is_some(), ClientKind::Ticket),
            ("concurrency", spec.concurrency.is_some(), ClientKind::Pull),
        ];
        for (field, given, owner) in of_others {
            if given && spec.client != owner {
                let what = format!("a {:?} client has no `{field}`", spec.client);
                self.problems.push(
                    scenario
                        .problem(&format!("{path}.{field}"), what)
                        .hint(format!("leave it out, or use `client: {owner:?}`")),
                );
            }
        }
        match spec.client {
            ClientKind::Held => Client::Held,
            ClientKind::Ticket => Client::Ticket {
                retry: spec.retry_after.map_or(RETRY_DEFAULT, |duration| duration.0),
            },
            ClientKind::Pull => {
                Client::Pull { concurrency: spec.concurrency.unwrap_or(CONCURRENCY_DEFAULT) }
            }
        }
    }

    /// The tenants of one share, each with its part.
    fn tenants(
        &mut self,
        scenario: &Located<ScenarioSpec>,
        path: &str,
        spec: &ShareSpec,
    ) -> Vec<(String, f64)> {
        if spec.tenants.is_empty() {
            return vec![(TENANT_DEFAULT.to_owned(), 1.0)];
        }
        let given: Vec<Option<f64>> =
            spec.tenants.iter().map(|tenant| tenant.share.map(|s| s.0)).collect();
        let parts = self.parts(scenario, path, &given);
        let mut tenants: Vec<(String, f64)> = Vec::new();
        for (index, (tenant, part)) in spec.tenants.iter().zip(parts).enumerate() {
            let path = format!("{path}[{index}].name");
            if tenants.iter().any(|(name, _)| *name == tenant.name) {
                let what = format!("tenant `{}` exists already in this share", tenant.name);
                self.problems.push(scenario.problem(&path, what));
            }
            self.allowed(scenario, &path, spec, tenant);
            tenants.push((tenant.name.clone(), part));
        }
        tenants
    }

    /// A tenant may be kept to some tiers.
    fn allowed(
        &mut self,
        scenario: &Located<ScenarioSpec>,
        path: &str,
        spec: &ShareSpec,
        tenant: &TenantShare,
    ) {
        let fleets = match &spec.fleet {
            Some(name) => find(&self.manifests.fleets, name).into_iter().collect(),
            None => self.fleets.clone(),
        };
        let policies = fleets.into_iter().filter_map(|fleet| policy_of(self.manifests, fleet).ok());
        let mut known = policies.flat_map(|policy| &policy.spec().tenants);
        let Some(known) = known.find(|known| known.name == tenant.name) else { return };
        if !known.tiers.is_empty() && !known.tiers.contains(&spec.tier) {
            let what = format!("tenant `{}` may not use tier `{}`", tenant.name, spec.tier);
            self.problems.push(scenario.problem(path, what).hint(format!(
                "it may use `{}`; add the tier to its `tiers` in the TrafficPolicy",
                known.tiers.join("`, `")
            )));
        }
    }

    /// Weights of all tenants that a policy names. A name means one tenant in a run.
    fn tenant_weights(&mut self) -> BTreeMap<String, f64> {
        let mut weights = BTreeMap::new();
        for fleet in self.fleets.clone() {
            let Ok(policy) = policy_of(self.manifests, fleet) else { continue };
            for (index, tenant) in policy.spec().tenants.iter().enumerate() {
                let before = weights.insert(tenant.name.clone(), tenant.weight);
                if before.is_some_and(|before| before.total_cmp(&tenant.weight).is_ne()) {
                    let path = format!("spec.tenants[{index}].weight");
                    let what = format!("tenant `{}` has another weight elsewhere", tenant.name);
                    self.problems
                        .push(policy.problem(&path, what).expected("one weight in one run"));
                }
            }
        }
        weights
    }

    /// Parts of a whole: one may be left out and gets what the others leave.
    fn parts(
        &mut self,
        scenario: &Located<ScenarioSpec>,
        path: &str,
        given: &[Option<f64>],
    ) -> Vec<f64> {
        let sum: f64 = given.iter().flatten().sum();
        let open = given.iter().filter(|part| part.is_none()).count();
        let wrong = |what: String| -> Problem { scenario.problem(path, what) };
        let total = format!("the shares sum to {}%", (sum * 1e6).round() / 1e4);
        let problem = if sum > 1.0 + SUM_TOLERANCE {
            Some(wrong(total).expected("100% together"))
        } else if open > 1 {
            Some(
                wrong(format!("{open} entries have no `share`"))
                    .expected("at most one without: it gets what the others leave"),
            )
        } else if open == 0 && sum < 1.0 - SUM_TOLERANCE {
            Some(
                wrong(total)
                    .expected("100% together")
                    .hint("leave `share` out of one entry to give it the rest"),
            )
        } else {
            None
        };
        self.problems.extend(problem);
        given.iter().map(|part| part.unwrap_or((1.0 - sum).max(0.0))).collect()
    }
}
