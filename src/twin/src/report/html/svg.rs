//! Drawing that fills any width without stretching text: places across are shares of the width,
//! places down are pixels, and curves live in a nested canvas that is stretched.

use super::markup::{Attributes, Markup, percent, px};
use super::scale::{Linear, Tick};

/// Units across the stretched canvas of curves.
pub(super) const ACROSS: f64 = 1_000.0;

/// A figure of `height` pixels that fills its container, with a label for those who cannot see it.
pub(super) fn figure(
    page: &mut Markup,
    height: f64,
    label: &str,
    attributes: Attributes<'_>,
    inside: impl FnOnce(&mut Markup),
) {
    let height = px(height);
    let mut all: Vec<(&str, &dyn std::fmt::Display)> =
        vec![("width", &"100%"), ("height", &height), ("role", &"img"), ("aria-label", &label)];
    all.extend_from_slice(attributes);
    page.tag("svg", &all, inside);
}

/// A canvas of [`ACROSS`] units by `height` pixels at `top`, stretched to the full width.
pub(super) fn canvas(page: &mut Markup, top: f64, height: f64, inside: impl FnOnce(&mut Markup)) {
    let view = format!("0 0 {ACROSS} {}", px(height));
    page.tag(
        "svg",
        &[
            ("x", &"0"),
            ("y", &px(top)),
            ("width", &"100%"),
            ("height", &px(height)),
            ("viewBox", &view),
            ("preserveAspectRatio", &"none"),
        ],
        inside,
    );
}

/// A path of a class; nothing where there is nothing to draw.
pub(super) fn path(page: &mut Markup, class: &str, data: &str) {
    if !data.is_empty() {
        page.leaf("path", &[("class", &class), ("d", &data)]);
    }
}

/// A text whose anchor follows from its place, so that it stays inside at both ends.
pub(super) fn label_across(page: &mut Markup, class: &str, at: f64, y: f64, words: &str) {
    let anchor = match at {
        _ if at < 0.04 => "start",
        _ if at > 0.96 => "end",
        _ => "middle",
    };
    page.words(
        "text",
        &[("class", &class), ("x", &percent(at)), ("y", &px(y)), ("text-anchor", &anchor)],
        words,
    );
}

/// Vertical grid lines with their labels below.
pub(super) fn axis_across(page: &mut Markup, ticks: &[Tick], top: f64, bottom: f64) {
    for tick in ticks {
        line_down(page, "grid", tick.at, top, bottom);
        label_across(page, "tick", tick.at, bottom + 13.0, &tick.label);
    }
}

/// A vertical line.
pub(super) fn line_down(page: &mut Markup, class: &str, at: f64, top: f64, bottom: f64) {
    let x = percent(at);
    page.leaf(
        "line",
        &[("class", &class), ("x1", &x), ("x2", &x), ("y1", &px(top)), ("y2", &px(bottom))],
    );
}

/// A horizontal line over the full width.
pub(super) fn line_across(page: &mut Markup, class: &str, y: f64) {
    let y = px(y);
    page.leaf("line", &[("class", &class), ("x1", &"0"), ("x2", &"100%"), ("y1", &y), ("y2", &y)]);
}

/// Horizontal grid lines, with their values in the gutter left of the figure.
pub(super) fn grid_down(
    page: &mut Markup,
    scale: Linear,
    top: f64,
    height: f64,
    text: impl Fn(f64) -> String,
) {
    for value in scale.ticks() {
        let y = top + height * (1.0 - scale.at(value));
        line_across(page, if value > 0.0 { "grid" } else { "base" }, y);
        label_gutter(page, y, &text(value));
    }
}

/// A label in the gutter, beside a horizontal line.
pub(super) fn label_gutter(page: &mut Markup, y: f64, words: &str) {
    page.words("text", &[("class", &"tick gutter"), ("x", &"-5"), ("y", &px(y + 3.5))], words);
}

/// The outline of steps, from the left edge of the first to the right edge of the last:
/// `height(value)` is the place down. Steps of equal height are drawn as one.
pub(super) fn steps(values: &[f64], width: f64, height: impl Fn(f64) -> f64) -> String {
    let mut data = String::new();
    let mut last = String::new();
    for (index, &value) in values.iter().enumerate() {
        let y = px(height(value));
        if index == 0 {
            data = format!("M0 {y}");
        } else if y != last {
            data.push_str(&format!("H{}V{y}", px(index as f64 * width)));
        }
        last = y;
    }
    if !values.is_empty() {
        data.push_str(&format!("H{}", px(values.len() as f64 * width)));
    }
    data
}

/// The area between the steps and the bottom.
pub(super) fn area(values: &[f64], width: f64, bottom: f64, height: impl Fn(f64) -> f64) -> String {
    match steps(values, width, height) {
        outline if outline.is_empty() => outline,
        outline => format!("{outline}V{}H0Z", px(bottom)),
    }
}

/// The band between two rows of steps, where the upper one is above: rectangles, one for each
/// stretch over which both stay the same.
pub(super) fn band(
    upper: &[f64],
    lower: &[f64],
    width: f64,
    height: impl Fn(f64) -> f64,
) -> String {
    let edges: Vec<Option<(String, String)>> = upper
        .iter()
        .zip(lower)
        .map(|(&high, &low)| (high > low).then(|| (px(height(high)), px(height(low)))))
        .collect();
    let mut data = String::new();
    for (from, to, edge) in stretches(&edges) {
        if let Some((top, bottom)) = edge.as_ref().filter(|(top, bottom)| top != bottom) {
            data.push_str(&rectangle(from as f64 * width, to as f64 * width, top, bottom));
        }
    }
    data
}

/// Stretches of equal values, as the first index, the one after the last, and the value.
pub(super) fn stretches<T: PartialEq>(values: &[T]) -> impl Iterator<Item = (usize, usize, &T)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let value = values.get(from)?;
        let length = values[from..].iter().take_while(|next| *next == value).count();
        from += length;
        Some((from - length, from, value))
    })
}

/// A rectangle as part of a path.
pub(super) fn rectangle(left: f64, right: f64, top: &str, bottom: &str) -> String {
    let (left, right) = (px(left), px(right));
    format!("M{left} {top}H{right}V{bottom}H{left}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_join_where_nothing_changes() {
        assert_eq!(steps(&[1.0, 1.0, 3.0, 3.0], 10.0, |value| 10.0 - value), "M0 9H20V7H40");
        assert_eq!(area(&[2.0], 10.0, 10.0, |value| 10.0 - value), "M0 8H10V10H0Z");
        assert_eq!(area(&[], 10.0, 10.0, |value| value), "");
    }

    #[test]
    fn a_band_is_only_where_the_upper_is_above() {
        let drawn = band(&[3.0, 1.0], &[2.0, 2.0], 10.0, |value| 10.0 - value);
        assert_eq!(drawn, "M0 7H10V8H0Z");
        assert_eq!(band(&[3.0, 3.0], &[2.0, 2.0], 10.0, |value| 10.0 - value), "M0 7H20V8H0Z");
    }

    #[test]
    fn stretches_cover_every_value_once() {
        let found: Vec<_> = stretches(&[1, 1, 2, 1]).collect();
        assert_eq!(found, [(0, 2, &1), (2, 3, &2), (3, 4, &1)]);
        assert_eq!(stretches::<u8>(&[]).count(), 0);
    }
}
