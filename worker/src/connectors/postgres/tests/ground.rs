//! A database of its own for each test, and short ways to use it.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use arrow::{datatypes::Schema, record_batch::RecordBatch};
use millrace_crds::{
    flow::WriteMode,
    plan::{Credential, CredentialPlace, FlowRef, SystemPlan},
};
use serde_json::{Map, Value, json};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use url::Url;

use crate::{
    connector::{Load, Range, Refused, Source, System},
    rate::RateLimiter,
    secrets::{LocalSecrets, Secrets},
    stream::StreamSpec,
};

/// One test's database.
pub(crate) struct Ground {
    url: Url,
    pub(super) client: Client,
}

/// The server, or `None` (said aloud) where there is none to test against.
pub(crate) async fn ground() -> Option<Ground> {
    let Ok(address) = std::env::var("MILLRACE_TEST_POSTGRES") else {
        assert!(
            std::env::var("MILLRACE_REQUIRE_SERVICES").as_deref() != Ok("1"),
            "MILLRACE_TEST_POSTGRES is not set, and services are required"
        );
        println!("skipped: MILLRACE_TEST_POSTGRES is not set");
        return None;
    };
    let mut url = Url::parse(&address).unwrap();
    let admin = open(&url).await;
    let name = format!("mr_{}", uuid::Uuid::new_v4().simple());
    admin
        .batch_execute(&format!("CREATE DATABASE {name}"))
        .await
        .unwrap();
    url.set_path(&name);
    let client = open(&url).await;
    Some(Ground { url, client })
}

async fn open(url: &Url) -> Client {
    let (client, connection) = tokio_postgres::connect(url.as_str(), NoTls).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    client
}

impl Drop for Ground {
    /// Drops the database from a thread of its own: a test may end by panic.
    fn drop(&mut self) {
        let mut url = self.url.clone();
        let name = url.path().trim_start_matches('/').to_owned();
        url.set_path("postgres");
        let clear = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let admin = open(&url).await;
                drop(
                    admin
                        .batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)"))
                        .await,
                );
            });
        });
        drop(clear.join());
    }
}

/// The plan's name for these tests.
fn flow() -> FlowRef {
    FlowRef {
        namespace: "default".into(),
        name: "test".into(),
        uid: "u".into(),
        labels: BTreeMap::new(),
    }
}

impl Ground {
    /// Waits until every transaction of the server that is open now has ended, those of tests beside this one, too;
    /// false where that takes too long.
    pub(super) async fn quiet(&self) -> bool {
        let now = self.one("SELECT pg_snapshot_xmax(pg_current_snapshot())").await;
        let past = format!("SELECT pg_snapshot_xmin(pg_current_snapshot()) >= '{now}'::xid8");
        for _ in 0..200 {
            if self.one(&past).await == "t" {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        false
    }

    /// Host and port of the server.
    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.url.host_str().unwrap(), self.url.port().unwrap())
    }

    /// Another connection.
    pub(super) async fn another(&self) -> Client {
        open(&self.url).await
    }

    /// Runs statements.
    pub(crate) async fn sql(&self, sql: &str) {
        self.client
            .batch_execute(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The rows of a query, as text.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let messages = self
            .client
            .simple_query(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => {
                    let cells = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned());
                    Some(cells.collect())
                }
                _ => None,
            })
            .collect()
    }

    /// The first value of the first row.
    pub(crate) async fn one(&self, sql: &str) -> String {
        self.rows(sql).await.remove(0).remove(0)
    }

    /// A system with these settings over the address.
    pub(crate) fn system(&self, settings: Value) -> System {
        self.system_as(self.url.username(), self.url.password(), settings)
    }

    pub(super) fn system_as(&self, user: &str, password: Option<&str>, settings: Value) -> System {
        let mut connection = Map::new();
        connection.insert("host".into(), json!(self.url.host_str()));
        connection.insert("port".into(), json!(self.url.port()));
        connection.insert("user".into(), json!(user));
        connection.insert("database".into(), json!(self.url.path().trim_start_matches('/')));
        connection.insert("lateMargin".into(), json!("0s"));
        if let Value::Object(settings) = settings {
            connection.extend(settings);
        }
        let place = CredentialPlace::Secret {
            name: "pg".into(),
            key: "password".into(),
        };
        let credentials: Vec<Credential> = password
            .map(|_| Credential {
                name: "password".into(),
                from: place,
            })
            .into_iter()
            .collect();
        let mut secrets = LocalSecrets::new();
        secrets.insert(
            ("pg".into(), "password".into()),
            password.unwrap_or_default().to_owned().into(),
        );
        System {
            plan: SystemPlan {
                connector: "postgres".into(),
                recipe: millrace_crds::source::RecipeOrigin::BuiltIn,
                type_: "postgres".into(),
                engine: "native".into(),
                engine_config: Map::new(),
                connection,
                options: Map::new(),
                credentials: credentials.clone(),
                plugin: None,
                rate_limit: None,
                base_dir: None,
            },
            secrets: Secrets::new(credentials, Arc::new(secrets), PathBuf::new()),
            limiter: RateLimiter::default(),
            flow: flow(),
            streams: Vec::new(),
            source: None,
            write_mode: None,
            note: None,
        }
    }

    /// A source with these settings.
    pub(crate) fn source(&self, settings: Value) -> Arc<dyn Source> {
        super::super::source(self.system(settings)).unwrap()
    }
}

/// A stream with this key and cursor.
pub(crate) fn stream(name: &str, key: &[&str], cursor: &[&str]) -> StreamSpec {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    StreamSpec {
        name: name.into(),
        primary_key: owned(key),
        cursor: owned(cursor),
        declared: None,
        discovered: None,
        partitions: None,
        write_mode: WriteMode::Upsert,
        delivered_key: owned(key),
    }
}

/// What a load yielded.
pub(crate) struct Read {
    pub(crate) batch: RecordBatch,
    pub(super) refused: Vec<Refused>,
    pub(super) metadata: Vec<BTreeMap<&'static str, Value>>,
    pub(super) watermark: Option<Value>,
}

/// Reads a whole load, part after part.
pub(super) async fn read(load: &Arc<dyn Load>) -> Read {
    let (mut batches, mut refused, mut metadata) = (Vec::new(), Vec::new(), Vec::new());
    for part in 0..load.partitions() {
        let mut reader = load.read(part).await.unwrap();
        while let Some(payload) = reader.next().await.unwrap() {
            let payload = payload.strict();
            batches.push(payload.batch);
            refused.extend(payload.refused);
            metadata.push(payload.metadata);
        }
    }
    let schema = load.schema();
    let batch = if schema == Arc::new(Schema::empty()) {
        RecordBatch::new_empty(schema)
    } else {
        arrow::compute::concat_batches(&schema, &batches).unwrap()
    };
    Read {
        batch,
        refused,
        metadata,
        watermark: load.watermark(),
    }
}

/// Opens and reads a load.
pub(crate) async fn load(source: &dyn Source, stream: &StreamSpec, range: &Range) -> Read {
    read(&source.load(stream, range).await.unwrap()).await
}

/// The rows after a watermark.
pub(super) async fn delta(source: &dyn Source, stream: &StreamSpec, after: Option<Value>) -> Read {
    load(source, stream, &Range::Delta { after }).await
}

/// One column as texts, in order.
pub(super) fn texts(batch: &RecordBatch, column: &str) -> Vec<String> {
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    let options = FormatOptions::default().with_null("NULL");
    let array = batch.column_by_name(column).unwrap();
    let formatter = ArrayFormatter::try_new(array, &options).unwrap();
    (0..array.len())
        .map(|row| formatter.value(row).to_string())
        .collect()
}

/// The same, sorted.
pub(super) fn sorted(batch: &RecordBatch, column: &str) -> Vec<String> {
    let mut texts = texts(batch, column);
    texts.sort();
    texts
}
