//! A growing column of arrays.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, ListArray, NullBufferBuilder},
    buffer::{OffsetBuffer, ScalarBuffer},
    datatypes::FieldRef,
};

use super::{
    super::types::Kind,
    column::{Builder, Unfit, malformed},
};
use crate::error::{Error, Result};

/// A column of arrays with one dimension.
pub(super) struct List {
    items: Builder,
    field: FieldRef,
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
    len: i32,
}

impl List {
    pub(super) fn new(item: &Kind) -> Self {
        let field: FieldRef = Arc::new(item.field("item", true));
        Self {
            items: Builder::new(item),
            field,
            offsets: vec![0],
            nulls: NullBufferBuilder::new(0),
            len: 0,
        }
    }

    fn end(&mut self) {
        self.offsets.push(self.len);
    }

    pub(super) fn push_null(&mut self) {
        self.end();
        self.nulls.append_null();
    }

    /// Dimensions, a flag, the type of the items; for each dimension a length and a lower bound; the items.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Unfit> {
        let (header, rest) = bytes.split_first_chunk::<12>().ok_or_else(malformed)?;
        match i32::from_be_bytes([header[0], header[1], header[2], header[3]]) {
            0 => {}
            1 => {
                let (bounds, items) = rest.split_first_chunk::<8>().ok_or_else(malformed)?;
                let count = i32::from_be_bytes([bounds[0], bounds[1], bounds[2], bounds[3]]);
                self.push_items(items, count)?;
            }
            _ => {
                return Err(Unfit::new(
                    "an array of several dimensions",
                    "stands in a column that is declared with one; declare the column as `[][]` to read it as JSON",
                ));
            }
        }
        self.end();
        self.nulls.append_non_null();
        Ok(())
    }

    /// Appends the items. Those before one that does not fit stay behind in the child, outside of every list.
    fn push_items(&mut self, mut rest: &[u8], count: i32) -> Result<(), Unfit> {
        let mut pushed = 0;
        let result = (|| {
            for _ in 0..count {
                let (length, after) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
                let length = i32::from_be_bytes(*length);
                if length == -1 {
                    self.items.push_null();
                    rest = after;
                } else {
                    let length = usize::try_from(length).map_err(|_| malformed())?;
                    let (item, after) = after.split_at_checked(length).ok_or_else(malformed)?;
                    self.items.push(item)?;
                    rest = after;
                }
                pushed += 1;
            }
            Ok(())
        })();
        self.len = self
            .len
            .checked_add(pushed)
            .ok_or_else(|| Unfit::new("a long array", "does not fit"))?;
        result
    }

    pub(super) fn finish(&mut self) -> Result<(ArrayRef, Vec<(usize, Unfit)>)> {
        let (items, bad_items) = self.items.finish()?;
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        self.len = 0;
        let mut bad = Vec::new();
        for (item, unfit) in bad_items {
            let row = offsets.partition_point(|end| usize::try_from(*end).is_ok_and(|end| end <= item)) - 1;
            bad.push((row, unfit));
        }
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let array = ListArray::try_new(self.field.clone(), offsets, items, self.nulls.finish())
            .map_err(|error| Error::bug(error.to_string()))?;
        Ok((Arc::new(array), bad))
    }
}
