//! The answer on one screen.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::answer::{Answer, FleetAnswer, Mix, Price, Sensitivity, TierAnswer, VariantAnswer};
use crate::engine::profile::EvidenceLevel;

/// Widest line.
const WIDTH: usize = 100;

/// The answer for a person to read: at most 100 columns wide, one screen high for one fleet.
#[must_use]
pub fn render(answer: &Answer) -> String {
    let mut out = String::new();
    let several = answer.fleets.len() > 1;
    for fleet in &answer.fleets {
        headline(&mut out, fleet);
        if fleet.holds() && !fleet.tiers.is_empty() {
            let proven = if several { String::new() } else { format!("; {}", proven(answer)) };
            line(&mut out, &format!("{}{proven}", per_million(&fleet.price)));
        }
        if !several {
            pools(&mut out, answer);
        }
        asked(&mut out, fleet);
        ways(&mut out, fleet);
        alternatives(&mut out, fleet);
        out.push('\n');
    }
    if several {
        let Price { usd_per_hour, .. } = answer.price;
        let all = format!("All fleets: {} per hour; {}", usd(usd_per_hour), proven(answer));
        line(&mut out, &all);
        pools(&mut out, answer);
    }
    line(&mut out, "What binds");
    for text in &answer.binding {
        bullet(&mut out, text);
    }
    line(&mut out, "If it were different");
    for change in &answer.sensitivity {
        different(&mut out, change, several);
    }
    sure(&mut out, answer);
    out
}

fn headline(out: &mut String, fleet: &FleetAnswer) {
    let mut short: Vec<String> = Vec::new();
    for row in fleet.rows.iter().filter(|row| row.missing > 0.0) {
        short.push(format!("{:.0}% of {}", row.missing * 100.0, row.row));
    }
    let cost = usd(fleet.price.usd_per_hour);
    let text = format!("{}: hold {} for {cost} per hour", fleet.fleet, mix(&fleet.mix.replicas));
    wrapped(out, "", &text);
    if !short.is_empty() {
        let text = format!("NOT ENOUGH: {} cannot be had within the limits", short.join(", "));
        wrapped(out, "", &text);
    }
}

fn per_million(price: &Price) -> String {
    let each =
        |value: Option<f64>| value.map_or_else(|| "$?".to_owned(), |value| format!("${value:.3}"));
    format!(
        "{} per million output tokens, {} per million tokens in and out",
        each(price.usd_per_million_output_tokens),
        each(price.usd_per_million_tokens)
    )
}

fn proven(answer: &Answer) -> String {
    if answer.proven {
        "proven to be the least cost".to_owned()
    } else {
        format!("at most {:.2}% above the least cost", answer.gap * 100.0)
    }
}

fn asked(out: &mut String, fleet: &FleetAnswer) {
    if fleet.tiers.is_empty() {
        return;
    }
    line(out, "  tier            req/s  prompt  cached  output  bursts  predicted  promised");
    for tier in &fleet.tiers {
        let TierAnswer { requests_per_s, prompt_tokens, output_tokens, .. } = tier;
        let attained = fleet.mix.attainment.get(&tier.tier);
        let attained = attained.map_or_else(|| "-".to_owned(), |share| percent(*share));
        let slo = tier.slo.as_deref().unwrap_or("nothing");
        let text = format!(
            "  {:<14} {:>6}  {:>6.0}  {:>6}  {:>6.0}  {:>6.1}  {:>9}  {slo}",
            tier.tier,
            format!("{requests_per_s:.2}"),
            prompt_tokens,
            format!("{:.0}%", tier.cached_share * 100.0),
            output_tokens,
            tier.burstiness,
            attained,
        );
        line(out, &text);
    }
}

fn ways(out: &mut String, fleet: &FleetAnswer) {
    line(
        out,
        "  variant         role     replica  $/h each  req/s each   busy  alone  hold  limited by",
    );
    for variant in &fleet.variants {
        let VariantAnswer { accelerators_per_replica, accelerator, .. } = variant;
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "?".to_owned(), |value| format!("{value:.digits$}"))
        };
        let text = format!(
            "  {:<14}  {:<7} {:>8}  {:>8}  {:>10}  {:>5}  {:>5}  {:>4}  {}",
            variant.variant,
            variant.role,
            format!("{accelerators_per_replica} {accelerator}"),
            number(variant.usd_per_hour_each, 2),
            number(variant.requests_per_s_each, 2),
            format!("{:.0}%", variant.utilization * 100.0),
            number(variant.alone_replicas, 2),
            variant.replicas,
            variant.limit,
        );
        line(out, &text);
    }
}

fn alternatives(out: &mut String, fleet: &FleetAnswer) {
    for (index, other) in fleet.alternatives.iter().enumerate() {
        let first = if index == 0 { "  next best: " } else { "         or: " };
        let Mix { replicas, usd_per_hour, attainment } = other;
        let dearer = usd_per_hour - fleet.mix.usd_per_hour;
        let predicted: Vec<String> =
            attainment.iter().map(|(tier, share)| format!("{tier} {}", percent(*share))).collect();
        let predicted = if predicted.is_empty() {
            String::new()
        } else {
            format!(", predicted {}", predicted.join(", "))
        };
        let dearer = match dearer {
            more if more >= 0.005 => format!("{} more", usd(more)),
            less if less <= -0.005 => format!("{} less, but starts cost more", usd(-less)),
            _ => "as much".to_owned(),
        };
        let text = format!("{} for {}/h ({dearer}){predicted}", mix(replicas), usd(*usd_per_hour));
        wrapped(out, first, &text);
    }
}

fn pools(out: &mut String, answer: &Answer) {
    let pools = answer.accelerators.iter().map(|pool| {
        let of = pool.quota.map_or_else(String::new, |quota| format!(" of {quota}"));
        format!("{}{of} {}", pool.used, pool.accelerator)
    });
    let pools: Vec<String> = pools.collect();
    if !pools.is_empty() {
        wrapped(out, "", &format!("Accelerators: {}", pools.join(", ")));
    }
}

fn different(out: &mut String, change: &Sensitivity, several: bool) {
    let fleets = change.replicas.iter().map(|(fleet, replicas)| {
        if several { format!("{fleet} {}", mix(replicas)) } else { mix(replicas) }
    });
    let fleets: Vec<String> = fleets.collect();
    let short = if change.short { ", and that is NOT ENOUGH" } else { "" };
    let first = format!("  {:<17} ", change.what);
    let text = format!("{}, {}/h{short}", fleets.join("; "), usd(change.usd_per_hour));
    wrapped(out, &first, &text);
}

fn sure(out: &mut String, answer: &Answer) {
    line(out, "How sure");
    let mut told: Vec<&str> = Vec::new();
    for variant in answer.fleets.iter().flat_map(|fleet| &fleet.variants) {
        if variant.replicas == 0 || told.contains(&variant.profile.as_str()) {
            continue;
        }
        told.push(&variant.profile);
        let rests = match variant.evidence {
            EvidenceLevel::Measured => "measured in serving runs on this accelerator",
            EvidenceLevel::Modelled => {
                "modelled: kernels measured on this accelerator, their sum over a step modelled"
            }
            EvidenceLevel::Estimated => "estimated: carried over from another accelerator or model",
        };
        let error = variant.step_time_mape_percent.map_or_else(
            || "nobody measured by how much its step times are off".to_owned(),
            |error| format!("its step times are off by {error:.1}% on average"),
        );
        bullet(out, &format!("{}: {rests}; {error}", variant.profile));
    }
    let text = format!(
        "capacity at the percentile: {} searches by replay of a drawn sample through the engine model",
        answer.replays
    );
    bullet(out, &text);
    for note in &answer.notes {
        bullet(out, note);
    }
}

fn mix(replicas: &BTreeMap<String, u32>) -> String {
    if replicas.is_empty() {
        return "nothing".to_owned();
    }
    let each: Vec<String> =
        replicas.iter().map(|(name, count)| format!("{count} {name}")).collect();
    each.join(" + ")
}

fn percent(share: f64) -> String {
    // Far from the percentile it is extrapolated: nines are not counted.
    if share > 0.999 {
        return ">99.9%".to_owned();
    }
    format!("{:.1}%", (share * 1_000.0).floor() / 10.0)
}

fn usd(amount: f64) -> String {
    format!("${amount:.2}")
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

fn bullet(out: &mut String, text: &str) {
    wrapped(out, "  - ", text);
}

/// Writes a text in lines of at most [`WIDTH`], all but the first indented.
fn wrapped(out: &mut String, first: &str, text: &str) {
    let mut length = first.chars().count();
    let indent = length;
    out.push_str(first);
    let mut begins = true;
    for word in text.split_whitespace() {
        let letters = word.chars().count();
        if !begins && length + 1 + letters > WIDTH {
            // Writing to a string cannot fail.
            let _ = write!(out, "\n{:indent$}", "");
            length = indent;
        } else if !begins {
            out.push(' ');
            length += 1;
        }
        out.push_str(word);
        length += letters;
        begins = false;
    }
    out.push('\n');
}
