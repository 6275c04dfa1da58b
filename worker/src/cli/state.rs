//! `millrace state`: what the state of a Flow holds, and a person's changes of it.
//!
//! In: a Flow by name, with its manifests, with the place of its state alone, or in a cluster. Out: records as the store has them, and
//! beside them what the destination says, which decides where it holds the offset. Each change is one compare-and-swap;
//! a worker at work meanwhile notices at its next write and stops.

mod select;
pub(super) mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::Value;

use self::select::Selected;
use super::{closing::Output, exit::Exit, out, place::StateArgs, remote::RemoteArgs};
use crate::{
    error::{Error, Result},
    protocol::{ShardId, nonce},
    state::{Record, admin},
};

/// The options of `millrace state`.
#[derive(Args, Clone, Debug)]
pub(super) struct StateCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Clone, Debug)]
enum Action {
    /// List the streams that have state
    List(ListArgs),
    /// Show the state of a Flow's streams, as the store and the destination have it
    Show(LookArgs),
    /// Show the last revisions, newest first
    History(LookArgs),
    /// Set where the next load begins
    Set(SetArgs),
    /// Go back to an earlier revision, or take the destination's word
    Restore(RestoreArgs),
    /// Forget where the loads stand: the next one begins anew, against what the destination holds
    Reset(ResetArgs),
}

#[derive(Args, Clone, Debug)]
struct ListArgs {
    /// Manifests: the state of their Flows alone; without them, all that lies in the place
    #[arg(value_name = "FILE|DIR")]
    manifests: Vec<PathBuf>,
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(flatten)]
    state: StateArgs,
    /// How it is written
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

#[derive(Args, Clone, Debug)]
pub(super) struct FlowArgs {
    /// The Flow: NAME, NAMESPACE/NAME, or the id of its state
    #[arg(required_unless_present = "remote", conflicts_with = "remote")]
    flow: Option<String>,
    /// Its manifests; without them the state is found by the Flow's name in the place alone
    #[arg(value_name = "FILE|DIR")]
    manifests: Vec<PathBuf>,
    /// This stream only; may be given several times
    #[arg(long = "stream", value_name = "NAME")]
    streams: Vec<String>,
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(flatten)]
    state: StateArgs,
}

#[derive(Args, Clone, Debug)]
struct LookArgs {
    #[command(flatten)]
    flow: FlowArgs,
    /// How it is written
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

#[derive(Args, Clone, Debug)]
struct SetArgs {
    #[command(flatten)]
    flow: FlowArgs,
    /// The watermark after which the next delta reads: JSON, or else plain text
    #[arg(
        long,
        value_name = "VALUE",
        required_unless_present = "offset",
        conflicts_with = "offset"
    )]
    watermark: Option<String>,
    /// The whole offset, as `millrace state show --output json` prints it
    #[arg(long, value_name = "JSON")]
    offset: Option<String>,
}

#[derive(Args, Clone, Debug)]
struct RestoreArgs {
    #[command(flatten)]
    flow: FlowArgs,
    /// The revision, as `millrace state history` names it
    #[arg(
        long,
        value_name = "GENERATION.COMMIT",
        required_unless_present = "from_destination",
        conflicts_with = "from_destination"
    )]
    to: Option<String>,
    /// Make the record anew from what the destination says, where it is missing or damaged; by the manifests, without
    /// which those in the current directory are read
    #[arg(long)]
    from_destination: bool,
}

#[derive(Args, Clone, Debug)]
struct ResetArgs {
    #[command(flatten)]
    flow: FlowArgs,
    /// All streams of the Flow
    #[arg(long, conflicts_with = "streams")]
    all_streams: bool,
}

/// Looks, or changes.
///
/// # Errors
/// What [`admin`] answers.
pub(super) async fn run(command: StateCommand) -> Result<Exit> {
    match command.action {
        Action::List(args) => list(&args).await?,
        Action::Show(args) => show::show(&Selected::open(&args.flow).await?, args.output).await?,
        Action::History(args) => show::history(&Selected::open(&args.flow).await?, args.output).await?,
        Action::Set(args) => set(&args).await?,
        Action::Restore(args) => restore(&args).await?,
        Action::Reset(args) => reset(&args).await?,
    }
    Ok(Exit::Done)
}

async fn list(args: &ListArgs) -> Result<()> {
    let mut shards = Vec::new();
    for (store, state) in select::places(&args.manifests, &args.remote, &args.state).await? {
        out::note(format_args!("state: {}", store.place()));
        shards.extend(store.list(state.as_deref()).await?);
    }
    shards.retain(|shard| !shard.stream.is_empty());
    if args.output == Output::Json {
        return out::json(&serde_json::to_value(&shards)?);
    }
    if shards.is_empty() {
        out::note("there is no state");
        return Ok(());
    }
    let mut table = out::table(&["state", "stream"]);
    shards.iter().for_each(|shard| {
        table.add_row([&shard.state, &shard.stream]);
    });
    out::line(table.trim_fmt())
}

async fn set(args: &SetArgs) -> Result<()> {
    let selected = Selected::open(&args.flow).await?;
    for shard in selected.one_stream("state set")? {
        let offset = match (&args.offset, &args.watermark) {
            (Some(text), _) => serde_json::from_str(text)
                .map_err(|error| Error::config(format!("--offset is no JSON: {error}")))?,
            (None, watermark) => {
                with_watermark(&selected, &shard, watermark.as_deref().unwrap_or_default()).await?
            }
        };
        changed(
            &shard,
            &admin::set(selected.store.as_ref(), &shard, offset, &nonce()).await?,
        );
    }
    Ok(())
}

/// The offset as it stands, with another watermark.
async fn with_watermark(selected: &Selected, shard: &ShardId, watermark: &str) -> Result<Value> {
    let record = admin::show(selected.store.as_ref(), shard).await?;
    let mut offset = record.edit.map_or(record.committed.offset, |edit| edit.offset);
    let Some(map) = offset.as_object_mut() else {
        return Err(Error::config(format!(
            "{shard} has no offset yet, so there is no watermark to set"
        ))
        .advice("run a full load first"));
    };
    let value = serde_json::from_str(watermark).unwrap_or_else(|_| Value::from(watermark));
    map.insert("watermark".to_owned(), value);
    Ok(offset)
}

async fn restore(args: &RestoreArgs) -> Result<()> {
    let mut flow = args.flow.clone();
    if args.from_destination && flow.manifests.is_empty() && flow.flow.is_some() {
        flow.manifests.push(PathBuf::from("."));
    }
    let selected = match args.from_destination {
        true => Selected::with_destination(&flow).await?,
        false => Selected::open(&flow).await?,
    };
    for shard in selected.one_stream("state restore")? {
        let store = selected.store.as_ref();
        let record = match &args.to {
            Some(text) => admin::restore(store, &shard, revision(text)?, &nonce()).await?,
            None => {
                let (uid, committed) = selected.word_of_destination(&shard).await?;
                admin::take_over(store, &shard, &uid, committed, &nonce()).await?
            }
        };
        changed(&shard, &record);
    }
    Ok(())
}

async fn reset(args: &ResetArgs) -> Result<()> {
    let selected = Selected::open(&args.flow).await?;
    let shards = if args.all_streams {
        selected.shards().await?
    } else {
        selected.one_stream("state reset")?
    };
    for shard in shards {
        changed(
            &shard,
            &admin::reset(selected.store.as_ref(), &shard, &nonce()).await?,
        );
    }
    Ok(())
}

fn changed(shard: &ShardId, record: &Record) {
    let next = match &record.edit {
        Some(edit) if edit.is_reset() => "begins anew".to_owned(),
        Some(edit) => format!("goes on from {}", edit.offset),
        None => format!(
            "goes on from commit {}.{}",
            record.committed.generation, record.committed.seq
        ),
    };
    out::note(format_args!("{shard}: the next load {next}"));
}

/// `3.14` as generation 3, commit 14.
fn revision(text: &str) -> Result<(u64, u64)> {
    let parts = text
        .split_once('.')
        .and_then(|(generation, seq)| Some((generation.parse().ok()?, seq.parse().ok()?)));
    parts.ok_or_else(|| {
        Error::config(format!("`{text}` names no revision"))
            .advice("write GENERATION.COMMIT, as `millrace state history` shows it")
    })
}

#[cfg(test)]
mod tests {
    use super::revision;

    #[test]
    fn a_revision_is_a_generation_and_a_commit() {
        assert_eq!(revision("3.14").unwrap(), (3, 14));
        for text in ["3", "3.", ".1", "a.b", "1.2.3"] {
            assert!(revision(text).is_err(), "{text}");
        }
    }
}
