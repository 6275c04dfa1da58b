//! Records and revisions, for people and for programs.

use serde_json::{Value, json};

use super::select::Selected;
use crate::{
    cli::{closing::Output, out},
    error::Result,
    protocol::{Committed, ShardId},
    state::{Record, Revision, admin},
};

/// Shows records, and beside them what the destination says.
///
/// # Errors
/// What the store or the destination says.
pub(super) async fn show(selected: &Selected, output: Output) -> Result<()> {
    out::note(format_args!("state: {}", selected.store.place()));
    let mut values = Vec::new();
    for shard in selected.shards().await? {
        let record = admin::show(selected.store.as_ref(), &shard).await?;
        let there = selected.committed(&shard).await?;
        match output {
            Output::Text => out::line(text(&shard, &record, selected.flow.is_some().then_some(there.as_ref())))?,
            Output::Json => values.push(json!({ "state": shard.state, "stream": shard.stream, "record": record, "destination": there })),
        }
    }
    if output == Output::Json {
        out::json(&Value::Array(values))
    } else {
        Ok(())
    }
}

fn text(shard: &ShardId, record: &Record, there: Option<Option<&Committed>>) -> String {
    let mut lines = vec![shard.to_string()];
    let mut add = |name: &str, value: String| lines.push(format!("  {name:12} {value}"));
    add("committed", commit(&record.committed));
    add("offset", brief(&record.committed.offset));
    if let Some(edit) = &record.edit {
        add(
            "edited",
            format!(
                "{}: the next load goes on from {}",
                edit.cause,
                brief(&edit.offset)
            ),
        );
    }
    add("owner", format!("{} (epoch {})", record.owner, record.epoch));
    add("flow", record.flow_uid.clone());
    match there {
        None => {}
        Some(None) => add("destination", "holds nothing of it".to_owned()),
        Some(Some(there)) if there.at() == record.committed.at() => {
            add("destination", "says the same".to_owned());
        }
        Some(Some(there)) => add(
            "destination",
            format!("{}, offset {}", commit(there), brief(&there.offset)),
        ),
    }
    lines.join("\n")
}

fn commit(committed: &Committed) -> String {
    match committed.at() {
        (0, _) => "nothing yet".to_owned(),
        (generation, seq) => format!("{generation}.{seq}"),
    }
}

/// An offset without the schema, which is long and is told elsewhere.
fn brief(offset: &Value) -> String {
    let mut offset = offset.clone();
    if let Some(map) = offset.as_object_mut() {
        map.remove("schema");
        map.remove("seed");
    }
    if offset.is_null() {
        "none".to_owned()
    } else {
        offset.to_string()
    }
}

/// Where the next delta would begin, as far as a cell of a table holds it.
pub(in crate::cli) fn cell(offset: &Value) -> String {
    const LONGEST: usize = 48;
    let text = match offset.get("watermark") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    if text.chars().count() <= LONGEST {
        text
    } else {
        text.chars().take(LONGEST - 1).chain(['…']).collect()
    }
}

/// Shows revisions.
///
/// # Errors
/// What the store says.
pub(super) async fn history(selected: &Selected, output: Output) -> Result<()> {
    out::note(format_args!("state: {}", selected.store.place()));
    let mut values = Vec::new();
    let mut table = out::table(&["stream", "revision", "at", "cause", "run", "watermark"]);
    for shard in selected.shards().await? {
        let history = admin::history(selected.store.as_ref(), &shard).await?;
        for Revision { at, run, committed } in &history {
            table.add_row([
                &shard.stream,
                &commit(committed),
                at,
                &run.cause,
                &run.id,
                &cell(&committed.offset),
            ]);
        }
        values.push(json!({ "state": shard.state, "stream": shard.stream, "history": history }));
    }
    match output {
        Output::Text => out::line(table.trim_fmt()),
        Output::Json => out::json(&Value::Array(values)),
    }
}
