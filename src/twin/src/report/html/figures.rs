//! All figures as one table: policies across, figures down.

use std::collections::BTreeSet;

use super::super::format::{attained, count, money, number, times};
use super::super::{Quantiles, Run, TierTarget};
use super::markup::Markup;
use super::view::View;

/// What stands where there is nothing.
const NONE: &str = "–";
/// Units of milliseconds and of seconds, the smallest first.
const LATENCY_UNITS: &[(f64, &str)] = &[(1.0, "ms"), (1e3, "s"), (120e3, "min")];
const SPAN_UNITS: &[(f64, &str)] = &[(1.0, "s"), (60.0, "min"), (3_600.0, "h")];

pub(super) fn render(page: &mut Markup, view: &View<'_>) {
    page.tag("section", &[("aria-labelledby", &"figures")], |page| {
        page.words("h2", &[("id", &"figures")], "All figures");
        page.tag("div", &[("class", &"scroll"), ("tabindex", &"0")], |page| {
            page.tag("table", &[("class", &"figures")], |page| {
                page.tag("thead", &[], |page| {
                    page.tag("tr", &[], |page| {
                        page.words("td", &[], "");
                        for (place, policy) in view.policies.iter().enumerate() {
                            let attributes: [(&str, &dyn std::fmt::Display); 2] =
                                [("scope", &"col"), ("data-policy", &place)];
                            page.words("th", &attributes, &policy.label);
                        }
                    });
                });
                money_rows(page, view);
                for tier in view.served_tiers() {
                    tier_rows(page, view, tier);
                }
                capacity_rows(page, view);
                simulation_rows(page, view);
            });
        });
    });
}

fn group(page: &mut Markup, view: &View<'_>, title: &str, rows: impl FnOnce(&mut Markup)) {
    page.tag("tbody", &[], |page| {
        page.tag("tr", &[("class", &"group")], |page| {
            page.words("th", &[("colspan", &(view.policies.len() + 1))], title);
        });
        rows(page);
    });
}

fn row(page: &mut Markup, view: &View<'_>, title: &str, cell: impl Fn(&Run) -> Option<String>) {
    page.tag("tr", &[], |page| {
        page.words("th", &[("scope", &"row")], title);
        for (place, policy) in view.policies.iter().enumerate() {
            let text = cell(policy.run).unwrap_or_else(|| NONE.to_owned());
            page.words("td", &[("data-policy", &place)], &text);
        }
    });
}

fn money_rows(page: &mut Markup, view: &View<'_>) {
    group(page, view, "Money", |page| {
        row(page, view, "cost", |run| Some(money(run.cost_usd)));
        row(page, view, "of that committed", |run| Some(money(run.cost_committed_usd)));
        row(page, view, "over the lower bound", |run| {
            view.report.over_bound(run.cost_usd).map(|ratio| format!("{}×", times(ratio)))
        });
        row(page, view, "per million output tokens within SLO", |run| {
            run.usd_per_million_slo_tokens.map(money)
        });
        row(page, view, "requests within SLO per second", |run| Some(number(run.goodput_rps)));
    });
}

fn tier_rows(page: &mut Markup, view: &View<'_>, tier: &TierTarget) {
    let outcome = |run: &Run| run.tiers.get(&tier.name).filter(|o| o.requests > 0).cloned();
    group(page, view, &tier.name, |page| {
        row(page, view, "requests", |run| outcome(run).map(|o| count(o.requests)));
        row(page, view, "within SLO", |run| {
            outcome(run).and_then(|o| o.share()).map(|share| attained(share, tier.required()))
        });
        row(page, view, "TTFT P50 / P95 / P99", |run| {
            outcome(run).and_then(|o| three(&o.ttft_ms, LATENCY_UNITS))
        });
        row(page, view, "TPOT P50 / P95 / P99", |run| {
            outcome(run).and_then(|o| three(&o.tpot_ms, LATENCY_UNITS))
        });
        if tier.deferrable {
            row(page, view, "completion P50 / P95 / P99", |run| {
                outcome(run).and_then(|o| three(&o.completion_s, SPAN_UNITS))
            });
        }
        row(page, view, "shed / timed out / failed", |run| {
            outcome(run).map(|o| {
                format!("{} / {} / {}", count(o.shed), count(o.timed_out), count(o.failed))
            })
        });
    });
}

/// Three quantiles in the unit of the largest: `190 / 395 / 533 ms`.
fn three(quantiles: &Quantiles, units: &[(f64, &str)]) -> Option<String> {
    let parts = [quantiles.p50, quantiles.p95, quantiles.p99];
    let most = parts.iter().flatten().copied().reduce(f64::max)?;
    let fits = |(size, _): &&(f64, &str)| most >= *size;
    let (size, unit) = units.iter().rev().find(fits).or(units.first())?;
    let text = |part: Option<f64>| part.map_or_else(|| NONE.to_owned(), |v| number(v / size));
    Some(format!("{} {unit}", parts.map(text).join(" / ")))
}

fn capacity_rows(page: &mut Markup, view: &View<'_>) {
    let runs = || view.policies.iter().map(|policy| policy.run);
    let classes: BTreeSet<&String> = runs().flat_map(|run| run.accelerator_hours.keys()).collect();
    let variants: BTreeSet<&String> = runs().flat_map(|run| run.replicas.keys()).collect();
    group(page, view, "Capacity", |page| {
        for class in classes {
            row(page, view, &format!("{class}, accelerator-hours"), |run| {
                run.accelerator_hours.get(class).map(|hours| number(*hours))
            });
        }
        for variant in variants {
            row(page, view, &format!("{variant}, mean / max / starts"), |run| {
                let held = run.replicas.get(variant)?;
                Some(format!("{:.1} / {} / {}", held.mean, held.max, count(u64::from(held.starts))))
            });
        }
        row(page, view, "changes of direction per hour", |run| {
            Some(format!("{:.1}", run.flaps_per_hour))
        });
    });
}

fn simulation_rows(page: &mut Markup, view: &View<'_>) {
    group(page, view, "Simulation", |page| {
        row(page, view, "took", |run| Some(format!("{:.1} s", run.wall_seconds)));
        row(page, view, "requests per second and core", |run| {
            Some(number(run.requests_per_wall_second))
        });
    });
}
