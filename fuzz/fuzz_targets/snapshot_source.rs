//! Sources of each form. What comes out has no line breaks, and is JSON wherever it was converted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use snapshot::source::{Format, detect, to_json};

fuzz_target!(|data: &[u8]| {
    let mut scratch = Vec::new();
    let format = detect(data);
    if let Ok(json) = to_json(data, &mut scratch) {
        assert!(!json.contains(&b'\n') && !json.contains(&b'\r'));
        // What was JSON already is not checked, compressed or not.
        if !matches!(format, Some(Format::Json | Format::Lzf)) {
            let _: serde_json::Value = serde_json::from_slice(json).expect("conversion gives JSON");
        }
    }
});
