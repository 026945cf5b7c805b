//! From the text of an engine's page to what it says of its load.
//!
//! Names as of vLLM 0.33 (`v1/metrics/loggers.py`), SGLang 0.5 (`srt/metrics/collector.py`) and
//! TensorRT-LLM's `trtllm-serve`; vLLM's name of the KV gauge before 0.11 is understood too.

use forebay_core::gate::EndpointLoad;
use forebay_core::observe::EngineSample;
use memchr::memchr3;
use thiserror::Error;

/// Whose names a page uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineDialect {
    /// `vllm:`, also llm-d's simulator.
    Vllm,
    /// `sglang:`.
    Sglang,
    /// `trtllm_`.
    TensorRtLlm,
}

/// Why a page says nothing about load.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PageError {
    /// No engine's names are on it.
    #[error(
        "the page has no running-requests gauge of vLLM, SGLang or TensorRT-LLM: is it an engine's /metrics?"
    )]
    UnknownDialect,
    /// A gauge is missing or is not a number.
    #[error("the page of {dialect:?} has no usable `{gauge}`")]
    Missing {
        /// Whose page.
        dialect: EngineDialect,
        /// Which gauge.
        gauge: &'static str,
    },
}

/// What a page says.
#[derive(Clone, Debug, PartialEq)]
pub struct EnginePage {
    /// Its load now.
    pub load: EndpointLoad,
    /// Tokens generated since it started; `None` where it does not tell.
    pub output_tokens_total: Option<f64>,
    /// Requests answered since it started; `None` where it does not tell.
    pub requests_finished_total: Option<f64>,
    /// All that is learned from (see [`super::read_engine_sample`]); `None` on most pages, for it
    /// is read only as often as it teaches anything, and where the page does not tell.
    pub sample: Option<Box<EngineSample>>,
}

/// The series of one dialect.
struct Names {
    dialect: EngineDialect,
    running: &'static str,
    waiting: &'static str,
    /// Waiting for something else than capacity, by reason; to be taken off `waiting`.
    deferred: Option<(&'static str, &'static str)>,
    kv_usage: &'static [&'static str],
    output_tokens: &'static str,
    finished: &'static str,
}

const DIALECTS: [Names; 3] = [
    Names {
        dialect: EngineDialect::Vllm,
        running: "vllm:num_requests_running",
        waiting: "vllm:num_requests_waiting",
        deferred: Some(("vllm:num_requests_waiting_by_reason", "reason=\"deferred\"")),
        kv_usage: &["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"],
        output_tokens: "vllm:generation_tokens_total",
        finished: "vllm:request_success_total",
    },
    Names {
        dialect: EngineDialect::Sglang,
        running: "sglang:num_running_reqs",
        waiting: "sglang:num_queue_reqs",
        deferred: None,
        kv_usage: &["sglang:token_usage"],
        output_tokens: "sglang:generation_tokens_total",
        finished: "sglang:num_requests_total",
    },
    Names {
        dialect: EngineDialect::TensorRtLlm,
        running: "trtllm_num_requests_running",
        waiting: "trtllm_num_requests_waiting",
        deferred: None,
        kv_usage: &["trtllm_kv_cache_utilization"],
        output_tokens: "trtllm_generation_tokens_total",
        finished: "trtllm_request_success_total",
    },
];

/// Reads a page in the Prometheus text format. Series of several data-parallel ranks are added up
/// (the use of KV is that of the fullest).
///
/// # Errors
/// When running or waiting are not there or are not numbers. A page without the KV gauge is
/// readable: its use is then NaN, which means unknown.
pub fn read_engine_page(page: &str) -> Result<EnginePage, PageError> {
    let mut found: Option<(&Names, Sums)> = None;
    for line in page.lines() {
        let Some(first) = line.as_bytes().first() else { continue };
        // All names begin with one of three letters: a look at one byte skips most of a page.
        if !matches!(first, b'v' | b's' | b't') {
            continue;
        }
        let Some((name, rest)) = named(line) else { continue };
        if found.is_none() {
            let names = DIALECTS.iter().find(|names| names.owns(name));
            found = names.map(|names| (names, Sums::default()));
        }
        if let Some((names, sums)) = &mut found {
            sums.take(names, name, rest);
        }
    }
    let (names, sums) = found.ok_or(PageError::UnknownDialect)?;
    let missing = |gauge| PageError::Missing { dialect: names.dialect, gauge };
    let usable = |value: Option<f64>| value.filter(|value| value.is_finite() && *value >= 0.0);
    let running = usable(sums.running).ok_or_else(|| missing(names.running))?;
    let waiting = usable(sums.waiting).ok_or_else(|| missing(names.waiting))?;
    let deferred = usable(sums.deferred).unwrap_or(0.0);
    let load = EndpointLoad {
        running,
        waiting: (waiting - deferred).max(0.0),
        kv_usage: usable(sums.kv_usage).unwrap_or(f64::NAN),
    };
    Ok(EnginePage {
        load,
        output_tokens_total: usable(sums.output_tokens),
        requests_finished_total: usable(sums.finished),
        sample: None,
    })
}

#[derive(Default)]
struct Sums {
    running: Option<f64>,
    waiting: Option<f64>,
    deferred: Option<f64>,
    kv_usage: Option<f64>,
    output_tokens: Option<f64>,
    finished: Option<f64>,
}

impl Names {
    fn owns(&self, name: &str) -> bool {
        let own = [self.running, self.waiting, self.output_tokens, self.finished];
        own.contains(&name) || self.kv_usage.contains(&name)
    }
}

impl Sums {
    /// Takes a sample if it is one of theirs; `rest` is what follows its name.
    fn take(&mut self, names: &Names, name: &str, rest: &str) {
        let of_label = names.deferred.filter(|(gauge, _)| *gauge == name).map(|(_, label)| label);
        let sum = if name == names.running {
            &mut self.running
        } else if name == names.waiting {
            &mut self.waiting
        } else if name == names.output_tokens {
            &mut self.output_tokens
        } else if name == names.finished {
            &mut self.finished
        } else if names.kv_usage.contains(&name) {
            &mut self.kv_usage
        } else if of_label.is_some() {
            &mut self.deferred
        } else {
            return;
        };
        let Some((labels, value)) = measured(rest) else { return };
        if of_label.is_some_and(|label| !labels.contains(label)) {
            return;
        }
        *sum = Some(match *sum {
            None => value,
            Some(fullest) if names.kv_usage.contains(&name) => fullest.max(value),
            Some(so_far) => so_far + value,
        });
    }
}

/// A sample as name, text of its labels, value; `None` for comments and what cannot be read.
pub(super) fn split(line: &str) -> Option<(&str, &str, f64)> {
    let (name, rest) = named(line)?;
    let (labels, value) = measured(rest)?;
    Some((name, labels, value))
}

/// A sample's name, and the rest of its line.
fn named(line: &str) -> Option<(&str, &str)> {
    let end = memchr3(b'{', b' ', b'\t', line.as_bytes())?;
    Some(line.split_at(end))
}

/// The text of a sample's labels, and its value.
fn measured(rest: &str) -> Option<(&str, f64)> {
    let (labels, values) = match rest.strip_prefix('{') {
        // A label's value may hold anything, but no gauge that is read here has a brace in one.
        Some(inner) => inner.rsplit_once('}')?,
        None => ("", rest),
    };
    let value = values.split_ascii_whitespace().next()?;
    Some((labels, value.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::vllm_page;

    #[test]
    fn a_page_that_we_write_reads_back() {
        let mut sample = EngineSample::idle(1e6);
        (sample.running, sample.waiting, sample.waiting_deferred) = (7.0, 5.0, 2.0);
        (sample.generation_tokens_total, sample.requests_finished_total) = (900.0, 3.0);
        sample.kv_usage = 0.25;
        let page = read_engine_page(&vllm_page(&sample, "a{b}\"c", 0)).unwrap();
        assert_eq!(page.load, EndpointLoad { running: 7.0, waiting: 3.0, kv_usage: 0.25 });
        assert_eq!(page.output_tokens_total, Some(900.0));
        assert_eq!(page.requests_finished_total, Some(3.0));
    }

    #[test]
    fn ranks_add_up_and_the_fullest_cache_counts() {
        let page = "# TYPE sglang:num_running_reqs gauge\n\
            sglang:num_running_reqs{dp_rank=\"0\",model_name=\"m\"} 3.0\n\
            sglang:num_running_reqs{dp_rank=\"1\",model_name=\"m\"} 4.0\n\
            sglang:num_queue_reqs{dp_rank=\"0\"} 0\n\
            sglang:num_queue_reqs{dp_rank=\"1\"} 2 1700000000\n\
            sglang:token_usage{dp_rank=\"0\"} 0.5\nsglang:token_usage{dp_rank=\"1\"} 0.75\n";
        let load = read_engine_page(page).unwrap().load;
        assert_eq!(load, EndpointLoad { running: 7.0, waiting: 2.0, kv_usage: 0.75 });
    }

    #[test]
    fn older_vllm_and_tensorrt_llm_are_understood() {
        let old = "vllm:num_requests_running 1\nvllm:num_requests_waiting 2\n\
            vllm:gpu_cache_usage_perc 0.1\n";
        let expected = EndpointLoad { running: 1.0, waiting: 2.0, kv_usage: 0.1 };
        assert_eq!(read_engine_page(old).unwrap().load, expected);
        let other = "trtllm_num_requests_running{a=\"b\"} 1\ntrtllm_num_requests_waiting 2\n";
        let load = read_engine_page(other).unwrap().load;
        assert!(load.kv_usage.is_nan(), "not told is unknown, not empty");
    }

    #[test]
    fn a_page_without_the_gauges_is_no_idle_engine() {
        assert_eq!(read_engine_page(""), Err(PageError::UnknownDialect));
        assert_eq!(read_engine_page("<html>busy</html>"), Err(PageError::UnknownDialect));
        let half = "vllm:num_requests_running 1\n";
        let missing = |gauge| Err(PageError::Missing { dialect: EngineDialect::Vllm, gauge });
        assert_eq!(read_engine_page(half), missing("vllm:num_requests_waiting"));
        let nan = "vllm:num_requests_running NaN\nvllm:num_requests_waiting 0\n";
        assert_eq!(read_engine_page(nan), missing("vllm:num_requests_running"));
    }
}
