//! What is asked of a Prometheus: address, range, step and which series.

use forebay_core::api::scalar::Duration;
use forebay_core::time::Span;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;

use super::dialect::Dialect;
use super::{HistoryError, PREFIX};

/// Most steps of a history: half a year of minutes, or six weeks of 15 s.
pub const STEPS_MAX: u64 = 262_144;
/// How far back without a `start`.
const RANGE_DEFAULT: Span = Span::from_secs(86_400);
/// Step without a `step`.
const STEP_DEFAULT: Span = Span::from_secs(60);
const TIME_EXPECTED: &str =
    "RFC 3339 (2026-11-21T12:00:00Z), Unix seconds, `now`, or a span back from now such as `-24h`";

/// A parsed `prometheus:URL`.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryRequest {
    /// The server, without our parameters.
    pub server: String,
    /// Start of the range, Unix seconds.
    pub start_unix_s: i64,
    /// Number of steps.
    pub steps: u64,
    /// Length of a step.
    pub step: Span,
    /// Label matchers, without braces.
    pub matchers: String,
    /// Model, if only one is wanted.
    pub model: Option<String>,
    /// Which names to look for.
    pub(super) dialects: Vec<Dialect>,
    /// File with a bearer token.
    pub token_file: Option<String>,
}

impl HistoryRequest {
    /// Reads `prometheus:http://host:9090?start=-24h&step=15s&model=...`.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub fn parse(path: &str, now_unix_s: f64) -> Result<Self, HistoryError> {
        let wrong = |what: String, hint: &str| HistoryError::Address {
            url: path.into(),
            what,
            hint: hint.into(),
        };
        let text = path.strip_prefix(PREFIX).unwrap_or(path);
        let mut url = Url::parse(text).map_err(|error| {
            wrong(error.to_string(), "give an address such as prometheus:http://localhost:9090")
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong(
                format!("`{}` is no scheme of a Prometheus", url.scheme()),
                "give an http or https address",
            ));
        }
        let (mut start, mut end, mut step) = (None, None, STEP_DEFAULT);
        let (mut model, mut selector, mut token_file) = (None, None, None);
        let mut dialects = Dialect::ALL.to_vec();
        for (key, value) in url.query_pairs() {
            let seconds = || {
                parse_time(&value, now_unix_s).ok_or_else(|| {
                    wrong(format!("{key} is `{value}`"), &format!("expected {TIME_EXPECTED}"))
                })
            };
            match &*key {
                "start" => start = Some(seconds()?),
                "end" => end = Some(seconds()?),
                "step" => {
                    step = Duration::parse(&value)
                        .map_err(|error| {
                            wrong(
                                format!("step: {}", error.what),
                                &format!("expected {}", error.expected),
                            )
                        })?
                        .0;
                }
                "model" => model = Some(value.into_owned()),
                "selector" => selector = Some(value.into_owned()),
                "token_file" => token_file = Some(value.into_owned()),
                "dialect" => {
                    dialects =
                        Dialect::ALL.into_iter().filter(|dialect| dialect.name == value).collect();
                    if dialects.is_empty() {
                        let names = Dialect::ALL.map(|dialect| dialect.name).join(", ");
                        return Err(wrong(
                            format!("dialect is `{value}`"),
                            &format!("expected one of {names}"),
                        ));
                    }
                }
                _ => {
                    return Err(wrong(
                        format!("there is no parameter `{key}`"),
                        "the parameters are start, end, step, model, dialect, selector and token_file",
                    ));
                }
            }
        }
        let end = end.unwrap_or(now_unix_s).min(now_unix_s);
        let start = start.unwrap_or(end - RANGE_DEFAULT.as_seconds());
        if step == Span::ZERO || step.0 % Span::from_secs(1).0 != 0 {
            return Err(wrong(format!("step is {step}"), "give a step of whole seconds"));
        }
        let steps = ((end - start) / step.as_seconds()).floor();
        if steps < 1.0 {
            return Err(wrong(
                "the range is shorter than one step".into(),
                "choose an earlier start, a later end or a shorter step",
            ));
        }
        if steps > STEPS_MAX as f64 {
            return Err(wrong(
                format!("the range has {steps} steps"),
                &format!("at most {STEPS_MAX}: choose a longer step or a shorter range"),
            ));
        }
        url.set_query(None);
        let mut matchers: Vec<String> = Vec::new();
        matchers.extend(model.as_ref().map(|model| format!("model_name={}", quoted(model))));
        matchers.extend(selector);
        Ok(Self {
            server: url.to_string(),
            start_unix_s: start.floor() as i64,
            steps: steps as u64,
            step,
            matchers: matchers.join(","),
            model,
            dialects,
            token_file,
        })
    }
}

/// A label value as PromQL quotes it.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn parse_time(text: &str, now_unix_s: f64) -> Option<f64> {
    if text == "now" {
        return Some(now_unix_s);
    }
    let back = text.strip_prefix("now-").or_else(|| text.strip_prefix('-'));
    if let Some(back) = back {
        return Duration::parse(back).ok().map(|back| now_unix_s - back.0.as_seconds());
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return (seconds.is_finite() && seconds >= 0.0).then_some(seconds);
    }
    // A `+` in a URL's query is a space.
    OffsetDateTime::parse(&text.replace(' ', "+"), &Rfc3339)
        .ok()
        .map(|time| time.unix_timestamp_nanos() as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: f64 = 1_795_262_400.0;

    #[test]
    fn an_address_has_a_range_a_step_and_matchers() {
        let path = "prometheus:http://user@host:9090/select?start=2026-11-21T10:00:00Z&end=2026-11-21T12:00:00%2B01:00&step=15s&model=a\"b&selector=role=\"decode\"";
        let request = HistoryRequest::parse(path, NOW).unwrap();
        assert_eq!(request.server, "http://user@host:9090/select");
        assert_eq!((request.start_unix_s, request.steps), (1_795_255_200, 240));
        assert_eq!(request.step, Span::from_secs(15));
        assert_eq!(request.matchers, "model_name=\"a\\\"b\",role=\"decode\"");
    }

    #[test]
    fn without_parameters_it_is_the_last_day_by_minutes() {
        let request = HistoryRequest::parse("prometheus:http://host:9090", NOW).unwrap();
        assert_eq!((request.start_unix_s, request.steps), (1_795_176_000, 1_440));
        let relative =
            HistoryRequest::parse("prometheus:http://h?start=-2h&end=now-1h", NOW).unwrap();
        assert_eq!((relative.start_unix_s, relative.steps), (1_795_255_200, 60));
        let seconds = HistoryRequest::parse("prometheus:http://h?start=1795262000", NOW).unwrap();
        assert_eq!((seconds.start_unix_s, seconds.steps), (1_795_262_000, 6));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        let said = |path: &str| HistoryRequest::parse(path, NOW).unwrap_err().to_string();
        assert!(said("prometheus:host:9090").contains("no scheme"));
        assert!(said("prometheus:").contains("prometheus:http://localhost:9090"));
        assert!(
            said("prometheus:http://h?start=noon").contains("start is `noon`; expected RFC 3339")
        );
        assert!(said("prometheus:http://h?step=5").contains("step: `5` has no unit"));
        assert!(said("prometheus:http://h?step=10ms").contains("whole seconds"));
        assert!(said("prometheus:http://h?start=-1h&end=-2h").contains("shorter than one step"));
        assert!(said("prometheus:http://h?start=0&step=1s").contains("at most 262144"));
        assert!(said("prometheus:http://h?dialect=tgi").contains("expected one of llm-d"));
        assert!(said("prometheus:http://h?modle=x").contains("no parameter `modle`"));
    }
}
