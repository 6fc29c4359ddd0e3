//! Secrets, and texts that must not repeat them.
//!
//! Whatever refuses a request may quote it: a proxy dumps its headers, a cluster explains why a signature is wrong. What it
//! quotes ends in messages, logs and records of failed documents. Looking for the secret itself is not enough, because it
//! comes back JSON-escaped, percent-encoded, in hexadecimal or base64 digits, alone or within something longer, or cut off.
//! A [`Redactor`] therefore looks for each secret's digits in every alphabet, and does so again in what the text says once
//! its escapes are undone.

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
pub use secrecy::{ExposeSecret, SecretString};
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// What stands in the place of a secret.
const MASK: &str = "***";
/// Shorter secrets would be found everywhere.
const SHORTEST: usize = 4;
/// So many bytes of a longer secret are enough to take what follows for the rest of it, whole or cut off.
const PREFIX: usize = 12;
/// Escapes are undone so many times, one after the other: text in JSON in a string of JSON.
const DEPTH: usize = 2;

/// Removes secrets from texts. Does not show them in its `Debug` form. Cheap to make and to clone: what it looks for is worked
/// out with the first text.
#[derive(Clone, Debug, Default)]
pub struct Redactor(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    secrets: Vec<SecretString>,
    forms: OnceLock<Option<Forms>>,
}

/// What to look for.
struct Forms {
    /// The forms of the secrets, without regard to case.
    needles: Vec<Vec<u8>>,
    /// Finds how the needles begin.
    beginnings: AhoCorasick,
}

impl fmt::Debug for Forms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forms")
    }
}

impl Redactor {
    /// A redactor of these secrets. Those of fewer than four bytes are left alone.
    pub fn new(secrets: Vec<SecretString>) -> Redactor {
        Redactor(Arc::new(Inner { secrets, forms: OnceLock::new() }))
    }

    /// The text with `***` in the place of each secret.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let forms = self.0.forms.get_or_init(|| Forms::of(&self.0.secrets));
        let Some(forms) = forms.as_ref().filter(|_| !text.is_empty()) else { return Cow::Borrowed(text) };
        let mut masked: Vec<Range<usize>> = Vec::new();
        forms.search(&View::of(text), DEPTH, &mut masked);
        if masked.is_empty() {
            return Cow::Borrowed(text);
        }
        masked.sort_unstable_by_key(|range| range.start);
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        for range in masked {
            if range.start >= at {
                out.push_str(text.get(at..range.start).unwrap_or_default());
                out.push_str(MASK);
            }
            at = at.max(range.end);
        }
        out.push_str(text.get(at..).unwrap_or_default());
        Cow::Owned(out)
    }
}

impl Forms {
    /// Nothing if there is nothing to look for.
    fn of(secrets: &[SecretString]) -> Option<Forms> {
        let secrets = secrets.iter().map(ExposeSecret::expose_secret).filter(|s| s.len() >= SHORTEST);
        let mut needles: Vec<Vec<u8>> = secrets.flat_map(forms).collect();
        needles.iter_mut().for_each(|needle| needle.make_ascii_lowercase());
        needles.sort_unstable();
        needles.dedup();
        if needles.is_empty() {
            return None;
        }
        let beginnings = needles.iter().map(|needle| &needle[..needle.len().min(PREFIX)]);
        let beginnings = AhoCorasick::builder().ascii_case_insensitive(true).build(beginnings).ok()?;
        Some(Forms { needles, beginnings })
    }

    /// Looks for secrets in a view of the text, and in what it says when its escapes are undone.
    fn search(&self, view: &View, depth: usize, masked: &mut Vec<Range<usize>>) {
        let bytes = &view.bytes;
        for found in self.beginnings.find_overlapping_iter(bytes) {
            let needle = &self.needles[found.pattern().as_usize()];
            let same = common(needle, &bytes[found.start()..]);
            masked.push(view.origin(found.start()..found.start() + same));
        }
        // The text may have been cut within a secret.
        for needle in &self.needles {
            let longest = needle.len().min(bytes.len());
            let cut = (SHORTEST..=longest)
                .rev()
                .find(|n| bytes[bytes.len() - n..].eq_ignore_ascii_case(&needle[..*n]));
            if let Some(cut) = cut {
                masked.push(view.origin(bytes.len() - cut..bytes.len()));
            }
        }
        if depth > 0 {
            for decode in [json, percent, entities, unwrapped] {
                if let Some(decoded) = view.decoded(decode) {
                    self.search(&decoded, depth - 1, masked);
                }
            }
        }
    }
}

/// How many bytes two texts have in common at their beginning.
fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count()
}

/// How a secret may be written, escapes apart.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let bytes = secret.as_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    // Read as Latin-1, as HTTP once did.
    let latin: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let mut forms = vec![bytes.to_vec(), hex.into_bytes(), latin.into_bytes()];
    // Within something longer it may begin at each of three places in a group of base64 digits; digits that it shares with
    // its neighbours are left out.
    for before in 0..3 {
        let padded = [&[0; 2][..before], bytes].concat();
        let digits = (before * 8).div_ceil(6)..padded.len() * 8 / 6;
        for engine in [STANDARD, URL_SAFE] {
            let encoded = engine.encode(&padded);
            forms.extend(encoded.get(digits.clone()).map(|digits| digits.as_bytes().to_vec()));
        }
    }
    forms.retain(|form| form.len() >= SHORTEST);
    forms
}

/// What a text says, with the place that each byte has in the text itself.
struct View {
    bytes: Vec<u8>,
    origins: Vec<Range<usize>>,
}

/// What an escape at the beginning of a text stands for, and its length.
type Decode = fn(&[u8]) -> Option<(Vec<u8>, usize)>;

impl View {
    fn of(text: &str) -> View {
        let origins = (0..text.len()).map(|at| {
            // Characters are masked whole.
            let start = text.floor_char_boundary(at);
            start..text.ceil_char_boundary(at + 1)
        });
        View { bytes: text.as_bytes().to_vec(), origins: origins.collect() }
    }

    fn origin(&self, range: Range<usize>) -> Range<usize> {
        let of = &self.origins[range];
        of.first().map_or(0, |first| first.start)..of.last().map_or(0, |last| last.end)
    }

    /// The view without escapes, if it has any.
    fn decoded(&self, decode: Decode) -> Option<View> {
        let mut view = View { bytes: Vec::new(), origins: Vec::new() };
        let mut at = 0;
        let mut changed = false;
        while let Some(&byte) = self.bytes.get(at) {
            match decode(&self.bytes[at..]) {
                Some((bytes, length)) => {
                    let origin = self.origin(at..at + length);
                    view.origins.extend(bytes.iter().map(|_| origin.clone()));
                    view.bytes.extend(bytes);
                    at += length;
                    changed = true;
                }
                None => {
                    view.bytes.push(byte);
                    view.origins.push(self.origins[at].clone());
                    at += 1;
                }
            }
        }
        changed.then_some(view)
    }
}

fn number(digits: Option<&[u8]>, radix: u32) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits?).ok()?, radix).ok()
}

/// Escapes of JSON.
fn json(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let short = |byte: u8| Some((vec![byte], 2));
    match text {
        [b'\\', byte @ (b'"' | b'\\' | b'/' | b'\''), ..] => short(*byte),
        [b'\\', b'n', ..] => short(b'\n'),
        [b'\\', b'r', ..] => short(b'\r'),
        [b'\\', b't', ..] => short(b'\t'),
        [b'\\', b'b', ..] => short(8),
        [b'\\', b'f', ..] => short(12),
        [b'\\', b'u', ..] => {
            let unit = |at: usize| {
                let escape = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
                u16::try_from(number(Some(escape), 16)?).ok()
            };
            let units = [unit(0)?, unit(6).unwrap_or_default()];
            let pair = char::decode_utf16(units).next()?.ok()?;
            Some((pair.to_string().into_bytes(), 6 * pair.len_utf16()))
        }
        _ => None,
    }
}

/// Escapes of URLs.
fn percent(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    match text {
        [b'+', ..] => Some((vec![b' '], 1)),
        [b'%', ..] => Some((vec![u8::try_from(number(text.get(1..3), 16)?).ok()?], 3)),
        _ => None,
    }
}

/// Escapes of HTML and XML.
fn entities(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    const LONGEST: usize = 10;
    let name = text.strip_prefix(b"&")?;
    let end = name.iter().take(LONGEST).position(|byte| *byte == b';')?;
    let name = &name[..end];
    let character = match name {
        b"quot" => '"',
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"apos" => '\'',
        [b'#', b'x' | b'X', digits @ ..] => char::from_u32(number(Some(digits), 16)?)?,
        [b'#', digits @ ..] => char::from_u32(number(Some(digits), 10)?)?,
        _ => return None,
    };
    Some((character.to_string().into_bytes(), end + 2))
}

/// Line breaks and spaces between digits.
fn unwrapped(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    text.first().filter(|byte| byte.is_ascii_whitespace()).map(|_| (Vec::new(), 1))
}

/// An address as it may be shown: without user, password, query and fragment, each of which may hold a secret.
pub fn shown_address(text: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = text.split_once("://") else {
        // Without a scheme it is no address that anything can be told apart in.
        return if text.contains(['@', '?', '#']) { Cow::Borrowed("…") } else { Cow::Borrowed(text) };
    };
    let rest_end = rest.find(['?', '#']).unwrap_or(rest.len());
    // A password may have a slash in it, and then what is before the last @ is it.
    let host = rest[..rest_end].rfind('@').map_or(0, |at| at + 1);
    let hidden_user = if host == 0 { "" } else { "…@" };
    let hidden_query = if rest_end < rest.len() { "?…" } else { "" };
    if hidden_user.is_empty() && hidden_query.is_empty() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{scheme}://{hidden_user}{}{hidden_query}", &rest[host..rest_end]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02X}")).collect()
    }

    fn percent_encoded(text: &str) -> String {
        text.bytes()
            .map(|byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            })
            .collect()
    }

    fn json_escaped(text: &str) -> String {
        let escaped = serde_json::to_string(text).unwrap();
        escaped[1..escaped.len() - 1].replace('/', "\\/")
    }

    fn json_units(text: &str) -> String {
        text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
    }

    fn html(text: &str) -> String {
        text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('\'', "&#39;")
    }

    /// The ways in which a server may repeat a secret, alone or in a dump of headers.
    fn echoes(user: &str, secret: &str) -> Vec<String> {
        let pair = format!("{user}:{secret}");
        let headers =
            format!("Host: h\r\nAuthorization: Basic {}\r\nX-Token: {secret}\r\n", STANDARD.encode(&pair));
        let mut echoes = Vec::new();
        for text in [secret, &pair, &headers] {
            for encode in [json_escaped, json_units, percent_encoded, html] {
                echoes.extend([encode(text), json_escaped(&encode(text))]);
            }
            echoes.push(text.to_owned());
            echoes.push(hex(text.as_bytes()).to_lowercase());
            echoes.push(hex(text.as_bytes()));
            for encoded in [STANDARD.encode(text), URL_SAFE.encode(text)] {
                echoes.extend([json_escaped(&encoded), percent_encoded(&encoded)]);
                let lines: Vec<&str> =
                    encoded.as_bytes().chunks(76).filter_map(|l| std::str::from_utf8(l).ok()).collect();
                echoes.extend([lines.join("\r\n"), encoded]);
            }
        }
        echoes
    }

    /// A text that anybody could read a secret from, in capitals.
    fn readings(text: &str) -> Vec<Vec<u8>> {
        let mut readings = Vec::new();
        let mut views = vec![View::of(text)];
        for _ in 0..=DEPTH {
            let mut next = Vec::new();
            for view in &views {
                readings.push(view.bytes.to_ascii_uppercase());
                next.extend(
                    [json as Decode, percent, entities, unwrapped].iter().filter_map(|d| view.decoded(*d)),
                );
            }
            views = next;
        }
        readings
    }

    fn shows(text: &str, secret: &str) -> bool {
        let wanted = [
            secret.to_uppercase().into_bytes(),
            secret.to_ascii_uppercase().into_bytes(),
            hex(secret.as_bytes()).into_bytes(),
        ];
        readings(text).iter().any(|reading| {
            wanted
                .iter()
                .any(|wanted| reading.windows(wanted.len()).any(|window| window == wanted.as_slice()))
        }) || text.split(|c: char| !c.is_ascii_alphanumeric() && !"+/-_=".contains(c)).any(|word| {
            let word = word.trim_end_matches('=').replace('-', "+").replace('_', "/");
            let lenient = base64::engine::GeneralPurpose::new(
                &base64::alphabet::STANDARD,
                base64::engine::GeneralPurposeConfig::new()
                    .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
                    .with_decode_allow_trailing_bits(true),
            );
            (0..4).any(|skip| {
                let digits = word.get(skip..).unwrap_or_default();
                let digits = if digits.len() % 4 == 1 { &digits[..digits.len() - 1] } else { digits };
                let decoded = lenient.decode(digits).unwrap_or_default();
                decoded.windows(secret.len()).any(|window| window == secret.as_bytes())
            })
        })
    }

    fn redactor(user: &str, secret: &str) -> Redactor {
        let pair = format!("{user}:{secret}");
        Redactor::new(vec![STANDARD.encode(&pair).into(), pair.into(), secret.into()])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn no_form_of_a_secret_passes(user in "[a-z]{1,9}", secret in "[ -~éß😀]{6,40}", shift in 0usize..4, cut in 0usize..9) {
            let redactor = redactor(&user, &secret);
            for echo in echoes(&user, &secret) {
                let text = format!("you sent {}{echo} to me", "x".repeat(shift));
                let redacted = redactor.redact(&text);
                prop_assert!(!shows(&redacted, &secret), "{text:?}: {redacted:?}");
                prop_assert!(redacted.starts_with("you sent "), "{redacted:?}");
                // Cut off by whoever quotes it.
                let end = text.floor_char_boundary(text.len() - 6 - cut.min(echo.len() / 2));
                let redacted = redactor.redact(&text[..end]);
                prop_assert!(!shows(&redacted, &secret), "{:?}: {redacted:?}", &text[..end]);
            }
        }

        #[test]
        fn any_text_may_come(text in any::<String>(), secret in any::<String>()) {
            let _ = Redactor::new(vec![secret.into()]).redact(&text);
            let _ = shown_address(&text);
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        let redactor = redactor("admin", "hunter22");
        for text in ["", "no permissions for [indices:data/write/bulk] and User [name=admin]", "größe: 5%"]
        {
            assert!(matches!(redactor.redact(text), Cow::Borrowed(same) if same == text), "{text}");
        }
        assert_eq!(redactor.redact("Basic YWRtaW46aHVudGVyMjI= is admin:HUNTER22!"), "Basic *** is ***!");
        assert_eq!(redactor.redact("it was hunt"), "it was ***");
        assert_eq!(Redactor::new(vec!["abc".into()]).redact("abc"), "abc");
        let long = "A1".repeat(300);
        assert_eq!(
            Redactor::new(vec![long.as_str().into()]).redact(&format!("{}… and more", &long[..50])),
            "***… and more"
        );
        assert!(!format!("{redactor:?}").contains("hunter"));
    }

    #[test]
    fn addresses_are_shown_without_what_may_be_secret() {
        for (text, shown) in [
            ("https://host:9200/base", "https://host:9200/base"),
            ("https://u:pw@host/base", "https://…@host/base"),
            ("https://u:p@w/x@host/base", "https://…@host/base"),
            ("https://host/a?token=pw", "https://host/a?…"),
            ("https://u:pw@host#pw", "https://…@host?…"),
            ("u:pw@host", "…"),
            ("host:9200", "host:9200"),
            ("/a/path", "/a/path"),
        ] {
            assert_eq!(shown_address(text), shown);
        }
    }
}
