//! One stream of requests that are alike, as written on the command line.

use std::time::Duration;

/// Requests that are alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// Name in the report.
    pub name: String,
    /// Requests a second.
    pub rate: f64,
    /// Sent in the tier header; absent: no such header.
    pub tier: Option<String>,
    /// Sent in the tenant header; absent: no such header.
    pub tenant: Option<String>,
    /// Requests take turns among so many tenants, `NAME-0` and so on; 1: `tenant` as it is.
    pub tenants: u32,
    /// Model asked for; absent: the request names none.
    pub model: Option<String>,
    /// Length of a prompt, tokens of four bytes.
    pub prompt_tokens: u32,
    /// Of these, how many all requests of the stream begin with.
    pub shared_tokens: u32,
    /// Length of an answer, tokens.
    pub output_tokens: u32,
    /// Answers are streamed.
    pub streamed: bool,
    /// When it begins, from the start of the load.
    pub from: Duration,
    /// When it ends; absent: with the load.
    pub until: Option<Duration>,
}

/// Why a stream cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "stream `{text}`: {what}; expected NAME:rate=R[,tier=T][,tenant=T][,tenants=N][,model=M]\
[,prompt=TOKENS][,shared=TOKENS][,output=TOKENS][,streamed=true|false][,from=SECONDS][,until=SECONDS]"
)]
pub struct StreamError {
    text: String,
    what: String,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            name: "all".into(),
            rate: 1.0,
            tier: None,
            tenant: None,
            tenants: 1,
            model: None,
            prompt_tokens: 256,
            shared_tokens: 0,
            output_tokens: 64,
            streamed: false,
            from: Duration::ZERO,
            until: None,
        }
    }
}

impl Stream {
    /// Reads `NAME:key=value,...`; what is not given is as in `usual`.
    ///
    /// # Errors
    /// [`StreamError`]: an unknown key, or a value that is none.
    pub fn parse(text: &str, usual: &Self) -> Result<Self, StreamError> {
        let wrong = |what: String| StreamError { text: text.to_owned(), what };
        let (name, keys) = text.split_once(':').unwrap_or((text, ""));
        if name.is_empty() {
            return Err(wrong("it has no name".into()));
        }
        let mut stream = Self { name: name.to_owned(), ..usual.clone() };
        for pair in keys.split(',').filter(|pair| !pair.is_empty()) {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| wrong(format!("`{pair}` has no value")))?;
            stream.set(key, value).map_err(wrong)?;
        }
        if stream.shared_tokens > stream.prompt_tokens {
            return Err(wrong("more of the prompt is shared than there is of it".into()));
        }
        Ok(stream)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let number = || {
            let number = value.parse::<f64>().ok().filter(|number| number.is_finite());
            number
                .filter(|number| *number >= 0.0)
                .ok_or_else(|| format!("{key}={value} is no number"))
        };
        let whole =
            || value.parse::<u32>().map_err(|_| format!("{key}={value} is no whole number"));
        match key {
            "rate" => self.rate = number()?,
            "tier" => self.tier = Some(value.to_owned()),
            "tenant" => self.tenant = Some(value.to_owned()),
            "tenants" => self.tenants = whole()?.max(1),
            "model" => self.model = Some(value.to_owned()),
            "prompt" => self.prompt_tokens = whole()?,
            "shared" => self.shared_tokens = whole()?,
            "output" => self.output_tokens = whole()?.max(1),
            "streamed" => {
                self.streamed = value.parse().map_err(|_| format!("{key}={value}"))?;
            }
            "from" => self.from = Duration::from_secs_f64(number()?),
            "until" => self.until = Some(Duration::from_secs_f64(number()?)),
            _ => return Err(format!("unknown key `{key}`")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_reads_as_it_is_written() {
        let usual = Stream { output_tokens: 9, ..Stream::default() };
        let text = "high:rate=80.5,tier=interactive,prompt=1024,streamed=true,until=60";
        let stream = Stream::parse(text, &usual).unwrap();
        assert_eq!((stream.name.as_str(), stream.rate), ("high", 80.5));
        assert_eq!((stream.prompt_tokens, stream.output_tokens), (1_024, 9));
        assert_eq!(stream.tier.as_deref(), Some("interactive"));
        assert!(stream.streamed && stream.until == Some(Duration::from_secs(60)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, said) in [
            ("", "no name"),
            ("a:rat=3", "unknown key `rat`"),
            ("a:rate=fast", "rate=fast"),
            ("a:rate", "no value"),
            ("a:prompt=5,shared=6", "more of the prompt"),
        ] {
            let error = Stream::parse(text, &Stream::default()).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
