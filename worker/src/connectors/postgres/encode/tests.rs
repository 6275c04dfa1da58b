use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int32Array, ListArray, RecordBatch, StringArray};
use arrow::datatypes::Int32Type;

use super::{CHUNK, Encoder, Prepared};

/// All chunks of one COPY.
fn encode(batches: &[RecordBatch]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new();
    let mut chunks = Vec::new();
    for batch in batches {
        let prepared = Prepared::new(batch).unwrap();
        let mut rows = prepared.rows(batch);
        while let Some(chunk) = encoder.fill(&mut rows) {
            chunks.push(chunk);
        }
    }
    chunks.push(encoder.finish());
    chunks
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn rows_are_what_a_binary_copy_expects() {
    let ids = Int32Array::from(vec![Some(7), None]);
    let names = StringArray::from(vec!["ab", ""]);
    let bytes = encode(&[batch(vec![("id", Arc::new(ids)), ("name", Arc::new(names))])]).concat();
    let expected: Vec<u8> = [
        b"PGCOPY\n\xff\r\n\0".as_slice(),
        &[0; 8],
        &[0, 2, 0, 0, 0, 4, 0, 0, 0, 7, 0, 0, 0, 2, b'a', b'b'],
        &[0, 2, 255, 255, 255, 255, 0, 0, 0, 0],
        &[255, 255],
    ]
    .concat();
    assert_eq!(bytes, expected);
}

#[test]
fn a_list_is_an_array_of_one_dimension_and_an_empty_one_of_none() {
    let list =
        ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(5), None]), Some(vec![]), None]);
    let bytes = encode(&[batch(vec![("l", Arc::new(list))])]).concat();
    let expected: Vec<u8> = [
        [0, 1, 0, 0, 0, 32].as_slice(),
        &[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 23, 0, 0, 0, 2, 0, 0, 0, 1],
        &[0, 0, 0, 4, 0, 0, 0, 5, 255, 255, 255, 255],
        &[0, 1, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 23],
        &[0, 1, 255, 255, 255, 255],
        &[255, 255],
    ]
    .concat();
    assert_eq!(bytes[19..], expected);
}

#[test]
fn chunks_are_full_across_batches_and_one_huge_value_makes_one_huge_chunk() {
    let small = batch(vec![("n", Arc::new(Int32Array::from(vec![1; 1000])) as ArrayRef)]);
    let chunks = encode(&vec![small; 100]);
    let (last, full) = chunks.split_last().unwrap();
    assert!(
        full.iter()
            .all(|chunk| (CHUNK..CHUNK + 100).contains(&chunk.len()))
    );
    assert_eq!(
        full.iter().map(Vec::len).sum::<usize>() + last.len(),
        19 + 100_000 * 10 + 2
    );
    let huge = StringArray::from(vec!["x".repeat(4 * CHUNK)]);
    assert_eq!(huge.len(), 1);
    assert_eq!(encode(&[batch(vec![("t", Arc::new(huge))])]).len(), 1);
}
