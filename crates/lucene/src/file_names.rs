//! Names of a segment's files: the name of the segment, and a suffix that says what the file is.
//!
//! Lucene's `addIndexes` copies the files of a segment under a new segment name and does not change their bytes. Shrinking,
//! splitting and cloning an index all use it. A name that is stored inside a file may therefore begin with a segment name of
//! the past. Lucene takes only the suffix of such a name, and so does this module.

use crate::input::Input;
use crate::{Error, Result};
use std::collections::BTreeSet;

/// Returns what follows the segment name in the name of a file: `.si` in `_a.si`, `_1_Lucene90_0.dvm` in
/// `_a_1_Lucene90_0.dvm`.
///
/// Returns `None` if the file cannot belong to a segment: the names of such files consist of an underscore, digits or
/// lower-case letters, optionally another underscore and any text, and an extension.
pub fn suffix(file: &str) -> Option<&str> {
    let name = file.strip_prefix('_')?;
    let (segment, suffix) = name.split_at(name.find(['_', '.'])?);
    let is_name =
        !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (is_name && suffix.contains('.')).then_some(suffix)
}

/// Returns the names that the listed files have in this segment. `at` is the offset at which the list was read.
///
/// # Errors
/// If a listed file cannot belong to a segment.
pub(crate) fn of_segment(
    input: &Input<'_>,
    at: u64,
    listed: BTreeSet<String>,
    segment: &str,
) -> Result<BTreeSet<String>> {
    let named = |file: &String| match suffix(file) {
        Some(suffix) => Ok(format!("{segment}{suffix}")),
        None => {
            let expected = "files of a segment, such as _a.fdt";
            Err(Error::corrupt(input.file(), at, expected, format_args!("{file:?}")))
        }
    };
    listed.iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_what_stands_behind_the_name_of_any_segment() {
        for (file, expected) in [
            ("_0.si", Some(".si")),
            ("_1a.fdt", Some(".fdt")),
            ("_zz_1.liv", Some("_1.liv")),
            ("_2_Lucene90_0.dvd", Some("_Lucene90_0.dvd")),
            ("_2_1_Lucene90_0.dvd", Some("_1_Lucene90_0.dvd")),
            ("_0_165_Obj.vec.faiss", Some("_165_Obj.vec.faiss")),
            ("_0", None),
            ("_0_1", None),
            ("_.si", None),
            ("__1.si", None),
            ("_A.si", None),
            ("0.si", None),
            ("_0/.si", None),
            ("segments_1", None),
            ("", None),
        ] {
            assert_eq!(suffix(file), expected, "{file}");
        }
    }
}
