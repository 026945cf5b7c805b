//! Bodies, as every face of the gate sees them: what a request asks for, and what its answer cost.
//!
//! - [`Collector`] gathers a request body, up to [`BODY_BYTES_MAX`].
//! - [`read_request`] finds model, limits and prompt in it without building a tree or copying the
//!   prompt: one pass over the members, one over the texts, hashed piece by piece.
//! - [`Parsed::renamed`] changes the top-level `model` in place; every other byte stays.
//! - [`AnswerReader`] finds usage in a JSON answer or a stream of events, [`ModelRewriter`] gives
//!   its top-level `model` the name that the client knows; both take any chunking.
//!
//! Shapes: OpenAI chat completions, completions, embeddings and responses; Anthropic messages;
//! `generate` of vLLM, SGLang and TGI. What is not JSON passes as opaque bytes.

mod answer;
mod collect;
mod error;
mod fields;
mod format;
mod pieces;
mod prompt;
mod rename;
mod request;
mod route;
mod scan;
#[cfg(test)]
mod tests;
mod usage;

pub use answer::{Answer, AnswerReader};
pub use collect::{BODY_BYTES_MAX, Collector};
pub use error::BodyError;
pub use format::Format;
pub use pieces::{PIECE_BYTES, PIECE_TOKENS, PIECES_MAX};
pub use prompt::{MEDIA_TOKENS, MESSAGE_TOKENS, Prompt, TEXT_BYTES_PER_TOKEN};
pub use rename::ModelRewriter;
pub use request::{Parsed, read_request};
pub(crate) use route::Route;
pub use usage::Usage;
