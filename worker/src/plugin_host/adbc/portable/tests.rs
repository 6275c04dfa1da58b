use arrow::{
    array::{Decimal128Array, ListArray, StringArray, UInt64Array, cast::AsArray},
    datatypes::Int32Type,
};

use super::*;

#[test]
fn digits_and_parts_survive() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None]), None]);
    let digits = Decimal128Array::from(vec![Some(-110), None])
        .with_precision_and_scale(38, 2)
        .unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("list", Arc::new(list)),
        ("digits", Arc::new(digits)),
        ("large", Arc::new(UInt64Array::from(vec![Some(u64::MAX), None]))),
        ("text", Arc::new(StringArray::from(vec![Some("{}"), None]))),
    ];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    for plain in [true, false] {
        let found = portable(&rows, plain).unwrap();
        let text = |name: &str| cast(found.column_by_name(name).unwrap(), &DataType::Utf8).unwrap();
        for (name, wanted) in [
            ("list", "[1,null]"),
            ("digits", "-1.10"),
            ("large", "18446744073709551615"),
            ("text", "{}"),
        ] {
            let text = text(name);
            assert_eq!(
                (text.as_string::<i32>().value(0), text.is_null(1)),
                (wanted, true)
            );
        }
        let rare = found.column_by_name("digits").unwrap().data_type().clone();
        assert_eq!(is_rare(&rare), !plain);
    }
}
