//! What a Source's connector has changed of its configuration: a `ConfigMap` of the Source, which all of its workers share.
//!
//! In: sealed text. Out: the same text, to whichever worker starts next. The last one that writes is right.

use async_trait::async_trait;
use millrace_crds::channel::{KEPT_CONFIG, KEPT_KEY, SOURCE_LABEL, child_of};

use super::api::{Maps, Put};
use crate::{
    backoff::Backoff,
    connector::Note,
    error::{Error, Result},
};

/// How often a text is written again to what others wrote meanwhile.
const TRIES: u32 = 8;

/// The text in the `ConfigMap` of a Source.
pub(super) struct KeptNote {
    maps: Maps,
    name: String,
}

impl KeptNote {
    /// That of this Source.
    #[must_use]
    pub(super) fn of_source(maps: &Maps, source: &str) -> Self {
        Self {
            maps: maps.clone(),
            name: child_of(SOURCE_LABEL, source, KEPT_CONFIG),
        }
    }
}

#[async_trait]
impl Note for KeptNote {
    async fn read(&self) -> Result<Option<String>> {
        let map = self.maps.get(&self.name).await?;
        Ok(map
            .and_then(|map| map.data)
            .and_then(|mut data| data.remove(KEPT_KEY)))
    }

    async fn write(&self, text: String) -> Result<()> {
        let (backoff, missing) = (Backoff::default(), || {
            Error::transient(format!(
                "ConfigMap {} is not there: the operator makes it",
                self.name
            ))
        });
        for attempt in 0..TRIES {
            let mut map = self.maps.get(&self.name).await?.ok_or_else(missing)?;
            map.data
                .get_or_insert_default()
                .insert(KEPT_KEY.to_owned(), text.clone());
            match self.maps.replace(&map).await? {
                Put::Done(_) => return Ok(()),
                Put::Gone => return Err(missing()),
                Put::Conflict | Put::Unknown(_) => backoff.pause(attempt.min(4)).await,
            }
        }
        Err(Error::transient(format!(
            "ConfigMap {} could not be written",
            self.name
        )))
    }
}

#[cfg(test)]
mod tests;
