//! The header of a `.fdt` file.

use super::format::{FORMATS, Format, Preamble};
use super::ints::packed_version;
use crate::codec;
use crate::input::Input;
use crate::{Result, SegmentId};

/// As many bytes of a `.fdt` file as hold any header that is understood.
pub const MAX_HEADER_LEN: usize = 128;

/// The header of a `.fdt` file: which format the file has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataHeader {
    /// The format.
    pub format: &'static Format,
    /// The format's version.
    pub version: u32,
    /// The id of the segment; none before Lucene 5.
    pub id: Option<SegmentId>,
    /// The length of the header and of what stands before the first block, in bytes.
    pub header_len: usize,
    /// The uncompressed size of a slice of blocks with large documents, in bytes, where it stands here and not in the index.
    pub(crate) chunk_size: Option<u32>,
    /// The version of packed numbers in the heads of blocks, where it stands here.
    pub(crate) packed_version: Option<u32>,
}

impl DataHeader {
    /// Reads the header from the first bytes of a `.fdt` file ([`MAX_HEADER_LEN`] are enough, a whole file is fine), and
    /// checks that it is of the segment with this id, if given.
    ///
    /// # Errors
    /// [`UnsupportedCodec`](crate::ErrorKind::UnsupportedCodec) naming the codec when the format is not known,
    /// [`UnsupportedVersion`](crate::ErrorKind::UnsupportedVersion) when its version is not, and as for any header.
    pub fn parse(file: &str, first_bytes: &[u8], id: Option<&SegmentId>) -> Result<Self> {
        let mut input = Input::new(file, first_bytes);
        let header = codec::index_header(&mut input)?;
        let format = codec::identify(file, &header, FORMATS, |f| (f.codec, &f.versions))?;
        codec::check_identity(file, &header, id, None)?;
        let preamble = (format.preamble)(header.version);
        let chunk_size =
            if preamble == Preamble::ChunkSize { Some(super::chunk_size(&mut input)?) } else { None };
        let packed_version =
            if preamble == Preamble::None { None } else { Some(packed_version(&mut input)?) };
        Ok(Self {
            format,
            version: header.version,
            id: header.id,
            header_len: input.pos(),
            chunk_size,
            packed_version,
        })
    }
}
