//! The reading side of `memory`: every table of a store is a stream.
//!
//! In: a store's name. Out: loads of what the tables held when the load began.

use std::sync::Arc;

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use async_trait::async_trait;

use super::{MemoryConfig, Snapshot, read, table, tables};
use crate::{
    connector::{Estimate, Load, Payload, Range, Reader, Source, StreamInfo},
    error::{Error, Result},
    stream::StreamSpec,
};

pub(super) struct MemorySource {
    config: MemoryConfig,
}

impl MemorySource {
    pub(super) fn new(config: MemoryConfig) -> Self {
        Self { config }
    }

    fn names(&self) -> Result<Vec<String>> {
        let tables = tables()?;
        let ours = tables.keys().filter(|(store, _)| *store == self.config.store);
        Ok(ours.map(|(_, stream)| stream.clone()).collect())
    }
}

#[async_trait]
impl Source for MemorySource {
    async fn discover(&self) -> Result<Vec<StreamInfo>> {
        let mut streams = Vec::new();
        for name in self.names()? {
            if let Some(snapshot) = read(&self.config.store, &name)? {
                streams.push(StreamInfo {
                    name,
                    rows: Some(snapshot.rows()),
                    trouble: None,
                    schema: snapshot.schema,
                    primary_key: snapshot.key,
                    cursors: Vec::new(),
                });
            }
        }
        Ok(streams)
    }

    async fn load(&self, stream: &StreamSpec, range: &Range) -> Result<Arc<dyn Load>> {
        if *range != Range::Full {
            return Err(
                Error::config(format!("stream {}: tables in memory have no cursor", stream.name))
                    .advice("leave out cursorField, or ask for a full load"),
            );
        }
        let store = &self.config.store;
        let snapshot = read(store, &stream.name)?.ok_or_else(|| {
            Error::config(format!(
                "the store `{store}` in memory has no table `{}`",
                stream.name
            ))
        })?;
        let most = snapshot.batches.len().max(1);
        Ok(Arc::new(MemoryLoad {
            partitions: stream.partitions.unwrap_or(1).clamp(1, most),
            snapshot,
        }))
    }
}

struct MemoryLoad {
    snapshot: Snapshot,
    partitions: usize,
}

#[async_trait]
impl Load for MemoryLoad {
    fn schema(&self) -> SchemaRef {
        self.snapshot.schema.clone()
    }

    fn partitions(&self) -> usize {
        self.partitions
    }

    fn estimate(&self) -> Estimate {
        Estimate {
            rows: Some(self.snapshot.rows()),
            bytes: Some(self.snapshot.batches.iter().map(table::size).sum()),
        }
    }

    async fn read(&self, partition: usize) -> Result<Box<dyn Reader>> {
        let batches = &self.snapshot.batches;
        let bound = |number: usize| batches.len() * number / self.partitions;
        let part = batches[bound(partition)..bound(partition + 1)].to_vec();
        Ok(Box::new(MemoryReader(part.into_iter())))
    }
}

struct MemoryReader(std::vec::IntoIter<RecordBatch>);

#[async_trait]
impl Reader for MemoryReader {
    async fn next(&mut self) -> Result<Option<Payload>> {
        Ok(self.0.next().map(|batch| Payload {
            bytes: table::size(&batch),
            ..Payload::new(batch)
        }))
    }
}
