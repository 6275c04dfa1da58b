//! What is known of rows that are not delivered: whose they are, and which version.
//!
//! In: the key and the order of rows as they were before any transform. Out: hashes, by which a load knows that such a
//! row was there.

use arrow::{
    array::{Array, ArrayRef, UInt32Array},
    compute::take,
};

use super::ordered;
use crate::{diff::hash, error::Result};

/// What is known of a row that is not delivered.
#[derive(Clone, Debug)]
pub struct Hidden {
    /// The hash of its key; 0 where the stream has none.
    pub identity: u128,
    /// Its cursor, as bytes that compare.
    pub cursor: Box<[u8]>,
    /// Its number within the partition.
    pub place: u64,
}

/// The key and the order of rows as they were before any transform.
pub(super) struct Rows {
    pub(super) key: Vec<ArrayRef>,
    pub(super) order: Vec<ArrayRef>,
    pub(super) first: u64,
    /// Their numbers in the payload, where rows may have been refused between them.
    pub(super) numbers: Vec<u32>,
}

impl Rows {
    /// What is known of some of the rows, whose key may hold nulls: those are left out.
    pub(super) fn hidden(&self, rows: &[u32]) -> Result<Vec<Hidden>> {
        let rows: Vec<u32> = rows
            .iter()
            .copied()
            .filter(|row| self.key.iter().all(|column| column.is_valid(*row as usize)))
            .collect();
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let picked = UInt32Array::from(rows.clone());
        let pick = |columns: &[ArrayRef]| {
            columns
                .iter()
                .map(|column| take(column, &picked, None))
                .collect::<Result<Vec<_>, _>>()
        };
        let identities = match self.key.as_slice() {
            [] => vec![0; rows.len()],
            key => hash::identities(&pick(key)?, rows.len())?,
        };
        let cursors = ordered(&pick(&self.order)?)?;
        let hidden = rows.iter().enumerate().map(|(at, row)| Hidden {
            identity: identities[at],
            cursor: cursors
                .as_ref()
                .map_or_else(Box::default, |cursors| cursors.row(at).as_ref().into()),
            place: self.first + u64::from(self.numbers[*row as usize]),
        });
        Ok(hidden.collect())
    }
}
