//! Messages of the queue: what is understood is written again as a message that means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The crate around it has the SDKs of AWS, which take long to build with instrumentation.
#[allow(dead_code)]
#[path = "../../crates/aws/src/message.rs"]
mod message;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok((run, chunk)) = message::parse(text) else { return };
    assert!(!run.0.is_empty() && !run.0.contains('#'));
    assert_eq!(message::parse(&message::encode(&run, &chunk)), Ok((run, chunk)));
});
