//! `.dvm` of every format and version with fields of every kind, and the set of documents that it leads to.
#![no_main]

use libfuzzer_sys::fuzz_target;

use fuzz::{Choices, ID, commit, file, formats};
use lucene::doc_values::{DocsWithField, docs_with_field};
use lucene::field_infos::FieldInfos;

/// Fields of the segment, at most.
const MAX_FIELDS: usize = 100;

/// Fields with these kinds of doc values: three bits for the kind, one each for a skip index and for compressed binary values.
fn fields(kinds: &[u8]) -> FieldInfos {
    let modes = [b"\x0aBEST_SPEED".as_slice(), b"\x10BEST_COMPRESSION"];
    let mut body = vec![kinds.len() as u8];
    for (number, kind) in kinds.iter().enumerate() {
        body.extend([1, b'a', number as u8, 0, 0, (kind & 7) % 6, kind >> 3 & 1]);
        body.extend([0xff; 8]);
        body.extend(b"\x01\x1cLucene80DocValuesFormat.mode");
        body.extend(modes[usize::from(kind >> 4 & 1)]);
        body.extend([0, 0, 0, 0]);
    }
    FieldInfos::parse("_0.fnm", &file("Lucene94FieldInfos", 2, "", &body), &commit()).expect("fields")
}

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices(data);
    let (codec, version) = *choices.one(formats::DOC_VALUES);
    let (field, max_doc) = (choices.byte().into(), choices.u32() % 1_000_000);
    let kinds = choices.part();
    let fields = fields(&kinds[..kinds.len().min(MAX_FIELDS)]);
    let set = choices.part();
    let meta = file(codec, version, "Lucene90_0", choices.0);
    let Ok(docs) = docs_with_field("_0.dvm", &meta, Some(&ID), "Lucene90_0", &fields, field) else {
        return;
    };
    let docs = match docs {
        DocsWithField::Sparse(mut sparse) => {
            sparse.length = set.len() as u64;
            DocsWithField::Sparse(sparse)
        }
        other => other,
    };
    if let Ok(bits) = docs.decode("_0.dvd", set, max_doc) {
        assert!(bits.count() <= max_doc);
    }
});
