//! The scores as a table.

use std::fmt::Write;

use forebay_core::time::Span;

use super::score::{Bound, Report};

/// The scores as text of at most 100 columns.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    let scored = report.steps - report.unscored_steps;
    let _ = writeln!(
        text,
        "Foreseen: the maximum of a minute's work up to each lead time and one step of {} s, over \
         {scored}\nsteps, upper end at {} %. Errors, excess and shortfall are shares of the mean \
         maximum.\n",
        report.step_seconds,
        report.quantile * 100.0
    );
    let _ = writeln!(
        text,
        "lead    WAPE last  point   corrected  rises   upper end     covers  in rises  excess  short  loss"
    );
    for lead in &report.leads {
        let name = Span::from_seconds(lead.lead_seconds).to_string();
        let _ = write!(
            text,
            "{name:<8}{:>8} {:>7} {:>10} {:>6}   ",
            percent(lead.wape_last),
            percent(lead.wape_point),
            percent(lead.corrected),
            percent(lead.rises)
        );
        line(&mut text, "forecaster", &lead.forecaster);
        let _ = write!(text, "{:<45}", "");
        line(&mut text, "constant", &lead.constant);
    }
    let _ = writeln!(
        text,
        "\nrises: the maximum lies more than 10 % above the last value. constant: the last value times\n\
         the factor that covers equally often, known in hindsight only. loss: quantile loss."
    );
    text
}

fn line(text: &mut String, name: &str, bound: &Bound) {
    let rises = bound.coverage_given_rise.map_or_else(|| "-".to_owned(), percent);
    let _ = writeln!(
        text,
        "{name:<12} {:>7} {rises:>9} {:>7} {:>6} {:>5.4}",
        percent(bound.coverage),
        percent(bound.mean_excess),
        percent(bound.mean_shortfall),
        bound.quantile_loss
    );
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
