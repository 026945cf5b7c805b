//! Who may ask. On loopback anybody may: whoever is on this machine could reach the engines, too.
//! Elsewhere a token or a client certificate is wanted.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// Shortest token: what 64 random bits are in base64. Shorter ones are guessed.
pub const TOKEN_BYTES_MIN: usize = 12;
/// Most tokens of one file; each is compared with each call.
pub const TOKENS_MAX: usize = 64;

/// Who may ask.
#[derive(Debug)]
pub struct Access {
    /// `None` = no token is asked for.
    tokens: Option<ArcSwap<Vec<Box<str>>>>,
}

/// Why nobody could be let in, or everybody would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Beyond this machine, and nobody would be asked who he is.
    #[error(
        "{listen} can be reached from other machines, and nobody would be asked who he is; give a \
         file with tokens or ask for client certificates, or listen on 127.0.0.1"
    )]
    Open {
        /// Where it was to listen.
        listen: SocketAddr,
    },
    /// A file without a token.
    #[error(
        "the token file has no token in it; write one per line, for instance from `openssl rand -base64 24`"
    )]
    NoToken,
    /// A token that can be guessed.
    #[error(
        "line {line} of the token file has a token of {length} bytes; {TOKEN_BYTES_MIN} are the \
         least that is not guessed: make one with `openssl rand -base64 24`"
    )]
    Short {
        /// Where, from 1.
        line: usize,
        /// How long it is.
        length: usize,
    },
    /// A file with more tokens than are compared.
    #[error("the token file has {count} tokens; {TOKENS_MAX} are the most")]
    Many {
        /// How many.
        count: usize,
    },
}

impl Access {
    /// Who may ask at `listen`: holders of a token of this file (one per line, lines that begin
    /// with `#` are comments), or of a client certificate that TLS has verified.
    ///
    /// # Errors
    /// Off loopback with neither; a file that lets nobody in.
    pub fn new(
        listen: SocketAddr,
        token_file: Option<&str>,
        client_certificates: bool,
    ) -> Result<Self, AccessError> {
        let tokens = token_file.map(read).transpose()?;
        if tokens.is_none() && !client_certificates && !listen.ip().to_canonical().is_loopback() {
            return Err(AccessError::Open { listen });
        }
        Ok(Self { tokens: tokens.map(ArcSwap::from_pointee) })
    }

    /// Takes over a token file that has changed. Nothing happens where none was asked for.
    ///
    /// # Errors
    /// A file that lets nobody in; the tokens from before stay.
    pub fn reload(&self, token_file: &str) -> Result<(), AccessError> {
        let read = read(token_file)?;
        if let Some(tokens) = &self.tokens {
            tokens.store(Arc::new(read));
        }
        Ok(())
    }

    /// Whether a token is asked for.
    #[must_use]
    pub const fn wants_token(&self) -> bool {
        self.tokens.is_some()
    }

    /// Whether `given` is one of the tokens. Takes as long whichever it is, and wherever a wrong
    /// one begins to differ.
    #[must_use]
    pub fn knows(&self, given: &str) -> bool {
        let Some(tokens) = &self.tokens else { return true };
        tokens.load().iter().fold(false, |known, token| known | same(token, given))
    }
}

fn same(token: &str, given: &str) -> bool {
    let differing = token.bytes().zip(given.bytes()).fold(0, |bits, (a, b)| bits | (a ^ b));
    (token.len() == given.len()) & (differing == 0)
}

fn read(file: &str) -> Result<Vec<Box<str>>, AccessError> {
    let mut tokens: Vec<Box<str>> = Vec::new();
    for (index, line) in file.lines().enumerate() {
        let token = line.trim();
        if token.is_empty() || token.starts_with('#') {
            continue;
        }
        if token.len() < TOKEN_BYTES_MIN {
            return Err(AccessError::Short { line: index + 1, length: token.len() });
        }
        tokens.push(token.into());
    }
    match tokens.len() {
        0 => Err(AccessError::NoToken),
        count if count > TOKENS_MAX => Err(AccessError::Many { count }),
        _ => Ok(tokens),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(listen: &str) -> SocketAddr {
        listen.parse().unwrap()
    }

    #[test]
    fn off_loopback_somebody_must_be_asked() {
        for loopback in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(Access::new(at(loopback), None, false).is_ok(), "{loopback}");
        }
        for open in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1"] {
            let error = Access::new(at(open), None, false).unwrap_err();
            assert_eq!(error, AccessError::Open { listen: at(open) });
            assert!(error.to_string().contains("127.0.0.1"), "it says how to mend it");
            assert!(Access::new(at(open), None, true).is_ok());
            assert!(Access::new(at(open), Some("a-token-of-some-length\n"), false).is_ok());
        }
    }

    #[test]
    fn a_file_that_lets_nobody_in_is_refused_and_the_old_one_stays() {
        let read = |file| Access::new(at("0.0.0.0:1"), Some(file), false).map(|_| ());
        assert_eq!(read("# nothing\n\n"), Err(AccessError::NoToken));
        assert_eq!(read("# one\nshort\n"), Err(AccessError::Short { line: 2, length: 5 }));
        let many = "a-token-of-some-length\n".repeat(65);
        assert_eq!(read(&many), Err(AccessError::Many { count: 65 }));

        let access = Access::new(at("0.0.0.0:1"), Some("token-number-one\n"), false).unwrap();
        assert!(access.knows("token-number-one"));
        for wrong in ["", "token-number-on", "token-number-onf", "token-number-one "] {
            assert!(!access.knows(wrong), "{wrong}");
        }
        assert!(access.reload("").is_err());
        assert!(access.knows("token-number-one"));
        assert!(access.reload("token-number-two").is_ok());
        assert!(!access.knows("token-number-one") && access.knows("token-number-two"));
    }
}
