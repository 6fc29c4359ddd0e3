//! Reads Lucene indices from bytes: pure functions over slices, without I/O, threads or async.
//!
//! What is read is what a copy of an index needs: which segments there are ([`segments`], [`segment_info`],
//! [`field_infos`]), where their files lie ([`compound`]), which documents are alive ([`live_docs`], [`doc_values`] for
//! soft deletes), and the stored fields of each document ([`stored_fields`]). Formats of Lucene 4.0 to 10 are read, stored
//! fields from 4.1 on. What is not understood is refused with an [`Error`] that
//! names the file, the offset, and what was expected there.
//!
//! Nothing here panics, loops without bound, or allocates by a length that the input merely states: input is taken to be
//! hostile.
//!
//! Byte order is a property of each file, not of an index: Lucene 8 and before write big-endian, 9 and later
//! little-endian, and an index can hold segments of both. It is always taken from the codec name in a file's own header.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod bits;
pub mod codec;
pub mod compound;
pub mod doc_values;
mod error;
pub mod field_infos;
pub mod file_names;
pub mod input;
pub mod live_docs;
mod packed;
pub mod segment_info;
pub mod segments;
pub mod stored_fields;

pub use error::{Error, ErrorKind, Result};

/// The id that Lucene gives each segment and repeats in the header of each of its files.
pub type SegmentId = [u8; 16];
