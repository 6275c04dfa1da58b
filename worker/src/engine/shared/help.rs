//! The helpers' side: parts of loads that other pods lead.
//!
//! In: the notices of one run. Out: parts, read and announced. A helper decides nothing, commits nothing and fails no run:
//! a part that it cannot read it gives back, and the leader meets the same fault itself, or none.

use std::{
    collections::{BTreeSet, VecDeque},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::future::join_all;

use super::{
    Sharing,
    notice::{Announced, Notice},
    part::{self, Made},
};
use crate::{
    connector::{Load, Shard},
    diff::{buckets::Buckets, candidates::Candidates, index::Index, matcher::Matcher},
    engine::{
        counts::Counts,
        dead_letter::{DeadLetters, Place},
        deliver::Keyed,
        flow::{Flow, Request},
        lane::{self, InOrder},
        load::Setting,
        pipeline,
        prepare::Preparer,
        progress::Progress,
    },
    error::{Error, Result},
    scratch::Scratch,
    storage::Storage,
    stream::StreamSpec,
};

/// How often the board is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long nothing may come up before the pod leaves: others may wait for its room.
const IDLE: Duration = Duration::from_secs(90);

/// Helps with the loads of a run until all of its pods are done, `over` says so, or nothing has come up for long. Gives how
/// many parts were read.
pub async fn help(flow: &Flow, sharing: &Sharing, request: &Request, over: impl AsyncFn() -> bool) -> usize {
    let setting = flow.setting(request, 1);
    let (mut left, mut read, mut idle) = (BTreeSet::new(), 0, Instant::now());
    while !request.drain.asked() {
        let notices = sharing.board.notices(&request.run, sharing.index).await;
        let notices = notices.unwrap_or_else(|error| {
            tracing::warn!("the loads of other pods cannot be seen: {error}");
            Vec::new()
        });
        let next = notices.into_iter().find(|(attempt, _)| !left.contains(attempt));
        let Some((attempt, notice)) = next else {
            if over().await || idle.elapsed() > IDLE {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = request.drain.wait() => {}
            }
            continue;
        };
        match lend(flow, sharing, request, &setting, &attempt, &notice).await {
            Ok(parts) => {
                read += parts;
                tracing::info!(
                    stream = notice.stream,
                    leader = notice.leader,
                    parts,
                    "helped with a load"
                );
            }
            Err(error) => tracing::warn!(stream = notice.stream, "this load is left to its leader: {error}"),
        }
        left.insert(attempt);
        idle = Instant::now();
    }
    read
}

/// Reads parts of one load until none is left.
async fn lend(
    flow: &Flow,
    sharing: &Sharing,
    request: &Request,
    setting: &Setting,
    attempt: &str,
    notice: &Notice,
) -> Result<usize> {
    let other = |what: &str| Error::transient(format!("{what} is not what its leader sees"));
    if notice.version != env!("CARGO_PKG_VERSION") {
        return Err(other("this version"));
    }
    let streams = flow.streams(std::slice::from_ref(&notice.stream)).await?;
    let stream = streams.into_iter().next().ok_or_else(|| other("the stream"))?;
    let shard = flow
        .destination
        .shard(&flow.shard_id(&stream.name), &stream)
        .await?;
    let committed = shard
        .last_committed()
        .await?
        .ok_or_else(|| other("the destination"))?;
    if (committed.epoch, committed.at()) != (notice.epoch, notice.at) {
        return Err(other("the destination's last commit"));
    }
    let load = flow.source.join(&stream, &notice.range, &notice.ticket).await?;
    if load.partitions() != notice.partitions {
        return Err(other("the number of parts"));
    }
    let scratch = Scratch::new()?;
    let index = match notice.matching {
        true => Index::open(shard.as_ref(), scratch.path()).await?,
        false => Index::default(),
    };
    let first = notice.partitions * sharing.index as usize / sharing.pods as usize;
    let order = (0..notice.partitions).map(|part| (part + first) % notice.partitions);
    let lanes = flow.concurrency().min(notice.partitions);
    let helper = Helper {
        sharing,
        request,
        setting,
        attempt,
        notice,
        stream,
        shard,
        load,
        scratch: scratch.path(),
        index: Arc::new(index),
        lanes,
        left: Mutex::new(order.collect()),
    };
    // Each to its end: a part that was claimed is announced, or given back.
    let read = join_all((0..lanes).map(|_| helper.lane())).await;
    read.into_iter().sum()
}

struct Helper<'a> {
    sharing: &'a Sharing,
    request: &'a Request,
    setting: &'a Setting,
    attempt: &'a str,
    notice: &'a Notice,
    stream: StreamSpec,
    shard: Arc<dyn Shard>,
    load: Arc<dyn Load>,
    scratch: &'a Path,
    index: Arc<Index>,
    /// Parts that are read at once.
    lanes: usize,
    /// Parts that may be free, in the order in which this pod tries them.
    left: Mutex<VecDeque<usize>>,
}

impl Helper<'_> {
    /// Reads one part after the other.
    async fn lane(&self) -> Result<usize> {
        let (board, mut read) = (&self.sharing.board, 0);
        while let Some(part) = self.claim().await? {
            let made = tokio::select! {
                made = self.read(part) => made,
                () = self.request.drain.wait() => Err(Error::transient("this pod was told to end")),
            };
            let announced = made.as_ref().map_or_else(
                |_| Announced {
                    pod: self.sharing.index,
                    ..Announced::default()
                },
                Clone::clone,
            );
            board.finish(self.attempt, part, &announced).await?;
            if !board.is_open(self.attempt).await? {
                // Its leader is done, or another has come: nobody else would remove what came too late.
                board.close(self.attempt).await?;
                return Ok(read);
            }
            made?;
            read += 1;
        }
        Ok(read)
    }

    /// A part that is this pod's to read.
    async fn claim(&self) -> Result<Option<usize>> {
        let board = &self.sharing.board;
        if self.request.drain.asked() || !board.is_open(self.attempt).await? {
            return Ok(None);
        }
        let known = board.parts(self.attempt).await?;
        while let Some(part) = self.next() {
            if !known.claimed.contains(&part) && board.claim(self.attempt, part, self.sharing.index).await? {
                return Ok(Some(part));
            }
        }
        Ok(None)
    }

    fn next(&self) -> Option<usize> {
        self.left
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }

    /// Reads one part, and sends what came of it.
    async fn read(&self, part: usize) -> Result<Announced> {
        let directory = self.scratch.join(format!("part-{part}"));
        std::fs::create_dir(&directory)?;
        let place = Place {
            storage: Ok(Storage::directory(&directory)),
            key: "refused".to_owned(),
        };
        let letters = Arc::new(DeadLetters::new(place, &self.stream.name, &self.setting.run));
        let pipeline = Arc::new(pipeline::settle(
            &self.setting.plan,
            &self.stream,
            self.load.schema(),
            &self.notice.offset,
            self.shard.clone(),
            letters.clone(),
        )?);
        if Notice::columns(&self.load.schema(), &pipeline.schema) != self.notice.columns {
            return Err(Error::transient(
                "the columns are not what the leader of the load sees",
            ));
        }
        let buckets = Arc::new(Buckets::new(&directory, "candidates").one_of(self.lanes));
        let keyed = !pipeline.key.is_empty();
        let matcher = || Matcher::new(self.index.clone(), keyed);
        let work = Keyed {
            preparer: Preparer::new(&pipeline)?,
            matcher: self.notice.matching.then(matcher),
            candidates: Candidates::new(0, &directory, &pipeline.schema, pipeline.rekeyed, buckets.clone()),
            counts: Counts::default(),
            pipeline,
        };
        let (limits, progress) = (&self.setting.limits, Progress::default());
        let works = lane::run(
            self.load.clone(),
            InOrder::one(part),
            vec![work],
            limits,
            &progress,
        )
        .await?;
        let work = works
            .into_iter()
            .next()
            .ok_or_else(|| Error::bug("a lane without its work"))?;
        let made = Made {
            work,
            buckets: &buckets,
            letters: &letters,
            scratch: &directory,
        };
        let announced = part::send(&self.sharing.board, self.attempt, self.sharing.index, made).await?;
        std::fs::remove_dir_all(&directory)?;
        Ok(announced)
    }
}
