//! The fuzz functions over their corpus, and over every seed changed a few thousand times: what
//! `cargo fuzz` does for hours, for a second, on every run.

use std::path::Path;

/// Changed copies of each seed.
const COPIES: u32 = 300;

/// A generator that is the same on every machine (xorshift).
struct Draw(u64);

impl Draw {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }
}

/// Pieces that parsers trip over.
const PIECES: [&[u8]; 12] = [
    b"\"model\"",
    b"\\u0000",
    b"\\ud800",
    b"\xff\xfe",
    b"1e999",
    b"{",
    b"]",
    b"\n",
    b"data: ",
    b"99999999999999999999",
    b"\"usage\":",
    b"\x00",
];

/// The seed with one to four changes.
fn changed(seed: &[u8], draw: &mut Draw) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=draw.next(4) {
        let at = draw.next(bytes.len() + 1);
        match draw.next(5) {
            0 if at < bytes.len() => bytes[at] ^= 1 << draw.next(8),
            1 => bytes.truncate(at),
            2 => drop(bytes.splice(at..at, PIECES[draw.next(PIECES.len())].iter().copied())),
            3 => {
                let end = (at + draw.next(16)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let end = (at + draw.next(32)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let to = draw.next(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
        }
    }
    bytes
}

fn over_the_corpus(name: &str, function: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut seeds: Vec<_> =
        std::fs::read_dir(&folder).expect("a corpus").map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{} is empty", folder.display());
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    for path in seeds {
        let seed = std::fs::read(&path).unwrap();
        function(&seed);
        for copy in 0..COPIES {
            let bytes = changed(&seed, &mut draw);
            let outcome = std::panic::catch_unwind(|| function(&bytes));
            let shown = String::from_utf8_lossy(&bytes);
            assert!(outcome.is_ok(), "{} changed, copy {copy}: {shown:?}", path.display());
        }
    }
}

#[test]
fn bodies() {
    over_the_corpus("body", forebay_gateway::fuzzing::body);
}

#[test]
fn exchanges_with_envoy() {
    over_the_corpus("exchange", forebay_gateway::fuzzing::exchange);
}

#[test]
fn manifests() {
    over_the_corpus("manifests", forebay_core::manifest::fuzzing::manifests);
}

#[test]
fn pages() {
    over_the_corpus("page", forebay_telemetry::scrape::fuzzing::page);
}

#[test]
fn questions() {
    over_the_corpus("question", forebay_gateway::fuzzing::question);
}
