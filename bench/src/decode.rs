//! Decoding alone, in memory and on one thread: blocks into documents with their ids and sources, against the bare
//! decompressor on the same blocks, and against copying as many bytes.

use crate::pieces::{Codec, Piece, pieces};
use crate::pipeline::runtime;
use crate::{Result, blobs};
use backfill::model::Selection;
use backfill::source::{Repository, Segment, ShardSource};
use bytes::Bytes;
use cpu_time::ThreadTime;
use lucene::stored_fields::{Block, BlockDecoder, DataHeader};
use snapshot::document::{DocumentReader, Interpreted, Scratch, Source};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

/// Bytes of stored fields that are enough.
const ENOUGH: u64 = 200 << 20;

/// Bytes that are copied over and over: more than caches hold.
const COPIED: usize = 128 << 20;

/// Rates in MB of decompressed bytes a second of CPU, of each run.
pub(crate) struct Rates {
    pub(crate) decode: Vec<f64>,
    pub(crate) bare: Vec<f64>,
    pub(crate) copy: Vec<f64>,
    /// Bytes that the decompressor yields.
    pub(crate) plain: u64,
    /// Bytes that it is given.
    pub(crate) stored: u64,
    /// Bytes of `_source` in what it yields.
    pub(crate) source: u64,
}

/// Measures one index of a repository in a directory.
pub(crate) fn measure(repo: &Path, index: &str, runs: usize) -> Result<Rates> {
    let segments = runtime()?.block_on(load(repo, index))?;
    let codec = match segments.first().map(|s| s.header.format.codec) {
        Some(name) if name.contains("Zstd") => Codec::Zstd,
        Some(name) if name.ends_with("HighData") => Codec::Deflate,
        Some(_) => Codec::Lz4,
        None => return Err("an index without segments".into()),
    };
    let blocks = segments
        .iter()
        .map(|segment| segment.pieces(codec))
        .collect::<Result<Vec<Vec<(Vec<Piece>, usize)>>>>()?;
    let source = segments.iter().map(Loaded::decode).sum::<Result<u64>>()?;
    let plain: usize = blocks.iter().flatten().map(|(_, length)| length).sum();
    let largest = blocks.iter().flatten().map(|(_, length)| *length).max().unwrap_or(0);
    let mut out = vec![0; largest];
    let (mut to, from) = (vec![0; COPIED], vec![1u8; COPIED]);
    let mut times: [Vec<f64>; 3] = Default::default();
    for run in 0..runs {
        // Who comes first changes: what was read last lies in the caches.
        for what in (0..3).map(|n| (n + run) % 3) {
            let start = ThreadTime::now();
            match what {
                0 => segments.iter().try_for_each(|segment| segment.decode().map(drop))?,
                1 => {
                    let mut bare = Bare::new(codec)?;
                    for (segment, blocks) in segments.iter().zip(&blocks) {
                        for ((_, bytes), (pieces, _)) in segment.blocks.iter().zip(blocks) {
                            pieces.iter().try_for_each(|piece| bare.decompress(bytes, piece, &mut out))?;
                            black_box(&out);
                        }
                    }
                }
                _ => {
                    let mut left = plain;
                    while left > 0 {
                        let length = left.min(COPIED);
                        to[..length].copy_from_slice(&from[..length]);
                        black_box(&to);
                        left -= length;
                    }
                }
            }
            times[what].push(start.elapsed().as_secs_f64());
        }
    }
    let [decode, bare, copy] =
        times.map(|times| times.into_iter().map(|time| plain as f64 / 1e6 / time).collect());
    let stored = segments.iter().flat_map(|s| &s.blocks).map(|(block, _)| block.length).sum();
    Ok(Rates { decode, bare, copy, plain: plain as u64, stored, source })
}

/// The blocks of a segment, in memory.
struct Loaded {
    header: DataHeader,
    chunk_size: Option<u32>,
    documents: DocumentReader,
    blocks: Vec<(Block, Bytes)>,
}

impl Loaded {
    /// Decodes all blocks and looks at all documents, as the worker does: bytes of their sources.
    fn decode(&self) -> Result<u64> {
        let mut decoder = BlockDecoder::with_chunk_size("data", &self.header, self.chunk_size);
        let (mut scratch, mut all) = (Scratch::default(), 0);
        for (block, bytes) in &self.blocks {
            let (mut ids, mut sources, mut roots) = (0, 0, 0);
            for document in decoder.decode(block, bytes)?.iter() {
                if let Interpreted::Root(root) = self.documents.read(&document, &mut scratch)?
                    && let Source::Json(source) = root.source
                {
                    (ids, sources, roots) = (ids + root.id.len(), sources + source.len(), roots + 1);
                }
            }
            if roots != block.doc_count {
                return Err(format!("{roots} documents in a block of {}", block.doc_count).into());
            }
            black_box(ids);
            all += sources as u64;
        }
        Ok(all)
    }

    /// The compressed pieces of each block, and the length of what they yield.
    fn pieces(&self, codec: Codec) -> Result<Vec<(Vec<Piece>, usize)>> {
        let interleaved = !self.header.format.codec.starts_with("Lucene87");
        let mut decoder = BlockDecoder::with_chunk_size("data", &self.header, self.chunk_size);
        let mut all = Vec::new();
        for (block, bytes) in &self.blocks {
            let length = decoder.decode(block, bytes)?.size();
            let chunk_size = self.chunk_size.map_or(usize::MAX, |size| size as usize);
            all.push((pieces(bytes, codec, interleaved, block.doc_count, chunk_size, length)?, length));
        }
        Ok(all)
    }
}

async fn load(repo: &Path, index: &str) -> Result<Vec<Loaded>> {
    let location = repo.display().to_string();
    let repository = Repository::open(blobs::open(&location, Arc::default()).await?).await?;
    let opened = repository.snapshot("latest", false).await?;
    let selection = Selection { patterns: index.to_owned(), include_hidden: false };
    let (indices, _) = repository.indices(&opened, &selection).await?;
    let dir = indices.first().ok_or("no such index")?.shard_dir(0).to_owned();
    let shard = Arc::new(ShardSource::open(repository.blobs.clone(), &dir, &opened.info.uuid).await?);
    let (mut loaded, mut total) = (Vec::new(), 0);
    for commit in &shard.commit.segments {
        let segment = Segment::open(shard.clone(), commit).await?;
        let (header, index) = (segment.data_header().await?, segment.block_index().await?);
        let data = segment.read_data(0..segment.data_len()?).await?;
        let mut blocks = Vec::new();
        for number in 0..index.len() {
            let block = index.block(number)?;
            let bytes = data.slice(block.offset as usize..(block.offset + block.length) as usize);
            total += block.length;
            blocks.push((block, bytes));
            if total >= ENOUGH {
                break;
            }
        }
        let documents = DocumentReader::new(&segment.fields);
        loaded.push(Loaded { header, chunk_size: index.chunk_size(), documents, blocks });
        if total >= ENOUGH {
            break;
        }
    }
    Ok(loaded)
}

/// A decompressor and nothing else.
enum Bare {
    Lz4,
    /// And the dictionary as a stored block, with the piece after it.
    Deflate(libdeflater::Decompressor, Vec<u8>),
    Zstd(zstd::bulk::Decompressor<'static>),
}

impl Bare {
    fn new(codec: Codec) -> Result<Bare> {
        Ok(match codec {
            Codec::Lz4 => Bare::Lz4,
            Codec::Deflate => Bare::Deflate(libdeflater::Decompressor::new(), Vec::new()),
            Codec::Zstd => Bare::Zstd(zstd::bulk::Decompressor::new()?),
        })
    }

    fn decompress(&mut self, block: &[u8], piece: &Piece, out: &mut [u8]) -> Result<()> {
        let compressed = &block[piece.compressed.clone()];
        let (before, rest) = out.split_at_mut(piece.plain.start);
        let (room, dictionary) = (&mut rest[..piece.plain.len()], &before[piece.dictionary.clone()]);
        match self {
            Bare::Lz4 => {
                let written = lz4block::decompress(compressed, room, dictionary)?;
                check(written as u64, room.len())?;
            }
            Bare::Deflate(inflater, stream) if piece.dictionary.is_empty() => {
                check(inflater.deflate_decompress(compressed, room)? as u64, room.len())?;
                let length = u16::try_from(room.len()).unwrap_or(0);
                *stream = [&[0], &length.to_le_bytes()[..], &(!length).to_le_bytes(), room].concat();
            }
            Bare::Deflate(inflater, stream) => {
                // What was written before is lost, which is less work than to keep it.
                let room = &mut out[piece.plain.start - piece.dictionary.len()..piece.plain.end];
                stream.truncate(5 + piece.dictionary.len());
                stream.extend_from_slice(compressed);
                check(inflater.deflate_decompress(stream, room)? as u64, room.len())?;
            }
            Bare::Zstd(decompressor) => {
                check(decompressor.decompress_to_buffer(compressed, room)? as u64, room.len())?;
            }
        }
        Ok(())
    }
}

/// Less work than all of it would be no limit.
fn check(written: u64, room: usize) -> Result<()> {
    if written == room as u64 { Ok(()) } else { Err(format!("{written} bytes instead of {room}").into()) }
}
