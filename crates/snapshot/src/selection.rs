//! Which indices are meant by `logs-*,-logs-debug,.kibana`.
//!
//! The rules are those of multi-target syntax in OpenSearch: patterns apply from left to right, `*` stands for any
//! text, `_all` for everything, a `-` in front takes away from what was chosen before. A list that begins with an
//! exclusion begins with everything. Up to version 6 Elasticsearch allowed names that begin with `-` or contain `:` or
//! `#`, so a part that is the name of an index is always taken as that name. What is hidden or begins with a dot is chosen only by its exact name, by a
//! pattern that begins with a dot, or when hidden indices were asked for. The name of a data stream chooses its
//! backing indices, that of an alias the indices behind it.

use std::collections::HashSet;

use crate::error::{Error, Result};

/// How many names an error suggests.
const SUGGESTED: usize = 5;

/// A second name of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The name.
    pub name: String,
    /// Whether wildcards pass it over.
    pub hidden: bool,
    /// Whether it shows only the documents that match a query.
    pub filtered: bool,
}

/// What there is to know about an index for choosing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexSummary {
    /// Its name.
    pub name: String,
    /// Whether wildcards pass it over.
    pub hidden: bool,
    /// The data stream that it is a backing index of.
    pub data_stream: Option<String>,
    /// Its aliases.
    pub aliases: Vec<Alias>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    exclude: bool,
    text: String,
}

impl Pattern {
    fn is_exact(&self) -> bool {
        !self.text.contains('*')
    }

    /// The pattern as it is meant in this repository: an exclusion whose text, with its `-`, is the name of an index
    /// chooses that index.
    fn meant<'a>(&self, available: impl IntoIterator<Item = &'a IndexSummary>) -> Pattern {
        let literal = format!("-{}", self.text);
        match self.exclude && available.into_iter().any(|index| index.name == literal) {
            true => Pattern { exclude: false, text: literal },
            false => self.clone(),
        }
    }

    /// Why no index can have this name, or match this pattern, if none can.
    fn impossible(&self) -> Option<String> {
        if self.text.contains(':') {
            return Some(
                "a snapshot contains no indices of other clusters; leave out the part before the colon"
                    .to_owned(),
            );
        }
        let illegal = self.text.chars().find(|c| "|#".contains(*c))?;
        Some(format!("no index of this snapshot has {illegal:?} in its name"))
    }
}

/// A list of patterns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexPatterns {
    patterns: Vec<Pattern>,
    include_hidden: bool,
}

impl IndexPatterns {
    /// Reads patterns that are separated by commas.
    pub fn parse(text: &str) -> Result<Self> {
        let patterns = text.split(',').map(|part| parse_one(text, part.trim())).collect::<Result<_>>()?;
        Ok(Self { patterns, include_hidden: false })
    }

    /// Everything that is not hidden.
    pub fn all() -> Self {
        Self { patterns: vec![Pattern { exclude: false, text: "*".into() }], include_hidden: false }
    }

    /// Whether wildcards match hidden indices and those that begin with a dot, too.
    pub fn include_hidden(mut self, yes: bool) -> Self {
        self.include_hidden = yes;
        self
    }

    /// Whether the choice can be made without knowing of hidden indices and aliases: every pattern is the exact name
    /// of an index or a data stream.
    pub fn names_only(&self, available: &[IndexSummary]) -> bool {
        self.patterns.iter().map(|pattern| pattern.meant(available)).all(|pattern| {
            let named = |index| names(index).any(|name| name == pattern.text);
            pattern.is_exact() && !pattern.exclude && available.iter().any(named)
        })
    }

    /// The aliases with a filter by whose exact names indices are chosen: of these, all documents are meant.
    pub fn filtered_aliases<'a>(&self, chosen: &'a IndexSummary) -> Vec<&'a str> {
        let named = |alias: &&Alias| {
            let mut meant = self.patterns.iter().map(|pattern| pattern.meant([chosen]));
            meant.any(|pattern| !pattern.exclude && pattern.text == alias.name)
        };
        chosen.aliases.iter().filter(|a| a.filtered).filter(named).map(|a| a.name.as_str()).collect()
    }

    /// Returns the chosen indices, in the order of `available`.
    ///
    /// # Errors
    /// When an exact name does not exist, or a pattern that matches nothing cannot match any name.
    pub fn select<'a>(&self, available: &'a [IndexSummary]) -> Result<Vec<&'a IndexSummary>> {
        let patterns: Vec<Pattern> = self.patterns.iter().map(|pattern| pattern.meant(available)).collect();
        let begins_with_all = patterns.first().is_some_and(|pattern| pattern.exclude);
        let mut chosen: Vec<bool> =
            available.iter().map(|index| begins_with_all && self.matches("*", index)).collect();
        for pattern in &patterns {
            let mut found = false;
            for (index, chosen) in available.iter().zip(&mut chosen) {
                let matches = match (pattern.is_exact(), pattern.exclude) {
                    (true, _) => names(index).any(|name| name == pattern.text),
                    (false, true) => names(index).any(|name| wildcard(&pattern.text, name)),
                    (false, false) => self.matches(&pattern.text, index),
                };
                found |= matches;
                if matches {
                    *chosen = !pattern.exclude;
                }
            }
            if found {
                continue;
            }
            if let Some(detail) = pattern.impossible() {
                return Err(Error::InvalidPattern { pattern: pattern.text.clone(), detail });
            }
            // A misspelt name in an exclusion is as bad as one that should choose something.
            if pattern.is_exact() {
                return Err(unknown(&pattern.text, available));
            }
        }
        Ok(available.iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(index, _)| index).collect())
    }

    /// Whether `pattern`, which has wildcards, chooses the index.
    fn matches(&self, pattern: &str, index: &IndexSummary) -> bool {
        let allowed = |name: &str, hidden: bool| {
            self.include_hidden || pattern.starts_with('.') || !(hidden || name.starts_with('.'))
        };
        if wildcard(pattern, &index.name) && allowed(&index.name, index.hidden) {
            return true;
        }
        // Backing indices are hidden, their stream is not; nor need an alias be what its index is.
        let by_stream = |stream: &str| wildcard(pattern, stream) && allowed(stream, false);
        let by_alias = |alias: &Alias| wildcard(pattern, &alias.name) && allowed(&alias.name, alias.hidden);
        index.data_stream.as_deref().is_some_and(by_stream) || index.aliases.iter().any(by_alias)
    }
}

fn names(index: &IndexSummary) -> impl Iterator<Item = &str> {
    let aliases = index.aliases.iter().map(|alias| alias.name.as_str());
    std::iter::once(index.name.as_str()).chain(index.data_stream.as_deref()).chain(aliases)
}

fn parse_one(all: &str, part: &str) -> Result<Pattern> {
    let bad =
        |detail: &str| Err(Error::InvalidPattern { pattern: all.to_owned(), detail: detail.to_owned() });
    let (exclude, text) = match part.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, part),
    };
    let text = if text == "_all" { "*" } else { text };
    if text.is_empty() {
        return bad("an empty name between the commas; use * for all indices");
    }
    if text.starts_with('<') {
        return bad("names with dates in them are not supported; write the name out, or use a wildcard");
    }
    if let Some(c) = text.chars().find(|c| c.is_whitespace() || c.is_control() || "\\/?\"<>".contains(*c)) {
        return bad(&format!("names of indices cannot hold {c:?}"));
    }
    Ok(Pattern { exclude, text: text.to_owned() })
}

/// Whether `text` matches `pattern`, in which `*` stands for any text.
fn wildcard(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and how much of the text it takes.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            p = at + 1;
            t = taken + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

fn unknown(name: &str, available: &[IndexSummary]) -> Error {
    let mut seen = HashSet::new();
    let mut all: Vec<&str> = Vec::new();
    for index in available {
        // A data stream stands for its backing indices.
        let shown = index.data_stream.as_deref().unwrap_or(&index.name);
        for shown in std::iter::once(shown).chain(index.aliases.iter().map(|a| a.name.as_str())) {
            if seen.insert(shown) {
                all.push(shown);
            }
        }
    }
    let most = name.chars().count() / 3 + 1;
    let mut near: Vec<_> = all
        .iter()
        .filter_map(|candidate| {
            let distance = distance(name, candidate, most);
            let part = name.len() > 2 && (candidate.contains(name) || name.contains(candidate));
            distance.or(part.then_some(most + 1)).map(|d| (d, *candidate))
        })
        .collect();
    near.sort_unstable();
    Error::UnknownIndex {
        name: name.to_owned(),
        near: near.into_iter().take(SUGGESTED).map(|(_, name)| name.to_owned()).collect(),
        available: all.into_iter().map(str::to_owned).collect(),
    }
}

/// How many letters must change to make one name the other, if at most `most`.
fn distance(a: &str, b: &str, most: usize) -> Option<usize> {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > most {
        return None;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().filter(|d| *d <= most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn available() -> Vec<IndexSummary> {
        let index = |name: &str, hidden, stream: Option<&str>| IndexSummary {
            name: name.into(),
            hidden,
            data_stream: stream.map(str::to_owned),
            aliases: Vec::new(),
        };
        vec![
            index("books", false, None),
            index("logs-a", false, None),
            index("logs-b", false, None),
            index("secret", true, None),
            index(".kibana_1", false, None),
            index(".ds-logs-app-000001", true, Some("logs-app")),
            index(".ds-logs-app-000002", true, Some("logs-app")),
            index(".ds-.audit-000001", true, Some(".audit")),
        ]
    }

    fn select(patterns: &str, hidden: bool) -> Result<String> {
        let all = available();
        let chosen = IndexPatterns::parse(patterns)?.include_hidden(hidden).select(&all)?;
        Ok(chosen.iter().map(|i| i.name.as_str()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn what_is_chosen() {
        let ds = ".ds-logs-app-000001 .ds-logs-app-000002";
        let cases = [
            ("books", "books".to_owned()),
            ("*", format!("books logs-a logs-b {ds}")),
            ("_all", format!("books logs-a logs-b {ds}")),
            ("logs-*", format!("logs-a logs-b {ds}")),
            ("logs-*,-logs-b", format!("logs-a {ds}")),
            ("logs-*,-logs-app", "logs-a logs-b".into()),
            ("logs-*,-logs-a*,logs-a", "logs-a logs-b".into()),
            ("-logs-*", "books".into()),
            ("-logs-*,secret", "books secret".into()),
            ("secret", "secret".into()),
            ("sec*", String::new()),
            (".kib*", ".kibana_1".into()),
            (".*", ".kibana_1 .ds-logs-app-000001 .ds-logs-app-000002 .ds-.audit-000001".into()),
            (".audit", ".ds-.audit-000001".into()),
            ("logs-app", ds.into()),
            (".ds-logs-app-000002", ".ds-logs-app-000002".into()),
            (" books , logs-a ", "books logs-a".into()),
            ("nothing*", String::new()),
            ("*,-*", String::new()),
            ("*-b,*oo*", "books logs-b".into()),
        ];
        for (patterns, chosen) in cases {
            assert_eq!(select(patterns, false), Ok(chosen), "{patterns}");
        }
        assert_eq!(select("*", true).unwrap().split(' ').count(), 8);
        assert_eq!(select("sec*,-.*", true).unwrap(), "secret");
        let all = available();
        assert_eq!(IndexPatterns::all().select(&all).unwrap().len(), 5);
    }

    #[test]
    fn aliases_choose_the_indices_behind_them() {
        let mut all = available();
        let alias = |name: &str, hidden| Alias { name: name.into(), hidden, filtered: name == "mine" };
        all[0].aliases = vec![alias("reading", false), alias("mine", false)];
        all[3].aliases = vec![alias("reading", false), alias("unseen", true)];
        all[4].aliases = vec![alias(".kibana", true)];
        for (patterns, expected) in [
            ("reading", "books secret"),
            ("read*", "books secret"),
            ("reading,-secret", "books"),
            ("logs-a,reading,-reading", "logs-a"),
            ("uns*", ""),
            ("unseen", "secret"),
            (".kibana", ".kibana_1"),
            (".kibana*", ".kibana_1"),
        ] {
            let chosen = IndexPatterns::parse(patterns).unwrap().select(&all).unwrap();
            assert_eq!(chosen.iter().map(|i| i.name.as_str()).collect::<Vec<_>>().join(" "), expected);
        }
        let patterns = |text| IndexPatterns::parse(text).unwrap();
        assert_eq!(patterns("mine,b*").filtered_aliases(&all[0]), ["mine"]);
        assert!(patterns("reading,m*").filtered_aliases(&all[0]).is_empty());
        let Err(Error::UnknownIndex { near, .. }) = patterns("readin").select(&all) else {
            panic!("no error")
        };
        assert_eq!(near, ["reading"]);
        let plain = available();
        assert!(patterns("books,logs-app").names_only(&plain));
        for text in ["book*", "books,reading", "books,-secret"] {
            assert!(!patterns(text).names_only(&plain), "{text}");
        }
    }

    #[test]
    fn names_that_do_not_exist_suggest_others() {
        let Err(Error::UnknownIndex { name, near, available }) = select("boks", false) else {
            panic!("no error")
        };
        assert_eq!((name.as_str(), near.as_slice()), ("boks", ["books".to_owned()].as_slice()));
        assert_eq!(available.len(), 7);
        for (patterns, first) in [("logs-ap", "logs-a"), ("-kibana", ".kibana_1"), ("books,audit", ".audit")]
        {
            let Err(Error::UnknownIndex { near, .. }) = select(patterns, false) else { panic!("{patterns}") };
            assert_eq!(near.first().map(String::as_str), Some(first), "{patterns}");
        }
    }

    #[test]
    fn what_no_name_can_be_is_refused() {
        for bad in ["", ",", "a,,b", "a,", "-", "<logs-{now/d}>", "a b", "a/b", "a?"] {
            assert!(matches!(IndexPatterns::parse(bad), Err(Error::InvalidPattern { .. })), "{bad:?}");
        }
        for bad in ["other:logs", "other:*", "books,-other:logs", "a#b"] {
            assert!(matches!(select(bad, false), Err(Error::InvalidPattern { .. })), "{bad:?}");
        }
    }

    #[test]
    fn names_that_only_old_versions_allowed_are_taken_as_they_are() {
        let mut all = available();
        for (index, name) in all.iter_mut().zip(["-books", "logs:a", "logs#b"]) {
            index.name = name.to_owned();
        }
        for (patterns, expected) in [
            ("-books", "-books"),
            ("logs:a,logs#b", "logs:a logs#b"),
            ("logs:*", "logs:a"),
            ("*,--books,-logs-app", "logs:a logs#b"),
            ("-books,logs*,-logs:a,-logs-app", "-books logs#b"),
        ] {
            let chosen = IndexPatterns::parse(patterns).unwrap().select(&all).unwrap();
            let names: Vec<&str> = chosen.iter().map(|index| index.name.as_str()).collect();
            assert_eq!(names.join(" "), expected, "{patterns}");
        }
        assert!(IndexPatterns::parse("-books,logs:a").unwrap().names_only(&all));
    }

    proptest! {
        #[test]
        fn wildcards_agree_with_the_plain_definition(pattern in "[ab*]{0,8}", text in "[ab]{0,8}") {
            fn plain(p: &[u8], t: &[u8]) -> bool {
                match p.split_first() {
                    None => t.is_empty(),
                    Some((b'*', rest)) => (0..=t.len()).any(|n| plain(rest, &t[n..])),
                    Some((b, rest)) => t.first() == Some(b) && plain(rest, &t[1..]),
                }
            }
            prop_assert_eq!(wildcard(&pattern, &text), plain(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
