//! The counts of one load, which add up: every row that was read has one outcome.

use serde::{Deserialize, Serialize};

use crate::diff::decide::Decided;

/// Rows of one stream in one run, by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Rows read from the source.
    pub read: u64,
    /// New rows delivered.
    pub inserted: u64,
    /// New versions delivered.
    pub updated: u64,
    /// Deletes delivered, those found by absence included.
    pub deleted: u64,
    /// Rows that are delivered already.
    pub unchanged: u64,
    /// Rows of which a later version came in the same load.
    pub superseded: u64,
    /// Rows that a transform's filter dropped.
    pub filtered: u64,
    /// Rows in the dead letter.
    pub refused: u64,
    /// Those of `refused` of which not even the key could be read. A full load with such rows finds no deletes: any row
    /// that seems to be gone may be one of them.
    pub unknown: u64,
    /// Deletes that a full load found by absence: part of `deleted`, and of no row that was read.
    pub absent: u64,
    /// Files written.
    pub files: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Seconds from the first call to the source until the commit.
    pub seconds: f64,
}

impl Counts {
    /// Adds what the comparison decided.
    pub fn decided(&mut self, decided: Decided) {
        self.inserted += decided.inserted;
        self.updated += decided.updated;
        self.deleted += decided.deleted + decided.absent;
        self.absent += decided.absent;
        self.unchanged += decided.unchanged;
        self.superseded += decided.superseded;
        self.filtered += decided.filtered;
    }

    /// Adds the counts of another part of the same load.
    pub fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.deleted += other.deleted;
        self.unchanged += other.unchanged;
        self.superseded += other.superseded;
        self.filtered += other.filtered;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.absent += other.absent;
        self.files += other.files;
        self.bytes += other.bytes;
        self.seconds += other.seconds;
    }

    /// Rows that the destination should have been given.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.inserted + self.updated + self.deleted
    }

    /// Every row that was read has exactly one outcome.
    #[must_use]
    pub fn add_up(&self) -> bool {
        let read_deletes = self.deleted - self.absent;
        self.read
            == self.inserted
                + self.updated
                + read_deletes
                + self.unchanged
                + self.superseded
                + self.filtered
                + self.refused
    }
}
