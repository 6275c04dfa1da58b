//! Buckets by identity: a load is compared bucket by bucket, so that memory stays within bounds.
//!
//! In: records with an identity, from many lanes. Out: all records of one bucket at a time. Small loads never touch
//! the disk; larger ones are written to one scratch file a bucket.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::candidates::{Candidate, Kind};
use crate::error::{Error, Result};

/// A record that can be put into a bucket.
pub trait Record: Sized {
    /// What it is bucketed by.
    fn identity(&self) -> u128;
    /// Appends its bytes.
    fn encode(&self, out: &mut Vec<u8>);
    /// Takes its bytes off the front; `None` where they end too soon.
    fn decode(bytes: &mut &[u8]) -> Option<Self>;
}

/// How many buckets; each holds about a hundredth of the keys.
pub const COUNT: usize = 128;
/// A bucket's buffer is written out beyond this, so that all of them together stay near 32 MiB.
const BUFFER: usize = 256 << 10;

/// Records in buckets.
pub struct Buckets<R> {
    directory: PathBuf,
    name: &'static str,
    buckets: Vec<Mutex<Bucket>>,
    /// Bytes of one bucket that stay in memory.
    buffer: usize,
    record: PhantomData<fn() -> R>,
}

#[derive(Default)]
struct Bucket {
    buffer: Vec<u8>,
    file: Option<File>,
    records: u64,
}

impl<R: Record> Buckets<R> {
    /// Empty buckets; files, if any, are `name-*` in `directory`.
    #[must_use]
    pub fn new(directory: &Path, name: &'static str) -> Self {
        let buckets = (0..COUNT).map(|_| Mutex::default()).collect();
        Self {
            directory: directory.to_owned(),
            name,
            buckets,
            buffer: BUFFER,
            record: PhantomData,
        }
    }

    /// The same, where so many have to share the memory.
    #[must_use]
    pub fn one_of(self, many: usize) -> Self {
        Self {
            buffer: BUFFER / many.max(1),
            ..self
        }
    }

    /// Adds records.
    ///
    /// # Errors
    /// What the file system says.
    pub fn add(&self, records: &[R]) -> Result<()> {
        for record in records {
            let number = usize::try_from(record.identity() >> 121).unwrap_or(0);
            let mut bucket = self.buckets[number]
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            record.encode(&mut bucket.buffer);
            bucket.records += 1;
            if bucket.buffer.len() >= self.buffer {
                bucket.spill(&self.path(number))?;
            }
        }
        Ok(())
    }

    fn path(&self, number: usize) -> PathBuf {
        self.directory.join(format!("{}-{number}.bucket", self.name))
    }

    /// Records in all buckets.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.buckets
            .iter()
            .map(|bucket| bucket.lock().unwrap_or_else(PoisonError::into_inner).records)
            .sum()
    }

    /// No records at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the records of one bucket out.
    ///
    /// # Errors
    /// What the file system says; `data` where a scratch file was damaged.
    pub fn take(&self, number: usize) -> Result<Vec<R>> {
        let bucket = self.take_bucket(number);
        let mut records = Vec::with_capacity(usize::try_from(bucket.records).unwrap_or(0));
        if bucket.file.is_some() {
            let path = self.path(number);
            decode_all(&std::fs::read(&path)?, &mut records)?;
            std::fs::remove_file(&path)?;
        }
        decode_all(&bucket.buffer, &mut records)?;
        Ok(records)
    }

    fn take_bucket(&self, number: usize) -> Bucket {
        std::mem::take(
            &mut *self.buckets[number]
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Moves all records into one file, bucket by bucket; gives the bytes of each.
    ///
    /// # Errors
    /// What the file system says.
    pub fn pack(&self, file: &Path) -> Result<Vec<u64>> {
        let mut packed = File::create(file)?;
        let mut sizes = Vec::with_capacity(COUNT);
        for number in 0..COUNT {
            let bucket = self.take_bucket(number);
            let mut size = bucket.buffer.len() as u64;
            if bucket.file.is_some() {
                let path = self.path(number);
                size += std::io::copy(&mut File::open(&path)?, &mut packed)?;
                std::fs::remove_file(&path)?;
            }
            packed.write_all(&bucket.buffer)?;
            sizes.push(size);
        }
        Ok(sizes)
    }

    /// Adds what another process has packed, each record as `change` leaves it; gives how many there were.
    ///
    /// # Errors
    /// What the file system says; `data` where the file was damaged.
    pub fn unpack(&self, file: &Path, sizes: &[u64], change: impl Fn(&mut R)) -> Result<u64> {
        let (mut packed, mut count) = (File::open(file)?, 0);
        for size in sizes {
            let mut bytes = vec![0; usize::try_from(*size).unwrap_or(usize::MAX)];
            packed.read_exact(&mut bytes)?;
            let mut records = Vec::new();
            decode_all(&bytes, &mut records)?;
            records.iter_mut().for_each(&change);
            count += records.len() as u64;
            self.add(&records)?;
        }
        Ok(count)
    }
}

impl Bucket {
    fn spill(&mut self, path: &Path) -> Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(
                OpenOptions::new()
                    .create(true)
                    .write(true)
                    .truncate(true)
                    .open(path)?,
            ),
        };
        file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

fn decode_all<R: Record>(mut bytes: &[u8], into: &mut Vec<R>) -> Result<()> {
    while !bytes.is_empty() {
        into.push(
            R::decode(&mut bytes)
                .ok_or_else(|| Error::data("a scratch file ends in the middle of a record"))?,
        );
    }
    Ok(())
}

fn number<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

impl Record for Candidate {
    fn identity(&self) -> u128 {
        self.identity
    }
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.identity.to_le_bytes());
        out.extend(self.delivered.to_le_bytes());
        out.extend(self.row.to_le_bytes());
        out.extend(self.place.to_le_bytes());
        out.extend(self.number.to_le_bytes());
        out.push(self.kind as u8);
        out.extend(u32::try_from(self.cursor.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend(&self.cursor);
    }
    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let identity = u128::from_le_bytes(number(bytes)?);
        let delivered = u128::from_le_bytes(number(bytes)?);
        let row = u128::from_le_bytes(number(bytes)?);
        let place = u64::from_le_bytes(number(bytes)?);
        let at = u64::from_le_bytes(number(bytes)?);
        let kind = [Kind::Upsert, Kind::Delete, Kind::Keep, Kind::Filtered].into_iter();
        let [tag] = number(bytes)?;
        let kind = kind.into_iter().find(|kind| *kind as u8 == tag)?;
        let len = usize::try_from(u32::from_le_bytes(number(bytes)?)).ok()?;
        let (cursor, rest) = bytes.split_at_checked(len)?;
        *bytes = rest;
        Some(Self {
            identity,
            delivered,
            row,
            cursor: cursor.into(),
            place,
            number: at,
            kind,
        })
    }
}

/// A live index entry that may be touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The hash of the key at the source.
    pub identity: u128,
    /// The hash of the key as delivered.
    pub delivered: u128,
    /// The hash of the row.
    pub row: u128,
    /// Where it stands in the index.
    pub position: u64,
    /// A full load found it again, unchanged.
    pub seen: bool,
}

impl Record for Delivered {
    fn identity(&self) -> u128 {
        self.identity
    }
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.identity.to_le_bytes());
        out.extend(self.delivered.to_le_bytes());
        out.extend(self.row.to_le_bytes());
        out.extend((self.position << 1 | u64::from(self.seen)).to_le_bytes());
    }
    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let identity = u128::from_le_bytes(number(bytes)?);
        let delivered = u128::from_le_bytes(number(bytes)?);
        let row = u128::from_le_bytes(number(bytes)?);
        let place = u64::from_le_bytes(number(bytes)?);
        Some(Self {
            identity,
            delivered,
            row,
            position: place >> 1,
            seen: place & 1 == 1,
        })
    }
}

#[cfg(test)]
mod tests;
