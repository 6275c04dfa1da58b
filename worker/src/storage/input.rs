//! Reading a byte range of an object from front to back.

use std::{collections::VecDeque, fs::File, ops::Range, os::unix::fs::FileExt, path::Path, time::Duration};

use bytes::{Buf, Bytes};
use futures::{StreamExt, stream::BoxStream};
use object_store::{GetOptions, ObjectStore};
use tokio::task::JoinHandle;

use super::{
    Object,
    fault::explain,
    remote::{Remote, shorter},
};
use crate::error::{Context, Error, Result};

/// One request of a remote read. Small enough to be retried cheaply, large enough to hide the round trip.
const PIECE: u64 = 4 << 20;
/// Requests under way beside the piece that is being read.
const AHEAD: usize = 2;
/// How long a server may take for the next bytes.
const STALL: Duration = Duration::from_mins(1);

/// A byte range of an object, read from front to back with bounded memory.
pub struct Input {
    place: String,
    range: Range<u64>,
    from: From,
}

enum From {
    File(File),
    /// Byte ranges, requested ahead.
    Pieces {
        remote: Remote,
        object: Object,
        next: u64,
        under_way: VecDeque<JoinHandle<Result<Bytes>>>,
        rest: Bytes,
    },
    /// One request: the server may not know byte ranges.
    Whole {
        remote: Remote,
        object: Object,
        stream: Option<BoxStream<'static, object_store::Result<Bytes>>>,
        rest: Bytes,
    },
}

impl Input {
    pub(super) fn local(path: &Path, range: Range<u64>) -> Result<Self> {
        let place = path.display().to_string();
        let file = File::open(path).context(format!("cannot read {place}"))?;
        Ok(Self {
            place,
            range,
            from: From::File(file),
        })
    }

    pub(super) fn remote(remote: &Remote, object: &Object, range: Range<u64>) -> Self {
        let (remote, object) = (remote.clone(), object.clone());
        let place = remote.url_of(&object.key);
        let from = if remote.lists() {
            let next = range.start;
            From::Pieces {
                remote,
                object,
                next,
                under_way: VecDeque::new(),
                rest: Bytes::new(),
            }
        } else {
            From::Whole {
                remote,
                object,
                stream: None,
                rest: Bytes::new(),
            }
        };
        Self { place, range, from }
    }

    /// The place in the object of the next byte.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.range.start
    }

    /// Bytes to come.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }

    /// Reads some of the next bytes to the front of `out`; 0: the range is at its end (or `out` is empty).
    ///
    /// # Errors
    /// As [`super::Storage::get_range`].
    pub async fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        let want = usize::try_from(self.remaining())
            .unwrap_or(usize::MAX)
            .min(out.len());
        if want == 0 {
            return Ok(0);
        }
        let out = &mut out[..want];
        let read = match &mut self.from {
            From::File(file) => file
                .read_at(out, self.range.start)
                .context(format!("cannot read {}", self.place))?,
            From::Pieces {
                remote,
                object,
                next,
                under_way,
                rest,
            } => {
                while rest.is_empty() {
                    request(remote, object, next, self.range.end, under_way);
                    *rest = match under_way.pop_front() {
                        Some(piece) => piece.await.map_err(Error::bug)??,
                        None => break,
                    };
                }
                take(rest, out)
            }
            From::Whole {
                remote,
                object,
                stream,
                rest,
            } => {
                while rest.is_empty() {
                    match whole(remote, object, stream, self.range.start, &self.place).await? {
                        Some(bytes) => *rest = bytes,
                        None => break,
                    }
                }
                take(rest, out)
            }
        };
        if read == 0 {
            return Err(shorter(&self.place));
        }
        self.range.start += read as u64;
        Ok(read)
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let From::Pieces { under_way, .. } = &self.from {
            under_way.iter().for_each(JoinHandle::abort);
        }
    }
}

fn take(rest: &mut Bytes, out: &mut [u8]) -> usize {
    let count = rest.len().min(out.len());
    rest.copy_to_slice(&mut out[..count]);
    count
}

/// Sends requests until enough are under way.
fn request(
    remote: &Remote,
    object: &Object,
    next: &mut u64,
    end: u64,
    under_way: &mut VecDeque<JoinHandle<Result<Bytes>>>,
) {
    while under_way.len() <= AHEAD && *next < end {
        let range = *next..end.min(*next + PIECE);
        *next = range.end;
        let (remote, object) = (remote.clone(), object.clone());
        under_way.push_back(tokio::spawn(async move {
            remote
                .get_range(&object.key, range, object.version.as_deref())
                .await
        }));
    }
}

/// The next bytes of a whole object; the first `skip` bytes are passed over where the read begins later.
async fn whole(
    remote: &Remote,
    object: &Object,
    stream: &mut Option<BoxStream<'static, object_store::Result<Bytes>>>,
    skip: u64,
    place: &str,
) -> Result<Option<Bytes>> {
    let fail = |error| explain(place, "read", error);
    let slow = |_| Error::transient(format!("{place}: no answer for {} s", STALL.as_secs()));
    let mut to_skip = 0;
    if stream.is_none() {
        let path = remote.path(&object.key)?;
        let store = remote.store();
        let get = store.get_opts(&path, GetOptions::default());
        let answer = tokio::time::timeout(STALL, get)
            .await
            .map_err(slow)?
            .map_err(fail)?;
        to_skip = skip;
        *stream = Some(answer.into_stream());
    }
    let Some(stream) = stream else { return Ok(None) };
    loop {
        let Some(bytes) = tokio::time::timeout(STALL, stream.next()).await.map_err(slow)? else {
            return Ok(None);
        };
        let mut bytes = bytes.map_err(fail)?;
        let pass = usize::try_from(to_skip).unwrap_or(usize::MAX).min(bytes.len());
        bytes.advance(pass);
        to_skip -= pass as u64;
        if !bytes.is_empty() {
            return Ok(Some(bytes));
        }
    }
}
