//! A view that moves along an object, and grows to hold one whole record where it must.

use super::compression::Decoded;
use crate::error::{Error, Result};

/// Bytes held at once where records are of ordinary size: fits a core's cache with what is made from it.
pub(crate) const CHUNK: usize = 1 << 20;

/// The next bytes of an object that no record was made from yet.
pub(crate) struct Window {
    input: Decoded,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Where `buffer[start]` stands in the object, its compression undone.
    offset: u64,
    ended: bool,
    limit: usize,
    place: String,
    counted: u64,
}

impl Window {
    /// A view from `offset` on, of records of at most `limit` bytes; `place` is for errors.
    pub(crate) fn new(input: Decoded, offset: u64, limit: usize, place: &str) -> Self {
        let counted = input.position();
        Self {
            input,
            buffer: vec![0; CHUNK.min(limit.max(1))],
            start: 0,
            end: 0,
            offset,
            ended: false,
            limit: limit.max(1),
            place: place.to_owned(),
            counted,
        }
    }

    /// What is in view.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Where the view begins, in the object with its compression undone.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Nothing follows what is in view.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// Moves on.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        self.offset += count as u64;
    }

    /// Bytes read from the object since the last call.
    pub(crate) fn bytes_read(&mut self) -> u64 {
        let position = self.input.position();
        std::mem::replace(&mut self.counted, position).abs_diff(position)
    }

    /// Brings more into view, with what is there at its front. Called when no whole record is in view.
    ///
    /// # Errors
    /// `data` with reason `RecordTooLarge` where the limit is in view already; what reading the object gives.
    pub(crate) async fn fill(&mut self) -> Result<()> {
        self.make_room()?;
        while self.end < self.buffer.len() && !self.ended {
            match self.input.read(&mut self.buffer[self.end..]).await? {
                0 => self.ended = true,
                count => self.end += count,
            }
        }
        Ok(())
    }

    fn make_room(&mut self) -> Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            if self.end >= self.limit {
                return Err(too_large(&self.place, self.offset, self.limit));
            }
            self.buffer.resize((self.end * 2).min(self.limit), 0);
        } else if self.buffer.len() > CHUNK && self.end < CHUNK / 2 {
            // A long record is over: its memory is given back.
            self.buffer.truncate(CHUNK);
            self.buffer.shrink_to_fit();
        }
        Ok(())
    }
}

/// A record beyond the limit.
pub(crate) fn too_large(place: &str, offset: u64, limit: usize) -> Error {
    Error::data(format!(
        "{place}: the record at byte {offset} is larger than {limit} bytes"
    ))
    .reason("RecordTooLarge")
    .advice("raise `maxRecordBytes`; in a CSV file, look for a quote that is opened there and not closed")
}
