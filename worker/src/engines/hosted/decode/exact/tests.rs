use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array,
        LargeStringArray, ListArray, NullArray, StringArray, StructArray, TimestampMicrosecondArray,
        TimestampSecondArray,
    },
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Float64Type, Int32Type, Int64Type, TimeUnit},
};

use super::{exact, there};
use crate::types::UNTYPED;

fn list(values: Vec<Option<Vec<Option<f64>>>>) -> ArrayRef {
    Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(values))
}

/// A struct with these parts.
fn record(parts: &[(&str, ArrayRef)]) -> ArrayRef {
    let parts = parts.iter().map(|(name, part)| {
        (
            Arc::new(Field::new(*name, part.data_type().clone(), true)),
            part.clone(),
        )
    });
    Arc::new(StructArray::from(parts.collect::<Vec<_>>()))
}

/// Which values have a place.
fn fitting(array: ArrayRef, wanted: &DataType) -> Vec<bool> {
    let made = exact(&array, &Field::new("it", wanted.clone(), true)).unwrap();
    assert_eq!(made.data_type(), wanted);
    (0..made.len()).map(|row| !made.is_null(row)).collect()
}

#[test]
fn a_value_that_means_the_same_in_the_other_type_fits() {
    let numbers = || Arc::new(Float64Array::from(vec![35.0, 35.2, f64::NAN])) as ArrayRef;
    assert_eq!(fitting(numbers(), &DataType::Int64), [true, false, false]);
    assert_eq!(fitting(numbers(), &DataType::Float32), [true, false, true]);
    assert_eq!(
        fitting(Arc::new(Int32Array::from(vec![1])), &DataType::Int64),
        [true]
    );
    assert_eq!(
        fitting(Arc::new(LargeStringArray::from(vec!["a"])), &DataType::Utf8),
        [true]
    );
    let encoded: DictionaryArray<Int32Type> = vec!["a"].into_iter().collect();
    assert_eq!(fitting(Arc::new(encoded), &DataType::Utf8), [true]);
}

#[test]
fn a_value_of_another_meaning_has_no_place_even_if_it_could_be_read_back() {
    let int = || Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    assert_eq!(fitting(int(), &DataType::Utf8), [false]);
    assert_eq!(fitting(int(), &DataType::Boolean), [false]);
    assert_eq!(fitting(int(), &DataType::Date32), [false]);
    assert_eq!(
        fitting(Arc::new(BooleanArray::from(vec![true])), &DataType::Int64),
        [false]
    );
    assert_eq!(
        fitting(Arc::new(StringArray::from(vec!["1"])), &DataType::Int64),
        [false]
    );
    let local = Arc::new(TimestampSecondArray::from(vec![1]));
    assert_eq!(
        fitting(local.clone(), &DataType::Timestamp(TimeUnit::Microsecond, None)),
        [true]
    );
    assert_eq!(
        fitting(
            local,
            &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        ),
        [false]
    );
    let fine = Arc::new(TimestampMicrosecondArray::from(vec![1_000_000, 1]));
    assert_eq!(
        fitting(fine, &DataType::Timestamp(TimeUnit::Second, None)),
        [true, false]
    );
}

#[test]
fn nothing_is_lost_within_a_list() {
    let wanted = DataType::new_list(DataType::Int64, true);
    let given = list(vec![
        Some(vec![Some(1.0), None]),
        Some(vec![Some(1.0), Some(35.2)]),
        None,
    ]);
    assert_eq!(fitting(given, &wanted), [true, false, false]);
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    let empty = ListArray::new(
        item,
        OffsetBuffer::from_lengths([0]),
        Arc::new(Int64Array::from(Vec::<i64>::new())),
        None,
    );
    assert_eq!(
        fitting(Arc::new(empty), &DataType::new_list(DataType::Float64, true)),
        [true]
    );
}

/// Lists of one item each.
fn lists_of(items: ArrayRef) -> ArrayRef {
    let item = Arc::new(Field::new("item", items.data_type().clone(), true));
    let one_each = OffsetBuffer::from_lengths(vec![1; items.len()]);
    Arc::new(ListArray::new(item, one_each, items, None))
}

#[test]
fn an_item_of_another_meaning_has_no_place_in_a_list() {
    let int = || Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    let given =
        |items: ArrayRef, wanted: DataType| fitting(lists_of(items), &DataType::new_list(wanted, true));
    let local = Arc::new(TimestampMicrosecondArray::from(vec![1]));
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    assert_eq!(given(int(), DataType::Utf8), [false]);
    assert_eq!(given(local, utc), [false]);
    assert_eq!(
        given(
            record(&[("old", int())]),
            record(&[("new", int())]).data_type().clone()
        ),
        [false]
    );
    let two: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let late: ArrayRef = Arc::new(StringArray::from(vec![None, Some("late")]));
    assert_eq!(
        given(
            record(&[("x", two.clone()), ("late", late)]),
            record(&[("x", two)]).data_type().clone()
        ),
        [true, false]
    );
}

#[test]
fn a_part_or_an_item_that_must_be_there_and_is_not_refuses_its_row_alone() {
    let must = Arc::new(Field::new("x", DataType::Int64, false));
    let given = record(&[("x", Arc::new(Float64Array::from(vec![1.0, 35.2])))]);
    assert_eq!(
        fitting(given, &DataType::Struct(vec![must.clone()].into())),
        [true, false]
    );
    let other = record(&[("y", Arc::new(Int64Array::from(vec![None::<i64>])))]);
    assert_eq!(fitting(other, &DataType::Struct(vec![must].into())), [false]);
    let halves = lists_of(Arc::new(Float64Array::from(vec![35.2])));
    assert_eq!(
        fitting(halves, &DataType::new_list(DataType::Int64, false)),
        [false]
    );
}

#[test]
fn nulls_without_a_type_are_nulls_of_every_type() {
    let nulls = || Arc::new(NullArray::new(1)) as ArrayRef;
    let int: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    assert_eq!(fitting(nulls(), &DataType::Int64), [false]);
    assert!(!there(&nulls())(0) && there(&int)(0));
    let wanted = record(&[("x", int.clone())]);
    assert_eq!(
        fitting(record(&[("x", nulls()), ("late", nulls())]), wanted.data_type()),
        [true]
    );
    assert_eq!(fitting(lists_of(nulls()), lists_of(int).data_type()), [true]);
}

#[test]
fn a_part_that_came_later_refuses_those_alone_that_have_it() {
    let first = record(&[
        ("x", Arc::new(Int64Array::from(vec![1]))),
        ("y", Arc::new(Int64Array::from(vec![1]))),
    ]);
    let x: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0, 35.2]));
    let more: ArrayRef = Arc::new(StringArray::from(vec![None, Some("late"), None]));
    let first = Field::new("it", first.data_type().clone(), true);
    let made = exact(&record(&[("x", x), ("more", more)]), &first).unwrap();
    let there: Vec<_> = (0..3).map(|row| !made.is_null(row)).collect();
    assert_eq!(there, [true, false, false]);
    let expected = record(&[
        (
            "x",
            Arc::new(arrow::array::PrimitiveArray::<Int64Type>::from(vec![1])),
        ),
        ("y", Arc::new(Int64Array::from(vec![None::<i64>]))),
    ]);
    assert_eq!(&made.slice(0, 1), &expected);
}

#[test]
fn a_column_that_had_no_value_yet_takes_those_that_come() {
    let open =
        Field::new("it", DataType::Utf8, true).with_metadata([(UNTYPED.to_owned(), String::new())].into());
    let given: ArrayRef = Arc::new(Int64Array::from(vec![Some(5), None]));
    let expected: ArrayRef = Arc::new(StringArray::from(vec![Some("5"), None]));
    assert_eq!(&exact(&given, &open).unwrap(), &expected);
}
