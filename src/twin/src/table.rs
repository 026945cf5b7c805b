//! Tables of measured figures as CSV (RFC 4180): columns by name, errors by file, line and column.

use std::collections::BTreeMap;

/// Longest table that is read, in bytes: far above the largest table of figures in use (7 MB), and
/// small enough that a trace given by mistake does not fill the memory.
const TABLE_BYTES_MAX: usize = 256 << 20;

/// A CSV file whose first line names its columns.
#[derive(Clone, Debug)]
pub struct Table {
    name: String,
    columns: BTreeMap<String, usize>,
    rows: Vec<(u64, Vec<String>)>,
}

/// A table that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// A column that is needed is not there.
    #[error(
        "{table}: no column {column:?}; found {found}; expected a CSV file whose first line names its columns"
    )]
    Column {
        /// File.
        table: String,
        /// What was looked for.
        column: String,
        /// What there is, at most the first few.
        found: String,
    },
    /// One line is not what its column says.
    #[error("{table}:{line}: {what}; expected {expected}")]
    Line {
        /// File.
        table: String,
        /// Line, counted from 1.
        line: u64,
        /// What is wrong.
        what: String,
        /// What would be right.
        expected: String,
    },
    /// The file is too large to be one of these tables.
    #[error("{table}: {bytes} bytes; expected a table of at most {TABLE_BYTES_MAX} bytes")]
    TooLarge {
        /// File.
        table: String,
        /// Its length.
        bytes: usize,
    },
}

impl Table {
    /// Reads a table; `name` is what errors call it.
    ///
    /// # Errors
    /// [`TableError`]: one of `required` is missing, a line has too few or too many fields, or a
    /// quote is not closed.
    pub fn parse(name: &str, text: &str, required: &[&str]) -> Result<Self, TableError> {
        if text.len() > TABLE_BYTES_MAX {
            return Err(TableError::TooLarge { table: name.to_owned(), bytes: text.len() });
        }
        let mut records = Records { rest: text, line: 1 };
        let header = records.next(name)?.map(|(_, fields)| fields).unwrap_or_default();
        let columns: BTreeMap<String, usize> = header
            .iter()
            .enumerate()
            .map(|(index, column)| (column.trim_start_matches('\u{feff}').to_owned(), index))
            .collect();
        let mut table = Self { name: name.to_owned(), columns, rows: Vec::new() };
        for column in required {
            if !table.columns.contains_key(*column) {
                return Err(table.missing(column, &header));
            }
        }
        while let Some((line, fields)) = records.next(name)? {
            if fields.len() != header.len() {
                return Err(TableError::Line {
                    table: name.to_owned(),
                    line,
                    what: format!("{} fields", fields.len()),
                    expected: format!("{}, as the first line has", header.len()),
                });
            }
            table.rows.push((line, fields));
        }
        Ok(table)
    }

    /// The rows in the order of the file.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|(line, fields)| Row { table: self, line: *line, fields })
    }

    fn missing(&self, column: &str, header: &[String]) -> TableError {
        let mut found = header.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
        if header.len() > 8 {
            found.push_str(", ...");
        }
        TableError::Column { table: self.name.clone(), column: column.to_owned(), found }
    }
}

/// One line of a [`Table`].
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    table: &'a Table,
    line: u64,
    fields: &'a [String],
}

impl<'a> Row<'a> {
    /// The line in the file, counted from 1.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The field; `""` when it is empty or the table has no such column.
    #[must_use]
    pub fn text(&self, column: &str) -> &'a str {
        self.table.columns.get(column).and_then(|&at| self.fields.get(at)).map_or("", |f| f.trim())
    }

    /// The field as a finite number; `None` when it is empty.
    ///
    /// # Errors
    /// [`TableError::Line`] when it is something else.
    pub fn number(&self, column: &str) -> Result<Option<f64>, TableError> {
        let text = self.text(column);
        if text.is_empty() {
            return Ok(None);
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Some(number)),
            _ => Err(self.wrong(column, "a finite number")),
        }
    }

    /// The field as a finite number that must be there.
    ///
    /// # Errors
    /// [`TableError::Line`] when it is empty or something else.
    pub fn needed(&self, column: &str) -> Result<f64, TableError> {
        self.number(column)?.ok_or_else(|| self.wrong(column, "a finite number"))
    }

    /// The field as a whole number that must be there.
    ///
    /// # Errors
    /// [`TableError::Line`] when it is empty, negative, fractional or above `u32`.
    pub fn whole(&self, column: &str) -> Result<u64, TableError> {
        let number = self.needed(column)?;
        if number >= 0.0 && number.fract() == 0.0 && number <= 1e15 {
            Ok(number as u64)
        } else {
            Err(self.wrong(column, "a whole number"))
        }
    }

    /// The error that this field is not what it should be.
    #[must_use]
    pub fn wrong(&self, column: &str, expected: &str) -> TableError {
        TableError::Line {
            table: self.table.name.clone(),
            line: self.line,
            what: format!("{column} is {:?}", self.text(column)),
            expected: expected.to_owned(),
        }
    }
}

struct Records<'a> {
    rest: &'a str,
    line: u64,
}

impl Records<'_> {
    /// The next record that is not an empty line, with the line on which it starts.
    fn next(&mut self, name: &str) -> Result<Option<(u64, Vec<String>)>, TableError> {
        while !self.rest.is_empty() {
            let start = self.line;
            let fields = self.record(name)?;
            if fields.len() > 1 || fields.first().is_some_and(|field| !field.is_empty()) {
                return Ok(Some((start, fields)));
            }
        }
        Ok(None)
    }

    fn record(&mut self, name: &str) -> Result<Vec<String>, TableError> {
        let start = self.line;
        let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
        let mut characters = self.rest.char_indices().peekable();
        let mut end = self.rest.len();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' if quoted && characters.peek().is_some_and(|&(_, next)| next == '"') => {
                    characters.next();
                    field.push('"');
                }
                '"' => quoted = !quoted,
                ',' if !quoted => fields.push(std::mem::take(&mut field)),
                '\n' => {
                    self.line += 1;
                    if !quoted {
                        end = at + 1;
                        break;
                    }
                    field.push('\n');
                }
                '\r' if !quoted => {}
                other => field.push(other),
            }
        }
        if quoted {
            return Err(TableError::Line {
                table: name.to_owned(),
                line: start,
                what: "a quote is not closed".to_owned(),
                expected: "fields in RFC 4180 quoting".to_owned(),
            });
        }
        self.rest = &self.rest[end..];
        fields.push(field);
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name_through_quotes_and_line_ends() {
        let text = "a,b\r\n1,\"x, \"\"y\"\"\nz\"\r\n\n2.5,\n";
        let table = Table::parse("t.csv", text, &["a", "b"]).unwrap();
        let rows: Vec<_> = table.rows().collect();
        assert_eq!(rows[0].text("b"), "x, \"y\"\nz");
        assert_eq!(rows[0].whole("a"), Ok(1));
        assert_eq!(
            (rows[1].line(), rows[1].number("a"), rows[1].number("b")),
            (5, Ok(Some(2.5)), Ok(None))
        );
        assert!(rows[1].whole("a").is_err());
    }

    #[test]
    fn errors_name_file_line_and_what_was_expected() {
        let missing = Table::parse("t.csv", "a,b\n", &["c"]).unwrap_err().to_string();
        assert!(missing.starts_with("t.csv: no column \"c\"; found a, b;"), "{missing}");
        let short = Table::parse("t.csv", "a,b\n1,2\n3\n", &[]).unwrap_err().to_string();
        assert_eq!(short, "t.csv:3: 1 fields; expected 2, as the first line has");
        let table = Table::parse("t.csv", "a\nNaN\n", &[]).unwrap();
        let wrong = table.rows().next().unwrap().needed("a").unwrap_err().to_string();
        assert_eq!(wrong, "t.csv:2: a is \"NaN\"; expected a finite number");
        assert!(Table::parse("t.csv", "a\n\"1\n", &[]).is_err());
    }
}
