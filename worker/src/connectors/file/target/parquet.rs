//! A Parquet file, opened with its first rows: they tell how its columns are best encoded.
//!
//! In: batches of one schema. Out: bytes, through the sink that is given. Encodings are chosen per column:
//!
//! - integers (dates, times and narrow decimals are integers too) of many values: differences, bit-packed
//! - anything else in which hardly a value comes twice: as it is
//! - all others: by a dictionary, which would be built in vain, row group by row group, for the first two.
//!
//! Parquet has no times of whole seconds, only integers: they are written as milliseconds.

use std::{collections::HashSet, io::Write, sync::Arc};

use arrow::{
    array::ArrayRef,
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, FieldRef, IntervalUnit, Schema, SchemaRef, TimeUnit},
    record_batch::{RecordBatch, RecordBatchOptions},
    row::{RowConverter, SortField},
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, Encoding, GzipLevel, ZstdLevel},
    file::properties::{WriterProperties, WriterPropertiesBuilder},
};

use super::{FileCompression, FileTargetConfig};
use crate::error::{Error, Result};

/// Rows by which encodings are chosen; of fewer, none is.
const SAMPLE: usize = 4096;

/// One file.
pub(super) struct ParquetFile<W: Write + Send + Clone> {
    schema: SchemaRef,
    properties: WriterPropertiesBuilder,
    delta: bool,
    sink: W,
    writer: Option<ArrowWriter<W>>,
}

impl<W: Write + Send + Clone> ParquetFile<W> {
    /// A file of these columns, not begun.
    pub(super) fn new(schema: &SchemaRef, config: &FileTargetConfig, sink: W) -> Result<Self> {
        if let Some(field) = schema.fields().iter().find(|field| foreign(field)) {
            let (name, type_) = (field.name(), field.data_type());
            return Err(
                Error::config(format!("column `{name}`: Parquet cannot hold {type_}"))
                    .advice("leave the column out, or make another type of it where it is read"),
            );
        }
        let properties = WriterProperties::builder()
            .set_compression(compression(config)?)
            .set_max_row_group_row_count(Some(config.row_group_rows))
            .set_created_by(concat!("millrace ", env!("CARGO_PKG_VERSION")).to_owned());
        Ok(Self {
            schema: Arc::new(Schema::new_with_metadata(
                schema
                    .fields()
                    .iter()
                    .map(|field| timed(field))
                    .collect::<Vec<_>>(),
                schema.metadata().clone(),
            )),
            properties,
            delta: config.delta_encoding,
            sink,
            writer: None,
        })
    }

    /// Takes a batch.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = self.timed(batch)?;
        Ok(self.begun(Some(&batch))?.write(&batch)?)
    }

    /// The rows in the types of the file.
    fn timed(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let exact = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| {
            if column.data_type() == field.data_type() {
                return Ok(column.clone());
            }
            cast_with_options(column, field.data_type(), &exact).map_err(|_| {
                let name = field.name();
                Error::data(format!("column `{name}`: a time of whole seconds that is too far away: Parquet counts milliseconds"))
                    .advice("mend it at the source, or leave such rows out with a transform")
            })
        });
        let columns = columns.collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            self.schema.clone(),
            columns,
            &options,
        )?)
    }

    /// Bytes that are held and not written.
    pub(super) fn pending(&self) -> u64 {
        let writer = self.writer.as_ref();
        writer.map_or(0, |writer| writer.in_progress_size() as u64)
    }

    /// Ends the file.
    pub(super) fn finish(mut self) -> Result<()> {
        self.begun(None)?.finish()?;
        Ok(())
    }

    fn begun(&mut self, first: Option<&RecordBatch>) -> Result<&mut ArrowWriter<W>> {
        if self.writer.is_none() {
            let mut properties = self.properties.clone();
            for (column, encoding) in first
                .map(|first| self.encodings(first))
                .transpose()?
                .into_iter()
                .flatten()
            {
                properties = properties
                    .set_column_dictionary_enabled(column.clone().into(), false)
                    .set_column_encoding(column.into(), encoding);
            }
            let properties = Some(properties.build());
            self.writer = Some(ArrowWriter::try_new(
                self.sink.clone(),
                self.schema.clone(),
                properties,
            )?);
        }
        self.writer
            .as_mut()
            .ok_or_else(|| Error::bug("a file that was begun has no writer"))
    }

    /// The flat columns for which a dictionary does not pay, and what does.
    fn encodings(&self, first: &RecordBatch) -> Result<Vec<(String, Encoding)>> {
        let mut encodings = Vec::new();
        if first.num_rows() < SAMPLE {
            return Ok(encodings);
        }
        for (field, column) in first.schema().fields().iter().zip(first.columns()) {
            let integer = self.delta && is_integer(column.data_type());
            let (least, encoding) = match integer {
                true => (SAMPLE / 5, Encoding::DELTA_BINARY_PACKED),
                false => (SAMPLE * 9 / 10, Encoding::PLAIN),
            };
            if !column.data_type().is_nested() && distinct(column)? > least {
                encodings.push((field.name().clone(), encoding));
            }
        }
        Ok(encodings)
    }
}

/// A field whose times are of milliseconds where they were of seconds.
fn timed(field: &Field) -> Field {
    let inner = |field: &Arc<Field>| Arc::new(timed(field));
    let type_ = match field.data_type() {
        DataType::Timestamp(TimeUnit::Second, zone) => {
            DataType::Timestamp(TimeUnit::Millisecond, zone.clone())
        }
        DataType::Time32(TimeUnit::Second) => DataType::Time32(TimeUnit::Millisecond),
        DataType::List(item) => DataType::List(inner(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        other => other.clone(),
    };
    field.clone().with_data_type(type_)
}

/// Whether a column is, or holds, what has no place in Parquet.
fn foreign(column: &FieldRef) -> bool {
    let column = Schema::new(vec![column.clone()]);
    column.flattened_fields().iter().any(|field| {
        matches!(
            field.data_type(),
            DataType::Union(..) | DataType::Interval(IntervalUnit::MonthDayNano)
        )
    })
}

/// How many values there are in the sample.
fn distinct(column: &ArrayRef) -> Result<usize> {
    let converter = RowConverter::new(vec![SortField::new(column.data_type().clone())])?;
    let values = converter.convert_columns(&[column.slice(0, SAMPLE)])?;
    Ok(values.iter().collect::<HashSet<_>>().len())
}

/// Whether Parquet stores such values as integers of 32 or 64 bits.
fn is_integer(type_: &DataType) -> bool {
    match type_ {
        DataType::Decimal32(..) | DataType::Decimal64(..) => true,
        DataType::Decimal128(precision, _) => *precision <= 18,
        DataType::Date32 | DataType::Time32(_) | DataType::Time64(_) | DataType::Timestamp(..) => true,
        other => other.is_integer(),
    }
}

fn compression(config: &FileTargetConfig) -> Result<Compression> {
    let level = config.compression_level;
    Ok(match config.compression.unwrap_or(FileCompression::Zstd) {
        FileCompression::None => Compression::UNCOMPRESSED,
        FileCompression::Snappy => Compression::SNAPPY,
        FileCompression::Lz4 => Compression::LZ4_RAW,
        FileCompression::Gzip => Compression::GZIP(GzipLevel::try_new(u32::from(level.unwrap_or(6)).min(9))?),
        FileCompression::Zstd => Compression::ZSTD(ZstdLevel::try_new(i32::from(level.unwrap_or(3)))?),
    })
}

#[cfg(test)]
mod tests;
