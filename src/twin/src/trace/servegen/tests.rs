use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use crate::trace::{Options, Source, Trace, open};

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("forebay-servegen-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> &Self {
        std::fs::write(self.0.join(name), text).unwrap();
        self
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Rates and CVs of the synthetic pool, by client: two hours of bins.
fn rate_and_cv(client: u32, bin: u32) -> (f64, f64) {
    let requests = match (client, bin) {
        (0, _) => 1_200 + 300 * (bin % 3),
        (1, 4..=6) => 0,
        (1, _) => 90 + 10 * bin,
        _ => 400,
    };
    let cv = match client {
        0 => 3.0,
        1 => 0.6,
        _ => 8.6,
    };
    (f64::from(requests) / 600.0, cv)
}

fn synthetic(name: &str) -> Folder {
    let folder = Folder::new(name);
    for client in 0..3 {
        let mut text = String::new();
        for bin in 0..12 {
            let (rate, cv) = rate_and_cv(client, bin);
            let line = if rate > 0.0 {
                let family = if client == 2 { "Weibull" } else { "Gamma" };
                // Parameters that contradict the CV: a Weibull shape of 0.375 implies 3.5.
                format!("{},{rate},{cv},{family},0.375,0.4\n", bin * 600)
            } else {
                format!("{},0,0,,0,0\n", bin * 600)
            };
            text.push_str(&line);
        }
        folder.write(&format!("chunk-{client}-trace.csv"), &text);
    }
    let window = |input: &str, output: &str| {
        format!("{{\"input_tokens\": \"{input}\", \"output_tokens\": \"{output}\"}}")
    };
    let first = format!(
        "{{\"0\": {}, \"3600\": {}}}",
        window("{100: 0.5, 200: 0.5}", "{0: 0.5, 10: 0.5}"),
        window("{}", "{}")
    );
    folder.write("chunk-0-dataset.json", &first);
    folder.write(
        "chunk-1-dataset.json",
        &format!("{{\"0\": {}, \"3600\": {}}}", window("{}", "{}"), window("{7: 1.0}", "{8: 1.0}")),
    );
    folder
}

fn opened(path: &str, seed: u64, rate_scale: f64, window: Option<(Time, Time)>) -> Trace {
    open(path, &Options { window, rate_scale, seed }).unwrap()
}

fn each(source: &mut dyn Source, mut visit: impl FnMut(crate::trace::Request)) {
    while let Some(request) = source.next_request().unwrap() {
        visit(request);
    }
}

/// Counts per bin and client.
fn counts(trace: &Trace) -> BTreeMap<(u32, u32), u32> {
    let mut counts = BTreeMap::new();
    each(&mut *trace.stream().unwrap(), |request| {
        *counts.entry((request.client, (request.at.as_seconds() / 600.0) as u32)).or_default() += 1;
    });
    counts
}

#[test]
fn every_bin_holds_its_measured_count_and_nothing_piles_up_at_edges() {
    let folder = synthetic("counts");
    let mut near_edges = 0;
    let seeds = 40;
    for seed in 0..seeds {
        let trace = opened(folder.path(), seed, 1.0, None);
        assert_eq!(trace.duration(), Span::from_secs(7_200));
        let counts = counts(&trace);
        for client in 0..3 {
            for bin in 0..12 {
                let expected = (rate_and_cv(client, bin).0 * 600.0).round() as u32;
                let found = counts.get(&(client, bin)).copied().unwrap_or(0);
                assert!(
                    found.abs_diff(expected) <= 1,
                    "client {client} bin {bin}: {found} of {expected}"
                );
            }
        }
        each(&mut *trace.stream().unwrap(), |request| {
            near_edges += u32::from(request.client == 2 && request.at.as_seconds() % 600.0 < 30.0);
        });
    }
    // A twentieth of client 2's 4,800 requests per seed; restarted renewals with a CV of 8.6 would
    // add up to 36 in each of the 12 bins, which is 180 %.
    let expected = 4_800.0 / 20.0 * f64::from(seeds as u32);
    assert!((f64::from(near_edges) / expected - 1.0).abs() < 0.25, "{near_edges} of {expected}");
}

/// Squared CV of a client's gaps in operational time, where their mean is 1.
fn squared_cvs(trace: &Trace, position: impl Fn(u32, f64) -> f64) -> BTreeMap<u32, (f64, f64)> {
    let mut last: BTreeMap<u32, f64> = BTreeMap::new();
    let mut sums: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    each(&mut *trace.stream().unwrap(), |request| {
        let at = position(request.client, request.at.as_seconds());
        if let Some(before) = last.insert(request.client, at) {
            let sum = sums.entry(request.client).or_default();
            sum.0 += 1.0;
            sum.1 += (at - before - 1.0).powi(2);
        }
    });
    sums
}

#[test]
fn each_clients_gaps_have_the_cv_of_its_column_at_any_scale() {
    let folder = synthetic("cv");
    for scale in [0.3, 1.0, 4.0] {
        let mut totals: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
        for seed in 0..60 {
            let trace = opened(folder.path(), seed, scale, None);
            let position = |client: u32, seconds: f64| {
                let bin = (seconds / 600.0) as u32;
                let before: f64 = (0..bin).map(|bin| rate_and_cv(client, bin).0 * 600.0).sum();
                scale * (before + rate_and_cv(client, bin).0 * (seconds - f64::from(bin) * 600.0))
            };
            for (client, (gaps, squares)) in squared_cvs(&trace, position) {
                let total = totals.entry(client).or_default();
                total.0 += gaps;
                total.1 += squares;
            }
        }
        for (client, (gaps, squares)) in totals {
            let (found, column) = ((squares / gaps).sqrt(), rate_and_cv(client, 0).1);
            assert!(
                (found / column - 1.0).abs() < 0.1,
                "scale {scale}, client {client}: {found} for {column}"
            );
        }
    }
}

#[test]
fn scale_multiplies_totals_and_windows_cut_bins() {
    let folder = synthetic("scale");
    let total =
        |scale, window| counts(&opened(folder.path(), 5, scale, window)).values().sum::<u32>();
    let all = total(1.0, None);
    assert!(total(2.5, None).abs_diff(all * 5 / 2) <= 3);
    assert!(total(0.1, None).abs_diff(all / 10) <= 3);
    let at = |seconds| Time::ZERO + Span::from_secs(seconds);
    let expected: f64 = (0..3)
        .map(|client| rate_and_cv(client, 0).0 * 300.0 + rate_and_cv(client, 1).0 * 60.0)
        .sum();
    let cut = total(1.0, Some((at(300), at(660))));
    assert!((f64::from(cut) - expected).abs() <= 6.0, "{cut} of {expected}");
}

#[test]
fn lengths_are_the_clients_own_then_of_its_nearest_window_then_of_others_by_load() {
    let folder = synthetic("lengths");
    let trace = opened(folder.path(), 1, 1.0, None);
    let mut own = BTreeMap::new();
    each(&mut *trace.stream().unwrap(), |request| {
        let late = request.at >= Time::ZERO + Span::from_secs(3_600);
        *own.entry((request.client, late, request.prompt_tokens, request.output_tokens))
            .or_insert(0_u32) += 1;
    });
    let of = |client, late, prompt, output| {
        own.get(&(client, late, prompt, output)).copied().unwrap_or(0)
    };
    // Client 0 has only the first window, client 1 only the second; an output of 0 tokens was no
    // served request.
    assert!(of(0, false, 100, 10) > 3_000 && of(0, true, 200, 10) > 3_000);
    assert!(of(1, false, 7, 8) > 0 && of(1, true, 7, 8) > 0);
    assert!(own.keys().all(|&(client, _, prompt, output)| match client {
        0 => (prompt == 100 || prompt == 200) && output == 10,
        1 => prompt == 7 && output == 8,
        _ => prompt == 7 || output == 10,
    }));
    // Client 2 has none: by load, 9,000 of client 0 to 500 of client 1 in the first hour.
    let from_one = f64::from(of(2, false, 7, 8)) / 2_400.0;
    let load: f64 = (0..6).map(|bin| rate_and_cv(1, bin).0).sum::<f64>()
        / (0..6).map(|bin| rate_and_cv(0, bin).0 + rate_and_cv(1, bin).0).sum::<f64>();
    assert!((from_one - load).abs() < 0.02, "{from_one} of {load}");
    assert!(trace.notes().iter().any(|note| note.contains("CV column rules")));
}

#[test]
fn passes_are_equal_and_seeds_differ() {
    let folder = synthetic("seed");
    let all = |seed| {
        let trace = opened(folder.path(), seed, 1.0, None);
        let mut requests = Vec::new();
        each(&mut *trace.stream().unwrap(), |request| requests.push(request));
        let mut again = Vec::new();
        each(&mut *trace.clone().stream().unwrap(), |request| again.push(request));
        assert_eq!(requests, again);
        assert!(requests.windows(2).all(|pair| pair[0].at <= pair[1].at));
        requests
    };
    assert_ne!(all(1), all(2));
}

#[test]
fn malformed_files_are_named_with_line_and_expectation() {
    let folder = Folder::new("wrong");
    let said = || open(folder.path(), &Options::default()).unwrap_err().to_string();
    let good = "0,1.5,2.0,Gamma,0.25,2.6\n";
    for (line, expected) in [
        ("600,1.5,2.0,Gamma,0.25", "chunk-4-trace.csv:2: 5 fields; expected 6 fields"),
        ("600,x,2.0,Gamma,0.25,1", ":2: the rate is `x`; expected requests per second"),
        ("600,1,-2.0,Gamma,0.25,1", ":2: the CV is `-2.0`; expected a coefficient"),
        ("600,1,2.0,Pareto,0.25,1", ":2: the family is `Pareto`; expected Gamma or Weibull"),
        (
            "0,1,2.0,Gamma,0.25,1",
            ":2: the bin starts at 0 s, the one before it at 0 s; expected bins in order",
        ),
    ] {
        folder.write("chunk-4-trace.csv", &format!("{good}{line}\n"));
        assert!(said().contains(expected), "{}", said());
    }
    folder.write("chunk-4-trace.csv", good);
    assert!(said().contains("no client of the window has token lengths"), "{}", said());
    for (json, expected) in [
        ("{\"0\": {\"input_tokens\": 4}}", "chunk-4-dataset.json:1:"),
        (
            "{\"zero\": {\"input_tokens\": \"{}\", \"output_tokens\": \"{}\"}}",
            "a window is called `zero`",
        ),
        (
            "{\"0\": {\"input_tokens\": \"{1: a}\", \"output_tokens\": \"{1: 1}\"}}",
            "input_tokens of window 0 has the entry `1: a`",
        ),
    ] {
        folder.write("chunk-4-dataset.json", json);
        assert!(said().contains(expected), "{}", said());
    }
}

/// The real pool, when `FOREBAY_TRACES` names the folder that holds it.
fn real_pool() -> Option<String> {
    let Ok(folder) = std::env::var("FOREBAY_TRACES") else {
        eprintln!("skipped: set FOREBAY_TRACES to the folder with servegen-m-large-week1");
        return None;
    };
    Some(format!("{folder}/servegen-m-large-week1"))
}

#[test]
fn the_real_pool_holds_its_totals_per_hour_and_its_clients_cvs() {
    let Some(path) = real_pool() else { return };
    // The first six hours, whose CVs are the wildest of the week (a renewal process would spread
    // by 3.7 % in the first of them), and six of the second day.
    for start_h in [0, 30] {
        let at = |hours: u64| Time::ZERO + Span::from_secs(hours * 3_600);
        let trace = opened(&path, 11, 1.0, Some((at(start_h), at(start_h + 6))));
        let Loaded { pool, .. } = load(&path, (at(start_h), at(start_h + 6)), 1.0, 11).unwrap();
        let mut expected = [0.0; 6];
        for bin in pool.clients.iter().flat_map(|client| client.bins.iter()) {
            expected[(bin.start_s / 3_600.0) as usize] += bin.requests;
        }
        let mut clocks: BTreeMap<u32, (f64, &[Bin])> =
            pool.clients.iter().map(|client| (client.id, (0.0, &*client.bins))).collect();
        let mut found = [0.0; 6];
        let mut gaps: BTreeMap<u32, (f64, f64, f64)> = BTreeMap::new();
        each(&mut *trace.stream().unwrap(), |request| {
            let seconds = request.at.as_seconds();
            found[(seconds / 3_600.0) as usize] += 1.0;
            let (before, bins) = clocks.get_mut(&request.client).unwrap();
            while bins.len() > 1 && seconds >= bins[1].start_s - 1e-6 {
                *before += bins[0].requests;
                *bins = &bins[1..];
            }
            let part = (seconds - bins[0].start_s) / bins[0].length_s;
            let position = *before + bins[0].requests * part.clamp(0.0, 1.0);
            let (count, squares, last) = gaps.entry(request.client).or_insert((0.0, 0.0, position));
            *count += 1.0;
            *squares += (position - *last - 1.0).powi(2);
            *last = position;
        });
        for hour in 0..6 {
            let error = found[hour] / expected[hour] - 1.0;
            assert!(
                error.abs() < 0.005,
                "hour {}: {} of {}",
                start_h as usize + hour,
                found[hour],
                expected[hour]
            );
        }
        let mut compared = 0;
        for client in pool.clients.iter() {
            let requests: f64 = client.bins.iter().map(|bin| bin.requests).sum();
            let column: f64 =
                client.bins.iter().map(|bin| bin.requests * bin.cv * bin.cv).sum::<f64>()
                    / requests;
            let (count, squares, _) = gaps[&client.id];
            // The mean of squares of a few heavy-tailed gaps says little: enough gaps for their
            // spread, over several bins.
            if requests < 200.0 * column.max(1.0) || client.bins.len() < 6 {
                continue;
            }
            compared += 1;
            let ratio = (squares / count / column).sqrt();
            assert!(
                (ratio - 1.0).abs() < 0.2,
                "client {}: {ratio} of {}",
                client.id,
                column.sqrt()
            );
        }
        assert!(compared > 20, "{compared} clients compared");
    }
}

#[test]
#[ignore = "a measurement: run with --release -- --ignored --nocapture"]
fn drawing_speed_of_the_real_pool() {
    let Some(path) = real_pool() else { return };
    let at = |hours: u64| Time::ZERO + Span::from_secs(hours * 3_600);
    for window in [Some((at(0), at(24))), None] {
        let started = std::time::Instant::now();
        let trace = opened(&path, 1, 1.0, window);
        let opening = started.elapsed();
        let started = std::time::Instant::now();
        let (mut requests, mut tokens) = (0_u64, 0_u64);
        each(&mut *trace.stream().unwrap(), |request| {
            requests += 1;
            tokens += u64::from(request.prompt_tokens) + u64::from(request.output_tokens);
        });
        let drawing = started.elapsed();
        println!(
            "opened in {opening:?}; {requests} requests, {tokens} tokens in {drawing:?}: {:.2} M/s; {:?}",
            requests as f64 / drawing.as_secs_f64() / 1e6,
            trace.notes()
        );
    }
}
