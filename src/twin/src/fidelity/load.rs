//! The load pattern of measured runs, replayed on a simulated engine: a closed loop at a fixed
//! concurrency.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use forebay_core::engine::profile::{EngineProfile, Limits};
use forebay_core::engine::{Engine, EngineEvent, EngineEventKind, Part, Physics, Work};
use forebay_core::ids::RequestId;
use forebay_core::time::{Picos, Span};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::measured::{MeasuredRun, sweep_hash};

/// What is assumed about how the runs were measured, beyond what their table says. Sources: the
/// scripts of InferenceMAX (now InferenceX), `benchmarks/` and `utils/bench_serving`, and its
/// issue 356 on the lengths.
pub const ASSUMPTIONS: [&str; 8] = [
    "closed loop: as many requests as the row's concurrency start at once, each completion starts \
     the next (InferenceMAX: --request-rate inf --max-concurrency)",
    "10 requests per slot of concurrency, all of them counted, the burst at the start and the \
     emptying at the end included (--num-prompts 10 x concurrency)",
    "prompt and output lengths uniform from 0.8 of the stated length to all of it \
     (--random-range-ratio 0.8), outputs never cut short (--ignore-eos)",
    "TTFT and TPOT are means over requests: simulated medians are far below the measured TTFT at \
     high concurrency, simulated means are not",
    "server: max_num_batched_tokens 8192, max_num_seqs the concurrency, prefix caching off",
    "on B200 KV is kept in FP8 (kv-cache-dtype fp8): twice the tokens, half the bytes to read",
    "rows of aiconfigurator's gap analysis (Qwen3-32B, Qwen3-235B, Llama-3.1-8B), whose client and \
     server settings are not published: every length as stated and max_num_batched_tokens 2048, \
     the guess that came closest on the sweeps of the calibration",
    "one request overhead and one host time per step for all versions of the engine; the rows span \
     vLLM 0.11 to 0.19",
];

/// Requests per slot of concurrency (`--num-prompts $((CONC * 10))`).
const REQUESTS_PER_SLOT: u32 = 10;
/// Computing the prompts of all requests under way, as a share of the time of one request: above it
/// a run is not what it says. Not 1, as kernels may be a little better than modelled.
const PREFILL_SHARE_MAX: f64 = 1.1;
/// Times that a run is simulated with other lengths; the mean is taken. One run of 40 requests
/// leaves some 5 % of chance in its mean TTFT.
const REPETITIONS: u64 = 4;
/// Shortest length as a share of the stated one (`--random-range-ratio`).
const LENGTH_SHARE_MIN: f64 = 0.8;
/// `max-num-batched-tokens` of the servers that were measured.
const BATCHED_TOKENS: u32 = 8_192;
/// The same for runs whose client is not public: of 2048 and 8192, and lengths exact or random,
/// this pair came closest on the sweeps of the calibration.
const BATCHED_TOKENS_GUESSED: u32 = 2_048;
/// See [`BATCHED_TOKENS_GUESSED`].
const LENGTH_SHARE_MIN_GUESSED: f64 = 1.0;
/// Accelerators on which the servers that were measured kept KV in FP8, where profiles have bf16.
const FP8_KV_ACCELERATORS: [&str; 1] = ["b200_sxm"];
/// Seed of the lengths, mixed with the identity of the sweep: any fixed number would do.
const SEED: u64 = 0x666f_7265_6261_7921;

/// Why a run is left out whose figures contradict each other.
const IMPLAUSIBLE: &str = "the figures leave no time to compute the prompts of the stated \
    concurrency: prompts were cached, or fewer requests under way";

/// Means over the requests of a simulated run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Outcome {
    /// Mean time to the first token, ms.
    pub ttft_ms: f64,
    /// Mean time per output token after the first, ms.
    pub tpot_ms: f64,
}

/// Simulates each run with its profile, on all cores; the results do not depend on how many.
#[must_use]
pub(super) fn simulate_all(
    runs: &[MeasuredRun],
    profiles: &[EngineProfile],
) -> Vec<Result<Outcome, &'static str>> {
    let jobs: Vec<_> = runs.iter().map(|run| (run, &profiles[run.profile])).collect();
    on_all_cores(&jobs, |(run, profile)| {
        let outcome = simulate(profile, run)?;
        is_plausible(run, profile).then_some(outcome).ok_or(IMPLAUSIBLE)
    })
}

/// Applies `work` to every job on all cores; the answers are in the order of the jobs.
pub(super) fn on_all_cores<J: Sync, A: Send>(jobs: &[J], work: impl Fn(&J) -> A + Sync) -> Vec<A> {
    let threads =
        std::thread::available_parallelism().map_or(1, usize::from).min(jobs.len().max(1));
    let next = AtomicUsize::new(0);
    let one_thread = || {
        let mut answers = Vec::new();
        while let Some((index, job)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            jobs.get(index).map(|job| (index, job))
        } {
            answers.push((index, work(job)));
        }
        answers
    };
    let mut answers: Vec<(usize, A)> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(one_thread)).collect();
        let finished = handles.into_iter().map(std::thread::ScopedJoinHandle::join);
        finished
            .flat_map(|answers| match answers {
                Ok(answers) => answers,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    });
    answers.sort_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// Simulates one run on one engine of `profile`.
///
/// # Errors
/// Why it cannot be simulated, in words.
pub(super) fn simulate(
    profile: &EngineProfile,
    run: &MeasuredRun,
) -> Result<Outcome, &'static str> {
    let profile = as_served(profile);
    let (batched_tokens, _) = settings(run);
    let limits = Limits { max_num_batched_tokens: batched_tokens, max_num_seqs: run.concurrency };
    let physics = Physics::new(&profile, &limits);
    let overhead = Span::from_seconds(profile.request_overhead_ms / 1e3).as_picos();
    let (mut ttft_ms, mut tpot_ms) = (0.0, 0.0);
    for repetition in 0..REPETITIONS {
        let once = simulate_once(&physics, overhead, run, requests(run, repetition))?;
        ttft_ms += once.ttft_ms / REPETITIONS as f64;
        tpot_ms += once.tpot_ms / REPETITIONS as f64;
    }
    Ok(Outcome { ttft_ms, tpot_ms })
}

fn simulate_once(
    physics: &Arc<Physics>,
    overhead: Picos,
    run: &MeasuredRun,
    mut requests: Vec<Request>,
) -> Result<Outcome, &'static str> {
    let mut engine = Engine::new(Arc::clone(physics));
    // Requests on their way to the engine, in order of arrival.
    let mut coming: VecDeque<(Picos, usize)> =
        (0..requests.len().min(run.concurrency as usize)).map(|index| (overhead, index)).collect();
    let (mut started, mut events) = (coming.len(), Vec::<EngineEvent>::new());
    let (mut ttft, mut tpot, mut finished) = (0.0, 0.0, 0_usize);
    loop {
        let arrival = coming.front().map(|&(at, _)| at);
        match (engine.next_event_at(), arrival) {
            (Some(event), arrival) if arrival.is_none_or(|arrival| event <= arrival) => {
                engine.advance(event, &mut events);
            }
            (_, Some(at)) => {
                if let Some((_, index)) = coming.pop_front() {
                    engine.submit(at, requests[index].work(index), &mut events);
                }
            }
            (_, None) => break,
        }
        for event in events.drain(..) {
            let request = &mut requests[event.request.index()];
            match event.kind {
                EngineEventKind::FirstToken => {
                    request.first_token = event.at;
                    ttft += milliseconds(event.at - request.sent);
                }
                EngineEventKind::Finished => {
                    let gaps = f64::from(request.output_tokens - 1);
                    tpot += milliseconds(event.at - request.first_token) / gaps;
                    finished += 1;
                    if let Some(request) = requests.get_mut(started) {
                        request.sent = event.at;
                        coming.push_back((event.at + overhead, started));
                        started += 1;
                    }
                }
                EngineEventKind::TooLarge => {
                    return Err("a request does not fit in the KV cache of the profile");
                }
                EngineEventKind::PrefillDone | EngineEventKind::KvWanted { .. } => {}
            }
        }
    }
    if finished == 0 || finished != requests.len() {
        return Err("the simulated engine did not finish every request");
    }
    let count = finished as f64;
    Ok(Outcome { ttft_ms: ttft / count, tpot_ms: tpot / count })
}

/// Whether one engine could have computed every prompt of a run in the time that its figures leave:
/// where not, prompts came from the prefix cache or fewer requests than stated were under way.
pub(super) fn is_plausible(run: &MeasuredRun, profile: &EngineProfile) -> bool {
    let request_ms = run.ttft_ms + f64::from(run.output_tokens - 1) * run.tpot_ms;
    // The least that a prompt takes, however it is batched: computing its tokens, reading nothing.
    let (step, ktokens) = (&profile.step_time, f64::from(run.prompt_tokens) / 1e3);
    let (_, share) = settings(run);
    let ktokens = ktokens * f64::midpoint(share, 1.0);
    let prompt_ms = step.calibration
        * ktokens
        * (step.compute_ms_per_ktoken + step.attention_ms_per_mpair * ktokens / 2.0);
    f64::from(run.concurrency) * prompt_ms <= request_ms * PREFILL_SHARE_MAX
}

/// Token budget and shortest length, as a share of the stated one, of a run.
fn settings(run: &MeasuredRun) -> (u32, f64) {
    if run.client_known {
        (BATCHED_TOKENS, LENGTH_SHARE_MIN)
    } else {
        (BATCHED_TOKENS_GUESSED, LENGTH_SHARE_MIN_GUESSED)
    }
}

/// The profile as the measured servers ran it.
fn as_served(profile: &EngineProfile) -> EngineProfile {
    let mut profile = profile.clone();
    if FP8_KV_ACCELERATORS.contains(&profile.accelerator.as_str()) {
        profile.kv.capacity_tokens *= 2;
        profile.step_time.kv_read_ms_per_ktoken /= 2.0;
    }
    profile
}

/// One request of a run.
struct Request {
    prompt_tokens: u32,
    output_tokens: u32,
    sent: Picos,
    first_token: Picos,
}

impl Request {
    fn work(&self, index: usize) -> Work {
        Work {
            request: RequestId(index as u64),
            prompt_tokens: self.prompt_tokens,
            output_tokens: self.output_tokens,
            part: Part::Whole,
            prefix: None,
        }
    }
}

/// The requests of one repetition of a run, the same ones whatever the profile.
fn requests(run: &MeasuredRun, repetition: u64) -> Vec<Request> {
    let seed = SEED ^ sweep_hash(&run.sweep) ^ (repetition << 32 | u64::from(run.concurrency));
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let (_, length_share_min) = settings(run);
    let mut length = |stated: u32, least: u32| {
        let shortest = (f64::from(stated) * length_share_min) as u32;
        random.random_range(shortest.max(least).min(stated)..=stated)
    };
    (0..run.concurrency * REQUESTS_PER_SLOT)
        .map(|_| Request {
            prompt_tokens: length(run.prompt_tokens, 1),
            output_tokens: length(run.output_tokens, 2),
            sent: 0,
            first_token: 0,
        })
        .collect()
}

fn milliseconds(picos: Picos) -> f64 {
    picos as f64 / 1e9
}
