//! Tokens that an answer says it cost.

use serde::Deserialize;
use serde_json::value::RawValue;

/// What an engine counted for one request. What it did not tell is absent, not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub prompt_tokens: Option<u32>,
    /// Tokens generated, over all sequences.
    pub output_tokens: Option<u32>,
    /// Prompt tokens that came from the engine's prefix cache.
    pub cached_tokens: Option<u32>,
}

impl Usage {
    /// Nothing was told.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.prompt_tokens.is_none() && self.output_tokens.is_none() && self.cached_tokens.is_none()
    }

    /// What `later` tells, and of the rest what was told before.
    #[must_use]
    pub const fn updated(self, later: Self) -> Self {
        Self {
            prompt_tokens: or(later.prompt_tokens, self.prompt_tokens),
            output_tokens: or(later.output_tokens, self.output_tokens),
            cached_tokens: or(later.cached_tokens, self.cached_tokens),
        }
    }

    /// From the JSON of a `usage` (OpenAI, Anthropic) or `meta_info` (SGLang) object.
    pub(super) fn from_object(json: &[u8]) -> Self {
        serde_json::from_slice::<Counts>(json).map(Self::from).unwrap_or_default()
    }

    /// From the JSON of one event of a stream: at its top level, or inside its `response`
    /// (OpenAI responses) or `message` (Anthropic).
    pub(super) fn from_event(json: &[u8]) -> Self {
        let Ok(event) = serde_json::from_slice::<Event<'_>>(json) else { return Self::default() };
        let nested = [event.response, event.message].into_iter().flatten();
        let nested = nested.filter_map(|raw| serde_json::from_str::<Nested<'_>>(raw.get()).ok());
        [event.usage, event.meta_info]
            .into_iter()
            .flatten()
            .chain(nested.filter_map(|nested| nested.usage))
            .map(|raw| Self::from_object(raw.get().as_bytes()))
            .fold(Self::default(), Self::updated)
    }
}

const fn or(first: Option<u32>, second: Option<u32>) -> Option<u32> {
    match first {
        Some(_) => first,
        None => second,
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    meta_info: Option<&'a RawValue>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Nested<'a> {
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counts {
    prompt_tokens: Option<u64>,
    input_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cached_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    input_tokens_details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Option<u64>,
}

impl From<Counts> for Usage {
    fn from(counts: Counts) -> Self {
        let details = counts.prompt_tokens_details.or(counts.input_tokens_details);
        let cached = counts
            .cached_tokens
            .or(counts.cache_read_input_tokens)
            .or_else(|| details.and_then(|details| details.cached_tokens));
        let narrow =
            |value: Option<u64>| value.map(|value| u32::try_from(value).unwrap_or(u32::MAX));
        Self {
            prompt_tokens: narrow(counts.prompt_tokens.or(counts.input_tokens)),
            output_tokens: narrow(counts.completion_tokens.or(counts.output_tokens)),
            cached_tokens: narrow(cached),
        }
    }
}
