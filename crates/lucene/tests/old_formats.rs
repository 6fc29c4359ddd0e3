//! Metadata of Lucene 4 to 6 in the versions that no real file here is of.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use lucene::codec::{is_without_footer, verify_checksum_if_any};
use lucene::compound::CompoundEntries;
use lucene::field_infos::{DocValuesType, FieldInfos};
use lucene::segment_info::SegmentInfo;
use lucene::segments::{SegmentCommit, SegmentInfos};
use lucene::{ErrorKind, live_docs};

const ID: [u8; 16] = [7; 16];

/// The parts of a file around its body: the header is an index header where there is a suffix; the footer is left out where
/// the format had none.
fn file(codec: &str, version: u8, suffix: Option<&str>, body: &[u8], footer: bool) -> Vec<u8> {
    let mut file =
        [&[0x3f, 0xd7, 0x6c, 0x17, codec.len() as u8], codec.as_bytes(), &[0, 0, 0, version]].concat();
    if let Some(suffix) = suffix {
        file.extend(ID);
        file.push(suffix.len() as u8);
        file.extend(suffix.as_bytes());
    }
    file.extend(body);
    if footer { with_footer(file) } else { file }
}

fn with_footer(mut file: Vec<u8>) -> Vec<u8> {
    file.extend([0xc0, 0x28, 0x93, 0xe8, 0, 0, 0, 0, 0, 0, 0, 0]);
    let crc = crc32fast::hash(&file[..file.len() - 4]);
    file.extend(crc.to_be_bytes());
    file
}

/// A commit of `_a`, deleted in generation 37, as each format has it.
fn segments(format: u8) -> Vec<u8> {
    let mut body = Vec::new();
    if format >= 6 {
        body.extend([6, 6, 1]);
    }
    body.extend(99i64.to_be_bytes());
    body.extend(11i32.to_be_bytes());
    body.extend(1i32.to_be_bytes());
    if format >= 6 {
        body.extend([5, 5, 0]);
    }
    body.extend(b"\x02_a");
    if format >= 4 {
        body.push(1);
        body.extend(ID);
    }
    body.extend(b"\x08Lucene62");
    body.extend(37i64.to_be_bytes());
    body.extend(3i32.to_be_bytes());
    if format >= 1 {
        body.extend(36i64.to_be_bytes());
    }
    if format >= 3 {
        body.extend((-1i64).to_be_bytes());
        body.extend(if format >= 5 { &[1][..] } else { &[0, 0, 0, 1] });
        body.extend(b"\x09_a_10.fnm");
        body.extend([0, 0, 0, 1, 0, 0, 0, 5]);
        body.extend(if format >= 5 { &[1][..] } else { &[0, 0, 0, 1] });
        body.extend(b"\x08_a_1.dvd");
    } else if format >= 1 {
        body.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 36, 0, 0, 0, 1]);
        body.extend(b"\x08_a_1.fnm");
    }
    body.extend(if format >= 5 { &[1][..] } else { &[0, 0, 0, 1] });
    body.extend(b"\x01k\x01v");
    let suffix = (format >= 4).then_some("a");
    let mut file = file("segments", format, suffix, &body, format >= 2);
    if format < 2 {
        file.extend(u64::from(crc32fast::hash(&file)).to_be_bytes());
    }
    file
}

#[test]
fn commits_of_every_old_version_are_read() {
    for format in 0..=6 {
        let mut bytes = segments(format);
        let infos = SegmentInfos::parse("segments_a", &bytes).unwrap();
        assert_eq!((infos.generation, infos.index_created_major), (10, None), "{format}");
        assert_eq!(infos.lucene_version.map(|v| v.to_string()), (format == 6).then(|| "6.6.1".to_owned()));
        assert_eq!(infos.user_data["k"], "v");
        let [commit] = &infos.segments[..] else { panic!("one segment") };
        assert_eq!((commit.name.as_str(), commit.codec.as_str()), ("_a", "Lucene62"));
        assert_eq!((commit.del_count, commit.soft_del_count, commit.id), (3, 0, (format >= 4).then_some(ID)));
        let live_docs = if format >= 4 { "_a_11.liv" } else { "_a_11.del" };
        assert_eq!(commit.live_docs_file().as_deref(), Some(live_docs));
        let fields = if format >= 1 { "_a_10.fnm" } else { "_a.fnm" };
        assert_eq!(commit.field_infos_file(), fields);
        assert_eq!(commit.doc_values_gen, if (1..3).contains(&format) { Some(36) } else { None });
        assert_eq!(commit.doc_values_files.len(), usize::from(format >= 3));
        assert_eq!(
            (is_without_footer("", &bytes), verify_checksum_if_any("", &bytes).unwrap().is_none()),
            (format < 2, format < 2)
        );

        bytes[30] ^= 1;
        let error = SegmentInfos::parse("segments_a", &bytes).unwrap_err();
        assert_eq!(error.kind, ErrorKind::ChecksumMismatch, "{format}: {error}");
    }
}

#[test]
fn lucene_3_is_refused_by_name() {
    let commit = [(-11i32).to_be_bytes().as_slice(), &[0; 40]].concat();
    let error = SegmentInfos::parse("segments_3", &commit).unwrap_err();
    assert_eq!(error.kind, ErrorKind::UnsupportedVersion);
    assert!(error.message.contains("Lucene 3 or before (format -11)"), "{error}");
    let commit = SegmentCommit { codec: "Lucene3x".to_owned(), ..commit_of("_0") };
    let error = SegmentInfo::parse("_0.si", &[], &commit).unwrap_err();
    assert!(error.kind == ErrorKind::UnsupportedCodec && error.message.contains("Lucene 3"), "{error}");
}

fn commit_of(name: &str) -> SegmentCommit {
    let mut commit = SegmentInfos::parse("segments_a", &segments(0)).unwrap().segments.remove(0);
    name.clone_into(&mut commit.name);
    SegmentCommit { del_gen: None, del_count: 0, ..commit }
}

#[test]
fn segment_infos_of_every_old_version_are_read() {
    let (diagnostics, files, attributes) = (b"\x01d\x01e", b"\x05_0.si", b"\x01k\x01v");
    for (codec, version, text) in [
        ("Lucene40SegmentInfo", 0, "4.0"),
        ("Lucene46SegmentInfo", 0, "4.7.2"),
        ("Lucene46SegmentInfo", 1, "4.10.4"),
        ("Lucene50SegmentInfo", 0, "5.0.0"),
        ("Lucene50SegmentInfo", 1, "5.5.4"),
        ("Lucene62SegmentInfo", 1, "6.6.1"),
    ] {
        let with_id = codec > "Lucene50";
        let safe = (codec, version) >= ("Lucene50SegmentInfo", 1);
        let mut body = Vec::new();
        if with_id {
            text.split('.').for_each(|part| body.extend(part.parse::<i32>().unwrap().to_be_bytes()));
        } else {
            body.push(text.len() as u8);
            body.extend(text.as_bytes());
        }
        body.extend(100i32.to_be_bytes());
        body.push(0xff);
        let mut counted = |what: &[u8]| {
            body.extend(if safe { &[1][..] } else { &[0, 0, 0, 1] });
            body.extend(what);
        };
        counted(diagnostics);
        if codec.contains("40") {
            counted(attributes);
        }
        counted(files);
        if with_id {
            counted(attributes);
        }
        if codec.contains("62") {
            body.push(0);
        }
        let bytes = file(codec, version, with_id.then_some(""), &body, with_id || version > 0);
        // Under another name: a copy is not written anew.
        let commit = SegmentCommit { id: with_id.then_some(ID), ..commit_of("_b") };
        let info =
            SegmentInfo::parse("_b.si", &bytes, &commit).unwrap_or_else(|e| panic!("{codec} {version}: {e}"));
        assert_eq!((info.doc_count, info.compound), (100, false));
        assert!(info.lucene_version.to_string().starts_with(text));
        assert_eq!((info.files, info.attributes.len()), (["_b.si".to_owned()].into(), usize::from(with_id)));
        let too_many = SegmentCommit { del_count: 101, ..commit };
        assert!(SegmentInfo::parse("_0.si", &bytes, &too_many).unwrap_err().message.contains("101 deleted"));
        assert!(SegmentInfo::parse("_0.si", &bytes[..bytes.len() - 1], &commit_of("_0")).is_err());
    }
}

#[test]
fn field_infos_of_every_old_version_are_read() {
    for (codec, version) in [
        ("Lucene40FieldInfos", 0),
        ("Lucene42FieldInfos", 0),
        ("Lucene46FieldInfos", 0),
        ("Lucene46FieldInfos", 2),
        ("Lucene50FieldInfos", 0),
        ("Lucene50FieldInfos", 1),
    ] {
        let with_id = codec > "Lucene50";
        let mut body = vec![2];
        for (name, number) in [(b"\x03_id", 4), (b"\x03two", 0)] {
            body.extend(name);
            body.extend([number, 0x08]);
            body.extend(if with_id { &[4, 1][..] } else { &[0x11] });
            if codec > "Lucene46" {
                body.extend((-1i64).to_be_bytes());
            }
            body.extend(if (codec, version) == ("Lucene50FieldInfos", 1) { &[1][..] } else { &[0, 0, 0, 1] });
            body.extend(b"\x01k\x01v");
        }
        let bytes = file(codec, version, with_id.then_some(""), &body, with_id || version > 0);
        let commit = SegmentCommit { id: with_id.then_some(ID), field_infos_gen: None, ..commit_of("_0") };
        let fields =
            FieldInfos::parse("_0.fnm", &bytes, &commit).unwrap_or_else(|e| panic!("{codec} {version}: {e}"));
        let id = fields.by_name("_id").unwrap();
        assert_eq!((id.number, id.soft_deletes, id.attributes["k"].as_str()), (4, false, "v"));
        let expected = if codec.contains("40") { DocValuesType::None } else { DocValuesType::Numeric };
        assert_eq!((id.doc_values, fields.iter().count()), (expected, 2));
    }
}

#[test]
fn compound_files_without_footers_are_read() {
    let entry = [b"\x01\x04.fdt".as_slice(), &30i64.to_be_bytes(), &70i64.to_be_bytes()].concat();
    for (version, cfs_len, ok) in [(0, 100, true), (0, 116, false), (1, 116, true), (1, 100, false)] {
        let bytes = file("CompoundFileWriterEntries", version, None, &entry, version > 0);
        let entries = CompoundEntries::parse("_0.cfe", &bytes, None, cfs_len);
        assert_eq!(entries.map(|e| e.get(".fdt")).ok(), ok.then_some(Some((30, 70))), "{version} {cfs_len}");
    }
}

/// A file of bits: version, number of bits (or -1 and that), and what follows.
fn bits(version: u8, body: &[&[u8]]) -> Vec<u8> {
    let file =
        [&[0xff, 0xff, 0xff, 0xfe], &file("BitVector", version, None, &body.concat(), false)[..]].concat();
    if version >= 2 { with_footer(file) } else { file }
}

#[test]
fn bits_of_every_form_are_read() {
    let n = |n: i32| n.to_be_bytes();
    let (sparse, twenty) = (n(-1), n(20));
    for (version, body, deleted) in [
        // all bits: 17 live, the first three deleted; before version 1, those of the deleted
        (2, [&twenty[..], &n(17), &[0xf8, 0xff, 0x0f]].to_vec(), vec![0, 1, 2]),
        (1, [&twenty[..], &n(17), &[0xf8, 0xff, 0x0f]].to_vec(), vec![0, 1, 2]),
        (0, [&twenty[..], &n(3), &[0x07, 0, 0]].to_vec(), vec![0, 1, 2]),
        // some bytes: document 9, and the last
        (2, [&sparse[..], &twenty, &n(18), &[1, 0xfd, 1, 0x07]].to_vec(), vec![9, 19]),
        (0, [&sparse[..], &twenty, &n(2), &[1, 0x02, 1, 0x08]].to_vec(), vec![9, 19]),
        // none deleted
        (2, [&sparse[..], &twenty, &n(20)].to_vec(), vec![]),
    ] {
        let bytes = bits(version, &body);
        assert_eq!(verify_checksum_if_any("_0_1.del", &bytes).unwrap().is_some(), version == 2);
        let live = live_docs::parse("_0_1.del", &bytes, None, 20, deleted.len() as u32, 1).unwrap();
        let found: Vec<_> = (0..20).filter(|doc| !live.get(*doc)).collect();
        assert_eq!(found, deleted, "{version}");
        for (max_doc, count) in [(20, deleted.len() as u32 + 1), (21, deleted.len() as u32)] {
            assert!(live_docs::parse("_0_1.del", &bytes, None, max_doc, count, 1).is_err());
        }
        assert!(
            live_docs::parse("_0_1.del", &bytes[..bytes.len() - 1], None, 20, deleted.len() as u32, 1)
                .is_err()
        );
    }
    for (body, expected) in [
        ([&twenty[..], &n(17), &[0xf8, 0xff, 0x1f]].to_vec(), "20 bits, found bits beyond"),
        ([&sparse[..], &twenty, &n(18), &[3, 0xfd]].to_vec(), "a byte below 3, found 3"),
        ([&sparse[..], &twenty, &n(18), &[0, 0xff]].to_vec(), "1 more bytes"),
        ([&sparse[..], &twenty, &n(19), &[0, 0xfe, 9]].to_vec(), "the end, found 1 more bytes"),
        ([&n(-3)[..], &n(2)].to_vec(), "20 bits, found -3"),
    ] {
        let error = live_docs::parse("_0_1.del", &bits(2, &body), None, 20, 2, 1).unwrap_err();
        assert!(error.message.contains(expected), "{error}");
    }
}
