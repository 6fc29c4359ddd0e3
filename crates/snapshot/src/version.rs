//! Versions of servers and of indices, which repositories give as text or as a number.

use serde::Deserialize;

/// OpenSearch marks its version numbers with this bit, so that they are above all of Elasticsearch.
const OPENSEARCH: u64 = 0x0800_0000;
/// From here on Elasticsearch counts index versions apart from releases.
const ELASTICSEARCH_OWN_COUNT: u64 = 8_500_000;

/// Whose version it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Distribution {
    /// Elasticsearch.
    Elasticsearch,
    /// OpenSearch.
    OpenSearch,
}

/// A version that was given as a number, as in `index.version.created`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(transparent)]
pub struct VersionId(pub u64);

impl VersionId {
    /// Whose version it is.
    pub fn distribution(self) -> Distribution {
        if self.0 & OPENSEARCH != 0 { Distribution::OpenSearch } else { Distribution::Elasticsearch }
    }

    fn plain(self) -> u64 {
        self.0 & !OPENSEARCH
    }

    /// The major version.
    pub fn major(self) -> u64 {
        self.plain() / 1_000_000
    }

    /// Minor version and patch; `None` where Elasticsearch counts index versions apart from releases.
    pub fn minor_patch(self) -> Option<(u64, u64)> {
        let own_count =
            self.distribution() == Distribution::Elasticsearch && self.plain() >= ELASTICSEARCH_OWN_COUNT;
        (!own_count).then(|| (self.plain() / 10_000 % 100, self.plain() / 100 % 100))
    }
}

impl std::fmt::Display for VersionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.distribution() {
            Distribution::Elasticsearch => "Elasticsearch ",
            Distribution::OpenSearch => "OpenSearch ",
        })?;
        match self.minor_patch() {
            Some((minor, patch)) => write!(f, "{}.{minor}.{patch}", self.major()),
            None => write!(f, "{} (index version {})", self.major(), self.0),
        }
    }
}

/// A version as repositories give it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Version {
    /// A number.
    Id(VersionId),
    /// A text such as `7.10.2`.
    Text(String),
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_versions() {
        let cases = [
            (7_100_299, "Elasticsearch 7.10.2"),
            (136_408_327, "OpenSearch 2.19.5"),
            (6_082_399, "Elasticsearch 6.8.23"),
            (8_080_199, "Elasticsearch 8.8.1"),
            (8_512_000, "Elasticsearch 8 (index version 8512000)"),
            (9_009_000, "Elasticsearch 9 (index version 9009000)"),
        ];
        for (id, text) in cases {
            assert_eq!(VersionId(id).to_string(), text);
        }
        assert_eq!(serde_json::from_str::<Version>("\"7.10.2\"").unwrap().to_string(), "7.10.2");
        assert_eq!(serde_json::from_str::<Version>("7100299").unwrap(), Version::Id(VersionId(7_100_299)));
    }
}
