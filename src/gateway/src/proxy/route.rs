//! Which request is answered here, which goes on, and who asks.

use std::net::IpAddr;

use bytes::Bytes;
use forebay_core::admit::Facts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use serde_json::json;

use super::problem::{Problem, reply};
use super::relay::Answer;
use super::{Peer, Proxy, headers};
use crate::body::{BODY_BYTES_MAX, BodyError, Collector, Parsed, Route, read_request};
use crate::front::Denied;

/// A request that was read whole.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) head: http::request::Parts,
    pub(super) body: Bytes,
    pub(super) parsed: Parsed,
}

/// What the gate may know of who asks.
pub(super) struct Seen<'a> {
    headers: &'a HeaderMap,
    peer: &'a Peer,
    model: Option<&'a str>,
}

impl Asked {
    pub(super) fn seen<'a>(&'a self, peer: &'a Peer) -> Seen<'a> {
        Seen { headers: &self.head.headers, peer, model: self.parsed.model.as_deref() }
    }

    pub(super) fn request_id(&self) -> Option<&str> {
        headers::request_id(&self.head.headers)
    }
}

impl Facts for Seen<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let only = values.next().filter(|_| values.next().is_none())?;
        only.to_str().ok()
    }

    fn peer(&self) -> Option<IpAddr> {
        Some(self.peer.address.ip())
    }

    fn certificate_name(&self) -> Option<&str> {
        self.peer.certificate_name.as_deref()
    }

    fn model(&self) -> Option<&str> {
        self.model
    }
}

impl Proxy {
    /// Answers one request.
    pub(super) async fn answer(&self, peer: &Peer, request: Request<Incoming>) -> Response<Answer> {
        let (method, path) = (request.method(), request.uri().path());
        // Requests that make an engine compute go through the gate.
        if Route::of(path).is_some() {
            if *method != Method::POST {
                let problem = Problem::MethodNotAllowed { allow: "POST" };
                return reply(problem.reply(headers::request_id(request.headers())));
            }
            return match self.read(request).await {
                Ok(asked) => self.forward(peer, asked).await,
                Err((denied, id)) => reply(denied.reply(id.as_deref())),
            };
        }
        match (method, path) {
            (&Method::GET, "/v1/models") => self.models(),
            (&Method::GET, "/health" | "/ping") => Response::new(Answer::whole(Bytes::new())),
            _ => {
                let problem = Problem::NoSuchPath { path: path.chars().take(PATH_SHOWN).collect() };
                reply(problem.reply(headers::request_id(request.headers())))
            }
        }
    }

    /// Reads a request whole.
    async fn read(&self, request: Request<Incoming>) -> Result<Asked, (Denied, Option<String>)> {
        let (head, mut incoming) = request.into_parts();
        let id = headers::request_id(&head.headers).map(str::to_owned);
        let too_large = BodyError::TooLarge { limit_bytes: BODY_BYTES_MAX };
        if incoming.size_hint().lower() > BODY_BYTES_MAX as u64 {
            return Err((too_large.into(), id));
        }
        let mut collector = Collector::default();
        while let Some(frame) = incoming.frame().await {
            let pushed = match frame {
                // Trailers of a request are nobody's here.
                Ok(frame) => frame.into_data().map_or(Ok(()), |data| collector.push(data)),
                // The client has gone: nobody reads what is answered.
                Err(error) => Err(BodyError::NotJson { what: error.to_string() }),
            };
            if let Err(error) = pushed {
                return Err((error.into(), id));
            }
        }
        let body = collector.finish();
        let kind = head.headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        match parsed(head.uri.path(), kind, &body).await {
            Ok(parsed) => Ok(Asked { head, body, parsed }),
            Err(error) => Err((error.into(), id)),
        }
    }

    /// The models of all fleets.
    fn models(&self) -> Response<Answer> {
        let of = |(model, fleet): (String, String)| json!({"id": model, "object": "model", "created": self.began_s, "owned_by": fleet});
        let data: Vec<_> = self.fronts.models().into_iter().map(of).collect();
        let list = json!({"object": "list", "data": data});
        let mut response = Response::new(Answer::whole(list.to_string().into()));
        *response.status_mut() = StatusCode::OK;
        headers::set_json(response.headers_mut());
        response
    }
}

/// Bodies above this are read on another thread: at a gigabyte a second, a millisecond for all
/// others.
const INLINE_BYTES_MAX: usize = 1 << 20;

async fn parsed(path: &str, kind: Option<&str>, body: &Bytes) -> Result<Parsed, BodyError> {
    if body.len() <= INLINE_BYTES_MAX {
        return read_request(path, kind, body);
    }
    let (path, kind, body) = (path.to_owned(), kind.map(str::to_owned), body.clone());
    let reading = tokio::task::spawn_blocking(move || read_request(&path, kind.as_deref(), &body));
    // It ends without a result only if it panicked; that costs this request alone.
    reading.await.unwrap_or_else(|error| Err(BodyError::NotJson { what: error.to_string() }))
}

/// Most characters of an unknown path that an error repeats.
const PATH_SHOWN: usize = 200;
