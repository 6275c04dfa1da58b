//! The destinations that are put to the test, each with a way to see what a person would see there.

use std::sync::Arc;

use arrow::{
    array::{AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Int64Type},
};
use async_trait::async_trait;
use bytes::Bytes;
use millrace_crds::plan::{Credential, CredentialPlace};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value, json};

use crate::{
    connector::{Destination, Range, Shard, System},
    connectors::{self, postgres::tests::ground as postgres, tests::ground::system},
    engines,
    secrets::Secrets,
    storage::Storage,
};

/// A destination with a place of its own.
#[async_trait]
pub(super) trait Subject: Send + Sync {
    /// Opens it; each time the same place.
    fn destination(&self) -> Arc<dyn Destination>;
    /// What stands in the stream `orders`.
    async fn batches(&self, shard: &dyn Shard) -> Vec<RecordBatch>;

    /// Id and name of its rows, in order.
    async fn people(&self, shard: &dyn Shard) -> Vec<(i64, String)> {
        let mut people = Vec::new();
        for batch in self.batches(shard).await {
            let names = cast(batch.column_by_name("name").unwrap(), &DataType::Utf8).unwrap();
            let ids = batch
                .column_by_name("id")
                .unwrap()
                .as_primitive::<Int64Type>()
                .values()
                .iter();
            let names = names
                .as_string::<i32>()
                .iter()
                .map(|name| name.unwrap_or("-").to_owned());
            people.extend(ids.copied().zip(names));
        }
        people.sort();
        people
    }
}

fn settings(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// Tables in memory.
pub(super) struct Memory(String);

impl Memory {
    pub(super) fn new() -> Self {
        Self(uuid::Uuid::new_v4().to_string())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = connectors::memory::clear(&self.0);
    }
}

#[async_trait]
impl Subject for Memory {
    fn destination(&self) -> Arc<dyn Destination> {
        engines::destination(system("memory", settings(&json!({ "store": self.0 })))).unwrap()
    }

    async fn batches(&self, _shard: &dyn Shard) -> Vec<RecordBatch> {
        let snapshot = connectors::memory::read(&self.0, "orders").unwrap();
        snapshot.map(|snapshot| snapshot.batches).unwrap_or_default()
    }
}

/// Parquet files in a directory.
pub(super) struct Files(tempfile::TempDir);

impl Files {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn system(&self) -> System {
        let url = format!("{}/{{stream}}", self.0.path().display());
        system("file", settings(&json!({ "url": url })))
    }
}

#[async_trait]
impl Subject for Files {
    fn destination(&self) -> Arc<dyn Destination> {
        engines::destination(self.system()).unwrap()
    }

    async fn batches(&self, shard: &dyn Shard) -> Vec<RecordBatch> {
        parquet(&self.system(), shard).await
    }
}

/// Parquet files on the S3 server of the tests.
pub(super) struct S3(System);

impl S3 {
    pub(super) async fn new() -> Option<Self> {
        // Makes the bucket, and fails where a server is required and there is none.
        crate::storage::cas::tests::s3("behaviour").await?;
        let set = |name: &str| std::env::var(format!("MILLRACE_TEST_S3_{name}")).ok();
        let url = format!("s3://behaviour/{}/{{stream}}", uuid::Uuid::new_v4());
        let region = set("REGION").unwrap_or_else(|| "us-east-1".to_owned());
        let connection = json!({ "url": url, "endpoint": set("ENDPOINT")?, "region": region });
        let mut system = system("file", settings(&connection));
        let credential = |name: &str, variable: &str| Credential {
            name: name.to_owned(),
            from: CredentialPlace::Env(format!("MILLRACE_TEST_S3_{variable}")),
        };
        let places = vec![
            credential("accessKeyId", "ACCESS_KEY"),
            credential("secretAccessKey", "SECRET_KEY"),
        ];
        system.plan.credentials.clone_from(&places);
        system.secrets = Secrets::new(places, Arc::default(), ".".into());
        Some(Self(system))
    }
}

#[async_trait]
impl Subject for S3 {
    fn destination(&self) -> Arc<dyn Destination> {
        engines::destination(self.0.clone()).unwrap()
    }

    async fn batches(&self, shard: &dyn Shard) -> Vec<RecordBatch> {
        parquet(&self.0, shard).await
    }
}

/// Tables in a database of their own on the server of `MILLRACE_TEST_POSTGRES`.
pub(super) struct Postgres(postgres::Ground);

impl Postgres {
    pub(super) async fn new() -> Option<Self> {
        postgres::ground().await.map(Self)
    }
}

#[async_trait]
impl Subject for Postgres {
    fn destination(&self) -> Arc<dyn Destination> {
        engines::destination(self.0.system(json!({}))).unwrap()
    }

    async fn batches(&self, _shard: &dyn Shard) -> Vec<RecordBatch> {
        if self.0.one("SELECT to_regclass('public.orders') IS NULL").await == "t" {
            return Vec::new();
        }
        let stream = postgres::stream("public.orders", &[], &[]);
        vec![
            postgres::load(self.0.source(json!({})).as_ref(), &stream, &Range::Full)
                .await
                .batch,
        ]
    }
}

/// The rows of a shard's current files, read from where they lie.
async fn parquet(system: &System, shard: &dyn Shard) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    for file in shard.files().await.unwrap() {
        let (place, name) = file.rsplit_once('/').unwrap();
        let storage = Storage::open(
            place,
            &system.plan.connection,
            &system.secrets,
            &system.limiter,
            None,
        )
        .unwrap();
        let bytes: Bytes = storage.get(name).await.unwrap().unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
            .unwrap()
            .build()
            .unwrap();
        batches.extend(reader.map(Result::unwrap));
    }
    batches
}
