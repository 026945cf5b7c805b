use forebay_core::learn::predict::scaled_profile;
use forebay_core::learn::steps::StepWindow;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::*;
use crate::profiles;

fn prior() -> EngineProfile {
    let all = profiles::built_in().unwrap();
    all.into_iter().find(|profile| profile.name == "llama-3.1-8b-fp8-l40s-tp1").unwrap()
}

/// Windows over the operating range whose times a profile makes, with a little noise.
fn samples(truth: &EngineProfile, count: usize) -> Vec<Sample> {
    let mut random = Pcg64Mcg::seed_from_u64(5);
    let mut between = |low: f64, high: f64| low + (high - low) * random.random::<f64>();
    (0..count)
        .map(|index| {
            let (steps, decodes) = (between(300.0, 900.0).round(), between(2.0, 120.0));
            let prompts = (steps * between(0.0, 0.3)).round();
            let prompt = between(100.0, 1_500.0);
            let mut window = StepWindow {
                window_s: 15.0,
                seconds: 0.02,
                observations: steps * decodes,
                steps: Some(steps),
                decodes,
                prefill_tokens: prompts * prompt,
                cached_tokens: 0.0,
                prompts,
                prefill_steps: prompts,
                prompt_spread: between(1.0, 2.0),
                kv_tokens: decodes * between(200.0, 1_800.0),
                prefill_only: false,
            };
            // The share of steps with prefill depends on the time itself: let it settle.
            for _ in 0..20 {
                window.seconds = window.mix(&truth.limits).seconds(&truth.step_time);
            }
            window.seconds *= 1.0 + between(-0.02, 0.02);
            Sample { at_s: 15.0 * index as f64, endpoint: format!("pod-{}", index % 3), window }
        })
        .collect()
}

#[test]
fn a_wrong_profile_is_put_right_and_judged_on_later_windows() {
    let truth = prior();
    let wrong = scaled_profile(&truth, &[0.26, -0.36, 0.4]);
    let report = fit(samples(&truth, 400), LeftOutCounts::new(), Some(&wrong)).unwrap();
    assert_eq!((report.fitted, report.held_out), (300, 100));
    assert!(report.error_out_of_sample.mean_percent < 2.5, "{report:?}");
    assert!(report.error_prior_out_of_sample.unwrap().mean_percent > 10.0, "{report:?}");
    for (multiplier, truth) in report.multipliers.iter().zip([-0.26_f64, 0.36, -0.4]) {
        let off = (multiplier.value - truth.exp()).abs();
        assert!(off < 0.05 * truth.exp() + 3.0 * multiplier.deviation, "{multiplier:?}");
    }
    assert_eq!(report.profile.limits, truth.limits);
    assert_eq!(report.profile.evidence.level, EvidenceLevel::Measured);
    // The manifest is one that is read back.
    let yaml = profiles::render(std::slice::from_ref(&report.profile)).unwrap();
    let read = profiles::parse("fitted.yaml", &yaml).unwrap();
    assert_eq!(read, std::slice::from_ref(&report.profile));
    let text = render(&report);
    assert!(
        text.contains("later, prior alone") && text.contains("No window was left out"),
        "{text}"
    );
}

#[test]
fn windows_far_from_all_others_are_left_out_and_said() {
    let truth = prior();
    let mut samples = samples(&truth, 200);
    for sample in samples.iter_mut().take(20) {
        sample.window.seconds *= 30.0;
    }
    let report = fit(samples, LeftOutCounts::new(), Some(&truth)).unwrap();
    assert_eq!(report.left_out["far from all others"], 20);
    assert!(report.error_out_of_sample.mean_percent < 2.5, "{report:?}");
    assert!(render(&report).contains("20  far from all others"), "{}", render(&report));
}

#[test]
fn without_a_prior_the_coefficients_are_those_of_a_linear_step() {
    let mut truth = prior();
    truth.step_time.overlap_exponent = 1.0;
    let report = fit(samples(&truth, 400), LeftOutCounts::new(), None).unwrap();
    assert!(report.error_out_of_sample.mean_percent < 2.5, "{report:?}");
    let (found, wanted) = (&report.profile.step_time, &truth.step_time);
    let scale = wanted.calibration;
    let near = |found: f64, wanted: f64| (found / (scale * wanted) - 1.0).abs() < 0.1;
    assert!(near(found.compute_ms_per_ktoken, wanted.compute_ms_per_ktoken), "{found:?}");
    assert!(near(found.kv_read_ms_per_ktoken, wanted.kv_read_ms_per_ktoken), "{found:?}");
    assert!(near(found.fixed_ms, wanted.fixed_ms + wanted.weights_ms), "{found:?}");
    assert!(report.profile.evidence.note.is_some() && report.multipliers.is_empty());
}

#[test]
fn too_little_history_is_said_with_what_was_left_out() {
    let truth = prior();
    let left_out = LeftOutCounts::from([("nothing was generated".to_owned(), 7)]);
    let error = fit(samples(&truth, 39), left_out, Some(&truth)).unwrap_err().to_string();
    assert!(error.contains("39 windows") && error.contains("7: nothing was generated"), "{error}");
}

#[test]
fn the_table_is_read_back_and_bad_rows_are_counted() {
    let written = samples(&prior(), 50);
    let text = samples::render(&written);
    let (read, left_out) = samples::parse("windows.csv", &text).unwrap();
    assert_eq!((read, left_out.len()), (written, 0));
    let mut lines: Vec<String> = text.lines().take(4).map(str::to_owned).collect();
    lines[0].push_str(",steps_made");
    lines[1].push_str(",500");
    lines[2].push_str(",5000");
    lines[3].push(',');
    let idle = "9,pod,15,0.02,0,,0,0,0,0,0,1,0,,";
    let absurd = "9,pod,15,-1,5000,,3,0,0,0,0,1,0,,";
    let text = format!("{}\n{idle}\n{absurd}\n", lines.join("\n"));
    let (read, left_out) = samples::parse("windows.csv", &text).unwrap();
    assert_eq!(read.len(), 2);
    let counted: Vec<u64> = left_out.values().copied().collect();
    assert_eq!(counted, [1, 1, 1], "{left_out:?}");
    let error = samples::parse("windows.csv", "at_s,endpoint\n").unwrap_err().to_string();
    assert!(error.contains("windows.csv") && error.contains("window_s"), "{error}");
}
