//! A decision on one screen.

use std::fmt::Write as _;

use super::{Decision, Interval, TierRecord, VariantRecord};

/// Most alternatives shown; the record may hold more.
const ALTERNATIVES_SHOWN: usize = 4;

/// The decision for a person to read: at most 100 columns wide, one screen high for a fleet of a
/// few tiers and variants.
#[must_use]
pub fn render(decision: &Decision) -> String {
    let mut out = String::new();
    headline(&mut out, decision);
    arrivals(&mut out, decision);
    needs(&mut out, decision);
    variants(&mut out, decision);
    alternatives(&mut out, decision);
    if !decision.verdicts.is_empty() {
        line(&mut out, "Guard and rails");
        for verdict in &decision.verdicts {
            bullet(&mut out, &format!("{}: {}", verdict.name, verdict.text));
        }
    }
    if !decision.would_change.is_empty() {
        line(&mut out, "What would change it");
        for change in &decision.would_change {
            bullet(&mut out, change);
        }
    }
    out
}

/// Widest line.
const WIDTH: usize = 100;

fn headline(out: &mut String, decision: &Decision) {
    let counts = |read: fn(&VariantRecord) -> u32| {
        let variants = decision.variants.iter().map(|v| format!("{} {}", read(v), v.variant));
        variants.collect::<Vec<_>>().join(" + ")
    };
    let (before, decided) = (counts(|v| v.before), counts(|v| v.decided));
    let change = if before == decided {
        format!("stays at {decided}")
    } else {
        format!("{before} -> {decided}")
    };
    let Decision { fleet, number, at_s, .. } = decision;
    line(out, &format!("{fleet} at {} (decision {number}): {change}", clock(*at_s)));
    wrapped(out, "", &decision.binding);
    let bound = decision.usd_per_hour_bound.map_or_else(String::new, |bound| {
        format!("; no mix that holds the needs below costs less than {}", usd(bound))
    });
    match decision.usd_per_hour {
        Some(cost) => line(out, &format!("{} per hour{bound}", usd(cost))),
        None => line(out, "cost unknown: a variant has no price"),
    }
    out.push('\n');
}

fn arrivals(out: &mut String, decision: &Decision) {
    let inputs = &decision.inputs;
    let from = inputs.arrivals_from.as_deref().map_or_else(
        || "unknown".to_owned(),
        |from| {
            let age =
                inputs.router_age_s.map_or_else(String::new, |age| format!(", {age:.0} s old"));
            format!("from {from}{age}")
        },
    );
    let oldest = inputs
        .oldest_scrape_age_s
        .map_or_else(String::new, |age| format!(", the oldest scrape {age:.0} s old"));
    let (fresh, ready) = (inputs.engines_fresh, inputs.engines_ready);
    line(out, &format!("Arrivals ({from}; {fresh} of {ready} engines fresh{oldest})"));
    line(
        out,
        "  tier            req/s  prompt  cached  output  waiting  attained  safety  promised",
    );
    for tier in &decision.tiers {
        let TierRecord { requests_per_s, prompt_tokens, output_tokens, queued, .. } = tier;
        let share = |value: Option<f64>, digits: usize| {
            value.map_or("?".to_owned(), |value| format!("{:.digits$}%", value * 100.0))
        };
        let number = |value: &Option<f64>, digits: usize| {
            value.map_or("?".to_owned(), |value| format!("{value:.digits$}"))
        };
        line(
            out,
            &format!(
                "  {:<14} {:>6}  {:>6}  {:>6}  {:>6}  {:>7}  {:>8}  {:>6}  {}",
                tier.tier,
                number(requests_per_s, 2),
                number(prompt_tokens, 0),
                share(tier.cached_share, 0),
                number(output_tokens, 0),
                number(queued, 0),
                share(tier.attained, 2),
                number(&tier.safety, 2),
                tier.slo.as_deref().unwrap_or("nothing"),
            ),
        );
    }
    for note in &inputs.notes {
        bullet(out, note);
    }
}

fn needs(out: &mut String, decision: &Decision) {
    line(out, "Needed");
    for need in &decision.needs {
        let Interval { point, low, high } = need.busy_ahead;
        let text = format!(
            "{} through {}: {:.2} busy now; at most {point:.2} ({low:.2} to {high:.2}) within {:.0} s, \
             upper end at quantile {:.2}; held at the percentile by {:.2} replicas of {}, {:.0}% busy, \
             limited by {}",
            need.role,
            need.through_tier,
            need.busy_now,
            need.lead_s,
            need.quantile,
            need.replicas,
            need.in_replicas_of,
            need.utilization * 100.0,
            need.limit,
        );
        bullet(out, &text);
    }
}

fn variants(out: &mut String, decision: &Decision) {
    line(out, "Variants");
    line(
        out,
        "  variant         role     $/h  req/s each  step time  lead s  ready  starting  no node  before  wanted  decided",
    );
    for variant in &decision.variants {
        let step = variant
            .step_time_ratio
            .map_or_else(|| "as given".to_owned(), |ratio| format!("x{:.2}", ratio.point));
        let _ = writeln!(
            out,
            "  {:<14}  {:<7} {:>5}  {:>10}  {:>9}  {:>6.0}  {:>5}  {:>8}  {:>7}  {:>6}  {:>6}  {:>7}",
            variant.variant,
            variant.role,
            variant.usd_per_hour.map_or("?".to_owned(), |price| format!("{price:.2}")),
            variant.requests_per_s_each.map_or("?".to_owned(), |rate| format!("{rate:.2}")),
            step,
            variant.lead_s,
            variant.ready,
            variant.starting_in_s.len(),
            variant.without_node,
            variant.before,
            variant.wanted,
            variant.decided,
        );
    }
}

fn alternatives(out: &mut String, decision: &Decision) {
    if decision.alternatives.is_empty() {
        return;
    }
    line(out, "Other mixes");
    for other in decision.alternatives.iter().take(ALTERNATIVES_SHOWN) {
        let held = other.replicas.iter().filter(|(_, count)| **count > 0);
        let mix = held.map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>();
        let mix = if mix.is_empty() { "nothing".to_owned() } else { mix.join(" + ") };
        let attained =
            other.attainment.iter().map(|(tier, share)| format!("{tier} {:.1}%", share * 100.0));
        let attained = attained.collect::<Vec<_>>().join(", ");
        let predicted =
            if attained.is_empty() { String::new() } else { format!(", predicted {attained}") };
        bullet(out, &format!("{mix}: {}/h{predicted}: {}", usd(other.usd_per_hour), other.why_not));
    }
}

fn usd(amount: f64) -> String {
    format!("${amount:.2}")
}

/// Seconds since the epoch of the run as `14:05:00`, with the day in front after the first.
#[must_use]
pub fn clock(at_s: f64) -> String {
    let whole = at_s.max(0.0) as u64;
    let (days, rest) = (whole / 86_400, whole % 86_400);
    let time = format!("{:02}:{:02}:{:02}", rest / 3_600, rest / 60 % 60, rest % 60);
    if days == 0 { time } else { format!("day {} {time}", days + 1) }
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
    let mut length = first.len();
    out.push_str(first);
    let mut begins = true;
    for word in text.split_whitespace() {
        if !begins && length + 1 + word.chars().count() > WIDTH {
            let _ = write!(out, "\n{:width$}", "", width = first.len());
            length = first.len();
        } else if !begins {
            out.push(' ');
            length += 1;
        }
        out.push_str(word);
        length += word.chars().count();
        begins = false;
    }
    out.push('\n');
}
