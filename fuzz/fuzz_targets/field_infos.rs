//! `.fnm` of every format and version.
#![no_main]

use libfuzzer_sys::fuzz_target;

use fuzz::{Choices, commit, file, formats, old_commit, plain_file};
use lucene::field_infos::FieldInfos;

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices(data);
    let (codec, version) = *choices.one(formats::FIELD_INFOS);
    let (bytes, commit) = if codec < "Lucene50" {
        (plain_file(codec, version, choices.0, version > 0), old_commit())
    } else {
        (file(codec, version, "", choices.0), commit())
    };
    if let Ok(fields) = FieldInfos::parse("_0.fnm", &bytes, &commit) {
        for field in fields.iter() {
            assert_eq!(fields.by_number(field.number), Some(field));
            let _ = (fields.by_name(&field.name), commit.doc_values_file(field, "dvm"));
        }
    }
});
