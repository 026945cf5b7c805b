//! One request to an engine and its answer back.

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;

use super::problem::{Problem, reply};
use super::relay::{Answer, Relay};
use super::route::Asked;
use super::{ANSWER_MAX, Peer, Proxy, headers};
use crate::body::Format;
use crate::front::{self, Denied, HEADER_TRACEPARENT, Pass, RequestLine, Retry, Told};

/// How an attempt ended without an answer for the client.
enum Failed {
    /// The engine cannot have begun to answer, so another may.
    Early { problem: Problem, pass: Pass },
    /// It says itself that it takes no more.
    Full { response: Response<Incoming>, pass: Pass },
    /// Too late to try again.
    Late { problem: Problem, pass: Pass },
}

impl Proxy {
    /// Asks the gate, sends the request on, and answers.
    pub(super) async fn forward(&self, peer: &Peer, asked: Asked) -> Response<Answer> {
        let denied = |denied: Denied| reply(denied.reply(asked.request_id()));
        let pass = match self.admit(peer, &asked, None, None).await {
            Ok(pass) => pass,
            Err(refused) => return denied(refused),
        };
        let endpoint = pass.endpoint().to_owned();
        match self.attempt(peer, &asked, pass).await {
            Ok(response) => response,
            Err(Failed::Late { problem, pass }) => {
                pass.failed();
                reply(problem.reply(asked.request_id()))
            }
            Err(Failed::Full { response, pass }) => {
                match self.again(peer, &asked, &endpoint, pass.failed_early()).await {
                    Some(answer) => answer,
                    None => pass_on(response),
                }
            }
            Err(Failed::Early { problem, pass }) => {
                tracing::warn!(%problem, "an engine failed");
                match self.again(peer, &asked, &endpoint, pass.failed_early()).await {
                    Some(answer) => answer,
                    None => reply(problem.reply(asked.request_id())),
                }
            }
        }
    }

    /// The second and last try, on any endpoint but the one that failed. `None` if that fails too,
    /// or if there is no other.
    async fn again(
        &self,
        peer: &Peer,
        asked: &Asked,
        not: &str,
        retry: Retry,
    ) -> Option<Response<Answer>> {
        let pass = self.admit(peer, asked, Some(not), Some(retry)).await.ok()?;
        match self.attempt(peer, asked, pass).await {
            Ok(response) => Some(response),
            Err(Failed::Full { response, pass }) => {
                pass.failed();
                Some(pass_on(response))
            }
            Err(Failed::Early { pass, .. } | Failed::Late { pass, .. }) => {
                pass.failed();
                None
            }
        }
    }

    async fn admit(
        &self,
        peer: &Peer,
        asked: &Asked,
        not: Option<&str>,
        retry: Option<Retry>,
    ) -> Result<Pass, Denied> {
        let facts = asked.seen(peer);
        let candidates = not.and_then(|not| self.others(asked.parsed.model.as_deref(), not));
        let request = front::Request {
            facts: &facts,
            body: Some(&asked.parsed),
            candidates,
            told: Told::default(),
            line: Some(RequestLine {
                method: asked.head.method.as_str(),
                path: asked.head.uri.path(),
            }),
            retry,
        };
        self.fronts.admit(request)?.await
    }

    /// Addresses of all endpoints for this model but one.
    fn others(&self, model: Option<&str>, not: &str) -> Option<Vec<Box<str>>> {
        let desk = self.fronts.of(model)?.desk();
        let others = desk.inspect(|view| {
            let addresses = view.directory.iter().map(|(_, endpoint)| &*endpoint.address);
            addresses.filter(|address| *address != not).map(Box::from).collect()
        });
        Some(others)
    }

    async fn attempt(
        &self,
        peer: &Peer,
        asked: &Asked,
        mut pass: Pass,
    ) -> Result<Response<Answer>, Failed> {
        let endpoint = pass.endpoint().to_owned();
        let unreachable = |what: String| Problem::Unreachable { endpoint: endpoint.clone(), what };
        let Some(request) = upstream(peer, asked, &pass) else {
            let problem = unreachable("its address is no address".into());
            return Err(Failed::Early { problem, pass });
        };
        let head = tokio::time::timeout(ANSWER_MAX, self.client.request(request)).await;
        let response = match head {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                return Err(Failed::Early { problem: unreachable(innermost(&error)), pass });
            }
            Err(_) => {
                let seconds = ANSWER_MAX.as_secs();
                return Err(Failed::Late { problem: Problem::Silent { endpoint, seconds }, pass });
            }
        };
        pass.answered(response.status().as_u16());
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            return Err(Failed::Full { response, pass });
        }
        Ok(relayed(asked, pass, response))
    }
}

/// The request as the engine gets it.
fn upstream(peer: &Peer, asked: &Asked, pass: &Pass) -> Option<Request<Full<Bytes>>> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(pass.endpoint().parse::<Authority>().ok()?);
    let path = asked.head.uri.path_and_query().cloned();
    parts.path_and_query = path.or_else(|| Some(PathAndQuery::from_static("/")));
    let body = match pass.rewrite() {
        Some(model) => asked.parsed.renamed(&asked.body, model),
        None => asked.body.clone(),
    };
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = asked.head.method.clone();
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    let headers = asked.head.headers.clone();
    *request.headers_mut() =
        headers::to_engine(headers, pass.stripped(), Some(peer.address.ip()), pass.prefill());
    if let Some(traceparent) = pass.traceparent()
        && let Ok(traceparent) = HeaderValue::from_str(traceparent)
    {
        request.headers_mut().insert(HEADER_TRACEPARENT, traceparent);
    }
    Some(request)
}

/// The engine's answer on its way to the client, watched.
fn relayed(asked: &Asked, pass: Pass, response: Response<Incoming>) -> Response<Answer> {
    let (mut head, body) = response.into_parts();
    let text =
        |name| head.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let format = Format::of(text(http::header::CONTENT_TYPE), text(http::header::CONTENT_ENCODING));
    let names = pass.rewrite().map(str::to_owned).zip(asked.parsed.model.clone());
    headers::to_client(&mut head.headers, names.is_some());
    head.version = http::Version::default();
    head.extensions.clear();
    let relay = Relay::new(body, pass, format, head.status, names);
    Response::from_parts(head, Answer::Relayed(Box::new(relay)))
}

/// An answer that concerns no grant any more.
fn pass_on(response: Response<Incoming>) -> Response<Answer> {
    let (mut head, body) = response.into_parts();
    headers::to_client(&mut head.headers, false);
    head.extensions.clear();
    Response::from_parts(head, Answer::Passed(body))
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
