//! `millrace discover`: the streams and schemas of Sources, as a block to paste into a manifest.

use clap::Args;
use millrace_crds::plan::FlowRef;
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
    error::{Context, Result},
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
/// `config` where there is no such Source; what the source says.
pub(super) async fn run(args: DiscoverArgs) -> Result<Exit> {
    let loaded = manifests::load(&args.manifests.paths)?;
    let mut found = Vec::new();
    for (place, plan) in loaded.sources(args.source.as_deref())? {
        let source = loaded.open_source(place.clone(), &plan)?;
        let streams = source
            .discover()
            .await
            .context(format!("Source {}", place.name))?;
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
    Ok(Exit::Done)
}

fn as_json(place: &FlowRef, streams: &[StreamInfo]) -> Value {
    let stream = |info: &StreamInfo| {
        json!({
            "name": info.name,
            "primaryKey": info.primary_key,
            "cursors": info.cursors,
            "rows": info.rows,
            "schema": odcs_fields(&info.schema),
        })
    };
    json!({ "name": place.name, "namespace": place.namespace, "streams": streams.iter().map(stream).collect::<Vec<_>>() })
}

fn block(place: &FlowRef, streams: &[StreamInfo]) -> String {
    let plural = if streams.len() == 1 { "" } else { "s" };
    let mut text = format!(
        "# Source {}: {} stream{plural}\nstreams:\n",
        place.name,
        streams.len()
    );
    for info in streams {
        let rows = info
            .rows
            .map(|rows| format!("    # {} rows", human::count(rows)))
            .unwrap_or_default();
        text += &format!("  - name: {}{rows}\n", yaml::flow(&info.name.clone().into()));
        match info.primary_key.is_empty() {
            false => text += &format!("    primaryKey: {}\n", yaml::flow(&json!(info.primary_key))),
            true => text += "    # primaryKey: []    # which columns name a row?\n",
        }
        // A cursor that misses rows is worse than none: which one it is, is for a person to say.
        if let Some((best, others)) = info.cursors.split_first() {
            let others = if others.is_empty() {
                String::new()
            } else {
                format!("    # or {}", others.join(", "))
            };
            text += &format!(
                "    # cursorField: {}{others}\n",
                yaml::flow(&best.clone().into())
            );
        }
        text += "    schema:\n";
        for field in odcs_fields(&info.schema) {
            let field = serde_json::to_value(field).unwrap_or_default();
            text += &format!("      - {}\n", yaml::flow(&field));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use arrow::datatypes::{DataType, Field, Schema};
    use millrace_crds::plan::FlowRef;

    use super::{StreamInfo, block};

    #[test]
    fn the_block_can_be_pasted_into_a_source() {
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("price", DataType::Decimal128(15, 2), true),
            Field::new("on", DataType::Utf8, true),
            Field::new(
                "tags",
                DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))),
                true,
            ),
        ]);
        let info = StreamInfo {
            name: "public.orders".to_owned(),
            schema: Arc::new(schema),
            primary_key: vec!["id".to_owned()],
            cursors: vec!["updated_at".to_owned(), "created_at".to_owned()],
            rows: Some(1200),
        };
        let place = FlowRef {
            namespace: "default".to_owned(),
            name: "shop".to_owned(),
            uid: String::new(),
            labels: BTreeMap::new(),
        };
        let keyless = StreamInfo {
            name: "log".to_owned(),
            primary_key: Vec::new(),
            ..info.clone()
        };
        let block = block(&place, &[info, keyless]);
        assert!(
            block.contains("  - name: public.orders    # 1,200 rows\n    primaryKey: [id]\n"),
            "{block}"
        );
        let indented: String = block.lines().map(|line| format!("  {line}\n")).collect();
        let manifest = format!(
            "apiVersion: {}\nkind: Source\nmetadata: {{ name: shop }}\nspec:\n  connector: {{ name: file }}\n  connection: {{ url: x }}\n{indented}",
            millrace_crds::API_VERSION
        );
        let read = millrace_crds::manifest::parse("shop.yaml", &manifest);
        let resources = read.unwrap_or_else(|problems| panic!("{problems:?}\n{manifest}"));
        assert_eq!(resources.sources[0].object.spec.streams.len(), 2);
    }
}
