//! What a request asks for.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::BodyError;
use super::fields::{Fields, Sampling, StreamOptions, count, is_true, object, text};
use super::prompt::{self, Prompt};

/// Bytes kept of a user's name; two that differ later only count as one.
const USER_BYTES_MAX: usize = 512;

/// A request body, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// The model that the client named; none where the path does without, or the body is opaque.
    pub model: Option<String>,
    /// The answer is to come as a stream of events.
    pub stream: bool,
    /// The stream is to end with usage.
    pub include_usage: bool,
    /// The client's limit on generated tokens per sequence; none if it set none.
    pub output_tokens_max: Option<u32>,
    /// Answers asked for each prompt (`n`); at least 1.
    pub sequences: u32,
    /// The end user that the client acts for (`user`, `safety_identifier`), as sent: not trusted.
    pub user: Option<String>,
    /// The prompt.
    pub prompt: Prompt,
    /// Where the value of `model` stands in the body, quotes included.
    model_at: Option<Range<usize>>,
}

/// Reads the body of a request to `path` with that content type.
///
/// A body that starts like an object is read as JSON whatever its content type, since clients
/// mislabel it. Other bodies are opaque if their content type says so.
///
/// # Errors
/// [`BodyError`], for the client; an empty body names no model.
pub fn read_request(
    path: &str,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Parsed, BodyError> {
    let object = is_object(body);
    let json = content_type.is_none_or(|value| value.contains("json"));
    if !object && !json && !body.is_empty() {
        return Ok(Parsed { sequences: 1, prompt: Prompt::opaque(body), ..Parsed::default() });
    }
    if body.is_empty() {
        return Err(BodyError::ModelMissing);
    }
    let parsed = Parsed::json(body)?;
    if parsed.model.is_none() && !names_no_model(path) {
        return Err(BodyError::ModelMissing);
    }
    Ok(parsed)
}

/// Whether a body starts like an object.
fn is_object(body: &[u8]) -> bool {
    body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

/// Native paths of engines that serve one model.
fn names_no_model(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    path.ends_with("/generate") || path.ends_with("/generate_stream")
}

impl Parsed {
    /// Reads a JSON object, with or without a model.
    ///
    /// # Errors
    /// [`BodyError`] if it is not UTF-8, not an object, or its model is not a text.
    pub fn json(body: &[u8]) -> Result<Self, BodyError> {
        let body_text = std::str::from_utf8(body)
            .map_err(|error| BodyError::NotUtf8 { at: error.valid_up_to() })?;
        let not_json = |error: serde_json::Error| BodyError::NotJson { what: error.to_string() };
        if !is_object(body) {
            return Err(BodyError::NotJson { what: "it does not start with `{`".to_owned() });
        }
        let fields: Fields<'_> = serde_json::from_str(body_text).map_err(not_json)?;
        let model: Option<String> = match fields.model {
            None => None,
            Some(raw) => {
                Some(serde_json::from_str(raw.get()).map_err(|_| BodyError::ModelNotText)?)
            }
        };
        let model_at = fields.model.map(|raw| {
            // The raw value is a slice of the body.
            let start = raw.get().as_ptr().addr() - body_text.as_ptr().addr();
            start..start + raw.get().len()
        });
        let sampling: Sampling<'_> = object(fields.sampling_params.or(fields.parameters));
        let options: StreamOptions<'_> = object(fields.stream_options);
        let output_tokens_max = [
            fields.max_completion_tokens,
            fields.max_output_tokens,
            fields.max_tokens,
            sampling.max_new_tokens,
            sampling.max_tokens,
        ]
        .into_iter()
        .find_map(count);
        let prompt =
            prompt::read(&fields, model.as_deref().unwrap_or_default()).map_err(not_json)?;
        Ok(Self {
            stream: is_true(fields.stream),
            include_usage: is_true(options.include_usage),
            output_tokens_max,
            sequences: count(fields.n.or(sampling.n)).unwrap_or(1).max(1),
            user: text(fields.user).or_else(|| text(fields.safety_identifier)).map(shortened),
            prompt,
            model,
            model_at,
        })
    }

    /// The body with another model; every byte outside the value of `model` stays as it is. A
    /// body without a model stays whole.
    ///
    /// `body` is the one that this was read from.
    #[must_use]
    pub fn renamed(&self, body: &Bytes, model: &str) -> Bytes {
        let Some(at) = &self.model_at else { return body.clone() };
        let (Some(before), Some(after)) = (body.get(..at.start), body.get(at.end..)) else {
            return body.clone();
        };
        let name = quoted(model);
        let mut renamed = BytesMut::with_capacity(before.len() + name.len() + after.len());
        renamed.extend_from_slice(before);
        renamed.extend_from_slice(name.as_bytes());
        renamed.extend_from_slice(after);
        renamed.freeze()
    }
}

/// A text as JSON writes it.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn shortened(mut user: String) -> String {
    if user.len() > USER_BYTES_MAX {
        let end = (0..=USER_BYTES_MAX).rev().find(|&at| user.is_char_boundary(at)).unwrap_or(0);
        user.truncate(end);
    }
    user
}
