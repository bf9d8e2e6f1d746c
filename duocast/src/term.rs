//! What people read on a terminal: colours where there is one, aligned columns, errors with the next step.

use std::error::Error;
use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use duocast_model::UnixMillis;

/// For what matters.
pub const STRONG: Style = Style::new().bold();
/// For what went well.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// For what went wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// For what is less important.
pub const FAINT: Style = Style::new().dimmed();

/// `text` in a style; the colour goes away where output is no terminal, or `NO_COLOR` is set.
pub fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// One line on standard output.
pub fn line(text: &str) {
    use std::io::Write as _;
    // A closed pipe (`duocast ctl calls | head`) is no error of ours.
    let _ = writeln!(anstream::stdout(), "{text}");
}

/// One line on standard error.
pub fn note(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// An error and what it came from.
pub fn error(error: &dyn Error) {
    let mut text = format!("{} {error}", paint(BAD, "error:"));
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, "\n  caused by: {cause}");
        source = cause.source();
    }
    note(&text);
}

/// Hours and minutes of the day, in UTC.
pub fn clock(at: UnixMillis) -> String {
    let minutes = at.0 / 60_000 % (24 * 60);
    format!("{:02}:{:02} UTC", minutes / 60, minutes % 60)
}

/// Rows as aligned columns under a heading.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|r| r.get(column)).map(|c| visible(c));
        cells.chain([heading[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let row = |cells: &[String]| {
        let pad = |cell: &String, width: usize| {
            format!("{cell}{}", " ".repeat(width.saturating_sub(visible(cell))))
        };
        let padded = cells.iter().zip(&widths).map(|(cell, width)| pad(cell, *width));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let heading: Vec<String> = heading.iter().map(|h| (*h).to_owned()).collect();
    let mut out = paint(FAINT, &row(&heading));
    for cells in rows {
        out.push('\n');
        out.push_str(&row(cells));
    }
    out
}

/// Columns that a cell takes: its styles take none.
fn visible(cell: &str) -> usize {
    anstream::adapter::strip_str(cell).to_string().chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["a".into(), "long one".into()], vec!["bcd".into(), "x".into()]];
        let text = anstream::adapter::strip_str(&table(&["id", "what"], &rows)).to_string();
        assert_eq!(text, "id   what\na    long one\nbcd  x");
    }
}
