//! The formats among which an input chooses, by the number that it begins with. Whatever makes inputs from real files needs the
//! same numbers, so this file depends on nothing else.

/// The name of a codec and its version.
pub type Format = (&'static str, u8);

/// `.cfe`.
pub const COMPOUND: &[Format] = &[
    ("Lucene90CompoundEntries", 0),
    ("Lucene50CompoundEntries", 0),
    ("CompoundFileWriterEntries", 1),
    ("CompoundFileWriterEntries", 0),
];

/// `.dvm`.
pub const DOC_VALUES: &[Format] = &[
    ("Lucene90DocValuesMetadata", 0),
    ("Lucene80DocValuesMetadata", 2),
    ("Lucene80DocValuesMetadata", 1),
    ("Lucene80DocValuesMetadata", 0),
    ("Lucene70DocValuesMetadata", 0),
    ("Lucene90DocValuesMetadata", 1),
    ("Lucene90DocValuesMetadata", 2),
];

/// `.fnm`.
pub const FIELD_INFOS: &[Format] = &[
    ("Lucene94FieldInfos", 2),
    ("Lucene94FieldInfos", 1),
    ("Lucene94FieldInfos", 0),
    ("Lucene90FieldInfos", 0),
    ("Lucene60FieldInfos", 2),
    ("Lucene60FieldInfos", 1),
    ("Lucene60FieldInfos", 0),
    ("Lucene50FieldInfos", 1),
    ("Lucene50FieldInfos", 0),
    ("Lucene46FieldInfos", 2),
    ("Lucene46FieldInfos", 0),
    ("Lucene42FieldInfos", 0),
    ("Lucene40FieldInfos", 0),
];

/// `.liv` and `.del`.
pub const LIVE_DOCS: &[Format] =
    &[("Lucene90LiveDocs", 0), ("Lucene50LiveDocs", 0), ("BitVector", 2), ("BitVector", 1), ("BitVector", 0)];

/// `.si`.
pub const SEGMENT_INFO: &[Format] = &[
    ("Lucene90SegmentInfo", 0),
    ("Lucene86SegmentInfo", 0),
    ("Lucene70SegmentInfo", 0),
    ("Lucene62SegmentInfo", 1),
    ("Lucene50SegmentInfo", 1),
    ("Lucene50SegmentInfo", 0),
    ("Lucene46SegmentInfo", 1),
    ("Lucene46SegmentInfo", 0),
    ("Lucene40SegmentInfo", 0),
];

/// `segments_N`.
pub const SEGMENTS: &[Format] = &[
    ("segments", 0),
    ("segments", 1),
    ("segments", 2),
    ("segments", 3),
    ("segments", 4),
    ("segments", 5),
    ("segments", 6),
    ("segments", 7),
    ("segments", 8),
    ("segments", 9),
    ("segments", 10),
    ("segments", 11),
];

/// `.fdx`, with `.fdm` or alone. Those with a `.fdm` have the beginning of both names here.
pub const STORED_FIELDS_INDEX: &[Format] = &[
    ("Lucene90FieldsIndex", 1),
    ("Lucene85FieldsIndex", 4),
    ("Lucene85FieldsIndex", 3),
    ("Lucene85FieldsIndex", 0),
    ("Lucene50StoredFieldsFastIndex", 1),
    ("Lucene50StoredFieldsHighIndex", 0),
    ("Lucene41StoredFieldsIndex", 2),
    ("Lucene41StoredFieldsIndex", 0),
];

/// `.fdt`.
pub const STORED_FIELDS: &[Format] = &[
    ("Lucene90StoredFieldsFastData", 1),
    ("Lucene90StoredFieldsHighData", 1),
    ("ZstdStoredFields814", 1),
    ("CustomStoredFieldsZstd", 1),
    ("CustomStoredFieldsZstdNoDict", 1),
    ("QatStoredFieldsLz4", 1),
    ("QatStoredFieldsDeflate", 1),
    ("QatStoredFieldsZstd", 1),
    ("Lucene87StoredFieldsFastData", 4),
    ("Lucene87StoredFieldsFastData", 3),
    ("Lucene87StoredFieldsHighData", 4),
    ("Lucene87StoredFieldsHighData", 3),
    ("Lucene50StoredFieldsFastData", 1),
    ("Lucene50StoredFieldsHighData", 1),
    ("Lucene41StoredFieldsData", 2),
    ("Lucene41StoredFieldsData", 0),
];

/// Metadata blobs of repositories, of which a version is not chosen.
pub const METADATA: &[Format] = &[("snapshot", 1), ("metadata", 1), ("index-metadata", 1), ("snapshot", 1)];
