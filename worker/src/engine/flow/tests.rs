//! Whole loads through the engine: a table in memory, read in parts, into Parquet files and back by another reader.

use std::{
    collections::BTreeMap,
    fs::File,
    sync::{Arc, Mutex},
    time::Duration,
};

use arrow::{
    array::{Array, AsArray, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef},
};
use async_trait::async_trait;
use millrace_crds::{
    flow::ContractMode,
    manifest,
    plan::{Plan, StateStorePlan, StreamSelect},
    resolve::{Setting as Where, resolve},
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use super::{Flow, Request, Wanted};
use crate::{
    connector::{Load, Payload, Range, Reader, Source, StreamInfo},
    engine::counts::Counts,
    error::{Error, Result},
    stream::StreamSpec,
};

pub(in crate::engine) type Table = Vec<(Option<i64>, Option<String>)>;

/// A table that tests edit between loads.
#[derive(Clone, Default)]
pub(in crate::engine) struct Desk {
    pub(in crate::engine) rows: Arc<Mutex<Table>>,
    pub(in crate::engine) parts: usize,
    /// How long each part takes.
    pub(in crate::engine) pause: Duration,
    /// No part can be read.
    pub(in crate::engine) broken: bool,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]))
}

#[async_trait]
impl Source for Desk {
    async fn discover(&self) -> Result<Vec<StreamInfo>> {
        let info = StreamInfo {
            name: "people".into(),
            schema: schema(),
            primary_key: vec![],
            cursors: vec![],
            rows: None,
            trouble: None,
        };
        Ok(vec![info])
    }
    async fn load(&self, _: &StreamSpec, _: &Range) -> Result<Arc<dyn Load>> {
        Ok(Arc::new(Desk {
            rows: Arc::new(Mutex::new(self.rows.lock().unwrap().clone())),
            ..self.clone()
        }))
    }
    async fn join(&self, _: &StreamSpec, _: &Range, ticket: &Value) -> Result<Arc<dyn Load>> {
        Ok(Arc::new(Desk {
            rows: Arc::new(Mutex::new(serde_json::from_value(ticket.clone()).unwrap())),
            ..self.clone()
        }))
    }
}

#[async_trait]
impl Load for Desk {
    fn schema(&self) -> SchemaRef {
        schema()
    }
    fn partitions(&self) -> usize {
        self.parts
    }
    fn ticket(&self) -> Option<Value> {
        serde_json::to_value(&*self.rows.lock().unwrap()).ok()
    }
    async fn read(&self, partition: usize) -> Result<Box<dyn Reader>> {
        tokio::time::sleep(self.pause).await;
        if self.broken {
            return Err(Error::transient("the desk is locked"));
        }
        let rows = self.rows.lock().unwrap();
        let size = rows.len().div_ceil(self.parts).max(1);
        let part: Table = rows
            .chunks(size)
            .nth(partition)
            .map(<[_]>::to_vec)
            .unwrap_or_default();
        Ok(Box::new(Part(
            part.chunks(1000).map(<[_]>::to_vec).rev().collect(),
        )))
    }
}

struct Part(Vec<Table>);

#[async_trait]
impl Reader for Part {
    async fn next(&mut self) -> Result<Option<Payload>> {
        let Some(rows) = self.0.pop() else { return Ok(None) };
        let ids: Int64Array = rows.iter().map(|(id, _)| *id).collect();
        let names: StringArray = rows.iter().map(|(_, name)| name.clone()).collect();
        Ok(Some(Payload::new(RecordBatch::try_new(
            schema(),
            vec![Arc::new(ids), Arc::new(names)],
        )?)))
    }
}

pub(in crate::engine) struct Bench {
    pub(in crate::engine) directory: tempfile::TempDir,
    pub(in crate::engine) flow: Flow,
    pub(in crate::engine) rows: Arc<Mutex<Table>>,
}

impl Bench {
    pub(in crate::engine) async fn new(mode: &str, key: &str, parts: usize) -> Self {
        Self::of(mode, key, parts, |_| ()).await
    }

    async fn of(mode: &str, key: &str, parts: usize, edit: impl FnOnce(&mut Plan)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display();
        let text = format!(
            "apiVersion: millrace.dev/v1alpha1\nkind: Source\nmetadata: {{ name: desk }}\nspec:\n  connector: {{ name: file }}\n  \
             connection: {{ url: '{root}/none.csv', format: csv }}\n  streams: [{{ name: people, primaryKey: [{key}] }}]\n---\n\
             apiVersion: millrace.dev/v1alpha1\nkind: Flow\nmetadata: {{ name: lake }}\nspec:\n  source: {{ name: desk }}\n  \
             destination:\n    connector: {{ name: file }}\n    connection: {{ url: '{root}/out/{{stream}}' }}\n    writeMode: {mode}\n  \
             state: {{ directory: '{root}/state' }}\n"
        );
        let resources = manifest::parse("test.yaml", &text).unwrap();
        let resolution = resolve(
            &resources,
            millrace_crds::builtin(),
            &Where::Local {
                environment: BTreeMap::new(),
            },
        );
        assert!(resolution.is_sound(), "{:?}", resolution.problems);
        let desk = Desk {
            rows: Arc::default(),
            parts,
            ..Desk::default()
        };
        let rows = desk.rows.clone();
        let mut plan = resolution.plans[0].clone();
        edit(&mut plan);
        let flow = Flow::with_source(plan, &Arc::default(), Arc::new(desk))
            .await
            .unwrap();
        Self {
            directory,
            flow,
            rows,
        }
    }

    pub(in crate::engine) async fn load(&self, request: Request) -> Result<Counts> {
        let report = self.flow.run(&request, &|_, _| ()).await?;
        report.streams.into_iter().next().unwrap().outcome
    }

    async fn full(&self) -> Counts {
        self.load(Request {
            load: Some(Wanted::Full),
            ..Request::default()
        })
        .await
        .unwrap()
    }

    /// What stands in the current files: id, name, operation (where there is a column of them).
    async fn delivered(&self) -> Vec<(Option<i64>, Option<String>, Option<String>)> {
        let stream = &self.flow.streams(&[]).await.unwrap()[0];
        let shard = self
            .flow
            .destination
            .shard(&self.flow.shard_id("people"), stream)
            .await
            .unwrap();
        let mut rows = Vec::new();
        for file in shard.files().await.unwrap() {
            for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap())
                .unwrap()
                .build()
                .unwrap()
            {
                let batch = batch.unwrap();
                let text = |name: &str, row: usize| {
                    let column = batch.column_by_name(name)?.as_string::<i32>();
                    column.is_valid(row).then(|| column.value(row).to_owned())
                };
                let ids = batch.column_by_name("id").unwrap().as_primitive::<Int64Type>();
                rows.extend(
                    ids.iter()
                        .enumerate()
                        .map(|(row, id)| (id, text("name", row), text("_millrace_op", row))),
                );
            }
        }
        rows.sort();
        rows
    }

    pub(in crate::engine) async fn assert_same(&self) {
        let mut expected: Vec<_> = self
            .rows
            .lock()
            .unwrap()
            .iter()
            .map(|(id, name)| (*id, name.clone(), None))
            .collect();
        expected.sort();
        assert_eq!(self.delivered().await, expected);
    }
}

pub(in crate::engine) fn table(ids: impl IntoIterator<Item = i64>) -> Table {
    ids.into_iter()
        .map(|id| (Some(id), Some(format!("name {id}"))))
        .collect()
}

fn counts(read: u64, inserted: u64, updated: u64, deleted: u64, unchanged: u64) -> (u64, u64, u64, u64, u64) {
    (read, inserted, updated, deleted, unchanged)
}

fn short(all: &Counts) -> (u64, u64, u64, u64, u64) {
    (all.read, all.inserted, all.updated, all.deleted, all.unchanged)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upsert_delivers_exactly_the_difference() {
    for parts in [1, 2, 5] {
        let bench = Bench::new("upsert", "id", parts).await;
        *bench.rows.lock().unwrap() = table(0..20_000);
        assert_eq!(short(&bench.full().await), counts(20_000, 20_000, 0, 0, 0));
        bench.assert_same().await;
        assert_eq!(short(&bench.full().await), counts(20_000, 0, 0, 0, 20_000));
        {
            let mut rows = bench.rows.lock().unwrap();
            rows.retain(|(id, _)| id.unwrap() % 100 != 7);
            for row in rows.iter_mut().filter(|(id, _)| id.unwrap() % 100 == 3) {
                row.1 = Some("edited".into());
            }
            rows.extend(table(30_000..30_200));
        }
        assert_eq!(short(&bench.full().await), counts(20_000, 200, 200, 200, 19_600));
        bench.assert_same().await;
        let again = bench.full().await;
        assert_eq!((short(&again), again.files), (counts(20_000, 0, 0, 0, 20_000), 0));
        bench.assert_same().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_reset_an_unchanged_source_delivers_nothing() {
    for (mode, key) in [("upsert", "id"), ("append", "id"), ("append", "")] {
        let bench = Bench::new(mode, key, 2).await;
        *bench.rows.lock().unwrap() = table(0..3_000);
        bench.full().await;
        for _ in 0..2 {
            let shard = bench.flow.shard_id("people");
            crate::state::admin::reset(bench.flow.store.as_ref(), &shard, "test")
                .await
                .unwrap();
            let again = bench.full().await;
            assert_eq!(
                (short(&again), again.files),
                (counts(3_000, 0, 0, 0, 3_000), 0),
                "{mode} {key}"
            );
        }
        bench.rows.lock().unwrap()[7].1 = Some("edited".into());
        let change = bench.full().await;
        assert_eq!(change.inserted + change.updated, 1, "{mode} {key}: {change:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_a_commit_writes_again_counts_as_written() {
    let bench = Bench::new("upsert", "id", 1).await;
    *bench.rows.lock().unwrap() = table(0..3_000);
    let first = bench.full().await;
    assert_eq!(first.files, 1);
    bench.rows.lock().unwrap().remove(7);
    let deleted = bench.full().await;
    assert_eq!((deleted.deleted, deleted.files), (1, 1));
    assert!(deleted.bytes > first.bytes / 2, "{first:?}, {deleted:?}");
    bench.rows.lock().unwrap()[7].1 = Some("edited".into());
    assert_eq!(bench.full().await.files, 2, "the old rows again, and the new one");
    bench.assert_same().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shuffled_source_is_unchanged() {
    let bench = Bench::new("upsert", "id", 2).await;
    *bench.rows.lock().unwrap() = table(0..30_000);
    bench.full().await;
    bench
        .rows
        .lock()
        .unwrap()
        .sort_by_key(|(id, _)| id.unwrap().wrapping_mul(0x9E37_79B9_7F4A_7C15_u64.cast_signed()));
    assert_eq!(short(&bench.full().await), counts(30_000, 0, 0, 0, 30_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_key_that_comes_twice_the_last_row_counts() {
    for mode in ["upsert", "overwrite"] {
        let bench = Bench::new(mode, "id", 2).await;
        let mut rows = table(0..5_000);
        rows.push((Some(4), Some("late".into())));
        *bench.rows.lock().unwrap() = rows.clone();
        let all = bench.full().await;
        assert_eq!((all.inserted, all.superseded), (5_000, 1));
        // The first version was what stands at its place in the index; now the second one goes back to it.
        rows.push((Some(4), Some("latest".into())));
        rows.push((Some(9), Some("name 9".into())));
        *bench.rows.lock().unwrap() = rows;
        let all = bench.full().await;
        assert_eq!(all.superseded, 3, "{mode}");
        let four: Vec<_> = bench
            .delivered()
            .await
            .into_iter()
            .filter(|row| row.0 == Some(4))
            .collect();
        assert_eq!(four, [(Some(4), Some("latest".to_owned()), None)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_tells_each_operation() {
    let bench = Bench::new("append", "id", 1).await;
    *bench.rows.lock().unwrap() = table(0..3);
    bench.full().await;
    *bench.rows.lock().unwrap() = vec![
        (Some(0), Some("name 0".into())),
        (Some(1), Some("new".into())),
        (Some(7), None),
    ];
    assert_eq!(short(&bench.full().await), counts(3, 1, 1, 1, 1));
    let log: Vec<_> = bench
        .delivered()
        .await
        .into_iter()
        .map(|(id, name, op)| (id.unwrap(), name, op.unwrap()))
        .collect();
    let row = |id, name: Option<&str>, op: &str| (id, name.map(str::to_owned), op.to_owned());
    let expected = [
        row(0, Some("name 0"), "insert"),
        row(1, Some("name 1"), "insert"),
        row(1, Some("new"), "update"),
        row(2, None, "delete"),
        row(2, Some("name 2"), "insert"),
        row(7, None, "insert"),
    ];
    assert_eq!(log, expected);
    assert_eq!(short(&bench.full().await), counts(3, 0, 0, 0, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_a_key_are_delivered_when_they_are_new() {
    let bench = Bench::new("append", "", 2).await;
    *bench.rows.lock().unwrap() = table(0..5_000);
    assert_eq!(short(&bench.full().await), counts(5_000, 5_000, 0, 0, 0));
    *bench.rows.lock().unwrap() = table(100..5_100);
    assert_eq!(short(&bench.full().await), counts(5_000, 100, 0, 0, 4_900));
    assert_eq!(bench.delivered().await.len(), 5_100);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_row_twice_without_a_key_is_two_rows() {
    for lanes in [1, 2] {
        let bench = Bench::new("append", "", lanes).await;
        let twice = |rows: std::ops::Range<i64>| [table(rows.clone()), table(rows)].concat();
        *bench.rows.lock().unwrap() = twice(0..3_000);
        assert_eq!(short(&bench.full().await), counts(6_000, 6_000, 0, 0, 0));
        assert_eq!(short(&bench.full().await), counts(6_000, 0, 0, 0, 6_000));
        // One more of each that was there, and two of each that was not.
        *bench.rows.lock().unwrap() = [twice(0..3_010), table(0..3_000)].concat();
        assert_eq!(short(&bench.full().await), counts(9_020, 3_020, 0, 0, 6_000));
        assert_eq!(bench.delivered().await.len(), 9_020);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overwrite_with_the_same_rows_commits_nothing() {
    let bench = Bench::new("overwrite", "", 2).await;
    *bench.rows.lock().unwrap() = table(0..5_000);
    assert_eq!(short(&bench.full().await), counts(5_000, 5_000, 0, 0, 0));
    let again = bench.full().await;
    assert_eq!((short(&again), again.files), (counts(5_000, 0, 0, 0, 5_000), 0));
    *bench.rows.lock().unwrap() = table(0..10);
    assert_eq!(short(&bench.full().await), counts(10, 10, 0, 0, 0));
    bench.assert_same().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_would_delete_most_stops_and_deletes_nothing() {
    let bench = Bench::new("upsert", "id", 1).await;
    *bench.rows.lock().unwrap() = table(0..1_000);
    bench.full().await;
    *bench.rows.lock().unwrap() = table(0..400);
    let error = bench
        .load(Request {
            load: Some(Wanted::Full),
            ..Request::default()
        })
        .await
        .unwrap_err();
    assert_eq!(error.reason, "MassDelete");
    assert_eq!(bench.delivered().await.len(), 1_000);
    let request = Request {
        load: Some(Wanted::Full),
        allow_deletes: true,
        ..Request::default()
    };
    assert_eq!(
        short(&bench.load(request).await.unwrap()),
        counts(400, 0, 0, 600, 400)
    );
    bench.assert_same().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn null_keys_are_refused_and_counted() {
    let bench = Bench::new("upsert", "id", 1).await;
    *bench.rows.lock().unwrap() = vec![
        (Some(1), None),
        (None, Some("lost".into())),
        (Some(0), Some(String::new())),
    ];
    let all = bench.full().await;
    assert_eq!((all.read, all.inserted, all.refused), (3, 2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_load_of_nothing_is_complete() {
    let bench = Bench::new("upsert", "id", 1).await;
    assert_eq!(short(&bench.full().await), counts(0, 0, 0, 0, 0));
    assert_eq!(bench.delivered().await.len(), 0);
    assert_eq!(short(&bench.full().await), counts(0, 0, 0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_and_leaves_no_trace() {
    let bench = Bench::new("upsert", "id", 1).await;
    *bench.rows.lock().unwrap() = table(0..10);
    let request = Request {
        dry_run: true,
        ..Request::default()
    };
    assert_eq!(
        short(&bench.load(request).await.unwrap()),
        counts(10, 10, 0, 0, 0)
    );
    assert_eq!(std::fs::read_dir(bench.directory.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn state_lies_beside_the_flow_and_not_beside_its_source() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [source, flow] = &directories;
    let path = |directory: &tempfile::TempDir| Some(directory.path().display().to_string());
    let bench = Bench::of("upsert", "id", 1, |plan| {
        plan.source.system.base_dir = path(source);
        plan.destination.system.base_dir = path(flow);
        plan.state.store = StateStorePlan::Directory("state".into());
    })
    .await;
    bench.full().await;
    assert!(flow.path().join("state").is_dir());
    assert!(!source.path().join("state").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_new_and_not_named_follows_the_contract() {
    let unnamed = |mode| {
        move |plan: &mut Plan| {
            plan.source.streams[0].select = StreamSelect::Match("p.*".into());
            plan.contract.tables = mode;
        }
    };
    let bench = Bench::of("upsert", "id", 1, unnamed(ContractMode::Freeze)).await;
    *bench.rows.lock().unwrap() = table(0..10);
    let error = bench.load(Request::default()).await.unwrap_err();
    assert_eq!(error.reason, "SchemaFrozen");
    for mode in [ContractMode::DiscardRow, ContractMode::DiscardValue] {
        let bench = Bench::of("upsert", "id", 1, unnamed(mode)).await;
        *bench.rows.lock().unwrap() = table(0..10);
        let report = bench.flow.run(&Request::default(), &|_, _| ()).await.unwrap();
        assert_eq!(report.streams[0].load, super::LEFT_OUT);
        assert_eq!(bench.full().await, Counts::default());
        // Neither data nor state.
        assert_eq!(std::fs::read_dir(bench.directory.path()).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_delivered_or_is_named_is_let_in() {
    let mut bench = Bench::new("upsert", "id", 1).await;
    *bench.rows.lock().unwrap() = table(0..10);
    bench.full().await;
    let mut plan = (*bench.flow.plan).clone();
    plan.source.streams[0].select = StreamSelect::Match("p.*".into());
    plan.contract.tables = ContractMode::Freeze;
    bench.flow.plan = Arc::new(plan);
    assert_eq!(short(&bench.full().await), counts(10, 0, 0, 0, 10));
    let shard = bench.flow.shard_id("people");
    crate::state::admin::reset(bench.flow.store.as_ref(), &shard, "test")
        .await
        .unwrap();
    assert_eq!(short(&bench.full().await), counts(10, 0, 0, 0, 10));

    let named = Bench::of("upsert", "id", 1, |plan| {
        plan.contract.tables = ContractMode::Freeze;
    })
    .await;
    *named.rows.lock().unwrap() = table(0..10);
    assert_eq!(short(&named.full().await), counts(10, 10, 0, 0, 0));
}
