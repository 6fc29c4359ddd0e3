//! Names from a snapshot as parts of paths: they may contain anything.

use std::fmt::Write;

/// Longest encoded part. File systems allow 255 bytes; the rest is for what is put around it.
const MAX_PART: usize = 200;

/// `name` as one part of a path: everything but `[A-Za-z0-9_.-]` and a leading dot is percent-encoded.
/// Different names give different parts; a part that would be too long ends in a hash of its name instead.
pub(crate) fn encode_part(name: &str) -> String {
    if name.is_empty() {
        // No other name gives this: an encoded percent sign is followed by digits.
        return "%".to_owned();
    }
    let mut part = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => part.push(char::from(byte)),
            b'.' if at > 0 => part.push('.'),
            // Writing into a string cannot fail.
            _ => {
                let _ = write!(part, "%{byte:02X}");
            }
        }
    }
    if part.len() > MAX_PART {
        part.truncate(MAX_PART - 18);
        let _ = write!(part, "%~{:016x}", fnv1a(name.as_bytes()));
    }
    part
}

/// FNV-1a: stable over versions and machines, which is all that is needed here.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_could_leave_the_directory_or_hide_is_encoded() {
        let cases = [
            ("logs-2024.01.01", "logs-2024.01.01"),
            (".kibana_1", "%2Ekibana_1"),
            ("..", "%2E."),
            (".", "%2E"),
            ("a/../b", "a%2F..%2Fb"),
            ("ü%", "%C3%BC%25"),
            ("", "%"),
        ];
        for (name, part) in cases {
            assert_eq!(encode_part(name), part, "{name}");
        }
    }

    proptest! {
        #[test]
        fn parts_are_safe_short_and_different(a in any::<String>(), b in any::<String>()) {
            for part in [encode_part(&a), encode_part(&b)] {
                prop_assert!(!part.is_empty() && part.len() <= MAX_PART && !part.starts_with('.'));
                prop_assert!(part.bytes().all(|c| c.is_ascii_alphanumeric() || b"_.-%~".contains(&c)));
            }
            prop_assert_eq!(a == b, encode_part(&a) == encode_part(&b));
        }

        #[test]
        fn long_names_are_told_apart(name in "[界.]{90,120}") {
            let other = format!("{name}x");
            prop_assert!(encode_part(&name).len() <= MAX_PART);
            prop_assert_ne!(encode_part(&name), encode_part(&other));
        }
    }
}
