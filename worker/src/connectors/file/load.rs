//! One load of a stream of files: a fixed list of parts, each a run of byte ranges in the order of the files.

use std::{ops::Range, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    cursor::{cursor_after, cursor_between},
    inspect::{Inspected, Layout},
};
use crate::{
    connector::{Estimate, Load, Payload, Position, Reader},
    error::{Context, Result},
    formats::{
        Place,
        compression::{Compression, Decoded},
        csv::{CsvReader, split},
        ndjson::{self, NdjsonReader},
        parquet::ParquetReader,
        window::Window,
    },
    storage::{Object, Storage},
};

/// A file below this size is read in one piece: opening more costs more than it saves.
const SMALLEST_PIECE: u64 = 8 << 20;

/// A load of files.
pub(super) struct FileLoad {
    pub(super) storage: Storage,
    pub(super) schema: SchemaRef,
    pub(super) parts: Vec<Vec<Segment>>,
    pub(super) watermark: Option<Position>,
    pub(super) filter: Option<Arc<Filter>>,
    pub(super) record_limit: usize,
    pub(super) ticket: Ticket,
}

/// What another process needs to cut the same files into the same parts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ticket {
    pub(super) files: Vec<Object>,
    pub(super) parts: usize,
}

/// A range of one file: of bytes, or of row groups.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    file: Arc<Inspected>,
    range: Range<u64>,
    bytes: u64,
}

/// Which rows of the files are wanted.
pub(super) enum Filter {
    /// Rows after a position.
    After(Vec<String>, Position),
    /// Rows within a range of one column.
    Between(String, String, String),
}

impl Filter {
    fn apply(&self, payload: Payload) -> Result<Payload> {
        match self {
            Self::After(columns, position) => match cursor_after(&payload.batch, columns, position)? {
                Some(after) => payload.keep(&after),
                None => Ok(payload),
            },
            Self::Between(column, from, to) => {
                let within = cursor_between(&payload.batch, column, from, to)?;
                payload.keep(&within)
            }
        }
    }
}

/// Cuts files into parts of about the same size, in their order.
///
/// # Errors
/// What reading a file gives.
pub(super) async fn parts(
    storage: &Storage,
    files: Vec<Inspected>,
    count: usize,
) -> Result<Vec<Vec<Segment>>> {
    let count = count.max(1) as u64;
    let total: u64 = files.iter().map(|file| file.object.size).sum();
    let target = (total / count).max(SMALLEST_PIECE);
    let mut segments = Vec::new();
    for file in files {
        let pieces = (file.object.size.div_ceil(target)).min(count);
        let place = storage.url_of(&file.object.key);
        segments.extend(cut(storage, Arc::new(file), pieces).await.context(place)?);
    }
    Ok(deal(segments, count))
}

/// Consecutive segments to each part, so that the parts are in the order of the source.
fn deal(segments: Vec<Segment>, count: u64) -> Vec<Vec<Segment>> {
    let total: u64 = segments.iter().map(|segment| segment.bytes).sum::<u64>().max(1);
    let mut parts: Vec<Vec<Segment>> = vec![Vec::new(); usize::try_from(count).unwrap_or(1)];
    let (last, mut before) = (parts.len() - 1, 0);
    for segment in segments {
        let middle = before + segment.bytes / 2;
        before += segment.bytes;
        let part = u128::from(middle) * u128::from(count) / u128::from(total);
        parts[usize::try_from(part).unwrap_or(last).min(last)].push(segment);
    }
    parts.retain(|part| !part.is_empty());
    if parts.is_empty() { vec![Vec::new()] } else { parts }
}

/// The segments of one file, at most `pieces`.
async fn cut(storage: &Storage, file: Arc<Inspected>, pieces: u64) -> Result<Vec<Segment>> {
    let plain = file.compression == Compression::None;
    let object = &file.object;
    let (ranges, bytes_each) = match &file.layout {
        Layout::Empty => (Vec::new(), false),
        Layout::Parquet(footer) => return Ok(groups(&file, &footer.groups(), pieces)),
        Layout::Csv(csv, header) => {
            let whole = if plain {
                header.data..object.size
            } else {
                0..object.size
            };
            let local = storage.local_path(&object.key)?.is_some();
            if plain && pieces > 1 && split::possible(csv, local) {
                (split::ranges(storage, object, whole, pieces, csv).await?, true)
            } else {
                (vec![whole], true)
            }
        }
        Layout::Ndjson if plain && pieces > 1 && storage.lists() => {
            (ndjson::ranges(storage, object, pieces).await?, true)
        }
        Layout::Ndjson => (std::iter::once(0..object.size).collect(), true),
    };
    let segment = |range: Range<u64>| Segment {
        bytes: if bytes_each { range.end - range.start } else { 0 },
        file: file.clone(),
        range,
    };
    Ok(ranges.into_iter().map(segment).collect())
}

/// Row groups, dealt by their size.
fn groups(file: &Arc<Inspected>, sizes: &[u64], pieces: u64) -> Vec<Segment> {
    let each = (sizes.iter().sum::<u64>() / pieces.max(1)).max(1);
    let mut segments: Vec<Segment> = Vec::new();
    for (index, bytes) in sizes.iter().enumerate() {
        let index = index as u64;
        match segments.last_mut() {
            Some(last) if last.bytes < each => {
                last.range.end = index + 1;
                last.bytes += bytes;
            }
            _ => segments.push(Segment {
                file: file.clone(),
                range: index..index + 1,
                bytes: *bytes,
            }),
        }
    }
    segments
}

#[async_trait]
impl Load for FileLoad {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn partitions(&self) -> usize {
        self.parts.len()
    }

    fn watermark(&self) -> Option<Position> {
        self.watermark.clone()
    }

    /// A file of this machine may be another one on the next.
    fn ticket(&self) -> Option<Value> {
        let far = self.storage.local_path("").is_ok_and(|path| path.is_none());
        far.then(|| serde_json::to_value(&self.ticket).ok()).flatten()
    }

    fn estimate(&self) -> Estimate {
        let segments = self.parts.iter().flatten();
        let mut rows = Some(0);
        let mut bytes = 0;
        for segment in segments {
            bytes += segment.bytes;
            rows = match (&segment.file.layout, rows) {
                (Layout::Parquet(footer), Some(rows)) => Some(rows + footer.rows(segment.range.clone())),
                _ => None,
            };
        }
        let rows = rows.filter(|_| bytes > 0);
        Estimate {
            rows,
            bytes: Some(bytes),
        }
    }

    async fn read(&self, partition: usize) -> Result<Box<dyn Reader>> {
        let segments = self.parts.get(partition).cloned().unwrap_or_default();
        Ok(Box::new(PartReader {
            opener: Opener {
                storage: self.storage.clone(),
                schema: self.schema.clone(),
                record_limit: self.record_limit,
            },
            segments: segments.into_iter(),
            current: None,
            filter: self.filter.clone(),
        }))
    }
}

/// Reads the segments of one part, one after the other.
struct PartReader {
    opener: Opener,
    segments: std::vec::IntoIter<Segment>,
    current: Option<Box<dyn Reader>>,
    filter: Option<Arc<Filter>>,
}

/// What a segment is opened with.
struct Opener {
    storage: Storage,
    schema: SchemaRef,
    record_limit: usize,
}

impl Opener {
    fn open(&self, segment: &Segment) -> Result<Box<dyn Reader>> {
        let Inspected {
            object,
            compression,
            layout,
        } = &*segment.file;
        let place = self.storage.url_of(&object.key);
        let window = || -> Result<Window> {
            let input = self.storage.read(object, segment.range.clone())?;
            let decoded = Decoded::new(input, *compression)?;
            Ok(Window::new(
                decoded,
                segment.range.start,
                self.record_limit,
                &place,
            ))
        };
        Ok(match layout {
            Layout::Csv(csv, header) => {
                let plain = *compression == Compression::None;
                let first = !plain || segment.range.start == header.data;
                let line = first.then_some(if plain { header.lines + 1 } else { 1 });
                let at = Place::new(&place, segment.range.start, line);
                let skip = if plain { 0 } else { header.data };
                let reader = CsvReader::new(window()?, csv.clone(), self.schema.clone(), header, at);
                Box::new(reader.skip(skip))
            }
            Layout::Ndjson => {
                let line = (segment.range.start == 0).then_some(1);
                let at = Place::new(&place, segment.range.start, line);
                Box::new(NdjsonReader::new(window()?, self.schema.clone(), at))
            }
            Layout::Parquet(footer) => Box::new(ParquetReader::open(
                &self.storage,
                object,
                footer,
                segment.range.clone(),
                &self.schema,
            )?),
            Layout::Empty => Box::new(Nothing),
        })
    }
}

#[async_trait]
impl Reader for PartReader {
    async fn next(&mut self) -> Result<Option<Payload>> {
        loop {
            if let Some(current) = &mut self.current {
                match current.next().await? {
                    Some(payload) => {
                        return match &self.filter {
                            Some(filter) => filter.apply(payload).map(Some),
                            None => Ok(Some(payload)),
                        };
                    }
                    None => self.current = None,
                }
            }
            let Some(segment) = self.segments.next() else {
                return Ok(None);
            };
            self.current = Some(self.opener.open(&segment)?);
        }
    }
}

/// An empty file.
struct Nothing;

#[async_trait]
impl Reader for Nothing {
    async fn next(&mut self) -> Result<Option<Payload>> {
        Ok(None)
    }
}
