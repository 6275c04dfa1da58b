use std::{collections::HashSet, sync::Arc};

use arrow::array::{Array, ArrayRef, Int32Array, Int64Array, StringArray};

use super::{identities, rows};

fn hashes(columns: &[(&str, ArrayRef)]) -> Vec<u128> {
    let len = columns.first().map_or(0, |(_, column)| column.len());
    rows(columns.iter().map(|(name, column)| (*name, column)), len, 7).unwrap()
}

#[test]
fn the_hash_is_the_same_in_every_version() {
    let columns: [(&str, ArrayRef); 2] = [
        ("id", Arc::new(Int64Array::from(vec![Some(1), None]))),
        ("name", Arc::new(StringArray::from(vec![Some("anna"), Some("")]))),
    ];
    let printed: Vec<_> = hashes(&columns)
        .iter()
        .map(|hash| format!("{hash:032x}"))
        .collect();
    assert_eq!(printed, EXPECTED);
}

/// Stored in indexes for years: a change here is a reload of every table of every user.
const EXPECTED: [&str; 2] = [
    "e4ed75dc45eb19fd7b7767a3b7f379f6",
    "f86bf41b1e852c5383fc6b905517d705",
];

#[test]
fn a_widened_or_reordered_column_changes_nothing_and_a_renamed_one_everything() {
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![-5, 3]));
    let wide: ArrayRef = Arc::new(Int64Array::from(vec![-5, 3]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let base = hashes(&[("n", narrow), ("t", text.clone())]);
    assert_eq!(base, hashes(&[("t", text.clone()), ("n", wide.clone())]));
    assert!(
        base.iter()
            .zip(hashes(&[("m", wide), ("t", text)]))
            .all(|(a, b)| *a != b)
    );
}

#[test]
fn null_empty_and_zero_are_three_things() {
    let strings: ArrayRef = Arc::new(StringArray::from(vec![None, Some(""), Some("0")]));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(0), Some(1)]));
    for column in [strings, numbers] {
        assert_eq!(
            hashes(&[("c", column)]).into_iter().collect::<HashSet<_>>().len(),
            3
        );
    }
}

#[test]
fn a_million_small_rows_do_not_collide_in_either_half() {
    let left: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1_000_000));
    let right: ArrayRef = Arc::new(Int64Array::from_iter_values((0..1_000_000).map(|n| n % 7)));
    let all = hashes(&[("a", left), ("b", right)]);
    let halves = |shift: u32| {
        all.iter()
            .map(|hash| hash >> shift & u128::from(u64::MAX))
            .collect::<HashSet<_>>()
            .len()
    };
    assert_eq!((halves(0), halves(64)), (1_000_000, 1_000_000));
}

#[test]
fn swapped_key_columns_are_another_identity() {
    let a: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let b: ArrayRef = Arc::new(Int64Array::from(vec![2]));
    assert_ne!(identities([&a, &b], 1).unwrap(), identities([&b, &a], 1).unwrap());
}
