//! Whole documents, from their stored fields to the body of a bulk request and to the lines of an export. Whatever is stored,
//! the lines are those of the documents: text in a source becomes neither another action nor another document.
#![no_main]

use backfill::encode::{Document, Encoder, Encoding};
use backfill::model::{DocumentPlan, Position, TimeFields, Types, WriteMode};
use fuzz::{Choices, block_of_one, field_infos};
use libfuzzer_sys::fuzz_target;
use lucene::stored_fields::{BlockDecoder, DataHeader};
use serde::Deserialize;
use serde_json::value::RawValue;
use snapshot::document::{DocumentReader, Interpreted, Scratch, Source};
use snapshot::source::{Check, Rules};

const FIELDS: [&str; 9] =
    ["_id", "_source", "_routing", "_uid", "_parent", "_recovery_source", "_timestamp", "_ttl", "other"];

/// A line of an export. A member that is there twice is an error, and so is another one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    _index: String,
    _id: String,
    _routing: Option<String>,
    _type: Option<String>,
    _parent: Option<String>,
    _timestamp: Option<i64>,
    _ttl: Option<i64>,
    #[serde(borrow)]
    _source: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Action {
    index: Metadata,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    _id: String,
    routing: Option<String>,
}

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices(data);
    let plan = plan(&mut choices);
    let mut blocks = Vec::new();
    while !choices.0.is_empty() && blocks.len() < 8 {
        let fields = choices.byte() % 6;
        let mut stored = Vec::new();
        for _ in 0..fields {
            let number = choices.byte() % FIELDS.len() as u8;
            // Text and bytes, which most are, and numbers.
            let kind = *choices.one(&[0, 1, 1, 0, 2, 4]);
            stored.push(number << 3 | kind);
            match kind {
                0 | 1 => {
                    let bytes = choices.part();
                    stored.extend([bytes.len() as u8 & 0x7f | 0x80, (bytes.len() >> 7) as u8 & 0x7f | 0x80]);
                    stored.push((bytes.len() >> 14) as u8);
                    stored.extend(bytes);
                }
                // A vInt, or a long, in one byte.
                _ => stored.push(choices.byte() & 0x1f),
            }
        }
        blocks.push(block_of_one(fields, &stored));
    }
    for (encoding, check) in [(Encoding::Bulk, Check::Framing), (Encoding::Export, Check::Complete)] {
        encode(encoding, check, &plan, &blocks);
    }
});

fn plan(choices: &mut Choices<'_>) -> DocumentPlan {
    let types = choices.one(&[Types::Dropped, Types::Kept, Types::Field("t\"".to_owned())]).clone();
    let field = |name: &str| name.parse().ok();
    let time_fields = match choices.byte() & 1 {
        0 => TimeFields::default(),
        _ => TimeFields { timestamp: field("at"), ttl: field("end") },
    };
    DocumentPlan { types, time_fields, ..DocumentPlan::default() }
}

fn encode(
    encoding: Encoding,
    check: Check,
    plan: &DocumentPlan,
    blocks: &[(lucene::stored_fields::Block, Vec<u8>)],
) {
    let header = fuzz::header("Lucene50StoredFieldsFastData", 1, "");
    // The size of slices, and the version of packed numbers.
    let header = [header, vec![0x80, 0x80, 1, 2]].concat();
    let header = DataHeader::parse("_0.fdt", &header, None).expect("a header");
    let mut decoder = BlockDecoder::with_chunk_size("_0.fdt", &header, None);
    let reader = DocumentReader::new(&field_infos(&FIELDS)).with_rules(Rules { check, limit: 1 << 20 });
    let mut encoder = Encoder::new(encoding, WriteMode::Index, "index");
    let mut expected = Vec::new();
    for (block, bytes) in blocks {
        let documents = decoder.decode(block, bytes).expect("a block");
        for document in documents.iter() {
            let mut scratch = Scratch::default();
            let Ok(Interpreted::Root(root)) = reader.read(&document, &mut scratch) else { continue };
            let Source::Json(source) = root.source else { continue };
            let sent = plan.sent(&root, source);
            let document = Document {
                index: None,
                id: root.id,
                routing: root.routing,
                doc_type: root.doc_type.filter(|_| plan.types == Types::Kept),
                parent: root.parent,
                timestamp: root.timestamp,
                expires: root.expires,
                source: &sent,
            };
            encoder.push(Position::default(), &document);
            expected.push((root.id.to_owned(), root.routing.map(str::to_owned)));
        }
    }
    let body = encoder.take().body;
    let text = body.strip_suffix(b"\n").unwrap_or(&body);
    let mut lines = text.split(|b| *b == b'\n').filter(|_| !expected.is_empty());
    for (id, routing) in &expected {
        let line = lines.next().expect("a line");
        match encoding {
            Encoding::Bulk => {
                let Action { index } = serde_json::from_slice(line).expect("an action");
                assert_eq!(index._id, *id);
                assert!(routing.is_none() || index.routing == *routing);
                let source = lines.next().expect("a source").trim_ascii();
                assert!(source.starts_with(b"{") && source.ends_with(b"}"));
            }
            Encoding::Export => {
                let line: Line<'_> = serde_json::from_slice(line).expect("a document");
                assert_eq!((line._index.as_str(), &line._id, &line._routing), ("index", id, routing));
                assert!(line._source.get().starts_with('{'));
            }
        }
    }
    assert!(lines.next().is_none(), "more lines than documents");
}
