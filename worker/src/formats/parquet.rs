//! Parquet: row groups as ranges, read page by page from a local file and group by group from a store.

mod remote;

use std::{fs::File, ops::Range, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use parquet::{
    arrow::{
        ARROW_SCHEMA_META_KEY,
        arrow_reader::{
            ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
            ParquetRecordBatchReaderBuilder,
        },
        async_reader::ParquetRecordBatchStreamBuilder,
    },
    basic::ConvertedType,
    errors::ParquetError,
    file::metadata::KeyValue,
};

use self::remote::Remote;
use crate::{
    connector::{Payload, Reader},
    error::{Context, Error, ErrorKind, Result},
    storage::{Object, Storage},
};

/// Rows in a batch.
const ROWS: usize = 8192;

/// What stands at the end of a file: its columns and row groups.
#[derive(Clone, Debug)]
pub(crate) struct Footer {
    metadata: ArrowReaderMetadata,
    schema: SchemaRef,
}

impl Footer {
    /// Reads the footer of a file.
    ///
    /// # Errors
    /// `data` where the file is cut short or no Parquet file.
    pub(crate) async fn read(storage: &Storage, object: &Object) -> Result<Self> {
        let options = ArrowReaderOptions::new();
        let metadata = match storage.local_path(&object.key)? {
            Some(path) => {
                let file = File::open(&path).context("cannot read the file")?;
                ArrowReaderMetadata::load(&file, options)
            }
            None => ArrowReaderMetadata::load_async(&mut remote(storage, object), options).await,
        }
        .map_err(|error| {
            let error = fault(error);
            match error.kind {
                ErrorKind::Data => Error::data(format!("no whole Parquet file: {}", error.message))
                    .advice("write the file again; its end is missing or damaged"),
                _ => error,
            }
        })?;
        refuse_months(&metadata)?;
        let fields: Vec<_> = metadata
            .schema()
            .fields()
            .iter()
            .map(|field| plain_field(field))
            .collect();
        Ok(Self {
            schema: Arc::new(Schema::new(fields)),
            metadata,
        })
    }

    /// The columns, in types without encodings.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The bytes of each row group.
    pub(crate) fn groups(&self) -> Vec<u64> {
        let groups = self.metadata.metadata().row_groups().iter();
        groups
            .map(|group| u64::try_from(group.compressed_size()).unwrap_or_default())
            .collect()
    }

    /// Rows of some row groups.
    pub(crate) fn rows(&self, groups: Range<u64>) -> u64 {
        let rows = |index: u64| {
            let group = usize::try_from(index)
                .ok()
                .and_then(|index| self.metadata.metadata().row_groups().get(index));
            group
                .and_then(|group| u64::try_from(group.num_rows()).ok())
                .unwrap_or_default()
        };
        groups.map(rows).sum()
    }

    /// Rows of all row groups.
    pub(crate) fn all_rows(&self) -> u64 {
        self.rows(0..self.metadata.metadata().num_row_groups() as u64)
    }
}

/// An INTERVAL holds months, days and milliseconds. Where the file does not say which of them are in use, the months
/// would be lost.
fn refuse_months(metadata: &ArrowReaderMetadata) -> Result<()> {
    let file = metadata.metadata().file_metadata();
    let told = |pair: &KeyValue| pair.key == ARROW_SCHEMA_META_KEY;
    if file
        .key_value_metadata()
        .is_some_and(|pairs| pairs.iter().any(told))
    {
        return Ok(());
    }
    let mut columns = file.schema_descr().columns().iter();
    match columns.find(|column| column.converted_type() == ConvertedType::INTERVAL) {
        None => Ok(()),
        Some(column) => Err(Error::data(format!(
            "column `{}` is an INTERVAL, whose months cannot be read",
            column.path().string()
        ))
        .advice("where the file is written, make it text or a number")),
    }
}

fn remote(storage: &Storage, object: &Object) -> Remote {
    Remote {
        storage: storage.clone(),
        object: object.clone(),
    }
}

/// What a store answered stays what it is; all else is the file's fault.
fn fault(error: ParquetError) -> Error {
    match error {
        ParquetError::External(source) => match source.downcast::<Error>() {
            Ok(error) => *error,
            Err(source) => match source.downcast::<std::io::Error>() {
                Ok(error) => Error::from(*error),
                Err(source) => Error::data(source),
            },
        },
        error => Error::data(error),
    }
}

/// A field without encodings that only save memory: the engine and the destinations know one type for text.
fn plain_field(field: &Field) -> Field {
    field.clone().with_data_type(plain_type(field.data_type()))
}

fn plain_type(type_: &DataType) -> DataType {
    let inner = |field: &Arc<Field>| Arc::new(plain_field(field));
    match type_ {
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Date64 => DataType::Date32,
        DataType::LargeList(item) | DataType::ListView(item) | DataType::LargeListView(item) => {
            DataType::List(inner(item))
        }
        DataType::List(item) => DataType::List(inner(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        other => other.clone(),
    }
}

enum Batches {
    Local(ParquetRecordBatchReader),
    Remote(BoxStream<'static, parquet::errors::Result<RecordBatch>>),
}

/// Reads some row groups of one file.
pub(crate) struct ParquetReader {
    batches: Batches,
    schema: SchemaRef,
    place: String,
    /// The row of the file that comes next.
    row: u64,
    bytes: Share,
}

/// Deals bytes to rows in proportion.
struct Share {
    bytes: u64,
    rows: u64,
    rows_done: u64,
    bytes_done: u64,
}

impl Share {
    fn take(&mut self, rows: usize) -> u64 {
        self.rows_done += rows as u64;
        let due = u128::from(self.bytes) * u128::from(self.rows_done) / u128::from(self.rows.max(1));
        let due = u64::try_from(due).unwrap_or(self.bytes);
        due - std::mem::replace(&mut self.bytes_done, due)
    }
}

impl ParquetReader {
    /// Opens some row groups. `schema`: the columns of every batch; those that the file lacks are null.
    ///
    /// # Errors
    /// What reading the file gives.
    pub(crate) fn open(
        storage: &Storage,
        object: &Object,
        footer: &Footer,
        groups: Range<u64>,
        schema: &SchemaRef,
    ) -> Result<Self> {
        let indexes: Vec<usize> = groups
            .clone()
            .filter_map(|index| usize::try_from(index).ok())
            .collect();
        let sizes = footer.groups();
        let bytes = Share {
            bytes: indexes.iter().filter_map(|index| sizes.get(*index)).sum(),
            rows: footer.rows(groups.clone()),
            rows_done: 0,
            bytes_done: 0,
        };
        let place = storage.url_of(&object.key);
        let metadata = footer.metadata.clone();
        let batches = match storage.local_path(&object.key)? {
            Some(path) => {
                let file = File::open(path).context(format!("cannot read {place}"))?;
                let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
                Batches::Local(builder.with_row_groups(indexes).with_batch_size(ROWS).build()?)
            }
            None => {
                let builder =
                    ParquetRecordBatchStreamBuilder::new_with_metadata(remote(storage, object), metadata);
                Batches::Remote(
                    builder
                        .with_row_groups(indexes)
                        .with_batch_size(ROWS)
                        .build()?
                        .boxed(),
                )
            }
        };
        let row = footer.rows(0..groups.start);
        Ok(Self {
            batches,
            schema: schema.clone(),
            place,
            row,
            bytes,
        })
    }

    async fn batch(&mut self) -> Result<Option<RecordBatch>> {
        let batch = match &mut self.batches {
            Batches::Local(batches) => batches.next().transpose().map_err(Error::from),
            Batches::Remote(batches) => batches.try_next().await.map_err(fault),
        };
        batch.context(&self.place)
    }

    fn shaped(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let arrays = self
            .schema
            .fields()
            .iter()
            .map(|field| match batch.column_by_name(field.name()) {
                Some(array) => exactly(array, field.data_type()).context(format!(
                    "{}: column `{}`",
                    self.place,
                    field.name()
                )),
                None => Ok(new_null_array(field.data_type(), batch.num_rows())),
            });
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new_with_options(
            self.schema.clone(),
            arrays,
            &options,
        )?)
    }
}

/// The array in another type, where every value is the same in it.
fn exactly(array: &ArrayRef, type_: &DataType) -> Result<ArrayRef> {
    if array.data_type() == type_ {
        return Ok(array.clone());
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let cast = cast_with_options(array, type_, &options)?;
    let back = cast_with_options(&cast, array.data_type(), &options)?;
    if &back == array {
        return Ok(cast);
    }
    Err(Error::data(format!(
        "it is {} here and {type_} in other files of the stream",
        array.data_type()
    ))
    .advice("make the files agree, or read them as streams of their own"))
}

#[async_trait]
impl Reader for ParquetReader {
    async fn next(&mut self) -> Result<Option<Payload>> {
        let Some(batch) = self.batch().await? else {
            return Ok(None);
        };
        let mut payload = Payload::new(self.shaped(&batch)?);
        payload.metadata.insert("file", self.place.clone().into());
        payload.metadata.insert("row", self.row.into());
        payload.bytes = self.bytes.take(batch.num_rows());
        self.row += batch.num_rows() as u64;
        Ok(Some(payload))
    }
}
