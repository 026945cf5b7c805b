//! The text of a prompt, in any of the shapes in which clients send one: text, texts, token
//! numbers, or the parts of a chat message.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Text, with what else was there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// All text in order; token numbers as four bytes each.
    pub(super) text: Vec<u8>,
    /// Elements of the outermost list; 0 for plain text.
    pub(super) elements: usize,
    /// All elements are token numbers.
    pub(super) numbers: bool,
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Shape)
    }
}

struct Shape;

impl<'de> Visitor<'de> for Shape {
    type Value = Content;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("text, a list of texts, of token numbers or of message parts")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::default())
    }

    fn visit_str<E>(self, text: &str) -> Result<Content, E> {
        Ok(Content { text: text.as_bytes().to_vec(), ..Content::default() })
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Content, E> {
        let number =
            u32::try_from(number).map_err(|_| E::custom(format!("{number} is no token number")))?;
        Ok(Content { text: number.to_le_bytes().to_vec(), elements: 0, numbers: true })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Content, A::Error> {
        let mut content = Content { numbers: true, ..Content::default() };
        while let Some(element) = elements.next_element::<Content>()? {
            content.text.extend_from_slice(&element.text);
            content.elements += 1;
            content.numbers &= element.numbers && element.elements == 0;
        }
        Ok(content)
    }

    /// A part of a message: its text counts, an image does not.
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Content, A::Error> {
        let mut content = Content::default();
        while let Some(name) = fields.next_key::<String>()? {
            if name == "text" {
                content = fields.next_value()?;
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Content {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn all_shapes_are_read() {
        assert_eq!(read(r#""a\nb""#).text, b"a\nb");
        assert_eq!(read("null"), Content::default());
        let parts = read(
            r#"[{"type": "text", "text": "one "}, {"type": "image_url", "image_url": {"url": "u"}},
                {"type": "text", "text": "two"}]"#,
        );
        assert_eq!(parts.text, b"one two");
        let numbers = read("[7, 8, 9]");
        assert_eq!((numbers.text.len(), numbers.elements, numbers.numbers), (12, 3, true));
        let texts = read(r#"["a", "b"]"#);
        assert_eq!((texts.elements, texts.numbers), (2, false));
        assert!(serde_json::from_str::<Content>("1.5").is_err());
    }
}
