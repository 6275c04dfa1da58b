use std::{collections::BTreeMap, fs, io::Write as _, path::PathBuf, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, IntervalDayTimeArray, RecordBatch},
    datatypes::{DataType, IntervalDayTime, IntervalUnit},
};
use millrace_crds::{
    flow::WriteMode,
    plan::{FlowRef, SystemPlan},
};
use parquet::arrow::{ArrowWriter, arrow_writer::ArrowWriterOptions};
use serde_json::{Map, Value, json};

use super::*;
use crate::{
    connector::{Load, Range, Refused, Source, System},
    error::{ErrorKind, Result},
    rate::RateLimiter,
    secrets::Secrets,
    storage::tests::{reply, s3_for_tests, serve},
    stream::StreamSpec,
};

fn system(connection: Value, base: Option<&std::path::Path>) -> System {
    let Value::Object(connection) = connection else {
        panic!("a connection is an object")
    };
    let plan = SystemPlan {
        connector: "file".into(),
        recipe: millrace_crds::source::RecipeOrigin::BuiltIn,
        type_: "file".into(),
        engine: "native".into(),
        engine_config: Map::new(),
        connection,
        options: Map::new(),
        credentials: Vec::new(),
        plugin: None,
        rate_limit: None,
        base_dir: base.map(|base| base.display().to_string()),
    };
    System {
        plan,
        secrets: Secrets::new(Vec::new(), Arc::default(), PathBuf::new()),
        limiter: RateLimiter::default(),
        flow: FlowRef {
            namespace: "default".into(),
            name: "lake".into(),
            uid: String::new(),
            labels: BTreeMap::default(),
        },
        streams: Vec::new(),
        source: None,
        write_mode: None,
        note: None,
    }
}

fn spec(name: &str) -> StreamSpec {
    StreamSpec {
        name: name.to_owned(),
        primary_key: Vec::new(),
        cursor: Vec::new(),
        declared: None,
        discovered: None,
        partitions: None,
        write_mode: WriteMode::Append,
        delivered_key: Vec::new(),
    }
}

/// A directory with these files, and a source that reads `url` in it.
fn at(files: &[(&str, &[u8])], connection: Value) -> (tempfile::TempDir, FileSource) {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let source = FileSource::new(&system(connection, Some(directory.path()))).unwrap();
    (directory, source)
}

async fn read(load: &dyn Load) -> Result<(Vec<RecordBatch>, Vec<Refused>)> {
    let (mut batches, mut refused) = (Vec::new(), Vec::new());
    for partition in 0..load.partitions() {
        let mut reader = load.read(partition).await?;
        while let Some(payload) = reader.next().await? {
            assert_eq!(payload.batch.schema(), load.schema());
            let payload = payload.strict();
            batches.push(payload.batch);
            refused.extend(payload.refused);
        }
    }
    Ok((batches, refused))
}

/// The first column as text, row by row.
fn first_column(batches: &[RecordBatch]) -> Vec<String> {
    let text = |batch: &RecordBatch| {
        let column = arrow::compute::cast(batch.column(0), &DataType::Utf8).unwrap();
        column
            .as_string::<i32>()
            .iter()
            .map(|value| value.unwrap_or("null").to_owned())
            .collect::<Vec<_>>()
    };
    batches.iter().flat_map(text).collect()
}

async fn full(source: &FileSource, stream: &str) -> (Vec<String>, Vec<Refused>, Arc<dyn Load>) {
    let load = source.load(&spec(stream), &Range::Full).await.unwrap();
    let (batches, refused) = read(&*load).await.unwrap();
    (first_column(&batches), refused, load)
}

async fn delta(source: &FileSource, spec: &StreamSpec, after: Option<Value>) -> (Vec<String>, Option<Value>) {
    let load = source.load(spec, &Range::Delta { after }).await.unwrap();
    let (batches, _) = read(&*load).await.unwrap();
    (first_column(&batches), load.watermark())
}

fn types(load: &dyn Load) -> Vec<(String, String)> {
    let name = |type_| crate::types::type_name(type_);
    load.schema()
        .fields()
        .iter()
        .map(|field| (field.name().clone(), name(field.data_type())))
        .collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A Parquet file with one column of days; `typed`: it says so, and not INTERVAL alone.
fn days(typed: bool) -> Vec<u8> {
    let days = IntervalDayTimeArray::from(vec![IntervalDayTime::new(3, 0)]);
    let batch = RecordBatch::try_from_iter([("term", Arc::new(days) as ArrayRef)]).unwrap();
    let options = ArrowWriterOptions::new().with_skip_arrow_metadata(!typed);
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new_with_options(&mut file, batch.schema(), options).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    file
}

#[tokio::test]
async fn an_interval_whose_months_would_be_lost_is_refused() {
    let (_directory, source) = at(&[("a.parquet", &days(true))], json!({ "url": "a.parquet" }));
    let info = source.discover().await.unwrap().remove(0);
    assert_eq!(
        *info.schema.field(0).data_type(),
        DataType::Interval(IntervalUnit::DayTime)
    );
    let (_directory, source) = at(&[("b.parquet", &days(false))], json!({ "url": "b.parquet" }));
    let error = source.discover().await.unwrap().remove(0).trouble.unwrap();
    assert_eq!(error.kind, ErrorKind::Data);
    assert!(
        error.message.contains("b.parquet") && error.message.contains("`term` is an INTERVAL"),
        "{error}"
    );
}

#[tokio::test]
async fn a_directory_gives_the_files_of_the_format_and_no_others() {
    let files: &[(&str, &[u8])] = &[
        ("in/a.csv", b"id\n1\n"),
        ("in/b.ndjson", b"{\"id\":2}\n"),
        ("in/c.parquet", b"no Parquet at all"),
        ("notes/readme.txt", b"not for machines\n"),
    ];
    let (_directory, source) = at(files, json!({ "url": "in", "format": "csv" }));
    assert_eq!(full(&source, "in").await.0, ["1"]);
    let (_directory, source) = at(files, json!({ "url": "in", "format": "ndjson" }));
    assert_eq!(full(&source, "in").await.0, ["2"]);
    let (_directory, source) = at(files, json!({ "url": "notes" }));
    let error = source.discover().await.unwrap_err();
    assert!(error.message.contains("notes/readme.txt"), "{error}");
}

#[tokio::test]
async fn a_url_names_one_stream_or_many() {
    let files: &[(&str, &[u8])] = &[
        ("data/users.csv", b"id\n1\n"),
        ("data/orders-1.csv", b"id\n2\n"),
        ("data/orders-2.csv.gz", &gzip(b"id\n3\n")),
        ("data/deep/users.csv", b"id\n4\n"),
        ("data/_log", b"x"),
        ("data/half.csv.0.partial", b"id\n9\n"),
        ("data/notes.txt", b"id\n10\n"),
        ("data/.users.csv", b"id\n11\n"),
        ("data/.trash/users.csv", b"id\n12\n"),
    ];
    let expect = async |url: &str, expected: &[(&str, &[&str])]| {
        let (_directory, source) = at(files, json!({ "url": url }));
        let names: Vec<_> = source
            .discover()
            .await
            .unwrap()
            .into_iter()
            .map(|info| info.name)
            .collect();
        assert_eq!(
            names,
            expected.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            "{url}"
        );
        for (name, rows) in expected {
            assert_eq!(full(&source, name).await.0, *rows, "{url}");
        }
    };
    expect("data/users.csv", &[("users", &["1"])]).await;
    expect("data/orders-*", &[("orders", &["2", "3"])]).await;
    expect("data", &[("data", &["4", "2", "3", "1"])]).await;
    expect("data/*.csv", &[("data", &["2", "1"])]).await;
    expect("data/{stream}.csv", &[("orders-1", &["2"]), ("users", &["1"])]).await;
    expect(
        "data/**/{stream}.csv",
        &[("orders-1", &["2"]), ("users", &["4", "1"])],
    )
    .await;
    expect("data/{stream}-?.csv*", &[("orders", &["2", "3"])]).await;
    expect("data/*.txt", &[("data", &["10"])]).await;
    expect("data/.*.csv", &[("data", &["11"])]).await;

    let (directory, _) = at(files, json!({ "url": "data/users.csv" }));
    let system = system(json!({ "url": "data/users.csv" }), Some(directory.path()));
    let named = FileSource::new(&System {
        streams: vec!["people".to_owned()],
        ..system
    })
    .unwrap();
    assert_eq!(full(&named, "people").await.0, ["1"]);
    let error = named.load(&spec("users"), &Range::Full).await.err().unwrap();
    assert_eq!((error.kind, error.reason), (ErrorKind::Config, "UnknownStream"));
    assert!(error.to_string().contains("people"), "{error}");
}

#[tokio::test]
async fn nothing_at_a_url_is_an_error_and_never_an_empty_stream() {
    for url in ["none.csv", "none/*.csv", "empty", "none/{stream}.csv"] {
        let (directory, source) = at(&[], json!({ "url": url }));
        fs::create_dir(directory.path().join("empty")).unwrap();
        let error = source.load(&spec("none"), &Range::Full).await.err().unwrap();
        assert_eq!(
            (error.kind, error.reason),
            (ErrorKind::Config, "NotFound"),
            "{url}: {error}"
        );
    }
    for connection in [
        json!({}),
        json!({ "url": "x", "formt": "csv" }),
        json!({ "url": "{namespace}/x.csv" }),
    ] {
        let error = FileSource::new(&system(connection.clone(), None)).err().unwrap();
        assert_eq!(error.kind, ErrorKind::Config, "{connection}");
    }
}

#[tokio::test]
async fn types_are_inferred_with_care() {
    let text = "id,code,price,ok,day,at,utc,mixed,big,none\n\
                1,007,1.5,true,2026-01-02,2026-01-02 03:04:05,2026-01-02T03:04:05Z,1,12345678901234567890,\n\
                -2,123,2,False,2026-01-03,2026-01-02T03:04:05.5,2026-01-02T03:04:05+01:00,x,1,\n";
    let (_directory, source) = at(&[("t.csv", text.as_bytes())], json!({ "url": "t.csv" }));
    let (rows, refused, load) = full(&source, "t").await;
    assert_eq!((rows.len(), refused.len()), (2, 0));
    let types = types(&*load);
    let types: Vec<_> = types
        .iter()
        .map(|(name, type_)| (name.as_str(), type_.as_str()))
        .collect();
    assert_eq!(
        types,
        [
            ("id", "int64"),
            ("code", "text"),
            ("price", "float64"),
            ("ok", "boolean"),
            ("day", "date"),
            ("at", "timestamp(us)"),
            ("utc", "timestamptz(us)"),
            ("mixed", "text"),
            ("big", "text"),
            ("none", "text"),
        ]
    );
}

#[tokio::test]
async fn columns_are_taken_by_name_across_files() {
    let files: &[(&str, &[u8])] = &[("a.csv", b"id,x\n1,a\n"), ("b.csv", b"y,id\n5,2\n")];
    let (_directory, source) = at(files, json!({ "url": "*.csv" }));
    let name = source.discover().await.unwrap()[0].name.clone();
    let (rows, refused, load) = full(&source, &name).await;
    assert_eq!((rows, refused.len()), (vec!["1".to_owned(), "2".to_owned()], 0));
    assert_eq!(types(&*load).len(), 3);

    let declare = |fields: Value| StreamSpec {
        declared: serde_json::from_value(fields).unwrap(),
        ..spec(&name)
    };
    let missing = declare(
        json!([{ "name": "id", "logicalType": "integer" }, { "name": "x", "logicalType": "string" }]),
    );
    let error = source.load(&missing, &Range::Full).await.err().unwrap();
    assert_eq!((error.kind, error.reason), (ErrorKind::Config, "ColumnMissing"));
    assert!(
        error.message.contains("b.csv") && error.message.contains("`x`"),
        "{error}"
    );

    let declared = declare(json!([{ "name": "id", "logicalType": "string", "required": true }]));
    let load = source.load(&declared, &Range::Full).await.unwrap();
    let names: Vec<_> = types(&*load).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        ["id", "x", "y"],
        "what is not declared is for the contract to decide"
    );
    assert_eq!(types(&*load)[0].1, "text");
    assert!(load.schema().field(0).is_nullable());
}

#[tokio::test]
async fn a_delta_reads_new_and_changed_files_and_nothing_twice() {
    let (directory, source) = at(
        &[("in/a.csv", b"id\n1\n"), ("in/b.csv", b"id\n2\n")],
        json!({ "url": "in/*.csv" }),
    );
    let stream = spec("in");
    let (rows, position) = delta(&source, &stream, None).await;
    assert_eq!(rows, ["1", "2"]);
    let (rows, position) = delta(&source, &stream, position).await;
    assert_eq!(rows, [""; 0]);

    // The same size and the same modification time, and other content.
    let b = directory.path().join("in/b.csv");
    let time = fs::metadata(&b).unwrap().modified().unwrap();
    fs::write(&b, b"id\n3\n").unwrap();
    fs::File::open(&b).unwrap().set_modified(time).unwrap();
    fs::write(directory.path().join("in/c.csv"), b"id\n4\n").unwrap();
    let (rows, position) = delta(&source, &stream, position).await;
    assert_eq!(rows, ["3", "4"]);

    // Touched, moved away and back: the same content is not new.
    fs::File::open(&b)
        .unwrap()
        .set_modified(std::time::SystemTime::now())
        .unwrap();
    fs::remove_file(directory.path().join("in/a.csv")).unwrap();
    let (rows, position) = delta(&source, &stream, position).await;
    assert_eq!(rows, [""; 0]);

    // A change while it is read is seen next time.
    let load = source.load(&stream, &Range::Full).await.unwrap();
    fs::write(&b, b"id\n3\n5\n").unwrap();
    let (rows, _) = delta(&source, &stream, load.watermark()).await;
    assert_eq!(rows, ["3", "5"]);
    assert!(Seen::of(&position.unwrap()).is_ok());
    assert_eq!(
        Seen::of(&json!({ "files": 3 })).unwrap_err().reason,
        "StateCorrupt"
    );
}

use super::seen::Seen;

#[tokio::test]
async fn a_cursor_filters_what_a_delta_and_a_backfill_read() {
    let text = "id,at\n1,2026-01-01\n2,2026-01-02\n3,2026-01-02\n4,2026-01-03\n5,\n";
    let (_directory, source) = at(&[("t.csv", text.as_bytes())], json!({ "url": "t.csv" }));
    let stream = StreamSpec {
        cursor: vec!["at".into()],
        primary_key: vec!["id".into()],
        ..spec("t")
    };
    let rows = async |after: Value| delta(&source, &stream, Some(after)).await.0;
    assert_eq!(rows(json!({ "cursor": ["2026-01-02"] })).await, ["4", "5"]);
    assert_eq!(
        rows(json!({ "cursor": ["2026-01-02", 2] })).await,
        ["3", "4", "5"]
    );
    let backfill = |from: &str, to: &str| Range::Backfill {
        from: from.into(),
        to: to.into(),
    };
    let load = source
        .load(&stream, &backfill("2026-01-01", "2026-01-03"))
        .await
        .unwrap();
    assert_eq!(first_column(&read(&*load).await.unwrap().0), ["1", "2", "3"]);
    assert_eq!(
        load.watermark(),
        None,
        "a backfill leaves the watermark where it is"
    );
    let load = source.load(&stream, &backfill("soon", "later")).await.unwrap();
    assert_eq!(read(&*load).await.unwrap_err().kind, ErrorKind::Config);
    let error = source.load(&spec("t"), &backfill("a", "b")).await.err().unwrap();
    assert!(error.to_string().contains("cursorField"), "{error}");
}

#[tokio::test]
async fn compressed_files_are_read_by_name_or_by_their_first_bytes() {
    let text: String = std::iter::once("id\n".to_owned())
        .chain((0..300_000).map(|id| format!("{id}\n")))
        .collect();
    let zipped = gzip(text.as_bytes());
    let (first, second) = text.split_at(1_000_002);
    let members = [gzip(first.as_bytes()), gzip(second.as_bytes())].concat();
    let zstd = zstd::encode_all(text.as_bytes(), 3).unwrap();
    let frames = [
        zstd::encode_all(first.as_bytes(), 3).unwrap(),
        zstd::encode_all(second.as_bytes(), 1).unwrap(),
    ]
    .concat();
    for (name, content) in [
        ("a.csv.gz", &zipped),
        ("a.csv", &zipped),
        ("a.csv.gz", &members),
        ("a.csv.zst", &zstd),
        ("a.csv", &zstd),
        ("a.csv.zst", &frames),
        ("a.csv.gz", &text.clone().into_bytes()),
    ] {
        let (_directory, source) = at(&[(name, content)], json!({ "url": name }));
        if name.ends_with("gz") && content[0] != 0x1f {
            let error = source.load(&spec("a"), &Range::Full).await.err().unwrap();
            assert_eq!(error.kind, ErrorKind::Data, "{error}");
            continue;
        }
        let (rows, refused, load) = full(&source, "a").await;
        assert_eq!(
            (rows.len(), refused.len(), load.partitions()),
            (300_000, 0, 1),
            "{name}"
        );
        assert_eq!(rows[299_999], "299999");
    }
    for (name, content) in [("a.csv.gz", &zipped), ("a.csv.zst", &zstd)] {
        let (_directory, source) = at(&[(name, &content[..content.len() - 20])], json!({ "url": name }));
        let error = match source.load(&spec("a"), &Range::Full).await {
            Ok(load) => read(&*load).await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.kind, ErrorKind::Data, "{name}: {error}");
        assert!(error.message.contains("cut short"), "{error}");
    }
}

#[tokio::test]
async fn a_bomb_is_stopped_by_the_limit_of_a_record() {
    let bomb = gzip(&vec![b'x'; 64 << 20]);
    assert!(bomb.len() < 100_000);
    let (_directory, source) = at(
        &[("a.csv.gz", &bomb)],
        json!({ "url": "a.csv.gz", "maxRecordBytes": 1 << 20, "csv": { "header": false } }),
    );
    let error = match source.load(&spec("a"), &Range::Full).await {
        Ok(load) => read(&*load).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(
        (error.kind, error.reason),
        (ErrorKind::Data, "RecordTooLarge"),
        "{error}"
    );
}

#[tokio::test]
async fn large_files_are_read_in_parts_of_about_the_same_size() {
    let line = format!("{{\"id\":1,\"pad\":\"{}\"}}\n", "x".repeat(200));
    let count = (40 << 20) / line.len();
    let ndjson = line.repeat(count).into_bytes();
    let csv = format!("id,pad\n{}", format!("1,\"{}\"\n", "x".repeat(215)).repeat(count)).into_bytes();
    for (name, content) in [("a.ndjson", &ndjson), ("a.csv", &csv)] {
        let (_directory, source) = at(&[(name, content), ("b.csv", b"")], json!({ "url": name }));
        let load = source
            .load(
                &StreamSpec {
                    partitions: Some(4),
                    ..spec("a")
                },
                &Range::Full,
            )
            .await
            .unwrap();
        assert_eq!(load.partitions(), 4, "{name}");
        assert!(load.estimate().bytes.unwrap() > 39 << 20);
        let (batches, refused) = read(&*load).await.unwrap();
        assert_eq!(
            (
                batches.iter().map(RecordBatch::num_rows).sum::<usize>(),
                refused.len()
            ),
            (count, 0)
        );
    }
}

#[tokio::test]
async fn a_web_file_is_a_stream() {
    let (url, _) = serve(|request| reply(request, "200 OK", b"id,name\n1,a\n2,b\n"));
    let source = FileSource::new(&system(
        json!({ "url": format!("{url}/data/people.csv?v=1") }),
        None,
    ))
    .unwrap();
    assert_eq!(full(&source, "people").await.0, ["1", "2"]);
    source.check().await.unwrap();
}

#[tokio::test]
async fn s3_files_are_read_in_parts() {
    let Some(storage) = s3_for_tests().await else {
        return;
    };
    let text = format!("id\n{}", "12345678\n".repeat(3 << 20));
    storage.put("in/a.csv", text.into_bytes().into()).await.unwrap();
    let connection = json!({
        "url": format!("{}/in/{{stream}}.csv", storage.place()),
        "endpoint": std::env::var("MILLRACE_TEST_S3_ENDPOINT").unwrap(),
        "region": std::env::var("MILLRACE_TEST_S3_REGION").unwrap_or_else(|_| "us-east-1".to_owned()),
        "csv": { "newlinesInValues": false },
    });
    let mut system = system(connection, None);
    system.secrets = crate::storage::tests::s3_secrets();
    let source = FileSource::new(&system).unwrap();
    let load = source
        .load(
            &StreamSpec {
                partitions: Some(3),
                ..spec("a")
            },
            &Range::Full,
        )
        .await
        .unwrap();
    assert_eq!(load.partitions(), 3);
    assert_eq!(first_column(&read(&*load).await.unwrap().0).len(), 3 << 20);
    let (rows, _) = delta(&source, &spec("a"), load.watermark()).await;
    assert_eq!(rows, [""; 0]);

    let ticket = load.ticket().unwrap();
    let joined = source.join(&spec("a"), &Range::Full, &ticket).await.unwrap();
    assert_eq!((joined.partitions(), joined.watermark()), (3, None));
    for part in 0..3 {
        let (mut one, mut other) = (load.read(part).await.unwrap(), joined.read(part).await.unwrap());
        while let Some(payload) = one.next().await.unwrap() {
            assert_eq!(payload.batch, other.next().await.unwrap().unwrap().batch);
        }
        assert!(other.next().await.unwrap().is_none());
    }
    let other = "id\n1\n".repeat(9 << 20);
    storage.put("in/a.csv", other.into_bytes().into()).await.unwrap();
    let error = match source.join(&spec("a"), &Range::Full, &ticket).await {
        Ok(joined) => read(&*joined).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind, ErrorKind::Transient, "another file by now: {error}");
}
