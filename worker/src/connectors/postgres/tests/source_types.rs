//! Every type arrives as what it is; what cannot arrive is refused by name.

use arrow::datatypes::{DataType, TimeUnit};
use serde_json::json;

use super::ground::{ground, load, stream, texts};
use crate::connector::Range;

const MAKE: &str = "
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN cents AS numeric(12,2) CHECK (value >= -1000000000);
CREATE DOMAIN tags AS text[];
CREATE TABLE every (
  id int PRIMARY KEY, b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8,
  n numeric, n15 numeric(15,2), n38 numeric(38,10), n50 numeric(50,20), nneg numeric(5,-2), nfrac numeric(3,5),
  c cents, t text, v varchar(20), bp char(5), nm name, ch \"char\", by bytea, d date, tm time, tmz timetz,
  ts timestamp, tz timestamptz, iv interval, u uuid, j json, jb jsonb, m mood, inet inet, cidr cidr, mac macaddr,
  money money, r int4range, pr pair, bits bit varying(8), x xml, o oid, point point,
  ai int[], at text[], an numeric(10,2)[], am mood[], atz timestamptz[], ainet inet[], tg tags, aa int[][]
);
INSERT INTO every VALUES (1, true, -32768, -2147483648, -9223372036854775808, '-Infinity', 'NaN',
  '-123456789012345678901234567890.000000001', -9999999999999.99, 9999999999999999999999999999.9999999999,
  123456789012345678901234567890.12345678901234567890, 12300, 0.00123,
  -0.01, E'tab\\tnew\\nline \"q\" ''a'' \\u00e9\\U0001F600', '', 'ab', 'n', 'x', '\\x00ff10', '4713-01-01 BC', '00:00:00.000001', '12:00:00+05:30',
  '4713-01-01 00:00:00 BC', '1969-12-31 23:59:59.999999+00', '1 year 2 mons -3 days 04:05:06.789', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11',
  '{\"a\":  1}', '{\"b\": [1, 2.50, null]}', 'happy', '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03',
  '-1234.56', '[1,5)', '(1,\"x y\")', B'101', '<a>1</a>', 4294967295, '(1,2)',
  '{1,NULL,-3}', '{\"a,b\",NULL,\"\"}', '{1.10,-2.25}', '{sad,happy}', '{\"2000-01-01 00:00:00+00\"}', '{1.2.3.4}', '{x,y}', '{{1,2},{3,4}}'),
 (2, false, 32767, 2147483647, 9223372036854775807, 3.4028235e38, 5e-324,
  '0.00000000000000000000000000000000000001', 9999999999999.99, -0.0000000001, -0.00000000000000000001, -9999900, -0.00999,
  123.40, 'plain', 'twenty characters ab', 'abcde', 'name', 'y', '', '9999-12-31', '23:59:59.999999', '00:00:00-12',
  '9999-12-31 23:59:59.999999', '0001-01-01 00:00:00+00', '0', '00000000-0000-0000-0000-000000000000',
  'null', 'null', 'sad', '::1', '::/0', 'ff:ff:ff:ff:ff:ff', '0', 'empty', '(,)', '', 'text', 0, '(0.1,-0)',
  '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}');
INSERT INTO every (id) VALUES (3);
";

#[tokio::test(flavor = "multi_thread")]
async fn every_type_arrives_as_what_it_is() {
    let Some(ground) = ground().await else { return };
    ground.sql(MAKE).await;
    let source = ground.source(json!({}));
    let read = load(&*source, &stream("public.every", &["id"], &[]), &Range::Full).await;
    assert!(read.refused.is_empty(), "{:?}", read.refused);
    for (column, type_, expected) in expected() {
        assert_eq!(
            *read.batch.schema().field_with_name(column).unwrap().data_type(),
            type_,
            "{column}"
        );
        assert_eq!(texts(&read.batch, column), expected, "{column}");
    }
    let schema = read.batch.schema();
    assert!(!schema.field_with_name("id").unwrap().is_nullable());
    assert_eq!(schema.fields().len(), expected().len());
    let discovered = source.discover().await.unwrap();
    let every = discovered
        .iter()
        .find(|stream| stream.name == "public.every")
        .unwrap();
    assert_eq!(every.schema, schema);
    assert_eq!(every.primary_key, ["id"]);
}

type Expected = (&'static str, DataType, [&'static str; 3]);

#[expect(clippy::too_many_lines, reason = "a table of all types")]
fn expected() -> Vec<Expected> {
    use DataType::{
        Binary, Boolean, Date32, Decimal128, Decimal256, Float32, Float64, Int16, Int32, Int64, Time64,
        Timestamp, Utf8,
    };
    let list = |item| DataType::new_list(item, true);
    let micros = TimeUnit::Microsecond;
    let zoned = Timestamp(micros, Some("UTC".into()));
    vec![
        ("id", Int32, ["1", "2", "3"]),
        ("b", Boolean, ["true", "false", "NULL"]),
        ("i2", Int16, ["-32768", "32767", "NULL"]),
        ("i4", Int32, ["-2147483648", "2147483647", "NULL"]),
        (
            "i8",
            Int64,
            ["-9223372036854775808", "9223372036854775807", "NULL"],
        ),
        ("f4", Float32, ["-inf", "3.4028235e38", "NULL"]),
        ("f8", Float64, ["NaN", "5e-324", "NULL"]),
        (
            "n",
            Utf8,
            [
                "-123456789012345678901234567890.000000001",
                "0.00000000000000000000000000000000000001",
                "NULL",
            ],
        ),
        (
            "n15",
            Decimal128(15, 2),
            ["-9999999999999.99", "9999999999999.99", "NULL"],
        ),
        (
            "n38",
            Decimal128(38, 10),
            ["9999999999999999999999999999.9999999999", "-0.0000000001", "NULL"],
        ),
        (
            "n50",
            Decimal256(50, 20),
            [
                "123456789012345678901234567890.12345678901234567890",
                "-0.00000000000000000001",
                "NULL",
            ],
        ),
        ("nneg", Decimal128(7, 0), ["12300", "-9999900", "NULL"]),
        ("nfrac", Decimal128(5, 5), ["0.00123", "-0.00999", "NULL"]),
        ("c", Decimal128(12, 2), ["-0.01", "123.40", "NULL"]),
        ("t", Utf8, ["tab\tnew\nline \"q\" 'a' é😀", "plain", "NULL"]),
        ("v", Utf8, ["", "twenty characters ab", "NULL"]),
        ("bp", Utf8, ["ab   ", "abcde", "NULL"]),
        ("nm", Utf8, ["n", "name", "NULL"]),
        ("ch", Utf8, ["x", "y", "NULL"]),
        ("by", Binary, ["00ff10", "", "NULL"]),
        ("d", Date32, ["-4712-01-01", "9999-12-31", "NULL"]),
        (
            "tm",
            Time64(micros),
            ["00:00:00.000001", "23:59:59.999999", "NULL"],
        ),
        ("tmz", Utf8, ["12:00:00+05:30", "00:00:00-12", "NULL"]),
        (
            "ts",
            Timestamp(micros, None),
            ["-4712-01-01T00:00:00", "9999-12-31T23:59:59.999999", "NULL"],
        ),
        (
            "tz",
            zoned.clone(),
            ["1969-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z", "NULL"],
        ),
        ("iv", Utf8, ["P1Y2M-3DT4H5M6.789S", "PT0S", "NULL"]),
        (
            "u",
            Utf8,
            [
                "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                "00000000-0000-0000-0000-000000000000",
                "NULL",
            ],
        ),
        ("j", Utf8, ["{\"a\":  1}", "null", "NULL"]),
        ("jb", Utf8, ["{\"b\": [1, 2.50, null]}", "null", "NULL"]),
        ("m", Utf8, ["happy", "sad", "NULL"]),
        ("inet", Utf8, ["10.0.0.1/8", "::1/128", "NULL"]),
        ("cidr", Utf8, ["10.0.0.0/8", "::/0", "NULL"]),
        ("mac", Utf8, ["08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff", "NULL"]),
        ("money", Utf8, ["-1234.56", "0.00", "NULL"]),
        ("r", Utf8, ["[1,5)", "empty", "NULL"]),
        ("pr", Utf8, ["(1,\"x y\")", "(,)", "NULL"]),
        ("bits", Utf8, ["101", "", "NULL"]),
        ("x", Utf8, ["<a>1</a>", "text", "NULL"]),
        ("o", Int64, ["4294967295", "0", "NULL"]),
        ("point", Utf8, ["(1,2)", "(0.1,-0)", "NULL"]),
        ("ai", list(Int32), ["[1, NULL, -3]", "[]", "NULL"]),
        ("at", list(Utf8), ["[a,b, NULL, ]", "[]", "NULL"]),
        ("an", list(Decimal128(10, 2)), ["[1.10, -2.25]", "[]", "NULL"]),
        ("am", list(Utf8), ["[sad, happy]", "[]", "NULL"]),
        ("atz", list(zoned), ["[2000-01-01T00:00:00Z]", "[]", "NULL"]),
        ("ainet", list(Utf8), ["[1.2.3.4/32]", "[]", "NULL"]),
        ("tg", list(Utf8), ["[x, y]", "[]", "NULL"]),
        ("aa", Utf8, ["[[1,2],[3,4]]", "[]", "NULL"]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_arrow_cannot_hold_refuses_its_row_alone() {
    let Some(ground) = ground().await else { return };
    ground
        .sql(
            "CREATE TABLE odd (id int NOT NULL, d date, ts timestamp, n numeric(5,2), tm time, a int[] NOT NULL);
             INSERT INTO odd SELECT g, '2020-01-01', '2020-01-01', 1, '12:00', '{}' FROM generate_series(1, 10) g;
             UPDATE odd SET d = 'infinity' WHERE id = 2; UPDATE odd SET ts = '-infinity' WHERE id = 3;
             UPDATE odd SET n = 'NaN', ts = 'infinity' WHERE id = 4; UPDATE odd SET tm = '24:00:00' WHERE id = 5;
             UPDATE odd SET a = '{{1},{2}}' WHERE id = 6; UPDATE odd SET ts = '294270-01-01' WHERE id = 7;",
        )
        .await;
    let source = ground.source(json!({"batchRows": 4}));
    let read = load(&*source, &stream("public.odd", &["id"], &[]), &Range::Full).await;
    assert_eq!(super::ground::sorted(&read.batch, "id"), ["1", "10", "8", "9"]);
    let mut reasons: Vec<(i64, String)> = read
        .refused
        .iter()
        .map(|refused| (refused.row["id"].as_i64().unwrap(), refused.reason.clone()))
        .collect();
    reasons.sort();
    assert_eq!(
        reasons[0],
        (2, "d: infinity is no day that Arrow can hold".to_owned())
    );
    assert_eq!(
        reasons[1],
        (3, "ts: -infinity is no moment that Arrow can hold".to_owned())
    );
    assert!(
        reasons[2].1.contains("ts: infinity") && reasons[2].1.contains("n: NaN"),
        "{reasons:?}"
    );
    assert!(reasons[3].1.starts_with("tm: 24:00:00"), "{reasons:?}");
    assert!(
        reasons[4].1.starts_with("a: an array of several dimensions"),
        "{reasons:?}"
    );
    assert!(reasons[5].1.starts_with("ts: "), "{reasons:?}");
    let odd = read
        .refused
        .iter()
        .find(|refused| refused.row["id"] == 4)
        .unwrap();
    assert_eq!(
        (&odd.kind[..], &odd.row["n"], &odd.row["d"]),
        ("type", &json!("NaN"), &json!("2020-01-01"))
    );
    assert_eq!(odd.place["table"], json!("public.odd"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_numeric_without_precision_can_be_declared_as_decimal() {
    let Some(ground) = ground().await else { return };
    ground.sql("CREATE TABLE money (id int, n numeric); INSERT INTO money VALUES (1, 12.5), (2, 12.345), (3, 1000)").await;
    let mut stream = stream("public.money", &["id"], &[]);
    stream.declared =
        Some(serde_json::from_value(json!([{"name": "n", "physicalType": "decimal(5,2)"}])).unwrap());
    let read = load(&*ground.source(json!({})), &stream, &Range::Full).await;
    assert_eq!(texts(&read.batch, "n"), ["12.50"]);
    let refused: Vec<&str> = read
        .refused
        .iter()
        .map(|refused| refused.reason.as_str())
        .collect();
    assert_eq!(
        refused,
        [
            "n: 12.345 does not fit the column's decimal type",
            "n: 1000 does not fit the column's decimal type"
        ]
    );
}
