//! The board: what each policy cost against the oracles, beside what each tier attained.

use super::super::super::format::{attained, count, duration, money, required, times};
use super::super::super::judge::Standing;
use super::super::super::{TierSummary, TierTarget};
use super::super::markup::{Markup, percent, px};
use super::super::scale::{Linear, Nines, Tick};
use super::super::svg::{figure, label_across, line_down};
use super::super::view::{Policy, View};
use super::{key, key_line, swatch};

/// Height of a row, px.
const ROW: f64 = 38.0;
/// Height of the head of a column, px.
const HEAD: f64 = 22.0;
/// Share of the width that the longest bar takes; the rest is for its figure.
const LONGEST_BAR: f64 = 0.66;
/// Radius of a dot, px.
const DOT: f64 = 5.5;

pub(in super::super) fn render(page: &mut Markup, view: &View<'_>) {
    let costs = view.policies.iter().map(|policy| policy.run.cost_usd);
    let oracle = &view.report.oracle;
    let oracles = [oracle.lower_bound_cost_usd, oracle.clairvoyant_cost_usd];
    let most = costs.chain(oracles.into_iter().flatten()).fold(0.0, f64::max);
    let axis = Linear::up_to(most / LONGEST_BAR, 5.0);
    page.tag("section", &[("class", &"board"), ("aria-labelledby", &"board")], |page| {
        page.words("h2", &[("id", &"board")], "Cost and service");
        let columns = format!("--tiers:{}", view.tiers.len());
        page.tag("div", &[("class", &"scroll")], |page| {
            page.tag("table", &[("style", &columns)], |page| {
                page.tag("thead", &[], |page| head(page, view, axis));
                page.tag("tbody", &[], |page| {
                    for (place, policy) in view.policies.iter().enumerate() {
                        row(page, view, axis, place, policy);
                    }
                });
            });
        });
        legend(page, view);
    });
}

fn head(page: &mut Markup, view: &View<'_>, axis: Linear) {
    let span = duration(view.report.trace.duration_s);
    page.tag("tr", &[], |page| {
        page.words("th", &[("scope", &"col"), ("class", &"name")], "Policy");
        page.tag("th", &[("scope", &"col"), ("class", &"cost")], |page| {
            page.text(&format!("Cost of {span}"));
            let ticks: Vec<Tick> = axis
                .ticks()
                .map(|usd| Tick {
                    at: axis.at(usd),
                    label: money(usd).trim_end_matches(".00").to_owned(),
                })
                .filter(|tick| tick.at < 0.97)
                .collect();
            axis_of_column(page, &ticks);
        });
        for tier in &view.tiers {
            page.tag("th", &[("scope", &"col"), ("class", &"tier")], |page| {
                page.text(&tier.name);
                if let Some(share) = tier.required() {
                    page.text(" ");
                    page.words("small", &[], &format!("needs {}", required(share)));
                }
                axis_of_column(page, &nines_of(view, tier).ticks());
            });
        }
    });
}

fn axis_of_column(page: &mut Markup, ticks: &[Tick]) {
    let height = px(HEAD);
    page.tag(
        "svg",
        &[("class", &"axis"), ("width", &"100%"), ("height", &height), ("aria-hidden", &"true")],
        |page| {
            for tick in ticks {
                label_across(page, "tick", tick.at, HEAD - 6.0, &tick.label);
            }
        },
    );
}

/// The axis of a tier, the same in all rows.
fn nines_of(view: &View<'_>, tier: &TierTarget) -> Nines {
    let outcomes = view.policies.iter().filter_map(|policy| policy.run.tiers.get(&tier.name));
    let shares = outcomes.flat_map(|outcome| dots(outcome, tier)).map(|dot| dot.attainment);
    Nines::around(shares, tier.objectives.iter().map(|objective| objective.percentile))
}

fn row(page: &mut Markup, view: &View<'_>, axis: Linear, place: usize, policy: &Policy<'_>) {
    let class = match policy.standing {
        Standing::Keeps => "keeps",
        Standing::Misses(_) => "misses",
        Standing::Unjudged => "unjudged",
        Standing::Aborted => "aborted",
    };
    page.tag("tr", &[("class", &class)], |page| {
        page.tag("th", &[("scope", &"row"), ("class", &"name")], |page| {
            swatch(page, place);
            page.words(
                "span",
                &[("class", &"label"), ("title", &policy.run.policy)],
                &policy.label,
            );
            page.words("span", &[("class", &"mark")], mark(view, policy, place));
        });
        page.tag("td", &[("class", &"cost")], |page| cost(page, view, axis, policy));
        for tier in &view.tiers {
            page.tag("td", &[("class", &"tier"), ("data-tier", &tier.name)], |page| {
                attainment(page, view, tier, policy);
            });
        }
    });
}

fn mark(view: &View<'_>, policy: &Policy<'_>, place: usize) -> &'static str {
    let keepers = view.policies.iter().filter(|other| other.standing == Standing::Keeps).count();
    match policy.standing {
        Standing::Keeps if place == 0 && keepers > 1 => "cheapest that keeps all",
        Standing::Keeps => "keeps all",
        Standing::Misses(_) => "misses",
        Standing::Unjudged => "not judged",
        Standing::Aborted => "ended early",
    }
}

fn cost(page: &mut Markup, view: &View<'_>, axis: Linear, policy: &Policy<'_>) {
    let run = policy.run;
    let end = axis.at(run.cost_usd);
    let sunk = axis.at(run.cost_committed_usd.min(run.cost_usd));
    let ratio = view.report.over_bound(run.cost_usd);
    let over = match policy.standing {
        Standing::Aborted => "until it ended".to_owned(),
        _ => ratio.map(|ratio| format!("{}×", times(ratio))).unwrap_or_default(),
    };
    let mut words = format!("{} cost {}", policy.label, money(run.cost_usd));
    match policy.standing {
        Standing::Aborted => words.push_str(", until it ended"),
        _ if over.is_empty() => {}
        _ => words.push_str(&format!(", {over} the lower bound")),
    }
    if run.cost_committed_usd > 0.0 {
        words.push_str(&format!(", {} of it committed", money(run.cost_committed_usd)));
    }
    figure(page, ROW, &words, &[], |page| {
        page.words("title", &[], &words);
        let (top, height) = (px(8.0), px(ROW - 16.0));
        let bar = |page: &mut Markup, class: &str, share: f64| {
            let width = percent(share);
            page.leaf(
                "rect",
                &[
                    ("class", &class),
                    ("x", &"0"),
                    ("y", &top),
                    ("width", &width),
                    ("height", &height),
                    ("rx", &"2"),
                ],
            );
        };
        bar(page, "bar", end);
        if sunk > 0.0 {
            bar(page, "sunk", sunk);
        }
        for (class, usd) in oracle_lines(view) {
            line_down(page, class, axis.at(usd), 0.0, ROW);
        }
        page.tag(
            "text",
            &[
                ("class", &"figure"),
                ("x", &percent(end)),
                ("dx", &"7"),
                ("y", &px(ROW / 2.0 + 4.5)),
            ],
            |page| {
                page.words("tspan", &[("class", &"money")], &money(run.cost_usd));
                if !over.is_empty() {
                    page.words("tspan", &[("class", &"over"), ("dx", &"6")], &over);
                }
            },
        );
    });
}

fn oracle_lines(view: &View<'_>) -> impl Iterator<Item = (&'static str, f64)> {
    let oracle = &view.report.oracle;
    [("bound", oracle.lower_bound_cost_usd), ("clairvoyant", oracle.clairvoyant_cost_usd)]
        .into_iter()
        .filter_map(|(class, usd)| usd.map(|usd| (class, usd)))
}

/// One dot: a tier on one fleet, or over all.
struct Dot {
    fleet: Option<String>,
    requests: u64,
    attained: u64,
    attainment: f64,
    required: Option<f64>,
}

fn dots(outcome: &TierSummary, tier: &TierTarget) -> Vec<Dot> {
    let dot = |fleet: Option<String>, requests: u64, attained: u64, required: Option<f64>| {
        (requests > 0).then(|| Dot {
            fleet,
            requests,
            attained,
            attainment: attained as f64 / requests as f64,
            required,
        })
    };
    if outcome.fleets.is_empty() {
        return dot(None, outcome.requests, outcome.attained, tier.required())
            .into_iter()
            .collect();
    }
    let fleets = outcome.fleets.iter();
    fleets
        .filter_map(|(fleet, counts)| {
            let objective = tier.objectives.iter().find(|objective| objective.fleet == *fleet);
            let required = objective.map(|objective| objective.percentile);
            dot(Some(fleet.clone()), counts.requests, counts.attained, required)
        })
        .collect()
}

fn attainment(page: &mut Markup, view: &View<'_>, tier: &TierTarget, policy: &Policy<'_>) {
    let outcome = policy.run.tiers.get(&tier.name);
    let dots = outcome.map(|outcome| dots(outcome, tier)).unwrap_or_default();
    // The dot furthest below its target is the one that is written out.
    let slack = |dot: &Dot| dot.attainment - dot.required.unwrap_or(0.0);
    let Some(worst) = dots.iter().min_by(|left, right| slack(left).total_cmp(&slack(right))) else {
        page.words("span", &[("class", &"none")], "no requests");
        return;
    };
    let axis = nines_of(view, tier);
    let words = dots.iter().map(|dot| dot_words(tier, dot)).collect::<Vec<_>>().join("; ");
    figure(page, ROW, &format!("{}: {words}", policy.label), &[], |page| {
        page.words("title", &[], &words);
        let middle = ROW / 2.0;
        let y = px(middle);
        for tick in axis.ticks() {
            line_down(page, "grid", tick.at, 0.0, ROW);
        }
        page.leaf(
            "line",
            &[("class", &"track"), ("x1", &"0"), ("x2", &"100%"), ("y1", &y), ("y2", &y)],
        );
        for dot in &dots {
            if let Some(share) = dot.required {
                line_down(page, "required", axis.at(share), 0.0, ROW);
            }
        }
        for dot in &dots {
            draw_dot(page, axis.at(dot.attainment), middle, short(dot));
        }
        let at = axis.at(worst.attainment);
        let (anchor, shift) = if at > 0.5 { ("end", "-10") } else { ("start", "10") };
        let class = if short(worst) { "figure bad" } else { "figure" };
        page.words(
            "text",
            &[
                ("class", &class),
                ("x", &percent(at)),
                ("dx", &shift),
                ("y", &px(middle + 4.5)),
                ("text-anchor", &anchor),
            ],
            &attained(worst.attainment, worst.required),
        );
    });
}

fn short(dot: &Dot) -> bool {
    dot.required.is_some_and(|share| dot.attainment < share - 1e-12)
}

fn dot_words(tier: &TierTarget, dot: &Dot) -> String {
    let whose = match &dot.fleet {
        Some(fleet) => format!("{} on {fleet}", tier.name),
        None => tier.name.clone(),
    };
    let share = attained(dot.attainment, dot.required);
    let needs = dot.required.map(|share| format!(", needs {}", required(share)));
    format!(
        "{whose} {share} ({} of {} requests{})",
        count(dot.attained),
        count(dot.requests),
        needs.unwrap_or_default()
    )
}

/// A disc where the target was reached, a diamond where it was missed: told apart without colour.
fn draw_dot(page: &mut Markup, at: f64, middle: f64, missed: bool) {
    let (x, y) = (percent(at), px(middle));
    if !missed {
        page.leaf("circle", &[("class", &"dot"), ("cx", &x), ("cy", &y), ("r", &DOT)]);
        return;
    }
    // A nested canvas of no size moves the origin to a share of the width.
    page.tag("svg", &[("x", &x), ("y", &y), ("class", &"origin")], |page| {
        let reach = px(DOT + 1.0);
        let diamond = format!("M-{reach} 0L0 -{reach}L{reach} 0L0 {reach}Z");
        page.leaf("path", &[("class", &"dot missed"), ("d", &diamond)]);
    });
}

fn legend(page: &mut Markup, view: &View<'_>) {
    let oracle = &view.report.oracle;
    page.tag("p", &[("class", &"legend")], |page| {
        if let Some(usd) = oracle.lower_bound_cost_usd {
            let words = format!("lower bound {}: nobody can keep the SLOs for less", money(usd));
            key_line(page, "bound", &words);
        }
        if let Some(usd) = oracle.clairvoyant_cost_usd {
            let words = format!("best plan found knowing the future {}", money(usd));
            key_line(page, "clairvoyant", &words);
        }
        if oracle.lower_bound_cost_usd.is_none() {
            page.words("span", &[("class", &"key")], "No lower bound was computed.");
        }
        if view.policies.iter().any(|policy| policy.run.cost_committed_usd > 0.0) {
            key(page, "sunk alone", "committed, paid for in any case");
        }
        key(page, "bar-keeps", "keeps every tier's SLO");
        key(page, "bar-misses", "misses one or ended early");
        key_line(page, "required", "share that must attain; the axis stretches towards 100 %");
    });
}
