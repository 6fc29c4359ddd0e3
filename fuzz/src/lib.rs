//! What the fuzz targets share: files of Lucene with a right header and footer around arbitrary bodies, since hardly any
//! arbitrary bytes would get beyond either.

pub mod formats;

use lucene::SegmentId;
use lucene::field_infos::FieldInfos;
use lucene::segments::SegmentCommit;
use lucene::stored_fields::Block;

/// The id in all headers.
pub const ID: SegmentId = *b"a segment's id..";

/// A source of small choices and of the rest of the input.
pub struct Choices<'a>(pub &'a [u8]);

impl<'a> Choices<'a> {
    /// The next byte, or 0.
    pub fn byte(&mut self) -> u8 {
        self.bytes::<1>()[0]
    }

    /// The next four bytes as a number.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => [0; N],
        }
    }

    /// One of these.
    pub fn one<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[usize::from(self.byte()) % of.len()]
    }

    /// A part of what is left, whose length is chosen, too.
    pub fn part(&mut self) -> &'a [u8] {
        let n = usize::from(u16::from_le_bytes(self.bytes())).min(self.0.len());
        let (part, rest) = self.0.split_at(n);
        self.0 = rest;
        part
    }
}

/// A header of this format and version.
pub fn header(codec: &str, version: u8, suffix: &str) -> Vec<u8> {
    let mut file = vec![0x3f, 0xd7, 0x6c, 0x17, codec.len() as u8];
    file.extend(codec.as_bytes());
    file.extend([0, 0, 0, version]);
    file.extend(ID);
    file.push(suffix.len() as u8);
    file.extend(suffix.as_bytes());
    file
}

/// A file of this format and version: header, body and footer.
pub fn file(codec: &str, version: u8, suffix: &str, body: &[u8]) -> Vec<u8> {
    let mut file = header(codec, version, suffix);
    file.extend(body);
    with_footer(file)
}

/// A file as Lucene 4 wrote it: a plain header, the body, and from some version on a footer.
pub fn plain_file(codec: &str, version: u8, body: &[u8], footer: bool) -> Vec<u8> {
    let mut file = plain_header(codec, version);
    file.extend(body);
    if footer { with_footer(file) } else { file }
}

/// A plain header of this format and version.
pub fn plain_header(codec: &str, version: u8) -> Vec<u8> {
    let mut file = vec![0x3f, 0xd7, 0x6c, 0x17, codec.len() as u8];
    file.extend(codec.as_bytes());
    file.extend([0, 0, 0, version]);
    file
}

/// A segment of Lucene 4: without an id.
pub fn old_commit() -> SegmentCommit {
    SegmentCommit { id: None, codec: "Lucene410".to_owned(), ..commit() }
}

/// A segment of that id, without anything in generations.
pub fn commit() -> SegmentCommit {
    SegmentCommit {
        name: "_0".to_owned(),
        id: Some(ID),
        codec: "Lucene912".to_owned(),
        del_gen: None,
        del_count: 0,
        soft_del_count: 0,
        field_infos_gen: None,
        doc_values_gen: None,
        field_infos_files: Default::default(),
        doc_values_files: Default::default(),
    }
}

/// A metadata blob of a repository: a plain header of this codec, the body, a right footer.
pub fn container(codec: &str, body: &[u8]) -> Vec<u8> {
    plain_file(codec, 1, body, true)
}

/// A file with a right footer added.
pub fn with_footer(mut file: Vec<u8>) -> Vec<u8> {
    file.extend([0xc0, 0x28, 0x93, 0xe8, 0, 0, 0, 0, 0, 0, 0, 0]);
    let crc = crc32fast::hash(&file[..file.len() - 4]);
    file.extend(crc.to_be_bytes());
    file
}

/// Fields of these names, numbered in this order.
pub fn field_infos(names: &[&str]) -> FieldInfos {
    let mut body = vec![names.len() as u8];
    for (number, name) in names.iter().enumerate() {
        body.push(name.len() as u8);
        body.extend(name.as_bytes());
        // Neither indexed nor with doc values, attributes or points; the generation is none.
        body.extend([number as u8, 0, 0, 0]);
        body.extend([0xff; 8]);
        body.extend([0, 0]);
    }
    FieldInfos::parse("_0.fnm", &file("Lucene60FieldInfos", 1, "", &body), &commit()).expect("fields")
}

/// A block of `Lucene50StoredFieldsFastData` with one document of so many fields, which are these bytes.
pub fn block_of_one(fields: u8, stored: &[u8]) -> (Block, Vec<u8>) {
    let vint = |mut n: usize, out: &mut Vec<u8>| {
        while n > 0x7f {
            out.push(n as u8 & 0x7f | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
    };
    let mut bytes = vec![0, 1 << 1, fields];
    vint(stored.len(), &mut bytes);
    if !stored.is_empty() {
        // All of it as literals.
        match stored.len().checked_sub(15) {
            None => bytes.push((stored.len() as u8) << 4),
            Some(more) => {
                bytes.push(15 << 4);
                bytes.extend(vec![255; more / 255]);
                bytes.push((more % 255) as u8);
            }
        }
        bytes.extend(stored);
    }
    (Block { first_doc: 0, doc_count: 1, offset: 77, length: bytes.len() as u64 }, bytes)
}
