//! Sources of each form. What comes out has no line breaks, and is a JSON object wherever it was converted or checked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use snapshot::source::{Check, Format, Rules, detect, to_json};

fuzz_target!(|data: &[u8]| {
    for check in [Check::Framing, Check::Complete] {
        let mut scratch = Vec::new();
        let rules = Rules { check, limit: 1 << 20 };
        let Ok(json) = to_json(data, &mut scratch, &rules) else { continue };
        assert!(!json.contains(&b'\n') && !json.contains(&b'\r'));
        assert!(json.trim_ascii_start().starts_with(b"{") && json.trim_ascii_end().ends_with(b"}"));
        let unchecked = check == Check::Framing && matches!(detect(data), Format::Json | Format::Lzf);
        if !unchecked {
            // As text: what is nested as deep as servers allow is too deep for the values of this library.
            let _: &RawValue = serde_json::from_slice(json).expect("it is JSON");
        }
    }
});
