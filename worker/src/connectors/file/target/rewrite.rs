//! Copy on write: files that hold rows which are no longer delivered are written again without them.
//!
//! In: a manifest and the dead positions of its segments. Out: the manifest with new files in the place of those that
//! were touched, each with a new segment; untouched files stay as they are. Old files stay on disk until [`super::clean`].

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use roaring::RoaringBitmap;

use super::{
    head::{DataFile, Manifest},
    presence,
    shard::FileShard,
    stage::{OpenFile, Place},
};
use crate::{
    connector::{IndexColumns, Rewritten, Rows},
    diff::{segment::SegmentReader, stored},
    error::{Error, Result},
    protocol::Commit,
    scratch::Scratch,
    storage::Storage,
};

/// Rewrites the files whose segments have dead entries, and tells what that came to.
pub(super) async fn without_dead(
    shard: &FileShard,
    manifest: &mut Manifest,
    commit: &Commit,
    epoch: u64,
) -> Result<Rewritten> {
    let scratch = Scratch::new()?;
    let mut rewritten = Rewritten::default();
    for file in &mut manifest.files {
        let dead = file
            .segment
            .as_ref()
            .and_then(|segment| commit.dead.get(&segment.key));
        if let Some(dead) = dead {
            *file = rewrite(shard, file, dead, commit, epoch, scratch.path()).await?;
            if file.rows > 0 {
                rewritten.files += 1;
                rewritten.bytes += file.bytes;
            }
        }
    }
    Ok(rewritten)
}

/// A local file with the content of an object.
pub(super) async fn fetch(storage: &Storage, key: &str, scratch: &Path) -> Result<PathBuf> {
    let found = stored::fetch(storage, key, scratch).await?;
    found.ok_or_else(|| presence::missing(storage, key, ""))
}

async fn rewrite(
    shard: &FileShard,
    file: &DataFile,
    dead: &RoaringBitmap,
    commit: &Commit,
    epoch: u64,
    scratch: &Path,
) -> Result<DataFile> {
    let segment = file
        .segment
        .as_ref()
        .ok_or_else(|| Error::bug("a file without an index was to be rewritten"))?;
    let segment = SegmentReader::open(&fetch(&shard.storage, &segment.key, scratch).await?)?;
    let data = File::open(fetch(&shard.storage, &file.key, scratch).await?)?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(data)?.with_batch_size(8192);
    let place = Place {
        storage: shard.storage.clone(),
        config: shard.config.clone(),
        directory: format!("{}-{epoch}-{}", commit.generation, commit.seq),
        schema: reader.schema().clone(),
        index: Some(IndexColumns {
            key: segment.key_names().to_vec(),
            identity: segment.has_identity(),
        }),
        lane: 0,
    };
    let mut entries = Cursor {
        segment,
        group: 0,
        at: 0,
        held: None,
    };
    let mut copy = OpenFile::begin(&place, &file.partition)?;
    let mut first = 0u32;
    for batch in reader.build()? {
        let batch = batch?;
        let len = u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
        let rows = entries.next(&batch)?;
        let live: Vec<u32> = (0..len).filter(|row| !dead.contains(first + row)).collect();
        first += len;
        if !live.is_empty() {
            copy.write(rows.pick(&live)?).await?;
        }
    }
    copy.finish(&place, &file.partition).await
}

/// Walks along a segment, as far as the rows of its file are read.
struct Cursor {
    segment: SegmentReader,
    group: usize,
    at: usize,
    held: Option<crate::diff::segment::Entries>,
}

impl Cursor {
    /// The rows of `batch` with the entries that belong to them.
    fn next(&mut self, batch: &RecordBatch) -> Result<Rows> {
        let (mut hashes, mut identities) = (Vec::new(), Vec::new());
        while hashes.len() < batch.num_rows() {
            let held = match self.held.take() {
                Some(held) if self.at < held.hashes.len() => held,
                _ => {
                    self.at = 0;
                    self.group += 1;
                    self.segment.entries(self.group - 1)?
                }
            };
            let take = (batch.num_rows() - hashes.len()).min(held.hashes.len() - self.at);
            hashes.extend_from_slice(&held.hashes[self.at..self.at + take]);
            identities.extend_from_slice(&held.identities[self.at..self.at + take]);
            self.at += take;
            self.held = Some(held);
        }
        Ok(Rows {
            batch: batch.clone(),
            ops: None,
            hashes: Some(hashes),
            identities: Some(identities),
        })
    }
}
