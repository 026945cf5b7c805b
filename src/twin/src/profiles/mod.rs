//! Engine profiles from tables of step-time fits: CSV text in, the files of `policies/profiles` out.
//!
//! The tables are read from a folder that is not part of the repository; the files that come out
//! are, and a test finds where the two have drifted apart.

mod models;
mod yaml;

use std::collections::BTreeMap;
use std::path::Path;

use forebay_core::engine::profile::{
    EngineProfile, Evidence, EvidenceLevel, KvCache, Limits, StepTime,
};

use crate::fidelity;
use crate::table::{Row, Table, TableError};
pub use models::{MODELS, Model};
pub use yaml::{built_in, parse, render, render_fitted, trained_sweeps};

/// Step-time fits with engine defaults, in the folder of tables.
pub const FITS_FILE: &str = "recommended_vllm_profiles.csv";
/// KV capacities, in the folder of tables.
pub const KV_FILE: &str = "kv_capacity.csv";
/// Measured serving runs, in the folder of tables.
pub const MEASURED_FILE: &str = "measured_serving_ttft_tpot.csv";
/// Beside the profiles: the sweeps of measured runs that they were calibrated on.
pub const TRAINED_FILE: &str = "trained-sweeps.txt";

/// vLLM's default KV block, tokens (`vllm/config/cache.py`).
const KV_BLOCK_TOKENS: u32 = 16;
/// Time per request outside the step loop where nobody measured it, ms: tokenising, HTTP and the
/// way through vLLM's API server to its engine, in the middle of what calibrated profiles have.
const REQUEST_OVERHEAD_MS_DEFAULT: f64 = 20.0;
/// Mean error of a step-time fit above which the profile says so, percent.
const DOUBTFUL_MAPE_PERCENT: f64 = 8.0;
/// KV capacity under which a replica holds only a handful of conversations, tokens.
const TIGHT_KV_TOKENS: u64 = 40_000;

/// Why profiles cannot be generated or read.
#[derive(Debug, thiserror::Error)]
pub enum ProfilesError {
    /// A table is not there or not readable.
    #[error(
        "cannot read {path}: {source}; expected the folder that holds {FITS_FILE} and {KV_FILE}"
    )]
    Io {
        /// What was to be read.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A table is not what it should be.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A model that profiles are wanted for is not in the tables.
    #[error("{table} has no rows for {model}; expected vLLM step-time fits of it")]
    NoModel {
        /// File.
        table: &'static str,
        /// Model as the tables call it.
        model: &'static str,
    },
    /// A fit has no KV capacity beside it.
    #[error("{KV_FILE} has no vLLM row for {profile}, which {FITS_FILE} has")]
    NoKv {
        /// Name of the profile.
        profile: String,
    },
    /// A manifest cannot be written or read.
    #[error("profiles as YAML: {what}")]
    Yaml {
        /// What is wrong, with its place in the text.
        what: String,
    },
}

/// The files of `policies/profiles` by name, from the folder of tables: step times and capacities
/// as the tables give them, calibrated on one half of the measured sweeps where there are any.
///
/// # Errors
/// [`ProfilesError`]: a table is missing or malformed.
pub fn generate(dir: &Path) -> Result<BTreeMap<String, String>, ProfilesError> {
    let read = |file: &str| {
        let path = dir.join(file);
        std::fs::read_to_string(&path)
            .map_err(|source| ProfilesError::Io { path: path.display().to_string(), source })
    };
    let by_model = from_tables(&read(FITS_FILE)?, &read(KV_FILE)?)?;
    let all: Vec<EngineProfile> = by_model.values().flatten().cloned().collect();
    let mut fit = fidelity::fit::fit(&read(MEASURED_FILE)?, &all)?;
    let mut files = BTreeMap::new();
    for (model, profiles) in by_model {
        let profiles: Vec<EngineProfile> = profiles
            .into_iter()
            .map(|profile| fit.profiles.remove(&profile.name).unwrap_or(profile))
            .collect();
        files.insert(format!("{model}.yaml"), render(&profiles)?);
    }
    files.insert(TRAINED_FILE.to_owned(), yaml::render_trained(&fit.trained));
    Ok(files)
}

/// Profiles by model, each model's in order of quantization, accelerator and parallelism, from the
/// text of [`FITS_FILE`] and [`KV_FILE`].
///
/// # Errors
/// [`ProfilesError`]: a table is malformed, or a fit lacks its KV capacity.
pub fn from_tables(
    fits: &str,
    kv: &str,
) -> Result<BTreeMap<&'static str, Vec<EngineProfile>>, ProfilesError> {
    let fits = Table::parse(FITS_FILE, fits, &FIT_COLUMNS)?;
    let kv = Table::parse(KV_FILE, kv, &KV_COLUMNS)?;
    let mut by_model = BTreeMap::new();
    for model in &MODELS {
        let mut profiles = Vec::new();
        for row in fits.rows().filter(|row| row.text("model") == model.data_name) {
            profiles.push(profile(model, &row, &kv)?);
        }
        if profiles.is_empty() {
            return Err(ProfilesError::NoModel { table: FITS_FILE, model: model.data_name });
        }
        profiles.sort_by(|a, b| key(a).cmp(&key(b)));
        add_notes(model, &mut profiles);
        by_model.insert(model.name, profiles);
    }
    Ok(by_model)
}

const FIT_COLUMNS: [&str; 17] = [
    "model",
    "quant",
    "accelerator",
    "tp",
    "backend",
    "engine_version",
    "kv_tokens",
    "u_m_ms_all_experts",
    "u_w_ms",
    "u_g_ms_per_ktok",
    "u_h_ms",
    "u_c_ms_per_ktok_kv",
    "u_e_ms_per_mpair",
    "u_q",
    "u_mape",
    "vllm_default_max_num_batched_tokens",
    "vllm_default_max_num_seqs",
];
const KV_COLUMNS: [&str; 8] = [
    "model",
    "quant",
    "accelerator",
    "tp",
    "backend",
    "kv_tokens_capacity",
    "kv_bytes_per_token_per_gpu",
    "source",
];

fn key(profile: &EngineProfile) -> (&str, &str, u32) {
    (&profile.quantization, &profile.accelerator, profile.tensor_parallel)
}

fn profile(model: &Model, row: &Row<'_>, kv: &Table) -> Result<EngineProfile, ProfilesError> {
    let text = |column| row.text(column).to_owned();
    let tensor_parallel = small(row, "tp")?;
    let (quantization, accelerator) = (text("quant"), text("accelerator"));
    let name = models::profile_name(model.name, &quantization, &accelerator, tensor_parallel);
    let same = |other: &Row<'_>| {
        ["model", "quant", "accelerator", "tp", "backend"]
            .iter()
            .all(|column| other.text(column) == row.text(column))
    };
    let Some(kv) = kv.rows().find(same) else {
        return Err(ProfilesError::NoKv { profile: name });
    };
    let engine = format!("{} {}", row.text("backend"), row.text("engine_version"));
    let source = format!(
        "{origin} (NVIDIA, Apache-2.0): kernels of {engine} measured on {accelerator}, their sum \
         over a step modelled and fitted; KV capacity from its memory model",
        origin = kv.text("source").split(" memory model").next().unwrap_or_default(),
    );
    Ok(EngineProfile {
        name,
        model: model.name.to_owned(),
        quantization,
        accelerator,
        tensor_parallel,
        engine,
        step_time: StepTime {
            fixed_ms: row.needed("u_h_ms")?,
            weights_ms: row.needed("u_w_ms")?,
            experts_ms: row.needed("u_m_ms_all_experts")?,
            expert_share_per_token: model.expert_share_per_token(),
            compute_ms_per_ktoken: row.needed("u_g_ms_per_ktok")?,
            overlap_exponent: row.needed("u_q")?,
            kv_read_ms_per_ktoken: row.needed("u_c_ms_per_ktok_kv")?,
            attention_ms_per_mpair: row.needed("u_e_ms_per_mpair")?,
            calibration: 1.0,
        },
        kv: KvCache {
            capacity_tokens: kv.whole("kv_tokens_capacity")?,
            block_tokens: KV_BLOCK_TOKENS,
            bytes_per_token: kv.whole("kv_bytes_per_token_per_gpu")? * u64::from(tensor_parallel),
        },
        limits: Limits {
            max_num_batched_tokens: small(row, "vllm_default_max_num_batched_tokens")?,
            max_num_seqs: small(row, "vllm_default_max_num_seqs")?,
        },
        request_overhead_ms: REQUEST_OVERHEAD_MS_DEFAULT,
        evidence: Evidence {
            level: EvidenceLevel::Modelled,
            source,
            step_time_mape_percent: Some(row.needed("u_mape")?),
            note: None,
        },
    })
}

fn small(row: &Row<'_>, column: &str) -> Result<u32, TableError> {
    u32::try_from(row.whole(column)?)
        .ok()
        .filter(|&number| number > 0)
        .ok_or_else(|| row.wrong(column, "a whole number from 1"))
}

/// What a reader must know before believing a profile; `profiles` are sorted by [`key`].
fn add_notes(model: &Model, profiles: &mut [EngineProfile]) {
    let mut smaller: Option<EngineProfile> = None;
    for profile in profiles {
        let mut notes: Vec<String> = model.note.iter().map(|note| (*note).to_owned()).collect();
        if let Some(mape) = profile.evidence.step_time_mape_percent
            && mape > DOUBTFUL_MAPE_PERCENT
        {
            notes.push(format!("The step-time fit is loose ({mape:.0} % mean error)"));
        }
        if let Some(smaller) = &smaller
            && (&smaller.quantization, &smaller.accelerator)
                == (&profile.quantization, &profile.accelerator)
            && profile.step_time.compute_ms_per_ktoken > smaller.step_time.compute_ms_per_ktoken
        {
            notes.push(format!(
                "Doubtful: prefill per token is slower than with tp{}, as the source models \
                 all-reduce between these accelerators",
                smaller.tensor_parallel
            ));
        }
        if profile.kv.capacity_tokens < TIGHT_KV_TOKENS {
            notes.push(format!(
                "Weights leave room for only {} tokens of KV",
                profile.kv.capacity_tokens
            ));
        }
        profile.evidence.note = (!notes.is_empty()).then(|| notes.join(". "));
        smaller = Some(profile.clone());
    }
}

#[cfg(test)]
mod tests;
