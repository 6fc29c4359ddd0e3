use super::*;
use proptest::prelude::*;

pub(crate) fn vint(mut n: u32, out: &mut Vec<u8>) {
    while n > 0x7f {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Writes as Lucene does: a single number alone, equal ones once, others packed or in groups of 128.
fn write(layout: IntsLayout, values: &[u32]) -> Vec<u8> {
    let mut out = Vec::new();
    let max = values.iter().fold(0, |a, b| a | b);
    let equal = values.iter().all(|v| *v == values[0]);
    match layout {
        _ if values.len() == 1 => vint(values[0], &mut out),
        _ if equal => {
            out.push(0);
            vint(values[0], &mut out);
        }
        IntsLayout::Packed | IntsLayout::PackedInWords => {
            let padded_to = if layout == IntsLayout::Packed { 8 } else { 64 };
            let bits = 32 - max.leading_zeros();
            out.push(bits as u8);
            let text: String =
                values.iter().map(|v| format!("{v:0width$b}", width = bits as usize)).collect();
            let padded = format!("{text}{}", "0".repeat(text.len().next_multiple_of(padded_to) - text.len()));
            out.extend(
                (0..padded.len() / 8).map(|i| u8::from_str_radix(&padded[i * 8..i * 8 + 8], 2).unwrap()),
            );
        }
        IntsLayout::Interleaved => {
            let bits = if max < 1 << 8 {
                8
            } else if max < 1 << 16 {
                16
            } else {
                32
            };
            out.push(bits as u8);
            let (groups, rest) = values.as_chunks::<128>();
            for group in groups {
                let words = bits * 2;
                for i in 0..words {
                    let word =
                        (0..64 / bits).fold(0u64, |w, part| w << bits | u64::from(group[part * words + i]));
                    out.extend(word.to_le_bytes());
                }
            }
            rest.iter().for_each(|v| out.extend(&v.to_le_bytes()[..bits / 8]));
        }
    }
    out
}

proptest! {
    #[test]
    fn numbers_are_read_back(values in prop::collection::vec(any::<u32>(), 1..400), bits in 1u32..=31, equal in any::<bool>()) {
        let values: Vec<u32> = values.iter().map(|v| if equal { values[0] } else { *v } & (u32::MAX >> (32 - bits))).collect();
        for layout in [IntsLayout::Packed, IntsLayout::PackedInWords, IntsLayout::Interleaved] {
            let bytes = write(layout, &values);
            let mut out = Vec::new();
            let mut input = Input::new("block", &bytes);
            layout.read(&mut input, values.len(), &mut out).unwrap();
            prop_assert_eq!(&out, &values);
            prop_assert_eq!(input.remaining(), 0);
            for len in 0..bytes.len() {
                prop_assert!(layout.read(&mut Input::new("block", &bytes[..len]), values.len(), &mut Vec::new()).is_err());
            }
        }
    }
}

#[test]
fn other_widths_and_negative_numbers_are_refused() {
    let packed =
        |bits: u8| IntsLayout::Packed.read(&mut Input::new("b", &[bits; 99]), 9, &mut Vec::new()).is_ok();
    let interleaved = |bits: u8| {
        IntsLayout::Interleaved.read(&mut Input::new("b", &[bits; 99]), 9, &mut Vec::new()).is_ok()
    };
    for bits in 0..=127 {
        assert_eq!(packed(bits), bits <= 31, "{bits}");
        assert_eq!(interleaved(bits), [0, 8, 16, 32].contains(&bits), "{bits}");
    }
    let negative = [&[32u8][..], &[0xff; 8]].concat();
    assert!(IntsLayout::Interleaved.read(&mut Input::new("b", &negative), 2, &mut Vec::new()).is_err());
    assert!(
        IntsLayout::Packed
            .read(&mut Input::new("b", &[0xff, 0xff, 0xff, 0xff, 0x0f]), 1, &mut Vec::new())
            .is_err()
    );
}
