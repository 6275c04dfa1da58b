use arrow::array::{
    Date32Array, Date64Array, Decimal128Array, DictionaryArray, Float64Array, Int32Array, Int64Array,
    ListArray, TimestampMicrosecondArray, TimestampNanosecondArray,
};

use super::*;

/// The values as text, `None` where there is no exact one.
fn texts(array: impl Array + 'static, to: &DataType) -> Vec<Option<String>> {
    let made = convert(&(Arc::new(array) as ArrayRef), to).unwrap();
    assert_eq!(made.data_type(), to);
    let shown = |row| arrow::util::display::array_value_to_string(&made, row).unwrap();
    (0..made.len())
        .map(|row| made.is_valid(row).then(|| shown(row)))
        .collect()
}

fn some(values: &[&str]) -> Vec<Option<String>> {
    values
        .iter()
        .map(|value| (*value != "-").then(|| (*value).to_owned()))
        .collect()
}

#[test]
fn a_fraction_is_no_whole_number() {
    let numbers = Float64Array::from(vec![
        35.0,
        35.2,
        1e19,
        f64::NAN,
        -9_223_372_036_854_775_808.0,
        9.3e18,
    ]);
    assert_eq!(
        texts(numbers, &DataType::Int64),
        some(&["35", "-", "-", "-", "-9223372036854775808", "-"])
    );
}

#[test]
fn a_large_whole_number_is_not_rounded_to_a_floating_one() {
    let numbers = Int64Array::from(vec![1 << 53, (1 << 53) + 1, i64::MAX, -3]);
    assert_eq!(
        texts(numbers, &DataType::Float64),
        some(&["9007199254740992.0", "-", "-", "-3.0"])
    );
    assert_eq!(
        texts(Int32Array::from(vec![16_777_217, 5]), &DataType::Float32),
        some(&["-", "5.0"])
    );
}

#[test]
fn out_of_range_is_nothing() {
    assert_eq!(
        texts(Int64Array::from(vec![1 << 31, -7]), &DataType::Int32),
        some(&["-", "-7"])
    );
    assert_eq!(
        texts(Int64Array::from(vec![100, 99]), &DataType::Decimal128(4, 2)),
        some(&["-", "99.00"])
    );
    assert_eq!(
        texts(Float64Array::from(vec![0.1, 0.5]), &DataType::Float32),
        some(&["-", "0.5"])
    );
}

#[test]
fn decimals_lose_no_digit() {
    let money = || {
        Decimal128Array::from(vec![3520, 3525])
            .with_precision_and_scale(10, 2)
            .unwrap()
    };
    assert_eq!(texts(money(), &DataType::Decimal128(10, 1)), some(&["35.2", "-"]));
    assert_eq!(texts(money(), &DataType::Float64), some(&["35.2", "35.25"]));
    let whole = Decimal128Array::from(vec![3500, 3520])
        .with_precision_and_scale(10, 2)
        .unwrap();
    assert_eq!(texts(whole, &DataType::Int64), some(&["35", "-"]));
    let long = Decimal128Array::from(vec![12_345_678_901_234_567_890_123])
        .with_precision_and_scale(38, 2)
        .unwrap();
    assert_eq!(texts(long, &DataType::Float64), some(&["-"]));
}

#[test]
fn a_floating_number_is_the_decimal_that_it_prints_as() {
    let numbers = Float64Array::from(vec![35.2, 0.1, 1e-3, 1e300, f64::INFINITY]);
    assert_eq!(
        texts(numbers, &DataType::Decimal128(10, 2)),
        some(&["35.20", "0.10", "-", "-", "-"])
    );
}

#[test]
fn text_is_read_whole() {
    let words = || StringArray::from(vec![Some("12"), Some("12.5"), Some("yes"), None, Some("")]);
    assert_eq!(
        texts(words(), &DataType::Int64),
        some(&["12", "-", "-", "-", "-"])
    );
    assert_eq!(
        texts(words(), &DataType::Decimal128(5, 1)),
        some(&["12.0", "12.5", "-", "-", "-"])
    );
    assert_eq!(
        texts(words(), &DataType::Boolean),
        some(&["-", "-", "-", "-", "-"])
    );
    let times = StringArray::from(vec!["10:30:00", "10:30:00.5", "x"]);
    assert_eq!(
        texts(times, &DataType::Time32(TimeUnit::Second)),
        some(&["10:30:00", "-", "-"])
    );
}

#[test]
fn numbers_have_one_text() {
    assert_eq!(
        texts(Float64Array::from(vec![35.2, 1e21]), &DataType::Utf8),
        some(&["35.2", "1000000000000000000000"])
    );
    assert_eq!(
        texts(BooleanArray::from(vec![true]), &DataType::Utf8),
        some(&["true"])
    );
    assert_eq!(
        texts(Date32Array::from(vec![0]), &DataType::Utf8),
        some(&["1970-01-01"])
    );
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None])]);
    assert_eq!(texts(list, &DataType::Utf8), some(&["[1,null]"]));
}

#[test]
fn a_time_of_day_is_not_cut_off() {
    let day = 86_400_000_000;
    let moments = TimestampMicrosecondArray::from(vec![day, day + 1]);
    assert_eq!(texts(moments, &DataType::Date32), some(&["1970-01-02", "-"]));
    let nanos = TimestampNanosecondArray::from(vec![1_000, 1_001]);
    let to = DataType::Timestamp(TimeUnit::Microsecond, None);
    assert_eq!(texts(nanos, &to), some(&["1970-01-01T00:00:00.000001", "-"]));
    assert_eq!(
        texts(Date64Array::from(vec![86_400_000, 1]), &DataType::Date32),
        some(&["1970-01-02", "-"])
    );
}

#[test]
fn a_local_time_becomes_one_in_utc_where_that_is_asked_for() {
    let moments = TimestampMicrosecondArray::from(vec![0]);
    let to = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    assert_eq!(texts(moments, &to), some(&["1970-01-01T00:00:00Z"]));
    let zoned = TimestampMicrosecondArray::from(vec![0]).with_timezone("+02:00");
    let to = DataType::Timestamp(TimeUnit::Microsecond, None);
    assert_eq!(texts(zoned, &to), some(&["1970-01-01T00:00:00"]));
}

#[test]
fn encodings_come_off() {
    let words: DictionaryArray<Int32Type> = ["a", "b", "a"].into_iter().collect();
    assert_eq!(texts(words, &DataType::Utf8), some(&["a", "b", "a"]));
}
