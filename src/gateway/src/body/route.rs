//! Paths on which engines compute.

/// A path on which an engine computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// Without a query.
    pub(crate) path: &'static str,
    /// What OpenTelemetry's conventions for generative AI call it (`gen_ai.operation.name`); none
    /// where they have no name.
    pub(crate) operation: Option<&'static str>,
}

const CHAT: Option<&str> = Some("chat");
const TEXT: Option<&str> = Some("text_completion");

/// OpenAI's, Anthropic's, vLLM's and SGLang's.
const ROUTES: [(&str, Option<&str>); 13] = [
    ("/v1/chat/completions", CHAT),
    ("/v1/completions", TEXT),
    ("/v1/responses", CHAT),
    ("/v1/messages", CHAT),
    ("/v1/embeddings", Some("embeddings")),
    ("/v1/rerank", None),
    ("/v1/score", None),
    ("/v1/audio/transcriptions", None),
    ("/v1/audio/translations", None),
    ("/v1/images/generations", None),
    ("/generate", TEXT),
    ("/generate_stream", TEXT),
    ("/inference/v1/generate", TEXT),
];

impl Route {
    /// The route of a path without its query.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let (path, operation) = ROUTES.into_iter().find(|(known, _)| *known == path)?;
        Some(Self { path, operation })
    }
}
