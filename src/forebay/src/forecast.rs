//! `forebay forecast`.

use anyhow::{Result, anyhow, ensure};
use forebay_core::api::scalar::Duration;
use forebay_core::time::Span;
use forebay_twin::forecast::{self, Series};
use serde_json::json;

use crate::cli::ForecastArguments;
use crate::inputs::Inputs;
use crate::output;

/// A planner decides, and reads the work, this often.
const STEP: Span = Span::from_secs(15);

pub(crate) fn run(arguments: &ForecastArguments) -> Result<()> {
    ensure!(
        (0.5..1.0).contains(&arguments.quantile),
        "--quantile {}: expected a share of at least 0.5 and below 1, such as 0.9",
        arguments.quantile
    );
    let leads = arguments.lead.iter().map(|lead| parse_lead(lead)).collect::<Result<Vec<_>>>()?;
    let inputs = Inputs::load(&arguments.input)?;
    let source = inputs.trace.stream()?;
    let series = Series::read(source, &inputs.world, inputs.trace.duration(), STEP)?;
    let report = forecast::score(&series, &leads, arguments.quantile);
    if let Some(path) = &arguments.json {
        let document = json!({
            "schema": "forebay.forecast/v1",
            "trace": inputs.trace.path(),
            "seed": inputs.seed,
            "commit": env!("FOREBAY_COMMIT"),
            "series": series,
            "scores": report,
        });
        output::write_json(path, &document)?;
    }
    output::show(&forecast::render(&report), arguments.json.as_deref())
}

/// A span such as `90s` or `4m`.
fn parse_lead(text: &str) -> Result<Span> {
    let span = Duration::parse(text.trim()).map_err(|error| anyhow!("--lead: {error}"))?;
    ensure!(span.0 > Span::ZERO, "--lead {text}: expected spans above zero such as 90s,4m");
    Ok(span.0)
}
