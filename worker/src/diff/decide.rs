//! Decides, exactly, what a load delivers: bucket by bucket, over hashes alone.
//!
//! In: the candidates of all lanes, the index, and which of its entries a full load has seen again. Out: for each
//! candidate what becomes of it, and which index entries are no longer delivered.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
};

use roaring::{RoaringBitmap, RoaringTreemap};

use super::{
    buckets::{self, Buckets, Delivered},
    candidates::{Candidate, Kind},
    index::Index,
    matcher::Spread,
};
use crate::error::Result;

/// What a load is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything: what was not read is gone.
    Full,
    /// The keys that were read.
    Delta,
    /// Rows that have no key: as many of each as were read, less those that are delivered.
    Rows,
}

/// What becomes of the candidates and of the index.
#[derive(Debug, Default)]
pub struct Decisions {
    /// Candidates (by number) that are delivered as updates.
    pub updates: RoaringTreemap,
    /// Candidates that are delivered as deletes.
    pub deletes: RoaringTreemap,
    /// Candidates that are not delivered. All others are inserts.
    pub drops: RoaringTreemap,
    /// Index positions that are no longer delivered.
    pub dead: RoaringTreemap,
    /// Those of them for which a delete must be made from the key in the index.
    pub gone: RoaringTreemap,
    /// Counts.
    pub counts: Decided,
    /// A row of this load was matched in the index on the way, and another version of its key was read too: which of
    /// the two is the last cannot be told from here; or two readers took one entry for a row of theirs. The load must
    /// be compared again without matching on the way.
    pub ambiguous: bool,
}

/// Counts of rows by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// New keys.
    pub inserted: u64,
    /// New versions of known keys.
    pub updated: u64,
    /// Deletes that were read.
    pub deleted: u64,
    /// Versions that are delivered already.
    pub unchanged: u64,
    /// Rows of which a later version came in the same load.
    pub superseded: u64,
    /// Rows that a filter dropped and of which nothing was delivered.
    pub filtered: u64,
    /// Deletes that a full load found by absence.
    pub absent: u64,
}

/// Candidates up to which the index is filtered by the keys wanted instead of being bucketed as a whole.
const FEW: u64 = 2_000_000;

/// Compares candidates and index.
///
/// # Errors
/// What the file system says; `state` where the index is damaged.
pub fn decide(
    scope: Scope,
    index: &Index,
    seen: &RoaringTreemap,
    candidates: &Buckets<Candidate>,
    scratch: &std::path::Path,
) -> Result<Decisions> {
    let mut decisions = Decisions::default();
    if candidates.is_empty() && (scope != Scope::Full || seen.len() == index.live()) {
        return Ok(decisions);
    }
    let few = candidates.len() <= FEW;
    // Few candidates stay in memory for both passes: the keys wanted, then the comparison.
    let mut held: Vec<Vec<Candidate>> = Vec::new();
    let mut wanted = HashSet::with_hasher(Spread);
    if few {
        for number in 0..buckets::COUNT {
            let bucket = candidates.take(number)?;
            wanted.extend(bucket.iter().map(|candidate| candidate.identity));
            held.push(bucket);
        }
    }
    let delivered = Buckets::new(scratch, "delivered");
    collect(scope, index, seen, few.then_some(&wanted), &delivered)?;
    let mut held = held.into_iter();
    for number in 0..buckets::COUNT {
        let candidates = match held.next() {
            Some(bucket) => bucket,
            None => candidates.take(number)?,
        };
        let delivered = delivered.take(number)?;
        match scope {
            Scope::Rows => rows(&candidates, delivered, &mut decisions),
            _ => bucket(scope, candidates, delivered, &mut decisions),
        }
    }
    Ok(decisions)
}

/// Puts into buckets the entries that a full load did not see, and those whose keys were read.
fn collect(
    scope: Scope,
    index: &Index,
    seen: &RoaringTreemap,
    wanted: Option<&HashSet<u128, Spread>>,
    into: &Buckets<Delivered>,
) -> Result<()> {
    index.scan(|first, entries, live| {
        let rows = (0..entries.hashes.len()).filter(|row| live(*row));
        let touched: Vec<Delivered> = rows
            .map(|row| Delivered {
                identity: entries.identities[row],
                delivered: entries.delivered[row],
                row: entries.hashes[row],
                position: first + row as u64,
                seen: seen.contains(first + row as u64),
            })
            .filter(|entry| {
                (scope == Scope::Full && !entry.seen)
                    || wanted.is_none_or(|wanted| wanted.contains(&entry.identity))
            })
            .collect();
        into.add(&touched)
    })
}

/// Decides one bucket.
fn bucket(
    scope: Scope,
    mut candidates: Vec<Candidate>,
    delivered: Vec<Delivered>,
    decisions: &mut Decisions,
) {
    let mut index: HashMap<u128, Delivered, Spread> = delivered
        .into_iter()
        .map(|entry| (entry.identity, entry))
        .collect();
    candidates.sort_unstable_by(|a, b| {
        (a.identity, Reverse((&a.cursor, a.place))).cmp(&(b.identity, Reverse((&b.cursor, b.place))))
    });
    for versions in candidates.chunk_by(|a, b| a.identity == b.identity) {
        let Some((winner, losers)) = versions.split_first() else {
            continue;
        };
        for loser in losers {
            // A refused row is counted where it was refused; one that lost is not counted again.
            decisions.counts.superseded += u64::from(loser.kind != Kind::Keep);
            decisions.drop(loser);
        }
        let known = index.remove(&winner.identity);
        decisions.ambiguous |= known.is_some_and(|known| known.seen);
        decisions.settle(winner, known);
    }
    if scope == Scope::Full {
        for entry in index.into_values().filter(|entry| !entry.seen) {
            decisions.dead.insert(entry.position);
            decisions.gone.insert(entry.position);
            decisions.counts.absent += 1;
        }
    }
}

/// Decides one bucket of rows without a key.
fn rows(candidates: &[Candidate], delivered: Vec<Delivered>, decisions: &mut Decisions) {
    let mut index: HashMap<u128, Vec<Delivered>, Spread> = HashMap::default();
    for entry in delivered.into_iter().filter(|entry| !entry.seen) {
        index.entry(entry.identity).or_default().push(entry);
    }
    for candidate in candidates {
        let known = index.get_mut(&candidate.identity).and_then(Vec::pop);
        decisions.settle(candidate, known);
    }
}

impl Decisions {
    fn drop(&mut self, candidate: &Candidate) {
        if matches!(candidate.kind, Kind::Upsert | Kind::Delete) {
            self.drops.insert(candidate.number);
        }
    }

    fn settle(&mut self, winner: &Candidate, known: Option<Delivered>) {
        match (winner.kind, known) {
            (Kind::Upsert, None) => self.counts.inserted += 1,
            (Kind::Upsert, Some(known)) if known.row == winner.row && known.delivered == winner.delivered => {
                self.counts.unchanged += 1;
                self.drops.insert(winner.number);
            }
            (Kind::Upsert, Some(known)) => {
                self.counts.updated += 1;
                self.dead.insert(known.position);
                if known.delivered == winner.delivered {
                    self.updates.insert(winner.number);
                } else {
                    self.gone.insert(known.position);
                }
            }
            (Kind::Delete, Some(known)) => {
                self.counts.deleted += 1;
                self.dead.insert(known.position);
                self.deletes.insert(winner.number);
            }
            // Nothing was delivered for this key: the delete has nothing to do.
            (Kind::Delete, None) => {
                self.counts.unchanged += 1;
                self.drops.insert(winner.number);
            }
            (Kind::Keep, _) => {}
            (Kind::Filtered, Some(known)) => {
                self.counts.deleted += 1;
                self.dead.insert(known.position);
                self.gone.insert(known.position);
            }
            (Kind::Filtered, None) => self.counts.filtered += 1,
        }
    }

    /// The dead positions, by segment id, as a commit wants them.
    ///
    /// # Errors
    /// `bug` where a position does not exist.
    pub fn dead_by_segment(&self, index: &Index) -> Result<BTreeMap<String, RoaringBitmap>> {
        let mut dead: BTreeMap<String, RoaringBitmap> = BTreeMap::new();
        for position in &self.dead {
            let (segment, row) = index.locate(position)?;
            dead.entry(segment.to_owned()).or_default().insert(row);
        }
        Ok(dead)
    }
}

#[cfg(test)]
mod tests;
