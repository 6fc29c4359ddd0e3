//! How results look to people.

pub use crate::terminal::notice;
use crate::terminal::{Text, line};
use backfill::model::Finding;
use backfill::status::{BackfillStatus, StatusReport};

/// How a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Names.
    Left,
    /// Numbers.
    Right,
}

/// A table as `_cat` APIs print it: a header, columns padded, two spaces or one between.
pub fn table(columns: &[(&str, Align)], rows: &[Vec<String>]) -> Text {
    let rows: Vec<Vec<_>> = rows.iter().map(|row| row.iter().map(|cell| line(cell)).collect()).collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, (name, _))| {
            let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
            cells.chain([name.chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let mut out = Text::default();
    let header: Vec<_> = columns.iter().map(|(name, _)| line(name)).collect();
    for row in std::iter::once(&header).chain(&rows) {
        let mut line = String::new();
        for ((cell, width), (_, align)) in row.iter().zip(&widths).zip(columns) {
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            match align {
                Align::Left => line.extend([cell, padding.as_str(), " "]),
                Align::Right => line.extend([padding.as_str(), cell, " "]),
            }
        }
        out.push(&line);
    }
    out
}

/// Bytes as `_cat` APIs print them: `208b`, `1.2kb`, `785.2mb`.
pub fn cat_bytes(bytes: u64) -> String {
    scaled(bytes, &["b", "kb", "mb", "gb", "tb", "pb"], "")
}

/// Bytes for people: `208 B`, `1.2 KiB`.
pub fn bytes(bytes: u64) -> String {
    scaled(bytes, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"], " ")
}

fn scaled(bytes: u64, units: &[&str], space: &str) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match (unit, (value * 10.0).floor() / 10.0) {
        (0, _) => format!("{bytes}{space}{}", units[0]),
        (unit, value) if value.fract() == 0.0 => format!("{value:.0}{space}{}", units[unit]),
        (unit, value) => format!("{value:.1}{space}{}", units[unit]),
    }
}

/// A number with separators: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A point in time, given in milliseconds since the epoch: `2026-07-21 14:02:11`.
pub fn utc(millis: i64) -> String {
    match time::OffsetDateTime::from_unix_timestamp(millis.div_euclid(1000)) {
        Ok(at) => {
            let (hour, minute, second) = at.time().as_hms();
            format!("{} {hour:02}:{minute:02}:{second:02}", at.date())
        }
        Err(_) => format!("{millis} ms"),
    }
}

/// A span of time: `0h 12m 3s`.
pub fn span(millis: u64) -> String {
    let seconds = millis.div_ceil(1000);
    format!("{}h {}m {}s", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A time that was worked: `0.3s`, or a span when it is longer than a minute.
pub fn worked(millis: u64) -> String {
    if millis < 60_000 { format!("{}.{}s", millis / 1000, millis / 100 % 10) } else { span(millis) }
}

/// A share in percent, rounded down so that 100 % means all.
pub fn percent(done: u64, total: u64) -> String {
    if total == 0 {
        return "100.0%".to_owned();
    }
    let permille = u128::from(done) * 1000 / u128::from(total);
    format!("{}.{}%", permille / 10, permille % 10)
}

/// The same where something cannot arrive at all: then nothing is ever complete.
fn percent_of(report: &StatusReport, done: u64, total: u64) -> String {
    match report.lacks_something() && done >= total {
        true => "99.9%".to_owned(),
        false => percent(done, total),
    }
}

/// The share of the stored bytes that have been read.
pub fn bytes_percent(report: &StatusReport) -> String {
    percent_of(report, report.bytes_done, report.bytes_total)
}

/// The lines of `backfill status`.
pub fn status(report: &StatusReport, deep: bool) -> Text {
    let name = match report.status {
        BackfillStatus::NotStarted => "NOT_STARTED",
        BackfillStatus::Running => "RUNNING",
        BackfillStatus::Stopping => "STOPPING",
        BackfillStatus::Stopped => "STOPPED",
    };
    let fleet = &report.fleet;
    let mut out = Text::default();
    out.push(&format!("BackfillStatus.{name}"));
    out.push(&format!("Running={}", fleet.running));
    out.push(&format!("Pending={}", fleet.pending));
    out.push(&format!("Desired={}", fleet.desired));
    for warning in &fleet.warnings {
        out.push(&format!("Warning: {warning}"));
    }
    for waiting in &report.waiting {
        out.push(&waiting.text);
    }
    if let Some(unvouched) = &report.unvouched {
        out.push(&format!("Warning: {unvouched}"));
    }
    if deep {
        deep_status(&mut out, report);
    }
    if deep || report.status == BackfillStatus::Stopped || report.limit_exceeded.is_some() {
        out.push(&report.conclusion());
    }
    out
}

fn deep_status(out: &mut Text, report: &StatusReport) {
    let mut line = |text: std::fmt::Arguments<'_>| out.push(&text.to_string());
    line(format_args!("Shards total: {}", report.shards_total));
    line(format_args!("Shards completed: {}", report.shards_completed));
    line(format_args!("Shards incomplete: {}", report.shards_incomplete));
    line(format_args!("Shards in progress: {}", report.shards_in_progress));
    line(format_args!("Shards unclaimed: {}", report.shards_unclaimed));
    line(format_args!(""));
    line(format_args!(
        "Documents: {} of {}{} ({})",
        count(report.documents_done),
        if report.segments_uncounted > 0 { "at least " } else { "" },
        count(report.documents_total),
        percent_of(report, report.documents_done, report.documents_total)
    ));
    line(format_args!(
        "Stored bytes: {} of {} ({})",
        bytes(report.bytes_done),
        bytes(report.bytes_total),
        bytes_percent(report)
    ));
    if report.rate.window_ms > 0 {
        line(format_args!(
            "Rate: {} documents/s, {}/s (over {})",
            count(report.rate.documents as u64),
            bytes(report.rate.stored_bytes as u64),
            span(report.rate.window_ms)
        ));
    }
    if let Some(eta) = report.eta_ms.filter(|_| report.status == BackfillStatus::Running) {
        line(format_args!("Estimated time to completion: {}", span(eta)));
    }
    if report.documents_already_there > 0 {
        line(format_args!("Already there: {}", count(report.documents_already_there)));
    }
    line(format_args!("Failed documents: {}", count(report.documents_failed)));
    if report.documents_damaged > 0 {
        line(format_args!("Unreadable documents: {}", count(report.documents_damaged)));
    }
    if report.documents_failed > 0 {
        line(format_args!("Failed documents location: {}", report.failed_documents_location));
    }
    for text in &report.missing_shards {
        line(format_args!("Missing from the snapshot: {text}"));
    }
    for text in &report.damage {
        line(format_args!("{}", capitalized(&Finding::parse(text).to_string())));
    }
    for (title, lines) in
        [("Replaced", &report.replaced), ("Given up", &report.given_up), ("Last error", &report.last_errors)]
    {
        for text in lines {
            line(format_args!("{title}: {text}"));
        }
    }
}

/// The text with its first letter as a capital.
fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_expect() {
        assert_eq!([cat_bytes(208), cat_bytes(1024), cat_bytes(823_345_152)], ["208b", "1kb", "785.2mb"]);
        assert_eq!([bytes(0), bytes(1_500_000)], ["0 B", "1.4 MiB"]);
        assert_eq!([count(0), count(999), count(1_234_567)], ["0", "999", "1,234,567"]);
        assert_eq!([utc(-1), utc(1_784_642_531_000)], ["1969-12-31 23:59:59", "2026-07-21 14:02:11"]);
        assert_eq!(span(723_000), "0h 12m 3s");
        assert_eq!([percent(999, 1000), percent(1, 3), percent(0, 0)], ["99.9%", "33.3%", "100.0%"]);
    }

    #[test]
    fn tables_are_aligned() {
        let columns = [("index", Align::Left), ("docs", Align::Right)];
        let rows = [vec!["a".to_owned(), "10".to_owned()], vec!["long-one".to_owned(), "9".to_owned()]];
        assert_eq!(table(&columns, &rows).to_string(), "index    docs\na          10\nlong-one    9\n");
    }

    #[test]
    fn no_name_adds_a_line_to_a_table() {
        let columns = [("index", Align::Left), ("docs", Align::Right)];
        let rows = [vec!["a\nb\u{1b}[1m".to_owned(), "10".to_owned()]];
        assert_eq!(table(&columns, &rows).to_string(), "index         docs\na\\nb\\u{1b}[1m   10\n");
    }
}
