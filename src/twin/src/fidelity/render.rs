//! The fidelity report for a terminal.

use std::fmt::Write;

use super::errors::{Errors, Group};
use super::{FidelityReport, Scope, Spread};

/// Runs with the largest errors that are named.
const WORST_RUNS_MAX: usize = 5;

/// The report as text of at most 100 columns, assumptions and reasons included.
#[must_use]
pub fn render(report: &FidelityReport) -> String {
    let mut text = String::new();
    let scope = match report.scope {
        Scope::HeldOut => "sweeps held out of the calibration",
        Scope::All => "all runs; none took part in the calibration",
    };
    let _ = writeln!(
        text,
        "Fidelity: {} of {} measured runs simulated; nothing fitted here.\n",
        report.scored, report.rows
    );
    let _ = writeln!(
        text,
        "median |simulated / measured - 1|        runs    TPOT    p90     TTFT    p90"
    );
    line(&mut text, scope, &report.errors);
    line(&mut text, "  of these at concurrency 8 and below", &report.low_concurrency);
    if report.trained.rows > 0 {
        line(&mut text, "sweeps that calibrated the profiles", &report.trained);
    }
    noise(&mut text, report);
    groups(&mut text, &report.groups);
    worst(&mut text, report);
    if !report.not_scored.is_empty() {
        let _ = writeln!(text, "\nNot simulated");
        for left_out in &report.not_scored {
            let _ = writeln!(text, "{:>6}  {}", left_out.rows, left_out.reason);
        }
    }
    let _ = writeln!(text, "\nAssumed");
    for assumption in &report.assumptions {
        let _ = writeln!(text, "  - {assumption}");
    }
    text
}

fn line(text: &mut String, what: &str, errors: &Errors) {
    let _ = writeln!(
        text,
        "{what:<40} {:>4}  {}  {}  {}  {}",
        errors.rows,
        percent(errors.tpot_median_abs_error),
        percent(errors.tpot_p90_abs_error),
        percent(errors.ttft_median_abs_error),
        percent(errors.ttft_p90_abs_error),
    );
}

/// A share as a percentage of seven columns; `-` where there is none.
fn percent(share: Option<f64>) -> String {
    match share {
        Some(share) if share >= 10.0 => format!("{:>5.0}x ", share),
        Some(share) => format!("{:>5.1} %", share * 100.0),
        None => format!("{:>7}", "-"),
    }
}

fn noise(text: &mut String, report: &FidelityReport) {
    let floor = &report.noise_floor;
    let mut spread = |what: &str, spread: &Spread| {
        let _ = writeln!(
            text,
            "{what:<40} {:>4}  {}  {}  {}  {}",
            spread.pairs,
            percent(spread.tpot_median),
            percent(spread.tpot_p90),
            percent(spread.ttft_median),
            percent(spread.ttft_p90),
        );
    };
    spread("measured twice, same engine version", &floor.same_version);
    spread("measured twice, other engine version", &floor.other_version);
}

fn groups(text: &mut String, groups: &[Group]) {
    if groups.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "\nBy model and accelerator                 runs    TPOT    p90     TTFT    p90"
    );
    for group in groups.iter().filter(|group| group.concurrency.is_none()) {
        line(text, &format!("{} on {}", group.model, group.accelerator), &group.errors);
    }
    let _ = writeln!(text, "\nMedian error by concurrency (TPOT / TTFT)");
    for whole in groups.iter().filter(|group| group.concurrency.is_none()) {
        let same = |group: &&Group| {
            group.concurrency.is_some()
                && (&group.model, &group.accelerator) == (&whole.model, &whole.accelerator)
        };
        let _ = writeln!(text, "  {} on {}", whole.model, whole.accelerator);
        for group in groups.iter().filter(same) {
            let _ = writeln!(
                text,
                "{:>10} {:>4} {} / {}",
                group.concurrency.unwrap_or_default(),
                format!("({})", group.errors.rows),
                percent(group.errors.tpot_median_abs_error),
                percent(group.errors.ttft_median_abs_error),
            );
        }
    }
}

fn worst(text: &mut String, report: &FidelityReport) {
    let held_out = |run: &&super::Compared| !run.trained;
    let mut runs: Vec<_> = report.runs.iter().filter(held_out).collect();
    runs.sort_by(|a, b| {
        let size = |run: &super::Compared| (1.0 + run.ttft_error()).ln().abs();
        size(b).total_cmp(&size(a)).then_with(|| a.id.cmp(&b.id))
    });
    if runs.is_empty() {
        return;
    }
    let _ = writeln!(text, "\nFarthest off in TTFT (measured -> simulated, ms)");
    for run in runs.iter().take(WORST_RUNS_MAX) {
        let _ = writeln!(
            text,
            "  {} {}/{} at {}: TTFT {:.0} -> {:.0}, TPOT {:.1} -> {:.1}",
            run.profile,
            run.prompt_tokens,
            run.output_tokens,
            run.concurrency,
            run.measured_ttft_ms,
            run.simulated_ttft_ms,
            run.measured_tpot_ms,
            run.simulated_tpot_ms,
        );
    }
}
