//! The header of a `.fdt` file.

use super::format::{FORMATS, Format};
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
    /// The id of the segment.
    pub id: SegmentId,
    /// The length of the header, in bytes: the first block follows.
    pub header_len: usize,
}

impl DataHeader {
    /// Reads the header from the first bytes of a `.fdt` file ([`MAX_HEADER_LEN`] are enough, a whole file is fine), and
    /// checks that it is of the segment with this id, if given.
    ///
    /// # Errors
    /// [`UnsupportedCodec`](crate::ErrorKind::UnsupportedCodec) naming the codec when the format is not known,
    /// [`UnsupportedVersion`](crate::ErrorKind::UnsupportedVersion) when its version is not, and as for any header.
    pub fn parse(file: &str, first_bytes: &[u8], id: Option<&SegmentId>) -> Result<Self> {
        let header = codec::index_header(&mut Input::new(file, first_bytes))?;
        let format = codec::identify(file, &header, FORMATS, |f| (f.codec, &f.versions))?;
        codec::check_identity(file, &header, id, None)?;
        Ok(Self { format, version: header.version, id: header.id, header_len: header.len })
    }
}
