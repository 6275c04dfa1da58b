//! `millrace preview`: the first rows of a stream, as the source gives them.

use arrow::{record_batch::RecordBatch, util::pretty::pretty_format_batches};
use clap::Args;

use super::{
    exit::Exit,
    manifests::{self, Manifests},
    out,
};
use crate::{
    connector::{Range, Source, StreamInfo},
    engine::streams,
    error::{Context, Error, Result},
    stream::StreamSpec,
};

/// The options of `millrace preview`.
#[derive(Args, Clone, Debug)]
pub(super) struct PreviewArgs {
    #[command(flatten)]
    manifests: Manifests,
    /// The stream, by its exact name; needed where there are several
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// The Source, where there are several: NAME or NAMESPACE/NAME
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// How many rows
    #[arg(long, default_value_t = 10, value_name = "N")]
    rows: usize,
}

/// Reads and prints.
///
/// # Errors
/// `config` where there is no such stream, or more than one; what the source says.
pub(super) async fn run(args: PreviewArgs) -> Result<Exit> {
    let loaded = manifests::load(&args.manifests.paths)?;
    let mut candidates = Vec::new();
    for (place, plan) in loaded.sources(args.source.as_deref())? {
        let source = loaded.open_source(place.clone(), &plan)?;
        let found = source
            .discover()
            .await
            .context(format!("Source {}", place.name))?;
        for info in found {
            let wanted = match &args.stream {
                Some(name) => info.name == *name,
                None => streams::is_ruled(&plan, &info.name)?,
            };
            candidates.push((
                wanted,
                info.clone(),
                source.clone(),
                streams::of_source(&plan, &info)?,
            ));
        }
    }
    let names: Vec<String> = candidates.iter().map(|(_, info, ..)| info.name.clone()).collect();
    let mut wanted = candidates.into_iter().filter(|(wanted, ..)| *wanted);
    let (Some((_, info, source, stream)), None) = (wanted.next(), wanted.next()) else {
        return Err(ambiguous(args.stream.as_deref(), &names));
    };
    let batches = first(source.as_ref(), &stream, args.rows)
        .await
        .context(format!("stream {}", info.name))?;
    print(&info, &batches)?;
    Ok(Exit::Done)
}

fn ambiguous(asked: Option<&str>, names: &[String]) -> Error {
    let known = names.join(", ");
    match asked {
        Some(name) if names.iter().any(|known| known == name) => {
            Error::config(format!("more than one Source has a stream `{name}`")).advice("add `--source NAME`")
        }
        Some(name) => Error::config(format!("there is no stream `{name}`"))
            .reason("UnknownStream")
            .advice(format!("there is {known}")),
        None => Error::config("there is more than one stream, or none")
            .advice(format!("add `--stream NAME`: {known}")),
    }
}

/// The first rows, in the order of the source.
async fn first(source: &dyn Source, stream: &StreamSpec, rows: usize) -> Result<Vec<RecordBatch>> {
    let load = source.load(stream, &Range::Full).await?;
    let (mut batches, mut left) = (Vec::new(), rows);
    for partition in 0..load.partitions() {
        let mut reader = load.read(partition).await?;
        while left > 0
            && let Some(payload) = reader.next().await?
        {
            for refused in &payload.refused {
                out::warning(format_args!("a row cannot be read: {}", refused.reason));
            }
            let batch = payload.batch.slice(0, payload.batch.num_rows().min(left));
            left -= batch.num_rows();
            batches.push(batch);
        }
        if left == 0 {
            break;
        }
    }
    Ok(batches)
}

fn print(info: &StreamInfo, batches: &[RecordBatch]) -> Result<()> {
    if batches.iter().all(|batch| batch.num_rows() == 0) {
        out::note(format_args!("stream {} has no rows", info.name));
        return Ok(());
    }
    out::line(pretty_format_batches(batches)?)
}
