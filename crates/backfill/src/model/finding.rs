//! What of a snapshot did not get through, and why.
//!
//! Three causes need different actions, so they are kept apart: bytes that are not those that were written, which only
//! another copy of the snapshot can mend; formats that this version of the program does not understand, which another
//! version may; and indices that the run itself refuses. Records keep a finding as text that begins with its cause.
//! Records of earlier versions have no cause in them, and all of theirs count as damage.

use super::clipped;
use std::fmt;

/// The cause of a [`Finding`]. A later one outweighs an earlier one where a single cause is named for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingKind {
    /// The run does not take the index, as it is or as it was asked to.
    Refused,
    /// The format is not known, or the content is not understood although no checksum and no length is wrong.
    Unreadable,
    /// The bytes are not those that were written, which a checksum or a length proves.
    Damaged,
}

impl FindingKind {
    const ALL: [Self; 3] = [Self::Refused, Self::Unreadable, Self::Damaged];

    /// The words that a finding of this kind begins with.
    pub fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreadable => "cannot be read by this version of backfill",
            Self::Damaged => "damaged",
        }
    }
}

/// A part of the snapshot that did not get through as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The cause.
    pub kind: FindingKind,
    /// Which part, and what was expected and found.
    pub text: String,
}

impl Finding {
    /// Damage that is proven.
    pub fn damaged(text: impl Into<String>) -> Self {
        Self { kind: FindingKind::Damaged, text: text.into() }
    }

    /// Something that this version of the program does not understand.
    pub fn unreadable(text: impl Into<String>) -> Self {
        Self { kind: FindingKind::Unreadable, text: text.into() }
    }

    /// Reads the text of a record; one without a cause is damage.
    pub fn parse(text: &str) -> Self {
        Self::with_cause(text).unwrap_or_else(|| Self::damaged(text))
    }

    /// The finding that an index is left out, for a reason that is the text of a finding or a plain sentence.
    pub fn of_index(index: &str, why: &str) -> Self {
        Self::with_cause(why)
            .unwrap_or_else(|| Self { kind: FindingKind::Refused, text: why.to_owned() })
            .within(index)
    }

    fn with_cause(text: &str) -> Option<Self> {
        let of = |kind: FindingKind| Some((kind, text.strip_prefix(kind.label())?.strip_prefix(": ")?));
        let (kind, rest) = FindingKind::ALL.into_iter().find_map(of)?;
        Some(Self { kind, text: rest.to_owned() })
    }

    /// The same with the place before it.
    #[must_use]
    pub fn within(self, place: impl fmt::Display) -> Self {
        Self { text: format!("{place}: {}", self.text), ..self }
    }

    /// As much of it as a record keeps.
    #[must_use]
    pub fn clipped(self) -> Self {
        Self { text: clipped(&self.text), ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.label(), self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_kept_in_the_text() {
        for finding in [Finding::damaged("[i][0]: _0.fdt is cut off"), Finding::unreadable("version 9")] {
            assert_eq!(Finding::parse(&finding.to_string()), finding);
        }
        let text = "cannot be read by this version of backfill: i: _0.si";
        assert_eq!(Finding::of_index("i", &Finding::unreadable("_0.si").to_string()).to_string(), text);
        assert_eq!(
            Finding::of_index("i", "it has the types a, b").to_string(),
            "refused: i: it has the types a, b"
        );
        // Earlier versions kept the text alone.
        assert_eq!(Finding::parse("[i][0]: _0.fdt"), Finding::damaged("[i][0]: _0.fdt"));
    }
}
