//! One stream's target, and the order of what happens to it.
//!
//! In: epochs, stages, commits. Out: tables that are built beside the target while they are loaded, by several
//! connections at once, and one transaction that makes them count ([`super::commit`]).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio_postgres::types::Type;

use super::{
    commit,
    connect::Server,
    discard, encode, index,
    ledger::Ledger,
    link::Link,
    presence,
    stage::{Order, PostgresStage},
    target::{self, Target, Wanted},
};
use crate::{
    connector::{Shard, Stage, StageRequest, Staged},
    diff::segment::SegmentRef,
    error::{Context, Result},
    failpoint,
    protocol::{Commit, Committed, Epoch, Outcome, Permit, ShardId},
    stream::StreamSpec,
};

/// The target of one stream.
pub(super) struct PostgresShard {
    pub(super) server: Arc<Server>,
    pub(super) stream: StreamSpec,
    pub(super) target: Target,
    pub(super) ledger: Ledger,
    /// The new table that the stages of one commit fill together.
    build: Mutex<Option<Arc<Build>>>,
    /// A connection for everything but rows.
    control: Mutex<Option<Link>>,
}

/// A new table on its way.
pub(super) struct Build {
    pub(super) table: String,
    at: (Epoch, u64, u64),
    columns: Vec<Wanted>,
    /// Lanes that have begun to fill it.
    lanes: std::sync::Mutex<Vec<usize>>,
    /// Stages that are complete; those of an attempt that was given up may be among them.
    pub(super) done: std::sync::Mutex<Vec<String>>,
}

impl PostgresShard {
    pub(super) fn new(server: Arc<Server>, id: ShardId, stream: StreamSpec, target: Target) -> Self {
        let ledger = Ledger::new(
            &id,
            &target,
            stream.write_mode != millrace_crds::flow::WriteMode::Overwrite,
        );
        Self {
            server,
            stream,
            target,
            ledger,
            build: Mutex::default(),
            control: Mutex::default(),
        }
    }

    /// Rows are held by key: a new version takes the place of the old one.
    pub(super) fn by_key(&self) -> bool {
        self.stream.write_mode != millrace_crds::flow::WriteMode::Append
            && !self.stream.delivered_key.is_empty()
    }

    pub(super) fn context(&self) -> String {
        format!("{}: {}", self.server.place(), self.target.sql_name())
    }

    /// A connection that answers: the one from before, or a new one.
    pub(super) async fn control(&self) -> Result<Link> {
        if let Some(mut link) = self.control.lock().await.take()
            && link.run("").await.is_ok()
        {
            return Ok(link);
        }
        self.server.connect().await.context(self.target.sql_name())
    }

    /// Keeps a connection for later. Only those outside of a transaction come back.
    pub(super) async fn keep(&self, link: Link) {
        *self.control.lock().await = Some(link);
    }

    /// The build that a set of stages belongs to.
    pub(super) async fn build_of(&self, table: &str) -> Option<Arc<Build>> {
        self.build
            .lock()
            .await
            .clone()
            .filter(|build| build.table == table)
    }

    /// Forgets the build, once it is committed.
    pub(super) async fn built(&self) {
        *self.build.lock().await = None;
    }

    /// The table to fill together with the other lanes: a new one for the first lane, and where a lane comes again,
    /// which means that an attempt was given up.
    async fn join_build(
        &self,
        link: &mut Link,
        permit: &Permit,
        lane: usize,
        replace: bool,
        columns: &[Wanted],
    ) -> Result<Arc<Build>> {
        let (generation, seq) = permit.next(replace);
        let at = (permit.epoch(), generation, seq);
        let mut slot = self.build.lock().await;
        if let Some(build) = slot.as_ref()
            && build.at == at
            && build.columns == columns
            && build.enter(lane)
        {
            return Ok(build.clone());
        }
        let table = self.target.staging(permit.epoch(), (generation, seq));
        link.run(&format!(
            "CREATE TABLE {} ({})",
            self.target.beside(&table),
            target::definitions(columns)
        ))
        .await?;
        let build = Arc::new(Build {
            table,
            at,
            columns: columns.to_vec(),
            lanes: vec![lane].into(),
            done: std::sync::Mutex::default(),
        });
        *slot = Some(build.clone());
        Ok(build)
    }

    async fn open_stage(&self, permit: &Permit, request: StageRequest) -> Result<PostgresStage> {
        let mut link = self.server.connect().await?;
        self.ledger.ensure(&mut link).await?;
        if request.replace
            && failpoint::mutated("m8")
            && target::existing(&mut link, &self.target).await?.is_some()
        {
            link.run(&format!("DELETE FROM {}", self.target.sql_name()))
                .await?;
        }
        let columns = target::wanted(&request.schema)?;
        let there = match request.replace {
            true => None,
            false => target::existing(&mut link, &self.target).await?,
        };
        let mut order = Order {
            table: String::new(),
            build: None,
            columns,
            by_key: self.by_key(),
            ledger: self.ledger.clone(),
            at: permit.next(request.replace),
            epoch: permit.epoch(),
            lane: request.lane,
            idle: self.server.config.idle_in_transaction_timeout.get(),
        };
        match there {
            None => {
                let columns = &order.columns;
                let build = self
                    .join_build(&mut link, permit, request.lane, request.replace, columns)
                    .await?;
                order.table.clone_from(&build.table);
                order.build = Some(build);
            }
            Some(there) => {
                // Told now, not after all rows are staged.
                there.pour(&self.target, &order.columns)?;
                order.table = self.target.staging(permit.epoch(), order.at);
            }
        }
        PostgresStage::open(link, order, &self.target, &request).await
    }

    /// The index of rows that are still there.
    async fn segments(&self, link: &mut Link) -> Result<Vec<SegmentRef>> {
        let last = presence::last(link, &self.ledger, &self.target).await?;
        if last.is_none_or(|last| last.generation == 0) {
            return Ok(Vec::new());
        }
        index::list(link, &self.ledger).await
    }

    /// Drops what older epochs, and attempts of this one that were given up, have left behind.
    async fn sweep(&self, link: &mut Link, permit: &Permit) -> Result<()> {
        let past = (permit.epoch(), permit.last().at());
        let prefix = self.target.staging_prefix();
        let sql = "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relkind = 'r' AND starts_with(c.relname, $2)";
        let rows = link
            .query(sql, &[(&self.target.schema, Type::TEXT), (&prefix, Type::TEXT)])
            .await?;
        for row in rows {
            let name: String = row.get(0);
            if self
                .target
                .staged_for(&name)
                .is_none_or(|made_for| made_for > past)
            {
                continue;
            }
            // One that a silent worker still holds is left for the next time.
            let drop = format!(
                "SET lock_timeout = '1s'; DROP TABLE IF EXISTS {}",
                self.target.beside(&name)
            );
            if let Err(error) = link.run(&drop).await {
                tracing::info!(table = name, %error, "a staging table cannot be dropped yet");
            }
        }
        link.run(&format!(
            "SET lock_timeout = {}",
            self.server.config.lock_timeout.get().as_millis()
        ))
        .await?;
        index::sweep(link, &self.ledger, permit).await
    }
}

impl Build {
    /// Whether this lane is new to it.
    fn enter(&self, lane: usize) -> bool {
        let mut lanes = self
            .lanes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let new = !lanes.contains(&lane);
        if new {
            lanes.push(lane);
        }
        new
    }
}

#[async_trait]
impl Shard for PostgresShard {
    fn keeps_index(&self) -> bool {
        true
    }

    async fn last_committed(&self) -> Result<Option<Committed>> {
        let mut link = self.control().await?;
        let last = presence::last(&mut link, &self.ledger, &self.target)
            .await
            .context(self.context())?;
        self.keep(link).await;
        Ok(last)
    }

    async fn fence(&self, epoch: Epoch, nonce: &str) -> Result<Option<Committed>> {
        let mut link = self.control().await?;
        self.ledger.ensure(&mut link).await.context(self.context())?;
        let shares = !matches!(
            self.stream.write_mode,
            millrace_crds::flow::WriteMode::Overwrite | millrace_crds::flow::WriteMode::Upsert
        );
        // A worker that went silent in its commit holds the row until the server ends its transaction.
        self.ledger
            .fence(&mut link, epoch, nonce, (&self.target, shares))
            .await
            .context(self.context())?;
        let last = self.ledger.last(&mut link).await.context(self.context())?;
        self.keep(link).await;
        Ok(last)
    }

    fn unfit(&self, batch: &RecordBatch) -> Result<Vec<(usize, String)>> {
        encode::unfit(batch)
    }

    async fn index(&self) -> Result<Vec<SegmentRef>> {
        let mut link = self.control().await?;
        let segments = self.segments(&mut link).await.context(self.context())?;
        self.keep(link).await;
        Ok(segments)
    }

    async fn segment(&self, segment: &SegmentRef, scratch: &Path) -> Result<PathBuf> {
        let mut link = self.server.connect().await?;
        index::fetch(&mut link, &self.ledger, &segment.id, scratch)
            .await
            .context(self.context())
    }

    async fn stage(&self, permit: &Permit, request: StageRequest) -> Result<Box<dyn Stage>> {
        let stage = self.open_stage(permit, request).await.context(self.context())?;
        Ok(Box::new(stage))
    }

    async fn discard(&self, _permit: &Permit, staged: &[Staged]) -> Result<()> {
        discard::discard(self, staged).await.context(self.context())
    }

    async fn commit(&self, permit: &Permit, commit: &Commit) -> Outcome {
        commit::commit(self, permit, commit).await
    }

    async fn clean(&self, permit: &Permit) -> Result<()> {
        let mut link = self.control().await?;
        if self.ledger.last(&mut link).await?.is_some() {
            self.sweep(&mut link, permit).await.context(self.context())?;
        }
        self.keep(link).await;
        Ok(())
    }
}
