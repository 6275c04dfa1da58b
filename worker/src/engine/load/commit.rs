//! The end of a load: what was staged becomes what is delivered, or nothing changes.
//!
//! In: a [`Delivery`]. Out: its counts, once the destination has it together with the offset after it. Where nothing is new,
//! nothing is committed.

use jiff::Timestamp;

use super::{Attempt, PORTION};
use crate::{
    connector::{Authority, Position, Range, Staged},
    engine::{
        counts::Counts,
        offset::{Digest, Offset},
        pipeline,
        progress::Phase,
    },
    error::{Context, Error, Result},
    protocol::{self, Commit},
    state::Run,
    types::odcs_fields,
};

/// Everything that a commit takes.
#[derive(Default)]
pub(super) struct Delivery {
    pub(super) counts: Counts,
    pub(super) staged: Vec<Staged>,
    pub(super) dead: std::collections::BTreeMap<String, roaring::RoaringBitmap>,
    pub(super) digest: Option<Digest>,
}

impl Delivery {
    /// The destination counted the rows that it should have been given. Of deletes it may need no row.
    fn is_whole(&self) -> bool {
        let staged: u64 = self.staged.iter().map(|staged| staged.rows).sum();
        let live = self.counts.inserted + self.counts.updated;
        (live..=live + self.counts.deleted).contains(&staged)
    }
}

impl Attempt<'_, '_> {
    /// Commits.
    ///
    /// # Errors
    /// `bug` where it is not all there; whatever keeps the destination from it.
    pub(super) async fn commit(self, mut delivery: Delivery, replace: bool) -> Result<Counts> {
        if !delivery.counts.add_up() {
            return Err(Error::bug(format!(
                "the counts do not add up: {:?}",
                delivery.counts
            )));
        }
        // A dry run stages nothing.
        if self.target.permit.is_some() && !delivery.is_whole() {
            return Err(Error::bug(format!(
                "the destination did not stage what was decided: {:?} of {:?}",
                delivery.staged, delivery.counts
            )));
        }
        // What is gone is written anew.
        let same = delivery.digest.is_some()
            && delivery.digest == self.offset.digest
            && self.target.shard.whole().await.is_ok();
        let first = self.target.offset.is_none();
        let nothing = delivery.counts.delivered() == 0 && delivery.dead.is_empty();
        if !self.setting.dry_run {
            self.pipeline.dead_letters.finish().await.context("dead letter")?;
        }
        let watermark = self.watermark();
        let moved = self.has_moved(watermark.as_ref(), delivery.counts.read);
        if same && !first {
            delivery.counts.unchanged = std::mem::take(&mut delivery.counts.inserted);
        }
        for staged in &delivery.staged {
            delivery.counts.files += staged.files;
            delivery.counts.bytes += staged.bytes;
        }
        if self.setting.dry_run || !first && (same || nothing && !moved && !replace) {
            delivery.counts.files = 0;
            delivery.counts.bytes = 0;
            if let Some(permit) = &self.target.permit {
                self.target.shard.discard(permit, &delivery.staged).await?;
            }
            return Ok(delivery.counts);
        }
        let (offset, cause) = self.next(watermark, delivery.digest);
        self.target.progress.enter(Phase::Committing);
        let Some(permit) = self.target.permit.as_deref_mut() else {
            return Err(Error::bug("a load without a permit came to its commit"));
        };
        let (generation, seq) = permit.next(replace);
        let mut commit = Commit {
            generation,
            seq,
            nonce: protocol::nonce(),
            offset: offset.to_value()?,
            staged: delivery.staged,
            dead: delivery.dead,
            replace,
        };
        self.target.shard.seal(&mut commit).await?;
        let run = Run {
            id: self.setting.run.clone(),
            cause: cause.to_owned(),
        };
        protocol::commit(
            permit,
            self.setting.store.as_ref(),
            self.target.shard.as_ref(),
            commit,
            &run,
        )
        .await?;
        let rewritten = self.target.shard.rewritten();
        delivery.counts.files += rewritten.files;
        delivery.counts.bytes += rewritten.bytes;
        *self.target.offset = Some(offset.clone());
        if let Some(watermark) = &offset.watermark {
            crate::failpoint::hit("ack.before")?;
            self.setting
                .source
                .acknowledge(self.target.stream, watermark)
                .await?;
            crate::failpoint::hit("ack.after")?;
        }
        Ok(delivery.counts)
    }

    /// The offset after this load, and the cause that its commit names.
    fn next(&self, watermark: Option<Position>, digest: Option<Digest>) -> (Offset, &'static str) {
        let now = Some(Timestamp::now().to_string());
        let mut offset = Offset {
            watermark,
            reader: Some(Offset::reader_of(&self.setting.plan)),
            place: self.place(),
            indexed: self.keeps_index(),
            digest,
            schema: odcs_fields(self.pipeline.contract.schema()),
            columns: pipeline::columns(&self.pipeline.schema),
            ..self.offset.clone()
        };
        let cause = match self.range {
            Range::Full => {
                offset.full_load = now;
                "full"
            }
            Range::Delta { .. } => {
                offset.delta_load = now;
                "delta"
            }
            Range::Backfill { .. } => {
                offset.reader.clone_from(&self.offset.reader);
                "backfill"
            }
        };
        (offset, if self.load.goes_on() { PORTION } else { cause })
    }

    /// Where the rows went, if the destination does not tell by itself.
    fn place(&self) -> Option<String> {
        (self.setting.authority != Authority::Destination).then(|| Offset::place_of(&self.setting.plan))
    }

    /// Whether the watermark is worth a commit of its own: rows were passed over, or a delta can follow where none could.
    fn has_moved(&self, watermark: Option<&Position>, read: u64) -> bool {
        let before = self.offset.watermark.as_ref();
        let gained = before.is_none() && watermark.is_some();
        let taken_over = self.offset.reader.is_none() && *self.range == Range::Full;
        taken_over || gained || watermark != before && read > 0 && matches!(self.range, Range::Delta { .. })
    }

    /// A backfill leaves the watermark where it is.
    fn watermark(&self) -> Option<Position> {
        match self.range {
            Range::Backfill { .. } => self.offset.watermark.clone(),
            _ => self.load.watermark().or_else(|| self.offset.watermark.clone()),
        }
    }
}
