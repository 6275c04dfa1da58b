//! The leader's side: which parts it reads itself, and which it takes from others.
//!
//! In: the free lanes of the leader, the board. Out: part numbers for the lanes, and the parts of others, fetched. Every
//! part is the leader's own or fetched, never both: what is announced of a part that the leader has begun meanwhile is
//! passed by.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    Sharing,
    board::Board,
    notice::Notice,
    part::{self, Fetched, Gather},
};
use crate::{
    engine::{lane::Deal, progress::Progress},
    error::Result,
};

/// How often the board is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Parts that are fetched at once.
const AT_ONCE: usize = 4;
/// How often a lane that waits looks whether it still has to.
const WAIT: Duration = Duration::from_millis(50);

/// A load that others help with.
pub struct Lead {
    board: Arc<Board>,
    attempt: String,
    pod: u32,
    patience: Duration,
    parts: Mutex<Vec<Part>>,
    stopped: AtomicBool,
}

/// Where one part stands, as far as the leader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Free,
    /// The leader is writing its claim.
    Claiming,
    /// The leader reads it, or has.
    Own,
    /// Somebody else has claimed it, seen at this time.
    Theirs(Instant),
    /// Whoever had claimed it could not read it.
    Back,
    /// It is announced, and on its way.
    Coming,
    /// It is fetched.
    Fetched,
}

impl Lead {
    /// Puts a notice up, and removes what earlier attempts have left of this stream.
    pub(super) async fn open(sharing: &Sharing, notice: &Notice) -> Result<Arc<Self>> {
        let board = sharing.board.clone();
        board.sweep(&notice.stream, notice.epoch).await?;
        let attempt = Board::attempt(&notice.stream, notice.epoch);
        board.announce(&attempt, notice).await?;
        Ok(Arc::new(Self {
            board,
            attempt,
            pod: sharing.index,
            patience: sharing.patience,
            parts: Mutex::new(vec![Part::Free; notice.partitions]),
            stopped: AtomicBool::new(false),
        }))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Vec<Part>) -> T) -> T {
        act(&mut self.parts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, part: usize, to: Part) {
        self.with(|parts| parts[part] = to);
    }

    /// Fetches what others announce, until it is given up: once the lanes have ended, all is there.
    ///
    /// # Errors
    /// What the board says; it never ends well.
    pub(crate) async fn fetch(
        &self,
        into: &Gather<'_>,
        fetched: &Mutex<Vec<Fetched>>,
        progress: &Progress,
    ) -> Result<std::convert::Infallible> {
        loop {
            tokio::time::sleep(LOOK).await;
            let found = self.board.parts(&self.attempt).await?;
            self.with(|parts| {
                for number in found.claimed.iter().chain(&found.announced) {
                    if let Some(part) = parts.get_mut(*number).filter(|part| **part == Part::Free) {
                        *part = Part::Theirs(Instant::now());
                    }
                }
            });
            let come = |number: &usize| {
                self.with(|parts| {
                    let part = parts.get_mut(*number);
                    part.filter(|part| matches!(part, Part::Theirs(_)))
                        .map(|part| *part = Part::Coming)
                        .is_some()
                })
            };
            let coming: Vec<usize> = found.announced.into_iter().filter(come).collect();
            let taken = stream::iter(coming).map(|number| self.take(number, into, fetched, progress));
            taken.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        }
    }

    async fn take(
        &self,
        number: usize,
        into: &Gather<'_>,
        fetched: &Mutex<Vec<Fetched>>,
        progress: &Progress,
    ) -> Result<()> {
        let announced = self.board.finished(&self.attempt, number).await?;
        let part = match &announced {
            Some(announced) => part::fetch(&self.board, &self.attempt, number, announced, into).await?,
            None => None,
        };
        let Some(part) = part else {
            self.set(number, Part::Back);
            return Ok(());
        };
        progress.read(part.counts.read, 0);
        fetched.lock().unwrap_or_else(PoisonError::into_inner).push(part);
        self.set(number, Part::Fetched);
        Ok(())
    }

    /// What is next: a part to claim, one to read without a claim, a while to wait, or nothing.
    fn choose(&self) -> Choice {
        self.with(|parts| {
            if let Some(free) = parts.iter().position(|part| *part == Part::Free) {
                parts[free] = Part::Claiming;
                return Choice::Claim(free);
            }
            let mut waits = false;
            for (number, part) in parts.iter_mut().enumerate() {
                match part {
                    Part::Back => {
                        *part = Part::Own;
                        return Choice::Read(number);
                    }
                    Part::Theirs(since) if since.elapsed() >= self.patience => {
                        *part = Part::Own;
                        return Choice::Read(number);
                    }
                    Part::Theirs(_) | Part::Coming | Part::Claiming => waits = true,
                    _ => {}
                }
            }
            if waits { Choice::Wait } else { Choice::Nothing }
        })
    }

    /// Takes the notice down, and removes all of this attempt. That it failed is no failure of the load.
    pub(crate) async fn close(&self) {
        if let Err(error) = self.board.close(&self.attempt).await {
            tracing::warn!(attempt = self.attempt, "cleaning up failed: {error}");
        }
    }
}

enum Choice {
    Claim(usize),
    Read(usize),
    Wait,
    Nothing,
}

#[async_trait]
impl Deal for Lead {
    async fn next(&self) -> Result<Option<usize>> {
        while !self.stopped.load(Ordering::Relaxed) {
            match self.choose() {
                Choice::Claim(part) => {
                    let ours = self.board.claim(&self.attempt, part, self.pod).await;
                    self.set(
                        part,
                        match ours {
                            Ok(true) => Part::Own,
                            _ => Part::Theirs(Instant::now()),
                        },
                    );
                    if ours? {
                        return Ok(Some(part));
                    }
                }
                Choice::Read(part) => {
                    tracing::info!(part, "nobody else has read it: the leader does");
                    return Ok(Some(part));
                }
                Choice::Wait => tokio::time::sleep(WAIT).await,
                Choice::Nothing => break,
            }
        }
        Ok(None)
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}
