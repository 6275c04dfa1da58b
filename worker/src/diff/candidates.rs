//! Candidates: rows that may have to be delivered, set aside with their data until the load has been read to its end.
//!
//! In: rows that the index did not hold at their place. Out: for [`super::decide`] one small [`Candidate`] a row, in
//! buckets by identity; for delivery the rows themselves, in the order in which they came. Rows go to a scratch file
//! as Arrow IPC, so that memory does not grow with the load.

use std::{
    fs::File,
    io::{BufReader, BufWriter},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, FixedSizeBinaryArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
    ipc::{reader::StreamReader, writer::StreamWriter},
    record_batch::RecordBatch,
};

use super::buckets::Buckets;
use crate::{
    connector::Rows,
    error::{Error, Result},
};

/// What a candidate wants to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The newest version of its key.
    Upsert = 0,
    /// Its key is gone.
    Delete = 1,
    /// It was refused: whatever is delivered for its key stays. Has no row set aside.
    Keep = 2,
    /// A filter dropped it: whatever is delivered for its key goes.
    Filtered = 3,
}

/// All that is needed to decide about one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The hash of the key at the source.
    pub identity: u128,
    /// The hash of the key as delivered.
    pub delivered: u128,
    /// The hash of the row.
    pub row: u128,
    /// Among rows of one key the greatest wins: first by cursor (bytes that compare as the values do), then by place.
    pub cursor: Box<[u8]>,
    /// Partition and row number within it.
    pub place: u64,
    /// The number of the row among those set aside, lane in the upper 16 bits.
    pub number: u64,
    /// What it wants.
    pub kind: Kind,
}

/// Bits of [`Candidate::number`] and [`Candidate::place`] that count rows; the lane or partition is above them.
pub const ROW_BITS: u32 = 48;

/// One lane's candidates.
pub struct Candidates {
    lane: u64,
    path: PathBuf,
    schema: SchemaRef,
    writer: Option<StreamWriter<BufWriter<File>>>,
    identity: bool,
    rows: u64,
    buckets: Arc<Buckets<Candidate>>,
}

/// Rows to set aside, with one candidate each (its `number` is filled in here).
pub struct SetAside {
    /// The rows.
    pub batch: RecordBatch,
    /// One a row.
    pub hashes: Vec<u128>,
    /// One a row.
    pub candidates: Vec<Candidate>,
}

impl Candidates {
    /// Candidates of one lane, for rows of `schema`.
    #[must_use]
    pub fn new(
        lane: usize,
        scratch: &Path,
        schema: &Schema,
        identity: bool,
        buckets: Arc<Buckets<Candidate>>,
    ) -> Self {
        let mut fields = schema.fields().to_vec();
        for name in ["_hash", "_identity"].iter().take(1 + usize::from(identity)) {
            fields.push(Arc::new(Field::new(*name, DataType::FixedSizeBinary(16), false)));
        }
        Self {
            lane: (lane as u64) << ROW_BITS,
            path: scratch.join(format!("candidates-{lane}.arrow")),
            schema: Arc::new(Schema::new(fields)),
            writer: None,
            identity,
            rows: 0,
            buckets,
        }
    }

    /// Sets rows aside.
    ///
    /// # Errors
    /// What the file system says.
    pub fn add(&mut self, mut aside: SetAside) -> Result<()> {
        if aside.batch.num_rows() == 0 {
            return Ok(());
        }
        let mut columns = aside.batch.columns().to_vec();
        columns.push(fixed(aside.hashes.iter().copied())?);
        if self.identity {
            columns.push(fixed(
                aside.candidates.iter().map(|candidate| candidate.identity),
            )?);
        }
        let batch = RecordBatch::try_new(self.schema.clone(), columns)?;
        if self.writer.is_none() {
            let file = BufWriter::with_capacity(1 << 20, File::create(&self.path)?);
            self.writer = Some(StreamWriter::try_new(file, &self.schema)?);
        }
        if let Some(writer) = &mut self.writer {
            writer.write(&batch)?;
        }
        for candidate in &mut aside.candidates {
            candidate.number = self.lane | self.rows;
            self.rows += 1;
        }
        self.buckets.add(&aside.candidates)
    }

    /// Notes candidates that have no row: refused ones, and keys that a filter dropped.
    ///
    /// # Errors
    /// What the file system says.
    pub fn note(&mut self, candidates: &[Candidate]) -> Result<()> {
        self.buckets.add(candidates)
    }

    /// Ends the setting aside; the rows can be read back.
    ///
    /// # Errors
    /// What the file system says.
    pub fn finish(mut self) -> Result<Kept> {
        if let Some(mut writer) = self.writer.take() {
            writer.finish()?;
        }
        let path = (self.rows > 0).then_some(self.path);
        Ok(Kept {
            path,
            lane: self.lane,
            rows: self.rows,
            identity: self.identity,
        })
    }
}

fn fixed(hashes: impl Iterator<Item = u128>) -> Result<ArrayRef> {
    let bytes: Vec<u8> = hashes.flat_map(u128::to_le_bytes).collect();
    Ok(Arc::new(FixedSizeBinaryArray::try_new(16, bytes.into(), None)?))
}

/// The rows of one lane, set aside.
pub struct Kept {
    path: Option<PathBuf>,
    lane: u64,
    /// How many.
    pub rows: u64,
    identity: bool,
}

impl Kept {
    /// Rows that another process has set aside, in a file that was fetched from there.
    #[must_use]
    pub fn fetched(path: Option<PathBuf>, lane: usize, rows: u64, identity: bool) -> Self {
        Self {
            path,
            lane: (lane as u64) << ROW_BITS,
            rows,
            identity,
        }
    }

    /// The file, where there are rows.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The rows in order, each batch with the number of its first row.
    ///
    /// # Errors
    /// What the file system says.
    pub fn read(&self) -> Result<impl Iterator<Item = Result<(u64, Rows)>> + use<>> {
        let file = self.path.as_ref().map(File::open).transpose()?;
        let reader = file
            .map(|file| StreamReader::try_new(BufReader::with_capacity(1 << 20, file), None))
            .transpose()?;
        let (mut next, identity) = (self.lane, self.identity);
        Ok(reader.into_iter().flatten().map(move |batch| {
            let rows = rows(&batch?, identity)?;
            let first = next;
            next += rows.batch.num_rows() as u64;
            Ok((first, rows))
        }))
    }
}

fn rows(batch: &RecordBatch, identity: bool) -> Result<Rows> {
    let data = batch.num_columns() - 1 - usize::from(identity);
    let projection: Vec<usize> = (0..data).collect();
    Ok(Rows {
        batch: batch.project(&projection)?,
        ops: None,
        hashes: Some(hashes(batch.column(data))?),
        identities: identity.then(|| hashes(batch.column(data + 1))).transpose()?,
    })
}

fn hashes(column: &ArrayRef) -> Result<Vec<u128>> {
    use arrow::array::AsArray;
    let column = column
        .as_fixed_size_binary_opt()
        .ok_or_else(|| Error::bug("a scratch file has no hashes"))?;
    let (chunks, _) = column.value_data().as_chunks::<16>();
    Ok(chunks.iter().map(|chunk| u128::from_le_bytes(*chunk)).collect())
}
