//! An answer on its way from the engine to the client: passed on piece by piece, watched for its
//! first token, its usage and its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::body::{AnswerReader, Format, ModelRewriter};
use crate::front::Pass;

/// The body of a response.
#[derive(Debug)]
pub(super) enum Answer {
    /// Our own.
    Whole(Full<Bytes>),
    /// An engine's, as it is.
    Passed(Incoming),
    /// An engine's, watched.
    Relayed(Box<Relay>),
}

impl Answer {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self::Whole(Full::new(bytes))
    }
}

/// An engine's answer, watched.
#[derive(Debug)]
pub(super) struct Relay {
    body: Incoming,
    /// Until the end was told.
    pass: Option<Pass>,
    reader: AnswerReader,
    rewriter: Option<ModelRewriter>,
    status: StatusCode,
    ended: bool,
}

impl Relay {
    /// `names`: the model as the engine and as the client call it, where they differ.
    pub(super) fn new(
        body: Incoming,
        pass: Pass,
        format: Format,
        status: StatusCode,
        names: Option<(String, String)>,
    ) -> Self {
        let rewriter = names.map(|(engine, client)| ModelRewriter::new(format, &engine, &client));
        let reader = AnswerReader::new(format);
        let mut relay = Self { body, pass: Some(pass), reader, rewriter, status, ended: false };
        if relay.body.is_end_stream() {
            relay.finish();
        }
        relay
    }

    /// It came whole.
    fn finish(&mut self) {
        let Some(pass) = self.pass.take() else { return };
        if self.status.is_server_error() {
            pass.failed();
            return;
        }
        let answer = self.reader.answer();
        let mut usage = answer.usage;
        // A stream that does not tell its usage is counted by its events.
        usage.output_tokens = answer.output_tokens();
        pass.finished(usage);
    }

    fn take_data(&mut self, data: Bytes) -> Bytes {
        self.reader.read(&data);
        if let Some(pass) = &mut self.pass
            && self.status.is_success()
        {
            pass.first_token();
        }
        match &mut self.rewriter {
            Some(rewriter) => rewriter.push(data),
            None => data,
        }
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => {
                    let data = match frame.into_data() {
                        Ok(data) => self.take_data(data),
                        Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                    };
                    // A body of known length is not asked again after its last byte.
                    if self.body.is_end_stream() {
                        self.finish();
                    }
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Some(Err(error)) => {
                    self.ended = true;
                    if let Some(pass) = self.pass.take() {
                        tracing::warn!(endpoint = pass.endpoint(), %error, "an answer broke off");
                        pass.failed();
                    }
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.ended = true;
                    self.finish();
                    let rest = self.rewriter.as_mut().map(ModelRewriter::finish);
                    if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
                        return Poll::Ready(Some(Ok(Frame::data(rest))));
                    }
                    return Poll::Ready(None);
                }
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // A client may leave once it has all it wants: then the engine has told the usage, and
        // the answer is whole. Otherwise dropping the pass says that the client has gone.
        if self.reader.answer().usage.output_tokens.is_some() {
            self.finish();
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Whole(body) => match ready!(Pin::new(body).poll_frame(context)) {
                Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
                Some(Err(never)) => match never {},
                None => Poll::Ready(None),
            },
            Self::Passed(body) => Pin::new(body).poll_frame(context),
            Self::Relayed(relay) => relay.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Passed(body) => body.is_end_stream(),
            // A rewriter may hold something back until it has seen the end.
            Self::Relayed(relay) => {
                relay.ended || (relay.rewriter.is_none() && relay.body.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Passed(body) => body.size_hint(),
            Self::Relayed(relay) if relay.rewriter.is_some() => SizeHint::default(),
            Self::Relayed(relay) => relay.body.size_hint(),
        }
    }
}
