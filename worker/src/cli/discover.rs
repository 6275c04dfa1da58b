//! `millrace discover`: the streams and schemas of Sources, as a block to paste into a manifest.
//!
//! In: Sources, and what they find. Out: each stream as the manifest declares it already, and what it does not say from
//! the source: keys, types, columns that are new.

use clap::Args;
use millrace_crds::{
    plan::{FlowRef, SourcePlan},
    schema::Field,
};
use serde_json::{Value, json};

use super::{
    closing::Output,
    exit::Exit,
    human,
    manifests::{self, Manifests},
    out, yaml,
};
use crate::{
    connector::StreamInfo,
    engine::streams,
    error::{Context, Result},
    stream::StreamSpec,
    types::odcs_fields,
};

/// The options of `millrace discover`.
#[derive(Args, Clone, Debug)]
pub(super) struct DiscoverArgs {
    #[command(flatten)]
    manifests: Manifests,
    /// This Source only: NAME or NAMESPACE/NAME
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// How it is written: a `streams:` block (text), or JSON
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

/// Asks the Sources and prints.
///
/// # Errors
/// `config` where there is no such Source; what the source says. A stream that cannot be told is left out, and told of.
pub(super) async fn run(args: DiscoverArgs) -> Result<Exit> {
    let loaded = manifests::load(&args.manifests.paths)?;
    let (mut found, mut troubles) = (Vec::new(), Vec::new());
    for (place, plan) in loaded.sources(args.source.as_deref())? {
        let source = loaded.open_source(place.clone(), &plan)?;
        let infos = source
            .discover()
            .await
            .context(format!("Source {}", place.name))?;
        let mut streams = Vec::new();
        for info in infos {
            match info.trouble {
                None => streams.push(Found::new(&plan, info)?),
                Some(trouble) => troubles.extend(
                    Err::<(), _>(trouble)
                        .context(format!("Source {}, stream {}", place.name, info.name))
                        .err(),
                ),
            }
        }
        found.push((place, streams));
    }
    match args.output {
        Output::Json => out::json(
            &json!({ "sources": found.iter().map(|(place, streams)| as_json(place, streams)).collect::<Vec<_>>() }),
        )?,
        Output::Text => {
            let blocks: Vec<String> = found
                .iter()
                .map(|(place, streams)| block(place, streams))
                .collect();
            out::line(blocks.join("---\n").trim_end())?;
        }
    }
    troubles.iter().for_each(out::error);
    Ok(Exit::of(&troubles, true))
}

/// A stream at the source, and what the manifest says of it.
struct Found {
    info: StreamInfo,
    spec: StreamSpec,
}

impl Found {
    fn new(source: &SourcePlan, info: StreamInfo) -> Result<Self> {
        let spec = streams::of_source(source, &info)?;
        Ok(Self { info, spec })
    }

    /// The declared columns in their order, then those that only the source has.
    fn fields(&self) -> Vec<Field> {
        let declared = self.spec.declared.clone().unwrap_or_default();
        let mut found = odcs_fields(&self.info.schema);
        found.retain(|field| declared.iter().all(|known| known.name != field.name));
        declared.into_iter().chain(found).collect()
    }

    fn as_json(&self) -> Value {
        json!({
            "name": self.info.name,
            "primaryKey": self.spec.primary_key,
            "cursorFields": self.spec.cursor,
            "cursors": self.info.cursors,
            "rows": self.info.rows,
            "schema": self.fields(),
        })
    }

    fn block(&self) -> String {
        let rows = self
            .info
            .rows
            .map(|rows| format!("    # {} rows", human::count(rows)))
            .unwrap_or_default();
        let mut text = format!("  - name: {}{rows}\n", yaml::flow(&self.info.name.clone().into()));
        text += &match self.spec.primary_key.as_slice() {
            [] => "    # primaryKey: []    # which columns name a row?\n".to_owned(),
            key => format!("    primaryKey: {}\n", yaml::flow(&json!(key))),
        };
        text += &self.cursor();
        if let Some(partitions) = self.spec.partitions {
            text += &format!("    partitions: {partitions}\n");
        }
        text += "    schema:\n";
        for field in self.fields() {
            let field = serde_json::to_value(field).unwrap_or_default();
            text += &format!("      - {}\n", yaml::flow(&field));
        }
        text
    }

    /// A cursor that misses rows is worse than none: which one it is, is for a person to say.
    fn cursor(&self) -> String {
        match self.spec.cursor.as_slice() {
            [] => {}
            [one] => return format!("    cursorField: {}\n", yaml::flow(&json!(one))),
            several => return format!("    cursorFields: {}\n", yaml::flow(&json!(several))),
        }
        let Some((best, others)) = self.info.cursors.split_first() else {
            return String::new();
        };
        let others = match others {
            [] => String::new(),
            others => format!("    # or {}", others.join(", ")),
        };
        format!(
            "    # cursorField: {}{others}\n",
            yaml::flow(&best.clone().into())
        )
    }
}

fn as_json(place: &FlowRef, streams: &[Found]) -> Value {
    let streams: Vec<Value> = streams.iter().map(Found::as_json).collect();
    json!({ "name": place.name, "namespace": place.namespace, "streams": streams })
}

fn block(place: &FlowRef, streams: &[Found]) -> String {
    let count = streams.len();
    let plural = if count == 1 { "" } else { "s" };
    let streams: String = streams.iter().map(Found::block).collect();
    format!(
        "# Source {}: {count} stream{plural}\nstreams:\n{streams}",
        place.name
    )
}

#[cfg(test)]
mod tests;
