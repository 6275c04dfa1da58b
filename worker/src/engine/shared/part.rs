//! One part on its way from a helper to the leader.
//!
//! In: what a lane has made of a part. Out: objects and their announcement; and, at the other end, the same as if a lane
//! of the leader had made it: candidates in the leader's buckets, rows in a scratch file, positions seen, dead letters.

use std::{
    io::{Seek, SeekFrom},
    path::{Path, PathBuf},
};

use roaring::RoaringTreemap;

use super::{board::Board, notice::Announced};
use crate::{
    diff::{
        buckets::Buckets,
        candidates::{Candidate, Kept, ROW_BITS},
        matcher::Matcher,
    },
    engine::{counts::Counts, dead_letter::DeadLetters, deliver::Keyed},
    error::{Error, Result},
    protocol::nonce,
};

const ROWS: &str = "rows";
const KEYS: &str = "keys";
const SEEN: &str = "seen";
const REFUSED: &str = "refused";

/// A part that a helper has read.
pub(super) struct Made<'a> {
    /// The lane, full of rows.
    pub(super) work: Keyed,
    /// Its candidates.
    pub(super) buckets: &'a Buckets<Candidate>,
    /// Its refused rows.
    pub(super) letters: &'a DeadLetters,
    /// Where files may be made.
    pub(super) scratch: &'a Path,
}

/// A part that the leader has fetched.
pub(crate) struct Fetched {
    /// Its number.
    pub(crate) number: usize,
    /// What became of its rows so far.
    pub(crate) counts: Counts,
    /// The rows that were set aside.
    pub(crate) kept: Kept,
    /// Positions found in the index.
    pub(crate) seen: RoaringTreemap,
}

/// What the leader adds to.
pub(crate) struct Gather<'a> {
    /// The candidates of the load.
    pub(crate) buckets: &'a Buckets<Candidate>,
    /// The refused rows of the load.
    pub(crate) letters: &'a DeadLetters,
    /// Where files may be made.
    pub(crate) scratch: &'a Path,
    /// Lanes of the leader's own; parts of others count on from there.
    pub(crate) lanes: usize,
    /// Identities are kept beside the rows.
    pub(crate) identity: bool,
}

fn named(nonce: &str, kind: &str) -> String {
    format!("{nonce}.{kind}")
}

/// Sends the objects of a part; gives its announcement.
pub(super) async fn send(board: &Board, attempt: &str, pod: u32, made: Made<'_>) -> Result<Announced> {
    let Made {
        work,
        buckets,
        letters,
        scratch,
    } = made;
    let nonce = nonce();
    let kept = work.candidates.finish()?;
    let mut announced = Announced {
        pod,
        counts: Some(work.counts),
        rows: kept.rows,
        ..Announced::default()
    };
    if let Some(file) = kept.path() {
        announced.row_bytes = board.send(attempt, &named(&nonce, ROWS), file).await?;
    }
    let keys = scratch.join(KEYS);
    announced.buckets = buckets.pack(&keys)?;
    if announced.buckets.iter().any(|size| *size > 0) {
        board.send(attempt, &named(&nonce, KEYS), &keys).await?;
    }
    let seen = work.matcher.map(Matcher::into_seen).unwrap_or_default();
    if !seen.is_empty() {
        let file = scratch.join(SEEN);
        seen.serialize_into(std::fs::File::create(&file)?)?;
        announced.seen_bytes = board.send(attempt, &named(&nonce, SEEN), &file).await?;
    }
    let (refused, file) = letters.take().await;
    if let Some(mut from) = file {
        from.seek(SeekFrom::Start(0))?;
        let file = scratch.join(REFUSED);
        std::io::copy(&mut from, &mut std::fs::File::create(&file)?)?;
        announced.refused = refused;
        announced.refused_bytes = board.send(attempt, &named(&nonce, REFUSED), &file).await?;
    }
    announced.nonce = nonce;
    Ok(announced)
}

/// Fetches an announced part; `None`: it was given back.
pub(super) async fn fetch(
    board: &Board,
    attempt: &str,
    part: usize,
    announced: &Announced,
    into: &Gather<'_>,
) -> Result<Option<Fetched>> {
    let Some(counts) = announced.counts else {
        return Ok(None);
    };
    let lane = into.lanes + part;
    let object = async |kind: &str, size: u64| -> Result<Option<PathBuf>> {
        if size == 0 {
            return Ok(None);
        }
        let file = into.scratch.join(format!("part-{part}.{kind}"));
        let name = named(&announced.nonce, kind);
        board.fetch(attempt, &name, size, &file).await?;
        Ok(Some(file))
    };
    let rows = object(ROWS, announced.row_bytes).await?;
    if rows.is_none() != (announced.rows == 0) {
        return Err(Error::bug(format!(
            "part {part} announces {} rows in no bytes",
            announced.rows
        )));
    }
    let seen = match object(SEEN, announced.seen_bytes).await? {
        None => RoaringTreemap::new(),
        Some(file) => RoaringTreemap::deserialize_from(std::io::BufReader::new(std::fs::File::open(file)?))?,
    };
    let keys = object(KEYS, announced.buckets.iter().sum()).await?;
    let letters = object(REFUSED, announced.refused_bytes).await?;
    // From here on nothing may fail but this machine: what is added once must not be added again.
    if let Some(file) = keys {
        let first = (lane as u64) << ROW_BITS;
        into.buckets
            .unpack(&file, &announced.buckets, |candidate| candidate.number |= first)?;
        std::fs::remove_file(file)?;
    }
    if let Some(file) = letters {
        into.letters
            .append(announced.refused, &mut std::fs::File::open(file)?)
            .await?;
    }
    Ok(Some(Fetched {
        number: part,
        counts,
        kept: Kept::fetched(rows, lane, announced.rows, into.identity),
        seen,
    }))
}
