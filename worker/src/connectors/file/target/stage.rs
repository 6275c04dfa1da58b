//! Staged files: written whole, under names that no other attempt uses, and counted only by a commit.
//!
//! In: rows of one lane. Out: data files, split by partition columns and by size, each with its index segment where
//! one is kept: entry n of the segment describes row n of the file.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    datatypes::SchemaRef,
    record_batch::RecordBatch,
    util::display::{ArrayFormatter, FormatOptions},
};
use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{
    FileTargetConfig,
    encode::{Encoder, extension},
    head::DataFile,
};
use crate::{
    connector::{IndexColumns, Rows, Stage, Staged},
    diff::stored::Outgoing,
    error::{Error, Result},
    failpoint,
    storage::{Storage, Writer},
};

/// Files open at once in one lane; beyond, the one that was opened first is ended.
const OPEN: usize = 64;

/// What every file of a stage shares.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) storage: Storage,
    pub(super) config: Arc<FileTargetConfig>,
    /// `data/<directory>/…`, `index/<directory>/…`: generation, epoch and number of the commit.
    pub(super) directory: String,
    pub(super) schema: SchemaRef,
    pub(super) index: Option<IndexColumns>,
    pub(super) lane: usize,
}

/// One lane's files.
pub(super) struct FileStage {
    place: Place,
    /// Deletes are left out: the commit rewrites the files that hold their rows.
    upsert: bool,
    open: HashMap<String, OpenFile>,
    order: Vec<String>,
    done: Vec<DataFile>,
}

impl FileStage {
    pub(super) fn new(place: Place, upsert: bool) -> Self {
        Self {
            place,
            upsert,
            open: HashMap::new(),
            order: Vec::new(),
            done: Vec::new(),
        }
    }

    async fn write_to(&mut self, partition: String, rows: Rows) -> Result<()> {
        if !self.open.contains_key(&partition) {
            if self.open.len() >= OPEN {
                let oldest = self.order.remove(0);
                self.end(&oldest).await?;
            }
            self.order.push(partition.clone());
            self.open
                .insert(partition.clone(), OpenFile::begin(&self.place, &partition)?);
        }
        let Some(file) = self.open.get_mut(&partition) else {
            return Ok(());
        };
        file.write(rows).await?;
        if file.size() >= self.place.config.file_bytes {
            self.order.retain(|open| *open != partition);
            self.end(&partition).await?;
        }
        Ok(())
    }

    async fn end(&mut self, partition: &str) -> Result<()> {
        if let Some(file) = self.open.remove(partition) {
            self.done.push(file.finish(&self.place, partition).await?);
        }
        Ok(())
    }
}

#[async_trait]
impl Stage for FileStage {
    async fn write(&mut self, rows: Rows) -> Result<()> {
        failpoint::hit("stage.write")?;
        let rows = if self.upsert {
            rows.without_deletes()?
        } else {
            rows
        };
        if rows.batch.num_rows() == 0 {
            return Ok(());
        }
        if self.place.config.partition_by.is_empty() {
            return self.write_to(String::new(), rows).await;
        }
        for (partition, numbers) in partitions(&rows.batch, &self.place.config.partition_by)? {
            self.write_to(partition, rows.pick(&numbers)?).await?;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Staged> {
        for partition in std::mem::take(&mut self.order) {
            self.end(&partition).await?;
        }
        failpoint::hit("stage.finish")?;
        let sum = |of: fn(&DataFile) -> u64| self.done.iter().map(of).sum();
        Ok(Staged {
            files: self.done.len() as u64,
            bytes: sum(|file| file.bytes),
            rows: sum(|file| file.rows),
            token: serde_json::to_value(&self.done)?,
        })
    }
}

/// One data file on its way, and its segment.
pub(super) struct OpenFile {
    key: String,
    encoder: Encoder,
    writer: Writer,
    hash: Sha256,
    rows: u64,
    segment: Option<Outgoing>,
    /// The columns that the file holds: partition columns stand in its path.
    columns: Vec<usize>,
}

impl OpenFile {
    pub(super) fn begin(place: &Place, partition: &str) -> Result<Self> {
        let mark = uuid::Uuid::new_v4().simple();
        let (directory, lane) = (&place.directory, place.lane);
        let key = format!(
            "data/{directory}/{partition}{lane}-{mark}.{}",
            extension(&place.config)
        );
        let columns: Vec<usize> = (0..place.schema.fields().len())
            .filter(|number| {
                !place
                    .config
                    .partition_by
                    .contains(place.schema.field(*number).name())
            })
            .collect();
        let segment = place.index.as_ref();
        let segment = segment.map(|columns| Outgoing::begin(&place.schema, columns));
        Ok(Self {
            encoder: Encoder::new(&Arc::new(place.schema.project(&columns)?), &place.config)?,
            writer: place.storage.writer(&key)?,
            key,
            hash: Sha256::new(),
            rows: 0,
            segment: segment.transpose()?,
            columns,
        })
    }

    fn size(&self) -> u64 {
        self.writer.written() + self.encoder.pending()
    }

    pub(super) async fn write(&mut self, rows: Rows) -> Result<()> {
        if let Some(segment) = &mut self.segment {
            segment.write(&rows)?;
        }
        self.rows += rows.batch.num_rows() as u64;
        let bytes = self.encoder.write(&rows.batch.project(&self.columns)?)?;
        send(bytes, &mut self.hash, &mut self.writer).await
    }

    pub(super) async fn finish(mut self, place: &Place, partition: &str) -> Result<DataFile> {
        send(self.encoder.finish()?, &mut self.hash, &mut self.writer).await?;
        let object = self.writer.finish().await?;
        let segment = match self.segment {
            Some(segment) => {
                let mark = uuid::Uuid::new_v4().simple();
                let key = format!("index/{}/{}-{mark}.index", place.directory, place.lane);
                Some(segment.finish(&place.storage, key).await?)
            }
            None => None,
        };
        let sha256 = self
            .hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let partition = partition.to_owned();
        Ok(DataFile {
            key: self.key,
            bytes: object.size,
            rows: self.rows,
            sha256,
            partition,
            segment,
        })
    }
}

async fn send(bytes: Vec<Bytes>, hash: &mut Sha256, writer: &mut Writer) -> Result<()> {
    for piece in bytes {
        hash.update(&piece);
        writer.write(piece).await?;
    }
    Ok(())
}

/// The rows of each partition, by its directory: `country=se/day=2026-01-01/`.
fn partitions(batch: &RecordBatch, by: &[String]) -> Result<Vec<(String, Vec<u32>)>> {
    let options = FormatOptions::default()
        .with_null("__HIVE_DEFAULT_PARTITION__")
        .with_display_error(false);
    let columns = by.iter().map(|name| {
        let column = batch.column_by_name(name).ok_or_else(|| {
            Error::config(format!(
                "connection.partitionBy: there is no column `{name}` among the delivered ones"
            ))
        })?;
        Ok((name, ArrayFormatter::try_new(column, &options)?))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let mut rows: HashMap<String, Vec<u32>> = HashMap::new();
    for number in 0..batch.num_rows() {
        let mut directory = String::new();
        for (name, column) in &columns {
            let value = column.value(number).try_to_string().map_err(|error| {
                Error::data(format!("column `{name}` of partitionBy: {error}"))
                    .advice("mend it at the source, or leave such rows out with a transform")
            })?;
            let value = millrace_crds::template::safe(&value);
            directory.push_str(&format!("{name}={value}/"));
        }
        rows.entry(directory)
            .or_default()
            .push(u32::try_from(number).unwrap_or(u32::MAX));
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_unstable();
    Ok(rows)
}
