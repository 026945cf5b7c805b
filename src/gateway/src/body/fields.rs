//! The members of a request body that we read, borrowed from it.

use serde::Deserialize;
use serde_json::value::RawValue;

type Raw<'a> = Option<&'a RawValue>;

/// Members by name, of all shapes that we know. A member that stands twice is an error: parsers
/// disagree on which one counts, and a limit must not look at the other one.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Fields<'a> {
    #[serde(borrow, default)]
    pub(super) model: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) stream: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) stream_options: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) max_tokens: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) max_completion_tokens: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) max_output_tokens: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) sampling_params: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) parameters: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) n: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) user: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) safety_identifier: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) cache_salt: Raw<'a>,
    // What the engine's templates put in front.
    #[serde(borrow, default)]
    pub(super) tools: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) system: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) instructions: Raw<'a>,
    // The prompt, by one of these names.
    #[serde(borrow, default)]
    pub(super) messages: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) prompt: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) prompt_token_ids: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) token_ids: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) input: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) input_ids: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) inputs: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) text: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) query: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) documents: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) text_1: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) text_2: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) suffix: Raw<'a>,
}

/// Members of `sampling_params` (vLLM, SGLang) and `parameters` (TGI).
#[derive(Debug, Default, Deserialize)]
pub(super) struct Sampling<'a> {
    #[serde(borrow, default)]
    pub(super) max_new_tokens: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) max_tokens: Raw<'a>,
    #[serde(borrow, default)]
    pub(super) n: Raw<'a>,
}

/// Members of `stream_options`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct StreamOptions<'a> {
    #[serde(borrow, default)]
    pub(super) include_usage: Raw<'a>,
}

/// A member that holds an object, or nothing if it holds something else: judging it is the
/// engine's business.
pub(super) fn object<'a, T: Default + Deserialize<'a>>(raw: Raw<'a>) -> T {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

/// A member that is `true`.
pub(super) fn is_true(raw: Raw<'_>) -> bool {
    raw.is_some_and(|raw| raw.get() == "true")
}

/// A member that is a whole number; one too large is as large as can be.
pub(super) fn count(raw: Raw<'_>) -> Option<u32> {
    let value: u64 = raw?.get().parse().ok()?;
    Some(u32::try_from(value).unwrap_or(u32::MAX))
}

/// A member that is a text.
pub(super) fn text(raw: Raw<'_>) -> Option<String> {
    serde_json::from_str(raw?.get()).ok()
}
