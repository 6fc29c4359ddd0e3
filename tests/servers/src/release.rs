//! What differs between the versions of the servers: one table, one row a range of versions.

use std::{fmt, str::FromStr};

use crate::Error;

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Product {
    /// Elasticsearch.
    Elasticsearch,
    /// OpenSearch.
    OpenSearch,
}

impl Product {
    /// The name that the distributions carry: lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Elasticsearch => "elasticsearch",
            Self::OpenSearch => "opensearch",
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A server's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u16,
    /// The second number.
    pub minor: u16,
    /// The third number.
    pub patch: u16,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let numbers: Option<Vec<u16>> = text.split('.').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[major, minor, patch]) => Ok(Self { major, minor, patch }),
            _ => Err(Error::Spec(text.to_owned())),
        }
    }
}

/// How a server is run, from its first version until the next row's.
#[derive(Debug)]
pub(crate) struct Release {
    product: Product,
    from: (u16, u16),
    /// What is published of it on Maven Central.
    pub(crate) origin: Origin,
    /// The major versions of Java that it runs on, the best first.
    pub(crate) java: &'static [u16],
    pub(crate) launch: Launch,
    /// The setting that holds the port used between nodes.
    pub(crate) transport_port: &'static str,
    /// Settings that this version needs; values are YAML.
    pub(crate) settings: &'static [(&'static str, &'static str)],
}

/// What a server is made from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// A distribution: its group; its artifact is the product's name, its type zip.
    Zip(&'static str),
    /// Nothing but jars.
    Jars(&'static Jars),
}

/// What a server is put together from that is published as jars only.
#[derive(Debug)]
pub(crate) struct Jars {
    /// The group of the server itself; its artifact is the product's name.
    pub(crate) group: &'static str,
    /// What the server needs beside the dependencies that its artifact names. Each has a version of its own or the server's.
    pub(crate) further: &'static [(&'static str, &'static str, Option<&'static str>)],
    /// Modules without which it does not start.
    pub(crate) modules: &'static [Module],
}

/// A module, made from an artifact of the server's version and those that it depends on.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) name: &'static str,
    pub(crate) group: &'static str,
    pub(crate) artifact: &'static str,
    /// Its plugin class.
    pub(crate) class: &'static str,
}

/// How the process is started.
#[derive(Debug)]
pub(crate) enum Launch {
    /// The main class, called as the distribution's script would. `properties` are those of the script that matter;
    /// in them and in `arguments`, `{home}` is the distribution and `{config}` the directory of the settings.
    Java { main: &'static str, properties: &'static [&'static str], arguments: &'static [&'static str] },
    /// The distribution's own script: from Elasticsearch 8 on it hands the settings over in a form of its own.
    Script,
}

/// Complete distributions, which later versions do not publish there.
const ZIP_ES: &str = "org.elasticsearch.distribution.zip";
const INTEG_TEST_ZIP_ES: &str = "org.elasticsearch.distribution.integ-test-zip";
const INTEG_TEST_ZIP_OS: &str = "org.opensearch.distribution.integ-test-zip";
const ES_MAIN: &str = "org.elasticsearch.bootstrap.Elasticsearch";
const OS_MAIN: &str = "org.opensearch.bootstrap.OpenSearch";

/// Properties for versions up to Java 17, where the security manager must still be allowed.
const ALLOW_SECURITY_MANAGER: &str = "-Djava.security.manager=allow";
const NO_SYSTEM_CALL_FILTER: (&str, &str) = ("bootstrap.system_call_filter", "false");
const SINGLE_NODE: (&str, &str) = ("discovery.type", "single-node");

/// Before there was a setting for it, a node was alone when it asked nobody.
const ASK_NOBODY: [(&str, &str); 2] =
    [("discovery.zen.ping.multicast.enabled", "false"), ("discovery.zen.ping.unicast.hosts", "[]")];

static RELEASES: &[Release] = &[
    Release {
        product: Product::Elasticsearch,
        from: (1, 4),
        origin: Origin::Jars(&Jars { group: "org.elasticsearch", further: &[], modules: &[] }),
        java: &[11],
        launch: Launch::Java {
            main: ES_MAIN,
            properties: &[
                "-Delasticsearch",
                "-Des.foreground=yes",
                "-Des.path.home={home}",
                "-Des.path.conf={config}",
                "-Des.config={config}/elasticsearch.yml",
            ],
            arguments: &[],
        },
        transport_port: "transport.tcp.port",
        settings: &ASK_NOBODY,
    },
    Release {
        product: Product::Elasticsearch,
        from: (2, 0),
        origin: Origin::Zip(ZIP_ES),
        java: &[11],
        launch: Launch::Java {
            main: ES_MAIN,
            properties: &["-Delasticsearch", "-Des.path.home={home}", "-Des.path.conf={config}"],
            arguments: &["start"],
        },
        transport_port: "transport.tcp.port",
        settings: &ASK_NOBODY,
    },
    Release {
        product: Product::Elasticsearch,
        from: (5, 5),
        origin: Origin::Zip(ZIP_ES),
        java: &[11],
        launch: Launch::Java {
            main: ES_MAIN,
            properties: &["-Des.path.home={home}"],
            arguments: &["-Epath.conf={config}"],
        },
        transport_port: "transport.tcp.port",
        settings: &[SINGLE_NODE, NO_SYSTEM_CALL_FILTER],
    },
    Release {
        product: Product::Elasticsearch,
        from: (6, 0),
        origin: Origin::Zip(INTEG_TEST_ZIP_ES),
        java: &[11],
        launch: Launch::Java {
            main: ES_MAIN,
            properties: &[
                "-Des.path.home={home}",
                "-Des.path.conf={config}",
                "-Des.distribution.flavor=oss",
                "-Des.distribution.type=zip",
            ],
            arguments: &[],
        },
        transport_port: "transport.tcp.port",
        settings: &[SINGLE_NODE, NO_SYSTEM_CALL_FILTER],
    },
    Release {
        product: Product::Elasticsearch,
        from: (7, 0),
        origin: Origin::Zip(INTEG_TEST_ZIP_ES),
        java: &[17, 11],
        launch: Launch::Java {
            main: ES_MAIN,
            properties: &[
                "-Des.path.home={home}",
                "-Des.path.conf={config}",
                "-Des.distribution.flavor=oss",
                "-Des.distribution.type=zip",
                "-Des.bundled_jdk=false",
                ALLOW_SECURITY_MANAGER,
            ],
            arguments: &[],
        },
        transport_port: "transport.port",
        settings: &[SINGLE_NODE, NO_SYSTEM_CALL_FILTER],
    },
    Release {
        product: Product::Elasticsearch,
        from: (8, 0),
        origin: Origin::Zip(INTEG_TEST_ZIP_ES),
        java: &[17, 21],
        launch: Launch::Script,
        transport_port: "transport.port",
        settings: &[SINGLE_NODE, ("xpack.security.enabled", "false")],
    },
    Release {
        product: Product::Elasticsearch,
        from: (9, 0),
        origin: Origin::Zip(INTEG_TEST_ZIP_ES),
        java: &[21, 25, 24],
        launch: Launch::Script,
        transport_port: "transport.port",
        settings: &[SINGLE_NODE, ("xpack.security.enabled", "false")],
    },
    Release {
        product: Product::OpenSearch,
        from: (1, 0),
        origin: Origin::Zip(INTEG_TEST_ZIP_OS),
        java: &[17, 11],
        launch: Launch::Java {
            main: OS_MAIN,
            properties: &[
                "-Dopensearch.path.home={home}",
                "-Dopensearch.path.conf={config}",
                "-Dopensearch.distribution.type=zip",
                "-Dopensearch.bundled_jdk=false",
                "-Djava.locale.providers=SPI,COMPAT",
                ALLOW_SECURITY_MANAGER,
            ],
            arguments: &[],
        },
        transport_port: "transport.port",
        settings: &[SINGLE_NODE],
    },
    Release {
        product: Product::OpenSearch,
        from: (3, 0),
        origin: Origin::Zip(INTEG_TEST_ZIP_OS),
        java: &[21, 25, 24],
        launch: Launch::Java {
            main: OS_MAIN,
            properties: &[
                "-Dopensearch.path.home={home}",
                "-Dopensearch.path.conf={config}",
                "-Dopensearch.distribution.type=zip",
                "-Dopensearch.bundled_jdk=false",
                "-Djava.locale.providers=SPI,CLDR",
                "-javaagent:{home}/agent/opensearch-agent.jar",
            ],
            arguments: &[],
        },
        transport_port: "transport.port",
        settings: &[SINGLE_NODE],
    },
    Release {
        product: Product::OpenSearch,
        from: (3, 9),
        origin: Origin::Jars(&Jars {
            group: "org.opensearch",
            further: &[
                ("org.opensearch", "opensearch-plugin-classloader", None),
                ("org.opensearch", "opensearch-agent-bootstrap", None),
                ("org.apache.logging.log4j", "log4j-core", Some("2.25.5")),
            ],
            modules: &[Module {
                name: "transport-netty4",
                group: "org.opensearch.plugin",
                artifact: "transport-netty4-client",
                class: "org.opensearch.transport.Netty4ModulePlugin",
            }],
        }),
        java: &[21, 25, 24],
        launch: Launch::Java {
            main: OS_MAIN,
            properties: &[
                "-Dopensearch.path.home={home}",
                "-Dopensearch.path.conf={config}",
                "-Dopensearch.distribution.type=zip",
                "-Dopensearch.bundled_jdk=false",
                "-Djava.locale.providers=SPI,CLDR",
            ],
            arguments: &[],
        },
        transport_port: "transport.port",
        settings: &[SINGLE_NODE],
    },
];

impl Release {
    /// The row for a version.
    pub(crate) fn of(product: Product, version: Version) -> Result<&'static Self, Error> {
        RELEASES
            .iter()
            .rfind(|row| row.product == product && row.from <= (version.major, version.minor))
            .ok_or_else(|| Error::Unknown(format!("{product}:{version}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_falls_into_the_last_row_that_starts_before_it() {
        let row = |product, text: &str| Release::of(product, text.parse().unwrap()).map(|row| row.from);
        assert_eq!(row(Product::Elasticsearch, "7.10.2").unwrap(), (7, 0));
        assert_eq!(row(Product::Elasticsearch, "5.6.16").unwrap(), (5, 5));
        assert_eq!(row(Product::OpenSearch, "2.19.5").unwrap(), (1, 0));
        assert_eq!(row(Product::OpenSearch, "3.6.0").unwrap(), (3, 0));
        assert_eq!(row(Product::OpenSearch, "3.9.0").unwrap(), (3, 9));
        assert_eq!(row(Product::Elasticsearch, "1.7.6").unwrap(), (1, 4));
        assert_eq!(row(Product::Elasticsearch, "2.4.6").unwrap(), (2, 0));
        assert!(row(Product::Elasticsearch, "0.90.13").is_err());
    }

    #[test]
    fn rows_of_a_product_are_in_order() {
        assert!(RELEASES.is_sorted_by_key(|row| (row.product, row.from)));
    }
}
