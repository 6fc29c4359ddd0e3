//! Tables, and the page that they are in.

use crate::Result;
use std::path::Path;

/// The page with the figures.
const PAGE: &str = "docs/performance.md";

/// A table of one layer.
pub(crate) struct Table {
    /// Names its place in the page.
    pub(crate) name: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    /// How often each of its figures was measured, unless as often as was asked for.
    pub(crate) runs: Option<usize>,
}

impl Table {
    pub(crate) fn new(name: &'static str, columns: &[&'static str]) -> Table {
        Table { name, columns: columns.to_vec(), rows: Vec::new(), runs: None }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// As Markdown: the first column is text, the others are numbers.
    fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut out = line(&self.columns.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>());
        let rule: Vec<String> =
            (0..self.columns.len()).map(|n| if n == 0 { "---" } else { "---:" }.to_owned()).collect();
        out.push_str(&line(&rule).replace("| ", "|").replace(" |", "|"));
        self.rows.iter().for_each(|row| out.push_str(&line(row)));
        out
    }
}

/// Prints tables with a note below each, and puts them into the page if `write`.
pub(crate) fn publish(tables: &[Table], note: impl Fn(&Table) -> String, write: bool) -> Result<()> {
    for table in tables {
        println!("\n{}\n\n{}\n{}", table.name, table.markdown(), note(table));
    }
    if write {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE);
        let mut page = std::fs::read_to_string(&path)?;
        for table in tables {
            page = replace(&page, table.name, &format!("{}\n{}\n", table.markdown(), note(table)))
                .ok_or_else(|| format!("{PAGE} has no place for the table {}", table.name))?;
        }
        std::fs::write(&path, page)?;
    }
    Ok(())
}

/// The page with what is between the markers of `name` replaced.
fn replace(page: &str, name: &str, text: &str) -> Option<String> {
    let begin = format!("<!-- measured: {name} -->\n");
    let start = page.find(&begin)? + begin.len();
    let end = start + page[start..].find("<!-- end -->")?;
    Some(format!("{}\n{text}\n{}", &page[..start], &page[end..]))
}

/// A number with as many digits as mean something.
pub(crate) fn number(n: f64) -> String {
    match n.abs() {
        _ if !n.is_finite() => "–".to_owned(),
        a if a < 1000.0 && n.fract() == 0.0 => format!("{n}"),
        a if a >= 1000.0 => {
            let (thousands, rest) = ((n / 1000.0).trunc(), (n.abs() % 1000.0).round());
            if rest >= 1000.0 { format!("{},000", thousands + 1.0) } else { format!("{thousands},{rest:03}") }
        }
        a if a >= 20.0 => format!("{n:.0}"),
        a if a >= 1.0 => format!("{n:.1}"),
        _ => format!("{n:.2}"),
    }
}

/// A part of a whole in percent.
pub(crate) fn percent(part: f64, whole: f64) -> String {
    format!("{:.0} %", 100.0 * part / whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_goes_to_its_place() {
        let mut table = Table::new("x", &["a", "b"]);
        table.row(vec!["one".into(), number(1234.4)]);
        let page = "before\n<!-- measured: x -->\nold\n<!-- end -->\nafter\n";
        let expected =
            "before\n<!-- measured: x -->\n\n| a | b |\n|---|---:|\n| one | 1,234 |\n\n<!-- end -->\nafter\n";
        assert_eq!(replace(page, "x", &table.markdown()).as_deref(), Some(expected));
        assert_eq!(replace(page, "y", ""), None);
    }

    #[test]
    fn numbers_are_short() {
        for (n, text) in [
            (0.123, "0.12"),
            (4.0, "4"),
            (1.26, "1.3"),
            (21.4, "21"),
            (999.6, "1000"),
            (1999.7, "2,000"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(number(n), text);
        }
    }
}
