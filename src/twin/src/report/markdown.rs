//! The comparison as a Markdown table, for a README.

use super::Report;
use super::format::money;
use super::terminal::columns::{Align, Column, OVER_BOUND, columns, over_bound};

/// The comparison as a Markdown table with the oracles as its last rows, ending in a newline.
///
/// Attainment below its percentile is bold and crossed.
#[must_use]
pub fn table(report: &Report) -> String {
    let columns = columns(report);
    let mut text = String::new();
    let title = |column: &Column| {
        let title = escaped(column.title.trim());
        match column.subtitle.trim() {
            "" => title,
            subtitle => format!("{title} ({})", escaped(subtitle)),
        }
    };
    push_row(&mut text, columns.iter().map(title));
    push_row(
        &mut text,
        columns.iter().map(|column| match column.align {
            Align::Left => ":---".to_owned(),
            Align::Right => "---:".to_owned(),
        }),
    );
    for row in 0..report.runs.len() {
        push_row(
            &mut text,
            columns.iter().map(|column| {
                let cell = &column.cells[row];
                let text = escaped(cell.text.trim());
                let bold = cell.missed && column.align == Align::Right;
                if bold { format!("**{text}**") } else { text }
            }),
        );
    }
    let oracles = [
        ("lower bound", report.oracle.lower_bound_cost_usd),
        ("clairvoyant plan", report.oracle.clairvoyant_cost_usd),
    ];
    for (name, cost) in oracles {
        let Some(cost) = cost else { continue };
        push_row(
            &mut text,
            columns.iter().enumerate().map(|(index, column)| match index {
                0 => format!("*{name}*"),
                1 => money(cost),
                _ if column.title == OVER_BOUND => over_bound(report, cost),
                _ => String::new(),
            }),
        );
    }
    text
}

fn push_row(text: &mut String, cells: impl Iterator<Item = String>) {
    text.push('|');
    for cell in cells {
        text.push(' ');
        text.push_str(&cell);
        text.push_str(" |");
    }
    text.push('\n');
}

/// Text that neither ends a cell nor starts markup.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '|' | '\\' | '*' | '_' | '`' | '<' | '[') {
            safe.push('\\');
        }
        safe.push(if letter.is_control() { ' ' } else { letter });
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::super::example::{example, tiny};
    use super::*;

    #[test]
    fn the_table_of_the_example() {
        insta::assert_snapshot!(table(&example()));
    }

    #[test]
    fn every_row_has_as_many_cells_as_the_header() {
        let mut report = tiny();
        report.runs[0].policy = "exec:a | b".into();
        let text = table(&report);
        let cells = |line: &str| line.replace("\\|", "").matches('|').count();
        let header = cells(text.lines().next().unwrap());
        assert!(text.lines().count() >= 4);
        assert!(text.lines().all(|line| cells(line) == header), "{text}");
    }
}
