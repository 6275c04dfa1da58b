use super::*;

#[test]
fn what_goes_in_comes_out_whether_or_not_it_fits_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    for count in [10_u64, 400_000] {
        let buckets = Buckets::new(directory.path(), "test");
        // One identity in all of them, so that one bucket overflows; the rest spread out.
        let candidate = |number: u64| Candidate {
            identity: if number.is_multiple_of(2) {
                5
            } else {
                u128::from(number).reverse_bits()
            },
            delivered: 7,
            row: u128::from(number) << 70,
            cursor: number.to_be_bytes().into(),
            place: number,
            number,
            kind: Kind::Upsert,
        };
        buckets
            .add(&(0..count).map(candidate).collect::<Vec<_>>())
            .unwrap();
        assert_eq!(buckets.len(), count);
        let mut all: Vec<Candidate> = (0..COUNT)
            .flat_map(|number| buckets.take(number).unwrap())
            .collect();
        all.sort_by_key(|candidate| candidate.number);
        assert!(all.into_iter().eq((0..count).map(candidate)));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

#[test]
fn an_index_entry_keeps_its_mark() {
    let mut bytes = Vec::new();
    let entry = Delivered {
        identity: 1,
        delivered: 2,
        row: 3,
        position: 4,
        seen: true,
    };
    entry.encode(&mut bytes);
    assert_eq!(Delivered::decode(&mut bytes.as_slice()), Some(entry));
    assert_eq!(Delivered::decode(&mut &bytes[1..]), None);
}
