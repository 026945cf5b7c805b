//! Dynamo's performance model of one engine (`core/perf_model`): iteration time from prefill
//! tokens, decode KV and batch, and from it the best request rate within an SLA.

use forebay_core::engine::profile::EngineProfile;
use forebay_core::engine::work::step_seconds;

/// Latency targets, s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sla {
    pub(crate) ttft_s: f64,
    pub(crate) itl_s: f64,
}

/// Predicted traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Traffic {
    pub(crate) requests_per_s: f64,
    pub(crate) prompt_tokens: f64,
    pub(crate) output_tokens: f64,
}

/// One engine.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Model {
    profile: EngineProfile,
    chunk: f64,
    pub(crate) kv_capacity_tokens: f64,
}

impl Model {
    pub(crate) fn new(profile: &EngineProfile) -> Self {
        Self {
            profile: profile.clone(),
            chunk: f64::from(profile.limits.max_num_batched_tokens.max(1)),
            kv_capacity_tokens: profile.kv.capacity_tokens as f64,
        }
    }

    /// One iteration: `prefill_tokens` of prompts, `running` sequences over `kv_tokens`.
    pub(crate) fn step_s(&self, prefill_tokens: f64, kv_tokens: f64, running: f64) -> f64 {
        let step = &self.profile.step_time;
        let scale = step.calibration * 1e-3;
        let kv = scale * step.kv_read_ms_per_ktoken * 1e-3 * kv_tokens;
        let pairs = prefill_tokens * prefill_tokens / 2.0;
        let attention = scale * step.attention_ms_per_mpair * 1e-6 * pairs;
        step_seconds(step, prefill_tokens + running) + kv + attention
    }

    /// `estimate_next_ttft`: the tokens ahead and one's own, chunk by chunk.
    pub(crate) fn next_ttft_s(&self, tokens: f64, kv_tokens: f64) -> f64 {
        let whole = (tokens / self.chunk).floor();
        let rest = tokens - whole * self.chunk;
        let last = if rest > 0.0 { self.step_s(rest, kv_tokens, 0.0) } else { 0.0 };
        whole * self.step_s(self.chunk, kv_tokens, 0.0) + last
    }

    /// One prompt alone.
    pub(crate) fn prefill_s(&self, prompt_tokens: f64) -> f64 {
        self.next_ttft_s(prompt_tokens.max(1.0), 0.0)
    }

    /// `find_best_engine_decode_rps`: the largest batch within the ITL, over the output's steps.
    pub(crate) fn best_decode_rps(&self, traffic: &Traffic, sla: Sla) -> f64 {
        let output = traffic.output_tokens.max(1.0);
        let context = traffic.prompt_tokens + output / 2.0;
        let step = |batch: f64| self.step_s(0.0, batch * context, batch);
        let most = self.largest_batch(context);
        let (mut best, mut low, mut high) = (1.0, 1.0, most);
        while low <= high {
            let middle = f64::midpoint(low, high).floor();
            if step(middle) <= sla.itl_s {
                best = middle;
                low = middle + 1.0;
            } else {
                high = middle - 1.0;
            }
        }
        best / (output * step(best))
    }

    /// `find_best_engine_agg_rps`: batches from 1 up while both targets hold, each iteration
    /// carrying as many prompt tokens as its outputs finish.
    pub(crate) fn best_aggregated_rps(&self, traffic: &Traffic, sla: Sla) -> f64 {
        let (prompt, output) = (traffic.prompt_tokens.max(1.0), traffic.output_tokens.max(1.0));
        let context = prompt + output / 2.0;
        let most = self.largest_batch(context).min(self.chunk - 1.0);
        // Prefill must keep up with what finishes: batch <= output * chunk / (prompt + output).
        let balanced = (output * self.chunk / (prompt + output)).floor();
        let most = most.min(balanced).max(1.0) as u32;
        let mut best = 0.0;
        for batch in 1..=most {
            let batch = f64::from(batch);
            let kv = batch * context;
            let prefill = (batch * prompt / output).min(self.chunk);
            let itl = self.step_s(prefill, kv, batch);
            let ttft = self.next_ttft_s(prefill.floor() + prompt, kv);
            let meets = itl <= sla.itl_s && ttft <= sla.ttft_s;
            if meets || best <= 0.0 {
                best = batch / (output * itl);
            }
            if !meets {
                break;
            }
        }
        best
    }

    fn largest_batch(&self, context: f64) -> f64 {
        let by_kv = (self.kv_capacity_tokens / context.max(1.0)).floor();
        by_kv.min(f64::from(self.profile.limits.max_num_seqs)).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::profile;

    const TRAFFIC: Traffic =
        Traffic { requests_per_s: 1.0, prompt_tokens: 1_000.0, output_tokens: 100.0 };

    fn close(left: f64, right: f64) {
        assert!((left - right).abs() < 1e-3 * right.abs(), "{left} is not {right}");
    }

    #[test]
    fn rates_follow_little() {
        let model = Model::new(&profile());
        // Step of 2,048 tokens: 10 + 81.92 = 91.92 ms; the other 952: 10 + 38.08 = 48.08 ms.
        close(model.next_ttft_s(3_000.0, 0.0), 0.14);
        // Decode: KV holds 100,000 / 1,050 = 95; step 10 + 3.8 + 0.9975 = 14.7975 ms <= 100 ms:
        // 95 / (100 x 14.7975 ms).
        close(model.best_decode_rps(&TRAFFIC, Sla { ttft_s: 2.0, itl_s: 0.1 }), 64.2);
        // ITL 12 ms: 10 + 0.04 B + 0.0105 B <= 12 at B = 39: 39 / (100 x 11.9695 ms).
        close(model.best_decode_rps(&TRAFFIC, Sla { ttft_s: 2.0, itl_s: 0.012 }), 32.58);
    }

    #[test]
    fn aggregated_rate_counts_prefill_in_every_iteration() {
        let model = Model::new(&profile());
        // ITL 60 ms: an iteration of batch B carries 10 B prompt tokens: 10 + 0.04 x 11 B +
        // 0.0105 B <= 60 at B = 110; KV and balance: 100 x 2048 / 1100 = 186, KV 95. At 95:
        // 10 + 41.8 + 0.9975 = 52.7975 ms: 95 / 5.27975.
        close(model.best_aggregated_rps(&TRAFFIC, Sla { ttft_s: 2.0, itl_s: 0.06 }), 17.99);
        // ITL 20 ms: B = 22 gives 19.911 ms: 22 / 1.9911.
        close(model.best_aggregated_rps(&TRAFFIC, Sla { ttft_s: 2.0, itl_s: 0.02 }), 11.05);
        // Unreachable: the rate at batch 1, 1 / (100 x 10.4505 ms).
        close(model.best_aggregated_rps(&TRAFFIC, Sla { ttft_s: 2.0, itl_s: 0.001 }), 0.9569);
    }
}
