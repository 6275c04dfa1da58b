//! The writing end: any destination that speaks the Airbyte protocol.
//!
//! In: a table. Out: a configured catalog of this one stream, its rows as records, a state behind them and the word that
//! the stream is complete, in the order in which sources send them. The destination gives the state back once it has
//! made the rows safe.

use async_trait::async_trait;
use millrace_crds::flow::WriteMode;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{Connector, SPEC, message};
use crate::{
    connector::{Authority, System},
    engine::deliver::LOADED_AT_COLUMN,
    engines::{
        json_schema,
        messages::{
            Dialect, Said, Settings,
            write::{Opened, Recipient, Table},
        },
    },
    error::{Error, Result},
};

/// A destination.
pub(super) struct Written {
    connector: Connector,
    /// The ways to write that it knows; empty: it does not say.
    modes: OnceCell<Vec<String>>,
}

impl Written {
    pub(super) fn new(connector: Connector) -> Self {
        Self {
            connector,
            modes: OnceCell::new(),
        }
    }

    async fn modes(&self) -> Result<&[String]> {
        let ask = async || {
            let spec = self
                .connector
                .ask(SPEC, |message| Some(message.get("spec")?.clone()))
                .await?;
            let modes = spec["supported_destination_sync_modes"]
                .as_array()
                .into_iter()
                .flatten();
            Ok(modes.filter_map(Value::as_str).map(str::to_owned).collect())
        };
        self.modes.get_or_try_init(ask).await.map(Vec::as_slice)
    }

    fn wanted(&self) -> &'static str {
        mode(self.connector.system.write_mode.unwrap_or_default(), false)
    }
}

/// What the protocol calls a way to write.
fn mode(mode: WriteMode, replace: bool) -> &'static str {
    match mode {
        WriteMode::Overwrite => "overwrite",
        _ if replace => "overwrite",
        WriteMode::Append => "append",
        WriteMode::Upsert => "append_dedup",
    }
}

/// Namespace and name of a stream.
fn named(stream: &str) -> (Option<&str>, &str) {
    match stream.split_once('.') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => (Some(namespace), name),
        _ => (None, stream),
    }
}

/// `name` and, where there is one, `namespace`.
fn descriptor(table: &Table) -> Value {
    let (namespace, name) = named(&table.stream.name);
    let mut descriptor = json!({ "name": name });
    if let Some(namespace) = namespace {
        descriptor["namespace"] = json!(namespace);
    }
    descriptor
}

fn catalog(table: &Table) -> Value {
    let key: Vec<[&String; 1]> = table.stream.delivered_key.iter().map(|column| [column]).collect();
    let mut stream = descriptor(table);
    stream["json_schema"] = json_schema::of(&table.schema);
    stream["supported_sync_modes"] = json!(["full_refresh", "incremental"]);
    stream["source_defined_cursor"] = json!(true);
    if !key.is_empty() {
        stream["source_defined_primary_key"] = json!(key);
    }
    // Every row has it, that of a delete, too, and a later load a greater one.
    let cursor = table.schema.column_with_name(LOADED_AT_COLUMN);
    let cursor: Vec<&str> = cursor.map(|_| LOADED_AT_COLUMN).into_iter().collect();
    json!({ "streams": [{
        "stream": stream,
        "sync_mode": if table.replace { "full_refresh" } else { "incremental" },
        "destination_sync_mode": mode(table.stream.write_mode, table.replace),
        "cursor_field": cursor,
        "primary_key": key,
        "generation_id": table.generation,
        "minimum_generation_id": if table.replace { table.generation } else { 0 },
        "sync_id": table.version,
    }] })
}

#[async_trait]
impl Recipient for Written {
    fn system(&self) -> &System {
        &self.connector.system
    }

    async fn prepare(&self) -> Result<()> {
        let (modes, wanted) = (self.modes().await?, self.wanted());
        if modes.is_empty() || modes.iter().any(|mode| mode == wanted) {
            return Ok(());
        }
        let name = &self.connector.system.plan.connector;
        Err(Error::config(format!(
            "{name}: this destination does not know the mode {wanted}"
        ))
        .advice(format!(
            "it knows {}: choose another writeMode (append, upsert is append_dedup, overwrite)",
            modes.join(", ")
        )))
    }

    /// A repeated row takes the place of the same row, a repeated load that of the same load.
    fn authority(&self) -> Authority {
        let modes = self.modes.get().map(Vec::as_slice).unwrap_or_default();
        match self.wanted() {
            "append" => Authority::Store,
            wanted if modes.iter().any(|mode| mode == wanted) => Authority::StoreKeyed,
            _ => Authority::Store,
        }
    }

    async fn check(&self) -> Result<()> {
        self.prepare().await?;
        self.connector.check().await
    }

    async fn open(&self, table: &Table) -> Result<Opened> {
        let settings = Settings::of(self.system())?;
        let mut program = self.connector.program("write", &settings).await?;
        let catalog = settings.write("catalog.json", &catalog(table))?;
        program.args.extend(["--catalog".into(), catalog.into()]);
        Ok(Opened {
            program,
            settings,
            first: Vec::new(),
        })
    }

    fn around(&self, table: &Table, at: i64) -> (String, &'static str) {
        let (namespace, name) = named(&table.stream.name);
        let namespace = namespace.map_or_else(String::new, |namespace| {
            format!("\"namespace\":{},", Value::from(namespace))
        });
        let name = Value::from(name);
        let before = format!(
            "{{\"type\":\"RECORD\",\"record\":{{{namespace}\"stream\":{name},\"emitted_at\":{at},\"data\":"
        );
        (before, "}}\n")
    }

    fn last(&self, table: &Table, rows: u64) -> Vec<Value> {
        let descriptor = descriptor(table);
        let state = json!({
            "type": "STREAM",
            "stream": { "stream_descriptor": descriptor, "stream_state": { "millrace": table.mark } },
            "sourceStats": { "recordCount": rows },
        });
        let status = json!({
            "type": "STREAM_STATUS",
            "emitted_at": jiff::Timestamp::now().as_millisecond(),
            "stream_status": { "stream_descriptor": descriptor, "status": "COMPLETE" },
        });
        vec![
            json!({ "type": "STATE", "state": state }),
            json!({ "type": "TRACE", "trace": status }),
        ]
    }

    fn hear<'a>(&self, line: &'a str) -> Said<'a> {
        message::hear(line)
    }

    fn confirms(&self, table: &Table, state: &Value) -> bool {
        let marks = state.as_array().into_iter().flatten();
        let mut marks = marks.map(|state| &state["stream"]["stream_state"]["millrace"]);
        marks.any(|mark| *mark == table.mark.as_str())
    }

    fn confirms_always(&self) -> bool {
        true
    }

    fn deleted(&self) -> &'static str {
        "_ab_cdc_deleted_at"
    }
}
