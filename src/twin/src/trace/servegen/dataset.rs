//! `chunk-N-dataset.json`: per window, two histograms as Python prints a dict of length to share.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use crate::trace::TraceError;
use crate::trace::alias::AliasTable;
use crate::trace::lengths::TOKENS_MAX;

/// The windows of a file, by their start in seconds, not yet parsed.
pub(super) struct Dataset<'a> {
    path: &'a str,
    windows: BTreeMap<u64, RawWindow<'a>>,
}

#[derive(Deserialize)]
struct RawWindow<'a> {
    #[serde(borrow)]
    input_tokens: Cow<'a, str>,
    #[serde(borrow)]
    output_tokens: Cow<'a, str>,
}

/// Prompt and output lengths of a client in a window.
#[derive(Clone, Debug)]
pub(super) struct LengthTables {
    pub(super) prompt: AliasTable,
    pub(super) output: AliasTable,
}

impl<'a> Dataset<'a> {
    /// Reads the outer JSON.
    pub(super) fn read(path: &'a str, json: &'a str) -> Result<Self, TraceError> {
        let windows: BTreeMap<Cow<'a, str>, RawWindow<'a>> =
            serde_json::from_str(json).map_err(|error| TraceError::Line {
                path: path.into(),
                line: error.line() as u64,
                what: error.to_string(),
                expected: "{\"seconds\": {\"input_tokens\": \"{length: share, ...}\", \"output_tokens\": ...}}".into(),
            })?;
        let mut by_start = BTreeMap::new();
        for (key, window) in windows {
            let start: u64 = key.parse().map_err(|_| TraceError::Line {
                path: path.into(),
                line: 1,
                what: format!("a window is called `{key}`"),
                expected: "the seconds at which it starts".into(),
            })?;
            by_start.insert(start, window);
        }
        Ok(Self { path, windows: by_start })
    }

    /// Starts of the windows that hold lengths, rising.
    pub(super) fn filled(&self) -> impl Iterator<Item = u64> {
        let filled = |text: &str| text.contains(':');
        self.windows
            .iter()
            .filter(move |(_, window)| {
                filled(&window.input_tokens) && filled(&window.output_tokens)
            })
            .map(|(start, _)| *start)
    }

    /// The tables of a window; `None` when it holds no length above 0.
    pub(super) fn tables(&self, start: u64) -> Result<Option<LengthTables>, TraceError> {
        let Some(window) = self.windows.get(&start) else { return Ok(None) };
        let table = |name: &str, text: &str| {
            let entries = parse_dict(text).map_err(|entry| TraceError::Line {
                path: self.path.into(),
                line: 1,
                what: format!("{name} of window {start} has the entry `{entry}`"),
                expected: "length: share, both numbers".into(),
            })?;
            Ok::<_, TraceError>(AliasTable::new(&entries))
        };
        let prompt = table("input_tokens", &window.input_tokens)?;
        let output = table("output_tokens", &window.output_tokens)?;
        Ok(prompt.zip(output).map(|(prompt, output)| LengthTables { prompt, output }))
    }
}

/// Entries of `{224: 0.0003, 225: 0.0008}` with a length above 0 (a request without tokens was not
/// served). Gives the entry that cannot be read.
fn parse_dict(text: &str) -> Result<Vec<(u32, f64)>, String> {
    let inner = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let inner = inner.ok_or_else(|| text.chars().take(40).collect::<String>())?;
    let mut entries = Vec::with_capacity(inner.len() / 24);
    for entry in inner.split(',').filter(|entry| !entry.trim().is_empty()) {
        let parsed = entry.split_once(':').and_then(|(length, share)| {
            let length: u32 = length.trim().parse().ok()?;
            let share: f64 = share.trim().parse().ok()?;
            (length <= TOKENS_MAX && share.is_finite() && share >= 0.0).then_some((length, share))
        });
        let (length, share) = parsed.ok_or_else(|| entry.trim().to_owned())?;
        if length > 0 {
            entries.push((length, share));
        }
    }
    Ok(entries)
}
