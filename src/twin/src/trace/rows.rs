//! One line of a recorded trace, by format.

use std::sync::Arc;

use serde::Deserialize;

use super::timestamp;

/// Tokens that one of Mooncake's hash identities stands for.
pub(super) const MOONCAKE_PIECE_TOKENS: u32 = 512;

/// One recorded request; its time counts from the file's own origin.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) at_nanos: i64,
    pub(super) prompt_tokens: u32,
    pub(super) output_tokens: u32,
    pub(super) prefix: Option<Arc<[u64]>>,
}

/// What is wrong with a line, and what would be right.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) expected: String,
}

/// How the lines of a file are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RowFormat {
    /// Azure LLM inference, 2023 or 2024.
    Azure(Columns),
    /// BurstGPT.
    BurstGpt(Columns),
    /// Mooncake JSON lines.
    Mooncake,
}

/// Where a CSV header puts the three things that matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    time: usize,
    prompt: usize,
    output: usize,
}

#[derive(Deserialize)]
struct MooncakeLine {
    timestamp: f64,
    input_length: u32,
    output_length: u32,
    #[serde(default)]
    hash_ids: Vec<u64>,
}

impl RowFormat {
    /// The format that a file's first line announces; `None` when it is none of ours.
    pub(super) fn detect(first_line: &[u8]) -> Option<Self> {
        let line = String::from_utf8_lossy(first_line);
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.starts_with('{') && line.contains("\"input_length\"") {
            return Some(Self::Mooncake);
        }
        let names: Vec<String> =
            line.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
        let columns = |time: &str, prompt: &str, output: &str| {
            let place = |wanted: &str| names.iter().position(|name| name == wanted);
            Some(Columns { time: place(time)?, prompt: place(prompt)?, output: place(output)? })
        };
        columns("timestamp", "contexttokens", "generatedtokens").map(Self::Azure).or_else(|| {
            columns("timestamp", "request tokens", "response tokens").map(Self::BurstGpt)
        })
    }

    /// Name for reports.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Azure(_) => "azure-llm-inference",
            Self::BurstGpt(_) => "burstgpt",
            Self::Mooncake => "mooncake",
        }
    }

    /// Whether the first line is a header.
    pub(super) const fn has_header(&self) -> bool {
        !matches!(self, Self::Mooncake)
    }

    /// Tokens per prefix identity; 0 without.
    pub(super) const fn piece_tokens(&self) -> u32 {
        if matches!(self, Self::Mooncake) { MOONCAKE_PIECE_TOKENS } else { 0 }
    }

    /// Reads one line.
    pub(super) fn parse(&self, line: &[u8]) -> Result<Row, Wrong> {
        match self {
            Self::Azure(columns) => columns.parse(line, timestamp::EXPECTED, timestamp::parse),
            Self::BurstGpt(columns) => {
                columns.parse(line, "a number of seconds", |field| nanos(field, 1e9))
            }
            Self::Mooncake => parse_mooncake(line),
        }
    }
}

impl Columns {
    fn parse(
        &self,
        line: &[u8],
        time_expected: &str,
        parse_time: impl Fn(&[u8]) -> Option<i64>,
    ) -> Result<Row, Wrong> {
        let (mut time, mut prompt, mut output) = (None, None, None);
        for (index, field) in line.split(|byte| *byte == b',').enumerate() {
            if index == self.time {
                time = Some(field.trim_ascii());
            } else if index == self.prompt {
                prompt = Some(field.trim_ascii());
            } else if index == self.output {
                output = Some(field.trim_ascii());
            }
        }
        let (Some(time), Some(prompt), Some(output)) = (time, prompt, output) else {
            let last = self.time.max(self.prompt).max(self.output) + 1;
            let found = line.split(|byte| *byte == b',').count();
            return Err(Wrong {
                what: format!("{found} fields"),
                expected: format!("at least {last} fields separated by commas, as in the header"),
            });
        };
        let at_nanos = parse_time(time).ok_or_else(|| wrong_field("time", time, time_expected))?;
        let tokens = |name: &str, field: &[u8]| {
            count(field).ok_or_else(|| wrong_field(name, field, "a whole number of tokens"))
        };
        Ok(Row {
            at_nanos,
            prompt_tokens: tokens("prompt length", prompt)?,
            output_tokens: tokens("output length", output)?,
            prefix: None,
        })
    }
}

fn parse_mooncake(line: &[u8]) -> Result<Row, Wrong> {
    let row: MooncakeLine = serde_json::from_slice(line).map_err(|error| Wrong {
        what: error.to_string(),
        expected: "a JSON object with timestamp (ms), input_length, output_length and hash_ids"
            .into(),
    })?;
    let pieces = row.input_length.div_ceil(MOONCAKE_PIECE_TOKENS) as usize;
    if row.hash_ids.len() > pieces {
        return Err(Wrong {
            what: format!("{} hash_ids for {} tokens", row.hash_ids.len(), row.input_length),
            expected: format!("at most {pieces}, one for each {MOONCAKE_PIECE_TOKENS} tokens"),
        });
    }
    if !(row.timestamp.is_finite() && row.timestamp.abs() < 9e12) {
        return Err(Wrong {
            what: format!("timestamp {}", row.timestamp),
            expected: "a number of milliseconds".into(),
        });
    }
    Ok(Row {
        at_nanos: (row.timestamp * 1e6).round() as i64,
        prompt_tokens: row.input_length,
        output_tokens: row.output_length,
        prefix: (!row.hash_ids.is_empty()).then(|| row.hash_ids.into()),
    })
}

fn wrong_field(name: &str, field: &[u8], expected: &str) -> Wrong {
    Wrong {
        what: format!("{name} is `{}`", String::from_utf8_lossy(field)),
        expected: expected.into(),
    }
}

/// A whole number, also when a spreadsheet wrote it as `374.0`.
fn count(field: &[u8]) -> Option<u32> {
    let digits = field.strip_suffix(b".0").unwrap_or(field);
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u32, |value, digit| {
        if !digit.is_ascii_digit() {
            return None;
        }
        value.checked_mul(10)?.checked_add(u32::from(digit - b'0'))
    })
}

fn nanos(field: &[u8], nanos_per_unit: f64) -> Option<i64> {
    let value: f64 = std::str::from_utf8(field).ok()?.parse().ok()?;
    let nanos = value * nanos_per_unit;
    // Beyond 285 years nanoseconds no longer fit.
    (nanos.is_finite() && nanos.abs() < 9e18).then_some(nanos.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AZURE: &[u8] = b"TIMESTAMP,ContextTokens,GeneratedTokens";
    const BURST: &[u8] = b"Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type";
    const MOONCAKE: &[u8] =
        br#"{"timestamp": 3000, "input_length": 1030, "output_length": 5, "hash_ids": [0, 1, 2]}"#;

    fn row(header: &[u8], line: &str) -> Result<Row, Wrong> {
        RowFormat::detect(header).unwrap().parse(line.as_bytes())
    }

    #[test]
    fn formats_are_told_by_their_first_line() {
        assert_eq!(RowFormat::detect(AZURE).unwrap().name(), "azure-llm-inference");
        assert_eq!(RowFormat::detect(BURST).unwrap().name(), "burstgpt");
        assert_eq!(RowFormat::detect(MOONCAKE).unwrap().name(), "mooncake");
        let later = b"Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens";
        assert_eq!(RowFormat::detect(later).unwrap().name(), "burstgpt");
        assert_eq!(RowFormat::detect(b"time,tokens"), None);
        assert_eq!(RowFormat::detect(b""), None);
    }

    #[test]
    fn rows_of_every_format_are_read() {
        let azure = row(AZURE, "2024-05-10 00:00:01+00:00,374,44").unwrap();
        assert_eq!((azure.prompt_tokens, azure.output_tokens), (374, 44));
        assert_eq!(azure.at_nanos, 1_715_299_201_000_000_000);
        let burst = row(BURST, "45,ChatGPT,472,18,490,Conversation log").unwrap();
        assert_eq!((burst.prompt_tokens, burst.output_tokens), (472, 18));
        assert_eq!(burst.at_nanos, 45_000_000_000);
        let mooncake = RowFormat::Mooncake.parse(MOONCAKE).unwrap();
        assert_eq!(mooncake.at_nanos, 3_000_000_000);
        assert_eq!(mooncake.prefix.as_deref(), Some(&[0, 1, 2][..]));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said_with_what_was_expected() {
        let said = |header: &[u8], line: &str| {
            let wrong = row(header, line).unwrap_err();
            format!("{} / {}", wrong.what, wrong.expected)
        };
        assert!(said(AZURE, "2024-05-10 00:00:01+00:00,374").starts_with("2 fields / at least 3"));
        assert!(said(AZURE, "yesterday,374,44").contains("time is `yesterday` / a timestamp such"));
        assert!(said(AZURE, "2024-05-10 00:00:01,many,44").contains("prompt length is `many`"));
        assert!(said(AZURE, "2024-05-10 00:00:01,3,-4").contains("output length is `-4`"));
        assert!(said(AZURE, "2024-05-10 00:00:01,3,5000000000").contains("a whole number"));
        assert!(said(BURST, "soon,ChatGPT,472,18,490,log").contains("a number of seconds"));
        assert!(said(MOONCAKE, "{\"timestamp\": 1}").contains("a JSON object with timestamp"));
        let many =
            r#"{"timestamp": 1, "input_length": 512, "output_length": 1, "hash_ids": [1, 2]}"#;
        assert!(said(MOONCAKE, many).contains("2 hash_ids for 512 tokens / at most 1"));
    }
}
