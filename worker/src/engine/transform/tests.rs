mod refusals;

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, AsArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray, StructArray,
        TimestampMicrosecondArray,
    },
    datatypes::{DataType, Field, Int64Type},
    util::pretty::pretty_format_batches,
};
use serde_json::json;

use super::*;

pub(super) fn rows() -> RecordBatch {
    let street: ArrayRef = Arc::new(StringArray::from(vec!["Long", "Short", "Broad"]));
    let address = StructArray::from(vec![(
        Arc::new(Field::new("street", DataType::Utf8, true)),
        street,
    )]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        (
            "email",
            Arc::new(StringArray::from(vec![Some("a@x"), None, Some("C@x")])),
        ),
        (
            "price",
            Arc::new(
                Decimal128Array::from(vec![100, 250, 1999])
                    .with_precision_and_scale(15, 2)
                    .unwrap(),
            ),
        ),
        ("n", Arc::new(Int64Array::from(vec![Some(4), Some(0), None]))),
        ("Odd Name", Arc::new(Float64Array::from(vec![0.5, 1.5, 2.5]))),
        ("day", Arc::new(Date32Array::from(vec![0, 31, 365]))),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from(vec![0, 1, 86_400_000_001])),
        ),
        ("address", Arc::new(address)),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .unwrap()
}

fn transform(sql: &str) -> Transform {
    Transform::compile(sql, &rows().schema(), &[]).unwrap()
}

fn run(sql: &str) -> Output {
    let transform = transform(sql);
    let output = transform.apply(&rows(), &BTreeMap::new()).unwrap();
    assert_eq!(output.batch.schema_ref(), transform.schema());
    output
}

fn printed(sql: &str) -> String {
    pretty_format_batches(&[run(sql).batch]).unwrap().to_string()
}

fn columns(sql: &str) -> Vec<String> {
    names(transform(sql).schema()).map(str::to_owned).collect()
}

fn type_of(sql: &str) -> DataType {
    transform(sql).schema().field(0).data_type().clone()
}

fn numbers(output: &Output, column: usize) -> Vec<Option<i64>> {
    output
        .batch
        .column(column)
        .as_primitive::<Int64Type>()
        .iter()
        .collect()
}

fn key(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn columns_are_passed_renamed_and_computed() {
    let table = printed("select id, upper(email) as email, price * 2 as twice from input");
    let expected = "\
+----+-------+-------+
| id | email | twice |
+----+-------+-------+
| 1  | A@X   | 2.00  |
| 2  |       | 5.00  |
| 3  | C@X   | 39.98 |
+----+-------+-------+";
    assert_eq!(table, expected);
}

#[test]
fn a_column_that_is_passed_is_not_copied() {
    let input = rows();
    let output = transform("select email, id from input")
        .apply(&input, &BTreeMap::new())
        .unwrap();
    assert!(Arc::ptr_eq(output.batch.column(1), input.column(0)));
    assert_eq!(output.kept, None);
}

#[test]
fn a_star_can_leave_out_and_replace() {
    assert_eq!(columns("select * from input").len(), 8);
    assert_eq!(
        columns("select * exclude (email, Price, address, at, day) from input"),
        ["id", "n", "Odd Name"]
    );
    assert_eq!(
        columns("select * exclude email, id + 1 as next from input")
            .last()
            .unwrap(),
        "next"
    );
    assert_eq!(columns("select i.* except (id) from input as i").len(), 7);
    assert_eq!(
        numbers(&run("select * replace (id * 10 as id) from input"), 0),
        [Some(10), Some(20), Some(30)]
    );
}

#[test]
fn a_filter_tells_which_rows_it_kept_and_which_it_dropped() {
    let output = run("select id from input where id <> 2");
    assert_eq!(numbers(&output, 0), [Some(1), Some(3)]);
    assert_eq!(output.kept, Some(vec![0, 2]));
    assert_eq!(output.filtered_rows, [1]);
    assert!(output.refused.is_empty());
    let unknown_is_no = run("select id from input where n > 0");
    assert_eq!(unknown_is_no.kept, Some(vec![0]));
    assert_eq!(unknown_is_no.filtered_rows, [1, 2]);
    assert_eq!(run("select id from input where id > 0").kept, None, "all stay");
    assert_eq!(run("select id from input where false").kept, Some(vec![]));
}

#[test]
fn a_filter_may_look_at_columns_that_are_not_selected() {
    let output = run("select email from input where price > 2 and day < date '1970-06-01'");
    assert_eq!(output.kept, Some(vec![1]));
}

#[test]
fn a_row_that_fails_is_refused_alone_and_the_others_go_on() {
    let transform = transform("select id, 10 / n as part from input");
    let metadata = BTreeMap::from([("row", json!(70))]);
    let output = transform.apply(&rows(), &metadata).unwrap();
    assert_eq!(numbers(&output, 1), [Some(2), None]);
    assert_eq!(output.kept, Some(vec![0, 2]));
    assert_eq!(output.refused_rows, [1]);
    assert!(output.filtered_rows.is_empty());
    let refused = &output.refused[0];
    assert_eq!(refused.kind, "transform");
    assert_eq!(refused.reason, "transform: column `part`: Divide by zero error");
    assert_eq!(refused.place["row"], 71);
    assert_eq!(refused.row["price"], "2.50", "the row as it came in");
}

#[test]
fn a_filter_that_fails_refuses_its_row_too() {
    let output = run("select id from input where 10 / n > 1 and id < 3");
    assert_eq!(output.kept, Some(vec![0]));
    assert_eq!(output.refused_rows, [1]);
    assert_eq!(output.filtered_rows, [2]);
}

#[test]
fn failing_rows_are_found_among_many() {
    let values: Vec<i64> = (0..10_000).map(|i| if i % 1_000 == 7 { 0 } else { i }).collect();
    let batch = RecordBatch::try_from_iter_with_nullable([(
        "n",
        Arc::new(Int64Array::from(values)) as ArrayRef,
        true,
    )])
    .unwrap();
    let transform =
        Transform::compile("select 1 / n as x from input where n <> 5", &batch.schema(), &[]).unwrap();
    let output = transform.apply(&batch, &BTreeMap::new()).unwrap();
    assert_eq!(
        output.refused_rows,
        [
            0, 7, 1_007, 2_007, 3_007, 4_007, 5_007, 6_007, 7_007, 8_007, 9_007
        ]
    );
    assert_eq!(output.filtered_rows, [5]);
    assert_eq!(output.batch.num_rows(), 10_000 - 12);
    assert_eq!(output.kept.unwrap().len(), 10_000 - 12);
}

#[test]
fn whole_numbers_fail_where_they_would_wrap() {
    let output = run("select id + 9223372036854775806 as x from input");
    assert_eq!(output.refused_rows, [1, 2]);
    assert!(
        output.refused[0].reason.contains("verflow"),
        "{}",
        output.refused[0].reason
    );
    assert_eq!(numbers(&output, 0), [Some(i64::MAX)]);
}

#[test]
fn a_cast_that_fails_refuses_and_one_that_tries_gives_null() {
    let output = run("select cast(email as bigint) as x from input");
    assert_eq!(output.refused_rows, [0, 2]);
    let output = run("select try_cast(email as bigint) as x from input");
    assert_eq!(numbers(&output, 0), [None, None, None]);
}

#[test]
fn a_case_guards_its_branches() {
    let output = run("select case when n = 0 then -1 else 8 / n end as x from input");
    assert_eq!(numbers(&output, 0), [Some(2), Some(-1), None]);
}

#[test]
fn decimals_stay_decimals() {
    assert_eq!(
        type_of("select price * 1.1 as x from input"),
        DataType::Decimal128(18, 3)
    );
    assert!(printed("select price * 1.1 as x from input").contains("| 2.750 "));
}

#[test]
fn text_and_encodings_are_plain() {
    assert_eq!(type_of("select 'x' as x from input"), DataType::Utf8);
    assert_eq!(
        type_of("select cast(id as varchar) as x from input"),
        DataType::Utf8
    );
    assert_eq!(
        type_of("select concat(email, '!') as x from input"),
        DataType::Utf8
    );
    assert_eq!(
        type_of("select substr(email, 1, 1) as x from input"),
        DataType::Utf8
    );
    assert_eq!(type_of("select sha256(email) as x from input"), DataType::Binary);
}

#[test]
fn functions_of_one_row_are_there() {
    let table = printed(
        "select md5(email) as a, encode(sha256('abc'), 'hex') as b, date_trunc('day', at) as c, \
         extract(year from day) as d, regexp_replace(email, '@.*', '') as e, coalesce(n, -1) as f, \
         substring(email from 1 for 1) as g, nullif(n, 0) as h, position('@' in email) as i from input where id = 3",
    );
    for expected in [
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "1970-01-02T00:00:00",
        "| 1971 |",
        "| C ",
        "| -1 |",
    ] {
        assert!(table.contains(expected), "{expected} in\n{table}");
    }
}

#[test]
fn parts_of_objects_can_be_selected() {
    let output =
        run("select address.street, address['street'] as s, i.address.street as t, i.id from input i");
    assert_eq!(
        names(output.batch.schema_ref()).collect::<Vec<_>>(),
        ["street", "s", "t", "id"]
    );
    for column in 0..3 {
        assert_eq!(output.batch.column(column).as_string::<i32>().value(2), "Broad");
    }
}

#[test]
fn names_are_found_in_any_case_and_kept_as_they_are() {
    assert_eq!(
        columns("SELECT ID, Email AS Mail FROM Input WHERE INPUT.ID = 1"),
        ["id", "Mail"]
    );
    assert_eq!(columns("select \"Odd Name\" from input"), ["Odd Name"]);
    assert_eq!(
        columns("select upper(EMAIL), id + 1 from input"),
        ["upper(EMAIL)", "id + 1"]
    );
}

#[test]
fn names_that_differ_in_case_alone_need_quotes() {
    let column = || Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    let batch = RecordBatch::try_from_iter([
        ("a", column()),
        ("A", column()),
        ("Bc", column()),
        ("bC", column()),
    ]);
    let schema = batch.unwrap().schema();
    let compile = |sql| Transform::compile(sql, &schema, &[]);
    assert_eq!(
        names(compile("select a, \"A\" as x from input").unwrap().schema()).collect::<Vec<_>>(),
        ["a", "x"]
    );
    let error = compile("select BC from input").unwrap_err().to_string();
    assert!(error.contains("`BC` may be `Bc` or `bC`"), "{error}");
}

#[test]
fn the_key_passes_only_as_it_is() {
    assert!(transform("select * from input").passes_key(&key(&["id", "email"])));
    assert!(transform("select price, id from input where id > 1").passes_key(&key(&["id"])));
    assert!(transform("select id as id, id as other from input").passes_key(&key(&["id"])));
    assert!(!transform("select id + 1 as id from input").passes_key(&key(&["id"])));
    assert!(!transform("select n as id from input").passes_key(&key(&["id"])));
    assert!(!transform("select cast(id as text) as id from input").passes_key(&key(&["id"])));
    assert!(!transform("select email from input").passes_key(&key(&["id"])));
}

#[test]
fn a_key_that_is_made_keeps_rows_apart_or_is_refused() {
    for made in [
        "id + 1 as id",
        "cast(id as text) as id",
        "'p-' || cast(id as text) || '/' as id",
        "concat('p', id) as id",
    ] {
        let sql = format!("select {made} from input");
        transform(&sql)
            .keeps_keys_apart(&key(&["id"]))
            .unwrap_or_else(|error| panic!("{made}: {error}"));
    }
    for made in [
        "1 as id",
        "n as id",
        "id / 2 as id",
        "id * 0 as id",
        "id - id as id",
        "upper(email) as id",
        "cast(id as smallint) as id",
        "cast(cast(id as double) as text) as id",
    ] {
        let error = transform(&format!("select {made} from input")).keeps_keys_apart(&key(&["id"]));
        assert_eq!(error.unwrap_err().reason, "KeysMayMerge", "{made}");
    }
    let both = key(&["id", "email"]);
    transform("select id, concat(email, '!') as email from input")
        .keeps_keys_apart(&both)
        .unwrap();
    assert!(
        transform("select id, id + 1 as email from input")
            .keeps_keys_apart(&both)
            .is_err()
    );
}

#[test]
fn metadata_of_a_column_stays_with_it() {
    let metadata =
        std::collections::HashMap::from([(crate::types::PHYSICAL_TYPE.to_owned(), "uuid".to_owned())]);
    let field = Field::new("u", DataType::Utf8, true).with_metadata(metadata);
    let schema = Arc::new(Schema::new(vec![field]));
    let transform = Transform::compile("select u as v, upper(u) as w from input", &schema, &[]).unwrap();
    assert_eq!(
        crate::types::physical_type(transform.schema().field(0)),
        Some("uuid")
    );
    assert_eq!(crate::types::physical_type(transform.schema().field(1)), None);
}

#[test]
fn no_rows_and_no_columns_are_no_trouble() {
    let empty = RecordBatch::new_empty(rows().schema());
    let output = transform("select id, 1 / n as x from input where n > 1")
        .apply(&empty, &BTreeMap::new())
        .unwrap();
    assert_eq!(output.batch.num_rows(), 0);
    let constant = run("select 1 as one from input where id > 1");
    assert_eq!(numbers(&constant, 0), [Some(1), Some(1)]);
}

#[test]
fn a_constant_that_fails_is_told_at_once() {
    let error = Transform::compile("select cast('x' as int) as x from input", &rows().schema(), &[]);
    assert!(error.is_err() || run("select cast('x' as int) as x from input").refused.len() == 3);
}
