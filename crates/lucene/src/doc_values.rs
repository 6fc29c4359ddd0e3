//! Which documents have a value of a numeric field: `.dvm` says so, or where in `.dvd` the set of them lies.
//!
//! Values are not read, since of soft deletes only the presence of one matters. The metadata has no lengths to skip by, so
//! the entries of all other kinds of fields are understood as far as passing over them needs. Follows Lucene's
//! `Lucene70DocValuesFormat`, `Lucene80…`, `Lucene90…` and `IndexedDISI`.

mod meta;
mod set;

pub use meta::docs_with_field;

use crate::input::Endian;

/// Which documents have a value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocsWithField {
    /// None.
    None,
    /// All.
    All,
    /// Those of a set in the `.dvd` file.
    Sparse(Sparse),
}

/// A set of documents in a `.dvd` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sparse {
    /// Where the set begins in the `.dvd` file, in bytes.
    pub offset: u64,
    /// The length of the set, in bytes.
    pub length: u64,
    /// The documents between two entries of the rank table of a dense block, as a power of two, if there are rank tables.
    pub dense_rank_power: Option<u8>,
    /// The byte order of the set.
    pub endian: Endian,
    /// The number of values, which is that of the documents in the set.
    pub count: u64,
}
