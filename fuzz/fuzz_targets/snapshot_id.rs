//! Stored ids: both ways of decoding agree, and what is encoded again decodes to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use snapshot::id::{decode, decode_into, encode};

fuzz_target!(|data: &[u8]| {
    let mut out = String::new();
    let into = decode_into(data, &mut out);
    match decode(data) {
        Ok(id) => {
            assert!(into.is_ok() && out == id);
            assert_eq!(decode(&encode(&id)).expect("an encoded id"), id);
        }
        Err(_) => assert!(into.is_err()),
    }
});
