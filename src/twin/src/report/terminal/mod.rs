//! The report as a table for a terminal: the comparison in ten seconds, then the verdict.

pub(super) mod columns;
mod style;

use columns::{Align, Column, columns};
use style::Style;

use super::format::money;
use super::judge::Standing;
use super::{Report, verdict};

/// Narrowest terminal that is laid out for; narrower ones wrap.
const WIDTH_MIN: usize = 40;
/// Widest: longer lines are not read in ten seconds.
const WIDTH_MAX: usize = 200;
/// Blanks between two columns.
const GAP: usize = 2;

/// Renders the comparison for a terminal of `width` columns: policies that keep every SLO first,
/// each group by cost, then the oracles, the verdict in one sentence, and the parameters.
///
/// Columns that do not fit are left out, the least telling first, and named below the table.
#[must_use]
pub fn render(report: &Report, width: usize, colour: bool) -> String {
    let width = width.clamp(WIDTH_MIN, WIDTH_MAX);
    let style = Style { colour };
    let (shown, hidden) = fitting(columns(report), width);
    let mut text = String::new();
    push_header(&mut text, &shown, style);
    push_rows(&mut text, report, &shown, style);
    if !hidden.is_empty() {
        let note = format!("not shown at this width: {}", hidden.join(", "));
        push_wrapped(&mut text, &note, width, "  ", |line| style.dim(line));
    }
    text.push('\n');
    push_wrapped(&mut text, &verdict(report), width, "", |line| style.bold(line));
    push_parameters(&mut text, report, width, style);
    text
}

/// The columns that fit, and the titles of those that do not.
fn fitting(mut columns: Vec<Column>, width: usize) -> (Vec<Column>, Vec<String>) {
    let mut hidden = Vec::new();
    let total =
        |columns: &[Column]| columns.iter().map(|column| column.width() + GAP).sum::<usize>() - GAP;
    while columns.len() > 2 && total(&columns) > width {
        // The first of the least telling ones goes last, so that the order stays natural.
        let (index, least) = columns
            .iter()
            .enumerate()
            .rev()
            .max_by_key(|(index, column)| (column.dispensable, *index))
            .map_or((0, 0), |(index, column)| (index, column.dispensable));
        if least == 0 {
            break;
        }
        hidden.insert(0, columns.remove(index).title);
    }
    (columns, hidden)
}

fn push_header(text: &mut String, columns: &[Column], style: Style) {
    let line = |pick: fn(&Column) -> &str| {
        let cells = columns.iter().map(|column| column.aligned(pick(column)));
        let joined = cells.collect::<Vec<_>>().join(&" ".repeat(GAP));
        joined.trim_end().to_owned()
    };
    text.push_str(&style.bold(&line(|column| &column.title)));
    text.push('\n');
    let second = line(|column| &column.subtitle);
    if !second.is_empty() {
        text.push_str(&style.dim(&second));
        text.push('\n');
    }
    text.push_str(&style.dim(&rule(columns)));
    text.push('\n');
}

fn rule(columns: &[Column]) -> String {
    let cells = columns.iter().map(|column| "─".repeat(column.width()));
    cells.collect::<Vec<_>>().join(&"─".repeat(GAP))
}

fn push_rows(text: &mut String, report: &Report, columns: &[Column], style: Style) {
    let ranked = report.ranked();
    for (row, (_, _, standing)) in ranked.iter().enumerate() {
        let cells = columns.iter().map(|column| {
            let cell = &column.cells[row];
            let padded = column.aligned(&cell.text);
            match standing {
                Standing::Aborted => style.dim(&padded),
                _ if cell.missed => style.bad(&padded),
                Standing::Keeps if column.align == Align::Left => style.good(&padded),
                _ => padded,
            }
        });
        let line = cells.collect::<Vec<_>>().join(&" ".repeat(GAP));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let oracles = [
        ("lower bound", report.oracle.lower_bound_cost_usd),
        ("clairvoyant", report.oracle.clairvoyant_cost_usd),
    ];
    if oracles.iter().any(|(_, cost)| cost.is_some()) {
        text.push_str(&style.dim(&rule(columns)));
        text.push('\n');
    }
    for (name, cost) in oracles {
        let Some(cost) = cost else { continue };
        let cells = columns.iter().enumerate().map(|(index, column)| match index {
            0 => column.aligned(&format!("  {name}")),
            1 => column.aligned(&money(cost)),
            _ if column.title == columns::OVER_BOUND => {
                column.aligned(&columns::over_bound(report, cost))
            }
            _ => column.aligned(""),
        });
        let line = cells.collect::<Vec<_>>().join(&" ".repeat(GAP));
        text.push_str(&style.dim(line.trim_end()));
        text.push('\n');
    }
}

fn push_parameters(text: &mut String, report: &Report, width: usize, style: Style) {
    let labels = report.labels();
    let ranked = report.ranked();
    if ranked.iter().all(|(_, run, _)| run.parameters.is_empty() && run.aborted.is_none()) {
        return;
    }
    text.push('\n');
    let indent = "    ";
    for (index, run, _) in ranked {
        if let Some(reason) = &run.aborted {
            let line = format!("  {} ended early: {}", labels[index], printable(reason));
            push_wrapped(text, &line, width, indent, |line| style.bad(line));
        }
        if run.parameters.is_empty() {
            continue;
        }
        // A gate's own tunables are many and mostly at their defaults: only those that were asked
        // for; JSON and page have them all.
        let shown = run.parameters.iter().filter(|(key, _)| {
            !key.starts_with("gate.") || run.policy.contains(&format!("{key}="))
        });
        let pairs = shown.map(|(key, value)| format!("{key}={}", printable(value)));
        let line = format!("  {}: {}", labels[index], pairs.collect::<Vec<_>>().join(" "));
        push_wrapped(text, &line, width, indent, |line| style.dim(line));
    }
}

/// Text without control characters, which could drive the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// Breaks at blanks; lines after the first are indented. The first line keeps its own indent.
fn push_wrapped(
    text: &mut String,
    words: &str,
    width: usize,
    indent: &str,
    paint: impl Fn(&str) -> String,
) {
    let start: String = words.chars().take_while(|letter| *letter == ' ').collect();
    let mut line = start.clone();
    let mut filled = false;
    for word in words.split_whitespace() {
        let length = line.chars().count() + usize::from(filled) + word.chars().count();
        if filled && length > width {
            text.push_str(&paint(&line));
            text.push('\n');
            line = indent.to_owned();
            filled = false;
        }
        if filled {
            line.push(' ');
        }
        line.push_str(word);
        filled = true;
    }
    text.push_str(&paint(&line));
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::example::{example, tiny};
    use super::*;

    #[test]
    fn the_table_reads_well_at_its_full_width() {
        insta::assert_snapshot!(render(&example(), 160, false));
    }

    #[test]
    fn a_narrow_terminal_drops_the_least_telling_columns() {
        insta::assert_snapshot!(render(&example(), 80, false));
    }

    #[test]
    fn no_line_is_wider_than_asked() {
        for width in [60, 80, 100, 120, 160] {
            for line in render(&example(), width, false).lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let coloured = render(&example(), 120, true);
        assert!(coloured.contains("\u{1b}[31m") && coloured.contains("\u{1b}[32m"));
        let mut plain = String::new();
        let mut escape = false;
        for letter in coloured.chars() {
            match letter {
                '\u{1b}' => escape = true,
                'm' if escape => escape = false,
                _ if escape => {}
                _ => plain.push(letter),
            }
        }
        let trimmed =
            |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
        assert_eq!(trimmed(&plain), trimmed(&render(&example(), 120, false)));
    }

    #[test]
    fn a_report_of_nothing_is_still_a_table() {
        let text = render(&Report::default(), 100, false);
        assert!(text.contains("policy") && text.contains("No policy was simulated."), "{text}");
    }

    #[test]
    fn what_others_wrote_cannot_drive_the_terminal() {
        let mut report = tiny();
        report.runs[0].policy = "\u{1b}]0;owned\u{7}".into();
        report.runs[0].aborted = Some("\u{1b}[2Jgone".into());
        report.runs[0].parameters.insert("key".into(), "\u{1b}[31m".into());
        let text = render(&report, 120, false);
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text:?}");
    }
}
