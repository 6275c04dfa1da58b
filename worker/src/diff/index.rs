//! The whole index of a shard, opened: segments in order, positions counted through all of them.
//!
//! In: the destination's list of segments and local files with their content. Out: hashes and entries by position.
//! A position is `first entry of the segment + row`; dead entries keep theirs.

use std::{collections::HashMap, path::PathBuf, sync::OnceLock};

use roaring::{RoaringBitmap, RoaringTreemap};

use super::segment::{Entries, GROUP_ROWS, SegmentReader, SegmentRef, positions};
use crate::{
    connector::Shard,
    error::{Context, Error, Result},
};

/// The index of what was delivered, as a load found it.
#[derive(Default)]
pub struct Index {
    segments: Vec<Segment>,
    groups: Vec<Group>,
    live: u64,
    samples: OnceLock<HashMap<u128, u64>>,
}

struct Segment {
    id: String,
    path: PathBuf,
    first: u64,
    dead: RoaringBitmap,
}

/// A row group and where it begins.
#[derive(Clone, Copy)]
pub(super) struct Group {
    segment: usize,
    number: usize,
    pub(super) first: u64,
    pub(super) len: u64,
}

impl Index {
    /// Fetches and opens every segment of a shard; remote ones come to `scratch`.
    ///
    /// # Errors
    /// `state` (`IndexDamaged`) where a segment cannot be read or its rows are not what the destination says.
    pub async fn open(shard: &dyn Shard, scratch: &std::path::Path) -> Result<Self> {
        let segments = shard.index().await?;
        let mut index = Self::default();
        for segment in &segments {
            let path = shard.segment(segment, scratch).await?;
            index
                .add(segment, path)
                .context(format!("index segment {}", segment.id))
                .map_err(damaged)?;
        }
        Ok(index)
    }

    /// Opens segments that lie in one directory under their ids.
    #[cfg(test)]
    pub(super) fn of(segments: &[SegmentRef], directory: &std::path::Path) -> Result<Self> {
        let mut index = Self::default();
        for segment in segments {
            index.add(segment, directory.join(&segment.id))?;
        }
        Ok(index)
    }

    fn add(&mut self, segment: &SegmentRef, path: PathBuf) -> Result<()> {
        let first = self.len();
        let reader = SegmentReader::open(&path)?;
        let mut at = first;
        for number in 0..reader.groups() {
            let len = (first + segment.rows - at).min(GROUP_ROWS as u64);
            self.groups.push(Group {
                segment: self.segments.len(),
                number,
                first: at,
                len,
            });
            at += len;
        }
        if at != first + segment.rows {
            return Err(Error::data(format!(
                "holds {} entries, {} were committed",
                at - first,
                segment.rows
            )));
        }
        let dead = positions(&segment.dead)?;
        self.live += segment.rows - dead.len();
        self.segments.push(Segment {
            id: segment.id.clone(),
            path,
            first,
            dead,
        });
        Ok(())
    }

    /// Entries that are delivered now.
    #[must_use]
    pub fn live(&self) -> u64 {
        self.live
    }

    /// All positions, dead ones included.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.groups.last().map_or(0, |group| group.first + group.len)
    }

    /// Nothing was ever delivered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The number of the group that holds `position`.
    pub(super) fn group_at(&self, position: u64) -> usize {
        self.groups
            .partition_point(|group| group.first + group.len <= position)
    }

    /// The segment id and the row within it.
    ///
    /// # Errors
    /// `bug` where the position is past the end.
    pub fn locate(&self, position: u64) -> Result<(&str, u32)> {
        let number = self.segments.partition_point(|segment| segment.first <= position);
        let segment = number.checked_sub(1).and_then(|number| self.segments.get(number));
        let segment =
            segment.ok_or_else(|| Error::bug(format!("index position {position} does not exist")))?;
        let row = u32::try_from(position - segment.first)
            .map_err(|_| Error::bug("an index segment is too long"))?;
        Ok((&segment.id, row))
    }

    /// Whether the entry is no longer delivered.
    pub(super) fn is_dead(&self, group: Group, row: u64) -> bool {
        let segment = &self.segments[group.segment];
        !segment.dead.is_empty()
            && u32::try_from(group.first + row - segment.first).is_ok_and(|row| segment.dead.contains(row))
    }

    /// Where sampled hashes stand. A hash is a sample by its own bits, so the same row is one in the source too.
    pub(super) fn samples(&self, readers: &mut Readers) -> Result<&HashMap<u128, u64>> {
        if let Some(samples) = self.samples.get() {
            return Ok(samples);
        }
        let mut samples = HashMap::new();
        for group in &self.groups {
            let hashes = readers.hashes(self, *group)?;
            samples.extend(
                (group.first..)
                    .zip(hashes)
                    .filter(|(_, hash)| self.is_sample(*hash))
                    .map(|(at, hash)| (hash, at)),
            );
        }
        Ok(self.samples.get_or_init(|| samples))
    }

    /// One row in 256 of a small index, in as many as keeps the samples near 100 000 of a large one.
    pub(super) fn is_sample(&self, hash: u128) -> bool {
        let rate = (self.len() / 100_000).next_power_of_two().max(256);
        hash.is_multiple_of(u128::from(rate))
    }

    /// Visits the live entries of every group, with the position of each group's first.
    ///
    /// # Errors
    /// `data` where a file is damaged, and what `visit` says.
    pub fn scan(
        &self,
        mut visit: impl FnMut(u64, &Entries, &dyn Fn(usize) -> bool) -> Result<()>,
    ) -> Result<()> {
        let mut readers = Readers::default();
        for group in &self.groups {
            let entries = readers.segment(self, *group)?.entries(group.number)?;
            visit(group.first, &entries, &|row| !self.is_dead(*group, row as u64))?;
        }
        Ok(())
    }

    /// The entries of every group that holds chosen positions, and the chosen rows of it: one group in memory at a time.
    /// An item is the error `data` where a file is damaged.
    pub fn chosen<'a>(
        &'a self,
        chosen: &'a RoaringTreemap,
    ) -> impl Iterator<Item = Result<(Entries, Vec<u32>)>> + Send + 'a {
        let mut readers = Readers::default();
        self.groups.iter().filter_map(move |group| {
            let rows: Vec<u32> = (0..group.len)
                .filter(|row| chosen.contains(group.first + row))
                .map(|row| u32::try_from(row).unwrap_or(u32::MAX))
                .collect();
            let entries = |readers: &mut Readers| readers.segment(self, *group)?.entries(group.number);
            (!rows.is_empty()).then(|| Ok((entries(&mut readers)?, rows)))
        })
    }
}

fn damaged(error: Error) -> Error {
    match error.kind {
        crate::error::ErrorKind::Data => Error::state("IndexDamaged", error.message)
            .advice("run a full load with writeMode overwrite, or restore the file"),
        _ => error,
    }
}

/// Open files, one set a thread: clones of one file would share its offset.
#[derive(Default)]
pub(super) struct Readers(HashMap<usize, SegmentReader>);

impl Readers {
    fn segment(&mut self, index: &Index, group: Group) -> Result<&SegmentReader> {
        // A few open files at a time are enough: groups are visited in order, or near it.
        if self.0.len() >= 16 && !self.0.contains_key(&group.segment) {
            self.0.clear();
        }
        match self.0.entry(group.segment) {
            std::collections::hash_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::hash_map::Entry::Vacant(entry) => {
                Ok(entry.insert(SegmentReader::open(&index.segments[group.segment].path)?))
            }
        }
    }

    pub(super) fn hashes(&mut self, index: &Index, group: Group) -> Result<Vec<u128>> {
        self.segment(index, group)?.hashes(group.number)
    }
}
