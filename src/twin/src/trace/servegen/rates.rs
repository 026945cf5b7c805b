//! `chunk-N-trace.csv`: start of the bin (s), rate (requests/s), CV of the gaps, family of the fit
//! and its two parameters, which are not used.

use std::path::Path;

use crate::trace::TraceError;
use crate::trace::gaps::Family;
use crate::trace::pool::Bin;

/// One bin of the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) start_s: f64,
    pub(super) length_s: f64,
    pub(super) rate_rps: f64,
    pub(super) cv: f64,
    pub(super) family: Family,
}

/// Length of a file's only bin: ServeGen's bin.
const BIN_LENGTH_S: f64 = 600.0;

impl Row {
    /// The part of the bin inside the window, from the window's start; `None` when nothing arrives
    /// there.
    pub(super) fn within(&self, start_s: f64, end_s: f64, rate_scale: f64) -> Option<Bin> {
        let from = self.start_s.max(start_s);
        let to = (self.start_s + self.length_s).min(end_s);
        let requests = self.rate_rps * rate_scale * (to - from);
        (to > from && requests > 0.0).then_some(Bin {
            start_s: from - start_s,
            length_s: to - from,
            requests,
            cv: self.cv,
            family: self.family,
        })
    }
}

/// All bins of a client. A bin lasts until the next row, the last as long as the one before it.
pub(super) fn read(path: &Path) -> Result<Vec<Row>, TraceError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|source| TraceError::Io { path: name.clone(), source })?;
    let mut rows: Vec<Row> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |(what, expected): (String, &str)| TraceError::Line {
            path: name.clone(),
            line: index as u64 + 1,
            what,
            expected: expected.into(),
        };
        let row = parse(line).map_err(wrong)?;
        if let Some(last) = rows.last_mut() {
            if row.start_s <= last.start_s {
                let what = format!(
                    "the bin starts at {} s, the one before it at {} s",
                    row.start_s, last.start_s
                );
                return Err(wrong((what, "bins in order of time")));
            }
            last.length_s = row.start_s - last.start_s;
        }
        rows.push(row);
    }
    if let [.., before, last] = rows.as_mut_slice() {
        last.length_s = before.length_s;
    }
    Ok(rows)
}

fn parse(line: &str) -> Result<Row, (String, &'static str)> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [start, rate, cv, family, _, _] = fields[..] else {
        let what = format!("{} fields", fields.len());
        return Err((what, "6 fields: seconds, requests/s, CV, family and its two parameters"));
    };
    let number = |name: &str, field: &str, expected| {
        let value = field.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0);
        value.ok_or_else(|| (format!("{name} is `{field}`"), expected))
    };
    let start_s = number("the bin's start", start, "seconds since the start of the trace")?;
    let rate_rps = number("the rate", rate, "requests per second, 0 or more")?;
    let silent = rate_rps <= 0.0;
    let cv =
        if silent { 0.0 } else { number("the CV", cv, "a coefficient of variation, 0 or more")? };
    let family = match family {
        "Gamma" => Family::Gamma,
        "Weibull" => Family::Weibull,
        _ if silent => Family::Gamma,
        _ => return Err((format!("the family is `{family}`"), "Gamma or Weibull")),
    };
    Ok(Row { start_s, length_s: BIN_LENGTH_S, rate_rps, cv, family })
}
