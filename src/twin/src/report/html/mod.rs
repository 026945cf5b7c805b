//! The report as one page: a self-contained file that draws what the table only lists.
//!
//! Styles, figures and a small script are inline and nothing is fetched, so the file can be
//! mailed, archived and opened anywhere. Without the script it loses read-outs and switches only.

mod charts;
mod data;
mod figures;
mod markup;
mod method;
mod scale;
mod svg;
#[cfg(test)]
mod tests;
mod view;

use markup::Markup;
use view::View;

use super::format::{count, duration, list};
use super::judge::shortened;
use super::{Report, verdict};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
/// Longest name of a trace in the title of the page.
const TITLE_CHARS_MAX: usize = 60;

/// Renders the page.
///
/// Its size is bounded by policies, not by the trace: figures over time are drawn in at most
/// 600 steps.
#[must_use]
pub fn render(report: &Report) -> String {
    let view = View::new(report);
    let mut page = Markup::default();
    page.raw("<!doctype html>\n");
    page.tag("html", &[("lang", &"en")], |page| {
        page.tag("head", &[], |page| head(page, &view));
        page.tag("body", &[], |page| body(page, &view));
    });
    page.raw("\n");
    page.finish()
}

fn head(page: &mut Markup, view: &View<'_>) {
    page.leaf("meta", &[("charset", &"utf-8")]);
    let width = "width=device-width, initial-scale=1";
    page.leaf("meta", &[("name", &"viewport"), ("content", &width)]);
    page.leaf("meta", &[("name", &"color-scheme"), ("content", &"light dark")]);
    page.words("title", &[], &format!("Forebay: {}", subject(view)));
    page.tag("style", &[], |page| page.raw(STYLE));
}

fn body(page: &mut Markup, view: &View<'_>) {
    charts::patterns(page);
    page.tag("header", &[], |page| headline(page, view));
    page.tag("main", &[], |page| {
        if !view.policies.is_empty() {
            charts::board::render(page, view);
            switches(page, view);
            charts::timeline::render(page, view);
            charts::latency::render(page, view);
            figures::render(page, view);
        }
        method::render(page, view);
    });
    page.words("div", &[("id", &"tip"), ("role", &"status"), ("aria-live", &"polite")], "");
    page.tag("script", &[("type", &"application/json"), ("id", &"data")], |page| {
        page.raw(&data::json(view));
    });
    page.tag("script", &[], |page| page.raw(SCRIPT));
}

/// The verdict: its first clause is the headline, the rest stands below it.
fn headline(page: &mut Markup, view: &View<'_>) {
    page.words("p", &[("class", &"eyebrow")], &subject(view));
    let verdict = verdict(view.report);
    let (first, rest) = match verdict.split_once("; ") {
        Some((first, rest)) => (format!("{first}."), Some(rest)),
        None => (verdict, None),
    };
    page.words("h1", &[], &first);
    if let Some(rest) = rest {
        let mut letters = rest.chars();
        let start: String = letters.next().map(char::to_uppercase).into_iter().flatten().collect();
        // A policy's name is not a word to be capitalised.
        let named = view.policies.iter().any(|policy| rest.starts_with(&policy.label));
        let rest = if named { rest.to_owned() } else { start + letters.as_str() };
        page.words("p", &[("class", &"rest")], &rest);
    }
}

/// What was simulated, in a line.
fn subject(view: &View<'_>) -> String {
    let trace = &view.report.trace;
    let name = trace.path.rsplit(['/', '\\']).next().unwrap_or_default();
    let policies = match view.policies.len() {
        1 => "1 policy".to_owned(),
        policies => format!("{policies} policies"),
    };
    let fleets = match view.report.fleets.as_slice() {
        [] => String::new(),
        fleets => format!(" on {}", list(fleets)),
    };
    format!(
        "{policies}{fleets}, {} of {}, {} requests",
        duration(trace.duration_s),
        shortened(name, TITLE_CHARS_MAX),
        count(trace.requests)
    )
}

/// Which policies the figures below show: a legend that can be switched.
fn switches(page: &mut Markup, view: &View<'_>) {
    page.tag("nav", &[("class", &"switches"), ("aria-label", &"Policies shown")], |page| {
        for (place, policy) in view.policies.iter().enumerate() {
            page.tag("label", &[("class", &format!("switch p{}", view::colour(place)))], |page| {
                page.leaf(
                    "input",
                    &[("type", &"checkbox"), ("checked", &"checked"), ("data-switch", &place)],
                );
                charts::swatch(page, place);
                page.words("span", &[], &policy.label);
            });
        }
    });
}
