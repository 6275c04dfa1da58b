//! Objects as entries of one `ConfigMap`, by the API server's own compare-and-swap.
//!
//! In: the name of a `ConfigMap` that the operator made for one Flow. Out: a key is an entry of its `binaryData`, packed; its
//! version is the hash of that entry. A write reads the whole, compares the one entry, and replaces the whole by UID and
//! resource version: where another entry was written in between, it looks again. A `ConfigMap` that is missing, or another
//! Flow's, is an error and never "nothing stored yet"; nothing here makes one.

mod entry;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use k8s_openapi::{ByteString, api::core::v1::ConfigMap};
use kube::ResourceExt;
use millrace_crds::channel::{FLOW_UID_ANNOTATION, LIMIT, MANAGER};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::{Cas, CasStore, Version};
use crate::{
    backoff::Backoff,
    cluster::api::{Maps, Put},
    error::{Error, Result},
};

/// How often a write looks again because other entries were written.
const TRIES: u32 = 40;

/// The label that the operator puts on all that it makes.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// One `ConfigMap` of one Flow.
pub struct ConfigMapCas {
    maps: Maps,
    name: String,
    flow_uid: String,
    /// Another Flow whose state may be taken over.
    adopt: Option<String>,
    /// Writers of this process take turns, rather than refuse each other.
    turn: Mutex<()>,
    backoff: Backoff,
}

impl ConfigMapCas {
    /// The `ConfigMap` of this name, which belongs to the Flow of this UID, or to the one that is adopted.
    #[must_use]
    pub fn new(maps: Maps, name: &str, flow_uid: &str, adopt: Option<&str>) -> Self {
        Self {
            maps,
            name: name.to_owned(),
            flow_uid: flow_uid.to_owned(),
            adopt: adopt.map(str::to_owned),
            turn: Mutex::new(()),
            backoff: Backoff {
                tries: TRIES,
                first: Duration::from_millis(10),
                most: Duration::from_millis(500),
            },
        }
    }

    /// The newest, if it is there and ours.
    async fn look(&self) -> Result<ConfigMap> {
        let map = self.maps.get(&self.name).await?.ok_or_else(|| self.lost())?;
        self.check(&map)?;
        Ok(map)
    }

    fn check(&self, map: &ConfigMap) -> Result<()> {
        if map.labels().get(MANAGED_BY).map(String::as_str) != Some(MANAGER) {
            return Err(Error::state(
                "StateOwnedByOther",
                format!("{} is none of Millrace's: it lacks the label {MANAGED_BY}: {MANAGER}", self.place()),
            )
            .advice("rename or delete it, then the operator makes one; a restored one gets the label by `kubectl label`"));
        }
        let owner = map
            .annotations()
            .get(FLOW_UID_ANNOTATION)
            .map_or("", String::as_str);
        if owner == self.flow_uid || (!owner.is_empty() && self.adopt.as_deref() == Some(owner)) {
            return Ok(());
        }
        let (whose, uid) = match owner {
            "" => ("names no Flow".to_owned(), "UID".to_owned()),
            uid => (format!("belongs to another Flow, with UID {uid}"), uid.to_owned()),
        };
        Err(
            Error::state("StateOwnedByOther", format!("{} {whose}", self.place())).advice(format!(
                "annotate this Flow with `millrace.dev/adopt-state: {uid}` to take it over, or give `state.id` another name"
            )),
        )
    }

    /// Writes, or removes, one entry, where the version of what is there is still the expected one.
    async fn write(&self, key: &str, bytes: Option<&Bytes>, expected: &Expected<'_>) -> Result<Cas> {
        let name = entry::name(key);
        let packed = bytes.map(|bytes| entry::pack(key, bytes)).transpose()?;
        let _turn = self.turn.lock().await;
        for attempt in 0..self.backoff.tries {
            let mut map = self.look().await?;
            let data = map.binary_data.get_or_insert_default();
            let there = data.get(&name).map(|entry| version(&entry.0));
            if !expected.is(there.as_ref()) {
                return Ok(Cas::Conflict);
            }
            match &packed {
                Some(packed) => data.insert(name.clone(), ByteString(packed.clone())),
                None if there.is_none() => return Ok(Cas::Done(Version(String::new()))),
                None => data.remove(&name),
            };
            self.fits(&map)?;
            // What is adopted is ours from its first write on.
            let annotations = map.annotations_mut();
            annotations.insert(FLOW_UID_ANNOTATION.to_owned(), self.flow_uid.clone());
            match self.maps.replace(&map).await? {
                Put::Done(_) => return Ok(Cas::Done(version(packed.as_deref().unwrap_or_default()))),
                Put::Unknown(why) => return Ok(Cas::Unknown(why)),
                Put::Gone => return Err(self.lost()),
                // Another entry, or this one: what is there now tells.
                Put::Conflict => self.backoff.pause(attempt).await,
            }
        }
        Err(Error::transient(format!(
            "{} is written by others all the time",
            self.place()
        )))
    }

    fn fits(&self, map: &ConfigMap) -> Result<()> {
        let text = map
            .data
            .iter()
            .flatten()
            .map(|(key, text)| key.len() + text.len());
        let binary = map
            .binary_data
            .iter()
            .flatten()
            .map(|(key, bytes)| key.len() + bytes.0.len());
        let size: usize = text.chain(binary).sum();
        match size > LIMIT {
            false => Ok(()),
            true => Err(Error::state(
                "StateTooLarge",
                format!(
                    "{} would take {} KiB, and at most {} KiB are kept in a ConfigMap",
                    self.place(),
                    size / 1024,
                    LIMIT / 1024
                ),
            )
            .advice("keep the state in S3 (`state: { s3: ... }`), or take fewer streams into one Flow")),
        }
    }

    fn lost(&self) -> Error {
        Error::state("StateLost", format!("{} is gone", self.place())).advice(
            "bring it back from a backup (`kubectl apply`), with its labels and annotations; if it is gone for good, delete the \
             Flow and make it again, then `millrace state restore --from-destination` takes the destination's word",
        )
    }
}

/// What must be there for a write to be made.
enum Expected<'a> {
    Nothing,
    This(&'a Version),
    Anything,
}

impl Expected<'_> {
    fn is(&self, there: Option<&Version>) -> bool {
        match self {
            Self::Nothing => there.is_none(),
            Self::This(version) => there == Some(*version),
            Self::Anything => true,
        }
    }
}

#[async_trait]
impl CasStore for ConfigMapCas {
    async fn read(&self, key: &str) -> Result<Option<(Bytes, Version)>> {
        let map = self.look().await?;
        let found = map
            .binary_data
            .as_ref()
            .and_then(|data| data.get(&entry::name(key)));
        found
            .map(|entry| Ok((entry::unpack(key, &entry.0)?, version(&entry.0))))
            .transpose()
    }
    async fn read_all(&self, prefix: &str) -> Result<Vec<(String, Bytes, Version)>> {
        let map = self.look().await?;
        let mut found = Vec::new();
        for (name, packed) in map.binary_data.iter().flatten() {
            let Some(key) = entry::key(name, &packed.0).filter(|key| key.starts_with(prefix)) else {
                continue;
            };
            let bytes = entry::unpack(&key, &packed.0)?;
            found.push((key, bytes, version(&packed.0)));
        }
        found.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(found)
    }
    async fn create(&self, key: &str, bytes: Bytes) -> Result<Cas> {
        self.write(key, Some(&bytes), &Expected::Nothing).await
    }
    async fn swap(&self, key: &str, bytes: Bytes, version: &Version) -> Result<Cas> {
        self.write(key, Some(&bytes), &Expected::This(version)).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let map = self.look().await?;
        let entries = map.binary_data.iter().flatten();
        let mut keys: Vec<String> = entries
            .filter_map(|(name, packed)| entry::key(name, &packed.0))
            .filter(|key| key.starts_with(prefix))
            .collect();
        keys.sort();
        Ok(keys)
    }
    async fn remove(&self, key: &str) -> Result<()> {
        match self.write(key, None, &Expected::Anything).await? {
            Cas::Unknown(why) => Err(Error::transient(format!("{}: {why}", self.place()))),
            Cas::Done(_) | Cas::Conflict => Ok(()),
        }
    }
    fn place(&self) -> String {
        format!("ConfigMap {}/{}", self.maps.namespace(), self.name)
    }
    /// Every API server honours resource versions: what is to be known is whether this `ConfigMap` is there and ours.
    async fn probe(&self) -> Result<()> {
        self.look().await.map(drop)
    }
}

fn version(packed: &[u8]) -> Version {
    Version(format!("{:x}", Sha256::digest(packed)))
}

#[cfg(test)]
mod tests;
