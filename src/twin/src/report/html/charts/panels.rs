//! The panels of one policy's card, one below the other on a common axis of time.

use super::super::super::Timeline;
use super::super::super::format::number;
use super::super::markup::{Markup, percent, px};
use super::super::scale::Linear;
use super::super::svg::{
    ACROSS, area, axis_across, band, canvas, grid_down, line_across, line_down, path, rectangle,
    steps, stretches,
};
use super::super::view::{Policy, View, peak};

/// Heights of the panels of a card, px.
const DEMAND: f64 = 92.0;
const ACCELERATORS: f64 = 58.0;
const STRIP: f64 = 9.0;
const QUEUE: f64 = 38.0;
/// Least end of the axis of waiting requests: half a request is none.
const QUEUE_MIN: f64 = 4.0;
/// Height of a panel's heading, px.
const HEADING: f64 = 23.0;
/// Where headings start: at the left edge of the gutter, px.
const GUTTER: &str = "-26";
/// Space below a panel, px.
const GAP: f64 = 10.0;
/// Space for the labels of time, px.
const AXIS: f64 = 20.0;
/// Upper ends of the shades of missed requests, as shares of a step's arrivals.
pub(super) const SHADES: [(f64, &str); 4] =
    [(0.01, "up to 1 %"), (0.1, "up to 10 %"), (0.5, "up to 50 %"), (1.0, "more")];
/// Colours of accelerator classes before they repeat.
const ACCELERATOR_COLOURS: usize = 6;

/// What all cards share, so that they can be compared by eye.
pub(super) struct Shared {
    roles: Vec<(String, Linear)>,
    pub(super) classes: Vec<String>,
    accelerators: Linear,
    queue: Linear,
    tiers: Vec<String>,
    pub(super) height: f64,
}

impl Shared {
    pub(super) fn new(view: &View<'_>) -> Self {
        let role_axis = |role: &str| {
            let of = |columns: Option<&Vec<f64>>| columns.map_or(0.0, |column| peak(column));
            let most = |timeline: &Timeline| {
                of(timeline.demand.get(role)).max(of(timeline.capacity.get(role)))
            };
            Linear::up_to(view.largest(most) * 1.06, 3.0)
        };
        let roles: Vec<(String, Linear)> = view
            .roles()
            .into_iter()
            .map(|role| {
                let axis = role_axis(&role);
                (role, axis)
            })
            .collect();
        let stacked = |timeline: &Timeline| {
            let mut total = Vec::<f64>::new();
            for column in timeline.accelerators.values() {
                total.resize(total.len().max(column.len()), 0.0);
                total.iter_mut().zip(column).for_each(|(sum, value)| *sum += value);
            }
            peak(&total)
        };
        let longest =
            |timeline: &Timeline| timeline.queued.iter().copied().max().unwrap_or(0) as f64;
        let tiers: Vec<String> = view.served_tiers().map(|tier| tier.name.clone()).collect();
        let panels = roles.len() as f64 * (HEADING + DEMAND + GAP)
            + (HEADING + ACCELERATORS + GAP)
            + (HEADING + tiers.len() as f64 * (STRIP + 2.0) + GAP)
            + (HEADING + QUEUE);
        Self {
            roles,
            classes: view.keys(|timeline| &timeline.accelerators),
            accelerators: Linear::up_to(view.largest(stacked) * 1.05, 2.0),
            queue: Linear::up_to(view.largest(longest).max(QUEUE_MIN), 2.0),
            tiers,
            height: panels + AXIS,
        }
    }
}

/// Class of an accelerator's colour.
pub(super) fn accelerator_class(index: usize) -> String {
    format!("accelerator-{}", index % ACCELERATOR_COLOURS)
}

/// Draws the panels of one policy.
pub(super) fn render(page: &mut Markup, view: &View<'_>, shared: &Shared, policy: &Policy<'_>) {
    let ticks = view.clock.ticks();
    let bottom = shared.height - AXIS;
    let timeline = &policy.timeline;
    let width = timeline.step_s / view.clock.duration_s * ACROSS;
    axis_across(page, &ticks, 0.0, bottom);
    let unscored = view.report.unscored_s / view.clock.duration_s;
    if unscored > 0.0 {
        shade(page, "unscored", 0.0, unscored.min(1.0), bottom);
    }
    let mut top = 0.0;
    for (role, axis) in &shared.roles {
        heading(page, top, &role_name(view, role), "replicas");
        demand(page, timeline, role, *axis, top + HEADING, width);
        top += HEADING + DEMAND + GAP;
    }
    heading(page, top, "held", "accelerators");
    accelerators(page, shared, timeline, top + HEADING, width);
    top += HEADING + ACCELERATORS + GAP;
    heading(page, top, "missed", &shared.tiers.join(", "));
    top += HEADING;
    for tier in &shared.tiers {
        strip(page, timeline, tier, top, width);
        top += STRIP + 2.0;
    }
    top += GAP;
    heading(page, top, "waiting", "requests");
    queue(page, shared, timeline, top + HEADING, width);
    if policy.run.aborted.is_some() {
        let drawn =
            timeline.queued.len().max(timeline.demand.values().map(Vec::len).max().unwrap_or(0));
        let end = (drawn as f64 * width / ACROSS).min(1.0);
        shade(page, "gone", end, 1.0 - end, bottom);
    }
    if let Some(end) = view.traffic_end() {
        line_down(page, "traffic-end", end, 0.0, bottom);
    }
    line_down(page, "cross", 0.0, 0.0, bottom);
}

/// A role without its fleet where there is one fleet.
fn role_name(view: &View<'_>, role: &str) -> String {
    let (fleet, name) = role.rsplit_once('/').unwrap_or(("", role));
    let name = if name == "both" { "prefill and decode" } else { name };
    if view.report.fleets.len() > 1 { format!("{fleet} {name}") } else { name.to_owned() }
}

fn shade(page: &mut Markup, class: &str, from: f64, width: f64, height: f64) {
    let (x, width) = (percent(from), percent(width));
    page.leaf(
        "rect",
        &[("class", &class), ("x", &x), ("y", &"0"), ("width", &width), ("height", &px(height))],
    );
}

fn heading(page: &mut Markup, top: f64, name: &str, unit: &str) {
    page.tag("text", &[("class", &"panel"), ("x", &GUTTER), ("y", &px(top + 12.0))], |page| {
        page.words("tspan", &[("class", &"name")], name);
        page.words("tspan", &[("class", &"unit"), ("dx", &"6")], unit);
    });
}

fn demand(page: &mut Markup, timeline: &Timeline, role: &str, axis: Linear, top: f64, width: f64) {
    let none = Vec::new();
    let demand = timeline.demand.get(role).unwrap_or(&none);
    let capacity = timeline.capacity.get(role).unwrap_or(&none);
    let height = |value: f64| DEMAND * (1.0 - axis.at(value));
    grid_down(page, axis, top, DEMAND, number);
    canvas(page, top, DEMAND, |page| {
        path(page, "demand", &area(demand, width, DEMAND, height));
        path(page, "short", &band(demand, capacity, width, height));
        path(page, "capacity", &steps(capacity, width, height));
    });
}

fn accelerators(page: &mut Markup, shared: &Shared, timeline: &Timeline, top: f64, width: f64) {
    let height = |value: f64| ACCELERATORS * (1.0 - shared.accelerators.at(value));
    let mut below = Vec::<f64>::new();
    grid_down(page, shared.accelerators, top, ACCELERATORS, number);
    canvas(page, top, ACCELERATORS, |page| {
        for (index, class) in shared.classes.iter().enumerate() {
            let Some(column) = timeline.accelerators.get(class) else { continue };
            below.resize(below.len().max(column.len()), 0.0);
            let above: Vec<f64> =
                column.iter().zip(&below).map(|(held, base)| base + held).collect();
            path(page, &accelerator_class(index), &band(&above, &below, width, height));
            below = above;
        }
    });
}

/// Missed requests as shades of a strip, one path per shade.
fn strip(page: &mut Markup, timeline: &Timeline, tier: &str, top: f64, width: f64) {
    let none = Vec::new();
    let missed = timeline.missed.get(tier).unwrap_or(&none);
    let arrivals = timeline.arrivals.get(tier).unwrap_or(&none);
    let shades: Vec<Option<usize>> = missed
        .iter()
        .zip(arrivals)
        .map(|(&missed, &arrived)| {
            // Where a step's misses outnumber its arrivals, all of them were missed.
            let share = missed as f64 / arrived.max(missed).max(1) as f64;
            let shade = SHADES.iter().position(|(end, _)| share <= *end);
            shade.filter(|_| missed > 0)
        })
        .collect();
    let mut paths = [const { String::new() }; SHADES.len()];
    for (from, to, shade) in stretches(&shades) {
        if let Some(shade) = shade {
            let (left, right) = (from as f64 * width, to as f64 * width);
            paths[*shade].push_str(&rectangle(left, right, "0", &px(STRIP)));
        }
    }
    line_across(page, "base", top + STRIP);
    canvas(page, top, STRIP, |page| {
        for (shade, data) in paths.iter().enumerate() {
            path(page, &format!("missed-{shade}"), data);
        }
    });
}

fn queue(page: &mut Markup, shared: &Shared, timeline: &Timeline, top: f64, width: f64) {
    let queued: Vec<f64> = timeline.queued.iter().map(|&waiting| waiting as f64).collect();
    let height = |value: f64| QUEUE * (1.0 - shared.queue.at(value));
    grid_down(page, shared.queue, top, QUEUE, compact);
    canvas(page, top, QUEUE, |page| {
        path(page, "queue", &area(&queued, width, QUEUE, height));
    });
}

/// Requests in the room of a gutter: `1.5k`.
fn compact(value: f64) -> String {
    match value {
        _ if value >= 1e6 => format!("{}M", number(value / 1e6)),
        _ if value >= 1e3 => format!("{}k", number(value / 1e3)),
        _ => number(value),
    }
}
