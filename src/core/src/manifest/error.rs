//! What is wrong with a manifest, where, and how to mend it.

use std::fmt;
use std::sync::Arc;

use super::Source;
pub use super::node::Position;

/// Everything that is wrong, in the order in which it was found; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(pub Vec<Problem>);

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The text it is in; `None` where it is about all of them together.
    pub source: Option<Arc<Source>>,
    /// Where in that text.
    pub at: Position,
    /// Kind and name of the object, as far as they are known: `InferenceFleet chat-8b`.
    pub object: String,
    /// Path of the field: `spec.variants[1].min`.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub expected: Option<String>,
    /// How to mend it.
    pub hint: Option<String>,
}

impl Problem {
    /// Something wrong that no text is to blame for.
    #[must_use]
    pub fn general(what: impl Into<String>) -> Self {
        Self {
            source: None,
            at: Position::default(),
            object: String::new(),
            path: String::new(),
            what: what.into(),
            expected: None,
            hint: None,
        }
    }

    /// The same with what would be right.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// The same with how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The line of the text that it is in.
    #[must_use]
    pub fn line_text(&self) -> Option<&str> {
        let index = (self.at.line as usize).checked_sub(1)?;
        self.source.as_ref()?.text.lines().nth(index)
    }
}

impl fmt::Display for Problem {
    /// Where and what on the first line, then the line of the text with a caret under the place,
    /// then what was expected and how to mend it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            write!(formatter, "{}:{}:{}: ", source.name, self.at.line, self.at.column)?;
        }
        for part in [&self.object, &self.path] {
            if !part.is_empty() {
                write!(formatter, "{part}: ")?;
            }
        }
        writeln!(formatter, "{}", self.what)?;
        let number = self.at.line.to_string();
        let margin = " ".repeat(number.len());
        if let Some(line) = self.line_text() {
            let column = (self.at.column as usize).saturating_sub(1);
            let blank: String =
                line.chars().take(column).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            writeln!(formatter, "{margin} |")?;
            writeln!(formatter, "{number} | {line}")?;
            writeln!(formatter, "{margin} | {blank}^")?;
        }
        if let Some(expected) = &self.expected {
            writeln!(formatter, "{margin} = expected: {expected}")?;
        }
        if let Some(hint) = &self.hint {
            writeln!(formatter, "{margin} = hint: {hint}")?;
        }
        Ok(())
    }
}

impl Errors {
    /// `Ok` where nothing is wrong.
    ///
    /// # Errors
    /// The problems, if there are any.
    pub(crate) fn check(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self(problems)) }
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(formatter, "{problem}")?;
        }
        match self.0.len() {
            1 => write!(formatter, "1 problem"),
            count => write!(formatter, "{count} problems"),
        }
    }
}

impl std::error::Error for Errors {}
