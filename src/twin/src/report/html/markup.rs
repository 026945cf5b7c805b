//! Markup that is well-formed by construction: every element closes, every text is escaped.

use std::fmt::{Display, Write};

/// Attributes of one element, in order; values are escaped.
pub(super) type Attributes<'a> = &'a [(&'a str, &'a dyn Display)];

/// HTML (with inline SVG) under construction.
#[derive(Debug, Default)]
pub(super) struct Markup {
    text: String,
}

impl Markup {
    /// An element around what `inside` writes.
    pub(super) fn tag(
        &mut self,
        name: &str,
        attributes: Attributes<'_>,
        inside: impl FnOnce(&mut Self),
    ) {
        self.start(name, attributes, ">");
        inside(self);
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push('>');
    }

    /// An element around a text.
    pub(super) fn words(&mut self, name: &str, attributes: Attributes<'_>, words: &str) {
        self.tag(name, attributes, |page| page.text(words));
    }

    /// An element without content: a void element of HTML or any leaf of SVG.
    pub(super) fn leaf(&mut self, name: &str, attributes: Attributes<'_>) {
        self.start(name, attributes, "/>");
    }

    /// Escaped text.
    pub(super) fn text(&mut self, words: &str) {
        push_escaped(&mut self.text, words);
    }

    /// Text that is markup already: our own style, script and data.
    pub(super) fn raw(&mut self, markup: &str) {
        self.text.push_str(markup);
    }

    /// What was written.
    pub(super) fn finish(self) -> String {
        self.text
    }

    fn start(&mut self, name: &str, attributes: Attributes<'_>, end: &str) {
        self.text.push('<');
        self.text.push_str(name);
        for (key, value) in attributes {
            self.text.push(' ');
            self.text.push_str(key);
            self.text.push_str("=\"");
            // Writing to a string does not fail; what a `Display` fails to say is left out.
            let _ = write!(Escaping(&mut self.text), "{value}");
            self.text.push('"');
        }
        self.text.push_str(end);
    }
}

struct Escaping<'a>(&'a mut String);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        push_escaped(self.0, text);
        Ok(())
    }
}

fn push_escaped(into: &mut String, text: &str) {
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            // A number does not part from its percent sign.
            ' ' if letters.peek() == Some(&'%') => into.push('\u{a0}'),
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            '\'' => into.push_str("&#39;"),
            '\n' | '\t' => into.push(' '),
            letter if letter.is_control() => {}
            letter => into.push(letter),
        }
    }
}

/// A coordinate with one decimal, shortest form; what is not finite is 0, so that no NaN ever
/// reaches a path.
pub(super) fn px(value: f64) -> String {
    let tenths = if value.is_finite() { (value * 10.0).round() as i64 } else { 0 };
    let sign = if tenths < 0 { "-" } else { "" };
    match (tenths.abs() / 10, tenths.abs() % 10) {
        (whole, 0) => format!("{sign}{whole}"),
        (whole, tenth) => format!("{sign}{whole}.{tenth}"),
    }
}

/// A share of a width as CSS and SVG write it: `12.3%`.
pub(super) fn percent(share: f64) -> String {
    let share = if share.is_finite() { share.clamp(-1.0, 2.0) } else { 0.0 };
    let hundredths = (share * 10_000.0).round() / 100.0;
    format!("{hundredths}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_escapes_its_element() {
        let mut page = Markup::default();
        page.tag("p", &[("title", &"a\"b'<c>&")], |page| page.text("</p><script>\u{1b}"));
        assert_eq!(
            page.finish(),
            "<p title=\"a&quot;b&#39;&lt;c&gt;&amp;\">&lt;/p&gt;&lt;script&gt;</p>"
        );
    }

    #[test]
    fn coordinates_are_short_and_finite() {
        assert_eq!(px(12.04), "12");
        assert_eq!(px(-0.25), "-0.3");
        assert_eq!(px(0.96), "1");
        assert_eq!(px(f64::NAN), "0");
        assert_eq!(percent(0.12345), "12.35%");
        assert_eq!(percent(f64::INFINITY), "0%");
    }
}
