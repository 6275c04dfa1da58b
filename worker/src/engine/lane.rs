//! A lane: one reader thread and one working thread, joined by a bounded channel.
//!
//! In: a [`Load`] whose partitions are dealt to the lanes one by one ([`Deal`]). Out: each lane's [`Work`], full of rows. Threads
//! of their own, since both sides compute: a connector may decode and a stage may compress without starving anybody.
//! Not the runtime's threads for what blocks: these are limited, and readers that hold all of them would wait for ever
//! for those who take their rows.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
};

use super::{
    channel::{Budget, Item, Receiver, Sender, channel},
    progress::Progress,
};
use crate::{
    connector::{Load, Payload},
    error::{Context, Error, Result},
};

/// What a lane does with the rows that its reader yields.
pub trait Work: Send + 'static {
    /// Takes one payload of a partition.
    ///
    /// # Errors
    /// Stops the load.
    fn take(&mut self, partition: usize, payload: Payload, runtime: &Handle) -> Result<()>;
    /// A partition has ended.
    ///
    /// # Errors
    /// Stops the load.
    fn end(&mut self, _partition: usize) -> Result<()> {
        Ok(())
    }
}

/// Which part comes next, for lanes that are free.
#[async_trait]
pub trait Deal: Send + Sync {
    /// The number of a part that nobody else reads; `None`: nothing is left.
    ///
    /// # Errors
    /// Stops the load.
    async fn next(&self) -> Result<Option<usize>>;
    /// No further part is wanted.
    fn stop(&self);
}

/// Parts in their order.
pub struct InOrder {
    next: AtomicUsize,
    end: usize,
}

impl InOrder {
    /// All parts of a load.
    #[must_use]
    pub fn all(load: &dyn Load) -> Arc<Self> {
        Arc::new(Self {
            next: AtomicUsize::new(0),
            end: load.partitions(),
        })
    }

    /// One part alone.
    #[must_use]
    pub fn one(part: usize) -> Arc<Self> {
        Arc::new(Self {
            next: AtomicUsize::new(part),
            end: part + 1,
        })
    }
}

#[async_trait]
impl Deal for InOrder {
    async fn next(&self) -> Result<Option<usize>> {
        let part = self.next.fetch_add(1, Ordering::Relaxed);
        Ok((part < self.end).then_some(part))
    }

    fn stop(&self) {
        self.next.store(usize::MAX / 2, Ordering::Relaxed);
    }
}

/// Limits of all lanes of a load.
pub struct Limits {
    /// Rows that may wait in one lane.
    pub buffer_rows: u32,
    /// Bytes that may wait in all lanes of all runs.
    pub budget: Budget,
}

/// Reads the partitions that are dealt through as many lanes as there are `works`, and gives the works back.
///
/// # Errors
/// The first error of any lane; the others are stopped.
pub async fn run<W: Work>(
    load: Arc<dyn Load>,
    deal: Arc<dyn Deal>,
    works: Vec<W>,
    limits: &Limits,
    progress: &Progress,
) -> Result<Vec<W>> {
    // Goes as this future goes, also where somebody gives it up.
    let (_wanted, unwanted) = watch::channel(());
    let mut tasks = Vec::new();
    for work in works {
        let (sender, receiver) = channel(limits.buffer_rows, &limits.budget);
        tasks.push((
            spawn_read(
                read(load.clone(), deal.clone(), sender, progress.clone()),
                unwanted.clone(),
            ),
            spawn_work(work, receiver),
        ));
    }
    let mut works = Vec::with_capacity(tasks.len());
    let mut first = None;
    for (reader, worker) in tasks {
        // The reader's error is the cause where both have one: the worker only sees that its channel closed early.
        let (read, worked) = (ended(reader).await, ended(worker).await);
        match read.and(worked) {
            Ok(work) => works.push(work),
            Err(error) => {
                // No further partition is begun by the lanes that are still at work.
                deal.stop();
                first.get_or_insert(error);
            }
        }
    }
    first.map_or(Ok(works), Err)
}

/// A thread at work, or why there is none.
type Thread<T> = Result<oneshot::Receiver<Result<T>>>;

fn thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce(&Handle) -> Result<T> + Send + 'static,
) -> Thread<T> {
    let (runtime, (done, ended)) = (Handle::current(), oneshot::channel());
    let run = move || {
        // Nobody waits for the lanes of a load that was given up.
        let _ = done.send(work(&runtime));
    };
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    spawned.map(|_| ended).map_err(|error| {
        Error::transient(format!("no thread for a lane: {error}"))
            .advice("lower the Source's concurrency, or allow the process more threads")
    })
}

/// Reads until the end, or until nobody wants the load any more, so that it holds neither room nor connections.
fn spawn_read(
    read: impl Future<Output = Result<()>> + Send + 'static,
    mut unwanted: watch::Receiver<()>,
) -> Thread<()> {
    let read = async move {
        tokio::select! {
            biased;
            read = read => read,
            _ = unwanted.changed() => Ok(()),
        }
    };
    thread("lane-read", move |runtime| runtime.block_on(read))
}

fn spawn_work<W: Work>(mut work: W, mut receiver: Receiver) -> Thread<W> {
    thread("lane-work", move |runtime| {
        while let Some(item) = runtime.block_on(receiver.next()) {
            match item {
                Item::Payload(partition, payload) => work.take(partition, *payload, runtime)?,
                Item::End(partition) => work.end(partition)?,
            }
        }
        Ok(work)
    })
}

async fn ended<T>(thread: Thread<T>) -> Result<T> {
    let died = |_| Err(Error::bug("a lane died; the log says of what"));
    thread?.await.unwrap_or_else(died)
}

async fn read(load: Arc<dyn Load>, deal: Arc<dyn Deal>, sender: Sender, progress: Progress) -> Result<()> {
    while let Some(partition) = deal.next().await? {
        let mut reader = load
            .read(partition)
            .await
            .context(format!("partition {partition}"))?;
        while let Some(payload) = reader.next().await? {
            progress.read(
                (payload.batch.num_rows() + payload.refused.len()) as u64,
                payload.bytes,
            );
            if !sender.send(partition, payload).await? {
                return Ok(());
            }
        }
        if !sender.end(partition).await {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
