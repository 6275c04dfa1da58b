//! The start-up probe: does this place refuse what it must refuse?

use bytes::Bytes;

use super::{Cas, CasStore, Version};
use crate::error::{Error, Result};

/// Creates, creates again, swaps, and swaps with an old version, on a key that nobody else uses.
pub(super) async fn probe<S: CasStore + ?Sized>(store: &S) -> Result<()> {
    let key = format!("millrace-probe-{}", uuid::Uuid::new_v4().simple());
    let result = attempt(store, &key).await;
    if let Err(error) = store.remove(&key).await {
        tracing::debug!(place = store.place(), %error, "the probe's object stays behind");
    }
    result
}

async fn attempt<S: CasStore + ?Sized>(store: &S, key: &str) -> Result<()> {
    let first = applied(store, store.create(key, Bytes::from_static(b"first")).await?)?;
    refused(
        store,
        "a second create",
        &store.create(key, Bytes::from_static(b"second")).await?,
    )?;
    let swapped = applied(
        store,
        store.swap(key, Bytes::from_static(b"third"), &first).await?,
    )?;
    refused(
        store,
        "a swap of an old version",
        &store.swap(key, Bytes::from_static(b"fourth"), &first).await?,
    )?;
    match store.read(key).await? {
        Some((bytes, version)) if bytes == "third" && version == swapped => Ok(()),
        _ => Err(ignored(store, "what was written last is not what is read")),
    }
}

fn applied<S: CasStore + ?Sized>(store: &S, cas: Cas) -> Result<Version> {
    match cas {
        Cas::Done(version) => Ok(version),
        Cas::Conflict => Err(ignored(store, "a write whose condition holds is refused")),
        Cas::Unknown(why) => Err(unanswered(store, &why)),
    }
}

fn refused<S: CasStore + ?Sized>(store: &S, what: &str, cas: &Cas) -> Result<()> {
    match cas {
        Cas::Conflict => Ok(()),
        Cas::Unknown(why) => Err(unanswered(store, why)),
        Cas::Done(_) => Err(ignored(store, &format!("{what} is accepted"))),
    }
}

fn ignored<S: CasStore + ?Sized>(store: &S, what: &str) -> Error {
    Error::config(format!("{} does not honour conditional writes: {what}", store.place()))
        .reason("ConditionalWritesIgnored")
        .advice(
            "two workers could both own a stream; keep the state in `configMap: {}`, in `directory: PATH`, or on a server \
             that honours If-Match and If-None-Match (AWS S3, MinIO and Ceph do in their current versions)",
        )
}

fn unanswered<S: CasStore + ?Sized>(store: &S, why: &str) -> Error {
    Error::transient(format!(
        "{}: no answer to the probe of conditional writes: {why}",
        store.place()
    ))
}
