//! Texts that repeat a secret in some form: the first line is the secret, the rest is the text.
#![no_main]

use backfill::secrets::{Redactor, shown_address};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (secret, text) = text.split_once('\n').unwrap_or((text, ""));
    let _ = shown_address(text);
    let redactor = Redactor::new(vec![secret.into()]);
    // What stands in the place of a secret may be a part of one.
    if secret.len() < 4 || secret.contains('*') {
        let _ = redactor.redact(text);
        return;
    }
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    for echo in [secret, &hex, &secret.escape_default().to_string()] {
        let redacted = redactor.redact(&format!("{text} {echo} {text}")).into_owned();
        let lower = redacted.to_ascii_lowercase();
        assert!(!lower.contains(&secret.to_ascii_lowercase()) && !lower.contains(&hex), "{redacted:?}");
    }
});
