//! The bounded channel between a reader and what follows: it blocks, it never drops.
//!
//! In: payloads. Out: the same, in order. Two limits hold at once: rows of one reader (`bufferLength`) and bytes of
//! all Flows at work (the [`Budget`], from the memory that the process may use).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::{
    connector::Payload,
    error::{Error, Result},
};

/// Bytes that may wait in all channels together, of whatever Flow; clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    kilobytes: Arc<Semaphore>,
    limit: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self::from_container()
    }
}

impl Budget {
    /// A quarter of what the container may use, 16 to 64 MiB; 64 MiB where nothing is set.
    #[must_use]
    pub fn from_container() -> Self {
        // Where the manifest of a pod says it; a container need not see its own limit.
        let told = std::env::var("MILLRACE_MEMORY_LIMIT").ok();
        let limit = told.and_then(|told| told.trim().parse::<u64>().ok());
        let limit = limit.or_else(from_cgroup);
        Self::new(limit.map_or(64 << 20, |limit| (limit / 4).clamp(16 << 20, 64 << 20)))
    }

    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let limit = u32::try_from(bytes / 1024).unwrap_or(u32::MAX).max(1);
        Self {
            kilobytes: Arc::new(Semaphore::new(limit as usize)),
            limit,
        }
    }

    async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit> {
        // A payload larger than the whole budget passes alone.
        let kilobytes = u32::try_from(bytes / 1024 + 1)
            .unwrap_or(u32::MAX)
            .min(self.limit);
        take(&self.kilobytes, kilobytes).await
    }
}

fn from_cgroup() -> Option<u64> {
    let places = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    places
        .into_iter()
        .find_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok())
}

async fn take(semaphore: &Arc<Semaphore>, permits: u32) -> Result<OwnedSemaphorePermit> {
    semaphore
        .clone()
        .acquire_many_owned(permits)
        .await
        .map_err(|_| Error::bug("a channel's limit was closed"))
}

/// The reading side's end.
pub struct Sender {
    to: mpsc::Sender<Waiting>,
    rows: Arc<Semaphore>,
    limit: u32,
    budget: Budget,
}

/// The writing side's end.
pub struct Receiver(mpsc::Receiver<Waiting>);

struct Waiting {
    item: Item,
    _room: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

/// What passes from a reader: which partition it is of, and the payload or the explicit end.
pub enum Item {
    /// Rows of a partition.
    Payload(usize, Box<Payload>),
    /// A partition was read to its end.
    End(usize),
}

/// A channel for at most `rows` rows, within `budget`.
#[must_use]
pub fn channel(rows: u32, budget: &Budget) -> (Sender, Receiver) {
    let (to, from) = mpsc::channel(1024);
    let limit = rows.max(1);
    let rows = Arc::new(Semaphore::new(limit as usize));
    (
        Sender {
            to,
            rows,
            limit,
            budget: budget.clone(),
        },
        Receiver(from),
    )
}

impl Sender {
    /// Waits for room, then sends; `false`: the other side is gone, and reading on is useless.
    ///
    /// # Errors
    /// `bug` where the limits were closed.
    pub async fn send(&self, partition: usize, payload: Payload) -> Result<bool> {
        let rows = u32::try_from(payload.batch.num_rows())
            .unwrap_or(u32::MAX)
            .clamp(1, self.limit);
        let rows = take(&self.rows, rows).await?;
        let bytes = self.budget.take(payload.batch.get_array_memory_size()).await?;
        let waiting = Waiting {
            item: Item::Payload(partition, Box::new(payload)),
            _room: Some((rows, bytes)),
        };
        Ok(self.to.send(waiting).await.is_ok())
    }

    /// Says that a partition has ended.
    pub async fn end(&self, partition: usize) -> bool {
        self.to
            .send(Waiting {
                item: Item::End(partition),
                _room: None,
            })
            .await
            .is_ok()
    }
}

impl Receiver {
    /// The next item; `None`: the reader is gone. Its room is free again once the item is taken.
    pub async fn next(&mut self) -> Option<Item> {
        self.0.recv().await.map(|waiting| waiting.item)
    }
}
