//! The report as JSON.

use super::{Report, SCHEMA};

/// A text that is not a report.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Not the JSON of a report.
    #[error("not a report: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A report of another version.
    #[error(
        "a report of schema `{found}`; expected `{SCHEMA}`; was it written by another version?"
    )]
    Schema {
        /// The schema that it names.
        found: String,
    },
}

impl Report {
    /// The report as indented JSON, ending in a newline.
    ///
    /// # Errors
    /// None in practice. A figure that is not finite becomes `null`, which does not read back.
    pub fn to_json(&self) -> Result<String, JsonError> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }

    /// Reads a report back.
    ///
    /// # Errors
    /// Not JSON, a field missing or of another type, or another version of the schema.
    pub fn from_json(text: &str) -> Result<Self, JsonError> {
        let report: Self = serde_json::from_str(text)?;
        if report.schema != SCHEMA {
            return Err(JsonError::Schema { found: report.schema });
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::example::{example, tiny};
    use super::*;

    type Check = fn(&Value) -> bool;

    /// Every field that readers were promised, with the type that it has.
    const SHAPE: &[(&str, Check)] = &[
        ("/schema", Value::is_string),
        ("/trace/path", Value::is_string),
        ("/trace/format", Value::is_string),
        ("/trace/requests", Value::is_u64),
        ("/trace/duration_s", Value::is_f64),
        ("/seed", Value::is_u64),
        ("/commit", Value::is_string),
        ("/oracle/lower_bound_cost_usd", Value::is_f64),
        ("/oracle/clairvoyant_cost_usd", Value::is_f64),
        ("/runs", Value::is_array),
        ("/runs/0/policy", Value::is_string),
        ("/runs/0/parameters", Value::is_object),
        ("/runs/0/cost_usd", Value::is_f64),
        ("/runs/0/accelerator_hours", Value::is_object),
        ("/runs/0/accelerator_hours/h100~1on-demand", Value::is_f64),
        ("/runs/0/replicas/chat-70b-pd~1decode-h100/mean", Value::is_f64),
        ("/runs/0/replicas/chat-70b-pd~1decode-h100/max", Value::is_u64),
        ("/runs/0/replicas/chat-70b-pd~1decode-h100/starts", Value::is_u64),
        ("/runs/0/flaps_per_hour", Value::is_f64),
        ("/runs/0/goodput_rps", Value::is_f64),
        ("/runs/0/usd_per_million_slo_tokens", Value::is_f64),
        ("/runs/0/tiers/interactive/requests", Value::is_u64),
        ("/runs/0/tiers/interactive/attained", Value::is_u64),
        ("/runs/0/tiers/interactive/attainment", Value::is_f64),
        ("/runs/0/tiers/interactive/ttft_ms/p50", Value::is_f64),
        ("/runs/0/tiers/interactive/ttft_ms/p90", Value::is_f64),
        ("/runs/0/tiers/interactive/ttft_ms/p95", Value::is_f64),
        ("/runs/0/tiers/interactive/ttft_ms/p99", Value::is_f64),
        ("/runs/0/tiers/interactive/tpot_ms/p50", Value::is_f64),
        ("/runs/0/tiers/interactive/tpot_ms/p90", Value::is_f64),
        ("/runs/0/tiers/interactive/tpot_ms/p95", Value::is_f64),
        ("/runs/0/tiers/interactive/tpot_ms/p99", Value::is_f64),
        ("/runs/0/tiers/interactive/shed", Value::is_u64),
        ("/runs/0/tiers/interactive/timed_out", Value::is_u64),
        ("/runs/0/tiers/interactive/failed", Value::is_u64),
        ("/runs/0/wall_seconds", Value::is_f64),
        ("/runs/0/requests_per_wall_second", Value::is_f64),
    ];

    #[test]
    fn every_promised_field_is_there_with_its_type() {
        let text = example().to_json().unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        for (pointer, has_type) in SHAPE {
            let value = json.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is missing"));
            assert!(has_type(value), "{pointer} is {value}");
        }
        assert_eq!(json["schema"], "forebay.report/v1");
    }

    #[test]
    fn absence_is_null_and_not_zero() {
        let mut report = tiny();
        report.runs[0].usd_per_million_slo_tokens = None;
        let json: Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
        for pointer in [
            "/oracle/lower_bound_cost_usd",
            "/oracle/clairvoyant_cost_usd",
            "/runs/0/usd_per_million_slo_tokens",
            "/runs/0/tiers/standard/ttft_ms/p50",
        ] {
            assert_eq!(json.pointer(pointer), Some(&Value::Null), "{pointer}");
        }
    }

    #[test]
    fn what_was_written_reads_back() {
        for report in [tiny(), example(), Report { schema: SCHEMA.into(), ..Report::default() }] {
            assert_eq!(Report::from_json(&report.to_json().unwrap()).unwrap(), report);
        }
    }

    #[test]
    fn another_version_is_refused() {
        let text = tiny().to_json().unwrap().replace(SCHEMA, "forebay.report/v9");
        let error = Report::from_json(&text).unwrap_err();
        assert!(error.to_string().contains("forebay.report/v9"), "{error}");
        assert!(matches!(Report::from_json("{}"), Err(JsonError::Malformed(_))));
    }
}
