//! Inputs for the fuzz targets to begin with: what real servers stored, in the form that a target reads.

use std::fs;
use std::path::Path;

use servers::{ExpectedDoc, fixture, fixtures_dir};

use crate::Result;

/// The corpus of the target `documents`.
const DOCUMENTS: &str = "fuzz/corpus/documents";
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

/// Writes the inputs that are not there yet.
pub(crate) fn seed() -> Result<()> {
    fs::create_dir_all(DOCUMENTS)?;
    let mut names: Vec<_> =
        fs::read_dir(fixtures_dir())?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    names.retain(|path| path.join("about.json").exists());
    names.sort();
    let mut inputs = Vec::new();
    for path in names {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let short = |document: &&ExpectedDoc| document.source_text().is_some_and(|s| s.len() <= MAX_SOURCE);
        let documents: Vec<_> = fixture(name)?.expected;
        let documents: Vec<_> = documents.iter().filter(short).take(PER_FIXTURE).collect();
        for part in documents.chunks(PER_INPUT) {
            inputs.push((name.to_owned(), part.iter().flat_map(|document| stored(document)).collect()));
        }
    }
    for source in ODD_SOURCES {
        inputs.push((
            "odd".to_owned(),
            [vec![2], field(ID, BYTES, b"\xffid"), field(SOURCE, BYTES, source)].concat(),
        ));
    }
    for (number, (name, documents)) in inputs.into_iter().enumerate() {
        let path = Path::new(DOCUMENTS).join(format!("{name}-{number}"));
        if !path.exists() {
            // What becomes of types and times, in turn.
            let choices = [number as u8 % 3, number as u8 / 3 % 2];
            fs::write(path, [&choices[..], &documents].concat())?;
        }
    }
    Ok(())
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
