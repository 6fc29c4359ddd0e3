use super::*;
use proptest::prelude::*;

/// The one field of a document, its number and kind left out.
fn value(kind: u8, bytes: &[u8], endian: Endian) -> Result<Value<'static>> {
    value_of(kind, bytes, Numbers::Variable(endian))
}

fn value_of(kind: u8, bytes: &[u8], numbers: Numbers) -> Result<Value<'static>> {
    let bytes: &'static [u8] = [&[7 << 3 | kind], bytes].concat().leak();
    let mut fields = StoredDocument::new("blocks", 4, 1, numbers, bytes).fields();
    let (number, value) = fields.next().unwrap()?;
    assert_eq!((number, fields.next()), (7, None));
    Ok(value)
}

#[test]
fn numbers_of_every_form_are_read() {
    let minus_two = [0xff, 0xc0, 0, 0, 0];
    for (kind, bytes, expected) in [
        (2, &[0][..], Value::Int(0)),
        (2, &[1], Value::Int(-1)),
        (2, &[0xff, 0xff, 0xff, 0xff, 0x0f], Value::Int(i32::MIN)),
        (3, &[0x80], Value::Float(-1.0)),
        (3, &[0xfe], Value::Float(125.0)),
        (3, &[0x3f, 0x80, 0x00, 0x01], Value::Float(1.000_000_1)),
        (3, &minus_two, Value::Float(-2.0)),
        (4, &[0x03], Value::Long(-2)),
        (4, &[0x42], Value::Long(1000)),
        (4, &[0x81], Value::Long(-3_600_000)),
        (4, &[0xc2], Value::Long(86_400_000)),
        (4, &[0x20, 0x01], Value::Long(16)),
        (5, &[0x80], Value::Double(-1.0)),
        (5, &[0xfd], Value::Double(124.0)),
        (5, &[0xfe, 0xc0, 0, 0, 0], Value::Double(-2.0)),
        (5, &[0x3f, 0xf0, 0, 0, 0, 0, 0, 0], Value::Double(1.0)),
        (5, &[0xff, 0xc0, 0, 0, 0, 0, 0, 0, 0], Value::Double(-2.0)),
    ] {
        assert_eq!(value(kind, bytes, Endian::Big).unwrap(), expected);
        for len in 0..bytes.len() {
            assert!(value(kind, &bytes[..len], Endian::Big).is_err());
        }
    }
    assert_eq!(value(3, &[0xff, 0, 0, 0, 0xc0], Endian::Little).unwrap(), Value::Float(-2.0));
    assert_eq!(value(3, &[0x3f, 0x00, 0x80, 0x01], Endian::Little).unwrap(), Value::Float(1.000_000_1));
    assert_eq!(
        value(5, &[0x3f, 0, 0, 0, 0xf0, 0, 0, 0], Endian::Little).unwrap(),
        Value::Double(f64::from_bits(0x3f << 56 | 0xf0 << 48))
    );
}

#[test]
fn numbers_of_full_width_are_read() {
    for (kind, bytes, expected) in [
        (2, &[0xff, 0xff, 0xff, 0xfe][..], Value::Int(-2)),
        (3, &[0xc0, 0, 0, 0], Value::Float(-2.0)),
        (4, &[0, 0, 0, 0, 0, 0, 1, 0], Value::Long(256)),
        (5, &[0x3f, 0xf0, 0, 0, 0, 0, 0, 0], Value::Double(1.0)),
        (0, b"\x02hi", Value::String(b"hi")),
    ] {
        assert_eq!(value_of(kind, bytes, Numbers::Fixed).unwrap(), expected);
        assert!(value_of(kind, &bytes[..bytes.len() - 1], Numbers::Fixed).is_err());
    }
}

#[test]
fn strings_and_bytes_borrow() {
    let text = value(0, b"\x02hi", Endian::Big).unwrap();
    assert_eq!((text.as_str(), text.as_bytes()), (Some("hi"), Some(&b"hi"[..])));
    let bytes = value(1, b"\x02\xff\xfe", Endian::Big).unwrap();
    assert_eq!((bytes.as_str(), bytes.as_bytes()), (None, Some(&b"\xff\xfe"[..])));
    assert_eq!(value(0, b"\x01\xff", Endian::Big).unwrap().as_str(), None);
    assert_eq!(Value::Int(1).as_bytes(), None);
}

#[test]
fn a_document_is_all_of_its_bytes_and_no_more() {
    let (field, kind_6, too_much) = ([0x09, 1, b'x'], [0x0e, 0, 0], [0x09, 0x7f, b'x']);
    for (bytes, count, expected) in [
        (&[field, field].concat()[..], 2, None),
        (&[field, field].concat(), 1, Some("document 4 at its byte 3: expected the end")),
        (&field, 2, Some("document 4 at its byte 3: expected 1 more")),
        (&kind_6, 1, Some("a kind of field of 0 to 5, found 6")),
        (&too_much, 1, Some("expected 127 more bytes, found 1")),
    ] {
        let document = StoredDocument::new("blocks", 4, count, Numbers::Variable(Endian::Big), bytes);
        let errors: Vec<_> = document.fields().filter_map(Result::err).map(|e| e.to_string()).collect();
        match expected {
            None => assert_eq!(errors, [] as [&str; 0]),
            Some(expected) => assert!(errors.len() == 1 && errors[0].contains(expected), "{errors:?}"),
        }
    }
}

/// Bytes of a field: small numbers of all kinds, and lengths of one byte and of two.
fn field_bytes() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![0usize..8, 120usize..140];
    (any::<u8>(), length, any::<bool>()).prop_map(|(head, length, whole)| {
        let mut bytes = vec![head];
        match length {
            0x80.. => bytes.extend([length as u8 & 0x7f | 0x80, (length >> 7) as u8]),
            _ => bytes.push(length as u8),
        }
        bytes.resize(bytes.len() + if whole { length } else { 3 }, head);
        bytes
    })
}

proptest! {
    #[test]
    fn usual_fields_are_what_they_are_to_the_one_that_reads_all(
        fields in prop::collection::vec(field_bytes(), 0..6),
        more in -1i32..2,
        cut in 0usize..3,
        numbers in prop::sample::select(vec![Numbers::Variable(Endian::Big), Numbers::Variable(Endian::Little), Numbers::Fixed]),
    ) {
        let count = (fields.len() as i32 + more).max(0) as u32;
        let mut bytes = fields.concat();
        bytes.truncate(bytes.len().saturating_sub(cut));
        let document = StoredDocument::new("blocks", 4, count, numbers, &bytes);
        let (mut all, mut expected) = (document.fields(), Vec::new());
        while let Some(left) = all.left.checked_sub(1) {
            all.left = left;
            expected.push(all.any_field());
        }
        let mut shown = Vec::new();
        let result = document.try_for_each_field(|number, value| {
            shown.push(Ok((number, value)));
            Ok::<_, Error>(())
        });
        shown.extend(result.err().map(Err));
        // As text, since what is not a number is not the same as itself.
        let text = |fields: Vec<Result<(u32, Value<'_>)>>| format!("{fields:?}");
        prop_assert_eq!(text(document.fields().collect()), text(expected));
        prop_assert_eq!(text(shown), text(document.fields().collect()));
    }
}
