use std::{ops::Range, path::Path, sync::Arc};

use arrow::{
    array::{AsArray, Int64Array, RecordBatch},
    datatypes::{DataType, Field, Int64Type, Schema},
};
use roaring::RoaringBitmap;

use super::{Part, due, merge};
use crate::{
    connector::IndexColumns,
    diff::segment::{GROUP_ROWS, SegmentReader, SegmentWriter},
};

fn part(directory: &Path, column: &str, rows: Range<i64>, dead: &[u32]) -> Part {
    let path = directory.join(format!("{column}-{}", rows.start));
    let schema = Schema::new(vec![Field::new(column, DataType::Int64, true)]);
    let columns = IndexColumns {
        key: vec![column.into()],
        identity: false,
    };
    let mut writer = SegmentWriter::create(&path, &schema, &columns).unwrap();
    let ids: Vec<i64> = rows.collect();
    let hashes: Vec<u128> = ids.iter().map(|id| u128::from(id.cast_unsigned())).collect();
    let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from(ids))]).unwrap();
    writer.write(&batch, &hashes, None).unwrap();
    writer.finish().unwrap();
    let mut bytes = Vec::new();
    if !dead.is_empty() {
        let dead: RoaringBitmap = dead.iter().copied().collect();
        dead.serialize_into(&mut bytes).unwrap();
    }
    Part { path, dead: bytes }
}

/// The keys of a segment, each of which is its own hash.
fn keys(path: &Path) -> Vec<i64> {
    let reader = SegmentReader::open(path).unwrap();
    let mut keys = Vec::new();
    for group in 0..reader.groups() {
        let entries = reader.entries(group).unwrap();
        let ids = entries
            .key
            .column(0)
            .as_primitive::<Int64Type>()
            .values()
            .to_vec();
        let hashes: Vec<u128> = ids.iter().map(|id| u128::from(id.cast_unsigned())).collect();
        assert_eq!(entries.hashes, hashes);
        assert!(group + 1 == reader.groups() || ids.len() == GROUP_ROWS);
        keys.extend(ids);
    }
    keys
}

#[test]
fn what_lives_is_kept_in_its_order() {
    let directory = tempfile::tempdir().unwrap();
    let long = i64::try_from(GROUP_ROWS).unwrap() + 10;
    let second = u32::try_from(GROUP_ROWS).unwrap() + 3;
    let parts = [
        part(directory.path(), "id", 0..long, &[0, second]),
        part(directory.path(), "id", 500_000..500_020, &[]),
        part(directory.path(), "id", 100_000..100_003, &[1]),
    ];
    let to = directory.path().join("merged");
    let (taken, rows) = merge(&parts, &to).unwrap();
    let first = (1..long).filter(|id| *id != i64::from(second));
    let expected: Vec<i64> = first.chain(500_000..500_020).chain([100_000, 100_002]).collect();
    assert_eq!((taken, rows), (3, expected.len() as u64));
    assert_eq!(keys(&to), expected);
}

#[test]
fn segments_of_another_key_are_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let parts = [
        part(directory.path(), "old", 0..5, &[]),
        part(directory.path(), "id", 10..12, &[]),
        part(directory.path(), "id", 20..22, &[]),
    ];
    let to = directory.path().join("merged");
    assert_eq!(merge(&parts, &to).unwrap(), (2, 4));
    assert_eq!(keys(&to), [10, 11, 20, 21]);
}

/// However long small segments are added, there are few, and each entry is written again a few times alone.
#[test]
fn there_are_few_and_little_is_written_again() {
    for small in [1_u64, 7, 100] {
        let (mut rows, mut written, mut most) = (vec![100_000], 0, 0);
        for _ in 0..20_000 {
            rows.push(small);
            let due = due(&rows);
            let sum: u64 = rows.drain(rows.len() - due..).sum();
            if due > 0 {
                rows.push(sum);
                written += sum;
            }
            most = most.max(rows.len());
        }
        let all: u64 = rows.iter().sum();
        assert_eq!(all, 100_000 + 20_000 * small);
        assert!(most < 40, "{most} segments");
        assert!(written < 50 * all, "{written} entries written for {all}");
    }
}
