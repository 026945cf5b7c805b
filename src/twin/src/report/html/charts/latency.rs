//! Distributions of latency per tier, each policy a curve, the SLO a line.

use super::super::super::format::{duration, list, milliseconds, number, required};
use super::super::super::{Objective, Quantiles, TierSummary, TierTarget};
use super::super::markup::{Markup, percent, px};
use super::super::scale::{Log, Nines, Tick};
use super::super::svg::{
    ACROSS, axis_across, canvas, figure, label_gutter, line_across, line_down, path,
};
use super::super::view::{View, colour, dashed};
use super::key_line;

/// Height of the plot and of the labels below, px.
const PLOT: f64 = 168.0;
const AXIS: f64 = 20.0;
/// Shares that the axis of latency reaches from and to; beyond them lie single requests.
const FIRST_SHARE: f64 = 0.005;
const LAST_SHARE: f64 = 0.9995;

/// One kind of latency.
pub(in super::super) struct Measure {
    pub(in super::super) name: &'static str,
    pub(in super::super) milliseconds: bool,
    pub(in super::super) of: fn(&TierSummary) -> &Quantiles,
    objective: fn(&Objective) -> Option<f64>,
}

const TTFT: Measure = Measure {
    name: "time to first token",
    milliseconds: true,
    of: |tier| &tier.ttft_ms,
    objective: |objective| objective.ttft_ms,
};
const TPOT: Measure = Measure {
    name: "time per output token",
    milliseconds: true,
    of: |tier| &tier.tpot_ms,
    objective: |objective| objective.tpot_ms,
};
const COMPLETION: Measure = Measure {
    name: "time to completion",
    milliseconds: false,
    of: |tier| &tier.completion_s,
    objective: |objective| objective.within_s,
};

impl Measure {
    fn text(&self, value: f64) -> String {
        if self.milliseconds { milliseconds(value) } else { duration(value) }
    }

    /// A limit or tick without digits that say nothing: `1 s`, not `1.00 s`.
    fn round(&self, value: f64) -> String {
        match value {
            _ if !self.milliseconds => duration(value),
            _ if value < 999.5 => format!("{} ms", number(value)),
            _ => format!("{} s", number(value / 1e3)),
        }
    }

    /// Ticks at round values: of milliseconds, or of minutes where work takes that long.
    fn ticks(&self, axis: Log) -> Vec<Tick> {
        if self.milliseconds || axis.high < 120.0 {
            return axis.ticks(|value| self.round(value));
        }
        let minutes = Log { low: axis.low / 60.0, high: axis.high / 60.0 };
        minutes.ticks(|value| format!("{} min", number(value)))
    }
}

/// A figure to draw: a tier, a measure, and its axis.
pub(in super::super) struct Chart<'a> {
    pub(in super::super) tier: &'a TierTarget,
    pub(in super::super) measure: Measure,
    pub(in super::super) axis: Log,
}

/// The figures in the order of the page.
pub(in super::super) fn charts<'a>(view: &'a View<'_>) -> Vec<Chart<'a>> {
    let mut charts = Vec::new();
    for tier in view.served_tiers() {
        let outcomes =
            || view.policies.iter().filter_map(|policy| policy.run.tiers.get(&tier.name));
        let completes = outcomes().any(|outcome| !outcome.completion_s.cdf.is_empty());
        let promised =
            |measure: &Measure| tier.objectives.iter().any(|o| (measure.objective)(o).is_some());
        let measures =
            if completes && promised(&COMPLETION) { vec![COMPLETION] } else { vec![TTFT, TPOT] };
        for measure in measures {
            let objectives = tier.objectives.iter().filter_map(measure.objective);
            let values = outcomes().flat_map(|outcome| shown(&(measure.of)(outcome).cdf));
            let observed = outcomes().any(|outcome| !(measure.of)(outcome).cdf.is_empty());
            if let Some(axis) = Log::around(values.chain(objectives)).filter(|_| observed) {
                charts.push(Chart { tier, measure, axis });
            }
        }
    }
    charts
}

/// Values of a distribution that its figure has to reach.
fn shown(cdf: &[(f64, f64)]) -> impl Iterator<Item = f64> {
    let tail = cdf.iter().find(|(_, share)| *share >= LAST_SHARE).or_else(|| cdf.last());
    let middle = cdf.iter().filter(|(_, share)| (FIRST_SHARE..=LAST_SHARE).contains(share));
    middle.chain(tail).map(|(value, _)| *value)
}

pub(in super::super) fn render(page: &mut Markup, view: &View<'_>) {
    let charts = charts(view);
    if charts.is_empty() {
        return;
    }
    page.tag("section", &[("aria-labelledby", &"latency")], |page| {
        page.words("h2", &[("id", &"latency")], "Latency");
        page.tag("p", &[("class", &"legend")], |page| {
            page.words(
                "span",
                &[("class", &"key")],
                "Percent of requests that took at most so long; the axis stretches towards 100. \
                 Refused requests have no latency and are not in these curves.",
            );
            key_line(page, "objective", "SLO: a curve should cross it above the ring");
        });
        page.tag("div", &[("class", &"cards")], |page| {
            for tier in view.served_tiers() {
                let of_tier: Vec<_> =
                    charts.iter().enumerate().filter(|(_, c)| c.tier.name == tier.name).collect();
                if of_tier.is_empty() {
                    continue;
                }
                page.tag("article", &[("class", &"card")], |page| {
                    page.words("h3", &[], &tier.name);
                    for (index, chart) in of_tier {
                        page.tag("h4", &[], |page| {
                            page.text(chart.measure.name);
                            page.words("span", &[], &promise(chart));
                        });
                        draw(page, view, chart, index);
                    }
                });
            }
        });
    });
}

fn draw(page: &mut Markup, view: &View<'_>, chart: &Chart<'_>, index: usize) {
    let (axis, shares, measure) = (chart.axis, Nines::whole(), &chart.measure);
    let down = |share: f64| PLOT * (1.0 - shares.at(share));
    let words = summary(view, chart);
    let attributes: [(&str, &dyn std::fmt::Display); 3] =
        [("class", &"cdf"), ("tabindex", &"0"), ("data-chart", &index)];
    figure(page, PLOT + AXIS, &words, &attributes, |page| {
        axis_across(page, &measure.ticks(axis), 0.0, PLOT);
        for tick in shares.ticks() {
            let y = PLOT * (1.0 - tick.at);
            line_across(page, if tick.at > 0.0 { "grid" } else { "base" }, y);
            label_gutter(page, y, tick.label.trim_end_matches(" %"));
        }
        canvas(page, 0.0, PLOT, |page| {
            for (place, policy) in view.policies.iter().enumerate() {
                let Some(outcome) = policy.run.tiers.get(&chart.tier.name) else { continue };
                let data = curve(&(measure.of)(outcome).cdf, axis, down);
                let dash = if dashed(place) { "curve dashed" } else { "curve" };
                page.tag(
                    "g",
                    &[("class", &format!("p{}", colour(place))), ("data-policy", &place)],
                    |page| {
                        path(page, dash, &data);
                    },
                );
            }
        });
        for objective in &chart.tier.objectives {
            let Some(limit) = (measure.objective)(objective) else { continue };
            let at = axis.at(limit);
            line_down(page, "objective", at, 0.0, PLOT);
            let y = px(down(objective.percentile));
            page.leaf(
                "circle",
                &[("class", &"ring"), ("cx", &percent(at)), ("cy", &y), ("r", &"4.5")],
            );
            let (anchor, shift) = if at > 0.6 { ("end", "-6") } else { ("start", "6") };
            page.words(
                "text",
                &[
                    ("class", &"tick strong"),
                    ("x", &percent(at)),
                    ("dx", &shift),
                    ("y", &px(PLOT - 6.0)),
                    ("text-anchor", &anchor),
                ],
                &measure.round(limit),
            );
        }
        line_down(page, "cross", 0.0, 0.0, PLOT);
    });
}

/// `, 99 % within 800 ms`, for each fleet that promises something else.
fn promise(chart: &Chart<'_>) -> String {
    let mut promises = Vec::new();
    for objective in &chart.tier.objectives {
        if let Some(limit) = (chart.measure.objective)(objective) {
            let share = required(objective.percentile);
            promises.push(format!("{share} within {}", chart.measure.round(limit)));
        }
    }
    promises.dedup();
    if promises.is_empty() { String::new() } else { format!(", {}", list(&promises)) }
}

fn summary(view: &View<'_>, chart: &Chart<'_>) -> String {
    let measure = &chart.measure;
    let mut words = format!("Distribution of {} of {}", measure.name, chart.tier.name);
    for policy in &view.policies {
        let outcome = policy.run.tiers.get(&chart.tier.name);
        let p95 = outcome.and_then(|outcome| (measure.of)(outcome).p95);
        if let Some(p95) = p95 {
            words.push_str(&format!("; {} 95 % within {}", policy.label, measure.text(p95)));
        }
    }
    words
}

/// A distribution as a line from its first point to where it leaves the plot.
fn curve(cdf: &[(f64, f64)], axis: Log, down: impl Fn(f64) -> f64) -> String {
    let mut data = String::new();
    for (value, share) in cdf {
        let y = down(*share);
        let command = if data.is_empty() { "M" } else { "L" };
        data.push_str(&format!("{command}{} {}", px(axis.at(*value) * ACROSS), px(y)));
        if y < 0.5 {
            break;
        }
    }
    data
}
