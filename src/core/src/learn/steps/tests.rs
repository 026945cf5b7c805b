use super::*;
use crate::learn::testing::{BUSY, Engine, State, profile};

fn window(first: &Engine, last: &Engine) -> Result<StepWindow, LeftOut> {
    StepWindow::between(first.shown(), last.shown(), &profile().limits, Role::Both)
}

fn pair() -> (Engine, Engine) {
    let mut first = Engine::warm();
    first.run(&profile(), &BUSY);
    let mut last = first.clone();
    last.run(&profile(), &BUSY);
    (first, last)
}

#[test]
fn per_step_means_give_the_step_time_back() {
    for state in [
        BUSY,
        State { batch: 120.0, context: 2_000.0, ..BUSY },
        State { prefill_share: 0.0, ..BUSY },
        State { batch: 9.0, prefill_share: 0.3, prompt: 1_500.0, ..BUSY },
    ] {
        let mut first = Engine::warm();
        first.run(&profile(), &state);
        let mut last = first.clone();
        last.run(&profile(), &state);
        let window = window(&first, &last).unwrap();
        assert!((window.decodes - state.batch).abs() < 1e-6, "{window:?}");
        let predicted = window.mix(&profile().limits).seconds(&profile().step_time);
        let error = predicted / window.seconds - 1.0;
        assert!(error.abs() < 0.02, "{error} for {state:?}: {window:?}");
    }
}

#[test]
fn prompts_longer_than_the_budget_fill_several_steps() {
    let (first, mut last) = pair();
    last = Engine { page: first.page.clone(), at: last.at };
    // 100 prompts of 6,000 tokens among 1,000 steps of 40 decodes: each takes three steps of 2,008.
    last.page.iteration_tokens.observe(40.0, 900.0);
    last.page.iteration_tokens.observe(6_041.0, 100.0);
    last.page.itl.observe(0.015, 40_000.0);
    last.page.generation_tokens_total += 40_100.0;
    last.page.prompt_tokens_total += 600_000.0;
    last.page.ttft.observe(0.2, 100.0);
    let window = window(&first, &last).unwrap();
    assert!((window.prefill_steps - 300.0).abs() < 6.0, "{window:?}");
    assert!((window.prefill_tokens - 600_000.0).abs() < 1e-6);
}

type Spoil = fn(&mut Engine);

/// Each window that must not be learned from, with the one reason that must be named.
#[test]
fn what_cannot_be_believed_is_left_out_and_never_read_as_zero() {
    let spoil = |change: Spoil| {
        let (first, mut last) = pair();
        change(&mut last);
        window(&first, &last).unwrap_err()
    };
    let cases: [(LeftOut, Spoil); 14] = [
        (LeftOut::ClockSkew, |last| last.at = last.at - Span::from_secs(15)),
        (LeftOut::ClockSkew, |last| last.at = last.at - Span::from_secs(16)),
        (LeftOut::Gap, |last| last.at += Span::from_secs(200)),
        (LeftOut::NotANumber, |last| last.page.kv_usage = f64::NAN),
        (LeftOut::NotANumber, |last| last.page.running = f64::NAN),
        (LeftOut::NotANumber, |last| last.page.itl.sum = f64::NAN),
        (LeftOut::NotANumber, |last| last.page.prompt_tokens_total = f64::NAN),
        (LeftOut::CounterReset, |last| last.page = EngineSample::idle(4e5)),
        (LeftOut::CounterReset, |last| last.page.generation_tokens_total = 0.0),
        (LeftOut::CounterReset, |last| last.page.iteration_tokens.counts[0] = 0.0),
        (LeftOut::Preempted, |last| last.page.preemptions_total += 1e5),
        // The histogram of steps is there, that of gaps is that of a faster engine.
        (LeftOut::Contradiction, |last| last.page.itl.observe(0.02, 1e7)),
        (LeftOut::Contradiction, |last| last.page.itl.sum += 1e9),
        // Steps that hold fewer tokens than gaps were seen.
        (LeftOut::Contradiction, |last| last.page.iteration_tokens.sum -= 60_000.0),
    ];
    for (index, (reason, change)) in cases.into_iter().enumerate() {
        assert_eq!(spoil(change), reason, "case {index}");
    }
    let (first, _) = pair();
    let mut idle = first.clone();
    idle.at += Span::from_secs(15);
    assert_eq!(window(&first, &idle).unwrap_err(), LeftOut::Idle);
    idle.page.itl.observe(0.01, 5.0);
    idle.page.iteration_tokens.observe(1.0, 5.0);
    idle.page.generation_tokens_total += 5.0;
    assert_eq!(window(&first, &idle).unwrap_err(), LeftOut::TooFew);
}

/// Series that came back after they had vanished: a counter from 0 to its old value is a rise that
/// no engine makes in one window.
#[test]
fn a_series_that_comes_back_is_no_burst() {
    let (first, last) = pair();
    let mut vanished = first.page.clone();
    vanished.itl = EngineSample::idle(1.0).itl;
    vanished.iteration_tokens = EngineSample::idle(1.0).iteration_tokens;
    let before = Aged { at: first.at, value: &vanished };
    let window = StepWindow::between(before, last.shown(), &profile().limits, Role::Both);
    assert_eq!(window.unwrap_err(), LeftOut::Contradiction);
}

#[test]
fn an_engine_without_a_step_counter_shows_its_running_requests() {
    let (mut first, mut last) = pair();
    for page in [&mut first.page, &mut last.page] {
        page.iteration_tokens = EngineSample::idle(1.0).iteration_tokens;
    }
    let window = window(&first, &last).unwrap();
    assert_eq!((window.steps, window.decodes), (None, 40.0));
}

#[test]
fn an_engine_that_only_prefills_shows_the_time_of_a_prompt() {
    let mut first = Engine::warm();
    first.run(&profile(), &BUSY);
    let mut last = first.clone();
    last.at += Span::from_secs(15);
    // 200 prompts of 800 tokens, two to a step on average, each 0.1 s from scheduling to token.
    let page = &mut last.page;
    page.iteration_tokens.observe(1_602.0, 100.0);
    page.generation_tokens_total += 200.0;
    page.prompt_tokens_total += 160_000.0;
    page.ttft.observe(0.6, 200.0);
    page.e2e.observe(0.6, 200.0);
    page.queue_time.observe(0.5, 200.0);
    let limits = &profile().limits;
    let window = StepWindow::between(first.shown(), last.shown(), limits, Role::Prefill).unwrap();
    assert!((window.seconds - 0.1).abs() < 1e-9 && window.prefill_only, "{window:?}");
    assert_eq!((window.prefill_tokens, window.prompts), (160_000.0, 200.0));
    // Steps that take any take two on average: a given prompt meets 1.59 others.
    let alone = StepWindow { steps: Some(200.0), ..window };
    let step = &profile().step_time;
    let (together, alone) = (window.mix(limits).seconds(step), alone.mix(limits).seconds(step));
    assert!(together > 2.3 * alone && together < 2.8 * alone, "{together} {alone}");
}
