//! A client of Envoy's.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Nothing here takes longer, on a machine that is busy building too.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(super) struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    address: String,
}

/// An answer in full.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The body broke off.
    pub(super) broken: bool,
}

impl Got {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

pub(super) const BODY: &str = r#"{"model":"asked-name","seed":9007199254740993,"metadata":{"model":"asked-name"},"prompt":"tell me more"}"#;

impl Client {
    pub(super) fn new(address: &str) -> Self {
        let pool = Pool::builder(TokioExecutor::new()).build_http();
        Self { pool, address: address.into() }
    }

    pub(super) fn request(
        &self,
        method: Method,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}/v1/completions", self.address))
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(body.into())).unwrap()
    }

    /// Sends it and takes the head of the answer.
    pub(super) async fn open(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        tokio::time::timeout(PATIENCE, self.pool.request(request)).await.unwrap().unwrap()
    }

    /// Sends it and takes the whole answer, or what came of it.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Got {
        let (head, mut body) = self.open(request).await.into_parts();
        let mut taken = Vec::new();
        let mut broken = false;
        while let Some(frame) = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap() {
            match frame {
                Ok(frame) => taken.extend_from_slice(&frame.into_data().unwrap_or_default()),
                Err(_) => {
                    broken = true;
                    break;
                }
            }
        }
        Got { status: head.status, headers: head.headers, body: taken.into(), broken }
    }

    pub(super) async fn post(&self, headers: &[(&str, &str)]) -> Got {
        self.send(self.request(Method::POST, headers, BODY)).await
    }

    pub(super) async fn get(&self, headers: &[(&str, &str)]) -> Got {
        self.send(self.request(Method::GET, headers, "")).await
    }
}
