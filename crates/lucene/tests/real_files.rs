//! Indices that real servers wrote: every document is read, and no damage goes unnoticed. See data/README.md.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{cases, expected, live_documents};
use lucene::codec::verify_checksum;
use lucene::doc_values::docs_with_field;
use lucene::field_infos::{DocValuesType, FieldInfos};
use lucene::segments::SegmentInfos;
use lucene::stored_fields::{BlockDecoder, Value};

/// Every live document of every case, with its id, source and numbers as they were sent; and no deleted one.
#[test]
fn all_live_documents_are_as_they_were_sent() {
    for (case, files) in cases() {
        let found = live_documents(&files).unwrap_or_else(|e| panic!("{case}: {e}"));
        let expected = expected(&case);
        assert_eq!(found.len(), expected.len(), "{case}");
        for (id, document) in &expected {
            assert_eq!(found.get(id), Some(document), "{case}: {}", id.escape_ascii());
        }
    }
}

/// What the cases are there for is in them.
#[test]
fn the_cases_cover_what_they_should() {
    let (mut formats, mut seen) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    let mut see = |version: &str, what: &str| seen.insert(format!("{} {what}", &version[..9]));
    for (case, files) in cases() {
        let name = common::segments_file(&files);
        for commit in SegmentInfos::parse(name, &files[name]).unwrap().segments {
            let name = commit.segment_info_file();
            let info = lucene::segment_info::SegmentInfo::parse(&name, &files[&name], &commit).unwrap();
            let segment = common::SegmentFiles::open(&files, &commit, &info).unwrap();
            let (header, index) = common::stored_fields(&segment, &info).unwrap();
            formats.insert(format!("{} {}", header.format.codec, header.version));
            see(&case, if info.compound { "compound" } else { "separate" });
            if commit.del_gen.is_some() {
                see(&case, "live docs");
            }
            if commit.doc_values_gen.is_some() {
                see(&case, "generation");
            } else if commit.soft_del_count > 0 {
                see(&case, "soft deletes");
            }
            if index.len() > 1 {
                see(&case, "blocks");
            }
        }
    }
    for version in ["lucene-4.", "lucene-5.", "lucene-6.", "lucene-7.", "lucene-8.", "lucene-9.", "lucene-10"]
    {
        let old = ["lucene-4.", "lucene-5.", "lucene-6."].contains(&version);
        let soft_deletes: &[_] = if old { &[] } else { &["generation", "soft deletes"] };
        for what in [&["compound", "separate", "live docs", "blocks"][..], soft_deletes].concat() {
            assert!(seen.contains(&format!("{version} {what}")), "{version} {what}: only {seen:?}");
        }
    }
    let all: Vec<_> = formats.iter().map(String::as_str).collect();
    let expected = [
        "CustomStoredFieldsZstd 1",
        "CustomStoredFieldsZstdNoDict 1",
        "Lucene41StoredFieldsData 2",
        "Lucene50StoredFieldsFastData 1",
        "Lucene50StoredFieldsFastData 2",
        "Lucene50StoredFieldsHighData 1",
        "Lucene50StoredFieldsHighData 2",
        "Lucene87StoredFieldsFastData 3",
        "Lucene87StoredFieldsFastData 4",
        "Lucene87StoredFieldsHighData 3",
        "Lucene87StoredFieldsHighData 4",
        "Lucene90StoredFieldsFastData 1",
        "Lucene90StoredFieldsHighData 1",
        "QatStoredFieldsDeflate 1",
        "QatStoredFieldsLz4 1",
        "QatStoredFieldsZstd 1",
        "ZstdStoredFields814 1",
    ];
    assert_eq!(all, expected);
}

/// A block may be decoded after a damaged one: no state is left over.
#[test]
fn a_decoder_survives_a_damaged_block() {
    for (case, files) in cases() {
        let name = common::segments_file(&files);
        let commit = SegmentInfos::parse(name, &files[name]).unwrap().segments.remove(0);
        let name = commit.segment_info_file();
        let info = lucene::segment_info::SegmentInfo::parse(&name, &files[&name], &commit).unwrap();
        let segment = common::SegmentFiles::open(&files, &commit, &info).unwrap();
        let (header, index) = common::stored_fields(&segment, &info).unwrap();
        let data = segment.get(&commit.file(".fdt")).unwrap();
        let block = index.block(0).unwrap();
        let bytes = &data[block.offset as usize..][..block.length as usize];
        let mut decoder = BlockDecoder::new("data", &header, &index).unwrap();
        let contents = |decoder: &mut BlockDecoder| {
            let documents = decoder.decode(&block, bytes).unwrap();
            let fields = documents.iter().flat_map(|d| {
                d.fields()
                    .map(|f| format!("{:?}", f.unwrap_or_else(|e| panic!("{case}: {e}"))))
                    .collect::<Vec<_>>()
            });
            fields.collect::<Vec<_>>()
        };
        let before = contents(&mut decoder);
        for at in (0..bytes.len()).step_by(97) {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0x55;
            if let Ok(documents) = decoder.decode(&block, &damaged) {
                documents.iter().for_each(|d| d.fields().for_each(drop));
            }
        }
        assert!(decoder.decode(&block, &bytes[..bytes.len() - 1]).is_err());
        assert_eq!(contents(&mut decoder), before, "{case}");
    }
}

/// A change of any single byte of any file does not pass its checksum; and where files are read, they are refused with a
/// file's name, or the documents are the same.
#[test]
fn damage_is_noticed() {
    for (case, mut files) in cases() {
        let expected = expected(&case);
        for name in files.keys().cloned().collect::<Vec<_>>() {
            let len = files[&name].len();
            for at in 0..len.min(2000) {
                files.get_mut(&name).unwrap()[at] ^= 1 << (at % 8);
                assert!(verify_checksum(&name, &files[&name]).is_err(), "{case}: {name} at {at}");
                files.get_mut(&name).unwrap()[at] ^= 1 << (at % 8);
            }
            let step = 1 + len / 8;
            for at in (0..len).step_by(step) {
                files.get_mut(&name).unwrap()[at] ^= 1 << (at % 8);
                match live_documents(&files) {
                    // Data that is read in ranges: a flipped letter decodes as well as the right one.
                    Ok(found) => assert!(
                        found == expected
                            || name.ends_with(".fdt")
                            || name.ends_with(".cfs")
                            || name.ends_with(".dvd")
                    ),
                    Err(e) => assert!(
                        e.file.starts_with(&name[..2]) && !e.message.is_empty(),
                        "{case}: {name} at {at}: {e}"
                    ),
                }
                files.get_mut(&name).unwrap()[at] ^= 1 << (at % 8);
            }
        }
    }
}

/// Files that someone changed and gave the right checksum are no reason to panic.
#[test]
fn forged_files_do_no_harm() {
    for (case, mut files) in cases().into_iter().filter(|(case, _)| case.ends_with("/refused")) {
        let mut refused = 0;
        for name in files.keys().cloned().collect::<Vec<_>>() {
            let whole = files[&name].clone();
            for at in (0..whole.len() - 16).step_by(1 + whole.len() / 80) {
                for byte in [whole[at] ^ 1, whole[at] ^ 0x80, 0, 0xff] {
                    let mut forged = whole.clone();
                    forged[at] = byte;
                    let crc = crc32fast::hash(&forged[..whole.len() - 8]);
                    forged[whole.len() - 4..].copy_from_slice(&crc.to_be_bytes());
                    files.insert(name.clone(), forged);
                    match live_documents(&files) {
                        Ok(_) => {}
                        Err(e) => {
                            refused += 1;
                            assert!(!e.file.is_empty() && !e.message.is_empty(), "{e}");
                        }
                    }
                }
            }
            files.insert(name, whole);
        }
        assert!(refused > 400, "{case}: only {refused} refused");
    }
}

/// A file that ends too early is refused, wherever it ends, with its name. (Compound and stored-fields data are read in
/// ranges, and their truncation shows in their length.)
#[test]
fn truncation_is_noticed() {
    for (case, mut files) in cases() {
        for name in files.keys().cloned().collect::<Vec<_>>() {
            let whole = files.remove(&name).unwrap();
            let is_read = name.starts_with("segments_") || live_documents(&files).is_err();
            files.insert(name.clone(), whole.clone());
            if name.ends_with(".dvd") || !is_read {
                continue; // read by the range that its metadata states, or replaced by a later generation
            }
            for len in (0..whole.len()).step_by(1 + whole.len() / 300) {
                files.insert(name.clone(), whole[..len].to_vec());
                assert!(verify_checksum(&name, &files[&name]).is_err(), "{case}: {name} to {len}");
                if len > whole.len() - 20 || len < 20 || len % 40 == 0 {
                    let error = live_documents(&files).expect_err("a truncated file");
                    assert!(error.file.starts_with(&name[..2]), "{case}: {name} to {len}: {error}");
                }
            }
            files.insert(name, whole);
        }
    }
}

/// The metadata of doc values is understood to its end, whatever kinds of fields have some, in every version.
#[test]
fn doc_values_of_every_kind_are_passed_over() {
    let mut kinds = std::collections::BTreeSet::new();
    for (case, files) in cases().into_iter().filter(|(case, _)| case.ends_with("/kinds")) {
        let name = common::segments_file(&files);
        let mut commit = SegmentInfos::parse(name, &files[name]).unwrap().segments.remove(0);
        commit.field_infos_gen = None; // the segment as first written
        let name = commit.segment_info_file();
        let info = lucene::segment_info::SegmentInfo::parse(&name, &files[&name], &commit).unwrap();
        let segment = common::SegmentFiles::open(&files, &commit, &info).unwrap();
        let name = commit.field_infos_file();
        let fields = FieldInfos::parse(&name, segment.get(&name).unwrap(), &commit).unwrap();
        for field in fields.iter().filter(|f| f.doc_values != DocValuesType::None) {
            let name = commit.doc_values_file(field, "dvm").unwrap();
            let suffix = field.doc_values_suffix().unwrap();
            let meta = segment.get(&name).unwrap();
            let docs = docs_with_field(&name, meta, commit.id.as_ref(), &suffix, &fields, field.number);
            // Others than numeric ones are passed over: nothing is said of them.
            assert_eq!(
                docs.is_ok(),
                field.doc_values == DocValuesType::Numeric,
                "{case}: {field:?}: {docs:?}"
            );
            kinds.insert(format!("{} {:?}", &case[..9], field.doc_values));
            if field.doc_values_skip_index {
                kinds.insert(format!("{} skip index", case.split("-opensearch").next().unwrap()));
            }
        }
    }
    for version in ["lucene-7.", "lucene-8.", "lucene-9.", "lucene-10"] {
        for kind in ["Numeric", "Binary", "SortedSet", "SortedNumeric"] {
            assert!(kinds.contains(&format!("{version} {kind}")), "{version} {kind}: only {kinds:?}");
        }
    }
    // Lucene 10.5 states one number more of a skip index.
    for version in ["lucene-10", "lucene-10.5"] {
        assert!(kinds.contains(&format!("{version} skip index")), "{version}: only {kinds:?}");
    }
}

/// Strings and bytes are told apart, and text is given as text.
#[test]
fn strings_are_strings() {
    let (_, files) =
        cases().into_iter().find(|(case, _)| case.ends_with("9.12-opensearch-2.19.5/deflate")).unwrap();
    let mut strings = 0;
    common::for_each_live(&files, |fields, document| {
        for field in document.fields() {
            let (number, value) = field?;
            if let ("s", Value::String(_) | Value::Bytes(_)) =
                (fields.by_number(number).unwrap().name.as_str(), value)
            {
                strings += 1;
                assert_eq!(value.as_bytes().unwrap().first(), Some(&b's'));
            }
        }
        Ok(())
    })
    .unwrap();
    assert!(strings > 50);
}
