//! ServeGen client pools: a folder with `chunk-N-trace.csv` (rates and CVs of client N in bins)
//! and `chunk-N-dataset.json` (its token histograms in windows).
//!
//! What rules where the files leave it open:
//! - the CV column, not the fitted parameters: the fits of Weibull rows follow the bulk of the gaps
//!   and miss the tail (shape 0.375 means a CV of 3.5 where 8.6 was measured). Their family is
//!   kept, their shape solved from the CV;
//! - a count per bin is held (see [`super::stratified`]), also under a rate scale;
//! - a client without a histogram for a window takes its own from the nearest window in time (the
//!   earlier of two); one without any draws each request from a client that has one, in proportion
//!   to their load in that window. So aggregated lengths stay those of the known requests;
//! - prompt and output lengths are drawn apart: the files hold no joint distribution.

mod dataset;
mod histograms;
mod rates;

use std::path::Path;

use forebay_core::time::{Span, Time};

pub(super) use histograms::Histograms;

use super::TraceError;
use super::gaps::Family;
use super::pool::{Arrivals, Bin, Client, Pool, PoolLengths};

/// Most clients of a pool: what a folder of files can sensibly hold.
const CLIENTS_MAX: usize = 100_000;

/// A pool read from its folder, and how long it lasts.
pub(super) struct Loaded {
    pub(super) pool: Pool,
    pub(super) length: Span,
    pub(super) notes: Vec<String>,
}

/// Whether the folder holds a client pool.
pub(super) fn is_pool(folder: &Path) -> bool {
    chunk_numbers(folder).is_ok_and(|chunks| !chunks.is_empty())
}

/// Reads the clients that send anything in the window, and their histograms.
pub(super) fn load(
    folder: &str,
    window: (Time, Time),
    rate_scale: f64,
    seed: u64,
) -> Result<Loaded, TraceError> {
    let path = Path::new(folder);
    let chunks =
        chunk_numbers(path).map_err(|source| TraceError::Io { path: folder.into(), source })?;
    if chunks.len() > CLIENTS_MAX {
        return Err(TraceError::Format {
            path: folder.into(),
            what: format!("{} clients", chunks.len()),
            hint: format!("at most {CLIENTS_MAX} are read"),
        });
    }
    let (start_s, end_s) = (window.0.as_seconds(), window.1.as_seconds());
    let mut clients = Vec::new();
    let mut trace_end_s = 0.0_f64;
    for &chunk in &chunks {
        let rows = rates::read(&path.join(format!("chunk-{chunk}-trace.csv")))?;
        trace_end_s = rows.iter().map(|row| row.start_s + row.length_s).fold(trace_end_s, f64::max);
        let bins: Vec<Bin> =
            rows.iter().filter_map(|row| row.within(start_s, end_s, rate_scale)).collect();
        if !bins.is_empty() {
            clients.push(Client {
                id: chunk,
                share: 1.0,
                bins: bins.into(),
                arrivals: Arrivals::Held,
            });
        }
    }
    if start_s >= trace_end_s {
        return Err(TraceError::Format {
            path: folder.into(),
            what: format!(
                "the window starts at {}, the trace ends at {}",
                window.0,
                Time::from_seconds(trace_end_s)
            ),
            hint: "choose a window inside the trace".into(),
        });
    }
    let length = Time::from_seconds(end_s.min(trace_end_s)).since(window.0);
    let (histograms, borrowed) = Histograms::read(path, &clients, window.0, length)?;
    let weibull: f64 = requests(&clients, |bin| bin.family == Family::Weibull);
    let all: f64 = requests(&clients, |_| true).max(f64::MIN_POSITIVE);
    let percent = |part: f64| 100.0 * part / all;
    let notes = vec![
        format!("{} of {} clients send requests in the window", clients.len(), chunks.len()),
        "counts per bin and client are held as measured; arrival times within a bin are drawn with the bin's CV".into(),
        format!("the CV column rules over fitted parameters ({:.1} % of requests are in Weibull rows)", percent(weibull)),
        format!(
            "{:.1} % of requests take their client's histogram of another window, {:.1} % one of the other clients by load, since their client has none",
            percent(borrowed.from_own_windows), percent(borrowed.from_others)
        ),
        "prompt and output lengths are drawn independently of each other".into(),
    ];
    let pool = Pool { clients, lengths: PoolLengths::Histograms(histograms), seed };
    Ok(Loaded { pool, length, notes })
}

fn requests(clients: &[Client], of: impl Fn(&Bin) -> bool) -> f64 {
    clients
        .iter()
        .flat_map(|client| client.bins.iter())
        .filter(|bin| of(bin))
        .map(|bin| bin.requests)
        .sum()
}

/// The N of all `chunk-N-trace.csv`, rising.
fn chunk_numbers(folder: &Path) -> std::io::Result<Vec<u32>> {
    let mut chunks = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number: Option<u32> = name
            .to_str()
            .and_then(|name| name.strip_prefix("chunk-")?.strip_suffix("-trace.csv")?.parse().ok());
        chunks.extend(number);
    }
    chunks.sort_unstable();
    Ok(chunks)
}

#[cfg(test)]
mod tests;
