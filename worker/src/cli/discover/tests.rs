use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema};
use millrace_crds::{
    Resolver, Setting, builtin,
    plan::{FlowRef, SourcePlan},
};

use super::{Found, StreamInfo, block};

fn manifest(streams: &str) -> String {
    format!(
        "apiVersion: {}\nkind: Source\nmetadata: {{ name: shop }}\nspec:\n  connector: {{ name: file }}\n  \
         connection: {{ url: \"x/{{stream}}.csv\" }}\n{streams}",
        millrace_crds::API_VERSION
    )
}

/// The Source of a manifest with this `streams:` block.
fn source(streams: &str) -> SourcePlan {
    let manifest = manifest(streams);
    let resources = millrace_crds::manifest::parse("shop.yaml", &manifest)
        .unwrap_or_else(|problems| panic!("{problems:?}\n{manifest}"));
    let resolver = Resolver {
        resources: &resources,
        recipes: builtin(),
        setting: &Setting::Local {
            environment: BTreeMap::new(),
        },
    };
    let (plan, problems) = resolver.source(&resources.sources[0]);
    plan.unwrap_or_else(|| panic!("{problems:?}\n{manifest}"))
}

fn info(name: &str) -> StreamInfo {
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
    StreamInfo {
        name: name.to_owned(),
        schema: Arc::new(schema),
        primary_key: Vec::new(),
        cursors: vec!["updated_at".to_owned(), "created_at".to_owned()],
        rows: Some(1200),
        trouble: None,
    }
}

fn printed(source: &SourcePlan, infos: Vec<StreamInfo>) -> String {
    let place = FlowRef {
        namespace: "default".to_owned(),
        name: "shop".to_owned(),
        uid: String::new(),
        labels: BTreeMap::new(),
    };
    let found: Vec<Found> = infos
        .into_iter()
        .map(|info| Found::new(source, info).unwrap())
        .collect();
    block(&place, &found)
}

fn indented(block: &str) -> String {
    block.lines().map(|line| format!("  {line}\n")).collect()
}

#[test]
fn the_block_can_be_pasted_into_a_source() {
    let keyed = StreamInfo {
        primary_key: vec!["id".to_owned()],
        ..info("public.orders")
    };
    let block = printed(&source(""), vec![keyed, info("log")]);
    assert!(
        block.contains("  - name: public.orders    # 1,200 rows\n    primaryKey: [id]\n"),
        "{block}"
    );
    assert_eq!(source(&indented(&block)).streams.len(), 2);
}

#[test]
fn what_the_manifest_declares_is_kept() {
    let declared = source(
        "  streams:\n  - name: orders\n    primaryKey: [id, \"on\"]\n    cursorField: \"on\"\n    partitions: 3\n    schema:\n    \
         - { name: price, logicalType: string, description: as written }\n  - { match: l.*, primaryKey: [\"on\"] }\n",
    );
    let block = printed(&declared, vec![info("orders"), info("log")]);
    let again = source(&indented(&block));
    let rule = &again.streams[0];
    assert_eq!(rule.primary_key, ["id", "on"], "{block}");
    assert_eq!(rule.cursor_field, ["on"], "{block}");
    assert_eq!(rule.partitions, Some(3), "{block}");
    let fields = rule.schema.as_ref().unwrap();
    let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["price", "id", "on", "tags"], "{block}");
    assert_eq!(fields[0].description.as_deref(), Some("as written"), "{block}");
    assert_eq!(again.streams[1].primary_key, ["on"], "{block}");
}
