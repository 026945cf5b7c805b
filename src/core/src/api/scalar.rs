//! Scalars as people write them: durations, money and shares.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::bounds::{AMOUNT_MAX, DURATION_DAYS_MAX};
use crate::time::Span;

/// A duration as Kubernetes writes it: `800ms`, `2m30s`, `1h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub Span);

/// Money without its currency, which the same object names: `2.95` or `"2.95"`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Amount(pub f64);

/// A share of a whole, 0..1, written as a ratio `0.15` or in percent `15%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Share(pub f64);

/// Units of a duration with their nanoseconds, longest first.
const UNITS: [(&str, u64); 7] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
];

/// Why a scalar cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; expected {expected}")]
pub struct ScalarError {
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub expected: &'static str,
}

impl Duration {
    /// What a duration looks like.
    pub const EXPECTED: &str = "a duration such as 800ms, 90s, 2m30s or 1h";

    /// Reads `2m30s`.
    ///
    /// # Errors
    /// No number with a unit, or longer than a run may be.
    pub fn parse(text: &str) -> Result<Self, ScalarError> {
        let wrong = |what: &str| ScalarError { what: what.to_owned(), expected: Self::EXPECTED };
        if text == "0" {
            return Ok(Self(Span::ZERO));
        }
        let mut rest = text;
        let mut nanos = 0.0_f64;
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !(c.is_ascii_digit() || c == '.'))
                .ok_or_else(|| wrong(&format!("`{text}` has no unit")))?;
            let (number, tail) = rest.split_at(digits);
            let number: f64 =
                number.parse().map_err(|_| wrong(&format!("`{text}` is not a duration")))?;
            let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let unit = UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or_else(|| wrong(&format!("`{unit}` is not a unit of time")))?;
            nanos += number * unit.1 as f64;
            rest = tail;
        }
        if text.is_empty() {
            return Err(wrong("it is empty"));
        }
        if nanos > (DURATION_DAYS_MAX * 24) as f64 * 3.6e12 {
            return Err(wrong(&format!("`{text}` is longer than {DURATION_DAYS_MAX} days")));
        }
        Ok(Self(Span(nanos.round() as u64)))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.0;
        if rest == 0 {
            return formatter.write_str("0s");
        }
        for (unit, nanos) in UNITS.iter().filter(|(unit, _)| *unit != "µs") {
            if rest >= *nanos {
                write!(formatter, "{}{unit}", rest / nanos)?;
                rest %= nanos;
            }
        }
        Ok(())
    }
}

impl Amount {
    /// What an amount looks like.
    pub const EXPECTED: &str = "an amount of money such as 2.95 (the currency has its own field)";

    /// Checks a number.
    ///
    /// # Errors
    /// Negative, not finite, or absurdly large.
    pub fn checked(value: f64) -> Result<Self, ScalarError> {
        if value.is_finite() && (0.0..=AMOUNT_MAX).contains(&value) {
            Ok(Self(value))
        } else {
            Err(ScalarError {
                what: format!("{value} is not between 0 and {AMOUNT_MAX}"),
                expected: Self::EXPECTED,
            })
        }
    }

    /// Reads `2.95`.
    ///
    /// # Errors
    /// Not a number, or out of bounds.
    pub fn parse(text: &str) -> Result<Self, ScalarError> {
        let value = text.parse::<f64>().map_err(|_| ScalarError {
            what: format!("`{text}` is not a number"),
            expected: Self::EXPECTED,
        })?;
        Self::checked(value)
    }
}

impl Share {
    /// What a share looks like.
    pub const EXPECTED: &str = "a share of the whole such as 15% or 0.15";

    /// Checks a ratio.
    ///
    /// # Errors
    /// Outside 0..1.
    pub fn checked(value: f64) -> Result<Self, ScalarError> {
        if (0.0..=1.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(ScalarError {
                what: format!("{value} is not between 0 and 1"),
                expected: Self::EXPECTED,
            })
        }
    }

    /// Reads `15%` or `0.15`.
    ///
    /// # Errors
    /// Not a number, or outside 0..1.
    pub fn parse(text: &str) -> Result<Self, ScalarError> {
        let wrong = |what: String| ScalarError { what, expected: Self::EXPECTED };
        let not_a_number = |_| wrong(format!("`{text}` is not a share"));
        if let Some(percent) = text.strip_suffix('%') {
            let percent = percent.trim_end().parse::<f64>().map_err(not_a_number)?;
            return Self::checked(percent / 100.0)
                .map_err(|_| wrong(format!("`{text}` is not between 0% and 100%")));
        }
        Self::checked(text.parse::<f64>().map_err(not_a_number)?)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

/// Reads a scalar from text or from a number.
struct ScalarVisitor<T> {
    expected: &'static str,
    text: fn(&str) -> Result<T, ScalarError>,
    number: Option<fn(f64) -> Result<T, ScalarError>>,
}

impl<T> Visitor<'_> for ScalarVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.text)(text).map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<T, E> {
        match self.number {
            Some(number) => number(value).map_err(E::custom),
            None => Err(E::invalid_type(de::Unexpected::Float(value), &self)),
        }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        self.visit_f64(value as f64)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        self.visit_f64(value as f64)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor {
            expected: Self::EXPECTED,
            text: Self::parse,
            number: None,
        })
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor {
            expected: Self::EXPECTED,
            text: Self::parse,
            number: Some(Self::checked),
        })
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor {
            expected: Self::EXPECTED,
            text: Self::parse,
            number: Some(Self::checked),
        })
    }
}

/// Format of a [`Duration`] in our schemas.
pub const FORMAT_DURATION: &str = "duration";
/// Format of an [`Amount`] in our schemas.
pub const FORMAT_AMOUNT: &str = "amount";
/// Format of a [`Share`] in our schemas.
pub const FORMAT_SHARE: &str = "share";
/// Format of a name in our schemas: what Kubernetes takes as the name of an object.
pub const FORMAT_NAME: &str = "dns-name";

impl JsonSchema for Duration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": FORMAT_DURATION,
            "pattern": "^([0-9]+(\\.[0-9]+)?(h|m|s|ms|us|µs|ns))+$|^0$",
        })
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["number", "string"],
            "format": FORMAT_AMOUNT,
            "pattern": "^[0-9]+(\\.[0-9]+)?$",
            "minimum": 0,
            "maximum": AMOUNT_MAX,
        })
    }
}

impl JsonSchema for Share {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Share".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["number", "string"],
            "format": FORMAT_SHARE,
            "pattern": "^[0-9]+(\\.[0-9]+)? *%?$",
            "minimum": 0,
            "maximum": 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_read_as_kubernetes_writes_them() {
        let span = |text| Duration::parse(text).map(|duration| duration.0);
        assert_eq!(span("800ms"), Ok(Span::from_millis(800)));
        assert_eq!(span("2m30s"), Ok(Span::from_secs(150)));
        assert_eq!(span("1.5h"), Ok(Span::from_secs(5_400)));
        assert_eq!(span("0"), Ok(Span::ZERO));
        for wrong in ["", "5", "s", "5 s", "1d", "-5s", "1..5s", "5s3", "4801h"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_are_ratios_or_percent() {
        assert_eq!(Share::parse("15%"), Ok(Share(0.15)));
        assert_eq!(Share::parse("0.15"), Ok(Share(0.15)));
        for wrong in ["15", "101%", "-1%", "%", "NaN", "nan%", "much"] {
            assert!(Share::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn amounts_are_finite_and_not_negative() {
        assert_eq!(Amount::parse("2.95"), Ok(Amount(2.95)));
        for wrong in ["-1", "inf", "NaN", "2.95 USD", "1e10"] {
            assert!(Amount::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_duration_written_is_read_back(nanos in 0_u64..1_000_000_000_000_000) {
            let duration = Duration(Span(nanos));
            prop_assert_eq!(Duration::parse(&duration.to_string()), Ok(duration));
        }
    }
}
