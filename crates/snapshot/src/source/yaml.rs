//! YAML to JSON text, in the way of the servers' own parser.
//!
//! That is Jackson's on top of SnakeYAML, whose habits differ from the standard's: `yes` and `off` are booleans,
//! `010` is ten, `0x1F` is text, an alias is the text of its name, and names are never anything but text. Numbers are
//! exact: a float is written as the servers write it where that is the same number, else with the digits that it has.

use std::borrow::Cow;

use base64::Engine as _;
use granit_parser::{Event, Options, Parser, ScalarStyle, Tag};

use super::{Format, SourceError};
use crate::json::{MAX_DEPTH, Place, Refused, Writer};

fn error(offset: u64, detail: impl Into<Cow<'static, str>>) -> SourceError {
    SourceError { format: Format::Yaml, offset, detail: detail.into() }
}

/// Appends the JSON of one YAML document to `out`, which may grow to `limit` bytes.
pub(crate) fn to_json(bytes: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), SourceError> {
    let text =
        std::str::from_utf8(bytes).map_err(|e| error(e.valid_up_to() as u64, "a text that is not UTF-8"))?;
    let mut writer = Writer::new(out, limit);
    for parsed in Parser::new_from_str_with_options(text, options()) {
        let (event, span) =
            parsed.map_err(|e| error(e.marker().byte_offset().unwrap_or_default() as u64, e.to_string()))?;
        let at = span.byte_range().map_or(0, |r| r.start as u64);
        let refused = |r: Refused| error(at, r.text());
        let is_name = writer.place() == Place::Name;
        match event {
            Event::DocumentStart(..) if writer.is_done() => {
                return Err(error(at, "more than one document"));
            }
            Event::Scalar(text, ..) if is_name => writer.name(&text).map_err(refused)?,
            Event::MappingEnd | Event::SequenceEnd => writer.end().map_err(refused)?,
            Event::Scalar(text, style, _, tag) => {
                scalar(&mut writer, &text, style, tag.as_deref(), at)?.map_err(refused)?;
            }
            Event::MappingStart(..) | Event::SequenceStart(..) | Event::Alias(_) if is_name => {
                return Err(error(at, "a name that is not text"));
            }
            Event::MappingStart(..) => writer.begin_object().map_err(refused)?,
            Event::SequenceStart(..) => writer.begin_array().map_err(refused)?,
            Event::Alias(_) => {
                let name = span.slice(text).and_then(|t| t.strip_prefix('*'));
                let name = name.ok_or_else(|| error(at, "an alias without a name"))?;
                writer.string(name).map_err(refused)?;
            }
            Event::StreamStart | Event::StreamEnd | Event::DocumentStart(..) | Event::DocumentEnd => {}
            _ => return Err(error(at, "something that no document holds")),
        }
    }
    if writer.is_done() { Ok(()) } else { Err(error(bytes.len() as u64, "no value")) }
}

fn options() -> Options {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    options.block_scalar_eof_without_line_feed = true;
    options
}

/// What a scalar is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    True,
    False,
    Integer,
    Float,
    Text,
    /// Infinity, what is no number, and numbers to the base 60: what the servers fail on.
    Impossible,
}

fn scalar(
    writer: &mut Writer<'_>,
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    at: u64,
) -> Result<Result<(), Refused>, SourceError> {
    let plain = || if style == ScalarStyle::Plain { resolve(text) } else { Kind::Text };
    let kind = match tag.map(|tag| (tag.core_suffix(), tag)) {
        None => plain(),
        Some((Some("null"), _)) => Kind::Null,
        Some((Some("str"), _)) => Kind::Text,
        Some((Some("bool"), _)) => match resolve(text) {
            kind @ (Kind::True | Kind::False) => kind,
            _ => Kind::Text,
        },
        Some((Some("int"), _)) if text.is_empty() => return Err(error(at, "an integer without digits")),
        Some((Some("int"), _)) => match resolve(text) {
            Kind::Integer => Kind::Integer,
            _ => Kind::Text,
        },
        Some((Some("float"), _)) => match resolve(text) {
            Kind::Integer | Kind::Float => Kind::Float,
            _ => Kind::Impossible,
        },
        Some((_, tag)) if is_binary(tag) => return binary(writer, text, at),
        Some((_, tag)) if is_nothing(tag) => plain(),
        Some(_) => Kind::Text,
    };
    Ok(match kind {
        Kind::Null => writer.literal("null"),
        Kind::True => writer.literal("true"),
        Kind::False => writer.literal("false"),
        Kind::Text => writer.string(text),
        Kind::Integer => writer.literal(&integer(text)),
        Kind::Float => writer.literal(&float(text).ok_or_else(|| error(at, "a number without digits"))?),
        Kind::Impossible => return Err(error(at, "a number that JSON cannot hold")),
    })
}

fn is_binary(tag: &Tag) -> bool {
    tag.suffix_in_namespace("tag:yaml.org,2002:").as_deref() == Some("binary")
}

/// A lone `!`.
fn is_nothing(tag: &Tag) -> bool {
    let (handle, suffix) = tag.parts();
    matches!((handle, suffix), ("!", "") | ("", "!"))
}

fn binary(writer: &mut Writer<'_>, text: &str, at: u64) -> Result<Result<(), Refused>, SourceError> {
    let compact: String = text.split_ascii_whitespace().collect();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(compact)
        .map_err(|_| error(at, "binary data that is not Base64"))?;
    Ok(writer.binary(&bytes))
}

fn resolve(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Kind::True,
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Kind::False,
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Kind::Impossible;
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) {
        return Kind::Text;
    }
    if is_integer(unsigned) {
        return Kind::Integer;
    }
    if is_float(unsigned) {
        return Kind::Float;
    }
    if is_sexagesimal_float(unsigned) { Kind::Impossible } else { Kind::Text }
}

fn digits_or_underscores(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || b == b'_')
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// `0`, a number that does not begin with 0, or what could be octal.
fn is_integer(text: &str) -> bool {
    match text.as_bytes() {
        [b'0'] => true,
        [b'0', rest @ ..] => rest.iter().all(|b| matches!(b, b'0'..=b'7' | b'_')),
        [b'1'..=b'9', ..] => digits_or_underscores(text),
        _ => false,
    }
}

fn is_float(text: &str) -> bool {
    let mantissa = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            if !digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)) {
                return false;
            }
            mantissa
        }
        None => text,
    };
    match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits_or_underscores(whole) && digits_or_underscores(fraction),
        None => !mantissa.is_empty() && digits_or_underscores(mantissa),
    }
}

/// Such as `1:30.5`.
fn is_sexagesimal_float(text: &str) -> bool {
    let Some((whole, fraction)) = text.split_once('.') else { return false };
    let mut parts = whole.split(':');
    let first = parts.next().unwrap_or_default();
    let mut more = false;
    let sixtieths = parts.all(|part| {
        more = true;
        digits(part) && (part.len() == 1 || (part.len() == 2 && part.as_bytes()[0] <= b'5'))
    });
    more && sixtieths
        && first.starts_with(|c: char| c.is_ascii_digit())
        && digits_or_underscores(first)
        && digits_or_underscores(fraction)
}

/// The sign that JSON writes, and the rest without underscores.
fn cleaned(text: &str) -> (&'static str, String) {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    (sign, rest.replace('_', ""))
}

fn without_leading_zeros(digits: &str) -> &str {
    match digits.trim_start_matches('0') {
        "" => "0",
        rest => rest,
    }
}

fn integer(text: &str) -> String {
    let (sign, digits) = cleaned(text);
    match without_leading_zeros(&digits) {
        "0" => "0".to_owned(),
        rest => format!("{sign}{rest}"),
    }
}

/// The number as JSON writes it; `None` when it has no digits.
fn float(text: &str) -> Option<String> {
    let exact = float_with_its_digits(text)?;
    let shortest = exact.parse::<f64>().ok().and_then(|value| serde_json::to_string(&value).ok());
    Some(match shortest {
        Some(shortest) if value_of(&shortest) == value_of(&exact) && !value_of(&exact).1.is_empty() => {
            shortest
        }
        _ => exact,
    })
}

/// Sign, digits without zeros at either end, and the power of ten of the last: equal for texts of the same number.
fn value_of(text: &str) -> (bool, String, i64) {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i64 = exponent.parse().unwrap_or(i64::MAX);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: String = whole.chars().chain(fraction.chars()).filter(char::is_ascii_digit).collect();
    let significant = digits.trim_end_matches('0');
    let zeros = (digits.len() - significant.len()) as i64;
    let power = exponent.saturating_sub(fraction.len() as i64).saturating_add(zeros);
    (text.starts_with('-'), significant.trim_start_matches('0').to_owned(), power)
}

fn float_with_its_digits(text: &str) -> Option<String> {
    let (sign, rest) = cleaned(text);
    let (mantissa, exponent) = match rest.find(['e', 'E']) {
        Some(at) => rest.split_at(at),
        None => (rest.as_str(), ""),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = without_leading_zeros(whole);
    Some(match (fraction, exponent, mantissa.contains('.')) {
        ("", "", _) => format!("{sign}{whole}.0"),
        ("", _, false) => format!("{sign}{whole}{exponent}"),
        ("", _, true) => format!("{sign}{whole}.0{exponent}"),
        _ => format!("{sign}{whole}.{fraction}{exponent}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Result<String, SourceError> {
        let mut out = Vec::new();
        to_json(text.as_bytes(), &mut out, 1 << 20)?;
        Ok(String::from_utf8(out).unwrap())
    }

    /// What Elasticsearch 7.10 answered for `k: <text>`; numbers differ in their notation only.
    #[test]
    fn scalars_are_what_servers_take_them_for() {
        let cases = [
            ("010", "10"),
            ("0x1F", "\"0x1F\""),
            ("1.0", "1.0"),
            (".5", "0.5"),
            ("1e3", "1000.0"),
            ("yes", "true"),
            ("TRUE", "true"),
            ("off", "false"),
            ("y", "\"y\""),
            ("tRue", "\"tRue\""),
            ("~", "null"),
            ("NULL", "null"),
            ("nULL", "\"nULL\""),
            ("", "null"),
            ("''", "\"\""),
            ("12345678901234567890123", "12345678901234567890123"),
            ("!!binary aGVsbG8=", "\"aGVsbG8=\""),
            ("!!str 123", "\"123\""),
            ("!!int \"12\"", "12"),
            ("!!int abc", "\"abc\""),
            ("!!int 0x10", "\"0x10\""),
            ("!!float 1", "1.0"),
            ("!!float \"1.5\"", "1.5"),
            ("!!bool \"true\"", "true"),
            ("!!bool", "\"\""),
            ("!!null 5", "null"),
            ("2020-01-01", "\"2020-01-01\""),
            ("!!timestamp 2001-01-01", "\"2001-01-01\""),
            ("0o17", "\"0o17\""),
            ("+5", "5"),
            ("-7", "-7"),
            ("1.", "1.0"),
            ("-.5", "-0.5"),
            ("+.5", "0.5"),
            ("1:30", "\"1:30\""),
            ("!custom foo", "\"foo\""),
            ("0b101", "\"0b101\""),
            ("1.5e+3", "1500.0"),
            ("-0", "0"),
            ("-0.0", "-0.0"),
            ("007", "7"),
            ("09", "9.0"),
            ("1_0.5", "10.5"),
            ("1.10", "1.1"),
            ("1.e3", "1000.0"),
            (".5.", "\".5.\""),
            ("1.2.3", "\"1.2.3\""),
            ("+", "\"+\""),
            ("_1", "\"_1\""),
            ("-_1", "-1.0"),
            ("1e3_0", "\"1e3_0\""),
            ("1_2e3", "12000.0"),
            ("01.5", "1.5"),
            (".e5", "\".e5\""),
            (".5e5", "50000.0"),
            ("0.12345678901234567890123", "0.12345678901234567890123"),
            ("1e400", "1e400"),
            ("0e5", "0e5"),
            ("1e99999999999999999999", "1e99999999999999999999"),
            ("1e-7", "1e-7"),
            ("5_000000000", "5000000000"),
            ("!", "null"),
            ("! 12", "12"),
            ("1.5e", "\"1.5e\""),
            ("infinity", "\"infinity\""),
            ("<<", "\"<<\""),
            ("!<tag:yaml.org,2002:int> 5", "5"),
            ("{a: 1, b}", "{\"a\":1,\"b\":null}"),
            ("!foo {a: 1}", "{\"a\":1}"),
        ];
        for (text, expected) in cases {
            assert_eq!(json(&format!("---\nk: {text}\n")), Ok(format!("{{\"k\":{expected}}}")), "{text}");
        }
        for text in [
            ".inf",
            "-.inf",
            ".nan",
            "!!float abc",
            "!!int",
            "!!float .inf",
            "-_",
            "1:30.5",
            "!!binary a",
            "[1, ,2]",
        ] {
            assert!(json(&format!("---\nk: {text}\n")).is_err(), "{text}");
        }
    }

    #[test]
    fn documents_are_what_servers_take_them_for() {
        let cases = [
            ("---\na: &x foo\nb: *x\n", r#"{"a":"foo","b":"x"}"#),
            ("---\na: &x {q: 1}\nb: *x\nc: {<<: *x}\n", r#"{"a":{"q":1},"b":"x","c":{"<<":"x"}}"#),
            ("---\n1: a\ntrue: b\n~: c\n", r#"{"1":"a","true":"b","~":"c"}"#),
            ("---\na: |\n  x\n  y\nb: >\n  x\n  y\n", r#"{"a":"x\ny\n","b":"x y\n"}"#),
            ("---\na: |\n  x", r#"{"a":"x"}"#),
            ("---\n# c\na: 1 # d", r#"{"a":1}"#),
            ("---\na: \"\\u00e9\\x41\\n\"\n", r#"{"a":"éA\n"}"#),
            ("---\na:\n  - 1\n  -\n  - [ ]\n", r#"{"a":[1,null,[]]}"#),
            ("---\n'a': \"b\"\n? k\n: v\n", r#"{"a":"b","k":"v"}"#),
            ("---\n? a\n? b\n", r#"{"a":null,"b":null}"#),
            ("---\na: b\n...\n", r#"{"a":"b"}"#),
            ("---\n&a k: &b v\n", r#"{"k":"v"}"#),
            ("---\na: 'it''s'\nb: \"x\n  y\"\n", r#"{"a":"it's","b":"x y"}"#),
            (
                "---\nk: \"v\"\nl:\n- 1\n- \"two\"\nm:\n  a: true\n",
                r#"{"k":"v","l":[1,"two"],"m":{"a":true}}"#,
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(json(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_document_is_an_error() {
        let deep = format!("---\n{}", "[".repeat(100_000));
        let cases = [
            "---\na: 1\n---\nb: 2\n",
            "---\n? [a]\n: 1\n",
            "---\na: *x\n",
            "---\na: [\n",
            "---\n\"",
            "---\na: b: c",
            "",
            &deep,
        ];
        for text in cases {
            assert!(json(text).is_err(), "{text:.20}");
        }
        assert!(to_json(b"---\na: \xff", &mut Vec::new(), 100).is_err());
    }
}
