//! Finds the rows of a full load that were delivered already, while they are read.
//!
//! In: row hashes in source order. Out: which of them the index holds, without random access: sources come back in
//! nearly the order in which they were delivered, so a window of the index moves along with the reader, and hashes
//! that are samples by their own bits tell where to move it when the two drift apart. A row that is not found here is
//! only a candidate: [`super::decide`] is exact.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use roaring::RoaringTreemap;

use super::index::{Index, Readers};
use crate::error::Result;

/// Entries looked at beyond the rows of a batch: how far rows may move and still be found.
const SLACK: u64 = 4096;

/// One reader's place in the index.
pub struct Matcher {
    index: Arc<Index>,
    keyed: bool,
    readers: Readers,
    groups: VecDeque<(usize, Vec<u128>)>,
    cursor: u64,
    seen: RoaringTreemap,
}

/// What became of the rows of one batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Matches {
    /// Rows of the batch that were not found, ascending.
    pub unmatched: Vec<u32>,
    /// Rows found for the first time.
    pub unchanged: u64,
    /// Rows found once more: the same key and content twice in one load.
    pub repeated: u64,
}

impl Matcher {
    /// Starts at the beginning of the index. Without a key (`keyed` is false) the same row twice is two rows, and an
    /// entry serves one of them: the others are not found.
    #[must_use]
    pub fn new(index: Arc<Index>, keyed: bool) -> Self {
        Self {
            index,
            keyed,
            readers: Readers::default(),
            groups: VecDeque::new(),
            cursor: 0,
            seen: RoaringTreemap::new(),
        }
    }

    /// The positions found so far.
    #[must_use]
    pub fn into_seen(self) -> RoaringTreemap {
        self.seen
    }

    /// Looks for the rows of one batch.
    ///
    /// # Errors
    /// `data` where an index file is damaged.
    pub fn find(&mut self, hashes: &[u128]) -> Result<Matches> {
        let mut matches = Matches::default();
        let run = self.run(hashes)?;
        self.mark(self.cursor, run, &mut matches);
        self.cursor += run as u64;
        let mut left: Vec<u32> = (run..hashes.len())
            .map(|row| u32::try_from(row).unwrap_or(u32::MAX))
            .collect();
        if left.is_empty() {
            return Ok(matches);
        }
        left = self.window(self.cursor, hashes, left, &mut matches)?;
        if left.len() * 2 > hashes.len()
            && let Some(start) = self.resync(hashes, &left)?
        {
            left = self.window(start, hashes, left, &mut matches)?;
        }
        matches.unmatched = left;
        Ok(matches)
    }

    /// How many rows stand in the index exactly as they come.
    fn run(&mut self, hashes: &[u128]) -> Result<usize> {
        let entries = self.read(self.cursor, hashes.len() as u64)?;
        Ok(hashes
            .iter()
            .zip(entries)
            .zip(self.cursor..)
            .take_while(|((hash, entry), at)| Some(**hash) == *entry && !self.is_taken(*at))
            .count())
    }

    /// The entry serves another row already.
    fn is_taken(&self, at: u64) -> bool {
        !self.keyed && self.seen.contains(at)
    }

    fn mark(&mut self, first: u64, len: usize, matches: &mut Matches) {
        let added = self.seen.insert_range(first..first + len as u64);
        matches.unchanged += added;
        matches.repeated += len as u64 - added;
    }

    /// Looks for `rows` in a window that begins a little before `start`, and moves the cursor behind the last one found.
    fn window(
        &mut self,
        start: u64,
        hashes: &[u128],
        rows: Vec<u32>,
        matches: &mut Matches,
    ) -> Result<Vec<u32>> {
        let start = start.saturating_sub(SLACK);
        let entries = self.read(start, rows.len() as u64 + 2 * SLACK)?;
        let places: HashMap<u128, u64, Spread> = (start..)
            .zip(entries)
            .filter_map(|(at, entry)| entry.map(|hash| (hash, at)))
            .collect();
        let mut left = Vec::new();
        for row in rows {
            match places.get(&hashes[row as usize]) {
                Some(at) if !self.is_taken(*at) => {
                    self.mark(*at, 1, matches);
                    self.cursor = *at + 1;
                }
                _ => left.push(row),
            }
        }
        Ok(left)
    }

    /// Where the rows that are left seem to stand, by the first sample among them that the index knows.
    fn resync(&mut self, hashes: &[u128], left: &[u32]) -> Result<Option<u64>> {
        if !left.iter().any(|row| self.index.is_sample(hashes[*row as usize])) {
            return Ok(None);
        }
        let index = self.index.clone();
        let samples = index.samples(&mut self.readers)?;
        let found = left
            .iter()
            .find_map(|row| samples.get(&hashes[*row as usize]).map(|at| (*row, *at)));
        Ok(found.map(|(row, at)| at.saturating_sub(u64::from(row - left[0]))))
    }

    /// The live hashes of `len` positions from `start` on; `None` for dead entries; shorter at the end of the index.
    fn read(&mut self, start: u64, len: u64) -> Result<Vec<Option<u128>>> {
        let index = self.index.clone();
        let end = (start + len).min(index.len());
        let mut entries = Vec::with_capacity(usize::try_from(end.saturating_sub(start)).unwrap_or(0));
        let mut at = start;
        while at < end {
            let number = index.group_at(at);
            let group = index.groups()[number];
            let hashes = self.group(number)?;
            let rows = at - group.first..(end - group.first).min(group.len);
            at = group.first + rows.end;
            entries.extend(rows.map(|row| {
                let hash = usize::try_from(row).ok().and_then(|row| hashes.get(row)).copied();
                hash.filter(|_| !index.is_dead(group, row))
            }));
        }
        Ok(entries)
    }

    /// The hashes of a group, kept for the next window.
    fn group(&mut self, number: usize) -> Result<&[u128]> {
        if let Some(at) = self.groups.iter().position(|(group, _)| *group == number) {
            return Ok(&self.groups[at].1);
        }
        if self.groups.len() >= 3 {
            self.groups.pop_front();
        }
        let hashes = self.readers.hashes(&self.index, self.index.groups()[number])?;
        self.groups.push_back((number, hashes));
        Ok(self.groups.back().map_or(&[], |(_, hashes)| hashes))
    }
}

/// Row hashes are random already; hashing them again would be work for nothing.
#[derive(Clone, Copy, Default)]
pub(super) struct Spread;

/// Takes the low half of a `u128` as it is.
#[derive(Default)]
pub(super) struct Half(u64);

impl std::hash::BuildHasher for Spread {
    type Hasher = Half;
    fn build_hasher(&self) -> Half {
        Half::default()
    }
}

impl std::hash::Hasher for Half {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for (at, byte) in bytes.iter().take(8).enumerate() {
            self.0 ^= u64::from(*byte) << (8 * at);
        }
    }
    fn write_u128(&mut self, value: u128) {
        self.0 = u64::try_from(value & u128::from(u64::MAX)).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests;
