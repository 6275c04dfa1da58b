//! Values of every Arrow type, the PostgreSQL type that each gets, and its text there.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Date64Array, Decimal128Array, Decimal256Array,
        DictionaryArray, DurationNanosecondArray, FixedSizeBinaryArray, Float32Array, Float64Array,
        Int8Array, Int64Array, IntervalMonthDayNanoArray, LargeStringArray, ListArray, NullArray,
        StringArray, StringViewArray, StructArray, Time32SecondArray, Time64NanosecondArray,
        TimestampMicrosecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
    },
    datatypes::{DataType, Field, Int32Type, IntervalMonthDayNano, i256},
};

/// Columns with their PostgreSQL types, and the text of each of their rows.
pub(super) type Cases = Vec<(&'static str, ArrayRef, &'static str, Vec<&'static str>)>;

fn numbers() -> Cases {
    let wide = i256::from_string("12345678901234567890123456789012345678901234567890").unwrap();
    vec![
        (
            "i8",
            Arc::new(Int8Array::from(vec![-128, 127])),
            "smallint",
            vec!["-128", "127"],
        ),
        (
            "u64",
            Arc::new(UInt64Array::from(vec![u64::MAX, 0])),
            "numeric(20,0)",
            vec!["18446744073709551615", "0"],
        ),
        (
            "f16",
            arrow::compute::cast(
                &Float32Array::from(vec![1.5, f32::NEG_INFINITY]),
                &DataType::Float16,
            )
            .unwrap(),
            "real",
            vec!["1.5", "-Infinity"],
        ),
        (
            "f32",
            Arc::new(Float32Array::from(vec![f32::NAN, f32::MIN_POSITIVE])),
            "real",
            vec!["NaN", "1.1754944e-38"],
        ),
        (
            "f64",
            Arc::new(Float64Array::from(vec![f64::INFINITY, -0.0])),
            "double precision",
            vec!["Infinity", "-0"],
        ),
        (
            "money",
            Arc::new(
                Decimal128Array::from(vec![-1, 99_999_999_999_999])
                    .with_precision_and_scale(15, 2)
                    .unwrap(),
            ),
            "numeric(15,2)",
            vec!["-0.01", "999999999999.99"],
        ),
        (
            "tens",
            Arc::new(
                Decimal128Array::from(vec![-7, 12])
                    .with_precision_and_scale(5, -3)
                    .unwrap(),
            ),
            "numeric(8,0)",
            vec!["-7000", "12000"],
        ),
        (
            "wide",
            Arc::new(
                Decimal256Array::from(vec![wide, i256::ZERO])
                    .with_precision_and_scale(60, 10)
                    .unwrap(),
            ),
            "numeric(60,10)",
            vec![
                "1234567890123456789012345678901234567890.1234567890",
                "0.0000000000",
            ],
        ),
        (
            "b",
            Arc::new(BooleanArray::from(vec![true, false])),
            "boolean",
            vec!["t", "f"],
        ),
    ]
}

fn texts() -> Cases {
    let dictionary: DictionaryArray<Int32Type> = vec!["red", "blue"].into_iter().collect();
    let bytes = FixedSizeBinaryArray::try_from_iter([[0_u8, 255], [1, 2]].into_iter()).unwrap();
    vec![
        (
            "t",
            Arc::new(StringArray::from(vec!["tab\t\\N \"ö\" 😀", ""])),
            "text",
            vec!["tab\t\\N \"ö\" 😀", ""],
        ),
        (
            "tl",
            Arc::new(LargeStringArray::from(vec![None, Some("x")])),
            "text",
            vec!["NULL", "x"],
        ),
        (
            "tv",
            Arc::new(StringViewArray::from(vec!["long enough for a view", "s"])),
            "text",
            vec!["long enough for a view", "s"],
        ),
        ("dict", Arc::new(dictionary), "text", vec!["red", "blue"]),
        ("bytes", Arc::new(bytes), "bytea", vec!["\\x00ff", "\\x0102"]),
        (
            "bv",
            Arc::new(BinaryViewArray::from_iter_values([b"", b"\0" as &[u8]])),
            "bytea",
            vec!["\\x", "\\x00"],
        ),
        (
            "nothing",
            Arc::new(NullArray::new(2)),
            "text",
            vec!["NULL", "NULL"],
        ),
    ]
}

fn times() -> Cases {
    let utc = TimestampNanosecondArray::from(vec![1_000, -1_000]).with_timezone("UTC");
    let interval = IntervalMonthDayNanoArray::from(vec![
        IntervalMonthDayNano::new(14, -3, 1_000),
        IntervalMonthDayNano::new(0, 0, 0),
    ]);
    vec![
        (
            "d",
            Arc::new(Date32Array::from(vec![-719_162, 2_932_896])),
            "date",
            vec!["0001-01-01", "9999-12-31"],
        ),
        (
            "d64",
            Arc::new(Date64Array::from(vec![86_400_000, 0])),
            "date",
            vec!["1970-01-02", "1970-01-01"],
        ),
        (
            "tm",
            Arc::new(Time64NanosecondArray::from(vec![1_000, 86_399_999_999_000])),
            "time without time zone",
            vec!["00:00:00.000001", "23:59:59.999999"],
        ),
        (
            "tms",
            Arc::new(Time32SecondArray::from(vec![0, 86_399])),
            "time without time zone",
            vec!["00:00:00", "23:59:59"],
        ),
        (
            "ts",
            Arc::new(TimestampMicrosecondArray::from(vec![-1, 0])),
            "timestamp without time zone",
            vec!["1969-12-31 23:59:59.999999", "1970-01-01 00:00:00"],
        ),
        (
            "tss",
            Arc::new(TimestampSecondArray::from(vec![1, 0])),
            "timestamp without time zone",
            vec!["1970-01-01 00:00:01", "1970-01-01 00:00:00"],
        ),
        (
            "tz",
            Arc::new(utc),
            "timestamp with time zone",
            vec!["1970-01-01 00:00:00.000001+00", "1969-12-31 23:59:59.999999+00"],
        ),
        (
            "iv",
            Arc::new(interval),
            "interval",
            vec!["1 year 2 mons -3 days +00:00:00.000001", "00:00:00"],
        ),
        (
            "dur",
            Arc::new(DurationNanosecondArray::from(vec![1_500_000_000, 0])),
            "interval",
            vec!["00:00:01.5", "00:00:00"],
        ),
    ]
}

fn nested() -> Cases {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None, Some(-3)]),
        Some(vec![]),
    ]);
    let fields = vec![
        Field::new("street", DataType::Utf8, true),
        Field::new("number", DataType::Int64, true),
    ];
    let object = StructArray::new(
        fields.into(),
        vec![
            Arc::new(StringArray::from(vec![Some("A \"b\""), None])) as ArrayRef,
            Arc::new(Int64Array::from(vec![1, i64::MAX])),
        ],
        Some(vec![true, true].into()),
    );
    vec![
        ("list", Arc::new(list), "integer[]", vec!["{1,NULL,-3}", "{}"]),
        (
            "object",
            Arc::new(object),
            "jsonb",
            vec![
                r#"{"number": 1, "street": "A \"b\""}"#,
                r#"{"number": 9223372036854775807, "street": null}"#,
            ],
        ),
    ]
}

/// All of them.
pub(super) fn cases() -> Cases {
    [numbers(), texts(), times(), nested()]
        .into_iter()
        .flatten()
        .collect()
}
