//! A growing column of texts or byte strings: one buffer of values, one of offsets.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BinaryArray, BooleanBufferBuilder, NullBufferBuilder, StringArray},
    buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer},
};

use super::column::Unfit;
use crate::error::{Error, Result};

/// Values one after the other.
pub(super) struct Bytes {
    values: Vec<u8>,
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl Bytes {
    pub(super) fn new() -> Self {
        Self {
            values: Vec::new(),
            offsets: vec![0],
            nulls: NullBufferBuilder::new(0),
        }
    }

    /// Appends one value.
    #[inline]
    pub(super) fn push(&mut self, value: &[u8]) -> Result<(), Unfit> {
        self.push_with(|values| values.extend_from_slice(value))
    }

    /// Appends what `write` adds to the buffer, as one value.
    #[inline]
    pub(super) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Unfit> {
        let before = self.values.len();
        write(&mut self.values);
        let Ok(end) = i32::try_from(self.values.len()) else {
            self.values.truncate(before);
            return Err(Unfit::new(
                "a long value",
                "does not fit into one batch with those before it",
            ));
        };
        self.offsets.push(end);
        self.nulls.append_non_null();
        Ok(())
    }

    pub(super) fn push_null(&mut self) {
        self.offsets.push(self.offsets.last().copied().unwrap_or(0));
        self.nulls.append_null();
    }

    pub(super) fn finish_binary(&mut self) -> Result<ArrayRef> {
        let (values, offsets, nulls) = self.take();
        let array = BinaryArray::try_new(OffsetBuffer::new(offsets.into()), values.into(), nulls);
        Ok(Arc::new(array.map_err(|error| Error::bug(error.to_string()))?))
    }

    /// The column, and the rows whose bytes are no UTF-8 (a database in `SQL_ASCII` can hold such).
    pub(super) fn finish_text(&mut self) -> Result<(ArrayRef, Vec<(usize, Unfit)>)> {
        let (values, offsets, nulls) = self.take();
        let values = Buffer::from(values);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        // Verifies all of it at once; which values are to blame is looked up only where one is.
        if let Ok(array) = StringArray::try_new(offsets.clone(), values.clone(), nulls.clone()) {
            return Ok((Arc::new(array), Vec::new()));
        }
        let mut values = values.to_vec();
        let bad = blank_invalid(&mut values, &offsets);
        let mut valid = BooleanBufferBuilder::new(offsets.len() - 1);
        valid.append_n(offsets.len() - 1, true);
        bad.iter().for_each(|(row, _)| valid.set_bit(*row, false));
        let nulls = NullBuffer::union(nulls.as_ref(), Some(&NullBuffer::new(valid.finish())));
        let array = StringArray::try_new(offsets, values.into(), nulls).map_err(Error::bug)?;
        Ok((Arc::new(array), bad))
    }

    fn take(&mut self) -> (Vec<u8>, Vec<i32>, Option<NullBuffer>) {
        // The next batch is most likely as large as this one.
        let (bytes, rows) = (self.values.len(), self.offsets.len());
        let values = std::mem::replace(&mut self.values, Vec::with_capacity(bytes));
        let mut next = Vec::with_capacity(rows);
        next.push(0);
        (
            values,
            std::mem::replace(&mut self.offsets, next),
            self.nulls.finish(),
        )
    }
}

/// Overwrites values that are no UTF-8, which are to be null, with zeros: nobody must read them as text.
fn blank_invalid(values: &mut [u8], offsets: &[i32]) -> Vec<(usize, Unfit)> {
    let mut bad = Vec::new();
    for (row, ends) in offsets.windows(2).enumerate() {
        let place = usize::try_from(ends[0]).unwrap_or(0)..usize::try_from(ends[1]).unwrap_or(0);
        let Some(value) = values.get_mut(place) else {
            continue;
        };
        if std::str::from_utf8(value).is_err() {
            bad.push((row, Unfit::new(String::from_utf8_lossy(value), "is not UTF-8")));
            value.fill(0);
        }
    }
    bad
}
