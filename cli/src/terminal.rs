//! Text for people.
//!
//! Names, ids and reasons come from snapshots and servers, and may hold whatever somebody put there: escape sequences that
//! a terminal obeys, marks that turn the direction of writing and so hide what is said, line breaks that make one message
//! look like two. Everything that is printed for people goes through [`line()`]. What is printed for scripts, JSON, does not:
//! JSON escapes for itself, and must not change.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use tracing_subscriber::fmt::MakeWriter;

/// A text as it may be shown on one line: with whatever a terminal would obey or not show written as an escape.
pub fn line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_unsafe(character) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

/// Whether a terminal does something else with a character than show it.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            // Marks, embeddings, overrides and isolates of the direction of writing.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Line and paragraph separators.
            | '\u{2028}' | '\u{2029}'
            // Nothing that is seen.
            | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Lines for people. Each is safe by itself, so that no value can add one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// Adds a line.
    pub fn push(&mut self, text: &str) {
        self.0.push_str(line(text).trim_end());
        self.0.push('\n');
    }

    /// Prints the lines on standard output.
    pub fn print(&self) {
        crate::output::print(&self.0);
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Prints a line on standard output.
pub fn print_line(text: &str) {
    let mut lines = Text::default();
    lines.push(text);
    lines.print();
}

/// Prints a line on standard error. Nothing comes of it when the terminal is gone: the work goes on all the same.
pub fn notice(text: &str) {
    let _ = writeln!(io::stderr(), "{}", line(text));
}

/// Writes log lines to standard error.
#[derive(Clone, Copy, Debug)]
pub struct LogWriter;

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = LogWriter;

    fn make_writer(&'a self) -> LogWriter {
        *self
    }
}

impl Write for LogWriter {
    /// Writes one event, which the subscriber hands over whole.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        notice(text.strip_suffix('\n').unwrap_or(&text));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        for (text, shown) in [
            ("größe 索引 😀 👩\u{200d}🚀 \\ \"", "größe 索引 😀 👩\u{200d}🚀 \\ \""),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("\u{7}\u{9b}31m\u{7f}", "\\u{7}\\u{9b}31m\\u{7f}"),
            ("a\r\nerror: b\t", "a\\r\\nerror: b\\t"),
            ("gnp\u{202e}exe\u{2066}", "gnp\\u{202e}exe\\u{2066}"),
        ] {
            assert_eq!(line(text), shown);
        }
        let mut lines = Text::default();
        lines.push("a\nb  ");
        lines.push("");
        assert_eq!(lines.to_string(), "a\\nb\n\n");
    }

    proptest! {
        #[test]
        fn no_text_reaches_a_terminal_that_does_more_than_show(
            text in proptest::collection::vec(
                prop_oneof![any::<char>(), "[\u{0}-\u{9f}\u{200b}-\u{206f}]".prop_map(|s| s.chars().next().unwrap_or('x'))], 0..40,
            ),
        ) {
            let text: String = text.into_iter().collect();
            let shown = line(&text);
            prop_assert!(!shown.contains(is_unsafe));
            prop_assert_eq!(line(&shown), shown.clone());
            if !text.contains(is_unsafe) {
                prop_assert_eq!(shown.as_ref(), text.as_str());
            }
        }
    }
}
