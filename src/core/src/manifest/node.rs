//! A YAML document as a tree that knows where each key and value stands.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// Where something stands; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Self { line: narrow(location.line()), column: narrow(location.column()) }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) value: Value,
}

/// A value of YAML's core schema.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its place, and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Position,
    pub(crate) node: Node,
}

impl Node {
    /// The entry of a map.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The text under a key, if it is text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match &self.entry(key)?.node.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Where `path` stands (`spec.variants[1].min`), or the nearest that exists around it.
    pub(crate) fn locate(&self, path: &str) -> Position {
        let mut node = self;
        let mut at = self.at;
        for step in path.split(['.', '[']) {
            let next = match (step.strip_suffix(']').map(str::parse::<usize>), &node.value) {
                (Some(Ok(index)), Value::List(items)) => {
                    items.get(index).map(|item| (item.at, item))
                }
                _ => node.entry(step).map(|entry| (entry.place(), &entry.node)),
            };
            let Some((place, inner)) = next else { break };
            (at, node) = (place, inner);
        }
        at
    }

    /// The same without places.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(value) => value.clone().into(),
            Value::Text(text) => text.clone().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.node.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    /// What it is, in words that stand alone: `` `soon` is text ``.
    pub(crate) fn in_words(&self) -> String {
        match &self.value {
            Value::Null => "nothing is written here".to_owned(),
            Value::Bool(value) => format!("`{value}` is true or false"),
            Value::Number(value) => format!("`{value}` is a number"),
            Value::Text(text) => format!("`{text}` is text"),
            Value::List(_) => "this is a list".to_owned(),
            Value::Map(_) => "this is a map of fields".to_owned(),
        }
    }
}

impl Entry {
    /// Where to point: at a scalar itself, at the key of a list or map.
    pub(crate) const fn place(&self) -> Position {
        match self.node.value {
            Value::List(_) | Value::Map(_) | Value::Null => self.at,
            _ => self.node.at,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { at: spanned.referenced.into(), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = pairs.next_key::<Spanned<String>>()? {
            let node = pairs.next_value()?;
            entries.push(Entry { at: key.referenced.into(), key: key.value, node });
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_value_knows_where_it_stands() {
        let text = "a: 1\nspec:\n  list:\n  - x: 2.5\n  - {x: abc, y: [true]}\n";
        let node: Node = serde_saphyr::from_str(text).unwrap();
        let at = |path: &str| (node.locate(path).line, node.locate(path).column);
        assert_eq!(at("a"), (1, 4));
        assert_eq!(at("spec"), (2, 1));
        assert_eq!(at("spec.list[0].x"), (4, 8));
        assert_eq!(at("spec.list[1].x"), (5, 9));
        assert_eq!(at("spec.list[1].nothing"), (5, 5));
        assert_eq!(node.entry("spec").unwrap().at, Position { line: 2, column: 1 });
    }
}
