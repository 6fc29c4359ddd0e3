//! What can be wrong with a repository, told so that callers can branch on it and people can act on it.

use std::fmt;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can be wrong with a repository or with what was asked of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not those that were written: their checksum is another, or there is none where one must be.
    #[error("{file}{}: {detail}", At(*offset))]
    Damaged {
        /// Path of the blob, relative to the repository root.
        file: String,
        /// Where in the blob, when that says something.
        offset: Option<u64>,
        /// What was expected and what was found.
        detail: String,
    },
    /// The bytes are not what the format demands: damage in a blob without a checksum, another kind of file, or something
    /// that this program does not understand.
    #[error("{file}{}: {detail}", At(*offset))]
    Corrupt {
        /// Path of the blob, relative to the repository root.
        file: String,
        /// Where in the blob (or in its decompressed body), when that says something.
        offset: Option<u64>,
        /// What was expected and what was found.
        detail: String,
    },
    /// Two files of the repository contradict each other, or one contradicts itself.
    #[error("{file}: {detail}")]
    Mismatch {
        /// Path of the blob, relative to the repository root.
        file: String,
        /// What does not agree with what.
        detail: String,
    },
    /// The bytes are well-formed, but say something that this program cannot read.
    #[error("{file}: {what}")]
    Unsupported {
        /// Path of the blob, relative to the repository root, or the name of the index.
        file: String,
        /// A sentence: what it is, and what to do instead.
        what: String,
    },
    /// A blob would take more memory than it is allowed to.
    #[error("{file}: it takes more than {} of memory, which is all that one file may take here", Amount(*limit))]
    TooLarge {
        /// Path of the blob, relative to the repository root.
        file: String,
        /// The limit that was set, in bytes.
        limit: u64,
    },
    /// There is no such snapshot.
    #[error("there is no snapshot named {name:?}; the repository holds {}", Listed(available))]
    UnknownSnapshot {
        /// The name that was asked for.
        name: String,
        /// What the repository holds, newest last.
        available: Vec<String>,
    },
    /// No snapshot in the repository has succeeded.
    #[error("no snapshot of this repository has succeeded; it holds {}", Listed(available))]
    NoSuccessfulSnapshot {
        /// What the repository holds, newest last, each with its state.
        available: Vec<String>,
    },
    /// There is no such index or data stream in the snapshot.
    #[error("there is no index or data stream named {name:?} in the snapshot{}", Near(near, available))]
    UnknownIndex {
        /// The name that was asked for.
        name: String,
        /// Names that look much like it, best first.
        near: Vec<String>,
        /// What the snapshot holds.
        available: Vec<String>,
    },
    /// A selection of indices cannot be understood.
    #[error("index pattern {pattern:?}: {detail}")]
    InvalidPattern {
        /// The pattern as it was given.
        pattern: String,
        /// What is wrong with it.
        detail: String,
    },
}

impl Error {
    /// Whether a checksum proves that the bytes are not those that were written.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }

    /// Whether the bytes say of themselves that they are something that this program cannot read.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Unsupported { .. })
    }

    /// Content that is not as expected, without a place in the file.
    pub(crate) fn corrupt(file: &str, detail: impl Into<String>) -> Self {
        Self::Corrupt { file: file.to_owned(), offset: None, detail: detail.into() }
    }

    /// Content that is not as expected, at a place in the file.
    pub(crate) fn corrupt_at(file: &str, offset: u64, detail: impl Into<String>) -> Self {
        Self::Corrupt { file: file.to_owned(), offset: Some(offset), detail: detail.into() }
    }

    /// A contradiction.
    pub(crate) fn mismatch(file: &str, detail: impl Into<String>) -> Self {
        Self::Mismatch { file: file.to_owned(), detail: detail.into() }
    }

    /// Something that is beyond this program.
    pub(crate) fn unsupported(file: &str, what: impl Into<String>) -> Self {
        Self::Unsupported { file: file.to_owned(), what: what.into() }
    }

    /// The blob that the error is about, if it is about one.
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::Damaged { file, .. }
            | Self::Corrupt { file, .. }
            | Self::Mismatch { file, .. }
            | Self::Unsupported { file, .. }
            | Self::TooLarge { file, .. } => Some(file),
            _ => None,
        }
    }
}

/// " at byte N", or nothing.
struct At(Option<u64>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(offset) => write!(f, " at byte {offset}"),
            None => Ok(()),
        }
    }
}

/// A number of bytes.
struct Amount(u64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1 << 20;
        match self.0 {
            0..MIB => write!(f, "{} bytes", self.0),
            bytes => write!(f, "{} MiB", bytes / MIB),
        }
    }
}

/// How many names an error message lists before it says how many more there are.
const LISTED: usize = 20;

/// Names, separated by commas, cut when there are many.
struct Listed<'a>(&'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (i, name) in self.0.iter().take(LISTED).enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            f.write_str(name)?;
        }
        match self.0.len().saturating_sub(LISTED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// "; did you mean …?" when something is near, else what there is.
struct Near<'a>(&'a [String], &'a [String]);

impl fmt::Display for Near<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            write!(f, ", which holds {}", Listed(self.1))
        } else {
            write!(f, "; the nearest names are {}", Listed(self.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_where_and_what() {
        let names = |n: usize| (0..n).map(|i| format!("s{i}")).collect::<Vec<_>>();
        let cases = [
            (Error::corrupt("index-4", "no snapshots"), "index-4: no snapshots"),
            (Error::corrupt_at("a.dat", 7, "bad magic"), "a.dat at byte 7: bad magic"),
            (
                Error::UnknownSnapshot { name: "x".into(), available: names(2) },
                "there is no snapshot named \"x\"; the repository holds s0, s1",
            ),
            (
                Error::NoSuccessfulSnapshot { available: vec![] },
                "no snapshot of this repository has succeeded; it holds none",
            ),
            (
                Error::UnknownIndex { name: "a".into(), near: vec!["ab".into()], available: names(3) },
                "there is no index or data stream named \"a\" in the snapshot; the nearest names are ab",
            ),
        ];
        for (error, text) in cases {
            assert_eq!(error.to_string(), text);
        }
        let many = Error::UnknownSnapshot { name: "x".into(), available: names(23) };
        assert!(many.to_string().ends_with("s19 and 3 more"));
    }
}
