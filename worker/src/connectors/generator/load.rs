//! One load of a generated stream: all rows of a version, what changed since another, or a span of time.
//!
//! In: the stream's history and a range. Out: partitions of equal size. Full loads go by id; deltas go straight to the
//! rows that changed, whatever the size of the stream.

use std::{collections::VecDeque, ops, sync::Arc};

use arrow::{array::timezone::Tz, compute::kernels::cast_utils::string_to_datetime, datatypes::SchemaRef};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    Generator,
    history::{Changes, History},
    rows::{self, Row},
};
use crate::{
    connector::{Estimate, Load, Op, Payload, Position, Range, Reader},
    error::{Error, Result},
    rate::RateLimiter,
    stream::StreamSpec,
};

/// Rows in one partition, where the manifest does not say how many there are.
const PARTITION_ROWS: u64 = 500_000;

/// Fixes a load.
pub(super) fn settle(generator: &Generator, stream: &StreamSpec, range: &Range) -> Result<Arc<dyn Load>> {
    let (config, history) = (&generator.config, generator.history(&stream.name));
    let version = config.version;
    let changes = history.changes(version);
    let after = match range {
        Range::Delta { after: Some(after) } => Some(version_of(after)?),
        _ => None,
    };
    let (work, rows, estimate) = match range {
        Range::Full | Range::Delta { after: None } => {
            (Work::All(None), history.ids(version), Some(history.live(version)))
        }
        Range::Backfill { from, to } => (
            Work::All(Some(moment(from)?..moment(to)?)),
            history.ids(version),
            None,
        ),
        Range::Delta { .. } => {
            let pieces = pieces(
                &history,
                &changes,
                after.unwrap_or_default(),
                version,
                config.delta_deletes,
            );
            let rows = pieces.iter().map(Piece::len).sum();
            (Work::Pieces(pieces), rows, Some(rows))
        }
    };
    let by_size = usize::try_from(rows / PARTITION_ROWS + 1)
        .unwrap_or(usize::MAX)
        .min(64);
    Ok(Arc::new(GeneratorLoad {
        common: Arc::new(Common {
            history,
            changes,
            version,
            after,
            batch_rows: config.batch_rows,
            limiter: generator.limiter.clone(),
        }),
        work,
        rows,
        partitions: stream.partitions.unwrap_or(by_size).max(1),
        estimate,
    }))
}

/// What a delta after `after` holds.
fn pieces(history: &History, changes: &Changes, after: u64, version: u64, deletes: bool) -> Vec<Piece> {
    let changed = history.changed(changes, after, version).into_iter();
    let mut pieces: Vec<Piece> = changed.map(|turns| Piece { turns, gone: false }).collect();
    if deletes {
        let turns = history.deleted(after, version);
        pieces.push(Piece { turns, gone: true });
    }
    pieces
}

fn version_of(after: &Position) -> Result<u64> {
    after.get("version").and_then(Position::as_u64).ok_or_else(|| {
        Error::config(format!("the watermark {after} is none of a generator"))
            .advice("write it as {\"version\": 0}")
    })
}

fn moment(text: &str) -> Result<i64> {
    let moment = "+00:00"
        .parse::<Tz>()
        .and_then(|utc| string_to_datetime(&utc, text));
    let wrong = |error| Error::config(format!("`{text}` is no value of {}: {error}", rows::CURSOR));
    Ok(moment.map_err(wrong)?.timestamp_micros())
}

struct GeneratorLoad {
    common: Arc<Common>,
    work: Work,
    /// Ids or turns to go through.
    rows: u64,
    partitions: usize,
    estimate: Option<u64>,
}

/// What all readers of a load share.
struct Common {
    history: History,
    changes: Changes,
    version: u64,
    after: Option<u64>,
    batch_rows: usize,
    limiter: RateLimiter,
}

enum Work {
    /// Every id, or those whose cursor is within a span.
    All(Option<ops::Range<i64>>),
    /// The turns that changed.
    Pieces(Vec<Piece>),
}

/// Turns that are there, or that are gone.
#[derive(Clone, Debug)]
struct Piece {
    turns: ops::Range<u64>,
    gone: bool,
}

impl Piece {
    fn len(&self) -> u64 {
        self.turns.end.saturating_sub(self.turns.start)
    }
}

#[async_trait]
impl Load for GeneratorLoad {
    fn schema(&self) -> SchemaRef {
        rows::schema()
    }

    fn partitions(&self) -> usize {
        self.partitions
    }

    /// A version that was lowered again does not lower what was read.
    fn watermark(&self) -> Option<Position> {
        let version = self.common.version.max(self.common.after.unwrap_or_default());
        Some(json!({ "version": version }))
    }

    /// All rows follow from the manifest and the version.
    fn ticket(&self) -> Option<Value> {
        Some(json!({ "version": self.common.version, "partitions": self.partitions }))
    }

    fn estimate(&self) -> Estimate {
        Estimate {
            rows: self.estimate,
            bytes: None,
        }
    }

    async fn read(&self, partition: usize) -> Result<Box<dyn Reader>> {
        let (number, of) = (partition as u128, self.partitions as u128);
        let bound = |number: u128| u64::try_from(u128::from(self.rows) * number / of).unwrap_or(self.rows);
        let part = bound(number)..bound(number + 1);
        let left = match &self.work {
            Work::All(span) => Left::Ids(part.start + 1..part.end + 1, span.clone()),
            Work::Pieces(pieces) => Left::Pieces(cut(pieces, &part)),
        };
        Ok(Box::new(GeneratorReader {
            common: self.common.clone(),
            left,
        }))
    }
}

/// The part of the pieces that a partition reads, counted through all of them.
fn cut(pieces: &[Piece], part: &ops::Range<u64>) -> VecDeque<Piece> {
    let mut first = 0;
    let mut cut = VecDeque::new();
    for piece in pieces {
        let (start, len) = (piece.turns.start, piece.len());
        let from = part.start.clamp(first, first + len) - first;
        let to = part.end.clamp(first, first + len) - first;
        if from < to {
            let turns = start + from..start + to;
            cut.push_back(Piece { turns, ..*piece });
        }
        first += len;
    }
    cut
}

struct GeneratorReader {
    common: Arc<Common>,
    left: Left,
}

/// What is left to read.
enum Left {
    Ids(ops::Range<u64>, Option<ops::Range<i64>>),
    Pieces(VecDeque<Piece>),
}

#[async_trait]
impl Reader for GeneratorReader {
    async fn next(&mut self) -> Result<Option<Payload>> {
        self.common.limiter.wait().await;
        let (rows, ops) = match &mut self.left {
            Left::Ids(ids, span) => (self.common.scan(ids, span.as_ref()), None),
            Left::Pieces(pieces) => self.common.take(pieces),
        };
        if rows.is_empty() {
            return Ok(None);
        }
        let batch = rows::build(&rows, self.common.history.seed)?;
        Ok(Some(Payload {
            bytes: batch.get_array_memory_size() as u64,
            ops,
            ..Payload::new(batch)
        }))
    }
}

impl Common {
    /// The next live rows by id, those of a span where one is asked for.
    fn scan(&self, ids: &mut ops::Range<u64>, span: Option<&ops::Range<i64>>) -> Vec<Row> {
        let dead = self.history.dead(self.version);
        let mut rows = Vec::with_capacity(self.batch_rows);
        for id in ids.by_ref() {
            let turn = self.history.turn(id);
            if turn < dead {
                continue;
            }
            let row = self.row(id, turn);
            if span.is_none_or(|span| span.contains(&row.updated_at(self.history.seed))) {
                rows.push(row);
            }
            if rows.len() == self.batch_rows {
                break;
            }
        }
        rows
    }

    /// The next rows that changed, and what became of each.
    fn take(&self, pieces: &mut VecDeque<Piece>) -> (Vec<Row>, Option<Vec<Op>>) {
        let mut rows = Vec::with_capacity(self.batch_rows);
        let mut ops = Vec::with_capacity(self.batch_rows);
        while let Some(piece) = pieces.front_mut() {
            for turn in piece.turns.by_ref().take(self.batch_rows - rows.len()) {
                let row = self.row(self.history.id(turn), turn);
                let row = Row {
                    changed: if piece.gone {
                        self.history.died(turn)
                    } else {
                        row.version
                    },
                    ..row
                };
                ops.push(match piece.gone {
                    true => Op::Delete,
                    false if Some(row.born) > self.after => Op::Insert,
                    false => Op::Update,
                });
                rows.push(row);
            }
            if rows.len() == self.batch_rows {
                break;
            }
            pieces.pop_front();
        }
        let deletes = ops.contains(&Op::Delete);
        (rows, deletes.then_some(ops))
    }

    fn row(&self, id: u64, turn: u64) -> Row {
        let version = self.changes.last(turn);
        Row {
            id,
            born: self.history.born(id),
            version,
            changed: version,
        }
    }
}
