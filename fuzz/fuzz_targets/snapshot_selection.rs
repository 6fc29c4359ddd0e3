//! Index patterns, on names that are arbitrary too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use snapshot::selection::{Alias, IndexPatterns, IndexSummary};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let (patterns, names) = text.split_once('\n').unwrap_or((&text, "a\n.b\nlogs-x"));
    let available: Vec<IndexSummary> = names
        .lines()
        .enumerate()
        .map(|(n, name)| IndexSummary {
            name: name.to_owned(),
            hidden: n % 3 == 0,
            data_stream: (n % 4 == 0).then(|| format!("stream-{name}")),
            aliases: (n % 5 == 0)
                .then(|| Alias { name: format!("alias-{name}"), hidden: n % 2 == 0, filtered: n % 3 == 0 })
                .into_iter()
                .collect(),
        })
        .collect();
    if let Ok(patterns) = IndexPatterns::parse(patterns) {
        let _ = patterns.select(&available);
    }
});
