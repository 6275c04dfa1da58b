use arrow::datatypes::Schema;
use millrace_crds::flow::WriteMode;
use serde_json::json;

use super::{Clock, Cursor, Upper, Watermark};
use crate::{
    connectors::postgres::{config::PostgresConfig, discover::Table, types::Column, types::Kind},
    error::ErrorKind,
    stream::StreamSpec,
};

fn column(name: &str, base: &str) -> Column {
    Column {
        name: name.into(),
        expression: name.into(),
        kind: Kind::Int8,
        nullable: true,
        sql_type: base.into(),
        base: base.into(),
    }
}

fn cursor(names: &[&str], base: &str, key: &[&str], unique: &[&str], lookback: Option<&str>) -> Cursor {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let stream = StreamSpec {
        name: "s.t".into(),
        primary_key: owned(key),
        cursor: owned(names),
        declared: None,
        discovered: Some(Schema::empty().into()),
        partitions: None,
        write_mode: WriteMode::Upsert,
        delivered_key: owned(key),
    };
    let table = Table {
        id: 1,
        sql_name: "t".into(),
        stream: "s.t".into(),
        kind: b'r',
        rows: None,
        whole: true,
        attributes: Vec::new(),
        primary_key: Vec::new(),
        unique: vec![owned(unique)],
    };
    let columns: Vec<Column> = names.iter().map(|name| column(name, base)).collect();
    let config = PostgresConfig {
        lookback: lookback.map(str::to_owned),
        ..PostgresConfig::default()
    };
    Cursor::new(&stream, &table, &columns, &config).unwrap().unwrap()
}

fn after(cursor: &Cursor, values: &[&str], late: Option<i64>) -> Watermark {
    let after = Some(values.iter().map(|value| (*value).to_owned()).collect());
    Watermark {
        columns: cursor.names(),
        after,
        late,
        before: None,
    }
}

#[test]
fn a_time_is_read_from_the_old_bound_to_the_new_one() {
    let cursor = cursor(&["at"], "timestamptz", &["id"], &["id"], None);
    assert_eq!(cursor.clock, Clock::Instant);
    let from = Watermark {
        columns: cursor.names(),
        before: Some("A".into()),
        ..Watermark::default()
    };
    assert_eq!(
        cursor.condition(Some(&from), &Upper::Below("B".into())),
        "(\"at\") >= ('A'::timestamptz) AND \"at\" < 'B'::timestamptz"
    );
    assert_eq!(cursor.condition(Some(&from), &Upper::Nothing), "false");
    assert_eq!(
        cursor.condition(None, &Upper::Below("B".into())),
        "\"at\" < 'B'::timestamptz"
    );
}

#[test]
fn a_unique_counter_is_read_after_its_last_value_and_ties_of_others_again() {
    let unique = cursor(&["id"], "int8", &["id"], &["id"], None);
    let from = after(&unique, &["7"], None);
    assert_eq!(
        unique.condition(Some(&from), &Upper::UpTo(vec!["9".into()])),
        "(\"id\") > ('7'::int8) AND (\"id\") <= ('9'::int8)"
    );
    let tied = cursor(&["a", "b"], "int8", &["id"], &["id"], None);
    let from = after(&tied, &["7", "8"], None);
    assert_eq!(
        tied.condition(Some(&from), &Upper::Open),
        "(\"a\", \"b\") >= ('7'::int8, '8'::int8)"
    );
}

#[test]
fn rows_of_transactions_that_were_open_are_looked_for_by_number() {
    let cursor = cursor(&["id"], "int8", &["id"], &["id"], None);
    let from = after(&cursor, &["7"], Some((3 << 32) + 5));
    let condition = cursor.condition(Some(&from), &Upper::UpTo(vec!["9".into()]));
    assert!(
        condition.starts_with("((\"id\") > ('7'::int8) OR mod(xmin::text::bigint - 5 + "),
        "{condition}"
    );
}

#[test]
fn a_lookback_needs_a_key_and_the_right_unit() {
    let counter = cursor(&["n"], "int8", &["id"], &[], Some("100"));
    let from = after(&counter, &["700"], None);
    assert_eq!(
        counter.condition(Some(&from), &Upper::Open),
        "\"n\" >= '700'::int8 - 100"
    );
    let time = cursor(&["at"], "timestamp", &["id"], &[], Some("1m30s"));
    let from = after(&time, &["X"], None);
    assert_eq!(
        time.condition(Some(&from), &Upper::Open),
        "\"at\" >= 'X'::timestamp - interval '90000 milliseconds'"
    );
}

#[test]
fn a_quote_in_a_value_stays_a_value() {
    let cursor = cursor(&["na\"me"], "text", &["id"], &[], None);
    let from = after(&cursor, &["o'); DROP TABLE x;--"], None);
    assert_eq!(
        cursor.condition(Some(&from), &Upper::Open),
        "(\"na\"\"me\") >= ('o''); DROP TABLE x;--'::text)"
    );
}

#[test]
fn a_watermark_of_another_cursor_is_refused() {
    let cursor = cursor(&["id"], "int8", &["id"], &["id"], None);
    let stored = json!({"columns": ["other"], "after": ["1"]});
    assert_eq!(
        Watermark::read(&stored, &cursor).unwrap_err().kind,
        ErrorKind::Config
    );
    let foreign = json!({"line": 3});
    assert_eq!(
        Watermark::read(&foreign, &cursor).unwrap_err().kind,
        ErrorKind::State
    );
    let ours = after(&cursor, &["1"], Some(9));
    assert_eq!(Watermark::read(&ours.position().unwrap(), &cursor).unwrap(), ours);
}
