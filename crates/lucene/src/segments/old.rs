//! `segments_N` before Lucene 7: formats 0 to 6.

use super::{SegmentCommit, SegmentInfos, generations, version};
use crate::codec::{IndexHeader, is_without_footer};
use crate::input::Input;
use crate::{Error, ErrorKind, Result};
use std::collections::{BTreeMap, BTreeSet};

const V46_FIELD_INFOS: u32 = 1;
const V49_FILES_BY_FIELD: u32 = 3;
const V50_IDS: u32 = 4;
const V51_SAFE_MAPS: u32 = 5;
const V53_VERSIONS: u32 = 6;
/// The length of the checksum that stands where later versions have a footer.
const CHECKSUM_LEN: usize = 8;

/// Refuses a commit of Lucene 3, which has a negative number where all others have the magic one.
pub(super) fn refuse_lucene_3(file: &str, bytes: &[u8]) -> Result<()> {
    match bytes.first_chunk().map(|first| i32::from_be_bytes(*first)) {
        Some(format @ -11..=-1) => {
            let message = format!(
                "expected a commit of Lucene 4 or later, found one of Lucene 3 or before (format {format})"
            );
            Err(Error::new(ErrorKind::UnsupportedVersion, file, 0, message))
        }
        _ => Ok(()),
    }
}

/// Reads a commit from behind its header.
pub(super) fn read<'a>(
    file: &'a str,
    bytes: &'a [u8],
    header: &IndexHeader<'a>,
    mut input: Input<'a>,
) -> Result<SegmentInfos> {
    let format = header.version;
    if is_without_footer(file, bytes) {
        input = Input::new(file, checked(file, bytes)?);
        input.skip(header.len as u64)?;
    }
    let generation = generation(file, header)?;
    let lucene_version = if format >= V53_VERSIONS { Some(version(&mut input)?) } else { None };
    input.i64()?; // the number of changes so far
    input.i32()?; // the number of the next segment
    let count = input.counted32("a number of segments", 14)?;
    if format >= V53_VERSIONS && count > 0 {
        version(&mut input)?; // of the oldest segment
    }
    let segments = (0..count).map(|_| segment(&mut input, format)).collect::<Result<_>>()?;
    let user_data = if format >= V51_SAFE_MAPS { input.string_map()? } else { input.old_string_map()? };
    input.end()?;
    Ok(SegmentInfos { generation, lucene_version, index_created_major: None, segments, user_data })
}

/// The bytes before the checksum that ends a commit without a footer, checked against it.
fn checked<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a [u8]> {
    let Some((body, checksum)) = bytes.split_last_chunk::<CHECKSUM_LEN>() else {
        let message =
            format!("expected a checksum of {CHECKSUM_LEN} bytes, found {} bytes in all", bytes.len());
        return Err(Error::new(ErrorKind::Truncated, file, 0, message));
    };
    let (stated, actual) = (u64::from_be_bytes(*checksum), crc32fast::hash(body));
    if stated != u64::from(actual) {
        let message =
            format!("expected the checksum {stated:08x} that the file ends with, found {actual:08x}");
        return Err(Error::new(ErrorKind::ChecksumMismatch, file, None, message));
    }
    Ok(body)
}

/// The generation: from the header, or where it has none from the name.
fn generation(file: &str, header: &IndexHeader<'_>) -> Result<u64> {
    let digits = if header.id.is_some() {
        header.suffix
    } else {
        let name = file.rsplit('/').next().unwrap_or(file);
        name.strip_prefix("segments_").unwrap_or("0")
    };
    u64::from_str_radix(digits, 36)
        .map_err(|_| Error::corrupt(file, 0, "a generation in base 36", format_args!("{digits:?}")))
}

fn segment(input: &mut Input<'_>, format: u32) -> Result<SegmentCommit> {
    let name = input.string()?.to_owned();
    let id = if format >= V50_IDS { optional_id(input)? } else { None };
    let codec = input.string()?.to_owned();
    let del_gen = input.generation("a live-docs generation")?;
    let del_count = input.count32("a number of deleted documents")?;
    let mut field_infos_gen = None;
    if format >= V46_FIELD_INFOS {
        field_infos_gen = input.generation("a field-infos generation")?;
    }
    let mut doc_values_gen = field_infos_gen;
    if format >= V49_FILES_BY_FIELD {
        doc_values_gen = input.generation("a doc-values generation")?;
    }
    let (mut field_infos_files, mut doc_values_files) = (BTreeSet::new(), BTreeMap::new());
    if format >= V49_FILES_BY_FIELD {
        let set = if format >= V51_SAFE_MAPS { Input::string_set } else { Input::old_string_set };
        (field_infos_files, doc_values_files) = generations(input, &name, set)?;
    } else if format >= V46_FIELD_INFOS {
        // The files by generation, of which later formats know that they were recorded wrongly.
        for _ in 0..input.counted32("a number of generations", 12)? {
            input.i64()?;
            input.old_string_set()?;
        }
    }
    Ok(SegmentCommit {
        name,
        id,
        codec,
        del_gen,
        del_count,
        soft_del_count: 0,
        field_infos_gen,
        doc_values_gen,
        field_infos_files,
        doc_values_files,
    })
}

/// The id of a segment, which those that Lucene 4 wrote do not have.
fn optional_id(input: &mut Input<'_>) -> Result<Option<crate::SegmentId>> {
    match input.u8()? {
        0 => Ok(None),
        1 => {
            let mut id = [0; 16];
            id.copy_from_slice(input.bytes(16)?);
            Ok(Some(id))
        }
        other => Err(input.corrupt("0 or 1 for whether an id follows", other)),
    }
}
