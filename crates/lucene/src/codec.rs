//! Headers and footers, which all Lucene files have: Lucene's `CodecUtil`.
//!
//! A header is a magic number, a codec name and a version; an index header adds the segment's id and a suffix. A footer is
//! another magic number, the number of the checksum algorithm (0), and a CRC-32 of all bytes before it. All are
//! big-endian in every version.
//!
//! Lucene 4 has plain headers only, and footers from 4.8 on.

mod part;

pub use part::CheckedPart;

use crate::input::{Endian, Input};
use crate::{Error, ErrorKind, Result, SegmentId};

/// The length of a footer, in bytes.
pub const FOOTER_LEN: usize = 16;

const HEADER_MAGIC: i32 = 0x3fd7_6c17;
const FOOTER_MAGIC: i32 = !HEADER_MAGIC;

/// A plain header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name of the format.
    pub codec: &'a str,
    /// The version of the format.
    pub version: u32,
}

/// An index header: that of a file which belongs to a segment. Those of Lucene 4 are plain: without id and suffix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexHeader<'a> {
    /// The name of the format.
    pub codec: &'a str,
    /// The version of the format.
    pub version: u32,
    /// The id of the segment (of `segments_N`: of the commit); none before Lucene 5.
    pub id: Option<SegmentId>,
    /// What the file's name has between segment and extension: a generation, a per-field format, or nothing. Always
    /// nothing before Lucene 5.
    pub suffix: &'a str,
    /// The length of the header, in bytes.
    pub len: usize,
}

/// A format that a reader knows: its codec name, the versions that it reads, and the byte order of its body.
pub(crate) struct Known {
    pub(crate) codec: &'static str,
    pub(crate) versions: std::ops::RangeInclusive<u32>,
    pub(crate) endian: Endian,
}

impl Known {
    /// A format of Lucene 8 or before.
    pub(crate) const fn big(codec: &'static str, versions: std::ops::RangeInclusive<u32>) -> Self {
        Self { codec, versions, endian: Endian::Big }
    }

    /// A format of Lucene 9 or later.
    pub(crate) const fn little(codec: &'static str, versions: std::ops::RangeInclusive<u32>) -> Self {
        Self { codec, versions, endian: Endian::Little }
    }
}

/// The formats of Lucene 4, whose headers are plain, each with the first version that has a footer.
const PLAIN: &[(&str, u32)] = &[
    ("BitVector", 2),
    ("CompoundFileWriterData", 1),
    ("CompoundFileWriterEntries", 1),
    ("Lucene40FieldInfos", 1),
    ("Lucene40SegmentInfo", 1),
    ("Lucene41StoredFieldsData", 2),
    ("Lucene41StoredFieldsIndex", 2),
    ("Lucene42FieldInfos", 1),
    ("Lucene46FieldInfos", 1),
    ("Lucene46SegmentInfo", 1),
    ("segments", 2),
];
/// The first version of `segments` that has an index header.
const SEGMENTS_V50: u32 = 4;
/// What a `.del` file has before its header.
const BEFORE_BIT_VECTOR: [u8; 4] = (-2i32).to_be_bytes();

/// The first version of a format of Lucene 4 that has a footer; none of formats with an index header.
fn plain(header: &Header<'_>) -> Option<u32> {
    let (codec, first) = PLAIN.iter().find(|(codec, _)| *codec == header.codec)?;
    (*codec != "segments" || header.version < SEGMENTS_V50).then_some(*first)
}

/// Whether a file was written without a footer, as Lucene did before 4.8: then there is no checksum in it.
pub fn is_without_footer(file: &str, first_bytes: &[u8]) -> bool {
    let mut input = Input::new(file, first_bytes.strip_prefix(&BEFORE_BIT_VECTOR).unwrap_or(first_bytes));
    header(&mut input).is_ok_and(|h| plain(&h).is_some_and(|first| h.version < first))
}

/// Reads a plain header at the cursor.
///
/// # Errors
/// [`ErrorKind::Truncated`], or [`ErrorKind::Corrupt`] when the magic number is not there.
pub fn header<'a>(input: &mut Input<'a>) -> Result<Header<'a>> {
    let mut at = input.clone().with_endian(Endian::Big);
    let magic = at.i32()?;
    if magic != HEADER_MAGIC {
        let expected = format_args!("the header magic {HEADER_MAGIC:#010x}");
        return Err(input.corrupt(expected, format_args!("{magic:#010x}")));
    }
    let codec = at.string()?;
    let version = at.count32("a version")?;
    *input = at.with_endian(input.endian());
    Ok(Header { codec, version })
}

/// Reads an index header at the cursor, or the plain one of a format that has such.
///
/// # Errors
/// [`ErrorKind::Truncated`], or [`ErrorKind::Corrupt`] when the magic number is not there.
pub fn index_header<'a>(input: &mut Input<'a>) -> Result<IndexHeader<'a>> {
    let start = input.pos();
    let plain_header = header(input)?;
    let Header { codec, version } = plain_header;
    if plain(&plain_header).is_some() {
        return Ok(IndexHeader { codec, version, id: None, suffix: "", len: input.pos() - start });
    }
    let at = input.offset();
    let mut id = [0; 16];
    id.copy_from_slice(input.bytes(16)?);
    let length = input.u8()?;
    let suffix = std::str::from_utf8(input.bytes(length.into())?)
        .map_err(|e| Error::corrupt(input.file(), at.saturating_add(17), "a suffix in UTF-8", e))?;
    Ok(IndexHeader { codec, version, id: Some(id), suffix, len: input.pos() - start })
}

/// The checksum that a file's footer states, from the last 16 bytes of the file.
///
/// # Errors
/// [`ErrorKind::Truncated`] when there are not 16 bytes, [`ErrorKind::ChecksumMismatch`] when they are no footer,
/// [`ErrorKind::UnsupportedVersion`] when the checksum is of another kind.
pub fn parse_footer(file: &str, last16: &[u8]) -> Result<u32> {
    let footer = footer(file, last16)?;
    check_algorithm(file, &footer)?;
    Ok(footer.crc)
}

/// What a footer states.
struct Footer {
    algorithm: i32,
    crc: u32,
}

fn footer(file: &str, last16: &[u8]) -> Result<Footer> {
    let mut input = Input::new(file, last16);
    let magic = input.i32()?;
    if magic != FOOTER_MAGIC {
        let message = format!("expected the footer magic {FOOTER_MAGIC:#010x}, found {magic:#010x}");
        return Err(Error::new(ErrorKind::ChecksumMismatch, file, None, message));
    }
    let algorithm = input.i32()?;
    let crc = input.i64()?;
    input.end()?;
    let crc = u32::try_from(crc).map_err(|_| {
        let message = format!("expected a checksum of 32 bits in the footer, found {crc:x}");
        Error::new(ErrorKind::ChecksumMismatch, file, None, message)
    })?;
    Ok(Footer { algorithm, crc })
}

fn check_algorithm(file: &str, footer: &Footer) -> Result<()> {
    if footer.algorithm == 0 {
        return Ok(());
    }
    let message = format!(
        "checksum algorithm {} is not supported; the only supported one is 0, a CRC-32",
        footer.algorithm
    );
    Err(Error::new(ErrorKind::UnsupportedVersion, file, None, message))
}

/// Checks a whole file against its footer, and returns its checksum.
///
/// # Errors
/// As [`parse_footer`]; [`ErrorKind::ChecksumMismatch`] when the bytes are others than those written.
pub fn verify_checksum(file: &str, bytes: &[u8]) -> Result<u32> {
    Ok(verified(file, bytes)?.1)
}

/// [`verify_checksum`], but none for a file that [has no footer](is_without_footer).
///
/// # Errors
/// As [`verify_checksum`].
pub fn verify_checksum_if_any(file: &str, bytes: &[u8]) -> Result<Option<u32>> {
    match verified(file, bytes) {
        Ok((_, crc)) => Ok(Some(crc)),
        Err(_) if is_without_footer(file, bytes) => Ok(None),
        Err(e) => Err(e),
    }
}

/// All bytes before the footer, checked against it; all bytes of a file that has none.
pub(crate) fn body<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a [u8]> {
    if is_without_footer(file, bytes) { Ok(bytes) } else { Ok(verified(file, bytes)?.0) }
}

/// [`verify_checksum`], returning the bytes before the footer too.
fn verified<'a>(file: &str, bytes: &'a [u8]) -> Result<(&'a [u8], u32)> {
    let Some((body, last16)) = bytes.split_last_chunk::<FOOTER_LEN>() else {
        return Err(too_short(file, bytes.len() as u64));
    };
    let footer = footer(file, last16)?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(body);
    crc.update(&last16[..8]);
    verify_footer(file, &footer, crc.finalize())?;
    Ok((body, footer.crc))
}

fn too_short(file: &str, len: u64) -> Error {
    let message = format!("expected a footer of {FOOTER_LEN} bytes, found {len} bytes in all");
    Error::new(ErrorKind::ChecksumMismatch, file, 0, message)
}

/// Compares the checksum that a footer states with that of the bytes, which include the number of the algorithm.
fn verify_footer(file: &str, footer: &Footer, actual: u32) -> Result<()> {
    let stated = footer.crc;
    if actual == stated {
        return check_algorithm(file, footer);
    }
    let message = format!("expected the checksum {stated:08x} that the footer states, found {actual:08x}");
    Err(Error::new(ErrorKind::ChecksumMismatch, file, None, message))
}

/// Opens a whole file of a segment: checks its checksum and header, and returns header, body and which of `known` it is.
///
/// `id` is the segment's, where it is known; `suffix` what the header must repeat of the file's name.
pub(crate) fn open<'a, 'k>(
    file: &'a str,
    bytes: &'a [u8],
    known: &'k [Known],
    id: Option<&SegmentId>,
    suffix: Option<&str>,
) -> Result<(IndexHeader<'a>, Input<'a>, &'k Known)> {
    open_from(Input::new(file, body(file, bytes)?), known, id, suffix)
}

/// [`open`] of a file from behind what it has before its header.
pub(crate) fn open_from<'a, 'k>(
    mut input: Input<'a>,
    known: &'k [Known],
    id: Option<&SegmentId>,
    suffix: Option<&str>,
) -> Result<(IndexHeader<'a>, Input<'a>, &'k Known)> {
    let file = input.file();
    let header = index_header(&mut input)?;
    let format = identify(file, &header, known, |k| (k.codec, &k.versions))?;
    check_identity(file, &header, id, suffix)?;
    Ok((header, input.with_endian(format.endian), format))
}

/// Finds the row of a table of formats that a header names.
pub(crate) fn identify<'k, T>(
    file: &str,
    header: &IndexHeader<'_>,
    known: &'k [T],
    row: impl Fn(&T) -> (&'static str, &std::ops::RangeInclusive<u32>),
) -> Result<&'k T> {
    let Some(format) = known.iter().find(|k| row(k).0 == header.codec) else {
        let names = known.iter().map(|k| row(k).0).collect::<Vec<_>>().join(", ");
        let message = format!("format {:?} is not supported; those that are: {names}", header.codec);
        return Err(Error::new(ErrorKind::UnsupportedCodec, file, 0, message));
    };
    let (codec, versions) = row(format);
    if !versions.contains(&header.version) {
        let (which, known) = match versions.start() {
            first if header.version < *first => ("oldest", first),
            _ => ("newest", versions.end()),
        };
        let message = format!(
            "version {} of {codec} is not supported; the {which} supported version is {known}",
            header.version
        );
        return Err(Error::new(ErrorKind::UnsupportedVersion, file, 0, message));
    }
    Ok(format)
}

/// Checks that a header is of the segment and of the file's name.
pub(crate) fn check_identity(
    file: &str,
    header: &IndexHeader<'_>,
    id: Option<&SegmentId>,
    suffix: Option<&str>,
) -> Result<()> {
    let Some(found) = header.id else {
        return Ok(()); // a plain header says of no segment or file
    };
    if let Some(id) = id.filter(|id| **id != found) {
        let expected = format_args!("segment id {}", hex(id));
        return Err(Error::corrupt(file, 0, expected, hex(&found)));
    }
    if let Some(suffix) = suffix.filter(|suffix| *suffix != header.suffix) {
        return Err(Error::corrupt(
            file,
            0,
            format_args!("suffix {suffix:?}"),
            format_args!("{:?}", header.suffix),
        ));
    }
    Ok(())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
