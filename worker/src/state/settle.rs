//! One write of a record, to its end: an answer that settles nothing is settled by reading back.

use super::{Cas, Record, Store, Version};
use crate::{
    backoff::Backoff,
    error::{Error, ErrorKind, Result},
    protocol::ShardId,
};

/// How a write ended, once it is known.
#[derive(Debug)]
pub(crate) enum Written {
    /// Ours is there, under this version.
    Ours(Version),
    /// Another one is there.
    Other(Box<(Record, Version)>),
    /// There was a record, and it is gone.
    Gone,
}

/// Writes a record: the first (`version` is `None`) or the next. The same bytes may be sent several times; its
/// nonce, which no other write has, tells whether any of them arrived.
///
/// # Errors
/// What the store says; transient where it gave no answer that settles it. The write may still arrive then.
pub(crate) async fn write(
    store: &dyn Store,
    shard: &ShardId,
    record: &Record,
    version: Option<&Version>,
    backoff: &Backoff,
) -> Result<Written> {
    let mut last = Error::transient("no attempt was made");
    for attempt in 0..backoff.tries {
        if attempt > 0 {
            backoff.pause(attempt - 1).await;
        }
        let answer = match version {
            None => store.create(shard, record).await,
            Some(version) => store.swap(shard, record, version).await,
        };
        let refused = match answer {
            Ok(Cas::Done(version)) => return Ok(Written::Ours(version)),
            Ok(Cas::Conflict) => "refused, with nothing changed".to_owned(),
            Ok(Cas::Unknown(why)) => why,
            Err(error) if error.kind == ErrorKind::Transient => {
                last = error;
                continue;
            }
            Err(error) => return Err(error),
        };
        last = Error::transient(format!(
            "{}: the state of {shard} was not written: {refused}",
            store.place()
        ));
        match backoff.retry(|| store.load(shard)).await? {
            Some((found, at)) if found.nonce == record.nonce => return Ok(Written::Ours(at)),
            Some((_, at)) if Some(&at) == version => {}
            Some(found) => return Ok(Written::Other(Box::new(found))),
            None if version.is_some() => return Ok(Written::Gone),
            None => {}
        }
    }
    Err(last)
}
