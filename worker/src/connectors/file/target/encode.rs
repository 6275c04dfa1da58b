//! Batches to the bytes of one file: Parquet, CSV, NDJSON, compressed.
//!
//! In: batches of one schema. Out: bytes as soon as they are final, so that a file is never in memory as a whole.

use std::{
    io::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{FileCompression, FileFormat, FileTargetConfig, parquet::ParquetFile};
use crate::{
    error::{Error, Result},
    types::type_name,
};
use arrow::{
    csv,
    datatypes::{FieldRef, SchemaRef},
    json,
    record_batch::RecordBatch,
};
use bytes::Bytes;
use flate2::write::GzEncoder;

/// The end of a file's name.
pub(super) fn extension(config: &FileTargetConfig) -> &'static str {
    match (config.format, config.compression) {
        (FileFormat::Parquet, _) => "parquet",
        (FileFormat::Csv, Some(FileCompression::Gzip)) => "csv.gz",
        (FileFormat::Csv, Some(FileCompression::Zstd)) => "csv.zst",
        (FileFormat::Csv, _) => "csv",
        (FileFormat::Ndjson, Some(FileCompression::Gzip)) => "ndjson.gz",
        (FileFormat::Ndjson, Some(FileCompression::Zstd)) => "ndjson.zst",
        (FileFormat::Ndjson, _) => "ndjson",
    }
}

/// One file's encoder.
pub(super) struct Encoder {
    writer: Writer,
    out: Drain,
}

enum Writer {
    Parquet(ParquetFile<Drain>),
    Csv(csv::Writer<Compressor>),
    Ndjson(json::LineDelimitedWriter<Compressor>),
}

impl Encoder {
    /// Begins a file.
    pub(super) fn new(schema: &SchemaRef, config: &FileTargetConfig) -> Result<Self> {
        let out = Drain::default();
        let writer = match config.format {
            FileFormat::Parquet => Writer::Parquet(ParquetFile::new(schema, config, out.clone())?),
            FileFormat::Csv => {
                let nested = |field: &&FieldRef| field.data_type().is_nested();
                if let Some(field) = schema.fields().iter().find(nested) {
                    let why = format!(
                        "column `{}`: CSV cannot hold {}",
                        field.name(),
                        type_name(field.data_type())
                    );
                    return Err(Error::config(why).advice(
                        "choose `format: ndjson` or parquet, or leave the column out with a transform",
                    ));
                }
                let compressor = Compressor::new(config, out.clone())?;
                Writer::Csv(csv::WriterBuilder::new().with_header(true).build(compressor))
            }
            FileFormat::Ndjson => {
                let compressor = Compressor::new(config, out.clone())?;
                Writer::Ndjson(
                    json::WriterBuilder::new()
                        .with_explicit_nulls(true)
                        .build(compressor),
                )
            }
        };
        Ok(Self { writer, out })
    }

    /// Takes a batch; gives the bytes that are final.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<Vec<Bytes>> {
        match &mut self.writer {
            Writer::Parquet(file) => file.write(batch)?,
            Writer::Csv(writer) => writer.write(batch)?,
            Writer::Ndjson(writer) => writer.write(batch)?,
        }
        Ok(self.out.take())
    }

    /// Bytes that the encoder holds and has not given out.
    pub(super) fn pending(&self) -> u64 {
        match &self.writer {
            Writer::Parquet(file) => file.pending(),
            _ => 0,
        }
    }

    /// Ends the file; gives its last bytes.
    pub(super) fn finish(self) -> Result<Vec<Bytes>> {
        match self.writer {
            Writer::Parquet(file) => file.finish()?,
            Writer::Csv(writer) => writer.into_inner().finish()?,
            Writer::Ndjson(mut writer) => {
                writer.finish()?;
                writer.into_inner().finish()?;
            }
        }
        Ok(self.out.take())
    }
}

/// Bytes in one piece of what an encoder wrote.
const PIECE: usize = 1 << 20;

/// Takes what encoders write, until it is taken away; clones share it. In pieces: the megabytes of a row group come at
/// once, and one growing buffer would hold them twice.
#[derive(Clone, Default)]
struct Drain(Arc<Mutex<Pieces>>);

#[derive(Default)]
struct Pieces {
    full: Vec<Bytes>,
    last: Vec<u8>,
}

impl Drain {
    fn pieces(&self) -> MutexGuard<'_, Pieces> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<Bytes> {
        let Pieces { mut full, last } = std::mem::take(&mut *self.pieces());
        if !last.is_empty() {
            full.push(last.into());
        }
        full
    }
}

impl Write for Drain {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut pieces = self.pieces();
        let taken = bytes.len().min(PIECE - pieces.last.len());
        pieces.last.extend_from_slice(&bytes[..taken]);
        if pieces.last.len() == PIECE {
            let piece = std::mem::take(&mut pieces.last);
            pieces.full.push(piece.into());
        }
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Text on its way out, compressed.
enum Compressor {
    None(Drain),
    Gzip(GzEncoder<Drain>),
    Zstd(zstd::Encoder<'static, Drain>),
}

impl Compressor {
    fn new(config: &FileTargetConfig, out: Drain) -> Result<Self> {
        let level = config.compression_level;
        Ok(match config.compression {
            Some(FileCompression::Gzip) => Self::Gzip(GzEncoder::new(
                out,
                flate2::Compression::new(u32::from(level.unwrap_or(6)).min(9)),
            )),
            Some(FileCompression::Zstd) => {
                Self::Zstd(zstd::Encoder::new(out, i32::from(level.unwrap_or(3)))?)
            }
            None | Some(FileCompression::None) => Self::None(out),
            Some(other) => {
                return Err(Error::config(format!(
                    "connection.compression: {other:?} is for Parquet only"
                )));
            }
        })
    }

    fn finish(self) -> Result<()> {
        match self {
            Self::None(_) => {}
            Self::Gzip(encoder) => drop(encoder.finish()?),
            Self::Zstd(encoder) => drop(encoder.finish()?),
        }
        Ok(())
    }
}

impl Write for Compressor {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::None(to) => to.write(bytes),
            Self::Gzip(to) => to.write(bytes),
            Self::Zstd(to) => to.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
