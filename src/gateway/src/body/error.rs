//! What is wrong with a request body.

/// Why a request body is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// More bytes than we hold for one request.
    #[error(
        "the request body is larger than {limit_bytes} bytes; send less, or refer to media by URL"
    )]
    TooLarge {
        /// How many would have been taken.
        limit_bytes: usize,
    },
    /// Not text.
    #[error("the request body is not UTF-8 from byte {at} on; JSON is sent as UTF-8")]
    NotUtf8 {
        /// Index of the first wrong byte.
        at: usize,
    },
    /// Not JSON, or a member that we read stands twice.
    #[error(
        "the request body is not the JSON object that was expected: {what}; send one object with `model` and a prompt"
    )]
    NotJson {
        /// What the parser found, with line and column.
        what: String,
    },
    /// No model where one is needed.
    #[error("the request names no model; add `\"model\": \"...\"`")]
    ModelMissing,
    /// A model that is not a text.
    #[error("`model` is not a text; write it as `\"model\": \"...\"`")]
    ModelNotText,
}

impl BodyError {
    /// The HTTP status that says so.
    #[must_use]
    pub const fn status(&self) -> http::StatusCode {
        match self {
            Self::TooLarge { .. } => http::StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotUtf8 { .. }
            | Self::NotJson { .. }
            | Self::ModelMissing
            | Self::ModelNotText => http::StatusCode::BAD_REQUEST,
        }
    }

    /// The member of the body that is wrong, as OpenAI's `param` names it.
    #[must_use]
    pub const fn param(&self) -> Option<&'static str> {
        match self {
            Self::ModelMissing | Self::ModelNotText => Some("model"),
            Self::TooLarge { .. } | Self::NotUtf8 { .. } | Self::NotJson { .. } => None,
        }
    }
}
