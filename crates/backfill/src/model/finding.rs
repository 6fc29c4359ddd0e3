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

/// Several findings as one text of a record, each on a line of its own. `None` stands for no finding.
///
/// The text of an earlier version is one finding, with or without its cause.
pub mod as_text {
    use super::Finding;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Joins findings.
    pub fn join(findings: &[Finding]) -> Option<String> {
        let lines = findings.iter().map(|finding| finding.to_string().replace('\n', " "));
        let lines: Vec<String> = lines.collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// Reads what [`join`] has written. A line without a cause belongs to the one before it.
    pub fn split(text: Option<&str>) -> Vec<Finding> {
        let mut findings: Vec<Finding> = Vec::new();
        for line in text.into_iter().flat_map(|text| text.split('\n')) {
            match (Finding::with_cause(line), findings.last_mut()) {
                (Some(finding), _) => findings.push(finding),
                (None, None) => findings.push(Finding::damaged(line)),
                (None, Some(before)) => {
                    before.text.push(' ');
                    before.text.push_str(line);
                }
            }
        }
        findings
    }

    /// Writes findings as [`join`] does.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(findings: &[Finding], serializer: S) -> Result<S::Ok, S::Error> {
        join(findings).serialize(serializer)
    }

    /// Reads findings as [`split`] does.
    ///
    /// # Errors
    /// When there is neither a text nor nothing.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Finding>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        Ok(split(text.as_deref()))
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
        let several = vec![Finding::damaged("_0 is\ncut off"), Finding::unreadable("_1 has version 9")];
        let text = as_text::join(&several);
        assert_eq!(
            text.as_deref(),
            Some("damaged: _0 is cut off\ncannot be read by this version of backfill: _1 has version 9")
        );
        assert_eq!(as_text::split(text.as_deref()), [Finding::damaged("_0 is cut off"), several[1].clone()]);
        assert_eq!((as_text::join(&[]), as_text::split(None)), (None, Vec::new()));
        assert_eq!(as_text::split(Some("_0 is\ncut off")), [Finding::damaged("_0 is cut off")]);
        // Earlier versions kept the text alone.
        assert_eq!(Finding::parse("[i][0]: _0.fdt"), Finding::damaged("[i][0]: _0.fdt"));
    }
}
