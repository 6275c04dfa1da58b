use std::{path::Path, sync::Arc};

use arrow::{
    array::{Int64Array, RecordBatch},
    datatypes::{DataType, Field, Schema},
};
use roaring::RoaringBitmap;

use super::{Matcher, Matches};
use crate::{
    connector::IndexColumns,
    diff::{
        index::Index,
        segment::{GROUP_ROWS, SegmentRef, SegmentWriter},
    },
};

/// Hashes that look random, as real ones do.
fn hash(row: i64) -> u128 {
    u128::from(row.cast_unsigned())
        .wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
        .swap_bytes()
        | 1 << 100
}

fn segment(directory: &Path, id: &str, rows: std::ops::Range<i64>, dead: &[u32]) -> SegmentRef {
    let schema = Schema::new(vec![Field::new("id", DataType::Int64, true)]);
    let columns = IndexColumns {
        key: vec!["id".into()],
        identity: false,
    };
    let mut writer = SegmentWriter::create(&directory.join(id), &schema, &columns).unwrap();
    let ids: Vec<i64> = rows.collect();
    for ids in ids.chunks(10_000) {
        let batch = RecordBatch::try_new(
            Arc::new(schema.clone()),
            vec![Arc::new(Int64Array::from(ids.to_vec()))],
        );
        let hashes: Vec<u128> = ids.iter().map(|id| hash(*id)).collect();
        writer.write(&batch.unwrap(), &hashes, None).unwrap();
    }
    let mut bytes = Vec::new();
    if !dead.is_empty() {
        dead.iter()
            .copied()
            .collect::<RoaringBitmap>()
            .serialize_into(&mut bytes)
            .unwrap();
    }
    SegmentRef {
        id: id.into(),
        rows: writer.finish().unwrap(),
        dead: bytes,
    }
}

fn find(matcher: &mut Matcher, rows: impl IntoIterator<Item = i64>) -> Matches {
    matcher
        .find(&rows.into_iter().map(hash).collect::<Vec<_>>())
        .unwrap()
}

#[expect(clippy::cast_possible_wrap, reason = "a small constant")]
const LONG: i64 = 3 * GROUP_ROWS as i64 / 2;

#[test]
fn rows_in_order_are_found_across_groups_and_segments() {
    let directory = tempfile::tempdir().unwrap();
    let segments = [
        segment(directory.path(), "a", 0..LONG, &[]),
        segment(directory.path(), "b", LONG..2 * LONG, &[]),
    ];
    let mut matcher = Matcher::new(Arc::new(Index::of(&segments, directory.path()).unwrap()), true);
    for first in (0..2 * LONG).step_by(8192) {
        let rows = first..(first + 8192).min(2 * LONG);
        let len = u64::try_from(rows.end - rows.start).unwrap();
        assert_eq!(
            find(&mut matcher, rows),
            Matches {
                unmatched: vec![],
                unchanged: len,
                repeated: 0
            }
        );
    }
    assert_eq!(matcher.into_seen().len(), u64::try_from(2 * LONG).unwrap());
}

#[test]
fn a_second_lane_finds_its_place_by_samples() {
    let directory = tempfile::tempdir().unwrap();
    let segments = [segment(directory.path(), "a", 0..LONG, &[])];
    let mut matcher = Matcher::new(Arc::new(Index::of(&segments, directory.path()).unwrap()), true);
    let matches = find(&mut matcher, 60_000..68_192);
    assert_eq!((matches.unmatched.len(), matches.unchanged), (0, 8192));
    let next = find(&mut matcher, 68_192..70_000);
    assert_eq!(next.unchanged, 1808);
}

#[test]
fn new_edited_and_dead_rows_are_not_found_and_the_rest_is() {
    let directory = tempfile::tempdir().unwrap();
    let segments = [segment(directory.path(), "a", 0..LONG, &[5, 6])];
    let mut matcher = Matcher::new(Arc::new(Index::of(&segments, directory.path()).unwrap()), true);
    let rows = (0..100).chain(1_000_000..1_000_003).chain(150..300).chain([200]);
    let matches = find(&mut matcher, rows);
    assert_eq!(
        matches,
        Matches {
            unmatched: vec![5, 6, 100, 101, 102],
            unchanged: 98 + 150,
            repeated: 1
        }
    );
}

#[test]
fn an_empty_index_holds_nothing() {
    let mut matcher = Matcher::new(Arc::new(Index::default()), true);
    assert_eq!(find(&mut matcher, 0..3).unmatched, [0, 1, 2]);
}

#[test]
fn an_entry_serves_one_row_where_there_is_no_key() {
    let directory = tempfile::tempdir().unwrap();
    let segments = [segment(directory.path(), "a", 0..100, &[])];
    let mut matcher = Matcher::new(Arc::new(Index::of(&segments, directory.path()).unwrap()), false);
    let matches = find(&mut matcher, (0..50).chain([7]).chain(50..100));
    assert_eq!((matches.unmatched, matches.unchanged), (vec![50], 100));
    let again = find(&mut matcher, 0..3);
    assert_eq!((again.unmatched, again.repeated), (vec![0, 1, 2], 0));
}
