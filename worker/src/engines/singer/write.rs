//! The writing end: any Singer target.
//!
//! In: a table. Out: its schema, its rows as records, for a load that replaces the word that older versions are gone, and a
//! state behind them. What a target does with it is its own affair: that it ended well is all that most of them tell.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::Origin;
use crate::{
    connector::{Authority, System},
    engines::{
        child::{Child, Program},
        hosted::patience,
        json_schema,
        messages::{
            Said, Settings,
            write::{Opened, Recipient, Table},
        },
    },
    error::{Context, Result},
    secrets::Mask,
};

/// What it does while its configuration is tried, for errors.
const TRYING: &str = "its configuration was tried";

/// A target.
pub(super) struct Written(pub(super) Box<dyn Origin>);

impl Written {
    async fn program(&self, settings: &Settings) -> Result<Program> {
        let mut program = self.0.program().await?;
        let config = settings.write("config.json", &self.0.config().await?)?;
        program.args.extend(["--config".into(), config.into()]);
        Ok(program)
    }
}

/// The stream as targets split it into schema and table.
fn name(table: &Table) -> String {
    table.stream.name.replace('.', "-")
}

/// Without the step of decimals: targets that read numbers as binary ones check it, and find that 2.3 is not a multiple of
/// 0.01. The digits of a value are all in its record.
fn unchecked(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(fields) => {
            // A column of that name has an object there.
            fields.retain(|name, value| name != "multipleOf" || !value.is_number());
            fields
                .values_mut()
                .for_each(|value| *value = unchecked(value.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = unchecked(item.take())),
        _ => {}
    }
    schema
}

#[async_trait]
impl Recipient for Written {
    fn system(&self) -> &System {
        self.0.system()
    }

    fn mask(&self) -> Result<Mask> {
        self.0.mask()
    }

    async fn prepare(&self) -> Result<()> {
        Ok(())
    }

    /// No target says whether it replaces rows by key.
    fn authority(&self) -> Authority {
        Authority::Store
    }

    /// It is given its configuration and no messages: most of them look at the one before the others.
    async fn check(&self) -> Result<()> {
        let settings = Settings::of(self.system())?;
        let program = self.program(&settings).await?;
        let (mut child, input, output) = Child::start(&program, self.mask()?)?;
        drop(input);
        let patience = patience();
        let said = tokio::time::timeout(patience, output.whole(0)).await;
        let silent = |_| child.silent(TRYING, patience);
        said.map_err(silent)?.context(&program.name)?;
        match child.end().await? {
            ended if ended.well() => Ok(()),
            ended => Err(ended.error(TRYING)),
        }
    }

    async fn open(&self, table: &Table) -> Result<Opened> {
        let settings = Settings::of(self.system())?;
        let program = self.program(&settings).await?;
        let schema = json!({
            "type": "SCHEMA",
            "stream": name(table),
            "schema": unchecked(json_schema::of(&table.schema)),
            "key_properties": table.stream.delivered_key,
        });
        Ok(Opened {
            program,
            settings,
            first: vec![schema],
        })
    }

    fn around(&self, table: &Table, _at: i64) -> (String, &'static str) {
        let version = match table.replace {
            true => format!("\"version\":{},", table.version),
            false => String::new(),
        };
        let stream = Value::from(name(table));
        let before = format!("{{\"type\":\"RECORD\",\"stream\":{stream},{version}\"record\":");
        (before, "}\n")
    }

    fn last(&self, table: &Table, _rows: u64) -> Vec<Value> {
        let stream = name(table);
        let mut messages = Vec::new();
        if table.replace {
            messages.push(
                json!({ "type": "ACTIVATE_VERSION", "stream": stream.clone(), "version": table.version }),
            );
        }
        let mut bookmarks = serde_json::Map::new();
        bookmarks.insert(stream, json!({ "millrace": table.mark }));
        messages.push(json!({ "type": "STATE", "value": { "bookmarks": bookmarks } }));
        messages
    }

    /// Targets print the bare value of a state.
    fn hear<'a>(&self, line: &'a str) -> Said<'a> {
        match serde_json::from_str::<Value>(line) {
            Ok(state) if state.is_object() => Said::State { state, rows: None },
            _ => Said::Noise,
        }
    }

    fn confirms(&self, table: &Table, state: &Value) -> bool {
        state["bookmarks"][name(table)]["millrace"] == table.mark.as_str()
    }

    fn confirms_always(&self) -> bool {
        false
    }

    fn deleted(&self) -> &'static str {
        "_sdc_deleted_at"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::unchecked;

    #[test]
    fn no_decimal_has_a_step_and_columns_keep_their_names() {
        let step = |named: bool| {
            let mut number = json!({ "type": ["null", "number"], "multipleOf": 0.01 });
            if !named {
                number = json!({ "type": ["null", "number"] });
            }
            json!({ "properties": {
                "price": number.clone(),
                "multipleOf": number.clone(),
                "list": { "items": number.clone(), "anyOf": [number] },
            } })
        };
        assert_eq!(unchecked(step(true)), step(false));
    }
}
