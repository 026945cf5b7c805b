//! The models that profiles exist for, and what the tables call them.

/// A model with profiles.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// In the tables of step times.
    pub data_name: &'static str,
    /// In profiles and file names.
    pub name: &'static str,
    /// Name of the repository of its weights, without the organisation, up to where variants
    /// (`-Instruct`, `-FP8`) begin: what measured runs call it.
    pub weights: &'static [&'static str],
    /// Experts per token and experts in all; absent for a dense model.
    pub experts: Option<(u32, u32)>,
    /// What holds for every profile of the model.
    pub note: Option<&'static str>,
}

impl Model {
    /// Share of the experts that one token touches; 0 for a dense model.
    #[must_use]
    pub fn expert_share_per_token(&self) -> f64 {
        self.experts.map_or(0.0, |(per_token, all)| f64::from(per_token) / f64::from(all))
    }
}

const UNIFORM_ROUTING: &str = "Experts are taken to be chosen evenly and independently";

/// All of them. Experts are those of the published configurations (`num_experts_per_tok` and
/// `num_local_experts` or `num_experts`).
pub const MODELS: [Model; 5] = [
    Model {
        data_name: "gpt-oss-120b",
        name: "gpt-oss-120b",
        weights: &["gpt-oss-120b"],
        experts: Some((4, 128)),
        note: Some(
            "Experts are taken to be chosen evenly and independently. KV is counted at full length \
             in every layer, although every other layer keeps a window of 128 tokens only",
        ),
    },
    Model {
        data_name: "llama-3.1-70b",
        name: "llama-3.3-70b",
        weights: &["Llama-3.1-70B", "Llama-3.3-70B", "Meta-Llama-3.1-70B"],
        experts: None,
        note: Some("Figures are of Llama-3.1-70B, which has the same architecture and size"),
    },
    Model {
        data_name: "llama-3.1-8b",
        name: "llama-3.1-8b",
        weights: &["Llama-3.1-8B", "Meta-Llama-3.1-8B"],
        experts: None,
        note: None,
    },
    Model {
        data_name: "qwen3-235b-a22b",
        name: "qwen3-235b-a22b",
        weights: &["Qwen3-235B-A22B"],
        experts: Some((8, 128)),
        note: Some(UNIFORM_ROUTING),
    },
    Model {
        data_name: "qwen3-32b",
        name: "qwen3-32b",
        weights: &["Qwen3-32B"],
        experts: None,
        note: None,
    },
];

/// `<model>-<quantization>-<accelerator>-tp<N>`, with `-` for `_`.
#[must_use]
pub(super) fn profile_name(
    model: &str,
    quantization: &str,
    accelerator: &str,
    tensor_parallel: u32,
) -> String {
    format!("{model}-{quantization}-{accelerator}-tp{tensor_parallel}").replace('_', "-")
}
