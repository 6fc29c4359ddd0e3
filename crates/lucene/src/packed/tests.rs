use super::*;
use proptest::prelude::*;

/// Packs numbers as Lucene's writers do.
fn pack(values: &[u64], bits: u32, endian: Endian) -> Vec<u8> {
    let mut bytes = vec![0u8; (values.len() * bits as usize).div_ceil(8)];
    for (i, value) in values.iter().enumerate() {
        for bit in 0..bits as usize {
            let at = i * bits as usize + bit;
            let (from, to) = match endian {
                Endian::Little => (bit, at % 8),
                Endian::Big => (bits as usize - 1 - bit, 7 - at % 8),
            };
            bytes[at / 8] |= ((value >> from & 1) as u8) << to;
        }
    }
    bytes
}

fn any_endian() -> impl Strategy<Value = Endian> {
    prop_oneof![Just(Endian::Little), Just(Endian::Big)]
}

proptest! {
    #[test]
    fn packed_numbers_are_read_back(bits in 1u32..=64, values in prop::collection::vec(any::<u64>(), 1..200), endian in any_endian()) {
        let values: Vec<u64> = values.iter().map(|v| v & (u64::MAX >> (64 - bits))).collect();
        let bytes = pack(&values, bits, endian);
        for (i, value) in values.iter().enumerate() {
            prop_assert_eq!(get(&bytes, endian, bits, i as u64), Some(*value));
        }
        let end = (bytes.len() * 8) as u64 / u64::from(bits);
        prop_assert_eq!(get(&bytes, endian, bits, end), None);
    }

    #[test]
    fn monotonic_sequences_are_read_back(steps in prop::collection::vec(0u32..3_000_000, 1..700), shift in 2u32..9, endian in any_endian()) {
        let values: Vec<i64> = steps.iter().scan(0, |sum, s| { *sum += i64::from(*s); Some(*sum) }).collect();
        let (meta, packed) = monotonic(&values, shift, endian);
        let mut input = Input::new("meta", &meta).with_endian(endian);
        let mut sequence = Monotonic::read(&mut input, values.len() as u64, shift).unwrap();
        input.end().unwrap();
        sequence.fill(&packed);
        let read: Vec<_> = (0..values.len() as u64).map(|i| sequence.get(i).unwrap()).collect();
        prop_assert_eq!(read, values.clone());
        prop_assert_eq!(sequence.get(values.len() as u64), None);
        let mut skipped = Input::new("meta", &meta).with_endian(endian);
        skip_monotonic(&mut skipped, values.len() as u64, shift).unwrap();
        prop_assert_eq!(skipped.remaining(), 0);
    }
}

/// Encodes a sequence, its line in single precision as Lucene's `DirectMonotonicWriter` has it.
fn monotonic(values: &[i64], shift: u32, endian: Endian) -> (Vec<u8>, Vec<u8>) {
    let (mut meta, mut packed) = (Vec::new(), Vec::new());
    for block in values.chunks(1 << shift) {
        let average = (block[block.len() - 1] - block[0]) as f32 / (block.len() as f32 - 1.0).max(1.0);
        let mut off: Vec<i64> =
            block.iter().enumerate().map(|(i, v)| v - (average * i as f32) as i64).collect();
        let min = *off.iter().min().unwrap();
        off.iter_mut().for_each(|v| *v -= min);
        let needed = 64 - off.iter().max().unwrap().leading_zeros();
        let bits = [0, 1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 40].into_iter().find(|b| *b >= needed).unwrap();
        let parts: [&[u8]; 3] = match endian {
            Endian::Big => {
                [&min.to_be_bytes(), &average.to_bits().to_be_bytes(), &(packed.len() as u64).to_be_bytes()]
            }
            Endian::Little => {
                [&min.to_le_bytes(), &average.to_bits().to_le_bytes(), &(packed.len() as u64).to_le_bytes()]
            }
        };
        meta.extend(parts.concat());
        meta.push(bits as u8);
        packed.extend(pack(&off.iter().map(|v| *v as u64).collect::<Vec<_>>(), bits, endian));
    }
    (meta, packed)
}

#[test]
fn a_stated_number_of_values_is_bounded_by_the_metadata() {
    let meta = [0; 42];
    let read = |count, shift| Monotonic::read(&mut Input::new("meta", &meta), count, shift);
    assert_eq!(read(2 << 10, 10).unwrap().get(2000), Some(0));
    for (count, shift) in [((2 << 10) + 1, 10), (u64::MAX, 0), (1, 64), (u64::MAX, 10)] {
        assert!(read(count, shift).is_err(), "{count} in blocks of 1 << {shift}");
    }
}

#[test]
fn only_widths_that_are_written_are_read() {
    for bits in 0..=255 {
        let mut meta = vec![0; 20];
        meta.push(bits);
        let written = [0, 1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64].contains(&bits);
        assert_eq!(Monotonic::read(&mut Input::new("meta", &meta), 1, 10).is_ok(), written, "{bits}");
    }
}
