//! Which lengths a client's request takes, at any time of the window.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use forebay_core::time::{Span, Time};

use super::dataset::{Dataset, LengthTables};
use crate::trace::TraceError;
use crate::trace::alias::AliasTable;
use crate::trace::draw::Stream;
use crate::trace::pool::Client;

/// Length tables by window and client.
#[derive(Clone, Debug)]
pub(in crate::trace) struct Histograms {
    windows: Vec<Window>,
}

#[derive(Clone, Debug)]
struct Window {
    /// From the start of the trace's window.
    start: Time,
    /// By index of the client; `None` when it has no histogram at all.
    own: Vec<Option<Arc<LengthTables>>>,
    /// Draws the index of a client with a histogram, by load in this window.
    donors: AliasTable,
}

/// Requests expected whose lengths are not their client's of their own window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Borrowed {
    pub(super) from_own_windows: f64,
    pub(super) from_others: f64,
}

impl Histograms {
    /// Reads what the clients need between `start` and `start + length`.
    pub(super) fn read(
        folder: &Path,
        clients: &[Client],
        start: Time,
        length: Span,
    ) -> Result<(Self, Borrowed), TraceError> {
        let paths: Vec<String> = clients
            .iter()
            .map(|client| {
                folder.join(format!("chunk-{}-dataset.json", client.id)).display().to_string()
            })
            .collect();
        let texts = paths.iter().map(|path| read_if_there(path)).collect::<Result<Vec<_>, _>>()?;
        let mut datasets = Vec::with_capacity(clients.len());
        for (path, text) in paths.iter().zip(&texts) {
            datasets.push(text.as_deref().map(|json| Dataset::read(path, json)).transpose()?);
        }
        let filled: Vec<Vec<u64>> = datasets
            .iter()
            .map(|dataset| {
                dataset.as_ref().map_or_else(Vec::new, |dataset| dataset.filled().collect())
            })
            .collect();
        let starts = window_starts(&filled, start, length).ok_or_else(|| TraceError::Format {
            path: folder.display().to_string(),
            what: "no client of the window has token lengths".into(),
            hint: "put the chunk-N-dataset.json files beside the chunk-N-trace.csv files".into(),
        })?;
        let mut borrowed = Borrowed::default();
        let mut cache: BTreeMap<(usize, u64), Option<Arc<LengthTables>>> = BTreeMap::new();
        let mut windows: Vec<Window> = Vec::with_capacity(starts.len());
        for (place, &window_start) in starts.iter().enumerate() {
            let from_s = (window_start as f64 - start.as_seconds()).max(0.0);
            let to_s = starts
                .get(place + 1)
                .map_or(f64::INFINITY, |&next| next as f64 - start.as_seconds());
            let mut own = Vec::with_capacity(clients.len());
            let mut loads = Vec::new();
            for (index, client) in clients.iter().enumerate() {
                let load = requests_between(client, from_s, to_s);
                let nearest =
                    filled[index].iter().copied().min_by_key(|&at| (at.abs_diff(window_start), at));
                let tables = match (nearest, &datasets[index]) {
                    (Some(at), Some(dataset)) => match cache.get(&(index, at)) {
                        Some(tables) => tables.clone(),
                        None => {
                            let tables = dataset.tables(at)?.map(Arc::new);
                            cache.insert((index, at), tables.clone());
                            tables
                        }
                    },
                    _ => None,
                };
                if tables.is_none() {
                    borrowed.from_others += load;
                } else {
                    // A client that is silent here may still be the only donor.
                    loads.push((index as u32, load.max(f64::MIN_POSITIVE)));
                    if nearest != Some(window_start) {
                        borrowed.from_own_windows += load;
                    }
                }
                own.push(tables);
            }
            let donors = AliasTable::new(&loads).ok_or_else(|| TraceError::Format {
                path: folder.display().to_string(),
                what: "no client has a token length above 0".into(),
                hint: "check the chunk-N-dataset.json files".into(),
            })?;
            windows.push(Window { start: Time::from_seconds(from_s), own, donors });
        }
        Ok((Self { windows }, borrowed))
    }

    /// Prompt and output length of a request of the client with that index.
    #[inline]
    pub(in crate::trace) fn draw(&self, client: u32, at: Time, random: &mut Stream) -> (u32, u32) {
        let place = self.windows.partition_point(|window| window.start <= at);
        let window = &self.windows[place.saturating_sub(1)];
        let tables = window.own[client as usize].as_ref().or_else(|| {
            let donor = window.donors.draw(random);
            window.own[donor as usize].as_ref()
        });
        // Donors have tables: the fallback is for the type only.
        tables.map_or((1, 1), |tables| (tables.prompt.draw(random), tables.output.draw(random)))
    }
}

fn read_if_there(path: &str) -> Result<Option<String>, TraceError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TraceError::Io { path: path.into(), source }),
    }
}

/// Starts of all windows that touch the span, in seconds of the trace; `None` without any.
fn window_starts(filled: &[Vec<u64>], start: Time, length: Span) -> Option<Vec<u64>> {
    let all: BTreeSet<u64> = filled.iter().flatten().copied().collect();
    let (from, to) = (start.as_seconds(), (start + length).as_seconds());
    let first = all
        .iter()
        .copied()
        .take_while(|&at| at as f64 <= from)
        .last()
        .or_else(|| all.first().copied())?;
    Some(all.into_iter().filter(|&at| at >= first && (at == first || (at as f64) < to)).collect())
}

fn requests_between(client: &Client, from_s: f64, to_s: f64) -> f64 {
    let part = |start: f64, length: f64| {
        ((start + length).min(to_s) - start.max(from_s)).max(0.0) / length
    };
    client.bins.iter().map(|bin| bin.requests * part(bin.start_s, bin.length_s)).sum()
}
