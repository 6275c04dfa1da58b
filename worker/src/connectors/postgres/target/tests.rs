use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use millrace_crds::plan::FlowRef;

use super::{Column, Existing, Target, Wanted, wanted};
use crate::{connectors::postgres::config::PostgresConfig, protocol::ShardId};

fn target(schema: Option<&str>, table: Option<&str>, stream: &str) -> Target {
    let config = PostgresConfig {
        schema: schema.map(str::to_owned),
        table: table.map(str::to_owned),
        ..PostgresConfig::default()
    };
    let flow = FlowRef {
        namespace: "acme".into(),
        name: "lake".into(),
        uid: String::new(),
        labels: BTreeMap::new(),
    };
    Target::new(
        &config,
        &flow,
        &ShardId {
            state: "acme/lake".into(),
            stream: stream.into(),
        },
    )
    .unwrap()
}

#[test]
fn a_table_is_named_after_its_stream_flow_and_namespace() {
    assert_eq!(
        target(None, None, "public.users").sql_name(),
        "\"public\".\"public_users\""
    );
    let named = target(Some("{namespace}"), Some("{flow}_{stream}"), "a\"b");
    assert_eq!(named.sql_name(), "\"acme\".\"lake_a\"\"b\"");
    let long = target(None, None, &"x".repeat(80)).table;
    let other = target(None, None, &format!("{}y", "x".repeat(79))).table;
    assert!(long.len() <= 63 && other.len() <= 63 && long != other);
}

fn takes(there: &str, base: &str, category: u8, wanted: &str) -> Option<Option<String>> {
    let column = Column {
        name: "c".into(),
        type_: there.into(),
        base: base.into(),
        class: b'b',
        category,
    };
    column.takes(wanted)
}

#[test]
fn a_value_goes_only_where_nothing_of_it_is_lost() {
    for (wanted, there, base) in [
        ("integer", "bigint", "int8"),
        ("smallint", "integer", "int4"),
        ("bigint", "numeric", "numeric"),
        ("integer", "numeric(10,0)", "numeric"),
        ("real", "double precision", "float8"),
        ("numeric(15,2)", "numeric(20,4)", "numeric"),
        ("numeric(15,2)", "numeric", "numeric"),
        ("text", "character varying(20)", "varchar"),
        ("date", "date", "date"),
    ] {
        assert_eq!(
            takes(there, base, b'N', wanted),
            Some(None),
            "{wanted} into {there}"
        );
    }
    for (wanted, there, base) in [
        ("bigint", "integer", "int4"),
        ("bigint", "double precision", "float8"),
        ("integer", "real", "float4"),
        ("numeric(15,2)", "numeric(15,1)", "numeric"),
        ("numeric(15,2)", "numeric(14,2)", "numeric"),
        ("double precision", "real", "float4"),
        (
            "timestamp without time zone",
            "timestamp(3) without time zone",
            "timestamp",
        ),
        (
            "timestamp without time zone",
            "timestamp with time zone",
            "timestamptz",
        ),
        ("date", "timestamp without time zone", "timestamp"),
        ("text", "boolean", "bool"),
        ("text", "integer", "int4"),
        ("text", "date", "date"),
        ("text", "name", "name"),
        ("text", "numeric(10,2)", "numeric"),
        ("integer", "text", "text"),
        ("integer[]", "integer", "int4"),
        ("integer", "integer[]", "int4"),
    ] {
        assert_eq!(takes(there, base, b'N', wanted), None, "{wanted} into {there}");
    }
    for (wanted, there, base, category) in [
        ("text", "uuid", "uuid", b'U'),
        ("text", "mood", "mood", b'E'),
        ("text", "inet", "inet", b'I'),
        ("text", "numeric", "numeric", b'N'),
        ("jsonb", "json", "json", b'U'),
        ("text[]", "uuid[]", "uuid", b'U'),
        ("integer[]", "bigint[]", "int8", b'N'),
    ] {
        assert_eq!(
            takes(there, base, category, wanted),
            Some(Some(there.to_owned())),
            "{wanted} into {there}"
        );
    }
}

#[test]
fn rows_are_poured_by_name_and_what_is_missing_is_added() {
    let there = |name: &str, type_: &str, base: &str| Column {
        name: name.into(),
        type_: type_.into(),
        base: base.into(),
        class: b'b',
        category: b'U',
    };
    let existing = Existing {
        id: 1,
        kind: b'r',
        owned: true,
        columns: vec![
            there("u", "uuid", "uuid"),
            there("other", "text", "text"),
            there("id", "integer", "int4"),
        ],
    };
    let columns = wanted(&Schema::new(vec![
        Field::new("id", DataType::Int32, false),
        Field::new("u", DataType::Utf8, true),
        Field::new("new\"", DataType::Decimal128(9, 3), true),
    ]))
    .unwrap();
    let target = target(None, None, "t");
    let pour = existing.pour(&target, &columns).unwrap();
    assert_eq!(pour.names(), "\"id\", \"u\", \"new\"\"\"");
    assert_eq!(pour.values(), "s.\"id\", s.\"u\"::uuid, s.\"new\"\"\"");
    assert_eq!(
        pour.same_key(&["u".into(), "id".into()]).unwrap(),
        "t.\"u\" = s.\"u\"::uuid AND t.\"id\" = s.\"id\""
    );
    assert_eq!(
        pour.evolve(&target).unwrap(),
        "ALTER TABLE \"public\".\"t\" ADD COLUMN \"new\"\"\" numeric(9,3)"
    );
    let wrong = Wanted {
        name: "id".into(),
        type_: "bigint".into(),
    };
    let error = existing.pour(&target, &[wrong]).err().unwrap();
    assert!(error.to_string().contains("column id is integer"), "{error}");
}

#[test]
fn every_arrow_type_has_a_column_type() {
    let list = |item| DataType::List(Arc::new(Field::new_list_field(item, true)));
    let object = DataType::Struct(vec![Field::new("a", DataType::Int8, true)].into());
    for (type_, expected) in [
        (DataType::Boolean, "boolean"),
        (DataType::UInt8, "smallint"),
        (DataType::UInt16, "integer"),
        (DataType::UInt32, "bigint"),
        (DataType::UInt64, "numeric(20,0)"),
        (DataType::Float16, "real"),
        (DataType::Decimal128(15, 2), "numeric(15,2)"),
        (DataType::Decimal128(5, -2), "numeric(7,0)"),
        (DataType::Decimal256(76, 10), "numeric(76,10)"),
        (DataType::LargeUtf8, "text"),
        (DataType::BinaryView, "bytea"),
        (DataType::Date64, "date"),
        (DataType::Time32(TimeUnit::Second), "time without time zone"),
        (
            DataType::Timestamp(TimeUnit::Nanosecond, None),
            "timestamp without time zone",
        ),
        (
            DataType::Timestamp(TimeUnit::Second, Some("+01:00".into())),
            "timestamp with time zone",
        ),
        (DataType::Duration(TimeUnit::Second), "interval"),
        (
            DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8)),
            "text",
        ),
        (list(DataType::Date32), "date[]"),
        (list(object.clone()), "jsonb"),
        (list(list(DataType::Int8)), "jsonb"),
        (object, "jsonb"),
        (DataType::Null, "text"),
    ] {
        let columns = wanted(&Schema::new(vec![Field::new("c", type_.clone(), true)])).unwrap();
        assert_eq!(columns[0].type_, expected, "{type_}");
    }
    let long = "x".repeat(70);
    let pair = Schema::new(vec![
        Field::new(super::super::ident::fit(&long), DataType::Int8, true),
        Field::new(&long, DataType::Int8, true),
    ]);
    let error = wanted(&pair).err().unwrap().to_string();
    assert!(error.contains(&long), "{error}");
}
