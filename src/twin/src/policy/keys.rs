//! Reads the keys of a SPEC into typed values. Every key that is read counts as known and is
//! reported with the value in force; a key that nobody read is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use forebay_core::api::scalar::Duration;
use forebay_core::time::Span;

use super::error::{SpecError, did_you_mean};
use super::spec::PolicySpec;

/// A reader of one SPEC.
pub(crate) struct Keys<'a> {
    spec: &'a PolicySpec,
    role: Option<&'static str>,
    known: BTreeSet<String>,
    in_force: BTreeMap<String, String>,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(spec: &'a PolicySpec) -> Self {
        Self { spec, role: None, known: BTreeSet::new(), in_force: BTreeMap::new() }
    }

    pub(crate) fn spec(&self) -> &'a PolicySpec {
        self.spec
    }

    /// From here on `ROLE.key` is looked for before `key`, and reported as such.
    pub(crate) fn set_role(&mut self, role: Option<&'static str>) {
        self.role = role;
    }

    /// The text of a key, with the key under which it was found.
    fn raw(&mut self, key: &str) -> (String, Option<&'a str>) {
        self.known.insert(key.to_owned());
        let Some(role) = self.role else {
            return (key.to_owned(), self.spec.get(key));
        };
        let own = format!("{role}.{key}");
        self.known.insert(own.clone());
        match self.spec.get(&own) {
            Some(value) => (own, Some(value)),
            None => (own, self.spec.get(key)),
        }
    }

    fn read<T>(
        &mut self,
        key: &str,
        default: Option<T>,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
        print: impl Fn(&T) -> String,
    ) -> Result<Option<T>, SpecError> {
        let (name, given) = self.raw(key);
        let value = match given {
            Some(text) => Some(parse(text).ok_or_else(|| {
                self.error(format!("{name}={text}"), format!("expected {expected}"))
            })?),
            None => default,
        };
        if let Some(value) = &value {
            self.in_force.insert(name, print(value));
        }
        Ok(value)
    }

    /// A number within a range.
    pub(crate) fn number(
        &mut self,
        key: &str,
        default: f64,
        range: RangeInclusive<f64>,
    ) -> Result<f64, SpecError> {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        let parse = |text: &str| text.parse().ok().filter(|number| range.contains(number));
        let value = self.read(key, Some(default), &expected, parse, f64::to_string)?;
        Ok(value.unwrap_or(default))
    }

    /// A whole number, if it was given or has a default.
    pub(crate) fn count(
        &mut self,
        key: &str,
        default: Option<u32>,
    ) -> Result<Option<u32>, SpecError> {
        self.read(key, default, "a whole number", |text| text.parse().ok(), u32::to_string)
    }

    /// A span of time.
    pub(crate) fn span(&mut self, key: &str, default: Span) -> Result<Span, SpecError> {
        let expected = "a span such as 15s, 500ms, 5m";
        let value =
            self.read(key, Some(default), expected, parse_span, |span| print_span(*span))?;
        Ok(value.unwrap_or(default))
    }

    /// One of some words.
    pub(crate) fn choice(
        &mut self,
        key: &str,
        default: &str,
        words: &'static [&'static str],
    ) -> Result<&'static str, SpecError> {
        let find = |text: &str| words.iter().copied().find(|word| *word == text);
        let expected = format!("one of {}", words.join(", "));
        let value = self.read(key, find(default), &expected, find, |word| (*word).to_owned())?;
        Ok(value.unwrap_or_default())
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, key: &str, default: bool) -> Result<bool, SpecError> {
        let parse = |text: &str| text.parse().ok();
        let value = self.read(key, Some(default), "true or false", parse, bool::to_string)?;
        Ok(value.unwrap_or(default))
    }

    /// A list separated by `|`; each part goes through `parse`, whose error is a hint.
    pub(crate) fn list<T>(
        &mut self,
        key: &str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, SpecError> {
        let (name, given) = self.raw(key);
        let text = given.unwrap_or(default);
        if !text.is_empty() {
            self.in_force.insert(name.clone(), text.to_owned());
        }
        let parts = text.split('|').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(|part| parse(part).map_err(|hint| self.error(format!("{name}: `{part}`"), hint)))
            .collect()
    }

    /// Free text.
    pub(crate) fn text(&mut self, key: &str) -> Option<&'a str> {
        let (name, given) = self.raw(key);
        if let Some(text) = given {
            self.in_force.insert(name, text.to_owned());
        }
        given
    }

    /// Marks every key under a prefix as somebody else's.
    pub(crate) fn pass(&mut self, prefix: &str) {
        let keys: Vec<String> =
            self.spec.keys().filter(|key| key.starts_with(prefix)).map(str::to_owned).collect();
        self.known.extend(keys);
    }

    /// Reports a value that was derived rather than given.
    pub(crate) fn report(&mut self, key: &str, value: impl ToString) {
        self.in_force.insert(key.to_owned(), value.to_string());
    }

    pub(crate) fn error(&self, what: impl Into<String>, hint: impl Into<String>) -> SpecError {
        SpecError::new(self.spec, what, hint)
    }

    /// Every tunable in force.
    ///
    /// # Errors
    /// A key that nobody read.
    pub(crate) fn finish(self) -> Result<BTreeMap<String, String>, SpecError> {
        if let Some(unknown) = self.spec.keys().find(|key| !self.known.contains(*key)) {
            let known = self.known.iter().map(String::as_str);
            let list = format!("its keys: {}", known.clone().collect::<Vec<_>>().join(", "));
            let hint = match did_you_mean(unknown, known) {
                Some(near) => format!("{near} ({list})"),
                None => list,
            };
            return Err(self.error(format!("unknown key `{unknown}`"), hint));
        }
        Ok(self.in_force)
    }
}

/// `15s`, `500ms`, `5m`, `1h`, or plain seconds.
pub(crate) fn parse_span(text: &str) -> Option<Span> {
    let seconds = text.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0);
    seconds
        .map(Span::from_seconds)
        .or_else(|| Duration::parse(text).ok().map(|duration| duration.0))
}

/// As [`parse_span`] reads it back: milliseconds if it must be, else seconds.
pub(crate) fn print_span(span: Span) -> String {
    if span.0.is_multiple_of(1_000_000_000) {
        format!("{}s", span.0 / 1_000_000_000)
    } else {
        format!("{}ms", span.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> PolicySpec {
        PolicySpec::parse(text).unwrap()
    }

    #[test]
    fn values_are_typed_and_reported_with_their_defaults() {
        let spec = spec("hpa:target=2.5,sync=500ms,decode.target=7");
        let mut keys = Keys::new(&spec);
        assert_eq!(keys.number("target", 16.0, 0.0..=100.0), Ok(2.5));
        assert_eq!(keys.span("sync", Span::from_secs(15)), Ok(Span::from_millis(500)));
        assert_eq!(keys.flag("guard", true), Ok(true));
        keys.set_role(Some("decode"));
        assert_eq!(keys.number("target", 16.0, 0.0..=100.0), Ok(7.0));
        let parameters = keys.finish().unwrap();
        let shown: Vec<String> =
            parameters.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(shown, ["decode.target=7", "guard=true", "sync=500ms", "target=2.5"]);
    }

    #[test]
    fn unknown_keys_and_wrong_values_are_errors_that_help() {
        let wrong = spec("hpa:targte=2");
        let mut keys = Keys::new(&wrong);
        keys.number("target", 1.0, 0.0..=9.0).unwrap();
        let message = keys.finish().unwrap_err().to_string();
        assert!(
            message.contains("unknown key `targte`; did you mean `target`? (its keys: target)")
        );
        let wrong = spec("hpa:target=many");
        let message = Keys::new(&wrong).number("target", 1.0, 0.0..=9.0).unwrap_err().to_string();
        assert!(message.contains("target=many; expected a number from 0 to 9"), "{message}");
    }

    #[test]
    fn spans_read_back() {
        for text in ["15s", "1500ms", "0s"] {
            assert_eq!(print_span(parse_span(text).unwrap()), text);
        }
        assert_eq!(parse_span("5m"), Some(Span::from_secs(300)));
        assert_eq!(parse_span("20"), Some(Span::from_secs(20)));
        assert_eq!(parse_span("soon"), None);
    }
}
