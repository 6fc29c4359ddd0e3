//! The one error of this crate.

use std::fmt;

/// What went wrong reading a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The file, as the caller named it.
    pub file: String,
    /// Where in the file, in bytes from its start, where that is known.
    pub offset: Option<u64>,
    /// The kind, to branch on.
    pub kind: ErrorKind,
    /// What was expected and what was found.
    pub message: String,
}

/// The kinds of [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The bytes end before the structure does.
    Truncated,
    /// The bytes contradict the format, or another file of the same segment.
    Corrupt,
    /// A known format in a version that is not known.
    UnsupportedVersion,
    /// A format that is not known.
    UnsupportedCodec,
    /// The bytes are not those that the checksum in the footer was made of, or there is no footer where one must be.
    ChecksumMismatch,
    /// What the bytes stand for takes more memory than it may.
    TooLarge,
    /// A file has another length than a file that belongs to it states.
    LengthMismatch,
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the bytes are not those that Lucene wrote, which a checksum or a length proves.
    ///
    /// All other errors may as well be of a format that this crate does not understand: a file whose checksum is right can
    /// contradict what is known of its format.
    pub fn is_damage(&self) -> bool {
        matches!(self.kind, ErrorKind::ChecksumMismatch | ErrorKind::LengthMismatch)
    }

    /// Whether the file says of itself that it has a format, or a version of one, that is not known.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.kind, ErrorKind::UnsupportedVersion | ErrorKind::UnsupportedCodec)
    }

    /// An error of `kind` at `offset` (bytes from the start of `file`).
    pub fn new(
        kind: ErrorKind,
        file: &str,
        offset: impl Into<Option<u64>>,
        message: impl Into<String>,
    ) -> Self {
        Self { file: file.to_owned(), offset: offset.into(), kind, message: message.into() }
    }

    /// A [`ErrorKind::Corrupt`] error in words of what was expected and found.
    pub(crate) fn corrupt(
        file: &str,
        offset: impl Into<Option<u64>>,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        Self::new(ErrorKind::Corrupt, file, offset, format!("expected {expected}, found {found}"))
    }

    /// Returns the error that occurred later in the file, for bytes that were read by two layouts and fit neither. The layout
    /// that got further is probably the right one, and the error of the other one says nothing about what is wrong.
    pub(crate) fn furthest(first: Self, second: Self) -> Self {
        if second.offset > first.offset { second } else { first }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        if let Some(offset) = self.offset {
            write!(f, "at offset {offset}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
