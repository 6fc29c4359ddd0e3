//! `.dvm` of every format and version with fields of every kind, and the set of documents that it leads to.
#![no_main]

use libfuzzer_sys::fuzz_target;

use fuzz::{Choices, ID, commit, file, formats};
use lucene::doc_values::{DocsWithField, docs_with_field};
use lucene::field_infos::FieldInfos;
use std::sync::LazyLock;

/// Ten fields: two of each kind, of which one has a skip index and compressed binary values.
static FIELDS: LazyLock<FieldInfos> = LazyLock::new(|| {
    let mode = [b"\x1cLucene80DocValuesFormat.mode".as_slice(), b"\x10BEST_COMPRESSION"].concat();
    let mut body = vec![10];
    for number in 0..10 {
        body.extend([1, b'a' + number, number, 0, 0, 1 + number / 2, number % 2]);
        body.extend([0xff; 8]);
        body.push(1);
        body.extend(&mode[..]);
        body.extend([0, 0, 0, 0]);
    }
    FieldInfos::parse("_0.fnm", &file("Lucene94FieldInfos", 2, "", &body), &commit()).expect("fields")
});

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices(data);
    let (codec, version) = *choices.one(formats::DOC_VALUES);
    let (field, max_doc) = ((choices.byte() % 10).into(), choices.u32() % 1_000_000);
    let set = choices.part();
    let meta = file(codec, version, "Lucene90_0", choices.0);
    let Ok(docs) = docs_with_field("_0.dvm", &meta, Some(&ID), "Lucene90_0", &FIELDS, field) else {
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
