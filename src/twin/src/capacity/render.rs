//! The comparison as a table for a person.

use std::fmt::Write;

use super::{CapacityReport, Compared, Errors};

/// Worst points shown on each side.
const WORST: usize = 6;

/// A table of errors, and the worst points.
#[must_use]
pub fn render(report: &CapacityReport) -> String {
    let mut text = String::from(
        "Sustainable rate: what the sizer says over what the twin holds, less 1 (above 0: unsafe)\n\n",
    );
    let _ = writeln!(
        text,
        "{:<22}{:>8}{:>9}{:>9}{:>12}{:>10}",
        "", "points", "median", "90 %", "unsafe 95 %", "safe 95 %"
    );
    row(&mut text, "held out", &report.held_out);
    row(&mut text, "training", &report.training);
    row(&mut text, "closed form alone", &report.guess);
    text.push_str("\nHeld out, by\n");
    for group in &report.groups {
        row(&mut text, &group.name, &group.errors);
    }
    let (out, training) = (&report.held_out, &report.training);
    let told = out.unreachable_told + training.unreachable_told;
    let missed = out.unreachable_missed + training.unreachable_missed;
    let _ = writeln!(
        text,
        "\n{} points hold nothing in the twin; the sizer says so of {told}.\n\
         {} points are not judged: a trickle misses more than 0.3 of what is allowed, so the rate\n\
         hardly matters. At the sized rate attainment falls short of the percentile by at most\n\
         {:.2} points in 95 % of those held out. One search by replays takes {:.0} ms here.",
        told + missed,
        report.not_judged,
        report.shortfall_p95.unwrap_or_default() * 100.0,
        report.search_ms
    );
    let mut points: Vec<&Compared> =
        report.points.iter().filter(|one| one.rate_matters()).collect();
    let key = |one: &Compared| one.error().unwrap_or_default();
    points.sort_by(|left, right| key(right).total_cmp(&key(left)));
    text.push_str("\nWorst on the unsafe side\n");
    points.iter().take(WORST).for_each(|one| worst(&mut text, one));
    text.push_str("Worst on the safe side\n");
    points.iter().rev().take(WORST).for_each(|one| worst(&mut text, one));
    text
}

fn row(text: &mut String, name: &str, errors: &Errors) {
    let percent = |share: Option<f64>| {
        share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0))
    };
    let _ = writeln!(
        text,
        "{name:<22}{:>8}{:>9}{:>9}{:>12}{:>10}",
        errors.points,
        percent(errors.median),
        percent(errors.p90),
        percent(errors.unsafe_p95),
        percent(errors.safe_p95)
    );
}

fn worst(text: &mut String, one: &Compared) {
    let point = &one.point;
    let bunching =
        if point.dispersion > 1.0 { format!(" {:?}", point.bunching) } else { String::new() };
    let _ = writeln!(
        text,
        "  {:>+6.1} %  #{} {}x {} {}: held {:.3}/s by {}, sized {:.3}/s; prompt {} cv {} ({:?}, {} cached), \
         output {} cv {}, dispersion {}{}; TTFT {} ms, TPOT {} ms at {}",
        one.error().unwrap_or_default() * 100.0,
        point.number,
        point.replicas,
        point.profile,
        point.role,
        one.held_per_s,
        one.binding,
        one.sized_per_s,
        point.prompt_tokens,
        point.prompt_variation,
        point.lengths,
        point.cached_share,
        point.output_tokens,
        point.output_variation,
        point.dispersion,
        bunching.to_lowercase(),
        point.ttft_ms,
        point.tpot_ms,
        point.percentile,
    );
}
