//! Ground to stand on: systems from a connection, a state store in memory, and the short way to a permit and a commit.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use arrow::{
    array::{Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use millrace_crds::{
    flow::WriteMode,
    plan::{FlowRef, SystemPlan},
    source::RecipeOrigin,
};
use roaring::RoaringBitmap;
use serde_json::{Map, Value, json};

use crate::{
    backoff::Backoff,
    connector::{Destination, IndexColumns, Op, Rows, Shard, StageRequest, Staged, System},
    diff::{hash, index::Index},
    error::Result,
    protocol::{self, Claim, Commit, Permit, ShardId, nonce},
    rate::RateLimiter,
    secrets::Secrets,
    state::{Objects, Run},
    storage::cas::MemoryCas,
    stream::StreamSpec,
};

/// A system with these settings.
pub(crate) fn system(type_: &str, connection: Map<String, Value>) -> System {
    System {
        plan: SystemPlan {
            connector: type_.to_owned(),
            recipe: RecipeOrigin::BuiltIn,
            type_: type_.to_owned(),
            engine: "native".to_owned(),
            engine_config: Map::new(),
            connection,
            options: Map::new(),
            credentials: Vec::new(),
            plugin: None,
            rate_limit: None,
            base_dir: None,
        },
        secrets: Secrets::new(Vec::new(), Arc::default(), PathBuf::from(".")),
        limiter: RateLimiter::default(),
        flow: FlowRef {
            namespace: "default".to_owned(),
            name: "flow".to_owned(),
            uid: "uid".to_owned(),
            labels: BTreeMap::new(),
        },
        streams: Vec::new(),
        source: None,
        write_mode: None,
        note: None,
    }
}

/// A stream of this name, with the key `id`.
pub(crate) fn stream(name: &str, write_mode: WriteMode) -> StreamSpec {
    StreamSpec {
        name: name.to_owned(),
        primary_key: vec!["id".to_owned()],
        cursor: Vec::new(),
        declared: None,
        discovered: None,
        partitions: None,
        write_mode,
        delivered_key: vec!["id".to_owned()],
    }
}

/// One shard of a destination, and a state store beside it.
pub(crate) struct Ground {
    pub(crate) store: Objects,
    pub(crate) destination: Arc<dyn Destination>,
    pub(crate) id: ShardId,
    pub(crate) shard: Arc<dyn Shard>,
    pub(crate) mode: WriteMode,
}

impl Ground {
    /// The stream `orders`, appended.
    pub(crate) async fn with(destination: Arc<dyn Destination>) -> Self {
        Self::open(destination, WriteMode::Append).await
    }

    /// The stream `orders`.
    pub(crate) async fn open(destination: Arc<dyn Destination>, mode: WriteMode) -> Self {
        let id = ShardId {
            state: "default/flow".to_owned(),
            stream: "orders".to_owned(),
        };
        let shard = destination.shard(&id, &stream("orders", mode)).await.unwrap();
        Self {
            store: Objects::new(Arc::new(MemoryCas::default())),
            destination,
            id,
            shard,
            mode,
        }
    }

    /// Takes the shard over.
    pub(crate) async fn acquire(&self) -> Result<Permit> {
        let claim = Claim {
            flow_uid: "uid".to_owned(),
            owner: "test".to_owned(),
            run: run(),
            adopt: None,
            authority: self.destination.authority(),
            backoff: Backoff {
                tries: 2,
                first: Duration::ZERO,
                most: Duration::ZERO,
            },
        };
        protocol::acquire(&self.store, self.shard.as_ref(), &self.id, claim).await
    }

    /// Stages rows; all of one schema.
    pub(crate) async fn stage_rows(
        &self,
        permit: &Permit,
        rows: Vec<Rows>,
        replace: bool,
        index: Option<IndexColumns>,
    ) -> Result<Staged> {
        let schema = rows.first().map_or_else(schema, |rows| rows.batch.schema());
        let request = StageRequest {
            schema,
            replace,
            lane: 0,
            index,
        };
        let mut stage = self.shard.stage(permit, request).await?;
        for rows in rows {
            stage.write(rows).await?;
        }
        stage.finish().await
    }

    /// Stages people, with an index unless everything is replaced each time.
    pub(crate) async fn stage(&self, permit: &Permit, people: &[Person]) -> Staged {
        let replace = self.mode == WriteMode::Overwrite;
        self.stage_rows(permit, vec![rows(people)], replace, (!replace).then(by_id))
            .await
            .unwrap()
    }

    /// The next commit.
    #[expect(
        clippy::unused_self,
        reason = "asked of the ground, as all of its commits are"
    )]
    pub(crate) fn next(&self, permit: &Permit, staged: Vec<Staged>, replace: bool) -> Commit {
        let (generation, seq) = permit.next(replace);
        Commit {
            generation,
            seq,
            nonce: nonce(),
            offset: json!({ "after": [generation, seq], "text": "ö\"\n" }),
            staged,
            dead: BTreeMap::new(),
            replace,
        }
    }

    /// Commits by the protocol.
    pub(crate) async fn commit(&self, permit: &mut Permit, staged: Vec<Staged>, replace: bool) -> Result<()> {
        let commit = self.next(permit, staged, replace);
        self.commit_whole(permit, commit).await
    }

    /// Commits by the protocol, with rows that are no longer delivered.
    pub(crate) async fn commit_whole(&self, permit: &mut Permit, commit: Commit) -> Result<()> {
        protocol::commit(permit, &self.store, self.shard.as_ref(), commit, &run()).await
    }

    /// Stages people and commits them as one.
    pub(crate) async fn deliver(&self, permit: &mut Permit, people: &[Person]) {
        let staged = self.stage(permit, people).await;
        let ids: Vec<i64> = people.iter().map(|person| person.0).collect();
        let mut commit = self.next(permit, vec![staged], self.mode == WriteMode::Overwrite);
        if self.mode == WriteMode::Upsert {
            commit.dead = self.dead(&ids).await;
        }
        self.commit_whole(permit, commit).await.unwrap();
    }

    /// The index, opened.
    pub(crate) async fn index(&self, scratch: &std::path::Path) -> Index {
        Index::open(self.shard.as_ref(), scratch).await.unwrap()
    }

    /// Id and hash of every live entry of the index, in order of id.
    pub(crate) async fn entries(&self) -> Vec<(i64, u128)> {
        let scratch = tempfile::tempdir().unwrap();
        let mut entries: Vec<(i64, u128)> = self
            .positions(scratch.path())
            .await
            .1
            .into_iter()
            .map(|(id, hash, _)| (id, hash))
            .collect();
        entries.sort_unstable();
        entries
    }

    /// Where the live entries of these ids stand, by segment.
    pub(crate) async fn dead(&self, ids: &[i64]) -> BTreeMap<String, RoaringBitmap> {
        let scratch = tempfile::tempdir().unwrap();
        let (index, entries) = self.positions(scratch.path()).await;
        let mut dead: BTreeMap<String, RoaringBitmap> = BTreeMap::new();
        for (_, _, position) in entries.iter().filter(|(id, ..)| ids.contains(id)) {
            let (segment, row) = index.locate(*position).unwrap();
            dead.entry(segment.to_owned()).or_default().insert(row);
        }
        dead
    }

    async fn positions(&self, scratch: &std::path::Path) -> (Index, Vec<(i64, u128, u64)>) {
        use arrow::{array::AsArray, datatypes::Int64Type};
        let index = self.index(scratch).await;
        let mut entries = Vec::new();
        index
            .scan(|first, group, live| {
                let ids = group.key.column(0).as_primitive::<Int64Type>();
                for row in (0..group.hashes.len()).filter(|row| live(*row)) {
                    entries.push((ids.value(row), group.hashes[row], first + row as u64));
                }
                Ok(())
            })
            .unwrap();
        (index, entries)
    }
}

/// Id, name, and what becomes of them.
pub(crate) type Person = (i64, &'static str, Op);

/// Columns of [`Person`].
pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]))
}

/// People as rows, hashed.
pub(crate) fn rows(people: &[Person]) -> Rows {
    let ids: Int64Array = people.iter().map(|(id, ..)| Some(*id)).collect();
    let names: StringArray = people
        .iter()
        .map(|(_, name, op)| (*op != Op::Delete).then_some(*name))
        .collect();
    let batch = RecordBatch::try_new(schema(), vec![Arc::new(ids), Arc::new(names)]).unwrap();
    Rows {
        hashes: Some(hashes(&batch)),
        batch,
        ops: Some(people.iter().map(|(.., op)| *op).collect()),
        identities: None,
    }
}

/// One hash a row.
pub(crate) fn hashes(batch: &RecordBatch) -> Vec<u128> {
    let columns = [("id", batch.column(0)), ("name", batch.column(1))];
    hash::rows(columns, batch.num_rows(), 7).unwrap()
}

/// An index by id.
pub(crate) fn by_id() -> IndexColumns {
    IndexColumns {
        key: vec!["id".to_owned()],
        identity: false,
    }
}

fn run() -> Run {
    Run {
        id: "run".to_owned(),
        cause: "full".to_owned(),
    }
}
