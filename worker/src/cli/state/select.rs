//! From what a person names to the store and the shards that are meant.

use std::{path::PathBuf, sync::Arc};

use super::FlowArgs;
use crate::{
    cli::{manifests, place::StateArgs, remote::RemoteArgs},
    engine::{flow::Flow, streams},
    error::{Context, Error, Result},
    protocol::{Committed, ShardId},
    state::Store,
};

/// A Flow's state.
pub(super) struct Selected {
    /// The store.
    pub(super) store: Arc<dyn Store>,
    /// The Flow, where manifests tell of it.
    pub(super) flow: Option<Flow>,
    /// The id of the state.
    state: String,
    /// The streams that were named; empty: all.
    streams: Vec<String>,
}

/// The places of state: of the Flows of manifests, each with its id, or one place with all that lies there.
pub(super) async fn places(
    paths: &[PathBuf],
    remote: &RemoteArgs,
    place: &StateArgs,
) -> Result<Vec<(Arc<dyn Store>, Option<String>)>> {
    if let Some(desk) = remote.open().await? {
        return Ok(vec![(desk.store().await?, Some(desk.doc.plan.state.id))]);
    }
    if paths.is_empty() {
        return Ok(vec![(place.open().await?, None)]);
    }
    let loaded = manifests::load(paths)?;
    let mut found = Vec::new();
    for plan in &loaded.resolution.plans {
        let mut plan = plan.clone();
        place.apply(&mut plan);
        let flow = loaded.open(&plan).await?;
        found.push((flow.store, Some(plan.state.id)));
    }
    Ok(found)
}

impl Selected {
    /// Finds the state of a Flow.
    ///
    /// # Errors
    /// `config` where the manifests have no such Flow; what the store says.
    pub(super) async fn open(args: &FlowArgs) -> Result<Self> {
        let streams = args.streams.clone();
        if let Some(desk) = args.remote.open().await? {
            return Ok(Self {
                store: desk.store().await?,
                flow: None,
                state: desk.doc.plan.state.id,
                streams,
            });
        }
        let name = args.flow.as_deref().unwrap_or_default();
        if args.manifests.is_empty() {
            let store = args.state.open().await?;
            let state = id(store.as_ref(), name).await?;
            return Ok(Self {
                store,
                flow: None,
                state,
                streams,
            });
        }
        let loaded = manifests::load(&args.manifests)?;
        let mut plan = loaded.flow(name)?.clone();
        args.state.apply(&mut plan);
        let flow = loaded.open(&plan).await?;
        Ok(Self {
            store: flow.store.clone(),
            state: plan.state.id,
            flow: Some(flow),
            streams,
        })
    }

    /// As [`Selected::open`], with the destination of a Flow of a cluster, which must be in reach from here.
    ///
    /// # Errors
    /// As [`Selected::open`]; `config` where a Secret of the Flow may not be read.
    pub(super) async fn with_destination(args: &FlowArgs) -> Result<Self> {
        let Some(desk) = args.remote.open().await? else {
            return Self::open(args).await;
        };
        let flow = desk.flow().await?;
        Ok(Self {
            store: flow.store.clone(),
            state: flow.plan.state.id.clone(),
            flow: Some(flow),
            streams: args.streams.clone(),
        })
    }

    /// The shards that are meant; all of the Flow where none was named.
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn shards(&self) -> Result<Vec<ShardId>> {
        if !self.streams.is_empty() {
            return Ok(self.streams.iter().map(|stream| self.shard(stream)).collect());
        }
        let mut shards = self.store.list(Some(&self.state)).await?;
        shards.retain(|shard| !shard.stream.is_empty());
        if shards.is_empty() {
            let place = self.store.place();
            let error =
                Error::config(format!("{place} has no state of {}", self.state)).reason("StateNotFound");
            return Err(error.advice(self.what_there_is().await));
        }
        Ok(shards)
    }

    /// The streams that were named: a change is for those alone.
    ///
    /// # Errors
    /// `config` where none was named.
    pub(super) fn one_stream(&self, command: &str) -> Result<Vec<ShardId>> {
        if self.streams.is_empty() {
            return Err(
                Error::config(format!("`millrace {command}` changes the streams that are named"))
                    .advice("add `--stream NAME`"),
            );
        }
        Ok(self.streams.iter().map(|stream| self.shard(stream)).collect())
    }

    async fn what_there_is(&self) -> String {
        let mut states: Vec<String> = Vec::new();
        for shard in self.store.list(None).await.unwrap_or_default() {
            if !states.contains(&shard.state) {
                states.push(shard.state);
            }
        }
        match states.is_empty() {
            true => {
                "nothing is stored there: nothing was loaded yet, or the state lies elsewhere (`--state`)"
                    .to_owned()
            }
            false => format!("it has {}", states.join(", ")),
        }
    }

    fn shard(&self, stream: &str) -> ShardId {
        ShardId {
            state: self.state.clone(),
            stream: stream.to_owned(),
        }
    }

    /// What the destination says was committed last; `None` where it was not asked, or has nothing.
    ///
    /// # Errors
    /// What the destination says.
    pub(super) async fn committed(&self, shard: &ShardId) -> Result<Option<Committed>> {
        let Some(flow) = &self.flow else { return Ok(None) };
        let stream = streams::offline(&flow.plan, &shard.stream)?;
        let target = flow.destination.shard(shard, &stream).await?;
        target.last_committed().await.context("destination")
    }

    /// The destination's word, and the Flow that it is for.
    ///
    /// # Errors
    /// `config` where the destination has nothing.
    pub(super) async fn word_of_destination(&self, shard: &ShardId) -> Result<(String, Committed)> {
        let uid = self
            .flow
            .as_ref()
            .map(|flow| flow.plan.flow.uid.clone())
            .unwrap_or_default();
        match self.committed(shard).await? {
            Some(committed) if committed.generation > 0 => Ok((uid, committed)),
            _ => Err(Error::config(format!("the destination holds nothing of {shard}"))
                .advice("check the names of the Flow and of the stream")),
        }
    }
}

/// The id that a name means: itself where there is such state, else that of the Flow in the default namespace.
async fn id(store: &dyn Store, name: &str) -> Result<String> {
    let exact = !store.list(Some(name)).await?.is_empty();
    Ok(if exact || name.contains('/') {
        name.to_owned()
    } else {
        format!("default/{name}")
    })
}
