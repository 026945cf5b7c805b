//! The figures of the page.

pub(super) mod board;
pub(super) mod latency;
mod panels;
pub(super) mod timeline;

use super::markup::Markup;
use super::view::{colour, dashed};

/// Hatches that figures refer to.
pub(super) fn patterns(page: &mut Markup) {
    let hidden =
        [("class", &"patterns" as &dyn std::fmt::Display), ("width", &"0"), ("height", &"0")];
    page.tag("svg", &[&hidden[..], &[("aria-hidden", &"true")]].concat(), |page| {
        page.tag("defs", &[], |page| {
            for (id, gap) in [("hatch", 5), ("veil", 7)] {
                page.tag(
                    "pattern",
                    &[
                        ("id", &id),
                        ("width", &gap),
                        ("height", &gap),
                        ("patternUnits", &"userSpaceOnUse"),
                        ("patternTransform", &"rotate(45)"),
                    ],
                    |page| {
                        let height = gap;
                        page.leaf(
                            "line",
                            &[
                                ("class", &id),
                                ("x1", &"0"),
                                ("y1", &"0"),
                                ("x2", &"0"),
                                ("y2", &height),
                            ],
                        );
                    },
                );
            }
        });
    });
}

/// The line of a policy as its curves draw it.
pub(super) fn swatch(page: &mut Markup, place: usize) {
    let class = if dashed(place) { "curve dashed" } else { "curve" };
    let outer = format!("swatch p{}", colour(place));
    page.tag(
        "svg",
        &[("class", &outer), ("width", &"22"), ("height", &"10"), ("aria-hidden", &"true")],
        |page| {
            page.leaf(
                "line",
                &[("class", &class), ("x1", &"1"), ("x2", &"21"), ("y1", &"5"), ("y2", &"5")],
            );
        },
    );
}

/// An entry of a legend: a small filled box of a class.
pub(super) fn key(page: &mut Markup, class: &str, words: &str) {
    page.tag("span", &[("class", &"key")], |page| {
        page.tag("svg", &[("width", &"16"), ("height", &"12"), ("aria-hidden", &"true")], |page| {
            page.leaf("rect", &[("class", &class), ("width", &"16"), ("height", &"12")]);
        });
        page.text(words);
    });
}

/// An entry of a legend: a line of a class.
pub(super) fn key_line(page: &mut Markup, class: &str, words: &str) {
    page.tag("span", &[("class", &"key")], |page| {
        page.tag("svg", &[("width", &"18"), ("height", &"12"), ("aria-hidden", &"true")], |page| {
            page.leaf(
                "line",
                &[("class", &class), ("x1", &"0"), ("x2", &"18"), ("y1", &"6"), ("y2", &"6")],
            );
        });
        page.text(words);
    });
}
