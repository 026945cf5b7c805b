//! The requests of one stream: alike but for a number that makes each prompt its own.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri};
use http_body_util::Full;
use serde_json::json;

use super::{LoadError, Options, Stream};
use crate::engine::ask::{BYTES_PER_TOKEN, TEMPLATE_TOKENS};

/// Hexadecimal digits that make a prompt its own.
const NUMBER_DIGITS: usize = 16;
/// Where the number goes.
const PLACE: &str = "0123456789abcdef";
/// What the rest of a prompt repeats.
const FILLER: &str = "the mill pond keeps what the wheel cannot turn yet; ";

/// Makes the requests of one stream.
#[derive(Debug)]
pub(super) struct Template {
    uri: Uri,
    headers: HeaderMap,
    tenants: Vec<HeaderValue>,
    tenant_header: http::HeaderName,
    before: Vec<u8>,
    after: Vec<u8>,
    next: AtomicU64,
    first: u64,
}

impl Template {
    pub(super) fn new(options: &Options, stream: &Stream) -> Result<Self, LoadError> {
        let value = |text: &str| {
            HeaderValue::from_str(text).map_err(|_| LoadError::Header {
                stream: stream.name.clone(),
                what: text.to_owned(),
            })
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(tier) = &stream.tier {
            headers.insert(options.tier_header.clone(), value(tier)?);
        }
        headers.extend(options.headers.iter().cloned());
        let name_of = |tenant: &str, index| {
            if stream.tenants == 1 { tenant.to_owned() } else { format!("{tenant}-{index}") }
        };
        let mut tenants = Vec::new();
        if let Some(tenant) = &stream.tenant {
            for index in 0..stream.tenants {
                tenants.push(value(&name_of(tenant, index))?);
            }
        }
        let body = body(stream);
        // The place is there once: the filler has no digits.
        let (before, after) = body.split_once(PLACE).unwrap_or((&body, ""));
        let mut parts = options.url.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::from_static("/v1/chat/completions"));
        let uri = Uri::from_parts(parts)
            .map_err(|_| LoadError::Url { url: options.url.clone(), what: "no path fits it" })?;
        Ok(Self {
            uri,
            headers,
            tenants,
            tenant_header: options.tenant_header.clone(),
            before: before.into(),
            after: after.into(),
            next: AtomicU64::new(0),
            // Runs with other seeds, and other streams, send other prompts.
            first: xxhash_rust::xxh3::xxh3_64_with_seed(stream.name.as_bytes(), options.seed),
        })
    }

    /// The next request.
    pub(super) fn request(&self) -> Request<Full<Bytes>> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let number = format!("{:016x}", self.first.wrapping_add(index));
        let mut body = Vec::with_capacity(self.before.len() + NUMBER_DIGITS + self.after.len());
        body.extend_from_slice(&self.before);
        body.extend_from_slice(number.as_bytes());
        body.extend_from_slice(&self.after);
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        request.headers_mut().clone_from(&self.headers);
        if !self.tenants.is_empty() {
            let tenant = self.tenants[index as usize % self.tenants.len()].clone();
            request.headers_mut().insert(self.tenant_header.clone(), tenant);
        }
        request
    }
}

fn body(stream: &Stream) -> String {
    let bytes = |tokens: u32| tokens as usize * BYTES_PER_TOKEN;
    let all = bytes(stream.prompt_tokens).saturating_sub(TEMPLATE_TOKENS * BYTES_PER_TOKEN);
    let shared = bytes(stream.shared_tokens).min(all);
    let filler = |length: usize| -> String { FILLER.chars().cycle().take(length).collect() };
    let own = all.saturating_sub(shared).saturating_sub(NUMBER_DIGITS);
    let prompt = format!("{}{PLACE}{}", filler(shared), filler(own));
    let mut body = json!({
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": stream.output_tokens,
        "ignore_eos": true,
        "stream": stream.streamed,
    });
    if let Some(fields) = body.as_object_mut() {
        if let Some(model) = &stream.model {
            fields.insert("model".into(), model.as_str().into());
        }
        if stream.streamed {
            fields.insert("stream_options".into(), json!({"include_usage": true}));
        }
    }
    body.to_string()
}
