//! The texts of a prompt: how many tokens they are about, and what they have in common with others.

use forebay_core::engine::Prefix;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::fields::Fields;
use super::pieces::Pieces;

/// Bytes of UTF-8 to a token, before an engine has told better: about right for English prose,
/// for code and for Chinese alike in the tokenizers of current models.
pub const TEXT_BYTES_PER_TOKEN: u32 = 4;

/// Tokens that a chat template puts around one message.
pub const MESSAGE_TOKENS: u32 = 4;

/// Tokens of one image, sound or file: between the 600 and 1,600 of common vision encoders.
pub const MEDIA_TOKENS: u32 = 1_024;

/// What a prompt amounts to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompt {
    /// Length in tokens, over all sequences: an estimate, exact for prompts sent as token ids.
    pub tokens: u32,
    /// Bytes of text.
    pub text_bytes: u64,
    /// Token ids sent.
    pub token_ids: u64,
    /// Messages of a chat.
    pub messages: u32,
    /// Images, sounds, files.
    pub media: u32,
    /// Identity of its content; absent of an empty or opaque prompt.
    pub prefix: Option<Prefix>,
}

impl Prompt {
    /// Of a body that cannot be read: as if it were text.
    pub(super) fn opaque(body: &[u8]) -> Self {
        let mut prompt = Self { text_bytes: body.len() as u64, ..Self::default() };
        prompt.tokens = prompt.estimate();
        prompt
    }

    fn estimate(&self) -> u32 {
        let tokens = self.text_bytes.div_ceil(u64::from(TEXT_BYTES_PER_TOKEN))
            + self.token_ids
            + u64::from(self.messages) * u64::from(MESSAGE_TOKENS)
            + u64::from(self.media) * u64::from(MEDIA_TOKENS);
        u32::try_from(tokens).unwrap_or(u32::MAX)
    }
}

/// Reads the prompt in the order in which an engine's template puts it: tools, instructions,
/// then the conversation.
pub(super) fn read(fields: &Fields<'_>, model: &str) -> serde_json::Result<Prompt> {
    let salt = fields.cache_salt.map(RawValue::get).unwrap_or_default();
    let mut texts =
        Texts { pieces: Pieces::new(&[model.as_bytes(), salt.as_bytes()]), sum: Prompt::default() };
    if let Some(tools) = fields.tools {
        texts.text(tools.get());
    }
    let front = [fields.system, fields.instructions];
    let chat = [fields.messages];
    let plain = [
        fields.prompt,
        fields.prompt_token_ids,
        fields.token_ids,
        fields.input,
        fields.input_ids,
        fields.inputs,
        fields.text,
        fields.query,
        fields.documents,
        fields.text_1,
        fields.text_2,
        fields.suffix,
    ];
    for raw in front.into_iter().chain(chat).chain(plain).flatten() {
        let mut json = serde_json::Deserializer::from_str(raw.get());
        Walk { texts: &mut texts, kind: Kind::Anything }.deserialize(&mut json)?;
    }
    let Texts { pieces, sum: mut prompt } = texts;
    prompt.tokens = prompt.estimate();
    prompt.prefix = pieces.finish();
    Ok(prompt)
}

struct Texts {
    pieces: Pieces,
    sum: Prompt,
}

impl Texts {
    fn text(&mut self, text: &str) {
        self.pieces.text(text.as_bytes());
        self.sum.text_bytes += text.len() as u64;
    }

    fn token(&mut self, id: u64) {
        self.pieces.token(id);
        self.sum.token_ids += 1;
    }
}

/// What a value is there for, by the name of its member.
#[derive(Clone, Copy)]
enum Kind {
    /// Part of the prompt, whatever its shape.
    Anything,
    /// Text that the template turns into something short: a role, a type.
    Word,
}

/// Members whose content is not text.
fn is_media(name: &str) -> bool {
    matches!(
        name,
        "audio_url"
            | "file"
            | "file_data"
            | "image_data"
            | "image_url"
            | "input_audio"
            | "source"
            | "video_url"
    )
}

/// Walks over any value and hands on its texts and token ids.
struct Walk<'t> {
    texts: &'t mut Texts,
    kind: Kind,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a prompt")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        match self.kind {
            Kind::Anything => self.texts.text(text),
            Kind::Word => self.texts.pieces.text(text.as_bytes()),
        }
        Ok(())
    }

    fn visit_u64<E>(self, id: u64) -> Result<(), E> {
        if matches!(self.kind, Kind::Anything) {
            self.texts.token(id);
        }
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Walk { texts: &mut *self.texts, kind: self.kind })?.is_some()
        {
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(role) = members.next_key_seed(Name)? {
            let texts = &mut *self.texts;
            match role {
                Member::Media => {
                    let raw: &RawValue = members.next_value()?;
                    texts.pieces.opaque(raw.get().as_bytes());
                    texts.sum.media = texts.sum.media.saturating_add(1);
                }
                Member::Role => {
                    texts.sum.messages = texts.sum.messages.saturating_add(1);
                    members.next_value_seed(Walk { texts, kind: Kind::Word })?;
                }
                Member::Word => members.next_value_seed(Walk { texts, kind: Kind::Word })?,
                Member::Text => members.next_value_seed(Walk { texts, kind: Kind::Anything })?,
            }
        }
        Ok(())
    }
}

enum Member {
    Role,
    Word,
    Media,
    Text,
}

struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Member;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Member, D::Error> {
        json.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Member;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E>(self, name: &str) -> Result<Member, E> {
        Ok(match name {
            "role" => Member::Role,
            "type" | "id" | "tool_call_id" | "cache_control" | "detail" => Member::Word,
            name if is_media(name) => Member::Media,
            _ => Member::Text,
        })
    }
}
