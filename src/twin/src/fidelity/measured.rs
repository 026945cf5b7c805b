//! Measured serving runs: one row of a table each, and which engine profile describes it.

use std::collections::{BTreeMap, BTreeSet};

use forebay_core::engine::profile::EngineProfile;
use xxhash_rust::xxh3::xxh3_64;

use crate::profiles::{MODELS, Model};
use crate::table::{Row, Table, TableError};

/// Most requests at once of a run that is simulated: above what any published sweep does, and a
/// bound on the time that a table can take.
const CONCURRENCY_MAX: u64 = 4_096;
/// Longest prompt and longest output of a run that is simulated, tokens: the longest contexts that
/// models are served with.
const LENGTH_TOKENS_MAX: u64 = 1 << 20;

/// In `silicon_data_source`: runs of aiconfigurator's gap analysis, whose client and settings are
/// not published with the figures. The other runs are InferenceMAX's.
const UNPUBLISHED_CLIENT: &str = "gap-analysis";

/// Columns that a table of measured runs must have; the others are read where they are there.
const REQUIRED: [&str; 11] = [
    "backend",
    "model_path",
    "accelerator",
    "precision",
    "mode",
    "isl",
    "osl",
    "tp_size",
    "concurrency",
    "measured_ttft_ms",
    "measured_tpot_ms",
];

/// One measured run at a fixed concurrency.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredRun {
    /// Its `id`, else file and line.
    pub id: String,
    /// The sweep over concurrency that it is part of: everything about it but concurrency and
    /// engine version.
    pub sweep: String,
    /// Engine version; `""` when it is not stated.
    pub version: String,
    /// Profile that describes it.
    pub profile: usize,
    /// Whether the client that measured it is public, so that its load pattern is known and not
    /// guessed.
    pub client_known: bool,
    /// Most prompt tokens of a request.
    pub prompt_tokens: u32,
    /// Most output tokens of a request.
    pub output_tokens: u32,
    /// Requests at once.
    pub concurrency: u32,
    /// Mean time to the first token, ms.
    pub ttft_ms: f64,
    /// Mean time per output token after the first, ms.
    pub tpot_ms: f64,
}

/// A table sorted into what can be scored and what cannot.
#[derive(Clone, Debug, Default)]
pub(super) struct Sorted {
    /// Rows of the table.
    pub rows: u64,
    /// Those with a profile, in the order of the table, repeated listings left out.
    pub runs: Vec<MeasuredRun>,
    /// The others: reason to rows.
    pub not_scored: BTreeMap<String, u64>,
    /// All aggregated vLLM runs, with or without a profile, for the noise floor: sweep and
    /// concurrency, version, TTFT ms, TPOT ms.
    pub repeats: Vec<Repeat>,
}

/// One measurement of a configuration that may have been measured more than once.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Repeat {
    /// Sweep and concurrency.
    pub configuration: (String, u64),
    /// Engine version.
    pub version: String,
    /// Mean time to the first token, ms.
    pub ttft_ms: f64,
    /// Mean time per output token, ms.
    pub tpot_ms: f64,
}

/// Reads a table of measured runs and finds the profile of each.
///
/// # Errors
/// [`TableError`]: a column is missing or a figure is not a number.
pub(super) fn sort(csv: &str, profiles: &[EngineProfile]) -> Result<Sorted, TableError> {
    let table = Table::parse("measured runs", csv, &REQUIRED)?;
    let mut sorted = Sorted::default();
    let mut seen = BTreeSet::new();
    for row in table.rows() {
        sorted.rows += 1;
        let sweep = sweep(&row);
        let figures =
            (nine_digits(&row, "measured_ttft_ms")?, nine_digits(&row, "measured_tpot_ms")?);
        let listing = (sweep.clone(), plain(row.text("concurrency")).to_owned(), figures);
        let outcome = match run(&row, sweep, profiles)? {
            Ok(_) if !seen.insert(listing) => {
                Err("the same measurement is listed more than once".to_owned())
            }
            outcome => outcome,
        };
        if row.text("backend") == "vllm" && row.text("mode") == "agg" {
            add_repeat(&row, &mut sorted.repeats)?;
        }
        match outcome {
            Ok(run) => sorted.runs.push(run),
            Err(reason) => *sorted.not_scored.entry(reason).or_default() += 1,
        }
    }
    Ok(sorted)
}

/// The identity of a sweep in 64 bits: what training is recorded by.
#[must_use]
pub fn sweep_hash(sweep: &str) -> u64 {
    xxh3_64(sweep.as_bytes())
}

/// A figure to nine digits: listings of one measurement differ in the last ones.
fn nine_digits(row: &Row<'_>, column: &str) -> Result<String, TableError> {
    Ok(row.number(column)?.map_or_else(String::new, |number| format!("{number:.8e}")))
}

/// A number without its trailing `.0`, other text as it is.
fn plain(text: &str) -> &str {
    text.strip_suffix(".0").unwrap_or(text)
}

fn sweep(row: &Row<'_>) -> String {
    let columns = [
        "model_path",
        "accelerator",
        "backend",
        "precision",
        "mode",
        "isl",
        "osl",
        "tp_size",
        "attention_dp_size",
        "moe_tp_size",
        "moe_ep_size",
    ];
    columns.map(|column| plain(row.text(column))).join("|")
}

fn add_repeat(row: &Row<'_>, repeats: &mut Vec<Repeat>) -> Result<(), TableError> {
    let (ttft, tpot) = (row.number("measured_ttft_ms")?, row.number("measured_tpot_ms")?);
    let (Some(ttft_ms), Some(tpot_ms)) = (ttft, tpot) else { return Ok(()) };
    if row.text("concurrency").is_empty() || ttft_ms <= 0.0 || tpot_ms <= 0.0 {
        return Ok(());
    }
    repeats.push(Repeat {
        configuration: (sweep(row), row.whole("concurrency")?),
        version: row.text("backend_version").to_owned(),
        ttft_ms,
        tpot_ms,
    });
    Ok(())
}

/// The run, or why it cannot be scored.
fn run(
    row: &Row<'_>,
    sweep: String,
    profiles: &[EngineProfile],
) -> Result<Result<MeasuredRun, String>, TableError> {
    if row.text("backend") != "vllm" {
        return Ok(Err(format!("backend {}; profiles describe vLLM", row.text("backend"))));
    }
    if row.text("mode") != "agg" {
        return Ok(Err("prefill and decode on separate engines".to_owned()));
    }
    let profile = match profile_of(row, profiles) {
        Ok(profile) => profile,
        Err(reason) => return Ok(Err(reason)),
    };
    if row.text("concurrency").is_empty() {
        return Ok(Err("no concurrency given".to_owned()));
    }
    let (ttft_ms, tpot_ms) = (row.number("measured_ttft_ms")?, row.number("measured_tpot_ms")?);
    let (Some(ttft_ms), Some(tpot_ms)) = (ttft_ms, tpot_ms) else {
        return Ok(Err("no TTFT or no TPOT".to_owned()));
    };
    if ttft_ms <= 0.0 || tpot_ms <= 0.0 {
        return Ok(Err("TTFT or TPOT of zero or less".to_owned()));
    }
    let (isl, osl) = (row.whole("isl")?, row.whole("osl")?);
    let concurrency = row.whole("concurrency")?;
    let lengths = 1..=LENGTH_TOKENS_MAX;
    if !lengths.contains(&isl) || !lengths.contains(&osl) || osl < 2 {
        return Ok(Err("prompt or output outside what is simulated".to_owned()));
    }
    if !(1..=CONCURRENCY_MAX).contains(&concurrency) {
        return Ok(Err("concurrency outside what is simulated".to_owned()));
    }
    let id = match row.text("id") {
        "" => format!("line {}", row.line()),
        id => id.to_owned(),
    };
    Ok(Ok(MeasuredRun {
        id,
        sweep,
        version: row.text("backend_version").to_owned(),
        profile,
        client_known: !row.text("silicon_data_source").contains(UNPUBLISHED_CLIENT),
        prompt_tokens: isl as u32,
        output_tokens: osl as u32,
        concurrency: concurrency as u32,
        ttft_ms,
        tpot_ms,
    }))
}

/// Index of the profile that describes a row, or why there is none.
fn profile_of(row: &Row<'_>, profiles: &[EngineProfile]) -> Result<usize, String> {
    let path = row.text("model_path");
    let weights = path.rsplit('/').next().unwrap_or(path);
    let Some(model) = MODELS.iter().find(|model| is_model(model, weights)) else {
        return Err(format!("no profile of {weights}"));
    };
    let (accelerator, precision) = (row.text("accelerator"), row.text("precision"));
    let quantizations = quantizations(precision, weights);
    let mut candidates = profiles.iter().enumerate().filter(|(_, profile)| {
        profile.model == model.name
            && profile.accelerator == accelerator
            && quantizations.contains(&profile.quantization.as_str())
    });
    if candidates.clone().next().is_none() {
        let precision = quantizations.join(" or ");
        return Err(format!("no profile of {weights} in {precision} on {accelerator}"));
    }
    let tensor_parallel = plain(row.text("tp_size"));
    let one = |column| matches!(plain(row.text(column)), "" | "0" | "1");
    let experts_like_the_rest = model.experts.is_none()
        || (one("moe_ep_size") && ["", tensor_parallel].contains(&plain(row.text("moe_tp_size"))));
    if !one("attention_dp_size") || !experts_like_the_rest {
        return Err(format!("{weights}: data or expert parallelism, which no profile describes"));
    }
    candidates
        .find(|(_, profile)| profile.tensor_parallel.to_string() == tensor_parallel)
        .map(|(index, _)| index)
        .ok_or_else(|| format!("no profile of {weights} on {tensor_parallel} {accelerator}"))
}

fn is_model(model: &Model, weights: &str) -> bool {
    model.weights.iter().any(|name| {
        weights.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    })
}

/// Weight formats that a precision stands for, most specific first; without one, the format that
/// the name of the weights tells, else bf16, in which these models are published.
fn quantizations(precision: &str, weights: &str) -> &'static [&'static str] {
    match precision {
        "fp8" => &["fp8", "fp8_block"],
        "fp4" => &["nvfp4", "mxfp4"],
        "bf16" | "fp16" => &["bf16"],
        "" if weights.to_ascii_uppercase().ends_with("FP8") => &["fp8", "fp8_block"],
        "" if weights.starts_with("gpt-oss") => &["mxfp4"],
        "" => &["bf16"],
        _ => &["no such format"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiles::built_in;

    const HEADER: &str = "id,backend,backend_version,model_path,accelerator,precision,mode,isl,osl,\
        tp_size,attention_dp_size,moe_tp_size,moe_ep_size,concurrency,measured_ttft_ms,\
        measured_tpot_ms\n";

    fn sorted(rows: &str) -> Sorted {
        sort(&format!("{HEADER}{rows}"), &built_in().unwrap()).unwrap()
    }

    #[test]
    fn rows_find_the_profile_that_describes_them() {
        let profiles = built_in().unwrap();
        for (row, expected) in [
            (
                "meta-llama/Llama-3.1-70B,h100_sxm,fp8,agg,1024,1024,4.0,1.0,4.0,1.0,",
                "llama-3.3-70b-fp8-h100-sxm-tp4",
            ),
            ("Qwen/Qwen3-32B,h100_sxm,,agg,1024,512,2.0,,1.0,1.0,", "qwen3-32b-bf16-h100-sxm-tp2"),
            (
                "openai/gpt-oss-120b,h200_sxm,fp4,agg,1024,1024,1.0,1.0,1.0,1.0,",
                "gpt-oss-120b-mxfp4-h200-sxm-tp1",
            ),
            (
                "Qwen/Qwen3-235B-A22B-FP8,h200_sxm,fp8,agg,1000,100,4.0,,4.0,1.0,",
                "qwen3-235b-a22b-fp8-block-h200-sxm-tp4",
            ),
        ] {
            let sorted = sorted(&format!("a,vllm,1,{row}8.0,100,10\n"));
            assert_eq!(sorted.runs.len(), 1, "{row}: {:?}", sorted.not_scored);
            assert_eq!(profiles[sorted.runs[0].profile].name, expected);
        }
    }

    #[test]
    fn what_cannot_be_scored_says_why() {
        for (row, expected) in [
            (
                "a,sglang,1,meta-llama/Llama-3.1-70B,h100_sxm,fp8,agg,1,9,4,1,4,1,8,1,1",
                "backend sglang",
            ),
            (
                "a,vllm,1,meta-llama/Llama-3.1-70B,h100_sxm,fp8,disagg,1,9,4,1,4,1,8,1,1",
                "separate engines",
            ),
            ("a,vllm,1,some/Model,h100_sxm,fp8,agg,1,9,4,1,4,1,8,1,1", "no profile of Model"),
            (
                "a,vllm,1,meta-llama/Llama-3.1-70B,h100_sxm,fp4,agg,1,9,4,1,4,1,8,1,1",
                "in nvfp4 or mxfp4",
            ),
            (
                "a,vllm,1,nvidia/Llama-3.1-8B-Instruct-FP8,h200_sxm,fp8,agg,1,9,8,1,8,1,8,1,1",
                "on 8 h200_sxm",
            ),
            (
                "a,vllm,1,openai/gpt-oss-120b,h200_sxm,fp4,agg,1,9,4,4,1,4,8,1,1",
                "data or expert parallelism",
            ),
            ("a,vllm,1,Qwen/Qwen3-32B,h100_sxm,fp8,agg,1,9,4,,0,0,,1,1", "no concurrency given"),
            ("a,vllm,1,Qwen/Qwen3-32B,h100_sxm,fp8,agg,1,9,4,,0,0,8,,1", "no TTFT"),
            ("a,vllm,1,Qwen/Qwen3-32B,h100_sxm,fp8,agg,1,9,4,,0,0,9000,1,1", "concurrency outside"),
        ] {
            let sorted = sorted(&format!("{row}\n"));
            assert!(sorted.runs.is_empty(), "{row}");
            assert!(
                sorted.not_scored.keys().all(|reason| reason.contains(expected)),
                "{:?}",
                sorted.not_scored
            );
        }
    }

    #[test]
    fn a_listing_counts_once_and_a_sweep_is_all_but_concurrency_and_version() {
        let row = |version: &str, concurrency: u32, ttft: f64| {
            format!(
                "a,vllm,{version},Qwen/Qwen3-32B,h100_sxm,fp8,agg,1024,512,4.0,,1,1.0,{concurrency},{ttft},9\n"
            )
        };
        let all = [row("1", 8, 100.0), row("1", 8, 100.0), row("2", 8, 101.0), row("2", 16, 120.0)];
        let sorted = sorted(&all.concat());
        assert_eq!((sorted.rows, sorted.runs.len()), (4, 3));
        assert!(sorted.runs.iter().all(|run| run.sweep == sorted.runs[0].sweep));
        assert_eq!(sorted.repeats.len(), 4);
    }

    #[test]
    fn a_table_of_something_else_is_refused() {
        let error = sort("TIMESTAMP,ContextTokens,GeneratedTokens\n", &[]).unwrap_err().to_string();
        assert!(error.contains("no column \"backend\"; found TIMESTAMP, ContextTokens"), "{error}");
    }
}
