use super::*;

fn decoded(compressed: &[u8], len: usize) -> std::result::Result<(usize, Vec<u8>), Fault> {
    let mut out = vec![0; len];
    let taken = decode(compressed, &mut out)?;
    Ok((taken, out))
}

#[test]
fn blocks_end_where_enough_has_come_out() {
    let last_literals = [0x50, b'a', b'b', b'c', b'd', b'e'];
    let cases: [(&[u8], usize, &[u8]); 6] = [
        (&last_literals, 6, b"abcde"),
        // a match that repeats one byte, and one that overlaps by a part of itself
        (&[0x1f, b'x', 1, 0, 3], 5, b"xxxxxxxxxxxxxxxxxxxxxxx"),
        (&[0x34, b'a', b'b', b'c', 3, 0], 6, b"abcabcabcab"),
        // a match far enough away, then literals
        (&[0x40, b'a', b'b', b'c', b'd', 4, 0, 0x10, b'!'], 9, b"abcdabcd!"),
        // an extended length of literals
        (
            &[0xf0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17],
            19,
            b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11",
        ),
        (&[0x00], 0, b""),
    ];
    for (compressed, taken, expected) in cases {
        let more = [compressed, &[0xee; 40]].concat();
        for bytes in [compressed, &more] {
            assert_eq!(decoded(bytes, expected.len()), Ok((taken, expected.to_vec())));
        }
    }
}

#[test]
fn what_is_no_such_block_is_refused() {
    for (compressed, len, what) in [
        (&[][..], 1, "the end of the bytes"),
        (&[0x20, b'a'], 2, "the end of the bytes"),
        (&[0x10, b'a', 1], 9, "the end of the bytes"),
        (&[0xf0, 255, 255], 9, "the end of the bytes"),
        (&[0x10, b'a', 0, 0], 9, "a match before the first byte"),
        (&[0x10, b'a', 2, 0], 9, "a match before the first byte"),
        (&[0x11, b'a', 1, 0], 5, "a match beyond the last byte"),
        (&[0x30, b'a', b'b', b'c'], 2, "literals beyond the last byte"),
        (
            &[0x30, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17],
            2,
            "literals beyond the last byte",
        ),
    ] {
        assert_eq!(decoded(compressed, len).unwrap_err().what, what, "{compressed:?}");
    }
}
