//! A picker that does nothing: Envoy asks it where to send a request, and it takes the next
//! endpoint in turn, without looking at anything. What it costs is what asking costs at all.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::service::ext_proc::v3::body_mutation::Mutation;
use envoy_types::pb::envoy::service::ext_proc::v3::external_processor_server::{
    ExternalProcessor, ExternalProcessorServer,
};
use envoy_types::pb::envoy::service::ext_proc::v3::processing_request::Request as Phase;
use envoy_types::pb::envoy::service::ext_proc::v3::processing_response::Response as Reply;
use envoy_types::pb::envoy::service::ext_proc::v3::{
    BodyMutation, BodyResponse, CommonResponse, HeaderMutation, HeadersResponse, HttpBody,
    ProcessingRequest, ProcessingResponse, StreamedBodyResponse, TrailersResponse,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// Where Envoy is told to send a request.
const DESTINATION: &str = "x-gateway-destination-endpoint";
/// Largest piece of a body in one reply, bytes: Envoy's messages end at 64 KiB.
const PIECE_BYTES_MAX: usize = 62_000;
/// Largest message that is read, bytes.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Replies that wait for Envoy to read them.
const REPLIES_MAX: usize = 64;

/// Serves on `listener` until `stopped`; requests go to `endpoints` in turn.
///
/// # Errors
/// The transport fails.
pub async fn serve(
    listener: TcpListener,
    endpoints: Vec<SocketAddr>,
    stopped: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let endpoints = endpoints.iter().map(|address| address.to_string().into_bytes()).collect();
    let picker = Picker { turn: Arc::new(Turn { endpoints, next: AtomicUsize::new(0) }) };
    let service = ExternalProcessorServer::new(picker)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let connections = TcpListenerStream::new(listener);
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .add_service(service)
        .serve_with_incoming_shutdown(connections, stopped)
        .await
}

#[derive(Debug)]
struct Picker {
    turn: Arc<Turn>,
}

#[derive(Debug)]
struct Turn {
    endpoints: Vec<Vec<u8>>,
    next: AtomicUsize,
}

impl Turn {
    fn take(&self) -> Option<&[u8]> {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.endpoints.len().max(1);
        self.endpoints.get(index).map(Vec::as_slice)
    }
}

type Replies = Pin<Box<dyn tokio_stream::Stream<Item = Result<ProcessingResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ExternalProcessor for Picker {
    type ProcessStream = Replies;

    async fn process(
        &self,
        request: Request<Streaming<ProcessingRequest>>,
    ) -> Result<Response<Replies>, Status> {
        let (sender, replies) = mpsc::channel(REPLIES_MAX);
        tokio::spawn(talk(Arc::clone(&self.turn), request.into_inner(), sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(replies))))
    }
}

/// One request's conversation.
async fn talk(
    turn: Arc<Turn>,
    mut phases: Streaming<ProcessingRequest>,
    replies: mpsc::Sender<Result<ProcessingResponse, Status>>,
) {
    let mut body = Vec::new();
    let mut headers_due = false;
    while let Some(Ok(ProcessingRequest { request: Some(phase), .. })) = phases.next().await {
        let mut answers = Vec::new();
        match phase {
            Phase::RequestHeaders(headers) if headers.end_of_stream => {
                answers.push(destination(&turn));
            }
            Phase::RequestHeaders(_) => headers_due = true,
            Phase::RequestBody(HttpBody { body: piece, end_of_stream, .. }) => {
                body.extend_from_slice(&piece);
                if end_of_stream && std::mem::take(&mut headers_due) {
                    answers.push(destination(&turn));
                    answers.extend(
                        pieces(&body).map(|(piece, end)| {
                            Reply::RequestBody(body_reply(piece.to_vec(), end))
                        }),
                    );
                    body = Vec::new();
                }
            }
            Phase::RequestTrailers(_) => answers.push(Reply::RequestTrailers(trailers())),
            Phase::ResponseHeaders(_) => {
                answers.push(Reply::ResponseHeaders(HeadersResponse { response: None }));
            }
            Phase::ResponseBody(HttpBody { body: piece, end_of_stream, .. }) => {
                answers.push(Reply::ResponseBody(body_reply(piece, end_of_stream)));
            }
            Phase::ResponseTrailers(_) => answers.push(Reply::ResponseTrailers(trailers())),
        }
        for answer in answers {
            let reply = ProcessingResponse { response: Some(answer), ..Default::default() };
            if replies.send(Ok(reply)).await.is_err() {
                return;
            }
        }
    }
}

fn destination(turn: &Turn) -> Reply {
    let value = HeaderValue {
        key: DESTINATION.into(),
        raw_value: turn.take().unwrap_or_default().to_vec(),
        ..Default::default()
    };
    let set = HeaderValueOption { header: Some(value), ..Default::default() };
    let mutation = HeaderMutation { set_headers: vec![set], remove_headers: Vec::new() };
    let response = CommonResponse {
        header_mutation: Some(mutation),
        clear_route_cache: true,
        ..Default::default()
    };
    Reply::RequestHeaders(HeadersResponse { response: Some(response) })
}

/// A body in pieces that Envoy takes, each with whether it is the last.
fn pieces(body: &[u8]) -> impl Iterator<Item = (&[u8], bool)> {
    let count = body.len().div_ceil(PIECE_BYTES_MAX).max(1);
    (0..count).map(move |index| {
        let end = ((index + 1) * PIECE_BYTES_MAX).min(body.len());
        (&body[index * PIECE_BYTES_MAX..end], index + 1 == count)
    })
}

fn body_reply(body: Vec<u8>, end_of_stream: bool) -> BodyResponse {
    let streamed = StreamedBodyResponse { body, end_of_stream, ..Default::default() };
    let mutation = BodyMutation { mutation: Some(Mutation::StreamedResponse(streamed)) };
    let response = CommonResponse { body_mutation: Some(mutation), ..Default::default() };
    BodyResponse { response: Some(response) }
}

fn trailers() -> TrailersResponse {
    TrailersResponse { header_mutation: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_cut_where_envoy_wants_them_cut() {
        let lengths = |bytes: usize| {
            let body = vec![0; bytes];
            pieces(&body).map(|(piece, last)| (piece.len(), last)).collect::<Vec<_>>()
        };
        assert_eq!(lengths(0), [(0, true)]);
        assert_eq!(lengths(PIECE_BYTES_MAX), [(PIECE_BYTES_MAX, true)]);
        assert_eq!(lengths(PIECE_BYTES_MAX + 1), [(PIECE_BYTES_MAX, false), (1, true)]);
    }
}
