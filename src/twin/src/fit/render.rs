//! A fit for a reader.

use std::fmt::Write;

use super::{FitErrors, FitReport};

/// What was fitted, how well, and what was left out and why.
#[must_use]
pub fn render(report: &FitReport) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let mut line = |words: String| {
        let _infallible = writeln!(text, "{words}");
    };
    line(match &report.prior {
        Some(prior) => format!("Fitted to {} windows, from the profile {prior}:", report.fitted),
        None => format!("Fitted to {} windows, without a prior profile:", report.fitted),
    });
    for multiplier in &report.multipliers {
        let (name, value, deviation) = (multiplier.name, multiplier.value, multiplier.deviation);
        line(format!("  {name:<18} x{value:.3} +- {deviation:.3}"));
    }
    let step = &report.profile.step_time;
    line(format!(
        "  step: fixed {:.3} ms, weights {:.3} ms, {:.3} ms per 1,000 tokens, {:.5} ms per 1,000 KV \
         tokens, {:.3} ms per million pairs",
        step.fixed_ms,
        step.weights_ms,
        step.compute_ms_per_ktoken,
        step.kv_read_ms_per_ktoken,
        step.attention_ms_per_mpair
    ));
    line("Error of the step time:          mean   median    p90    bias".into());
    line(errors("windows fitted", report.fitted, &report.error_in_sample));
    line(errors("later windows", report.held_out, &report.error_out_of_sample));
    if let Some(prior) = &report.error_prior_out_of_sample {
        line(errors("later, prior alone", report.held_out, prior));
    }
    if report.left_out.is_empty() {
        line("No window was left out.".into());
    } else {
        line("Left out:".into());
        for (reason, count) in &report.left_out {
            line(format!("  {count:>6}  {reason}"));
        }
    }
    text
}

fn errors(name: &str, windows: usize, errors: &FitErrors) -> String {
    format!(
        "  {name:<20} {windows:>6} {:>6.1} % {:>6.1} % {:>5.1} % {:>+6.1} %",
        errors.mean_percent, errors.median_percent, errors.p90_percent, errors.bias_percent
    )
}
