//! Index segments as objects of a storage, and the list in which a manifest names them.
//!
//! In: staged rows, and the entries that a commit ends. Out: one object a segment, its [`StoredSegment`], and the list without
//! what is no longer delivered.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use arrow::datatypes::Schema;
use base64::{Engine, prelude::BASE64_STANDARD};
use roaring::RoaringBitmap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tempfile::NamedTempFile;

use super::segment::{SegmentRef, SegmentWriter, positions};
use crate::{
    connector::{IndexColumns, Rows},
    error::{Error, Result},
    protocol::Permit,
    settings,
    storage::Storage,
};

/// An index segment, as a manifest lists it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredSegment {
    /// Its name below the root, which is its id.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// Its entries.
    pub rows: u64,
    /// Entries that are no longer delivered: a serialized roaring bitmap.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "to_base64",
        deserialize_with = "from_base64"
    )]
    pub dead: Vec<u8>,
}

impl From<StoredSegment> for SegmentRef {
    fn from(stored: StoredSegment) -> Self {
        Self {
            id: stored.key,
            rows: stored.rows,
            dead: stored.dead,
        }
    }
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    BASE64_STANDARD.decode(text).map_err(serde::de::Error::custom)
}

/// Marks entries as no longer delivered; segments without a live entry are dropped from the list.
///
/// # Errors
/// `data` where the marks of a segment cannot be read.
pub fn bury(segments: &mut Vec<StoredSegment>, dead: &BTreeMap<String, RoaringBitmap>) -> Result<()> {
    for segment in segments.iter_mut() {
        let Some(dead) = dead.get(&segment.key) else {
            continue;
        };
        let mut all = positions(&segment.dead)?;
        all |= dead;
        segment.dead.clear();
        all.serialize_into(&mut segment.dead)?;
        if all.len() == segment.rows {
            segment.rows = 0;
        }
    }
    segments.retain(|segment| segment.rows > 0);
    Ok(())
}

/// A segment on its way, written here before it is sent: it is as long as its data.
pub struct Outgoing {
    file: NamedTempFile,
    writer: SegmentWriter,
}

impl Outgoing {
    /// Begins a segment for rows of `schema`.
    ///
    /// # Errors
    /// As [`SegmentWriter::create`].
    pub fn begin(schema: &Schema, columns: &IndexColumns) -> Result<Self> {
        let file = NamedTempFile::new_in(settings::scratch())?;
        let writer = SegmentWriter::create(file.path(), schema, columns)?;
        Ok(Self { file, writer })
    }

    /// Adds the entries of rows; a delete has none.
    ///
    /// # Errors
    /// As [`SegmentWriter::write`].
    pub fn write(&mut self, rows: &Rows) -> Result<()> {
        let entries = rows.clone().without_deletes()?;
        let hashes = entries.hashes.as_deref();
        let hashes = hashes.ok_or_else(|| Error::bug("an index was asked for without hashes"))?;
        self.writer
            .write(&entries.batch, hashes, entries.identities.as_deref())
    }

    /// Sends it to `key`.
    ///
    /// # Errors
    /// What the file system and the storage say.
    pub async fn finish(self, storage: &Storage, key: String) -> Result<StoredSegment> {
        let rows = self.writer.finish()?;
        send(storage, self.file.path(), key, rows).await
    }
}

/// Sends a segment to `key`, of which all entries are live.
///
/// # Errors
/// What the file system and the storage say.
pub async fn send(storage: &Storage, file: &Path, key: String, rows: u64) -> Result<StoredSegment> {
    let (mut file, mut writer) = (File::open(file)?, storage.writer(&key)?);
    loop {
        let mut chunk = Vec::with_capacity(1 << 20);
        if (&mut file).take(1 << 20).read_to_end(&mut chunk)? == 0 {
            let bytes = writer.finish().await?.size;
            let dead = Vec::new();
            return Ok(StoredSegment {
                key,
                bytes,
                rows,
                dead,
            });
        }
        writer.write(chunk.into()).await?;
    }
}

/// A local file with the content of an object; `None`: there is no such object.
///
/// # Errors
/// What the file system and the storage say.
pub async fn fetch(storage: &Storage, key: &str, scratch: &Path) -> Result<Option<PathBuf>> {
    let Some(object) = storage.head(key).await? else {
        return Ok(None);
    };
    if let Some(path) = storage.local_path(key)? {
        return Ok(Some(path));
    }
    let path = scratch.join(key.replace('/', "-"));
    let mut input = storage.read(&object, 0..object.size)?;
    let mut file = File::create(&path)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = input.read(&mut buffer).await?;
        if read == 0 {
            return Ok(Some(path));
        }
        file.write_all(&buffer[..read])?;
    }
}

/// Whether what lies at a key belongs to a commit that is over: one of an older epoch, or of this one and committed or given
/// up.
#[must_use]
pub fn is_past(key: &str, permit: &Permit) -> bool {
    // `data/<generation>-<epoch>-<seq>/…`
    let Some(directory) = key.split('/').nth(1) else {
        return false;
    };
    let mut numbers = directory.split('-').map(|part| part.parse::<u64>().ok());
    match (
        numbers.next().flatten(),
        numbers.next().flatten(),
        numbers.next().flatten(),
    ) {
        (Some(generation), Some(epoch), Some(seq)) => {
            epoch < permit.epoch() || (epoch == permit.epoch() && (generation, seq) <= permit.last().at())
        }
        // A manifest: `manifests/<generation>-<seq>-<mark>.json`.
        (Some(generation), Some(seq), None) => (generation, seq) < permit.last().at(),
        _ => false,
    }
}
