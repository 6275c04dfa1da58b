//! A destination that a host writes: writers in Python, libraries.
//!
//! In: staged rows. Out: what the writer calls its files, and one commit of all of them under an id of its own. The writer
//! keeps no index and no offset: the state store decides what was delivered, and a commit whose answer was lost is made
//! again under the same id, without harm where the writer says so.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
    ipc::writer::StreamWriter,
};
use async_trait::async_trait;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Mutex, OnceCell};

use super::{
    Guest, Opener,
    decode::OP,
    patience,
    staging::{self, Files},
};
use crate::{
    connector::{Authority, Destination, Op, Rows, Shard, Stage, StageRequest, Staged, System},
    engines::host::{Host, Ready},
    error::{Context, Error, ErrorKind, Result},
    failpoint,
    protocol::{Commit, Committed, Epoch, Outcome, Permit, ShardId},
    settings,
    stream::StreamSpec,
};

/// What a host does, for errors.
const WRITING: &str = "it wrote";
/// Rows of one frame.
const ROWS: usize = 64 << 10;

/// A destination behind a host.
pub(in crate::engines) struct Written {
    opener: Arc<Opener>,
    ready: OnceCell<Ready>,
}

impl Written {
    /// The destination of a guest; starts nothing yet.
    pub(in crate::engines) fn destination(
        system: System,
        guest: impl Guest + 'static,
    ) -> Arc<dyn Destination> {
        Arc::new(Self {
            opener: Arc::new(Opener::new(system, guest, "writer")),
            ready: OnceCell::new(),
        })
    }

    async fn ready(&self) -> Result<&Ready> {
        let ask = async || Ok(self.opener.host().await?.ready.clone());
        self.ready.get_or_try_init(ask).await
    }
}

#[async_trait]
impl Destination for Written {
    async fn prepare(&self) -> Result<()> {
        self.ready().await.map(drop)
    }

    fn authority(&self) -> Authority {
        match self.ready.get() {
            Some(ready) if ready.idempotent => Authority::StoreKeyed,
            _ => Authority::Store,
        }
    }

    fn lacks_index(&self) -> bool {
        true
    }

    async fn shard(&self, id: &ShardId, stream: &StreamSpec) -> Result<Arc<dyn Shard>> {
        Ok(Arc::new(Target {
            opener: self.opener.clone(),
            id: id.clone(),
            stream: stream.clone(),
            idle: Arc::default(),
        }))
    }

    async fn check(&self) -> Result<()> {
        let mut host = self.opener.host().await?;
        host.ask(
            &json!({ "type": "check" }),
            &[],
            "ok",
            "its connection was tried",
            Some(patience()),
        )
        .await?;
        host.finish().await;
        Ok(())
    }
}

/// One stream of it.
struct Target {
    opener: Arc<Opener>,
    id: ShardId,
    stream: StreamSpec,
    /// A host that has staged, to commit.
    idle: Arc<Mutex<Option<Host>>>,
}

impl Target {
    /// A host that is ready to take rows of these columns in this lane; `None`: it is to commit and no more.
    async fn open(
        &self,
        schema: &Schema,
        generation: u64,
        lane: Option<usize>,
        directory: &Path,
    ) -> Result<Host> {
        let mut host = self.opener.host().await?;
        let request = json!({
            "type": "open",
            "stream": self.stream.name,
            "mode": self.stream.write_mode,
            "primaryKey": self.stream.delivered_key,
            "generation": generation,
            "shard": self.id.to_string(),
            "lane": lane,
            "outputBase": directory,
        });
        host.ask(
            &request,
            &ipc(schema, None)?,
            "ok",
            "it was opened",
            Some(patience()),
        )
        .await?;
        Ok(host)
    }
}

/// Rows as an Arrow stream.
fn ipc(schema: &Schema, rows: Option<&RecordBatch>) -> Result<Vec<u8>> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    rows.map(|rows| writer.write(rows)).transpose()?;
    writer.finish()?;
    Ok(writer.into_inner()?)
}

#[async_trait]
impl Shard for Target {
    async fn last_committed(&self) -> Result<Option<Committed>> {
        Ok(None)
    }

    // An older worker is refused where it announces its commit.
    async fn fence(&self, _epoch: Epoch, _nonce: &str) -> Result<Option<Committed>> {
        Ok(None)
    }

    async fn stage(&self, permit: &Permit, request: StageRequest) -> Result<Box<dyn Stage>> {
        let (generation, _) = permit.next(request.replace);
        let directory = staging::directory()?;
        let host = self
            .open(&request.schema, generation, Some(request.lane), directory.path())
            .await;
        Ok(Box::new(Writing {
            host: host.context(format!("stream {}", self.stream.name))?,
            lane: request.lane,
            directory,
            files: Vec::new(),
            rows: 0,
            frames: 0,
            idle: self.idle.clone(),
        }))
    }

    async fn discard(&self, _permit: &Permit, staged: &[Staged]) -> Result<()> {
        *self.idle.lock().await = None;
        for staged in staged {
            Files::of(&staged.token)?.remove();
        }
        Ok(())
    }

    async fn commit(&self, _permit: &Permit, commit: &Commit) -> Outcome {
        let staged = commit.staged.iter().map(|staged| Files::of(&staged.token));
        let staged = match staged.collect::<Result<Vec<_>>>() {
            Ok(staged) => staged,
            Err(error) => return Outcome::Failed(error),
        };
        let files: Vec<&Value> = staged.iter().flat_map(|lane| &lane.files).collect();
        let idle = self.idle.lock().await.take();
        let host = match idle {
            Some(host) => Ok(host),
            // After a crash: nothing is written any more, so the columns do not matter.
            None => {
                let nothing = settings::scratch();
                self.open(&Schema::empty(), commit.generation, None, &nothing)
                    .await
            }
        };
        let mut host = match host {
            Ok(host) => host,
            Err(error) => return Outcome::Failed(error),
        };
        let request = json!({
            "type": "commit",
            "id": format!("{}:{}.{}", self.id, commit.generation, commit.seq),
            "files": files,
            "replace": commit.replace,
        });
        match host
            .ask(&request, &[], "committed", "it committed", Some(patience()))
            .await
        {
            Ok(_) => {
                host.finish().await;
                staged.iter().for_each(Files::remove);
                Outcome::Done
            }
            // How far it came nobody knows.
            Err(error) if error.kind == ErrorKind::Transient => Outcome::Unknown(error.to_string()),
            // It would have said so if the commit had been made before.
            Err(error) if staged.iter().any(Files::are_gone) => Outcome::Failed(
                Error::data(format!("what was written is gone: {error}"))
                    .advice("nothing is to be done: it is read again"),
            ),
            Err(error) => Outcome::Failed(error),
        }
    }
}

/// Rows on their way to one host.
struct Writing {
    host: Host,
    lane: usize,
    directory: TempDir,
    files: Vec<Value>,
    rows: u64,
    frames: u64,
    idle: Arc<Mutex<Option<Host>>>,
}

#[async_trait]
impl Stage for Writing {
    async fn write(&mut self, rows: Rows) -> Result<()> {
        failpoint::hit("stage.write")?;
        let batch = with_ops(rows)?;
        for at in (0..batch.num_rows()).step_by(ROWS) {
            let part = batch.slice(at, ROWS.min(batch.num_rows() - at));
            // A number of its own among all lanes of a load.
            let counter = self.frames * 1024 + self.lane as u64;
            let request = json!({ "type": "write", "fileCounter": counter });
            let body = ipc(&part.schema(), Some(&part))?;
            let answer = self
                .host
                .ask(&request, &body, "written", WRITING, Some(patience()))
                .await?;
            self.files
                .extend(answer.header["files"].as_array().cloned().unwrap_or_default());
            self.frames += 1;
            self.rows += part.num_rows() as u64;
        }
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Staged> {
        failpoint::hit("stage.finish")?;
        let bytes = self
            .files
            .iter()
            .filter_map(|file| file.get("size_bytes").or(file.get("bytes"))?.as_u64());
        let staged = Staged {
            files: self.files.len() as u64,
            bytes: bytes.sum(),
            rows: self.rows,
            token: serde_json::to_value(Files::new(self.files, self.directory))?,
        };
        *self.idle.lock().await = Some(self.host);
        Ok(staged)
    }
}

/// Rows with a column that says what each does, where they do not all say the same.
fn with_ops(rows: Rows) -> Result<RecordBatch> {
    let Some(ops) = rows.ops.filter(|ops| ops.iter().any(|op| *op != Op::Insert)) else {
        return Ok(rows.batch);
    };
    if rows.batch.schema().column_with_name(OP).is_some() {
        return Ok(rows.batch);
    }
    let mut fields = rows.batch.schema().fields().to_vec();
    fields.push(Arc::new(Field::new(OP, DataType::Utf8, false)));
    let mut columns = rows.batch.columns().to_vec();
    columns.push(Arc::new(StringArray::from_iter_values(
        ops.iter().map(|op| op.as_str()),
    )));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
