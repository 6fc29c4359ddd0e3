//! Metadata of the repositories among the fixtures.

use std::fs;
use std::io::Read;

use flate2::read::DeflateDecoder;

use super::lucene::{body, choice};
use super::{Corpus, files_below, fixtures, formats};
use crate::Result;

/// What a compressed body begins with.
const DEFLATED: &[u8] = b"DFL\0";
/// Patterns in the forms that there are; the names below them are those of a fixture.
const PATTERNS: [&str; 6] = ["*", "a*,-*b", "logs-*,-.*,exact", "-*", "*-*,<odd>,a:b", "**,,?"];

pub(super) fn metadata(corpus: &mut Corpus) -> Result<()> {
    for (fixture_name, fixture) in fixtures()? {
        for path in files_below(&fixture.repo)? {
            let relative = path.strip_prefix(&fixture.repo)?.to_string_lossy().into_owned();
            let name = relative.rsplit('/').next().unwrap_or_default();
            let at_root = relative == name;
            let bytes = fs::read(&path)?;
            match name {
                "index" | "index.latest" => {
                    corpus.add("snapshot_root", &format!("{fixture_name}-{name}"), bytes)
                }
                _ if at_root && name.starts_with("index-") => {
                    corpus.add("snapshot_root", &format!("{fixture_name}-{name}"), bytes);
                }
                _ if name.ends_with(".dat") => add_blob(corpus, &fixture_name, at_root, &bytes),
                _ if name.starts_with("snapshot-") || name.starts_with("metadata-") => {
                    let kind = format!("{fixture_name}-{}-{at_root}", &name[..8]);
                    let choice = u8::from(!at_root) * 3;
                    corpus.add_of_kind("snapshot_metadata", &kind, [&[choice], &bytes[..]].concat());
                }
                _ => {}
            }
        }
        let names: Vec<&str> = fixture.about.live.keys().map(String::as_str).collect();
        let pattern = PATTERNS[fixture_name.len() % PATTERNS.len()];
        corpus.add(
            "snapshot_selection",
            &fixture_name,
            format!("{pattern}\n{}", names.join("\n")).into_bytes(),
        );
    }
    Ok(())
}

/// Adds a blob as it is, and, as mutations of compressed bytes are hardly ever right, uncompressed as well.
fn add_blob(corpus: &mut Corpus, fixture: &str, at_root: bool, bytes: &[u8]) {
    let Some((codec, version, body)) = body(bytes) else { return };
    let Some(mut choice) = choice(formats::METADATA, &codec, version) else { return };
    let is_list_of_files = codec == "snapshot" && !at_root;
    if is_list_of_files {
        choice = 3;
    }
    let mut plain = Vec::new();
    let inflated =
        body.strip_prefix(DEFLATED).map(|deflated| DeflateDecoder::new(deflated).read_to_end(&mut plain));
    let bodies = [Some(body), inflated.is_some_and(|read| read.is_ok()).then_some(&plain[..])];
    for body in bodies.into_iter().flatten() {
        let form = if body.starts_with(DEFLATED) { "deflated" } else { "plain" };
        let kind = format!("{fixture}-{codec}-{at_root}-{form}");
        corpus.add_of_kind("snapshot_metadata", &kind, [&[choice], body].concat());
        if is_list_of_files {
            // A range of it.
            let choices = [3u32.to_le_bytes(), 40u32.to_le_bytes()].concat();
            corpus.add_of_kind("snapshot_files", &kind, [&choices[..], body].concat());
        }
    }
}
