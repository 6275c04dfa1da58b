//! A record as bytes: one line of JSON that begins with the digest of the rest.
//!
//! In: a shard and its record. Out: bytes within the size limits; and back, only where no byte was changed since. The
//! digest is over the bytes, not over what they mean, so that no number or order of keys can blur it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::record::{LAYOUT, Record};
use crate::{
    error::{Error, ErrorKind, Result},
    protocol::ShardId,
};

/// Above this many bytes the oldest revisions are given up.
pub const SOFT_LIMIT: usize = 512 * 1024;
/// Above this many bytes a record is refused.
pub const HARD_LIMIT: usize = 900 * 1024;

#[derive(Serialize)]
struct Written<'a> {
    shard: &'a ShardId,
    #[serde(flatten)]
    record: &'a Record,
}

#[derive(Deserialize)]
struct Read {
    shard: ShardId,
    #[serde(flatten)]
    record: Record,
}

const OPEN: &str = "{\"digest\":\"sha256:";
const CLOSE: &str = "\",";
const HEX: usize = 64;

/// The bytes of a record; with fewer revisions where it would be larger than [`SOFT_LIMIT`].
///
/// # Errors
/// `StateTooLarge` where it is above [`HARD_LIMIT`] even so.
pub(crate) fn encode(shard: &ShardId, record: &Record) -> Result<Vec<u8>> {
    let mut bytes = encode_whole(shard, record)?;
    if bytes.len() > SOFT_LIMIT {
        let mut shorter = record.clone();
        while bytes.len() > SOFT_LIMIT && !shorter.history.is_empty() {
            shorter.history.truncate(shorter.history.len() / 2);
            bytes = encode_whole(shard, &shorter)?;
        }
    }
    if bytes.len() > HARD_LIMIT {
        let size = bytes.len() / 1024;
        return Err(Error::state(
            "StateTooLarge",
            format!(
                "the state of {shard} has {size} KiB; at most {} KiB are kept",
                HARD_LIMIT / 1024
            ),
        )
        .advice("its positions are too many or too long: read fewer partitions, or split the stream"));
    }
    if bytes.len() > SOFT_LIMIT {
        tracing::warn!(%shard, bytes = bytes.len(), reason = "StateLarge", "the state of this stream is large");
    }
    Ok(bytes)
}

fn encode_whole(shard: &ShardId, record: &Record) -> Result<Vec<u8>> {
    let body = serde_json::to_string(&Written { shard, record }).map_err(Error::bug)?;
    let mut text = format!("{OPEN}{}{CLOSE}", hash(&body));
    text.push_str(body.get(1..).unwrap_or_default());
    text.push('\n');
    Ok(text.into_bytes())
}

/// The record in these bytes.
///
/// # Errors
/// `StateTooNew` where a newer program wrote it; `StateCorrupt` where a byte was changed, or it is of another shard.
pub(super) fn decode(shard: &ShardId, bytes: &[u8]) -> Result<Record> {
    let body = intact(bytes).map_err(|what| newer(bytes).unwrap_or_else(|| corrupt(shard, what)))?;
    let read: Read = serde_json::from_str(&body)
        .map_err(|error| newer(bytes).unwrap_or_else(|| corrupt(shard, &error.to_string())))?;
    if read.record.v > LAYOUT {
        return Err(too_new(read.record.v.into()));
    }
    if read.shard != *shard {
        return Err(corrupt(shard, &format!("it holds the state of {}", read.shard)));
    }
    Ok(read.record)
}

/// What can be read of these bytes, whatever their digest says.
pub(super) fn salvage(bytes: &[u8]) -> Option<Record> {
    serde_json::from_slice::<Read>(bytes).ok().map(|read| read.record)
}

/// The shard that these bytes say they belong to.
pub(super) fn shard(bytes: &[u8]) -> Option<ShardId> {
    serde_json::from_slice::<Read>(bytes).ok().map(|read| read.shard)
}

/// The text that the digest is over, where it agrees.
fn intact(bytes: &[u8]) -> Result<String, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text")?;
    let text = text.strip_suffix('\n').ok_or("its end is missing")?;
    let rest = text.strip_prefix(OPEN).ok_or("it does not begin with a digest")?;
    let (digest, rest) = rest.split_at_checked(HEX).ok_or("its digest is cut")?;
    let body = format!("{{{}", rest.strip_prefix(CLOSE).ok_or("its digest is damaged")?);
    if hash(&body) == digest {
        Ok(body)
    } else {
        Err("its digest does not agree with its content")
    }
}

fn hash(body: &str) -> String {
    format!("{:x}", Sha256::digest(body))
}

/// The error for a layout that a newer program wrote, which may keep its digest in another way.
fn newer(bytes: &[u8]) -> Option<Error> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let version = value.get("v")?.as_u64()?;
    (version > u64::from(LAYOUT)).then(|| too_new(version))
}

fn too_new(version: u64) -> Error {
    Error::state(
        "StateTooNew",
        format!("this state has layout {version}; this program knows layouts up to {LAYOUT}"),
    )
    .advice("use the program that wrote it, or a newer one")
}

fn corrupt(shard: &ShardId, what: &str) -> Error {
    Error {
        kind: ErrorKind::State,
        ..Error::state("StateCorrupt", format!("the state of {shard} is damaged: {what}"))
    }
    .advice(
        "it was edited by hand or cut short; look at it, then go on with `millrace state set`, or with \
             `millrace state restore` for an earlier revision",
    )
}
