//! A trial of an open Flow: whether its ends and its state store answer, and what it would load.
//!
//! In: a Flow. Out: everything that is wrong, at once; its streams; and what a person should know. Nothing is written.

use millrace_crds::flow::WriteMode;

use super::{flow::Flow, history, pipeline};
use crate::{
    connector::Range,
    error::{Context, Error, Result},
    stream::StreamSpec,
};

/// What a trial has shown.
#[derive(Debug, Default)]
pub struct Tried {
    /// What is wrong.
    pub errors: Vec<Error>,
    /// The streams that it would load.
    pub streams: Vec<StreamSpec>,
    /// What is worth knowing.
    pub remarks: Vec<String>,
}

/// Tries both ends and the store, all three whatever the first says; and the streams that the source has.
pub async fn tried(flow: &Flow) -> Tried {
    let source = async {
        flow.source
            .check()
            .await
            .context(format!("source {}", flow.plan.source.name))?;
        flow.streams(&[]).await
    };
    let destination = async { flow.destination.check().await.context("destination") };
    let store = async {
        flow.store
            .probe()
            .await
            .context(format!("state {}", flow.store.place()))
    };
    let (source, destination, store) = tokio::join!(source, destination, store);
    let mut tried = Tried {
        errors: [destination, store].into_iter().filter_map(Result::err).collect(),
        ..Tried::default()
    };
    match source {
        Ok(streams) => {
            if tried.errors.is_empty() {
                tried.errors = damaged(flow, &streams).await;
            }
            if tried.errors.is_empty() {
                match reshaped(flow, &streams).await {
                    Ok(remarks) => tried.remarks = remarks,
                    Err(error) => tried.errors.push(error),
                }
            }
            tried.streams = streams;
        }
        Err(error) => tried.errors.insert(0, error),
    }
    tried
}

/// Why nothing but their names could be told of some streams: their loads say it, too.
async fn damaged(flow: &Flow, streams: &[StreamSpec]) -> Vec<Error> {
    let mut errors = Vec::new();
    for stream in streams.iter().filter(|stream| stream.discovered.is_none()) {
        let load = flow.source.load(stream, &Range::Full).await;
        errors.extend(load.context(format!("stream {}", stream.name)).err());
    }
    errors
}

/// Streams that will be delivered with other columns than the last time.
async fn reshaped(flow: &Flow, streams: &[StreamSpec]) -> Result<Vec<String>> {
    let standing = history::standing(flow).await?;
    let mut remarks = Vec::new();
    for stream in streams
        .iter()
        .filter(|stream| stream.write_mode != WriteMode::Overwrite)
    {
        let offset = standing
            .iter()
            .find(|known| known.name == stream.name)
            .and_then(|known| known.offset.as_ref())
            .filter(|offset| !offset.columns.is_empty() && !offset.schema.is_empty());
        let Some(offset) = offset else { continue };
        let now = pipeline::columns_now(&flow.plan, stream, offset)?;
        if now != offset.columns {
            remarks.push(format!(
                "{}: stream {}: its transforms make {} of it, and {} were delivered: that is a change of every row, \
                 and the next full load delivers all of them",
                flow.name(),
                stream.name,
                now.join(", "),
                offset.columns.join(", ")
            ));
        }
    }
    Ok(remarks)
}
