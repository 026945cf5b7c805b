//! Checks a document against the JSON schema of its kind and finds everything that is wrong, not
//! only the first thing. The schema comes from the Rust types, so the two cannot differ.

use serde_json::Value as Json;

use super::node::{Node, Position, Value};
use super::suggest;
use crate::api::cidr::FORMAT_CIDR;
use crate::api::cron::{self, Cron, FORMAT_CRON};
use crate::api::scalar::{FORMAT_AMOUNT, FORMAT_DURATION, FORMAT_NAME, FORMAT_SHARE, ScalarError};
use crate::api::{Amount, Cidr, Duration, Share};

/// Something that does not fit the schema.
#[derive(Debug)]
pub(crate) struct Misfit {
    pub(crate) at: Position,
    pub(crate) path: String,
    pub(crate) what: String,
    pub(crate) expected: Option<String>,
    pub(crate) hint: Option<String>,
}

/// Longest name of an object, as in Kubernetes.
const NAME_LETTERS_MAX: usize = 253;

/// All that does not fit.
pub(crate) fn check(schema: &Json, document: &Node) -> Vec<Misfit> {
    let mut walk = Walk { root: schema, path: String::new(), misfits: Vec::new() };
    walk.node(schema, document, document.at);
    walk.misfits
}

struct Walk<'a> {
    root: &'a Json,
    path: String,
    misfits: Vec<Misfit>,
}

impl<'a> Walk<'a> {
    fn report(
        &mut self,
        at: Position,
        what: String,
        expected: Option<String>,
        hint: Option<String>,
    ) {
        self.misfits.push(Misfit { at, path: self.path.clone(), what, expected, hint });
    }

    /// Follows a reference into the definitions, and an optional value to what it is if given;
    /// where there are several ways to write it, to the one that was taken.
    fn follow(&self, mut schema: &'a Json, node: &Node) -> &'a Json {
        loop {
            if let Some(name) = schema.get("$ref").and_then(Json::as_str) {
                match self.root.pointer(name.trim_start_matches('#')) {
                    Some(target) => schema = target,
                    None => return schema,
                }
            } else if let Some(given) = self.taken(list(schema, "anyOf"), node) {
                schema = given;
            } else {
                return schema;
            }
        }
    }

    /// The alternative that a value is, or else the first one.
    fn taken(&self, alternatives: &'a [Json], node: &Node) -> Option<&'a Json> {
        let mut given = alternatives.iter().filter(|schema| !is_null(schema));
        let first = given.next()?;
        let map = matches!(node.value, Value::Map(_));
        let is_map = |schema: &&Json| {
            let name = schema.get("$ref").and_then(Json::as_str);
            let target = name.and_then(|name| self.root.pointer(name.trim_start_matches('#')));
            target.unwrap_or(schema).get("properties").is_some()
        };
        Some(given.find(|schema| map && is_map(schema)).unwrap_or(first))
    }

    fn inside(&mut self, step: &str, then: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if !self.path.is_empty() && !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(step);
        then(self);
        self.path.truncate(length);
    }

    fn node(&mut self, schema: &'a Json, node: &Node, at: Position) {
        if node.value == Value::Null && allows_null(schema) {
            return;
        }
        let schema = self.follow(schema, node);
        if let Some(format) = schema.get("format").and_then(Json::as_str)
            && self.format(format, node, at)
        {
            return;
        }
        let constants = constants(schema);
        if !constants.is_empty() {
            return self.constant(&constants, node, at);
        }
        let tagged = list(schema, "oneOf");
        if !tagged.is_empty() {
            return self.tagged(tagged, node, at);
        }
        let kinds = schema.get("type");
        let first = kinds.and_then(Json::as_array).and_then(|kinds| kinds.first()).or(kinds);
        if let Some(kind) = first.and_then(Json::as_str) {
            self.typed(kind, schema, node, at);
        }
    }

    /// Checks one of our own formats. False where the format is not ours.
    fn format(&mut self, format: &str, node: &Node, at: Position) -> bool {
        let number = |node: &Node| match &node.value {
            Value::Number(number) => number.as_f64(),
            _ => None,
        };
        let text = match &node.value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        };
        let wrong = |expected| Err(ScalarError { what: node.in_words(), expected });
        let outcome = match format {
            FORMAT_DURATION => match (text, number(node)) {
                (Some(text), _) => Duration::parse(text).map(|_| ()),
                (None, Some(0.0)) => Ok(()),
                (None, Some(number)) => Err(ScalarError {
                    what: format!("{number} has no unit"),
                    expected: Duration::EXPECTED,
                }),
                _ => wrong(Duration::EXPECTED),
            },
            FORMAT_AMOUNT => match (text, number(node)) {
                (Some(text), _) => Amount::parse(text).map(|_| ()),
                (None, Some(number)) => Amount::checked(number).map(|_| ()),
                _ => wrong(Amount::EXPECTED),
            },
            FORMAT_SHARE => match (text, number(node)) {
                (Some(text), _) => Share::parse(text).map(|_| ()),
                (None, Some(number)) => Share::checked(number).map(|_| ()),
                _ => wrong(Share::EXPECTED),
            },
            FORMAT_CRON => text.map_or_else(
                || wrong(cron::EXPECTED),
                |text| {
                    Cron::parse(text)
                        .map(|_| ())
                        .map_err(|what| ScalarError { what, expected: cron::EXPECTED })
                },
            ),
            FORMAT_CIDR => match text {
                Some(text) => Cidr::parse(text).map(|_| ()),
                None => wrong(Cidr::EXPECTED),
            },
            FORMAT_NAME => text.map_or_else(|| wrong(NAME_EXPECTED), name),
            _ => return false,
        };
        if let Err(error) = outcome {
            let hint = match (format, number(node)) {
                (FORMAT_SHARE, Some(value)) if (1.0..=100.0).contains(&value) => {
                    Some(format!("write {value}% for {value} percent"))
                }
                (FORMAT_DURATION, Some(value)) => {
                    Some(format!("write {value}s for seconds or {value}ms for milliseconds"))
                }
                _ => None,
            };
            self.report(at, error.what, Some(error.expected.to_owned()), hint);
        }
        true
    }

    fn constant(&mut self, constants: &[&str], node: &Node, at: Position) {
        let expected = format!("one of `{}`", constants.join("`, `"));
        match &node.value {
            Value::Text(text) if constants.contains(&text.as_str()) => (),
            Value::Text(text) => {
                let hint = suggest::nearest(text, constants.iter().copied())
                    .map(|near| format!("did you mean `{near}`?"));
                self.report(at, format!("`{text}` is not one of the values"), Some(expected), hint);
            }
            _ => self.report(at, node.in_words(), Some(expected), None),
        }
    }

    /// A map whose `type` says which of the alternatives it is.
    fn tagged(&mut self, alternatives: &'a [Json], node: &Node, at: Position) {
        let tag = |schema: &'a Json| {
            self.follow(schema, node).pointer("/properties/type/const").and_then(Json::as_str)
        };
        let tags: Vec<&str> = alternatives.iter().filter_map(tag).collect();
        let Some(entry) = node.entry("type") else {
            let expected = format!("a map with a `type`, one of `{}`", tags.join("`, `"));
            return self.report(at, "`type` is missing".to_owned(), Some(expected), None);
        };
        let given = node.text("type").unwrap_or_default();
        let chosen = alternatives.iter().find(|schema| tag(schema) == Some(given));
        match chosen {
            Some(schema) => {
                let schema = self.follow(schema, node);
                self.object(schema, node, at);
            }
            None => self.inside("type", |walk| walk.constant(&tags, &entry.node, entry.node.at)),
        }
    }

    fn typed(&mut self, kind: &str, schema: &'a Json, node: &Node, at: Position) {
        let expected = match (kind, &node.value) {
            ("object", Value::Map(_)) => return self.object(schema, node, at),
            ("array", Value::List(items)) => return self.items(schema, items, at),
            ("string", Value::Text(text)) => {
                return self.length(schema, "Length", text.chars().count(), "letters", at);
            }
            ("boolean", Value::Bool(_)) => return,
            ("number", Value::Number(number)) => return self.range(schema, number, at),
            ("integer", Value::Number(number)) if number.is_u64() || number.is_i64() => {
                return self.range(schema, number, at);
            }
            ("object", _) => "a map of fields",
            ("array", _) => "a list",
            ("string", _) => "text",
            ("boolean", _) => "true or false",
            ("integer", _) => "a whole number",
            _ => "a number",
        };
        let hint = match (kind, &node.value) {
            ("string", Value::Number(_) | Value::Bool(_)) => {
                Some("put it in quotes to make it text".to_owned())
            }
            ("array", Value::Map(_)) => Some("begin each item with `- `".to_owned()),
            _ => None,
        };
        self.report(at, node.in_words(), Some(expected.to_owned()), hint);
    }

    fn object(&mut self, schema: &'a Json, node: &Node, at: Position) {
        let Value::Map(entries) = &node.value else {
            let expected = Some("a map of fields".to_owned());
            return self.report(at, node.in_words(), expected, None);
        };
        let fields = schema.get("properties").and_then(Json::as_object);
        let closed = schema.get("additionalProperties") == Some(&Json::Bool(false));
        let others = schema.get("additionalProperties").filter(|schema| schema.is_object());
        let mut meant = Vec::new();
        for entry in entries {
            match fields.and_then(|fields| fields.get(&entry.key)).or(others) {
                Some(schema) => {
                    let place = entry.place();
                    self.inside(&entry.key, |walk| walk.node(schema, &entry.node, place));
                }
                None if closed => {
                    let names = fields.into_iter().flat_map(|fields| fields.keys());
                    let names: Vec<&str> = names.map(String::as_str).collect();
                    meant.extend(suggest::nearest(&entry.key, names.iter().copied()));
                    let hint = suggest::hint(&entry.key, names);
                    let what = format!("there is no field `{}`", entry.key);
                    self.report(entry.at, what, None, Some(hint));
                }
                None => (),
            }
        }
        for field in list(schema, "required").iter().filter_map(Json::as_str) {
            // A field that is there under a name mistyped is one thing wrong, not two.
            if node.entry(field).is_none() && !meant.contains(&field) {
                let description = fields
                    .and_then(|fields| fields.get(field)?.get("description")?.as_str())
                    .map(|text| format!("`{field}`: {}", in_a_sentence(text)));
                self.report(at, format!("`{field}` is missing"), description, None);
            }
        }
    }

    fn items(&mut self, schema: &'a Json, items: &[Node], at: Position) {
        self.length(schema, "Items", items.len(), "items", at);
        if let Some(schema) = schema.get("items") {
            for (index, item) in items.iter().enumerate() {
                self.inside(&format!("[{index}]"), |walk| walk.node(schema, item, item.at));
            }
        }
    }

    fn length(&mut self, schema: &Json, what: &str, count: usize, unit: &str, at: Position) {
        let bound = |side: &str| schema.get(format!("{side}{what}")).and_then(Json::as_u64);
        if let Some(min) = bound("min").filter(|min| (count as u64) < *min) {
            let found = if count == 0 {
                "it is empty".to_owned()
            } else {
                format!("it has {count} {unit}")
            };
            self.report(at, found, Some(format!("at least {min}")), None);
        }
        if let Some(max) = bound("max").filter(|max| count as u64 > *max) {
            self.report(at, format!("it has {count} {unit}"), Some(format!("at most {max}")), None);
        }
    }

    fn range(&mut self, schema: &Json, number: &serde_json::Number, at: Position) {
        let value = number.as_f64().unwrap_or(f64::NAN);
        let bound = |side: &str| schema.get(side).and_then(Json::as_f64);
        let (min, max) = (bound("minimum"), bound("maximum"));
        let above = min.is_none_or(|min| value >= min);
        let below = max.is_none_or(|max| value <= max);
        if above && below {
            return;
        }
        let expected = match (min, max) {
            (Some(min), Some(max)) => format!("a number from {min} to {max}"),
            (Some(min), None) => format!("at least {min}"),
            (None, Some(max)) => format!("at most {max}"),
            (None, None) => return,
        };
        let what = if above { "too large" } else { "too small" };
        self.report(at, format!("{number} is {what}"), Some(expected), None);
    }
}

const NAME_EXPECTED: &str = "a name of lower-case letters, digits, `-` and `.`, such as `chat-8b`";

fn name(text: &str) -> Result<(), ScalarError> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let right = edge(text.chars().next())
        && edge(text.chars().last())
        && text.chars().all(inner)
        && text.len() <= NAME_LETTERS_MAX;
    let wrong = || ScalarError { what: format!("`{text}` is not a name"), expected: NAME_EXPECTED };
    right.then_some(()).ok_or_else(wrong)
}

fn list<'a>(schema: &'a Json, key: &str) -> &'a [Json] {
    schema.get(key).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

fn is_null(schema: &Json) -> bool {
    schema.get("type").and_then(Json::as_str) == Some("null")
}

/// Whether a field may be written and left empty.
fn allows_null(schema: &Json) -> bool {
    list(schema, "anyOf").iter().any(is_null)
        || list(schema, "type").iter().any(|kind| kind.as_str() == Some("null"))
}

/// The values of an enumeration; empty where the schema is none.
fn constants(schema: &Json) -> Vec<&str> {
    let mut constants: Vec<&str> = list(schema, "enum").iter().filter_map(Json::as_str).collect();
    constants.extend(schema.get("const").and_then(Json::as_str));
    for alternative in list(schema, "oneOf") {
        constants.extend(list(alternative, "enum").iter().filter_map(Json::as_str));
        constants.extend(alternative.get("const").and_then(Json::as_str));
    }
    constants
}

/// The first sentence of a description, to stand after a colon.
fn in_a_sentence(text: &str) -> String {
    let flat = text.replace('\n', " ");
    let sentence = flat.split(". ").next().unwrap_or_default().trim_end_matches('.');
    let mut letters = sentence.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}
