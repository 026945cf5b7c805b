//! What was run and how its figures came about, so that anybody can do it again.

use super::super::Objective;
use super::super::format::{clock, count, duration, list, milliseconds, money, required};
use super::markup::Markup;
use super::view::View;

pub(super) fn render(page: &mut Markup, view: &View<'_>) {
    if view.policies.iter().any(|policy| !policy.run.parameters.is_empty()) {
        parameters(page, view);
    }
    page.tag("section", &[("aria-labelledby", &"method")], |page| {
        page.words("h2", &[("id", &"method")], "How this was computed");
        page.tag("dl", &[("class", &"method")], |page| {
            facts(page, view);
            promises(page, view);
            prices(page, view);
            counting(page, view);
        });
    });
}

fn parameters(page: &mut Markup, view: &View<'_>) {
    page.tag("section", &[("aria-labelledby", &"parameters")], |page| {
        page.words("h2", &[("id", &"parameters")], "Parameters in force");
        page.tag("dl", &[("class", &"parameters")], |page| {
            for (place, policy) in view.policies.iter().enumerate() {
                page.tag("div", &[("data-policy", &place)], |page| {
                    page.words("dt", &[("title", &policy.run.policy)], &policy.label);
                    page.tag("dd", &[], |page| {
                        for (key, value) in &policy.run.parameters {
                            page.tag("code", &[], |page| {
                                page.words("span", &[], key);
                                page.text(&format!(" {value}"));
                            });
                            page.raw(" ");
                        }
                    });
                });
            }
        });
    });
}

fn fact(page: &mut Markup, name: &str, words: &str) {
    if words.is_empty() {
        return;
    }
    page.tag("div", &[], |page| {
        page.words("dt", &[], name);
        page.words("dd", &[], words);
    });
}

fn facts(page: &mut Markup, view: &View<'_>) {
    let (report, trace) = (view.report, &view.report.trace);
    if let Some(command) = &report.command {
        page.tag("div", &[("class", &"wide")], |page| {
            page.words("dt", &[], "Command");
            page.tag("dd", &[], |page| page.words("code", &[], command));
        });
    }
    let start = clock(view.clock.start_s, view.clock.days());
    let span = duration(trace.duration_s);
    fact(
        page,
        "Trace",
        &format!(
            "{} ({}): {} requests in {span} from {start}",
            trace.path,
            trace.format,
            count(trace.requests)
        ),
    );
    fact(page, "Inferred, not read", &trace.notes.join("; "));
    fact(page, "Fleets", &list(&report.fleets));
    fact(page, "Scenario", &report.scenario);
    fact(page, "Seed and commit", &format!("{}, {}", report.seed, report.commit));
}

fn promises(page: &mut Markup, view: &View<'_>) {
    let several = view.report.fleets.len() > 1;
    for tier in &view.tiers {
        let words: Vec<String> =
            tier.objectives.iter().map(|objective| promise(objective, several)).collect();
        let deferrable = if tier.deferrable { " (deferrable)" } else { "" };
        fact(page, &format!("SLO of {}{deferrable}", tier.name), &words.join("; "));
    }
}

fn promise(objective: &Objective, several: bool) -> String {
    let mut parts = Vec::new();
    if let Some(limit) = objective.ttft_ms {
        parts.push(format!("TTFT within {}", milliseconds(limit)));
    }
    if let Some(limit) = objective.tpot_ms {
        parts.push(format!("TPOT within {}", milliseconds(limit)));
    }
    if let Some(limit) = objective.within_s {
        parts.push(format!("complete within {}", duration(limit)));
    }
    let fleet = if several { format!(" on {}", objective.fleet) } else { String::new() };
    format!("{} of requests: {}{fleet}", required(objective.percentile), list(&parts))
}

fn prices(page: &mut Markup, view: &View<'_>) {
    let prices = view.report.prices_usd_per_hour.iter();
    let words: Vec<String> =
        prices.map(|(class, usd)| format!("{class} {}", money(*usd))).collect();
    fact(page, "Prices per accelerator-hour", &words.join(", "));
}

fn counting(page: &mut Markup, view: &View<'_>) {
    let unscored = view.report.unscored_s;
    if unscored > 0.0 {
        let words = format!("the first {} of the window", duration(unscored));
        fact(page, "Not scored", &words);
    }
    fact(
        page,
        "What attains",
        "a request whose TTFT and TPOT are within its tier's SLO or, in a deferrable tier, that \
         completes by its deadline. Refused, timed out and failed requests do not. Each request \
         counts once, however often its client comes back.",
    );
    fact(
        page,
        "What costs",
        "every replica from the moment it is asked for until it is gone, over the scored span and \
         the run-off; committed capacity in any case.",
    );
}
