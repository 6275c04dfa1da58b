//! Configurations that a connector has changed: a migration, or a token that is valid no more.
//!
//! In: the new configuration. Out: the same at the next start, for as long as the Source says what it said when the change
//! was made: who edits it means what they write. It holds secrets: at a desk it lies in a file of this user alone, in the
//! cache; in a cluster it is sealed, in a place that the Source's workers share.

use std::{
    io::Write,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::seal::Seal;
use crate::{
    connector::{Note, System},
    engines::cache,
    error::{Context, Error, Result},
    secrets::{Learned, Secrets},
};

/// Where changed configurations of one Source lie.
pub(super) struct Kept {
    name: String,
    note: Option<Arc<dyn Note>>,
    secrets: Secrets,
    /// What the Source says.
    base: Mutex<Value>,
    /// What is no longer as the Source says, and not to be seen in a log.
    learned: Learned,
}

impl Kept {
    pub(super) fn of(system: &System) -> Self {
        let (flow, plan) = (&system.flow, &system.plan);
        let source = system.source.as_ref().map_or("", |source| source.name.as_str());
        let name = [flow.namespace.as_str(), source, &plan.connector].map(str::as_bytes);
        Self {
            name: cache::digest(&name),
            note: system.note.clone(),
            secrets: system.secrets.clone(),
            base: Mutex::default(),
            learned: Learned::default(),
        }
    }

    /// The values that it has come to know.
    pub(super) fn learned(&self) -> Learned {
        self.learned.clone()
    }

    /// The configuration as the connector left it, where what the Source says is the same.
    pub(super) async fn over(&self, config: Value) -> Result<Value> {
        let text = match self.sealed()? {
            Some((note, seal)) => match note.read().await.context("its changed configuration")? {
                Some(sealed) => seal.open(sealed).await?,
                None => None,
            },
            None => std::fs::read_to_string(self.path()).ok(),
        };
        let kept: Option<Value> = text.and_then(|text| serde_json::from_str(&text).ok());
        let of = digest(&config);
        let kept = kept.filter(|kept| kept["of"] == of.as_str());
        let kept = kept.map(|mut kept| kept["config"].take());
        if let Some(kept) = &kept {
            self.learn(kept, &config);
        }
        *self.base.lock().unwrap_or_else(PoisonError::into_inner) = config.clone();
        Ok(kept.unwrap_or(config))
    }

    /// Keeps a changed configuration, whole or not at all.
    pub(super) async fn keep(&self, config: Value) -> Result<()> {
        let base = self.base.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.learn(&config, &base);
        let text = json!({ "of": digest(&base), "config": config }).to_string();
        match self.sealed()? {
            Some((note, seal)) => {
                let sealed = seal.close(text).await?;
                note.write(sealed).await.context("its changed configuration")
            }
            None => self.write(&text),
        }
    }

    /// The place that outlives a pod, and the seal for it. Without credentials there is none, and nothing worth one: what is
    /// changed then is changed anew in the next pod.
    fn sealed(&self) -> Result<Option<(&Arc<dyn Note>, Seal)>> {
        let Some(note) = &self.note else { return Ok(None) };
        let seal = Seal::by(&self.secrets, &self.name)?;
        Ok(seal.map(|seal| (note, seal)))
    }

    fn learn(&self, config: &Value, base: &Value) {
        let (mut before, mut now) = (Vec::new(), Vec::new());
        texts(base, &mut before);
        texts(config, &mut now);
        now.retain(|text| !before.contains(text));
        self.learned.add(now);
    }

    fn path(&self) -> PathBuf {
        cache::directory()
            .join("configs")
            .join(format!("{}.json", self.name))
    }

    fn write(&self, text: &str) -> Result<()> {
        let path = self.path();
        let write = || -> std::io::Result<()> {
            let parent = path.parent().unwrap_or(&path);
            std::fs::create_dir_all(parent)?;
            // Of a name of its own: streams that are read side by side may keep one each. Only this user can read it.
            let mut new = NamedTempFile::new_in(parent)?;
            new.write_all(text.as_bytes())?;
            new.as_file().sync_all()?;
            new.persist(&path)?;
            Ok(())
        };
        write().map_err(|error| {
            Error::config(format!(
                "a changed configuration could not be kept in {}: {error}",
                path.display()
            ))
            .advice("set MILLRACE_PLUGIN_CACHE_DIR to a directory that lasts")
        })
    }
}

/// All texts in a document.
fn texts<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| texts(field, found)),
        _ => {}
    }
}

fn digest(config: &Value) -> String {
    let mut config = config.clone();
    config.sort_all_objects();
    cache::digest(&[config.to_string().as_bytes()])
}
