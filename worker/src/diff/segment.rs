//! Index segments: for each delivered row, in order, a 128-bit hash and its key, as a Parquet file that anybody can read.
//!
//! In: the rows that a stage writes. Out: a file with the delivered key columns, `_hash_lo` and `_hash_hi`, and, where a
//! transform changed the key, the identity (`_id_lo`, `_id_hi`); read back by row group, hashes alone or with keys.

use std::{fs::File, path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, UInt64Array},
    datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type},
    record_batch::RecordBatch,
};
use parquet::{
    arrow::{
        ArrowWriter, ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
    },
    basic::{Compression, Encoding, ZstdLevel},
    file::properties::{EnabledStatistics, WriterProperties},
    schema::types::ColumnPath,
};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use super::hash;
use crate::{
    connector::IndexColumns,
    error::{Error, Result},
};

/// Rows in one row group: the unit in which an index is read.
pub const GROUP_ROWS: usize = 1 << 16;

const HASH: [&str; 2] = ["_hash_lo", "_hash_hi"];
const IDENTITY: [&str; 2] = ["_id_lo", "_id_hi"];

/// One segment of the index, as the destination lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SegmentRef {
    /// Unique within the shard.
    pub id: String,
    /// Entries, dead ones included.
    pub rows: u64,
    /// Positions of entries that are no longer delivered, as a serialized roaring bitmap; empty: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dead: Vec<u8>,
}

/// Positions as a segment's list of dead entries has them.
///
/// # Errors
/// `data` where they cannot be read.
pub fn positions(dead: &[u8]) -> Result<RoaringBitmap> {
    match dead {
        [] => Ok(RoaringBitmap::new()),
        bytes => Ok(RoaringBitmap::deserialize_from(bytes)?),
    }
}

/// Writes one segment beside the rows it describes.
pub struct SegmentWriter {
    writer: ArrowWriter<File>,
    schema: SchemaRef,
    columns: IndexColumns,
    rows: u64,
}

impl SegmentWriter {
    /// Begins a segment at `path` for rows of `schema`.
    ///
    /// # Errors
    /// `bug` where a key column is not in the schema; what the file system says.
    pub fn create(path: &Path, schema: &Schema, columns: &IndexColumns) -> Result<Self> {
        let schema = segment_schema(schema, columns)?;
        let writer = ArrowWriter::try_new(File::create(path)?, schema.clone(), Some(properties()?))?;
        Ok(Self {
            writer,
            schema,
            columns: columns.clone(),
            rows: 0,
        })
    }

    /// Adds the entries of `batch`, from which the key columns are taken by name.
    ///
    /// # Errors
    /// `bug` where identities are due and not given; what the file system says.
    pub fn write(&mut self, batch: &RecordBatch, hashes: &[u128], identities: Option<&[u128]>) -> Result<()> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for name in &self.columns.key {
            columns.push(key_column(batch, name)?.clone());
        }
        if self.columns.identity {
            columns.extend(split(
                identities.ok_or_else(|| Error::bug("an index with identities was given none"))?,
            ));
        }
        columns.extend(split(hashes));
        let entries = RecordBatch::try_new(self.schema.clone(), columns)?;
        self.rows += entries.num_rows() as u64;
        Ok(self.writer.write(&entries)?)
    }

    /// Ends the segment; the file is complete and synced. Gives the number of entries.
    ///
    /// # Errors
    /// What the file system says.
    pub fn finish(self) -> Result<u64> {
        self.writer.into_inner()?.sync_all()?;
        Ok(self.rows)
    }
}

fn key_column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch
        .column_by_name(name)
        .ok_or_else(|| Error::bug(format!("key column `{name}` is not among the delivered columns")))
}

fn segment_schema(schema: &Schema, columns: &IndexColumns) -> Result<SchemaRef> {
    let mut fields = Vec::new();
    for name in &columns.key {
        let field = schema
            .field_with_name(name)
            .map_err(|_| Error::bug(format!("key column `{name}` is not among the delivered columns")))?;
        fields.push(field.clone().with_nullable(true));
    }
    let hashes = if columns.identity {
        [&IDENTITY[..], &HASH[..]].concat()
    } else {
        HASH.to_vec()
    };
    fields.extend(
        hashes
            .into_iter()
            .map(|name| Field::new(name, DataType::UInt64, false)),
    );
    Ok(Arc::new(Schema::new(fields)))
}

/// Keys compress well and are rarely read; hashes never compress and are read at every load.
fn properties() -> Result<WriterProperties> {
    let mut properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_write_batch_size(8192)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_statistics_enabled(EnabledStatistics::None);
    for name in HASH.iter().chain(&IDENTITY) {
        let column = ColumnPath::from(*name);
        properties = properties
            .set_column_compression(column.clone(), Compression::UNCOMPRESSED)
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, Encoding::PLAIN);
    }
    Ok(properties.build())
}

fn split(hashes: &[u128]) -> [ArrayRef; 2] {
    [0, 64].map(|shift| {
        let half = hashes.iter().map(|hash| {
            (hash >> shift & u128::from(u64::MAX))
                .try_into()
                .unwrap_or_default()
        });
        Arc::new(UInt64Array::from_iter_values(half)) as ArrayRef
    })
}

fn join(low: &ArrayRef, high: &ArrayRef) -> Vec<u128> {
    let (low, high) = (
        low.as_primitive::<UInt64Type>(),
        high.as_primitive::<UInt64Type>(),
    );
    low.values()
        .iter()
        .zip(high.values())
        .map(|(low, high)| u128::from(*high) << 64 | u128::from(*low))
        .collect()
}

/// Reads one segment by row group.
pub struct SegmentReader {
    file: File,
    metadata: ArrowReaderMetadata,
    key: Vec<String>,
    identity: bool,
}

/// The entries of one row group, with their keys.
pub struct Entries {
    /// The delivered key columns.
    pub key: RecordBatch,
    /// One identity an entry.
    pub identities: Vec<u128>,
    /// One hash of the delivered key an entry; the identity itself, unless a transform changed the key.
    pub delivered: Vec<u128>,
    /// One row hash an entry.
    pub hashes: Vec<u128>,
}

impl SegmentReader {
    /// Opens a segment.
    ///
    /// # Errors
    /// `data` where the file is not a segment.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path)?;
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())?;
        let names: Vec<_> = metadata
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        if !HASH.iter().all(|hash| names.iter().any(|name| name == hash)) {
            return Err(Error::data(format!("{} is not an index segment", path.display())));
        }
        let identity = names.iter().any(|name| name == IDENTITY[0]);
        let key = names
            .into_iter()
            .filter(|name| !HASH.contains(&name.as_str()) && !IDENTITY.contains(&name.as_str()));
        let key = key.collect();
        Ok(Self {
            file,
            metadata,
            key,
            identity,
        })
    }

    /// Row groups; all but the last have [`GROUP_ROWS`] entries.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// Its columns.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        self.metadata.schema()
    }

    /// The delivered key columns.
    #[must_use]
    pub fn key_names(&self) -> &[String] {
        &self.key
    }

    /// Whether identities are stored beside the keys.
    #[must_use]
    pub fn has_identity(&self) -> bool {
        self.identity
    }

    /// The row hashes of one group.
    ///
    /// # Errors
    /// `data` where the file is damaged.
    pub fn hashes(&self, group: usize) -> Result<Vec<u128>> {
        let batch = self.read(group, &HASH)?;
        Ok(join(batch.column(0), batch.column(1)))
    }

    /// The entries of one group, keys included. Without key columns the row hash is the identity.
    ///
    /// # Errors
    /// `data` where the file is damaged.
    pub fn entries(&self, group: usize) -> Result<Entries> {
        let names: Vec<_> = self
            .metadata
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        let batch = self.read(group, &names)?;
        let at = |name: &str| {
            batch
                .column_by_name(name)
                .ok_or_else(|| Error::data(format!("index column {name} is missing")))
        };
        let hashes = join(at(HASH[0])?, at(HASH[1])?);
        let key = self
            .key
            .iter()
            .map(|name| batch.schema().index_of(name))
            .collect::<Result<Vec<_>, _>>()?;
        let key = batch.project(&key)?;
        let delivered = match self.key.len() {
            0 => hashes.clone(),
            _ => hash::identities(key.columns(), key.num_rows())?,
        };
        let identities = if self.identity {
            join(at(IDENTITY[0])?, at(IDENTITY[1])?)
        } else {
            delivered.clone()
        };
        Ok(Entries {
            key,
            identities,
            delivered,
            hashes,
        })
    }

    fn read(&self, group: usize, columns: &[&str]) -> Result<RecordBatch> {
        let mask = ProjectionMask::columns(
            self.metadata.metadata().file_metadata().schema_descr(),
            columns.iter().copied(),
        );
        let mut reader =
            ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.try_clone()?, self.metadata.clone())
                .with_row_groups(vec![group])
                .with_projection(mask)
                .with_batch_size(GROUP_ROWS)
                .build()?;
        reader
            .next()
            .ok_or_else(|| Error::data("an index segment has an empty row group"))?
            .map_err(Error::from)
    }
}
