//! What can go wrong between a test and its server.

use std::path::PathBuf;

/// Why a server could not be started, reached or ended, or a fixture not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text does not name a server.
    #[error(
        "{0:?} names no server; write product:version, such as opensearch:2.19.5 or elasticsearch:7.10.2"
    )]
    Spec(String),
    /// No row of the table of releases covers this version.
    #[error(
        "{0} is not among the versions that can be started here; add it to the table in tests/servers/src/release.rs"
    )]
    Unknown(String),
    /// A program that is needed is not installed.
    #[error("{0}")]
    Missing(String),
    /// A directory is closed to the user that the server runs as.
    #[error(
        "the user {user} can not enter {path}: servers do not run as root, so choose a directory open to all, with {variable}"
    )]
    Closed {
        /// The user that servers run as.
        user: String,
        /// The directory that is closed.
        path: PathBuf,
        /// The environment variable that chooses another one.
        variable: &'static str,
    },
    /// A program failed.
    #[error("{program} failed: {output}")]
    Program {
        /// The program and what it was to do.
        program: String,
        /// The end of what it printed.
        output: String,
    },
    /// The server ended by itself.
    #[error("{server} ended with {status}; the end of its log:\n{log}")]
    Died {
        /// Product and version.
        server: String,
        /// How it ended.
        status: String,
        /// The last lines of its log.
        log: String,
    },
    /// The server did not become healthy.
    #[error("{server} was not healthy within {seconds} seconds; the end of its log:\n{log}")]
    NotHealthy {
        /// Product and version.
        server: String,
        /// How long it was waited for.
        seconds: u64,
        /// The last lines of its log.
        log: String,
    },
    /// A request could not be made or answered.
    #[error("{method} {url}: {reason}")]
    Http {
        /// The request's method.
        method: String,
        /// The request's address.
        url: String,
        /// What went wrong, or the answer's status and body.
        reason: String,
    },
    /// A file or directory could not be used.
    #[error("{path}: {source}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file or an answer does not hold what it should.
    #[error("{place}: {reason}")]
    Content {
        /// The file or the address.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Names the file that an I/O error is about.
pub(crate) trait At<T> {
    fn at(self, path: impl Into<PathBuf>) -> Result<T, Error>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, path: impl Into<PathBuf>) -> Result<T, Error> {
        self.map_err(|source| Error::File { path: path.into(), source })
    }
}
