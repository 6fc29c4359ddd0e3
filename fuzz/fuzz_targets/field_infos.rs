//! `.fnm` of every format and version.
#![no_main]

use libfuzzer_sys::fuzz_target;

use fuzz::{Choices, commit, file};
use lucene::field_infos::FieldInfos;

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices(data);
    let (codec, version) = *choices.one(&[
        ("Lucene94FieldInfos", 2),
        ("Lucene94FieldInfos", 1),
        ("Lucene94FieldInfos", 0),
        ("Lucene90FieldInfos", 0),
        ("Lucene60FieldInfos", 2),
        ("Lucene60FieldInfos", 1),
        ("Lucene60FieldInfos", 0),
    ]);
    let commit = commit();
    if let Ok(fields) = FieldInfos::parse("_0.fnm", &file(codec, version, "", choices.0), &commit) {
        for field in fields.iter() {
            assert_eq!(fields.by_number(field.number), Some(field));
            let _ = (fields.by_name(&field.name), commit.doc_values_file(field, "dvm"));
        }
    }
});
