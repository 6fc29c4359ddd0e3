//! Commits and segment infos of the versions that no real file here is of.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use lucene::ErrorKind;
use lucene::compound::CompoundEntries;
use lucene::field_infos::FieldInfos;
use lucene::segment_info::SegmentInfo;
use lucene::segments::{SegmentInfos, base36};

const ID: [u8; 16] = [7; 16];

fn file(codec: &str, version: u8, suffix: &str, body: &[u8]) -> Vec<u8> {
    let mut file =
        [&[0x3f, 0xd7, 0x6c, 0x17, codec.len() as u8], codec.as_bytes(), &[0, 0, 0, version], &ID].concat();
    file.push(suffix.len() as u8);
    file.extend(suffix.as_bytes());
    file.extend(body);
    file.extend([0xc0, 0x28, 0x93, 0xe8, 0, 0, 0, 0, 0, 0, 0, 0]);
    let crc = crc32fast::hash(&file[..file.len() - 4]);
    file.extend(crc.to_be_bytes());
    file
}

/// A commit of one segment, `_a`, in generation 10, as each version of the format has it.
fn segments(version: u8) -> Vec<u8> {
    let mut body = vec![8, 7, 1, 7];
    body.extend(99i64.to_be_bytes());
    body.extend(if version > 7 { &[11][..] } else { &[0, 0, 0, 11] });
    body.extend(1i32.to_be_bytes());
    body.extend([7, 4, 0]);
    body.extend(b"\x02_a");
    body.extend(ID);
    body.extend(b"\x08Lucene87");
    body.extend(37i64.to_be_bytes());
    body.extend(3i32.to_be_bytes());
    body.extend((-1i64).to_be_bytes());
    body.extend(36i64.to_be_bytes());
    if version >= 9 {
        body.extend(2i32.to_be_bytes());
    }
    if version >= 10 {
        body.push(1);
        body.extend(ID);
    }
    body.extend(b"\x01\x08_a_1.fnm");
    body.extend([0, 0, 0, 1, 0, 0, 0, 5]);
    body.extend(b"\x01\x08_a_1.dvd");
    body.extend(b"\x01\x01k\x01v");
    file("segments", version, "a", &body)
}

/// What a reader says of a file whose body begins so, and goes on with so many zeros.
fn refused(format: &str, begins: &[u8], zeros: usize) -> ErrorKind {
    let body = [begins, &vec![0; zeros]].concat();
    let commit = SegmentInfos::parse("segments_a", &segments(10)).unwrap().segments.remove(0);
    let read = match format {
        "segments" => SegmentInfos::parse("segments_a", &file("segments", 10, "a", &body)).map(drop),
        "field infos" => {
            FieldInfos::parse("_a.fnm", &file("Lucene94FieldInfos", 2, "", &body), &commit).map(drop)
        }
        _ => {
            let entries = file("Lucene90CompoundEntries", 0, "", &body);
            CompoundEntries::parse("_a.cfe", &entries, Some(&ID), 99).map(drop)
        }
    };
    read.unwrap_err().kind
}

#[test]
fn a_huge_count_is_refused_before_anything_is_made_for_it() {
    const VINT_MAX: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 0x07];
    // Version, the number of changes, and the counter of names come first.
    let commit = |count: i32| [&[8, 7, 1, 7][..], &[0; 8], &[11], &count.to_be_bytes()].concat();
    for (format, begins, each) in [
        ("segments", commit(i32::MAX), 32),
        ("field infos", VINT_MAX.to_vec(), 8),
        ("compound", VINT_MAX.to_vec(), 17),
    ] {
        // More than can follow.
        assert_eq!(refused(format, &begins, 0), ErrorKind::Corrupt, "{format}");
        assert_eq!(refused(format, &begins, 1000 * each), ErrorKind::Corrupt, "{format}");
    }
    // As many as can follow, but more than there may be: a vInt and a number that are little above the limits.
    let million = [0xc0, 0x84, 0x3d];
    assert_eq!(refused("segments", &commit(100_001), 32 * 100_001), ErrorKind::TooLarge);
    assert_eq!(refused("field infos", &million, 8 * 1_000_000), ErrorKind::TooLarge);
    assert_eq!(refused("compound", &million, 17 * 1_000_000), ErrorKind::TooLarge);
}

#[test]
fn commits_of_every_version_are_read() {
    for version in 7..=10 {
        let infos = SegmentInfos::parse("segments_a", &segments(version)).unwrap();
        assert_eq!((infos.generation, infos.lucene_version.unwrap().to_string()), (10, "8.7.1".to_owned()));
        assert_eq!((infos.index_created_major, infos.user_data["k"].as_str()), (Some(7), "v"));
        let [commit] = &infos.segments[..] else { panic!("one segment") };
        assert_eq!((commit.name.as_str(), commit.codec.as_str(), commit.id), ("_a", "Lucene87", Some(ID)));
        assert_eq!((commit.del_count, commit.soft_del_count), (3, if version >= 9 { 2 } else { 0 }));
        assert_eq!(
            (commit.live_docs_file().as_deref(), commit.field_infos_file()),
            (Some("_a_11.liv"), "_a.fnm".to_owned())
        );
        assert_eq!(
            (commit.doc_values_gen, &commit.doc_values_files[&5]),
            (Some(36), &["_a_1.dvd".to_owned()].into())
        );
        assert_eq!(
            (commit.live_count(5), commit.live_count(2)),
            (Some(if version >= 9 { 0 } else { 2 }), None)
        );
    }
}

#[test]
fn commits_of_other_versions_are_refused_by_number() {
    for version in [11, 12] {
        let error = SegmentInfos::parse("segments_a", &segments(version)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::UnsupportedVersion);
        assert!(error.is_unsupported() && !error.is_damage());
        let expected = format!(
            "segments_a: at offset 0: version {version} of segments is not supported; the newest supported version is 10"
        );
        assert_eq!(error.to_string(), expected);
    }
}

/// A little-endian `.si`, with or without the byte that Lucene 9.9 put in without saying so.
fn segment_info(with_blocks: &[u8], sort: &[u8]) -> Vec<u8> {
    segment_info_listing("_a.si", with_blocks, sort)
}

fn segment_info_listing(listed: &str, with_blocks: &[u8], sort: &[u8]) -> Vec<u8> {
    let mut body: Vec<u8> = [9, 4, 2].iter().flat_map(|n: &i32| n.to_le_bytes()).collect();
    body.push(1);
    body.extend([9, 0, 0].iter().flat_map(|n: &i32| n.to_le_bytes()));
    body.extend(100i32.to_le_bytes());
    body.push(1);
    body.extend(with_blocks);
    body.extend(b"\x01\x01d\x01e\x01");
    body.push(listed.len() as u8);
    body.extend(listed.as_bytes());
    body.extend(b"\x01\x01k\x01v");
    body.extend(sort);
    file("Lucene90SegmentInfo", 0, "", &body)
}

#[test]
fn both_layouts_of_segment_infos_are_told_apart() {
    let commit = SegmentInfos::parse("segments_a", &segments(10)).unwrap().segments.remove(0);
    for with_blocks in [&[][..], &[1], &[0xff]] {
        for sort in [&[0][..], b"\x01\x09SortField and more"] {
            let info = SegmentInfo::parse("_a.si", &segment_info(with_blocks, sort), &commit).unwrap();
            assert_eq!(
                (info.doc_count, info.compound, info.lucene_version.to_string()),
                (100, true, "9.4.2".to_owned())
            );
            assert_eq!((info.files, info.attributes["k"].as_str()), (["_a.si".to_owned()].into(), "v"));
        }
    }
    for (with_blocks, sort) in [(&[2][..], &[0][..]), (&[], &[0, 0]), (&[1, 1], &[0]), (&[], &[1, 0])] {
        assert!(SegmentInfo::parse("_a.si", &segment_info(with_blocks, sort), &commit).is_err());
    }
    let mut other = commit.clone();
    other.id = Some([8; 16]);
    assert!(SegmentInfo::parse("_a.si", &segment_info(&[], &[0]), &other).is_err());
    let too_many = lucene::segments::SegmentCommit { del_count: 99, soft_del_count: 2, ..commit };
    let error = SegmentInfo::parse("_a.si", &segment_info(&[], &[0]), &too_many).unwrap_err();
    assert!(error.message.contains("at least the 101 deleted documents"), "{error}");
}

#[test]
fn files_of_a_copied_segment_bear_its_present_name() {
    let commit = SegmentInfos::parse("segments_a", &segments(10)).unwrap().segments.remove(0);
    for (listed, expected) in [
        ("_2.fdm", "_a.fdm"),
        ("_a1.fdt", "_a.fdt"),
        ("_10_Lucene90_0.dvd", "_a_Lucene90_0.dvd"),
        ("_zz_11_Obj.vec.faiss", "_a_11_Obj.vec.faiss"),
    ] {
        for with_blocks in [&[][..], &[1]] {
            let bytes = segment_info_listing(listed, with_blocks, &[0]);
            let info = SegmentInfo::parse("_a.si", &bytes, &commit).unwrap();
            assert_eq!(info.files, [expected.to_owned()].into(), "{listed}");
        }
    }
    // So in the commit, although Lucene writes it with the present names.
    let good = segments(10);
    let mut body = good[5 + 8 + 4 + 16 + 2..good.len() - 16].to_vec();
    let at = body.windows(8).position(|name| name == b"_a_1.dvd").unwrap();
    body[at + 1] = b'7';
    let infos = SegmentInfos::parse("segments_a", &file("segments", 10, "a", &body)).unwrap();
    assert_eq!(infos.segments[0].doc_values_files[&5], ["_a_1.dvd".to_owned()].into());
}

/// What fits neither layout is told of the one that it is in.
#[test]
fn the_error_is_that_of_the_layout_that_fits_longer() {
    let commit = SegmentInfos::parse("segments_a", &segments(10)).unwrap().segments.remove(0);
    for with_blocks in [&[][..], &[1], &[0xff]] {
        for (listed, sort, expected) in [
            ("a.si", &[0][..], "expected files of a segment, such as _a.fdt, found \"a.si\""),
            ("_a", &[0], "expected files of a segment, such as _a.fdt, found \"_a\""),
            ("_a.si", &[0, 7, 7], "expected the end, found 2 more bytes"),
            ("_a.si", &[1, 0], "expected the name of a kind of sort field, found nothing"),
        ] {
            let bytes = segment_info_listing(listed, with_blocks, sort);
            let error = SegmentInfo::parse("_a.si", &bytes, &commit).unwrap_err();
            assert_eq!(error.message, expected, "{with_blocks:?}");
        }
    }
}

#[test]
fn generations_are_written_in_base_36() {
    for (n, text) in [(0, "0"), (9, "9"), (10, "a"), (35, "z"), (36, "10"), (u64::MAX, "3w5e11264sgsf")] {
        assert_eq!(base36(n), text);
    }
}
