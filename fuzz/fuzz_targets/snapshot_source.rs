//! Sources of each form. What comes out has no line breaks, and is JSON wherever it was converted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use snapshot::source::{Format, detect, to_json};

fuzz_target!(|data: &[u8]| {
    let mut scratch = Vec::new();
    let format = detect(data);
    if let Ok(json) = to_json(data, &mut scratch) {
        assert!(!json.contains(&b'\n') && !json.contains(&b'\r'));
        // What was JSON already is not checked, compressed or not.
        if !matches!(format, Some(Format::Json | Format::Lzf)) {
            // As text: what is nested as deep as servers allow is too deep for the values of this library.
            let _: &RawValue = serde_json::from_slice(json).expect("conversion gives JSON");
        }
    }
});
