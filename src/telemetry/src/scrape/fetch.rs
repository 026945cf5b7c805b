//! One page over HTTP, with bounds on time and size.

use std::time::Duration;

use thiserror::Error;

/// Longest page that is read: a real one has some 30 kB; this is 30 of them.
pub const PAGE_BYTES_MAX: usize = 1 << 20;

/// Why a page could not be had.
#[derive(Debug, Error)]
pub enum FetchError {
    /// No answer, or not in time.
    #[error("no page: {0}")]
    Http(#[from] reqwest::Error),
    /// An answer that is no page.
    #[error("no page: the engine answered {0}")]
    Status(reqwest::StatusCode),
    /// Longer than [`PAGE_BYTES_MAX`].
    #[error("the page is longer than {PAGE_BYTES_MAX} bytes: is it an engine's /metrics?")]
    TooLong,
}

impl FetchError {
    /// Whether nobody listens there: then the engine is not up, rather than only silent about
    /// itself.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Http(error) if error.is_connect())
    }
}

/// Fetches pages and keeps the connections. Clones share them.
#[derive(Clone, Debug)]
pub struct Fetcher {
    client: reqwest::Client,
}

impl Fetcher {
    /// A fetcher that gives up after `timeout`.
    ///
    /// # Errors
    /// When the TLS configuration of the process cannot be used.
    pub fn new(timeout: Duration) -> Result<Self, FetchError> {
        let client = reqwest::Client::builder()
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            // An engine is reached directly, whatever the environment says of proxies.
            .no_proxy()
            .build()?;
        Ok(Self { client })
    }

    /// The text of a page.
    ///
    /// # Errors
    /// When there is none, or it is too long.
    pub async fn page(&self, url: &str) -> Result<String, FetchError> {
        let mut response = self.client.get(url).send().await?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let mut page = Vec::with_capacity(32 << 10);
        while let Some(chunk) = response.chunk().await? {
            if page.len() + chunk.len() > PAGE_BYTES_MAX {
                return Err(FetchError::TooLong);
            }
            page.extend_from_slice(&chunk);
        }
        // Names and numbers are ASCII; a model's name may be anything.
        Ok(String::from_utf8(page)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }
}
