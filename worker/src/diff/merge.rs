//! Small index segments made one, so that an index to which little is added often stays quick to open.
//!
//! In: segments in their order, the newest last. Out: how many of the last are due; one segment of their live entries, in the
//! same order.

use std::path::{Path, PathBuf};

use arrow::{array::BooleanArray, compute::filter_record_batch};
use roaring::RoaringBitmap;

use super::segment::{Entries, SegmentReader, SegmentWriter, positions};
use crate::{connector::IndexColumns, error::Result};

/// Fewer than these are left alone.
const MANY: usize = 8;

/// A segment to be merged.
pub struct Part {
    /// A file with its content.
    pub path: PathBuf,
    /// The positions of its dead entries, as a serialized roaring bitmap; empty: none.
    pub dead: Vec<u8>,
}

/// How many of the last segments are to become one, by the entries of all. A large one is taken in once those after it hold a
/// good part of what it holds: so there are few segments, and none is written again for each of the small ones.
#[must_use]
pub fn due(rows: &[u64]) -> usize {
    let (mut count, mut sum) = (0, 0);
    for rows in rows.iter().rev() {
        if count > 0 && *rows > sum * MANY as u64 {
            break;
        }
        count += 1;
        sum += rows;
    }
    if count < MANY { 0 } else { count }
}

/// Writes the live entries of as many of the last parts as have the columns of the very last to `to`. Gives the number of those
/// parts, and of the entries.
///
/// # Errors
/// `data` where a part is damaged; what the file system says.
pub fn merge(parts: &[Part], to: &Path) -> Result<(usize, u64)> {
    let mut readers: Vec<(SegmentReader, RoaringBitmap)> = Vec::new();
    for part in parts.iter().rev() {
        let reader = SegmentReader::open(&part.path)?;
        if readers
            .first()
            .is_some_and(|(last, _)| last.schema() != reader.schema())
        {
            break;
        }
        readers.push((reader, positions(&part.dead)?));
    }
    let Some((last, _)) = readers.first() else {
        return Ok((0, 0));
    };
    let columns = IndexColumns {
        key: last.key_names().to_vec(),
        identity: last.has_identity(),
    };
    let mut writer = SegmentWriter::create(to, last.schema(), &columns)?;
    for (reader, dead) in readers.iter().rev() {
        let mut first = 0;
        for group in 0..reader.groups() {
            let entries = reader.entries(group)?;
            let rows = u32::try_from(entries.hashes.len()).unwrap_or(u32::MAX);
            let live: Vec<bool> = (first..first + rows).map(|row| !dead.contains(row)).collect();
            let entries = living(entries, live)?;
            writer.write(&entries.key, &entries.hashes, Some(&entries.identities))?;
            first += rows;
        }
    }
    Ok((readers.len(), writer.finish()?))
}

fn living(entries: Entries, live: Vec<bool>) -> Result<Entries> {
    let of = |hashes: &[u128]| {
        let both = hashes.iter().zip(&live);
        both.filter_map(|(hash, live)| live.then_some(*hash)).collect()
    };
    Ok(Entries {
        identities: of(&entries.identities),
        delivered: of(&entries.delivered),
        hashes: of(&entries.hashes),
        key: filter_record_batch(&entries.key, &BooleanArray::from(live))?,
    })
}

#[cfg(test)]
mod tests;
