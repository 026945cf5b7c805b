//! Each policy's day: demand against capacity, accelerators, what was missed, what waited.

use super::super::super::format::{clock, count, duration, money, number, times};
use super::super::super::judge::Standing;
use super::super::markup::Markup;
use super::super::svg::figure;
use super::super::view::{Policy, View, colour, peak};
use super::panels::{self, Shared};
use super::{key, key_line, swatch};

pub(in super::super) fn render(page: &mut Markup, view: &View<'_>) {
    let shared = Shared::new(view);
    page.tag("section", &[("aria-labelledby", &"time")], |page| {
        page.words("h2", &[("id", &"time")], "Over time");
        legend(page, view, &shared);
        page.tag("div", &[("class", &"cards")], |page| {
            for (place, policy) in view.policies.iter().enumerate() {
                card(page, view, &shared, place, policy);
            }
        });
    });
}

fn legend(page: &mut Markup, view: &View<'_>, shared: &Shared) {
    page.tag("p", &[("class", &"legend")], |page| {
        key(page, "demand", "demand, in replicas that it keeps busy");
        key_line(page, "capacity", "capacity that is ready");
        key(page, "short", "demand above capacity");
        for (index, class) in shared.classes.iter().enumerate() {
            key(page, &panels::accelerator_class(index), class);
        }
        page.tag("span", &[("class", &"key")], |page| {
            page.text("missed, of a step's arrivals:");
        });
        for (shade, (_, words)) in panels::SHADES.iter().enumerate() {
            key(page, &format!("missed-{shade}"), words);
        }
        if view.report.unscored_s > 0.0 {
            let words = format!("first {}, not scored", duration(view.report.unscored_s));
            key(page, "unscored", &words);
        }
        if view.traffic_end().is_some() {
            key_line(page, "traffic-end", "end of the traffic; what was held runs off");
        }
    });
}

fn card(page: &mut Markup, view: &View<'_>, shared: &Shared, place: usize, policy: &Policy<'_>) {
    let class = format!("card p{}", colour(place));
    page.tag("article", &[("class", &class), ("data-policy", &place)], |page| {
        page.tag("h3", &[], |page| {
            swatch(page, place);
            page.words("span", &[("class", &"label")], &policy.label);
            page.words("span", &[("class", &"money")], &money(policy.run.cost_usd));
            if let Some(ratio) = view.report.over_bound(policy.run.cost_usd) {
                page.words("span", &[("class", &"over")], &format!("{}×", times(ratio)));
            }
            let (class, words) = match &policy.standing {
                Standing::Keeps => ("chip good", "keeps all".to_owned()),
                Standing::Misses(short) => (
                    "chip bad",
                    format!("misses {}", short.first().map_or_else(String::new, |s| s.whose())),
                ),
                Standing::Unjudged => ("chip", "not judged".to_owned()),
                Standing::Aborted => ("chip bad", "ended early".to_owned()),
            };
            page.words("span", &[("class", &class)], &words);
        });
        if let Some(reason) = &policy.run.aborted {
            page.words("p", &[("class", &"reason")], reason);
        }
        let words = summary(view, policy);
        figure(
            page,
            shared.height,
            &words,
            &[("class", &"time"), ("tabindex", &"0"), ("data-run", &place)],
            |page| panels::render(page, view, shared, policy),
        );
    });
}

/// What the card shows, in words.
fn summary(view: &View<'_>, policy: &Policy<'_>) -> String {
    let timeline = &policy.timeline;
    let missed: u64 = timeline.missed.values().flatten().sum();
    let mut words = format!("{} over time: {} requests missed", policy.label, count(missed));
    for (role, demand) in &timeline.demand {
        let most = peak(demand);
        let step = demand.iter().position(|value| *value >= most).unwrap_or(0);
        let at = view.clock.start_s + step as f64 * timeline.step_s;
        let capacity = timeline.capacity.get(role).map_or(0.0, |column| peak(column));
        words.push_str(&format!(
            "; {role} demand peaks at {} replicas at {}, capacity at {}",
            number(most),
            clock(at, view.clock.days()),
            number(capacity)
        ));
    }
    let longest = timeline.queued.iter().copied().max().unwrap_or(0);
    format!("{words}; at most {} requests wait", count(longest))
}
