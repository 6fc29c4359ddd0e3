//! Names of indices in paths.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What may stand for itself in a name.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What may stand for itself in a pattern.
const PATTERN: &AsciiSet = &NAME.remove(b'*').remove(b',');

/// The name of one index, alias or data stream as part of a path; what is wrong with it if it cannot be one.
pub(crate) fn segment(name: &str) -> Result<String, String> {
    let special = name.is_empty() || name == "." || name == ".." || name.starts_with('_');
    if special || name.contains(['*', ',', '/', '\\', '?', '#', '<', '>', '|', '"', ' ']) {
        return Err(format!("{name:?} cannot be the name of an index; choose another name"));
    }
    Ok(utf8_percent_encode(name, NAME).to_string())
}

/// A pattern of index names as part of a path.
pub(crate) fn pattern(pattern: &str) -> String {
    utf8_percent_encode(pattern, PATTERN).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_single_indices_become_paths() {
        for (name, expected) in [
            ("logs-2024.01.01", "logs-2024.01.01"),
            (".kibana", ".kibana"),
            ("größe", "gr%C3%B6%C3%9Fe"),
            ("a%2fb", "a%252fb"),
            ("a:b+c", "a%3Ab%2Bc"),
        ] {
            assert_eq!(segment(name).as_deref(), Ok(expected));
        }
        for name in ["", ".", "..", "_all", "_bulk", "a*", "a,b", "a/b", "a?b", "a#b"] {
            assert!(segment(name).is_err(), "{name}");
        }
    }

    #[test]
    fn patterns_keep_their_wildcards() {
        assert_eq!(pattern("logs-*,-logs-1/_x"), "logs-*,-logs-1%2F_x");
    }
}
