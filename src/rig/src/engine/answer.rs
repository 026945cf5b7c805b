//! Answers: words in JSON, or one by one as server-sent events, as vLLM writes them.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use serde_json::{Value, json};
use tokio_stream::Stream;
use tokio_stream::wrappers::WatchStream;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::ask::{Ask, Kind};
use super::clocked::{Flight, Progress};

/// What answers are made of; each is one token.
const WORDS: [&str; 32] = [
    " water", " behind", " the", " gate", " waits", " for", " a", " wheel", " to", " turn", " and",
    " runs", " where", " it", " is", " led", " through", " mill", " race", " pond", " slow", " or",
    " fast", " as", " stone", " grain", " asks", " until", " evening", " when", " all", " rests",
];

/// Everything that an answer says besides its time.
#[derive(Clone, Debug)]
pub(super) struct Script {
    kind: Kind,
    model: String,
    id: String,
    created_s: u64,
    hash: u64,
    prompt_tokens: u64,
    output_tokens: u32,
    cut: bool,
    usage_wanted: bool,
}

impl Script {
    pub(super) fn new(kind: Kind, model: &str, ask: &Ask, number: u64, created_s: u64) -> Self {
        let prefix = if kind == Kind::Chat { "chatcmpl" } else { "cmpl" };
        Self {
            kind,
            model: model.to_owned(),
            id: format!("{prefix}-{:016x}{number:016x}", ask.hash),
            created_s,
            hash: ask.hash,
            prompt_tokens: ask.prompt_tokens,
            output_tokens: ask.output_tokens,
            cut: ask.cut,
            usage_wanted: ask.usage_wanted,
        }
    }

    fn word(&self, index: u32) -> &'static str {
        let luck = xxh3_64_with_seed(&self.hash.to_le_bytes(), u64::from(index));
        WORDS[luck as usize % WORDS.len()]
    }

    fn finish_reason(&self) -> &'static str {
        if self.cut { "length" } else { "stop" }
    }

    fn usage(&self) -> Value {
        let total = self.prompt_tokens + u64::from(self.output_tokens);
        json!({"prompt_tokens": self.prompt_tokens, "total_tokens": total,
               "completion_tokens": self.output_tokens, "prompt_tokens_details": null})
    }

    /// The whole answer.
    pub(super) fn json(&self) -> Bytes {
        let text: String = (0..self.output_tokens).map(|index| self.word(index)).collect();
        let (object, choice) = match self.kind {
            Kind::Chat => (
                "chat.completion",
                json!({"index": 0, "message": {"role": "assistant", "content": text},
                       "logprobs": null, "finish_reason": self.finish_reason()}),
            ),
            Kind::Completion => (
                "text_completion",
                json!({"index": 0, "text": text, "logprobs": null,
                       "finish_reason": self.finish_reason()}),
            ),
        };
        let answer = json!({"id": self.id, "object": object, "created": self.created_s,
                            "model": self.model, "choices": [choice], "usage": self.usage()});
        answer.to_string().into()
    }

    fn event(&self, choices: &Value, usage: Option<Value>) -> Bytes {
        let object = match self.kind {
            Kind::Chat => "chat.completion.chunk",
            Kind::Completion => "text_completion",
        };
        let mut event = json!({"id": self.id, "object": object, "created": self.created_s,
                               "model": self.model, "choices": choices});
        if let (Some(usage), Some(event)) = (usage, event.as_object_mut()) {
            event.insert("usage".into(), usage);
        }
        format!("data: {event}\n\n").into()
    }

    /// The event that vLLM sends with the first token of a chat: whose turn it is.
    fn opening(&self) -> Option<Bytes> {
        let delta = json!({"role": "assistant", "content": ""});
        let choice = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]);
        (self.kind == Kind::Chat).then(|| self.event(&choice, None))
    }

    fn token(&self, index: u32) -> Bytes {
        let last = index + 1 == self.output_tokens;
        let reason = if last { self.finish_reason().into() } else { Value::Null };
        let word = self.word(index);
        let choice = match self.kind {
            Kind::Chat => json!([{"index": 0, "delta": {"content": word}, "logprobs": null,
                                  "finish_reason": reason}]),
            Kind::Completion => json!([{"index": 0, "text": word, "logprobs": null,
                                        "finish_reason": reason}]),
        };
        self.event(&choice, None)
    }

    /// What follows the last token.
    fn closing(&self) -> impl Iterator<Item = Bytes> {
        let usage = self.usage_wanted.then(|| self.event(&json!([]), Some(self.usage())));
        usage.into_iter().chain([Bytes::from_static(b"data: [DONE]\n\n")])
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) enum Answer {
    /// All at once.
    Whole(Option<Bytes>),
    /// The first half of a JSON answer, then a broken connection.
    Half(Option<Bytes>),
    /// Events as their tokens come.
    Events(Box<Events>),
}

/// Why a body ends before its end: a fault that somebody asked for.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the connection breaks here, as the test asked")]
pub(super) struct Broken;

/// A stream of events.
#[derive(Debug)]
pub(super) struct Events {
    script: Script,
    progress: WatchStream<Progress>,
    /// Keeps the request in the engine.
    _flight: Flight,
    ready: VecDeque<Bytes>,
    tokens_told: u32,
    ended: bool,
    /// Events after which the connection breaks.
    break_after: Option<u32>,
    events_told: u32,
}

impl Events {
    pub(super) fn new(script: Script, flight: Flight, break_after: Option<u32>) -> Self {
        let progress = WatchStream::new(flight.progress());
        let ready = script.opening().into_iter().collect();
        Self {
            script,
            progress,
            _flight: flight,
            ready,
            tokens_told: 0,
            ended: false,
            break_after,
            events_told: 0,
        }
    }

    fn hear(&mut self, progress: Progress) {
        let until = match progress.end {
            Some(_) => self.script.output_tokens,
            None => progress.generated.min(self.script.output_tokens),
        };
        for index in self.tokens_told..until {
            self.ready.push_back(self.script.token(index));
        }
        self.tokens_told = self.tokens_told.max(until);
        if progress.end.is_some() && !self.ended {
            self.ended = true;
            self.ready.extend(self.script.closing());
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            if self.break_after.is_some_and(|events| self.events_told >= events) {
                return Poll::Ready(Some(Err(Broken)));
            }
            if let Some(event) = self.ready.pop_front() {
                self.events_told += 1;
                return Poll::Ready(Some(Ok(Frame::data(event))));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match Pin::new(&mut self.progress).poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(progress)) => self.hear(progress),
                Poll::Ready(None) => return Poll::Ready(Some(Err(Broken))),
            }
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Half(bytes) => match bytes.take() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes.slice(..bytes.len() / 2))))),
                None => Poll::Ready(Some(Err(Broken))),
            },
            Self::Events(events) => events.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Whole(bytes) | Self::Half(bytes) => {
                http_body::SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            Self::Events(_) => http_body::SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ask::Reader;
    use super::*;

    const READER: Reader = Reader { seed: 1, block_tokens: 16, context_tokens: 8_192 };

    fn script(body: &str) -> Script {
        let ask = READER.read(Kind::Completion, body.as_bytes()).unwrap();
        Script::new(Kind::Completion, "m", &ask, 3, 1)
    }

    #[test]
    fn the_words_are_the_same_whole_and_one_by_one() {
        let script = script(r#"{"prompt": "why?", "max_tokens": 5, "ignore_eos": true}"#);
        let whole: Value = serde_json::from_slice(&script.json()).unwrap();
        let event = |bytes: Bytes| -> Value {
            let text = std::str::from_utf8(&bytes).unwrap().to_owned();
            serde_json::from_str(text.strip_prefix("data: ").unwrap().trim_end()).unwrap()
        };
        let words: String = (0..5)
            .map(|index| {
                event(script.token(index))["choices"][0]["text"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(whole["choices"][0]["text"], words);
        assert_eq!(whole["choices"][0]["finish_reason"], "length");
        assert_eq!(whole["usage"]["completion_tokens"], 5);
        assert_eq!(event(script.token(4))["choices"][0]["finish_reason"], "length");
    }

    #[test]
    fn usage_comes_before_done_for_those_who_ask() {
        let closing = |body| script(body).closing().collect::<Vec<_>>();
        assert_eq!(closing(r#"{"prompt": "x"}"#).len(), 1);
        let both = closing(r#"{"prompt": "x", "stream_options": {"include_usage": true}}"#);
        assert!(both[0].starts_with(b"data: {") && both[1] == "data: [DONE]\n\n");
    }
}
