//! Whether a start means the run that is not finished, and if not, which of its arguments say otherwise.
//!
//! A run is continued by repeating the command that started it, or by `start` alone. Both the command line and the
//! start function complete what was not given from the record of the run, and compare the result here, so that the
//! answer names the argument that differs instead of only saying that something does.

use super::{Run, RunSpec, Selection, TimeFields};

/// Returns one phrase for each argument in which `asked` differs from the run; none if it asks for the same run.
///
/// The chunk size is not compared: it is fixed when a run is planned and does not change what arrives on the target.
pub fn differences(run: &RunSpec, asked: &RunSpec) -> Vec<String> {
    // Named one by one, so that a new argument cannot be forgotten here.
    let RunSpec {
        repository,
        snapshot,
        snapshot_uuid,
        selection: Selection { patterns, include_hidden },
        target,
        allow_partial,
        types,
        allow_partial_source,
        time_fields: TimeFields { timestamp, ttl },
        chunk_bytes: _,
    } = asked;
    let mut found = Vec::new();
    let mut compare = |argument: &str, ours: &str, theirs: &str| {
        if ours != theirs {
            found.push(format!("{argument} is {theirs} instead of {ours}"));
        }
    };
    let bare = |uri: &str| uri.trim_end_matches('/').to_owned();
    if bare(&run.repository) != bare(repository) {
        compare("--repo", &run.repository, repository);
    }
    compare("--snapshot", &run.snapshot, snapshot);
    compare("--target", &run.target, target);
    compare("--index", &run.selection.patterns, patterns);
    compare("--types", &text(run.types.as_ref()), &text(types.as_ref()));
    compare("--timestamp-field", &text(run.time_fields.timestamp.as_ref()), &text(timestamp.as_ref()));
    compare("--ttl-field", &text(run.time_fields.ttl.as_ref()), &text(ttl.as_ref()));
    let flag = |given: bool| if given { "given" } else { "not given" };
    compare("--include-hidden", flag(run.selection.include_hidden), flag(*include_hidden));
    compare("--allow-partial", flag(run.allow_partial), flag(*allow_partial));
    compare("--allow-partial-source", flag(run.allow_partial_source), flag(*allow_partial_source));
    if run.snapshot == *snapshot && run.snapshot_uuid != *snapshot_uuid {
        found.push(format!("snapshot {snapshot} was deleted and taken again since"));
    }
    found
}

fn text(choice: Option<&impl ToString>) -> String {
    choice.map_or_else(|| "not given".to_owned(), ToString::to_string)
}

/// Returns the sentence that refuses a start which differs from the unfinished run, or `None` if it means that run.
pub fn refusal_of_another_job(run: &Run, asked: &RunSpec) -> Option<String> {
    let found = differences(&run.spec, asked);
    (!found.is_empty()).then(|| {
        format!(
            "run {} is not finished, and this start asks for something else: {}; leave that out to continue the run, or \
             give the run up with --new",
            run.id,
            found.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> RunSpec {
        RunSpec {
            repository: "s3://bucket/prefix".to_owned(),
            snapshot: "nightly".to_owned(),
            snapshot_uuid: "u1".to_owned(),
            selection: Selection { patterns: "*".to_owned(), include_hidden: false },
            target: "https://a:9200".to_owned(),
            allow_partial: false,
            types: None,
            allow_partial_source: false,
            time_fields: TimeFields::default(),
            chunk_bytes: 1 << 20,
        }
    }

    #[test]
    fn each_argument_that_differs_is_named() {
        let run = spec();
        let hidden = Selection { include_hidden: true, ..run.selection.clone() };
        let some = Selection { patterns: "a*".to_owned(), ..run.selection.clone() };
        let cases = [
            (RunSpec { chunk_bytes: 1, ..spec() }, ""),
            (RunSpec { repository: "s3://bucket/prefix/".to_owned(), ..spec() }, ""),
            (
                RunSpec { repository: "s3://other".to_owned(), ..spec() },
                "--repo is s3://other instead of s3://bucket/prefix",
            ),
            (
                RunSpec { snapshot: "weekly".to_owned(), snapshot_uuid: "u2".to_owned(), ..spec() },
                "--snapshot is weekly instead of nightly",
            ),
            (
                RunSpec { snapshot_uuid: "u2".to_owned(), ..spec() },
                "snapshot nightly was deleted and taken again since",
            ),
            (
                RunSpec { target: "https://b:9200".to_owned(), selection: some, ..spec() },
                "--target is https://b:9200 instead of https://a:9200, --index is a* instead of *",
            ),
            (RunSpec { selection: hidden, ..spec() }, "--include-hidden is given instead of not given"),
            (
                RunSpec { allow_partial: true, allow_partial_source: true, ..spec() },
                "--allow-partial is given instead of not given, --allow-partial-source is given instead of not given",
            ),
            (
                RunSpec { types: Some(super::super::TypesChoice::Merge), ..spec() },
                "--types is merge instead of not given",
            ),
            (
                RunSpec {
                    time_fields: TimeFields { timestamp: "at".parse().ok(), ttl: "end".parse().ok() },
                    ..spec()
                },
                "--timestamp-field is at instead of not given, --ttl-field is end instead of not given",
            ),
        ];
        for (asked, expected) in cases {
            assert_eq!(differences(&run, &asked).join(", "), expected);
        }
    }
}
