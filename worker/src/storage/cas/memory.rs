//! Objects in memory, for dry runs and tests: gone with the process.

use std::{collections::BTreeMap, sync::Mutex};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Cas, CasStore, Version};
use crate::error::{Error, Result};

/// A place that forgets.
#[derive(Debug, Default)]
pub struct MemoryCas(Mutex<Objects>);

#[derive(Debug, Default)]
struct Objects {
    writes: u64,
    by_key: BTreeMap<String, (Bytes, u64)>,
}

impl MemoryCas {
    fn with<T>(&self, act: impl FnOnce(&mut Objects) -> T) -> Result<T> {
        let mut objects = self
            .0
            .lock()
            .map_err(|_| Error::bug("the store in memory broke in another thread"))?;
        Ok(act(&mut objects))
    }

    fn write(&self, key: &str, bytes: Bytes, expected: Option<&Version>) -> Result<Cas> {
        self.with(|objects| {
            let there = objects
                .by_key
                .get(key)
                .map(|(_, number)| Version(number.to_string()));
            if there.as_ref() != expected {
                return Cas::Conflict;
            }
            objects.writes += 1;
            objects.by_key.insert(key.to_owned(), (bytes, objects.writes));
            Cas::Done(Version(objects.writes.to_string()))
        })
    }
}

#[async_trait]
impl CasStore for MemoryCas {
    async fn read(&self, key: &str) -> Result<Option<(Bytes, Version)>> {
        self.with(|objects| {
            objects
                .by_key
                .get(key)
                .map(|(bytes, number)| (bytes.clone(), Version(number.to_string())))
        })
    }
    async fn create(&self, key: &str, bytes: Bytes) -> Result<Cas> {
        self.write(key, bytes, None)
    }
    async fn swap(&self, key: &str, bytes: Bytes, version: &Version) -> Result<Cas> {
        self.write(key, bytes, Some(version))
    }
    async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        self.with(|objects| {
            objects
                .by_key
                .keys()
                .filter(|key| key.starts_with(prefix))
                .cloned()
                .collect()
        })
    }
    async fn remove(&self, key: &str) -> Result<()> {
        self.with(|objects| drop(objects.by_key.remove(key)))
    }
    fn place(&self) -> String {
        "memory".to_owned()
    }
}
