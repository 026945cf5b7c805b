//! What a client asks for, as far as an engine without a model needs it.
//!
//! Prompt tokens are estimated at one for each [`BYTES_PER_TOKEN`] bytes of text, rounded up over
//! the whole prompt, and [`TEMPLATE_TOKENS`] for the template around each chat message; prompts
//! given as token numbers are counted.

use std::sync::Arc;

use forebay_core::engine::Prefix;
use rand::SeedableRng;
use rand_distr::{Distribution, LogNormal};
use rand_pcg::Pcg64Mcg;
use serde::Deserialize;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::prompt::Content;

/// English text in the tokenisers of the field: about four bytes a token.
pub const BYTES_PER_TOKEN: usize = 4;
/// Tokens of a chat template around one message.
pub const TEMPLATE_TOKENS: usize = 4;
/// Median and spread (of the logarithm) of answers that end by themselves, as chat traces have.
const OUTPUT_TOKENS_MEDIAN: f64 = 150.0;
const OUTPUT_LOG_SIGMA: f64 = 0.8;
/// Longest answer that ends by itself, tokens.
const OUTPUT_TOKENS_MAX: f64 = 4_096.0;

/// The kinds of questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Chat,
    Completion,
}

/// What matters of a request's body.
#[derive(Debug, Deserialize)]
struct Body {
    model: Option<String>,
    #[serde(default)]
    messages: Vec<Message>,
    prompt: Option<Content>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    ignore_eos: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    content: Content,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// A request as the engine takes it.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) model: Option<String>,
    pub(super) prompt_tokens: u64,
    pub(super) output_tokens: u32,
    /// The answer ended because it was as long as it may be.
    pub(super) cut: bool,
    pub(super) stream: bool,
    pub(super) usage_wanted: bool,
    pub(super) prefix: Option<Prefix>,
    /// Stands for the prompt; the answer's words follow from it.
    pub(super) hash: u64,
}

/// What an engine knows when it reads a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    pub(super) seed: u64,
    pub(super) block_tokens: u32,
    pub(super) context_tokens: u64,
}

impl Reader {
    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong with it, for the client.
    pub(super) fn read(&self, kind: Kind, body: &[u8]) -> Result<Ask, String> {
        let mut body: Body =
            serde_json::from_slice(body).map_err(|error| format!("the body: {error}"))?;
        let prompt = Prompt::of(kind, &mut body)?;
        let prompt_tokens = prompt.tokens.max(1);
        let room = self.context_tokens.saturating_sub(prompt_tokens);
        let wanted = body.max_completion_tokens.or(body.max_tokens);
        if room == 0 || wanted.is_some_and(|wanted| wanted > room) {
            return Err(format!(
                "This model's maximum context length is {} tokens. However, you requested {} \
                 output tokens and your prompt contains {prompt_tokens} input tokens",
                self.context_tokens,
                wanted.unwrap_or(0),
            ));
        }
        let limit = u32::try_from(wanted.unwrap_or(room).max(1)).unwrap_or(u32::MAX);
        let hash = xxh3_64_with_seed(&prompt.text, self.seed);
        let by_itself = if body.ignore_eos == Some(true) { limit } else { draw_length(hash) };
        Ok(Ask {
            model: body.model,
            prompt_tokens,
            output_tokens: by_itself.min(limit),
            cut: by_itself >= limit,
            stream: body.stream == Some(true),
            usage_wanted: body.stream_options.and_then(|options| options.include_usage)
                == Some(true),
            prefix: self.prefix(&prompt.text),
            hash,
        })
    }

    /// The prompt in pieces of one KV block; a last piece that is not full is left out, because
    /// nobody can find it again.
    fn prefix(&self, text: &[u8]) -> Option<Prefix> {
        let piece_bytes = self.block_tokens as usize * BYTES_PER_TOKEN;
        let mut parent = 0;
        let ids: Arc<[u64]> = text
            .chunks_exact(piece_bytes)
            .map(|piece| {
                parent = xxh3_64_with_seed(piece, parent);
                parent
            })
            .collect();
        (!ids.is_empty()).then_some(Prefix { ids, piece_tokens: self.block_tokens })
    }
}

/// The text of a prompt and its length.
#[derive(Default)]
struct Prompt {
    text: Vec<u8>,
    tokens: u64,
}

impl Prompt {
    fn of(kind: Kind, body: &mut Body) -> Result<Self, String> {
        let mut prompt = Self::default();
        match kind {
            Kind::Chat => {
                for message in &mut body.messages {
                    prompt.tokens += TEMPLATE_TOKENS as u64;
                    prompt.add(std::mem::take(&mut message.content));
                }
                if body.messages.is_empty() {
                    return Err("messages: expected at least one".into());
                }
            }
            Kind::Completion => {
                let content = body.prompt.take().ok_or("prompt: missing")?;
                if content.elements > 1 && !content.numbers {
                    return Err("prompt: this test engine answers one prompt a request".into());
                }
                prompt.add(content);
            }
        }
        // Token numbers are four bytes each, so this counts them too.
        prompt.tokens += prompt.text.len().div_ceil(BYTES_PER_TOKEN) as u64;
        Ok(prompt)
    }

    fn add(&mut self, content: Content) {
        if self.text.is_empty() {
            self.text = content.text;
        } else {
            self.text.extend_from_slice(&content.text);
        }
    }
}

fn draw_length(hash: u64) -> u32 {
    let mut luck = Pcg64Mcg::seed_from_u64(xxh3_64(&hash.to_le_bytes()));
    let drawn = LogNormal::new(OUTPUT_TOKENS_MEDIAN.ln(), OUTPUT_LOG_SIGMA)
        .map_or(OUTPUT_TOKENS_MEDIAN, |lengths| lengths.sample(&mut luck));
    drawn.clamp(1.0, OUTPUT_TOKENS_MAX) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const READER: Reader = Reader { seed: 1, block_tokens: 16, context_tokens: 8_192 };

    fn read(kind: Kind, body: &str) -> Result<Ask, String> {
        READER.read(kind, body.as_bytes())
    }

    #[test]
    fn a_prompt_is_counted_and_cut_into_blocks() {
        let text = "x".repeat(130);
        let body = format!(
            r#"{{"model": "m", "messages": [{{"role": "user", "content": "{text}"}}],
                "max_tokens": 7, "ignore_eos": true, "stream": true,
                "stream_options": {{"include_usage": true}}, "temperature": 0.5}}"#
        );
        let ask = read(Kind::Chat, &body).unwrap();
        assert_eq!((ask.prompt_tokens, ask.output_tokens), (4 + 33, 7));
        assert!(ask.stream && ask.usage_wanted && ask.cut);
        assert_eq!(ask.prefix.unwrap().ids.len(), 2);
        let same = read(Kind::Completion, &format!(r#"{{"prompt": "{text}"}}"#)).unwrap();
        assert_eq!(same.hash, ask.hash);
        assert!(!same.cut && same.output_tokens > 1, "it ends by itself");
        let numbers = read(Kind::Completion, r#"{"prompt": [1, 2, 3, 4, 5]}"#).unwrap();
        assert_eq!(numbers.prompt_tokens, 5);
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (kind, body, said) in [
            (Kind::Chat, "{", "the body"),
            (Kind::Chat, r#"{"messages": []}"#, "messages"),
            (Kind::Completion, r#"{"messages": [{"content": "x"}]}"#, "prompt"),
            (Kind::Completion, r#"{"prompt": ["a", "b"]}"#, "one prompt"),
            (Kind::Completion, r#"{"prompt": "x", "max_tokens": 9000}"#, "maximum context length"),
        ] {
            let error = read(kind, body).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
