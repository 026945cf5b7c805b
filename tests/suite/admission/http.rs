//! A caller over HTTP.

use std::net::SocketAddr;

use serde_json::Value;

/// What was answered.
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Said {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn text(&self, member: &str) -> &str {
        self.body[member].as_str().unwrap_or_default()
    }
}

/// Asks `METHOD http://AT/PATH` with these headers and this body.
pub(crate) fn ask(
    method: &str,
    at: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> Said {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = format!("http://{at}{path}");
        let mut request = reqwest::Client::new().request(method.parse().unwrap(), url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.expect("all of it");
        Said { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    })
}

pub(crate) fn post(at: SocketAddr, path: &str, body: &Value) -> Said {
    ask("POST", at, path, &[], Some(body))
}

pub(crate) fn get(at: SocketAddr, path: &str) -> Said {
    ask("GET", at, path, &[], None)
}
