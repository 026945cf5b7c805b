//! Tunables of a gate: parsed, defaulted, and told back with the values in force.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use forebay_core::api::scalar::Duration;
use forebay_core::time::Span;

/// What every tunable of a gate is prefixed with in a SPEC (`gate.ttl=60s`).
pub const PREFIX: &str = "gate.";

/// A gate that cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateSpecError {
    /// No gate has that name.
    #[error("there is no gate {name:?}; choose one of {known}")]
    UnknownGate {
        /// As given.
        name: String,
        /// All names.
        known: String,
    },
    /// The gate has no tunable of that name.
    #[error("gate {gate} has no tunable {key:?}; {known}")]
    UnknownTunable {
        /// The gate.
        gate: String,
        /// As given.
        key: String,
        /// What it has.
        known: String,
    },
    /// A value that its tunable cannot take.
    #[error("gate.{key}={value} is not possible; expected {expected}")]
    Value {
        /// The tunable.
        key: String,
        /// As given.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// The traffic policy has no such tier.
    #[error("gate.{key} names no tier; the tiers are {tiers}")]
    UnknownTier {
        /// The tunable.
        key: String,
        /// Names of all tiers.
        tiers: String,
    },
    /// The world has no such fleet.
    #[error("fleet number {fleet} does not exist; the world has {fleets}")]
    UnknownFleet {
        /// As given.
        fleet: u16,
        /// How many there are.
        fleets: usize,
    },
}

/// Reads tunables one by one; whatever nobody read is unknown.
#[derive(Debug)]
pub(super) struct Tunables<'a> {
    gate: &'static str,
    given: BTreeMap<&'a str, &'a str>,
    in_force: BTreeMap<String, String>,
}

impl<'a> Tunables<'a> {
    /// Keys may carry [`PREFIX`] or not.
    pub(super) fn new(gate: &'static str, given: &'a BTreeMap<String, String>) -> Self {
        let given = given
            .iter()
            .map(|(key, value)| (key.strip_prefix(PREFIX).unwrap_or(key), value.as_str()))
            .collect();
        Self { gate, given, in_force: BTreeMap::new() }
    }

    /// Keys given that begin like this.
    pub(super) fn keys_with(&self, start: &str) -> Vec<String> {
        let keys = self.given.keys().filter(|key| key.starts_with(start));
        keys.map(|key| (*key).to_owned()).collect()
    }

    /// A number of at least `least`.
    pub(super) fn number<T>(&mut self, key: &str, default: T, least: T) -> Result<T, GateSpecError>
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        let read = |text: &str| text.parse().ok().filter(|number| *number >= least);
        self.value(key, default, read, || format!("a number, at least {least}"))
    }

    /// A span such as `50ms`, `60s`, `2m` or `1h`, longer than nothing.
    pub(super) fn span(&mut self, key: &str, default: Span) -> Result<Span, GateSpecError> {
        self.value(key, default, parse_span, || "a span such as 50ms, 60s, 2m or 1h".to_owned())
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &str,
        words: &[(&'static str, T)],
    ) -> Result<T, GateSpecError> {
        let expected = || {
            let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
            format!("one of {}", names.join(", "))
        };
        let read = |text: &str| words.iter().find(|(name, _)| *name == text).copied();
        let (default_name, default) = words[0];
        let (_, chosen) = self
            .value(
                key,
                Word(default_name, default),
                |text| read(text).map(|(name, value)| Word(name, value)),
                expected,
            )
            .map(|word| (word.0, word.1))?;
        Ok(chosen)
    }

    /// The tunables in force, prefixed; an error if one was given that nobody read.
    pub(super) fn finish(self) -> Result<BTreeMap<String, String>, GateSpecError> {
        match self.given.keys().next() {
            None => Ok(self.in_force),
            Some(key) => Err(GateSpecError::UnknownTunable {
                gate: self.gate.to_owned(),
                key: (*key).to_owned(),
                known: match self.in_force.len() {
                    0 => "it has none".to_owned(),
                    _ => {
                        let known: Vec<_> = self.in_force.keys().map(String::as_str).collect();
                        format!("it has {}", known.join(", "))
                    }
                },
            }),
        }
    }

    fn value<T: Display>(
        &mut self,
        key: &str,
        default: T,
        read: impl Fn(&str) -> Option<T>,
        expected: impl Fn() -> String,
    ) -> Result<T, GateSpecError> {
        let value = match self.given.remove(key) {
            None => default,
            Some(text) => read(text).ok_or_else(|| GateSpecError::Value {
                key: key.to_owned(),
                value: text.to_owned(),
                expected: expected(),
            })?,
        };
        self.in_force.insert(format!("{PREFIX}{key}"), value.to_string());
        Ok(value)
    }
}

/// A word of a closed list with its meaning.
struct Word<T>(&'static str, T);

impl<T> Display for Word<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.0)
    }
}

fn parse_span(text: &str) -> Option<Span> {
    Duration::parse(text).ok().map(|duration| duration.0).filter(|span| *span > Span::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn values_in_force_are_told_back_defaults_included() {
        let map = given(&[("gate.ttl", "90s")]);
        let mut tunables = Tunables::new("g", &map);
        assert_eq!(tunables.span("ttl", Span::from_secs(60)).unwrap(), Span::from_secs(90));
        assert_eq!(tunables.number("capacity", 5_000_u64, 1).unwrap(), 5_000);
        assert_eq!(tunables.word("pd", &[("always", 1), ("prefix", 2)]).unwrap(), 1);
        let expected =
            given(&[("gate.ttl", "90s"), ("gate.capacity", "5000"), ("gate.pd", "always")]);
        assert_eq!(tunables.finish().unwrap(), expected);
    }

    #[test]
    fn what_nobody_read_is_an_error_that_names_what_there_is() {
        let map = given(&[("tll", "90s")]);
        let mut tunables = Tunables::new("g", &map);
        tunables.span("ttl", Span::from_secs(60)).unwrap();
        let error = tunables.finish().unwrap_err().to_string();
        assert_eq!(error, "gate g has no tunable \"tll\"; it has gate.ttl");
    }

    #[test]
    fn impossible_values_say_what_would_be_right() {
        let map = given(&[("a", "0s"), ("b", "-1"), ("c", "x")]);
        let mut tunables = Tunables::new("g", &map);
        let error = tunables.span("a", Span::from_secs(60)).unwrap_err().to_string();
        assert_eq!(error, "gate.a=0s is not possible; expected a span such as 50ms, 60s, 2m or 1h");
        assert!(tunables.number("b", 1.0, 0.0).is_err());
        assert!(tunables.word("c", &[("y", ())]).is_err());
    }

    #[test]
    fn spans_read_as_they_are_written() {
        assert_eq!(parse_span("1.5m"), Some(Span::from_secs(90)));
        assert_eq!(parse_span("50ms"), Some(Span::from_millis(50)));
        for wrong in ["", "5", "ms", "5 d", "-5s", "NaNs", "infs"] {
            assert_eq!(parse_span(wrong), None, "{wrong}");
        }
    }
}
