//! What each version of a stream inserts, updates and deletes: exact numbers, spread over all rows, without a table.
//!
//! In: a seed, the rows of version 0 and a share of them for each kind of change. Out: for any version, which ids are
//! live, when each changed last, and what has changed since another version. Every row has a *turn*: the order in which
//! rows are deleted. Whatever a version touches is one or two ranges of turns, so nothing is ever drawn or stored by row.
//!
//! ```text
//! turns   0 ........ dead(v) ............. rows ............ ids(v)
//!         | deleted  | of version 0, mixed | inserted later, in order of id |
//!                       [ updated by v ]
//! ```

use std::{collections::BTreeMap, ops::Range};

/// The share of the rows of version 0 that each version changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) updates: f64,
    pub(super) deletes: f64,
    pub(super) inserts: f64,
}

/// All versions of one stream.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub(super) seed: u64,
    rows: u64,
    updates: u64,
    deletes: u64,
    inserts: u64,
    mix: Mix,
}

/// A reordering of `0..rows`: `turn = step * number + start`, modulo the rows.
#[derive(Clone, Copy, Debug)]
struct Mix {
    rows: u64,
    step: u64,
    back: u64,
    start: u64,
}

impl Mix {
    fn new(rows: u64, seed: u64) -> Self {
        if rows < 2 {
            return Self {
                rows,
                step: 0,
                back: 0,
                start: 0,
            };
        }
        // Near the golden section of the rows, neighbours come far apart.
        let golden = times(rows, 0.618_033_988_749_895) + mixed(seed) % (rows / 16 + 1);
        let mut step = golden % rows;
        let back = loop {
            match inverse(step, rows) {
                Some(back) => break back,
                None => step = (step + 1) % rows,
            }
        };
        let start = mixed(seed ^ rows) % rows;
        Self {
            rows,
            step,
            back,
            start,
        }
    }

    fn turn(self, number: u64) -> u64 {
        match self.rows {
            0 | 1 => number,
            rows => (product(self.step, number, rows) + self.start) % rows,
        }
    }

    fn number(self, turn: u64) -> u64 {
        match self.rows {
            0 | 1 => turn,
            rows => product(self.back, turn + rows - self.start, rows),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder of a u64 is one")]
fn product(a: u64, b: u64, modulus: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(modulus)) as u64
}

/// What `value` must be multiplied with for 1, modulo `modulus`; `None`: they have a common divisor.
fn inverse(value: u64, modulus: u64) -> Option<u64> {
    let (mut rest, mut next) = (i128::from(modulus), i128::from(value));
    let (mut before, mut factor) = (0, 1);
    while next != 0 {
        let quotient = rest / next;
        (rest, next) = (next, rest - quotient * next);
        (before, factor) = (factor, before - quotient * factor);
    }
    let found = u64::try_from(before.rem_euclid(i128::from(modulus))).ok()?;
    (rest == 1).then_some(found)
}

/// A share of `rows`, rounded.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "rows stay below 2^40 and shares within 0 and 1"
)]
fn times(rows: u64, share: f64) -> u64 {
    (rows as f64 * share).round() as u64
}

/// Every bit of `value` counts in every bit of the result.
#[inline]
pub(super) fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl History {
    pub(super) fn new(seed: u64, rows: u64, share: Share) -> Self {
        Self {
            seed,
            rows,
            updates: times(rows, share.updates),
            deletes: times(rows, share.deletes),
            inserts: times(rows, share.inserts),
            mix: Mix::new(rows, seed),
        }
    }

    /// Ids are 1 to this, dead ones included.
    pub(super) fn ids(&self, version: u64) -> u64 {
        self.rows + version * self.inserts
    }

    /// Turns below this are deleted. A row is there in one version at least, however many are to be deleted.
    pub(super) fn dead(&self, version: u64) -> u64 {
        match version.checked_sub(1) {
            Some(before) => (version * self.deletes).min(self.ids(before)),
            None => 0,
        }
    }

    /// Rows that are there.
    pub(super) fn live(&self, version: u64) -> u64 {
        self.ids(version) - self.dead(version)
    }

    /// The turn of an id.
    pub(super) fn turn(&self, id: u64) -> u64 {
        let number = id - 1;
        if number < self.rows {
            self.mix.turn(number)
        } else {
            number
        }
    }

    /// The id whose turn it is.
    pub(super) fn id(&self, turn: u64) -> u64 {
        1 + if turn < self.rows {
            self.mix.number(turn)
        } else {
            turn
        }
    }

    /// The version that inserted an id.
    pub(super) fn born(&self, id: u64) -> u64 {
        if id <= self.rows {
            0
        } else {
            (id - self.rows).div_ceil(self.inserts.max(1))
        }
    }

    /// The version that deletes a turn.
    pub(super) fn died(&self, turn: u64) -> u64 {
        let born = if turn < self.rows { 0 } else { self.born(turn + 1) };
        match turn.checked_div(self.deletes) {
            Some(by_turn) => by_turn.max(born) + 1,
            None => u64::MAX,
        }
    }

    /// The turns that a version updates: rows that were there before and are there after it.
    fn updated(&self, version: u64) -> [Range<u64>; 2] {
        let (first, end) = (self.dead(version), self.ids(version - 1));
        let there = end.saturating_sub(first);
        let updates = self.updates.min(there);
        if updates == 0 {
            return [0..0, 0..0];
        }
        let from = first + mixed(self.seed ^ mixed(version)) % there;
        let to = from + updates;
        // What reaches beyond the last turn goes on at the first.
        [from..to.min(end), first..first + to.saturating_sub(end)]
    }

    /// When every turn changed last, as of a version.
    pub(super) fn changes(&self, version: u64) -> Changes {
        let mut last = BTreeMap::from([(0, 0)]);
        for version in 1..=version {
            paint(&mut last, self.ids(version - 1)..self.ids(version), version);
            for range in self.updated(version) {
                paint(&mut last, range, version);
            }
        }
        Changes {
            starts: last.keys().copied().collect(),
            versions: last.into_values().collect(),
        }
    }

    /// Turns that are there in `version` and have changed after `after`, in order.
    pub(super) fn changed(&self, changes: &Changes, after: u64, version: u64) -> Vec<Range<u64>> {
        let there = self.dead(version)..self.ids(version);
        let ends = changes.starts.iter().skip(1).copied().chain([there.end]);
        let ranges = changes.starts.iter().zip(ends).zip(&changes.versions);
        ranges
            .filter(|(_, last)| **last > after)
            .map(|((start, end), _)| (*start).max(there.start)..end.min(there.end))
            .filter(|range| !range.is_empty())
            .collect()
    }

    /// Turns that were there in `after` and are not in `version`.
    pub(super) fn deleted(&self, after: u64, version: u64) -> Range<u64> {
        self.dead(after)..self.dead(version).min(self.ids(after))
    }
}

fn paint(last: &mut BTreeMap<u64, u64>, range: Range<u64>, version: u64) {
    if range.is_empty() {
        return;
    }
    let after = last
        .range(..=range.end)
        .next_back()
        .map_or(0, |(_, version)| *version);
    let covered: Vec<u64> = last.range(range.clone()).map(|(start, _)| *start).collect();
    for start in covered {
        last.remove(&start);
    }
    last.insert(range.end, after);
    last.insert(range.start, version);
}

/// When every turn changed last.
#[derive(Clone, Debug)]
pub(super) struct Changes {
    starts: Vec<u64>,
    versions: Vec<u64>,
}

impl Changes {
    /// The version in which a turn changed last.
    #[inline]
    pub(super) fn last(&self, turn: u64) -> u64 {
        match self.versions.as_slice() {
            [only] => *only,
            versions => {
                let number = self.starts.partition_point(|start| *start <= turn);
                versions[number.saturating_sub(1)]
            }
        }
    }
}
