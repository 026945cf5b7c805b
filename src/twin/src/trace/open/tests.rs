use super::*;
use crate::trace::Request;

/// A file that goes away with the test.
struct TestFile(std::path::PathBuf);

impl TestFile {
    fn new(name: &str, text: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("forebay-trace-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

fn all(trace: &Trace) -> Vec<Request> {
    let mut source = trace.stream().unwrap();
    let mut requests = Vec::new();
    while let Some(request) = source.next_request().unwrap() {
        requests.push(request);
    }
    requests
}

fn open_all(path: &str, window: Option<(Time, Time)>, rate_scale: f64) -> Vec<Request> {
    let trace = open(path, &Options { window, rate_scale, seed: 7 }).unwrap();
    let requests = all(&trace);
    assert_eq!(requests, all(&trace));
    assert!(requests.windows(2).all(|pair| pair[0].at <= pair[1].at));
    assert!(requests.iter().all(|request| request.at.0 < trace.duration().0));
    requests
}

fn seconds(count: u64) -> Time {
    Time::ZERO + Span::from_secs(count)
}

const AZURE: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\n";

/// One request a second for an hour; prompt lengths count up.
fn hour() -> TestFile {
    let mut text = AZURE.to_owned();
    for second in 0..3_600 {
        let (minute, rest) = (second / 60, second % 60);
        text.push_str(&format!("2024-05-10 00:{minute:02}:{rest:02}+00:00,{},5\n", second + 1));
    }
    TestFile::new(
        &format!("hour-{:?}.csv", std::thread::current().id()).replace(['(', ')'], ""),
        &text,
    )
}

#[test]
fn azure_of_both_years_is_read_in_order_of_time() {
    let file = TestFile::new(
        "azure.csv",
        &format!(
            "{AZURE}2023-11-16 18:15:46.6805900,374,44\r\n\n2023-11-16 18:15:51.0000000,5,6\n2023-11-16 18:15:50.9951690,396,109"
        ),
    );
    let trace = open(file.path(), &Options::default()).unwrap();
    assert_eq!(trace.format(), "azure-llm-inference");
    let requests = all(&trace);
    let seen: Vec<_> =
        requests.iter().map(|r| (r.at.0, r.prompt_tokens, r.output_tokens)).collect();
    assert_eq!(seen, [(0, 374, 44), (4_314_579_000, 396, 109), (4_319_410_000, 5, 6)]);
}

#[test]
fn burstgpt_failures_are_passed_over_and_counted() {
    let file = TestFile::new(
        "burst.csv",
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,1087,0,1087,API log\n118,GPT-4,417,276,693,Conversation log\n",
    );
    let trace = open(file.path(), &Options::default()).unwrap();
    assert_eq!((trace.format(), trace.duration()), ("burstgpt", Span(113_000_000_001)));
    let mut source = trace.stream().unwrap();
    let first = source.next_request().unwrap().unwrap();
    let second = source.next_request().unwrap().unwrap();
    assert_eq!((first.at, second.at, second.output_tokens), (Time::ZERO, seconds(113), 276));
    assert_eq!(source.next_request().unwrap(), None);
    assert_eq!(source.rows_skipped(), 1);
}

#[test]
fn mooncake_carries_its_identities_and_copies_have_their_own() {
    let line = |at: u32| {
        format!(
            "{{\"timestamp\": {at}, \"input_length\": 600, \"output_length\": 3, \"hash_ids\": [0, {at}]}}\n"
        )
    };
    let file = TestFile::new("moon.jsonl", &[0, 3_000, 3_000, 6_000].map(line).concat());
    let trace = open(file.path(), &Options::default()).unwrap();
    assert_eq!((trace.format(), trace.stream().unwrap().prefix_piece_tokens()), ("mooncake", 512));
    let once = all(&trace);
    assert_eq!(once[3].prefix.as_deref(), Some(&[0, 6_000][..]));
    assert_eq!(once[3].at, seconds(6));
    let twice = open_all(file.path(), None, 2.0);
    let first_pieces: std::collections::BTreeSet<u64> =
        twice.iter().map(|request| request.prefix.as_ref().unwrap()[0]).collect();
    // Shared within a copy, not between copies.
    assert_eq!((twice.len(), first_pieces.len()), (8, 2));
}

#[test]
fn windows_count_from_their_start() {
    let file = hour();
    let requests = open_all(file.path(), Some((seconds(600), seconds(1_200))), 1.0);
    assert_eq!(requests.len(), 600);
    assert_eq!((requests[0].at, requests[0].prompt_tokens), (Time::ZERO, 601));
    let beyond = open(
        file.path(),
        &Options { window: Some((seconds(7_200), Time::MAX)), ..Options::default() },
    );
    assert!(beyond.unwrap_err().to_string().contains("the trace ends at"));
}

#[test]
fn scales_lay_copies_over_or_thin_without_stretching_time() {
    let file = hour();
    let original = open_all(file.path(), None, 1.0);
    let half = open_all(file.path(), None, 0.5);
    // Binomial: standard deviation 30.
    assert!(half.len().abs_diff(1_800) < 150, "{}", half.len());
    assert!(half.iter().all(|request| original.contains(request)));
    let more = open_all(file.path(), None, 2.5);
    assert!(more.len().abs_diff(9_000) < 150, "{}", more.len());
    assert_eq!(more.iter().filter(|request| original.contains(request)).count(), 3_600);
    let first_half = more.iter().filter(|request| request.at < seconds(1_800)).count();
    assert!(first_half.abs_diff(more.len() / 2) < 150);
}

#[test]
fn malformed_lines_are_named_with_line_and_expectation() {
    let good = "2024-05-10 00:00:00+00:00,1,1\n";
    let file =
        TestFile::new("wrong.csv", &format!("{AZURE}{good}{good}2024-05-10 00:00:01,x,1\n{good}"));
    let read = open(file.path(), &Options::default())
        .unwrap()
        .stream()
        .and_then(|mut source| source.next_request());
    let said = read.unwrap_err().to_string();
    assert!(
        said.contains("wrong.csv:4: prompt length is `x`; expected a whole number of tokens"),
        "{said}"
    );
}

#[test]
fn a_row_far_out_of_place_is_an_error() {
    let mut text = AZURE.to_owned();
    for row in 0..5_000 {
        text.push_str(&format!("2024-05-10 01:{:02}:{:02}+00:00,1,1\n", row / 60 % 60, row % 60));
    }
    text.push_str("2024-05-10 01:00:00+00:00,1,1\n");
    let file = TestFile::new("order.csv", &text);
    let mut source = open(file.path(), &Options::default()).unwrap().stream().unwrap();
    let error = loop {
        match source.next_request() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the trace was read to its end"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("expected rows in order of time"), "{error}");
}

#[test]
fn what_is_no_trace_is_said_with_what_would_be() {
    let said = |path: &str, scale: f64| {
        let options = Options { rate_scale: scale, ..Options::default() };
        open(path, &options).unwrap_err().to_string()
    };
    let file = TestFile::new("other.csv", "a,b\n1,2\n");
    assert!(said(file.path(), 1.0).contains("no known trace format; expected an Azure"));
    let empty = TestFile::new("empty.csv", AZURE);
    assert!(said(empty.path(), 1.0).contains("holds no request"));
    let packed = TestFile::new("packed.csv.gz", "");
    std::fs::write(&packed.0, [0x1f, 0x8b, 8]).unwrap();
    assert!(said(packed.path(), 1.0).contains("compressed"));
    assert!(said("/nonexistent/trace.csv", 1.0).contains("cannot read /nonexistent/trace.csv"));
    assert!(said(std::env::temp_dir().to_str().unwrap(), 1.0).contains("no chunk-N-trace.csv"));
    assert!(said("builtin:night", 1.0).contains("builtin:day"));
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(said("builtin:day", scale).contains("the rate scale is"));
    }
}

#[test]
fn the_real_recordings_are_read_whole() {
    let Ok(folder) = std::env::var("FOREBAY_TRACES") else {
        eprintln!("skipped: set FOREBAY_TRACES to the folder with azure2023 and mooncake");
        return;
    };
    let azure = open_all(&format!("{folder}/azure2023/AzureLLMInferenceTrace_conv.csv"), None, 1.0);
    assert_eq!(azure.len(), 19_366);
    let mooncake = open_all(&format!("{folder}/mooncake/conversation_trace.jsonl"), None, 1.0);
    assert_eq!(mooncake.len(), 12_031);
    let tokens: f64 = mooncake.iter().map(|request| f64::from(request.prompt_tokens)).sum();
    assert!((tokens / 12_031.0 - 12_035.0).abs() < 1.0);
    let mut seen = std::collections::BTreeSet::new();
    let ids = mooncake.iter().flat_map(|request| request.prefix.iter().flat_map(|ids| ids.iter()));
    let (mut known, mut all) = (0.0, 0.0);
    for id in ids {
        all += 1.0;
        known += f64::from(u8::from(!seen.insert(*id)));
    }
    assert!((known / all - 0.366_f64).abs() < 0.001, "{}", known / all);
}
