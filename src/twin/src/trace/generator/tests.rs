use std::sync::Arc;

use super::*;
use crate::trace::{Options, Source, open};

const PLAIN: &str = "duration: 2h
meanRequestsPerSecond: 50
curve: {period: 2h, points: [{at: 0h, level: 1}, {at: 1h, level: 3}]}
bursts: [{at: 30m, length: 10m, factor: 4}]
clients: {count: 4, cv: 2, skew: 1}
promptTokens: {logNormal: {median: 500, mean: 800, max: 9000}}
outputTokens: {histogram: [{tokens: 10, share: 3}, {tokens: 30, share: 1}]}
";

fn whole() -> (Time, Time) {
    (Time::ZERO, Time::MAX)
}

#[test]
fn a_curve_its_bursts_and_its_mean_are_met() {
    let generated = generate("g.yaml", PLAIN, whole(), 1.0, 3).unwrap();
    assert_eq!(generated.length, Span::from_secs(7_200));
    assert!((generated.pool.requests_expected() - 360_000.0).abs() < 1.0);
    let mut source = Arc::new(generated.pool).stream();
    let (mut total, mut burst, mut before, mut largest, mut outputs) = (0.0, 0.0, 0.0, 0.0, 0.0);
    while let Some(request) = source.next_request().unwrap() {
        let minute = request.at.as_seconds() / 60.0;
        total += 1.0;
        burst += f64::from(u8::from((30.0..40.0).contains(&minute)));
        before += f64::from(u8::from((20.0..30.0).contains(&minute)));
        largest += f64::from(u8::from(request.client == 0));
        outputs += f64::from(request.output_tokens);
        assert!((1..=9_000).contains(&request.prompt_tokens));
    }
    // Counts spread by CV / sqrt(n) = 0.33 %.
    assert!((total / 360_000.0_f64 - 1.0).abs() < 0.015, "{total}");
    // Levels 2.17 and 1.83, times 4 in the burst.
    assert!((burst / before - 4.0 * 2.1667 / 1.8333_f64).abs() < 0.3, "{burst} / {before}");
    // 1 / (1 + 1/2 + 1/3 + 1/4).
    assert!((largest / total - 0.48_f64).abs() < 0.01);
    assert!((outputs / total - 15.0_f64).abs() < 0.1);
}

#[test]
fn windows_cut_the_curve_and_scales_multiply_it() {
    let at = |minutes: u64| Time::ZERO + Span::from_secs(minutes * 60);
    let cut = generate("g.yaml", PLAIN, (at(30), at(40)), 2.0, 3).unwrap();
    assert_eq!(cut.length, Span::from_secs(600));
    let all = generate("g.yaml", PLAIN, whole(), 1.0, 3).unwrap();
    let there: f64 = all.pool.clients[0]
        .bins
        .iter()
        .filter(|bin| (1_800.0..2_400.0).contains(&bin.start_s))
        .map(|bin| bin.requests)
        .sum();
    assert!((cut.pool.requests_expected() / (2.0 * there) - 1.0).abs() < 1e-9);
}

#[test]
fn what_is_wrong_is_said() {
    let said = |from: &str, to: &str| {
        assert!(PLAIN.contains(from));
        let result = generate("g.yaml", &PLAIN.replace(from, to), whole(), 1.0, 3);
        result.map(|_| ()).unwrap_err().to_string()
    };
    assert!(
        said("meanRequestsPerSecond: 50", "meanRequestsPerSecond: 0")
            .contains("meanRequestsPerSecond is 0")
    );
    assert!(said("cv: 2", "cv: -2").contains("clients.cv is -2"));
    assert!(said("count: 4", "count: 0").contains("clients.count is 0"));
    assert!(said("{at: 1h, level: 3}", "{at: 3h, level: 3}").contains("curve.points"));
    assert!(said("level: 1}", "level: -1}").contains("level is -1"));
    assert!(said("mean: 800", "mean: 80").contains("promptTokens: median 500 and mean 80"));
    assert!(
        said("share: 3}, {tokens: 30, share: 1", "share: 0")
            .contains("outputTokens: the histogram")
    );
    let line = said("cv: 2", "cw: 2");
    assert!(line.starts_with("g.yaml:5:"), "{line}");
    assert!(said("duration: 2h", "duration: 2").starts_with("g.yaml:1:"));
    assert!(said("duration: 2h", "kind: Elephant\nduration: 2h").contains("expected"));
}

#[test]
fn the_built_in_day_has_the_statistics_that_it_claims() {
    let day = open(super::super::BUILTIN_DAY, &Options::default()).unwrap();
    assert_eq!(day.duration(), Span::from_secs(86_400));
    assert!(day.notes().iter().any(|note| note.contains("209.5")));
    let mut source = day.stream().unwrap();
    let (mut prompts, mut outputs, mut bins, mut clients) =
        (Vec::new(), Vec::new(), [0.0; 144], [0.0; 100]);
    while let Some(request) = source.next_request().unwrap() {
        prompts.push(request.prompt_tokens);
        outputs.push(request.output_tokens);
        bins[(request.at.as_seconds() / 600.0) as usize] += 1.0;
        clients[request.client as usize] += 1.0;
    }
    let near = |found: f64, wanted: f64, tolerance: f64, name: &str| {
        assert!((found / wanted - 1.0).abs() < tolerance, "{name}: {found} for {wanted}");
    };
    let total = prompts.len() as f64;
    near(total / 86_400.0, 20.0, 0.02, "requests/s");
    // The highest of noisy bins lies above the highest rate.
    near(bins.iter().copied().fold(0.0, f64::max) / (total / 144.0), 2.78, 0.08, "peak over mean");
    near(clients[..5].iter().sum::<f64>() / total, 0.43, 0.03, "share of the 5 largest");
    let check = |tokens: &mut Vec<u32>, mean: f64, median: f64, p99: f64, name: &str| {
        tokens.sort_unstable();
        let at = |share: f64| f64::from(tokens[(share * total) as usize]);
        near(tokens.iter().map(|&tokens| f64::from(tokens)).sum::<f64>() / total, mean, 0.01, name);
        near(at(0.5), median, 0.02, name);
        near(at(0.99), p99, 0.03, name);
    };
    check(&mut prompts, 1115.0, 663.0, 10_384.0, "prompt");
    check(&mut outputs, 183.0, 71.0, 952.0, "output");
}
