use std::fmt::Write;

use arrow::{
    array::{Array, AsArray},
    datatypes::{DataType, Field, Int64Type, Schema},
};
use serde_json::json;

use super::*;
use crate::{
    connector::Refused,
    error::ErrorKind,
    formats::{
        compression::{Compression, Decoded},
        window::Window,
    },
    storage::Storage,
};

/// All that a file gave.
#[derive(Debug, Default, PartialEq)]
struct Read {
    rows: Vec<Vec<Option<String>>>,
    refused: Vec<Refused>,
}

fn csv(options: serde_json::Value) -> Arc<Csv> {
    let options: CsvOptions = serde_json::from_value(options).unwrap();
    Arc::new(options.understand(b',').unwrap())
}

fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(
        columns
            .iter()
            .map(|(name, type_)| Field::new(*name, type_.clone(), true))
            .collect::<Vec<_>>(),
    ))
}

fn texts(header: &Header) -> SchemaRef {
    let columns: Vec<_> = header
        .names
        .iter()
        .map(|name| (name.as_str(), DataType::Utf8))
        .collect();
    schema(&columns)
}

/// Reads a file cut into at most `parts` ranges; `None` for the schema: all columns are text.
async fn read_parts(bytes: &[u8], csv: &Arc<Csv>, schema: Option<SchemaRef>, parts: u64) -> Result<Read> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("f.csv"), bytes).unwrap();
    let storage = Storage::directory(directory.path());
    let object = storage.head("f.csv").await?.unwrap();
    let Some(header) = Header::read(bytes, true, csv, None)? else {
        return Ok(Read::default());
    };
    let schema = schema.unwrap_or_else(|| texts(&header));
    let mut all = Read::default();
    for range in split::ranges(&storage, &object, header.data..object.size, parts, csv).await? {
        let line = (range.start == header.data).then_some(header.lines + 1);
        let decoded = Decoded::new(storage.read(&object, range.clone())?, Compression::None)?;
        let window = Window::new(decoded, range.start, 1 << 20, "f.csv");
        let place = Place::new("f.csv", range.start, line);
        let mut reader = CsvReader::new(window, csv.clone(), schema.clone(), &header, place);
        while let Some(payload) = reader.next().await? {
            let payload = payload.strict();
            all.refused.extend(payload.refused);
            for row in 0..payload.batch.num_rows() {
                let value = |column: &ArrayRef| {
                    column
                        .is_valid(row)
                        .then(|| arrow::util::display::array_value_to_string(column, row).unwrap())
                };
                all.rows.push(payload.batch.columns().iter().map(value).collect());
            }
        }
    }
    Ok(all)
}

async fn read(bytes: &[u8], options: serde_json::Value) -> Read {
    read_parts(bytes, &csv(options), None, 1).await.unwrap()
}

async fn read_as(bytes: &[u8], columns: &[(&str, DataType)]) -> Read {
    read_parts(bytes, &csv(json!({})), Some(schema(columns)), 1)
        .await
        .unwrap()
}

fn row(fields: &[&str]) -> Vec<Option<String>> {
    fields.iter().map(|field| Some((*field).to_owned())).collect()
}

/// A generator of numbers that needs no crate and is the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

#[tokio::test]
async fn quotes_hold_delimiters_line_ends_and_doubled_quotes() {
    let all = read(
        b"a,b\n\"x,y\",\"1\n2\"\n\"say \"\"hi\"\"\",5\" pipe\n\"ab\"c,\n",
        json!({}),
    )
    .await;
    assert_eq!(all.refused, []);
    assert_eq!(
        all.rows,
        [
            row(&["x,y", "1\n2"]),
            row(&["say \"hi\"", "5\" pipe"]),
            vec![Some("abc".to_owned()), None]
        ]
    );
}

#[tokio::test]
async fn an_empty_field_is_null_and_a_quoted_one_is_an_empty_text() {
    let all = read(b"a,b\n,\"\"\nNA,\"NA\"\n", json!({ "nulls": ["", "NA"] })).await;
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(all.rows, [vec![None, text("")], vec![None, text("NA")]]);
    // A number that is written in quotes may be missing too.
    let all = read_as(b"a\n\"\"\n\"7\"\n", &[("a", DataType::Int64)]).await;
    assert_eq!(all.rows, [vec![None], row(&["7"])]);
}

#[tokio::test]
async fn marks_line_ends_comments_escapes_and_delimiters_of_all_kinds() {
    let expected = [row(&["1", "x"]), row(&["2", "y"])];
    for text in [
        "a,b\r\n1,x\r\n2,y\r\n",
        "\u{feff}a,b\n1,x\n2,y",
        "a,b\r1,x\r2,y\r",
        "a,b\n\n1,x\n\r\n2,y\n\n",
        "\"a\",\"b\"\n\"1\",\"x\"\r\n2,y",
    ] {
        assert_eq!(read(text.as_bytes(), json!({})).await.rows, expected, "{text:?}");
    }
    let all = read(
        b"# it's \"here\na;b\n1;x\n#2;\"z\n2;y\n",
        json!({ "delimiter": ";", "comment": "#" }),
    )
    .await;
    assert_eq!(all.rows, expected);
    let all = read(
        b"a\tb\n'1\\'2'\t'\\\\'\n",
        json!({ "delimiter": "\\t", "quote": "'", "escape": "\\" }),
    )
    .await;
    assert_eq!(all.rows, [row(&["1'2", "\\"])]);
    let all = read(b"a,b\n\"1,2\"\n", json!({ "quote": "" })).await;
    assert_eq!(all.rows, [row(&["\"1", "2\""])]);
    let all = read(b"1,x\n2,y\n", json!({ "header": false })).await;
    assert_eq!(all.rows, expected);
}

#[tokio::test]
async fn only_the_bad_row_is_refused_and_its_place_is_told() {
    let text = b"id,day,note\n1,2026-01-31,a\n35.2,2026-02-30,b\n3,2026-03-01\n4,2026-04-01,d,e\n5,2026-05-01,\xff\xfe\n6,2026-06-01,\"f\ng\"\n";
    let all = read_as(
        text,
        &[
            ("id", DataType::Int64),
            ("day", DataType::Date32),
            ("note", DataType::Utf8),
        ],
    )
    .await;
    assert_eq!(
        all.rows,
        [row(&["1", "2026-01-31", "a"]), row(&["6", "2026-06-01", "f\ng"])]
    );
    let told: Vec<_> = all
        .refused
        .iter()
        .map(|refused| (refused.place["line"].as_u64().unwrap(), refused.kind.as_str()))
        .collect();
    assert_eq!(told, [(4, "parse"), (5, "parse"), (3, "type"), (6, "parse")]);
    assert_eq!(all.refused[0].reason, "2 fields where the header has 3");
    assert_eq!(all.refused[0].row, json!({ "id": "3", "day": "2026-03-01" }));
    assert_eq!(all.refused[1].row["_rest"], json!(["e"]));
    assert_eq!(all.refused[3].place["column"], "note");
    let misfit = &all.refused[2];
    assert_eq!(
        misfit.reason,
        "`id`: `35.2` is not int64; `day`: `2026-02-30` is not date"
    );
    assert_eq!(
        misfit.row,
        json!({ "id": "35.2", "day": "2026-02-30", "note": "b" })
    );
    assert_eq!(misfit.place["offset"], 27);
    assert_eq!(misfit.place["file"], "f.csv");
}

#[tokio::test]
async fn no_value_changes_its_meaning() {
    let refuses = async |type_: DataType, texts: &[&str]| {
        for text in texts {
            let all = read_as(format!("a\n\"{text}\"\n").as_bytes(), &[("a", type_.clone())]).await;
            assert_eq!((all.rows.len(), all.refused.len()), (0, 1), "{text} as {type_}");
        }
    };
    let time = arrow::datatypes::TimeUnit::Microsecond;
    refuses(
        DataType::Int64,
        &["35.2", "1e3", " 1", "9223372036854775808", "0x10", "-", "true"],
    )
    .await;
    refuses(DataType::Int8, &["128", "-129"]).await;
    refuses(DataType::UInt8, &["-1", "256"]).await;
    refuses(DataType::Boolean, &["yes", "1", "t", "on"]).await;
    refuses(DataType::Float64, &["1,5", "abc", "1e999", "--1"]).await;
    refuses(DataType::Decimal128(5, 2), &["1.234", "1000", "1e9", "abc", "."]).await;
    refuses(
        DataType::Date32,
        &[
            "2026-02-29",
            "2026-1-1",
            "2026-01-01T10:00",
            "01/02/2026",
            "20260101",
        ],
    )
    .await;
    refuses(
        DataType::Timestamp(time, None),
        &[
            "2026-01-01T10:00:00+02:00",
            "2026-01-01T10:00:00.1234567",
            "10:00",
        ],
    )
    .await;
    refuses(DataType::Time64(time), &["24:00:00", "10:61", "noon"]).await;
    refuses(DataType::Binary, &["abc", "xy"]).await;

    let reads = async |type_: DataType, text: &str, expected: &str| {
        let all = read_as(format!("a\n{text}\n").as_bytes(), &[("a", type_.clone())]).await;
        assert_eq!(
            all.rows,
            [row(&[expected])],
            "{text} as {type_}: {:?}",
            all.refused
        );
    };
    reads(DataType::Int64, "-9223372036854775808", "-9223372036854775808").await;
    reads(DataType::UInt64, "18446744073709551615", "18446744073709551615").await;
    reads(DataType::Boolean, "TRUE", "true").await;
    reads(DataType::Decimal128(5, 2), "-1.20000", "-1.20").await;
    reads(
        DataType::Decimal128(38, 10),
        "1234567890123456789012345678.0123456789",
        "1234567890123456789012345678.0123456789",
    )
    .await;
    reads(DataType::Decimal128(15, 2), "1.5e3", "1500.00").await;
    reads(
        DataType::Decimal256(50, 0),
        "12345678901234567890123456789012345678901234567890",
        "12345678901234567890123456789012345678901234567890",
    )
    .await;
    reads(DataType::Date32, "0001-01-01", "0001-01-01").await;
    reads(DataType::Date32, "9999-12-31", "9999-12-31").await;
    reads(
        DataType::Timestamp(time, None),
        "2024-02-29 10:00:00.123456",
        "2024-02-29T10:00:00.123456",
    )
    .await;
    reads(
        DataType::Timestamp(time, Some("UTC".into())),
        "2024-02-29T10:00:00+02:30",
        "2024-02-29T07:30:00Z",
    )
    .await;
    reads(DataType::Time64(time), "23:59:59.5", "23:59:59.500").await;
    reads(DataType::Binary, "\\x6869", "6869").await;
}

#[tokio::test]
async fn nested_columns_stand_as_json() {
    let address = DataType::Struct(
        vec![
            Field::new("street", DataType::Utf8, true),
            Field::new("number", DataType::Int64, true),
        ]
        .into(),
    );
    let tags = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
    let text = "address;tags\n{\"street\":\"A\",\"number\":5};[\"x\",null]\n{\"street\":\"B\",\"number\":35.2};[]\n;\n";
    let options = csv(json!({ "delimiter": ";", "quote": "'" }));
    let schema = schema(&[("address", address), ("tags", tags)]);
    let all = read_parts(text.as_bytes(), &options, Some(schema), 1)
        .await
        .unwrap();
    assert_eq!(all.rows.len(), 2);
    assert_eq!(all.rows[0][1].as_deref(), Some("[x, ]"));
    assert_eq!(all.rows[1], [None, None]);
    assert_eq!(all.refused.len(), 1);
    assert!(
        all.refused[0].reason.starts_with("`address.number`"),
        "{}",
        all.refused[0].reason
    );
}

#[tokio::test]
async fn a_quote_that_is_never_closed_stops_the_load() {
    let error = read_parts(b"a,b\n1,2\n3,\"4\n5,6\n", &csv(json!({})), None, 1)
        .await
        .unwrap_err();
    assert_eq!((error.kind, error.reason), (ErrorKind::Data, "UnclosedQuote"));
    assert!(error.message.contains("line 3, byte 10"), "{error}");
}

#[tokio::test]
async fn a_record_beyond_the_limit_stops_the_load_and_a_long_one_below_it_is_read() {
    let long = format!("a,b\n1,{}\n2,x\n", "y".repeat(3 << 20));
    let limited = async |limit: usize| -> Result<usize> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("f.csv"), &long).unwrap();
        let storage = Storage::directory(directory.path());
        let object = storage.head("f.csv").await?.unwrap();
        let csv = csv(json!({}));
        let header = Header::read(long.as_bytes(), true, &csv, None)?.unwrap();
        let decoded = Decoded::new(
            storage.read(&object, header.data..object.size)?,
            Compression::None,
        )?;
        let window = Window::new(decoded, header.data, limit, "f.csv");
        let mut reader = CsvReader::new(
            window,
            csv,
            texts(&header),
            &header,
            Place::new("f.csv", 4, Some(2)),
        );
        let mut rows = 0;
        while let Some(payload) = reader.next().await? {
            rows += payload.batch.num_rows();
        }
        Ok(rows)
    };
    assert_eq!(limited(4 << 20).await.unwrap(), 2);
    let error = limited(2 << 20).await.unwrap_err();
    assert_eq!((error.kind, error.reason), (ErrorKind::Data, "RecordTooLarge"));
    assert!(error.message.contains("byte 4"), "{error}");
}

#[test]
fn duplicate_and_unreadable_headers_are_named() {
    let csv = csv(json!({}));
    let error = Header::read(b"a,b,a,c,b\n", true, &csv, None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Data);
    assert!(error.message.contains("`a`, `b`"), "{error}");
    let error = Header::read(b"\xff\xfea\0,\0", true, &csv, None).unwrap_err();
    assert!(error.message.contains("UTF-16"), "{error}");
    let header = Header::read(b"a,,c\n1,2,3\n", true, &csv, None).unwrap().unwrap();
    assert_eq!(*header.names, ["a", "column_2", "c"]);
    assert_eq!(
        Header::read(b"a,b", false, &csv, None).unwrap(),
        None,
        "half a header is no header"
    );
    assert_eq!(
        *Header::read(b"a,b", true, &csv, None).unwrap().unwrap().names,
        ["a", "b"]
    );
}

#[test]
fn characters_with_two_meanings_are_refused() {
    for options in [
        json!({ "delimiter": "\"" }),
        json!({ "delimiter": "ab" }),
        json!({ "quote": "é" }),
    ] {
        let options: CsvOptions = serde_json::from_value(options).unwrap();
        assert_eq!(options.understand(b',').unwrap_err().kind, ErrorKind::Config);
    }
}

/// Files full of what makes parsing hard, some records of them bad.
fn hard_file(random: &mut Random) -> String {
    let end = random.pick(&["\n", "\r\n"]);
    let mut text = format!("{}id,\"na\"\"me\",note{end}", random.pick(&["", "\u{feff}"]));
    for id in 0..random.below(60) {
        let field = |random: &mut Random| match random.below(9) {
            0 => "\"\"".to_owned(),
            1 => "\"a\nb\"".to_owned(),
            2 => "\"a\r\nb,\"\"c\"\"\"".to_owned(),
            3 => "5\" pipe".to_owned(),
            4 => "\"\"\"\"".to_owned(),
            5 => "\"x\"y\"".to_owned(),
            6 => String::new(),
            7 => "Grüße, 世界".replace(',', ";"),
            _ => "\",\n\n,\"".to_owned(),
        };
        write!(text, "{id},{},{}{end}", field(random), field(random)).unwrap();
        if random.below(15) == 0 {
            write!(text, "too,few{end}").unwrap();
        }
        if random.below(15) == 0 {
            text.push_str(end);
        }
    }
    if random.below(2) == 0 {
        text.trim_end_matches(['\r', '\n']).to_owned()
    } else {
        text
    }
}

/// The same file by the `csv` crate's own rules, which `arrow` follows.
fn by_arrow(text: &str) -> Vec<Vec<Option<String>>> {
    let schema = schema(&[
        ("id", DataType::Utf8),
        ("name", DataType::Utf8),
        ("note", DataType::Utf8),
    ]);
    let text = text.trim_start_matches('\u{feff}').lines_with("too,few");
    let reader = arrow::csv::ReaderBuilder::new(schema)
        .with_header(true)
        .build(std::io::Cursor::new(text))
        .unwrap();
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.unwrap();
        for row in 0..batch.num_rows() {
            let value = |column: &ArrayRef| {
                let column = column.as_string::<i32>();
                column.is_valid(row).then(|| column.value(row).to_owned())
            };
            rows.push(batch.columns().iter().map(value).collect());
        }
    }
    rows
}

trait Without {
    fn lines_with(&self, bad: &str) -> String;
}

impl Without for str {
    /// The text without the lines that are `bad`.
    fn lines_with(&self, bad: &str) -> String {
        self.split_inclusive('\n')
            .filter(|line| line.trim_end() != bad)
            .collect()
    }
}

#[tokio::test]
async fn splitting_anywhere_gives_the_same_rows_as_one_range_and_as_the_stock_parser() {
    let options = csv(json!({}));
    for seed in 0..150 {
        let text = hard_file(&mut Random(seed));
        let whole = read_parts(text.as_bytes(), &options, None, 1).await.unwrap();
        let nothing_quoted = |row: &Vec<Option<String>>| -> Vec<String> {
            row.iter()
                .map(|field| field.clone().unwrap_or_default())
                .collect()
        };
        let ours: Vec<_> = whole.rows.iter().map(nothing_quoted).collect();
        let theirs: Vec<_> = by_arrow(&text).iter().map(nothing_quoted).collect();
        assert_eq!(ours, theirs, "seed {seed}: {text:?}");
        for parts in [2, 3, 7, text.len() as u64 / 3 + 1] {
            let parted = read_parts(text.as_bytes(), &options, None, parts).await.unwrap();
            assert_eq!(parted.rows, whole.rows, "seed {seed} in {parts}: {text:?}");
            assert_eq!(parted.refused.len(), whole.refused.len());
        }
    }
}

#[tokio::test]
async fn every_single_cut_of_a_file_falls_on_a_record() {
    let text = "a,b\n1,\"x\ny\"\n2,\"\"\"\n\"\"\"\n3,z\"\n4,\"w\"\n";
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("f.csv"), text).unwrap();
    let storage = Storage::directory(directory.path());
    let object = storage.head("f.csv").await.unwrap().unwrap();
    let starts = [4, 12, 22, 27, 33];
    for parts in 1..=text.len() as u64 {
        let ranges = split::ranges(&storage, &object, 4..object.size, parts, &csv(json!({})))
            .await
            .unwrap();
        assert_eq!(ranges.first().unwrap().start, 4);
        assert_eq!(ranges.last().unwrap().end, object.size);
        assert!(
            ranges.windows(2).all(|pair| pair[0].end == pair[1].start),
            "{ranges:?}"
        );
        assert!(
            ranges.iter().all(|range| starts.contains(&range.start)),
            "{ranges:?} in {parts}"
        );
    }
}

#[tokio::test]
async fn a_file_larger_than_the_view_keeps_its_lines_and_offsets() {
    let mut text = String::from("id,pad\n");
    for id in 0..200_000 {
        writeln!(
            text,
            "{id},{}",
            if id == 150_000 { "\"two\nlines\"" } else { "x" }
        )
        .unwrap();
    }
    let bad = text.len();
    text.push_str("oops,y\n");
    for parts in [1, 4] {
        let types = schema(&[("id", DataType::Int64), ("pad", DataType::Utf8)]);
        let all = read_parts(text.as_bytes(), &csv(json!({})), Some(types), parts)
            .await
            .unwrap();
        assert_eq!(all.rows.len(), 200_000);
        assert!(
            all.rows
                .iter()
                .enumerate()
                .all(|(id, row)| row[0].as_deref() == Some(id.to_string().as_str()))
        );
        assert_eq!(all.refused.len(), 1);
        assert_eq!(all.refused[0].place["offset"], bad);
        let line = all.refused[0]
            .place
            .get("line")
            .map(|line| line.as_u64().unwrap());
        assert_eq!(line, (parts == 1).then_some(200_003));
    }
}

#[test]
fn short_and_long_texts_give_the_same_numbers() {
    use crate::formats::value::{decimal128, integer};
    for text in [
        "0",
        "1",
        "-1",
        "+5",
        "00012",
        "123456789012345678",
        "-999999999999999999",
        "1234567890123456789",
    ] {
        assert_eq!(integer(text), text.parse().ok(), "{text}");
        assert_eq!(
            decimal128(text, 18, 0),
            text.parse().ok().filter(|v: &i128| v.abs() < 10_i128.pow(18))
        );
        assert_eq!(decimal128(text, 38, 0), text.parse().ok(), "{text}");
    }
    assert_eq!(decimal128("0.05", 15, 2), Some(5));
    assert_eq!(decimal128("-.5", 15, 2), Some(-50));
    assert_eq!(decimal128("5.", 15, 2), Some(500));
    let array: arrow::array::PrimitiveArray<Int64Type> = vec![Some(1)].into();
    assert_eq!(array.value(0), 1);
}
