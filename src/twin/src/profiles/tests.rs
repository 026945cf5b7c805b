use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

/// Step time in ms of N tokens, K thousand KV tokens read, A million token pairs.
fn step_ms(time: &StepTime, tokens: f64, kv_ktokens: f64, mpairs: f64) -> f64 {
    let touched = 1.0 - (1.0 - time.expert_share_per_token).powf(tokens);
    let q = time.overlap_exponent;
    let read = time.weights_ms + time.experts_ms * touched;
    let compute = time.compute_ms_per_ktoken * tokens / 1e3;
    time.calibration
        * (time.fixed_ms
            + (read.powf(q) + compute.powf(q)).powf(1.0 / q)
            + time.kv_read_ms_per_ktoken * kv_ktokens
            + time.attention_ms_per_mpair * mpairs)
}

/// Read once: a property looks at them hundreds of times.
static PROFILES: LazyLock<Vec<EngineProfile>> = LazyLock::new(|| built_in().unwrap());

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_committed_profiles_parse_and_survive_writing() {
    let profiles = built_in().unwrap();
    assert!(profiles.len() > 100);
    let mut names: Vec<_> = profiles.iter().map(|profile| &profile.name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), profiles.len(), "names are unique");
    let again = parse("again", &render(&profiles).unwrap()).unwrap();
    assert_eq!(again, profiles);
    for profile in &profiles {
        let name = models::profile_name(
            &profile.model,
            &profile.quantization,
            &profile.accelerator,
            profile.tensor_parallel,
        );
        assert_eq!(profile.name, name);
    }
}

#[test]
fn the_accelerators_that_fleets_start_from_are_covered() {
    let profiles = built_in().unwrap();
    for (model, quantizations) in [
        ("llama-3.1-8b", &["bf16", "fp8"][..]),
        ("llama-3.3-70b", &["bf16", "fp8"]),
        ("qwen3-32b", &["bf16", "fp8"]),
        ("gpt-oss-120b", &["mxfp4"]),
    ] {
        for accelerator in ["a100_sxm", "l40s", "h100_sxm", "h200_sxm", "b200_sxm"] {
            let covered = profiles.iter().any(|profile| {
                profile.model == model
                    && profile.accelerator == accelerator
                    && quantizations.contains(&profile.quantization.as_str())
            });
            // The tables have no kernels for FP4 weights on the A100.
            assert_eq!(
                covered,
                (model, accelerator) != ("gpt-oss-120b", "a100_sxm"),
                "{model} {accelerator}"
            );
        }
    }
}

#[test]
fn files_and_tables_have_not_drifted_apart() {
    let Some(data) = std::env::var_os("FOREBAY_PROFILE_DATA") else { return };
    let folder = repository().join("policies/profiles");
    let files = generate(Path::new(&data)).unwrap();
    for (file, text) in &files {
        let committed = std::fs::read_to_string(folder.join(file)).unwrap();
        assert!(&committed == text, "{file} is not what `forebay profiles` writes");
    }
    let mut there: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort();
    assert_eq!(there, files.keys().cloned().collect::<Vec<_>>());
}

/// A few rows of aiconfigurator-core 0.12.0's step latencies for vLLM (NVIDIA, Apache-2.0), which
/// the coefficients were fitted to: profile, N, K tokens, A pairs, ms.
const STEPS: [(&str, f64, f64, f64, f64); 12] = [
    ("llama-3.1-8b-fp8-l40s-tp1", 32.0, 65_536.0, 0.0, 27.6638),
    ("llama-3.1-8b-fp8-l40s-tp1", 2_048.0, 0.0, 2_097_152.0, 105.6456),
    ("llama-3.1-8b-fp8-l40s-tp1", 1_032.0, 8_192.0, 524_288.0, 59.1179),
    ("qwen3-32b-bf16-a100-sxm-tp2", 32.0, 65_536.0, 0.0, 32.9399),
    ("qwen3-32b-bf16-a100-sxm-tp2", 2_048.0, 0.0, 2_097_152.0, 281.3525),
    ("qwen3-32b-bf16-a100-sxm-tp2", 1_032.0, 8_192.0, 524_288.0, 154.403),
    ("llama-3.1-8b-bf16-h200-sxm-tp1", 32.0, 65_536.0, 0.0, 7.2849),
    ("llama-3.1-8b-bf16-h200-sxm-tp1", 2_048.0, 0.0, 2_097_152.0, 43.402),
    ("llama-3.1-8b-bf16-h200-sxm-tp1", 1_032.0, 8_192.0, 524_288.0, 23.057),
    ("llama-3.3-70b-bf16-b200-sxm-tp4", 32.0, 65_536.0, 0.0, 11.249),
    ("llama-3.3-70b-bf16-b200-sxm-tp4", 2_048.0, 0.0, 2_097_152.0, 72.0227),
    ("llama-3.3-70b-bf16-b200-sxm-tp4", 1_032.0, 8_192.0, 524_288.0, 43.1472),
];

#[test]
fn profiles_give_back_the_steps_they_were_fitted_to() {
    let profiles = built_in().unwrap();
    for (name, tokens, kv_tokens, pairs, expected_ms) in STEPS {
        let profile = profiles.iter().find(|profile| profile.name == name).unwrap();
        let time = StepTime { calibration: 1.0, ..profile.step_time.clone() };
        let ms = step_ms(&time, tokens, kv_tokens / 1e3, pairs / 1e6);
        let mean_percent = profile.evidence.step_time_mape_percent.unwrap();
        let percent = (ms / expected_ms - 1.0).abs() * 100.0;
        // The stated error is a mean; one step may be off by three times as much.
        assert!(percent <= 3.0 * mean_percent, "{name}: {ms} ms for {expected_ms} ms, {percent} %");
    }
}

#[test]
fn wrong_tables_are_refused_with_what_is_wrong() {
    let error = from_tables("model,quant\n", "").unwrap_err().to_string();
    assert!(error.contains("no column \"accelerator\""), "{error}");
    let fits = format!("{}\n", FIT_COLUMNS.join(","));
    let kv = format!("{}\n", KV_COLUMNS.join(","));
    let error = from_tables(&fits, &kv).unwrap_err().to_string();
    assert!(error.contains("has no rows for gpt-oss-120b"), "{error}");
    let values = "gpt-oss-120b,mxfp4,h100_sxm,1,vllm,0.24.0,9,1,1,1,1,1,1,1,1,8192,1024";
    let error = from_tables(&format!("{fits}{values}\n"), &kv).unwrap_err().to_string();
    assert!(error.contains("no vLLM row for gpt-oss-120b-mxfp4-h100-sxm-tp1"), "{error}");
    let other = built_in().unwrap().remove(0);
    let text = render(&[other]).unwrap().replace("kind: EngineProfile", "kind: Scenario");
    assert!(parse("x.yaml", &text).unwrap_err().to_string().contains("is a Scenario"));
}

proptest! {
    #[test]
    fn step_times_are_positive_and_grow_with_the_work(
        pick in any::<proptest::sample::Index>(),
        tokens in 1.0..16_384.0_f64,
        kv_ktokens in 0.0..2_000.0_f64,
        mpairs in 0.0..1_000.0_f64,
        more in 1.0..100.0_f64,
    ) {
        let time = &pick.get(&PROFILES).step_time;
        let ms = step_ms(time, tokens, kv_ktokens, mpairs);
        prop_assert!(ms.is_finite() && ms > 0.1, "{}", ms);
        prop_assert!(step_ms(time, tokens + more, kv_ktokens, mpairs) >= ms);
        prop_assert!(step_ms(time, tokens, kv_ktokens + more, mpairs) >= ms);
        prop_assert!(step_ms(time, tokens, kv_ktokens, mpairs + more) >= ms);
    }

    #[test]
    fn limits_and_capacities_are_those_of_a_working_engine(pick in any::<proptest::sample::Index>()) {
        let profile = pick.get(&PROFILES);
        prop_assert!(profile.kv.capacity_tokens >= u64::from(profile.kv.block_tokens));
        prop_assert!(profile.kv.bytes_per_token > 0 && profile.limits.max_num_seqs > 0);
        prop_assert!(profile.limits.max_num_batched_tokens >= profile.limits.max_num_seqs);
        prop_assert!(profile.request_overhead_ms >= 0.0);
    }
}
