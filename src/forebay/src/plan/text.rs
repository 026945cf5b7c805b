//! A solution as a person reads it: one screen.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use forebay_core::plan::solve::{Binding, BindingKind, FleetMix, Solution};

/// Fleets that are shown with their rows and next best mixes; more of them get a line each.
const FLEETS_IN_DETAIL: usize = 6;
/// Binding constraints that are named.
const BINDING_SHOWN: usize = 8;

/// The whole answer.
pub(super) fn render(solution: &Solution) -> String {
    let mut text = String::new();
    let detail = solution.fleets.len() <= FLEETS_IN_DETAIL;
    for fleet in &solution.fleets {
        add_fleet(&mut text, fleet, detail);
    }
    add_pools(&mut text, solution);
    add_binding(&mut text, solution);
    add_total(&mut text, solution);
    text
}

fn line(text: &mut String, label: &str, what: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "  {label:<10}{what}");
}

fn add_fleet(text: &mut String, fleet: &FleetMix, detail: bool) {
    let held = fleet.variants.iter().filter(|variant| variant.replicas > 0 || variant.held > 0);
    let mixes: Vec<String> = held
        .map(|variant| {
            let change = i64::from(variant.replicas) - i64::from(variant.held);
            let change = if change == 0 { String::new() } else { format!(" ({change:+})") };
            let assumed = if variant.price_assumed { ", price unknown" } else { "" };
            format!("{} {}{change}{assumed}", variant.replicas, variant.name)
        })
        .collect();
    let mix = if mixes.is_empty() { "nothing".to_owned() } else { mixes.join(" + ") };
    let short = fleet.rows.iter().map(|row| row.shortfall).fold(0.0, f64::max);
    let short =
        if short > 0.0 { format!("  SHORT by {:.1} %", short * 100.0) } else { String::new() };
    let _ = writeln!(text, "{}  ${:.2}/h{short}", fleet.name, fleet.cost_per_hour);
    line(text, "hold", &mix);
    if !detail {
        return;
    }
    for row in &fleet.rows {
        let share = row.covered / row.need * 100.0;
        line(text, "covers", &format!("{}: {share:.0} %", row.name));
    }
    for next in &fleet.alternatives {
        let mix: Vec<_> = next.replicas.iter().map(|(name, n)| format!("{n} {name}")).collect();
        let more = next.objective - fleet.objective;
        let mix = mix.join(" + ");
        line(text, "or", &format!("{mix}: ${:.2}/h ({more:+.2} in all)", next.cost_per_hour));
    }
}

fn add_pools(text: &mut String, solution: &Solution) {
    if solution.pools.is_empty() {
        return;
    }
    let pools = solution.pools.iter().map(|pool| match pool.quota {
        Some(quota) => format!("{} {} of {quota}", pool.name, pool.used),
        None => format!("{} {}", pool.name, pool.used),
    });
    let _ = writeln!(text, "pools  {}", pools.collect::<Vec<_>>().join(", "));
}

fn add_binding(text: &mut String, solution: &Solution) {
    let prices: BTreeMap<&str, f64> =
        solution.pools.iter().map(|pool| (pool.name.as_str(), pool.price_per_hour)).collect();
    let mut order: Vec<&Binding> = solution.binding.iter().collect();
    // Every answer has rows that bind; what else does says more.
    order.sort_by_key(|binding| binding.kind == BindingKind::Row);
    let said: Vec<String> =
        order.iter().take(BINDING_SHOWN).map(|binding| say(binding, &prices)).collect();
    if said.is_empty() {
        return;
    }
    let more = order.len().saturating_sub(BINDING_SHOWN);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let _ = writeln!(text, "binds  {}{more}", said.join("; "));
}

fn say(binding: &Binding, prices: &BTreeMap<&str, f64>) -> String {
    let name = binding.name.as_deref().unwrap_or_default();
    let fleet = binding.fleet.as_deref();
    let whose = fleet.map_or_else(|| name.to_owned(), |fleet| format!("{fleet} {name}"));
    match binding.kind {
        BindingKind::Row => whose,
        BindingKind::Pool => match prices.get(name) {
            Some(price) if *price >= 0.005 => {
                format!("pool {name} is full (one more saves about ${price:.2}/h)")
            }
            _ => format!("pool {name} is full"),
        },
        BindingKind::FleetAccelerators => format!("limit of {whose}"),
        BindingKind::CostLimit => {
            format!("cost limit{}", fleet.map_or(String::new(), |f| format!(" of {f}")))
        }
        BindingKind::Min => format!("minimum of {whose}"),
        BindingKind::Max => format!("maximum of {whose}"),
        BindingKind::SoldOut => format!("{whose} is sold out"),
        BindingKind::PriceUnknown => format!("price of {whose} is unknown"),
    }
}

fn add_total(text: &mut String, solution: &Solution) {
    for level in solution.levels.iter().filter(|level| level.shortfall > 0.0) {
        let who = level
            .priority
            .map_or_else(|| "minimums".to_owned(), |priority| format!("priority {priority}"));
        let proven = if level.lower_bound >= level.shortfall {
            "no mix has less".to_owned()
        } else {
            format!("at least {:.3} is missing in any mix", level.lower_bound)
        };
        let _ = writeln!(text, "short  {who}: {:.3} rows ({proven})", level.shortfall);
    }
    let once = if solution.one_off_cost > 0.0 {
        format!(", ${:.2} once", solution.one_off_cost)
    } else {
        String::new()
    };
    let proven = if solution.optimal {
        "proven least".to_owned()
    } else {
        format!("at most {:.3} % above the least", solution.gap * 100.0)
    };
    let _ = writeln!(text, "total  ${:.2}/h{once}; {proven}", solution.cost_per_hour);
}
