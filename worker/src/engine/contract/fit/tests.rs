use arrow::datatypes::DataType::*;

use super::*;

fn micros(zone: bool) -> DataType {
    Timestamp(TimeUnit::Microsecond, zone.then(|| "UTC".into()))
}

#[test]
fn integers_fit_by_width_and_sign() {
    assert_eq!(fit(&Int32, &Int64), Fit::Always);
    assert_eq!(fit(&UInt32, &Int64), Fit::Always);
    assert_eq!(fit(&Int64, &Int32), Fit::Value);
    assert_eq!(fit(&UInt64, &Int64), Fit::Value);
    assert_eq!(fit(&Int8, &UInt64), Fit::Value);
}

#[test]
fn whole_numbers_have_a_natural_place_among_floating_ones() {
    assert_eq!(fit(&Int32, &Float64), Fit::Always);
    assert_eq!(fit(&Int64, &Float64), Fit::Natural);
    assert_eq!(fit(&Int16, &Float32), Fit::Always);
    assert_eq!(fit(&Int32, &Float32), Fit::Natural);
    assert_eq!(fit(&Float32, &Float64), Fit::Always);
    assert_eq!(fit(&Float64, &Int64), Fit::Value);
}

#[test]
fn decimals_need_room_before_and_after_the_point() {
    assert_eq!(fit(&Int64, &Decimal128(19, 0)), Fit::Always);
    assert_eq!(fit(&Int64, &Decimal128(20, 2)), Fit::Value);
    assert_eq!(fit(&UInt64, &Decimal128(20, 0)), Fit::Always);
    assert_eq!(fit(&Decimal128(10, 2), &Decimal128(12, 2)), Fit::Always);
    assert_eq!(fit(&Decimal128(10, 2), &Decimal128(12, 4)), Fit::Always);
    assert_eq!(fit(&Decimal128(10, 2), &Decimal128(12, 5)), Fit::Value);
    assert_eq!(fit(&Decimal128(10, 2), &Decimal128(10, 1)), Fit::Value);
    assert_eq!(fit(&Decimal128(10, 0), &Int64), Fit::Always);
    assert_eq!(
        fit(&Decimal128(19, 0), &Int64),
        Fit::Always,
        "nineteen digits are looked at by the safe cast"
    );
}

#[test]
fn moments_fit_by_unit_and_zone() {
    let nanos = Timestamp(TimeUnit::Nanosecond, None);
    assert_eq!(fit(&Date32, &micros(false)), Fit::Always);
    assert_eq!(fit(&Date32, &nanos), Fit::Value);
    assert_eq!(fit(&micros(false), &Date32), Fit::Value);
    assert_eq!(fit(&nanos, &micros(false)), Fit::Value);
    assert_eq!(fit(&micros(false), &nanos), Fit::Value);
    assert_eq!(fit(&micros(false), &micros(true)), Fit::Value);
    assert_eq!(
        fit(
            &Timestamp(TimeUnit::Microsecond, Some("+02:00".into())),
            &micros(true)
        ),
        Fit::Always
    );
    assert_eq!(
        fit(&Time32(TimeUnit::Second), &Time64(TimeUnit::Nanosecond)),
        Fit::Always
    );
}

#[test]
fn kinds_that_mean_different_things_never_fit() {
    assert_eq!(fit(&Boolean, &Int64), Fit::Never);
    assert_eq!(fit(&Int64, &Boolean), Fit::Never);
    assert_eq!(fit(&Int64, &Date32), Fit::Never);
    assert_eq!(fit(&Date32, &Int64), Fit::Never);
    assert_eq!(fit(&Utf8, &DataType::new_list(Utf8, true)), Fit::Never);
}

#[test]
fn widening_goes_along_the_ladder_only() {
    assert_eq!(widen(&Int32, &Int64), Some(Int64));
    assert_eq!(widen(&UInt32, &Int32), Some(Int64));
    assert_eq!(widen(&UInt64, &Int64), Some(Decimal128(20, 0)));
    assert_eq!(widen(&Int64, &Decimal128(10, 2)), Some(Decimal128(21, 2)));
    assert_eq!(
        widen(&Decimal128(38, 0), &Decimal128(38, 10)),
        Some(Decimal256(48, 10))
    );
    assert_eq!(widen(&Decimal256(76, 0), &Decimal128(38, 10)), None);
    assert_eq!(widen(&Float32, &Float64), Some(Float64));
    assert_eq!(widen(&Int64, &Float64), None);
    assert_eq!(widen(&Date32, &micros(false)), Some(micros(false)));
    assert_eq!(widen(&micros(false), &Date32), Some(micros(false)));
    assert_eq!(widen(&Int64, &Utf8), None);
    assert_eq!(widen(&Boolean, &Int8), None);
}

#[test]
fn encodings_are_taken_off() {
    let dictionary = Dictionary(Box::new(Int32), Box::new(LargeUtf8));
    assert_eq!(plain(&dictionary), Utf8);
    let list = LargeList(Arc::new(Field::new("element", dictionary, false)));
    assert_eq!(plain(&list), List(Arc::new(Field::new("item", Utf8, false))));
}

#[test]
fn relaxing_allows_nulls_on_every_level() {
    let part = Field::new("b", Int64, false);
    let field = Field::new("a", Struct(vec![part].into()), false);
    let Struct(parts) = relaxed(&field).data_type().clone() else {
        panic!("still a struct")
    };
    assert!(parts[0].is_nullable());
}
