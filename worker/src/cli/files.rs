//! `millrace files`: the current files of a Flow, one path a line, ready for any reader of files.

use clap::Args;

use super::{
    exit::Exit,
    manifests::{self, Manifests},
    out,
    place::StateArgs,
};
use crate::{
    engine::{flow::Flow, streams},
    error::{Error, Result},
};

/// The options of `millrace files`.
#[derive(Args, Clone, Debug)]
pub(super) struct FilesArgs {
    /// The Flow: NAME or NAMESPACE/NAME
    flow: String,
    #[command(flatten)]
    manifests: Manifests,
    /// The files of this stream only; may be given several times
    #[arg(long = "stream", value_name = "NAME")]
    streams: Vec<String>,
    #[command(flatten)]
    state: StateArgs,
}

/// Prints.
///
/// # Errors
/// `config` where there is no such Flow; what the destination says.
pub(super) async fn run(args: FilesArgs) -> Result<Exit> {
    let loaded = manifests::load(&args.manifests.paths)?;
    let mut plan = loaded.flow(&args.flow)?.clone();
    args.state.apply(&mut plan);
    let flow = loaded.open(&plan).await?;
    for name in names(&flow, &args.streams).await? {
        let stream = streams::offline(&flow.plan, &name)?;
        let shard = flow.destination.shard(&flow.shard_id(&name), &stream).await?;
        for file in shard.files().await? {
            out::line(whole(&file))?;
        }
    }
    Ok(Exit::Done)
}

/// A path of this machine from its root on, so that it can be read from anywhere.
fn whole(file: &str) -> String {
    match file.contains("://") {
        true => file.to_owned(),
        false => {
            std::path::absolute(file).map_or_else(|_| file.to_owned(), |path| path.display().to_string())
        }
    }
}

/// The streams of a Flow, from its state, so that nobody needs to reach the source; before the first load, from there.
///
/// # Errors
/// `config` where one that is asked for does not exist; what the store or the source says.
pub(super) async fn names(flow: &Flow, wanted: &[String]) -> Result<Vec<String>> {
    let shards = flow.store.list(Some(&flow.plan.state.id)).await?;
    let mut known = Vec::new();
    for shard in shards {
        if streams::takes(&flow.plan, &shard.stream)? {
            known.push(shard.stream);
        }
    }
    if known.is_empty() {
        known = flow
            .streams(&[])
            .await?
            .into_iter()
            .map(|stream| stream.name)
            .collect();
    }
    match wanted.iter().find(|name| !known.contains(name)) {
        Some(name) => Err(Error::config(format!("{} has no stream `{name}`", flow.name()))
            .reason("UnknownStream")
            .advice(format!("it has {}", known.join(", ")))),
        None if wanted.is_empty() => Ok(known),
        None => Ok(wanted.to_vec()),
    }
}
