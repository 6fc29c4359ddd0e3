use super::*;
use proptest::prelude::*;

/// Writes a set as Lucene's `IndexedDISI` does.
fn write(docs: &Bits, endian: Endian, rank_power: Option<u8>) -> Sparse2 {
    let short =
        |n: u32| if endian == Endian::Big { (n as u16).to_be_bytes() } else { (n as u16).to_le_bytes() };
    let mut out = Vec::new();
    for block in 0..docs.len().div_ceil(BLOCK) {
        let first = block * BLOCK;
        let members: Vec<u32> = (0..BLOCK).filter(|i| docs.get(first + i)).collect();
        if members.is_empty() {
            continue;
        }
        out.extend(short(block));
        out.extend(short(members.len() as u32 - 1));
        if members.len() as u32 == BLOCK {
            continue;
        }
        if members.len() as u32 <= MAX_LISTED {
            members.iter().for_each(|d| out.extend(short(*d)));
            continue;
        }
        if let Some(power) = rank_power {
            out.extend(vec![0xab; 2 * (BLOCK >> power) as usize]);
        }
        for word in 0..WORDS as u32 {
            let word = (0..64).fold(0u64, |w, i| w | u64::from(docs.get(first + word * 64 + i)) << i);
            out.extend(if endian == Endian::Big { word.to_be_bytes() } else { word.to_le_bytes() });
        }
    }
    out.extend([short(END.into()), short(0), short(0xffff)].concat());
    out.extend([0xcd; 24]); // a jump table
    let count = docs.count().into();
    Sparse2 {
        at: Sparse { offset: 77, length: out.len() as u64, dense_rank_power: rank_power, endian, count },
        bytes: out,
    }
}

struct Sparse2 {
    at: Sparse,
    bytes: Vec<u8>,
}

/// Sets with blocks of every kind: none, few, many and all documents.
fn any_set() -> impl Strategy<Value = Bits> {
    let block =
        prop_oneof![Just(0u32), 1..9u32, Just(MAX_LISTED), Just(MAX_LISTED + 1), 5000..60000u32, Just(BLOCK)];
    (prop::collection::vec((block, any::<u32>()), 0..4), 0..70_000u32).prop_map(|(blocks, more)| {
        let mut set = Bits::none(blocks.len() as u32 * BLOCK + more);
        for (block, (count, seed)) in blocks.iter().enumerate() {
            // An odd step visits each document of a block once.
            (0..*count).for_each(|i| {
                let within = i.wrapping_mul(seed | 1).wrapping_add(*seed) % BLOCK;
                assert!(set.insert(block as u32 * BLOCK + within));
            });
        }
        set
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn sets_are_read_back(set in any_set(), big in any::<bool>(), power in prop::option::of(7u8..=15)) {
        let written = write(&set, if big { Endian::Big } else { Endian::Little }, power);
        let read = written.at.decode("set", &written.bytes, set.len()).unwrap();
        prop_assert_eq!(&read, &set);
        for docs in [DocsWithField::None, DocsWithField::All] {
            let expected = if docs == DocsWithField::All { set.len() } else { 0 };
            prop_assert_eq!(docs.decode("set", &[], set.len()).unwrap().count(), expected);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut set = Bits::none(200_000);
    for doc in (0..60_000).chain([65_536, 131_080]) {
        set.insert(doc);
    }
    let good = write(&set, Endian::Little, Some(9));
    assert!(good.at.decode("set", &good.bytes, 200_000).is_ok());
    let refused = |at: &Sparse, bytes: &[u8], max_doc: u32, expected: &str| {
        let error = DocsWithField::Sparse(at.clone()).decode("set", bytes, max_doc).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused(&good.at, &good.bytes, 131_080, "others in block 2");
    refused(&good.at, &good.bytes, 50_000, "others in block 0");
    refused(&good.at, &good.bytes[1..], 200_000, "bytes of a set");
    refused(&Sparse { count: 1, ..good.at.clone() }, &good.bytes, 200_000, "1 documents");
    for len in (0..good.bytes.len() - 30).step_by(5) {
        let at = Sparse { length: len as u64, ..good.at.clone() };
        refused(&at, &good.bytes[..len], 200_000, "set: at offset ");
    }
    let twice = [0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 6, 0, 0xff, 0x7f, 0, 0, 0xff, 0xff];
    let at = Sparse { length: 18, count: 2, ..good.at };
    refused(&at, &twice, 200_000, "block 1 or later");
}
