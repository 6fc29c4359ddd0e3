//! Documents of real servers, in the form that the target `documents` reads, and their sources and ids alone.

use std::collections::BTreeSet;

use servers::ExpectedDoc;

use super::Corpus;
use crate::Result;

/// Documents taken of each fixture, and of each input.
const PER_FIXTURE: usize = 40;
const PER_INPUT: usize = 4;
/// Sources that are longer teach a fuzzer nothing.
const MAX_SOURCE: usize = 2000;
/// Numbers of the fields in the target `documents`.
const ID: u8 = 0;
const SOURCE: u8 = 1;
const ROUTING: u8 = 2;
const UID: u8 = 3;
const PARENT: u8 = 4;
/// Choices of that target for the kind of a field.
const TEXT: u8 = 0;
const BYTES: u8 = 1;

/// What servers took for sources although it is no JSON, or is written in another form.
const ODD_SOURCES: [&[u8]; 14] = [
    b"{\"a\":1, /* c */ \"b\":2}",
    b"{\"a\":1 // c\n}",
    b"/* c */ {\"a\":1}",
    b"\xef\xbb\xbf{\"a\":1}",
    b"{ a: 1, b-c: {d:2} }",
    b"{\0\"\0a\0\"\0:\x001\0}\0",
    b"\0\0\0{\0\0\0}",
    b"{\"a\":1},\"_id\":\"EVIL\",\"_source\":{\"pwned\":1}",
    b"{\"a\":1}{\"a\":2}",
    b"{\"a\":\"\xed\xa0\x80\"}",
    b":)\n\x01\xfa\x80a\xf8\xfa\x80n\xc2\xfb\xfa\x41\xc2\xfb\xf9\xfb",
    b"\xa1\x61a\x01",
    b"---\na: [1, {b: c}]\n",
    b"ZV\x01\0\x06\0\x0a\x02abc\xa0\x02",
];

/// The inputs: documents of all fixtures.
pub(super) fn documents(corpus: &mut Corpus) -> Result<()> {
    for (name, fixture) in super::fixtures()? {
        let short = |document: &&ExpectedDoc| document.source_text().is_some_and(|s| s.len() <= MAX_SOURCE);
        let documents: Vec<_> = fixture.expected.iter().filter(short).take(PER_FIXTURE).collect();
        for (number, part) in documents.chunks(PER_INPUT).enumerate() {
            let documents = part.iter().flat_map(|document| stored(document)).collect();
            corpus.add("documents", &format!("{name}-{number}"), [choices(number), documents].concat());
        }
        let mut ids = BTreeSet::new();
        for document in documents {
            let source = document.source_text().unwrap_or_default();
            if ids.len() < PER_INPUT && ids.insert(snapshot::id::encode(&document.id)) {
                corpus.add("snapshot_id", &document.id, snapshot::id::encode(&document.id));
                corpus.add("snapshot_source", &format!("{name}-{}", document.id), source.into());
            }
        }
    }
    for (number, source) in ODD_SOURCES.into_iter().enumerate() {
        let document = [vec![2], field(ID, BYTES, b"\xffid"), field(SOURCE, BYTES, source)].concat();
        corpus.add("documents", &format!("odd-{number}"), [choices(number), document].concat());
        corpus.add("snapshot_source", &format!("odd-{number}"), source.to_vec());
    }
    Ok(())
}

/// What becomes of types and times, in turn.
fn choices(number: usize) -> Vec<u8> {
    vec![number as u8 % 3, number as u8 / 3 % 2]
}

/// The fields of a document.
fn stored(document: &ExpectedDoc) -> Vec<u8> {
    let mut fields = vec![match &document.kind {
        Some(kind) => field(UID, TEXT, format!("{kind}#{}", document.id).as_bytes()),
        None => field(ID, BYTES, &[b"\xff", document.id.as_bytes()].concat()),
    }];
    fields.extend(document.source_text().map(|source| field(SOURCE, BYTES, source.as_bytes())));
    fields.extend(document.routing.as_ref().map(|routing| field(ROUTING, TEXT, routing.as_bytes())));
    let parent = document.parent.as_ref().map(|parent| format!("parent#{parent}"));
    fields.extend(parent.map(|parent| field(PARENT, TEXT, parent.as_bytes())));
    [vec![fields.len() as u8], fields.concat()].concat()
}

fn field(number: u8, kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    [&[number, kind], &length.to_le_bytes()[..], &value[..usize::from(length)]].concat()
}
