//! What the operator wrote for this worker, and the worker's report to it.
//!
//! In: the `ConfigMap`s of one Flow, Source or Job. Out: their documents; the report, of which each worker changes its own
//! key alone, by replacing what it read. Where another worker was faster, it is read again.

use k8s_openapi::api::core::v1::ConfigMap;
use millrace_crds::channel::{LIMIT, REPORT, Report, child_of, report_key};
use serde::de::DeserializeOwned;

use super::{
    Share,
    api::{Maps, Put},
};
use crate::{
    backoff::Backoff,
    error::{Error, Result},
};

/// How often a report is written again to what others wrote meanwhile.
const TRIES: u32 = 20;
/// The least that a worker may report, whatever others have.
const LEAST: usize = 8 * 1024;

/// The channel of one worker.
#[derive(Clone)]
pub struct Channel {
    maps: Maps,
    kind: &'static str,
    owner: String,
    /// Which of the workers that share the report this one is.
    share: Share,
}

impl Channel {
    /// The channel of an object of this kind (the label of its children) and name, for one of its workers.
    #[must_use]
    pub fn new(maps: Maps, kind: &'static str, owner: &str, share: Share) -> Self {
        Self {
            maps,
            kind,
            owner: owner.to_owned(),
            share,
        }
    }

    /// Which worker it belongs to.
    #[must_use]
    pub fn share(&self) -> Share {
        self.share
    }

    /// Where its `ConfigMap`s lie.
    #[must_use]
    pub fn maps(&self) -> &Maps {
        &self.maps
    }

    /// The name of one of them.
    #[must_use]
    pub fn name(&self, suffix: &str) -> String {
        child_of(self.kind, &self.owner, suffix)
    }

    /// A document.
    ///
    /// # Errors
    /// `config` where the operator has not written it; `bug` where it cannot be read.
    pub async fn document<T: DeserializeOwned>(&self, suffix: &str, key: &str) -> Result<T> {
        let found = self.find(suffix, key).await?;
        found.ok_or_else(|| self.missing(&format!("{}, key {key}", self.name(suffix))))
    }

    /// A document, if its key is there.
    ///
    /// # Errors
    /// As [`Channel::document`].
    pub async fn find<T: DeserializeOwned>(&self, suffix: &str, key: &str) -> Result<Option<T>> {
        let name = self.name(suffix);
        let map = self.maps.get(&name).await?.ok_or_else(|| self.missing(&name))?;
        parse(&map, key)
    }

    /// What this worker, or the one before it, reported last.
    ///
    /// # Errors
    /// As [`Channel::document`].
    pub async fn report(&self) -> Result<Report> {
        let name = self.name(REPORT);
        let map = self.maps.get(&name).await?.ok_or_else(|| self.missing(&name))?;
        Ok(self.own(&map))
    }

    /// Whether each of the workers has reported that its part of a run is over.
    ///
    /// # Errors
    /// As [`Channel::document`].
    pub async fn all_over(&self, run: u64) -> Result<bool> {
        let name = self.name(REPORT);
        let map = self.maps.get(&name).await?.ok_or_else(|| self.missing(&name))?;
        let is_over = |pod| -> Result<bool> {
            let report: Option<Report> = parse(&map, &report_key(pod))?;
            let run = report.as_ref().and_then(|report| report.runs.get(&run));
            Ok(run.is_some_and(|run| run.is_over_among(self.share.workers)))
        };
        for pod in 0..self.share.workers {
            if !is_over(pod)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Changes the report, and gives back what is there now. The change is made to what is there, perhaps several times,
    /// so it must bear being repeated; one that changes nothing writes nothing.
    ///
    /// # Errors
    /// As [`Channel::document`]; transient where it could not be written.
    pub async fn update(&self, mut change: impl FnMut(&mut Report) + Send) -> Result<Report> {
        let (name, key, backoff) = (
            self.name(REPORT),
            report_key(self.share.ordinal),
            Backoff::default(),
        );
        let mut why = String::new();
        for attempt in 0..TRIES {
            let mut map = self.maps.get(&name).await?.ok_or_else(|| self.missing(&name))?;
            let before = self.own(&map);
            let mut report = before.clone();
            change(&mut report);
            let data = map.data.get_or_insert_default();
            if report == before && data.contains_key(&key) {
                return Ok(report);
            }
            let others: usize = data
                .iter()
                .filter(|(other, _)| **other != key)
                .map(|(key, text)| key.len() + text.len())
                .sum();
            let limit = LIMIT
                .saturating_sub(others)
                .min(LIMIT / self.share.workers.max(1) as usize);
            data.insert(key.clone(), report.to_text(limit.max(LEAST)));
            match self.maps.replace(&map).await? {
                Put::Done(_) => return Ok(report),
                Put::Conflict => "others write all the time".clone_into(&mut why),
                Put::Unknown(what) => why = what,
                Put::Gone => return Err(self.missing(&name)),
            }
            backoff.pause(attempt.min(4)).await;
        }
        Err(Error::transient(format!(
            "ConfigMap {}/{name} could not be written: {why}",
            self.maps.namespace()
        )))
    }

    /// Our own part. One that cannot be read is told and begun anew: it decides nothing but what need not be repeated.
    fn own(&self, map: &ConfigMap) -> Report {
        let key = report_key(self.share.ordinal);
        parse(map, &key)
            .unwrap_or_else(|error| {
                tracing::warn!(key, %error, "the last report cannot be read, and is begun anew");
                None
            })
            .unwrap_or_default()
    }

    fn missing(&self, what: &str) -> Error {
        Error::config(format!("there is no ConfigMap {}/{what}", self.maps.namespace()))
            .reason("ChannelMissing")
            .advice("the operator makes it: look at its log, and whether the Flow is still there")
    }
}

/// A document of a `ConfigMap`; `None`: it has no such key.
///
/// # Errors
/// `bug` where it cannot be read.
pub fn parse<T: DeserializeOwned>(map: &ConfigMap, key: &str) -> Result<Option<T>> {
    let text = map.data.as_ref().and_then(|data| data.get(key));
    text.map(|text| serde_json::from_str(text)).transpose().map_err(|error| {
        let name = map.metadata.name.as_deref().unwrap_or_default();
        Error::bug(format!("ConfigMap {name}: {key} cannot be read: {error}"))
            .advice("operator and worker should be of one version; the operator writes it anew when the Flow changes")
    })
}

#[cfg(test)]
mod tests;
