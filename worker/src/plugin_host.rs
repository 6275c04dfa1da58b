//! `millrace plugin-host`: a plugin that is no Python, in a process of its own.
//!
//! In: the plugin protocol on standard input. Out: the same on standard output, which the plugin itself never gets hold of.
//! What takes a library down takes this process, and the worker sees how it ended.

mod adbc;
mod library;
mod pipe;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::ValueEnum;
use serde_json::{Value, json};

use self::pipe::{Pipe, Request};
use crate::error::{Error, Result};

/// What a host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A library of the plugin interface.
    Library,
    /// An ADBC driver.
    Adbc,
}

/// A plugin behind a host. What it cannot do is an error that says so.
trait Plugin {
    /// What it says of itself: the fields of `ready`.
    fn ready(&mut self) -> Result<Value>;
    /// Its streams, each as `streams` tells of it, and their columns where they are known; `only`: the one that is asked for.
    fn discover(&mut self, only: Option<&str>) -> Result<Vec<(Value, Option<SchemaRef>)>>;
    /// Tries what it connects to.
    fn check(&mut self) -> Result<()>;
    /// Begins to read; gives the columns, and what the header of their frame says.
    fn read(&mut self, request: &Value) -> Result<(SchemaRef, Value)>;
    /// The next rows, and what the header of their frame says; `None`: there are no more.
    fn next(&mut self) -> Result<Option<(RecordBatch, Value)>>;
    /// Begins to write.
    fn open(&mut self, request: &Value, schema: SchemaRef) -> Result<()>;
    /// Writes rows; gives its files.
    fn write(&mut self, request: &Value, rows: RecordBatch) -> Result<Value>;
    /// Commits.
    fn commit(&mut self, request: &Value) -> Result<()>;
}

/// Serves until nobody asks any more.
///
/// # Errors
/// Where the pipe breaks.
pub fn serve(kind: Kind) -> Result<()> {
    let mut pipe = Pipe::take()?;
    let mut plugin: Option<Box<dyn Plugin>> = None;
    while let Some(request) = pipe.next()? {
        let mut batch = None;
        let answered = answer(kind, &mut plugin, &request, &mut pipe, &mut batch);
        if let Err(error) = answered {
            let told = json!({
                "type": "error",
                "kind": error.kind.as_str(),
                "message": error.message,
                "advice": error.advice,
                "batch": batch,
            });
            pipe.write(&told, &[])?;
        }
    }
    Ok(())
}

/// Answers one request; `batch` is the number of the one that is being read, counted from 1: errors name it.
fn answer(
    kind: Kind,
    plugin: &mut Option<Box<dyn Plugin>>,
    request: &Request,
    pipe: &mut Pipe,
    batch: &mut Option<u64>,
) -> Result<()> {
    let asked = request.header["type"].as_str().unwrap_or_default();
    if asked == "start" {
        let made = plugin.insert(make(kind, &request.header)?);
        let mut ready = made.ready()?;
        ready["type"] = json!("ready");
        ready["protocol"] = json!(1);
        return pipe.write(&ready, &[]);
    }
    let plugin = plugin
        .as_mut()
        .ok_or_else(|| Error::bug("it was asked before it was started"))?;
    match asked {
        "discover" => {
            let told = |(mut stream, schema): (Value, Option<SchemaRef>)| -> Result<Value> {
                let schema = schema.map(|schema| pipe::schema(&schema)).transpose()?;
                stream["schema"] = json!(schema.map(|schema| STANDARD.encode(schema)));
                Ok(stream)
            };
            let streams: Vec<Value> = plugin
                .discover(request.header["stream"].as_str())?
                .into_iter()
                .map(told)
                .collect::<Result<_>>()?;
            pipe.write(&json!({ "type": "streams", "streams": streams }), &[])
        }
        "check" => {
            plugin.check()?;
            pipe.write(&json!({ "type": "ok" }), &[])
        }
        "read" => {
            let (schema, mut header) = plugin.read(&request.header)?;
            header["type"] = json!("schema");
            pipe.write(&header, &pipe::schema(&schema)?)?;
            let batch = batch.insert(1);
            while let Some((rows, mut header)) = plugin.next()? {
                header["type"] = json!("batch");
                header["batch"] = json!(*batch);
                pipe.write_batch(header, &rows)?;
                *batch += 1;
            }
            pipe.write(&json!({ "type": "end" }), &[])
        }
        "open" => {
            plugin.open(&request.header, pipe::read_schema(&request.body)?)?;
            pipe.write(&json!({ "type": "ok" }), &[])
        }
        "write" => {
            let files = plugin.write(&request.header, pipe::read_batch(&request.body)?)?;
            pipe.write(&json!({ "type": "written", "files": files }), &[])
        }
        "commit" => {
            plugin.commit(&request.header)?;
            pipe.write(&json!({ "type": "committed" }), &[])
        }
        // Reading is over by the time that these are heard.
        "pause" | "resume" | "acknowledge" => Ok(()),
        "close" => pipe.write(&json!({ "type": "end" }), &[]),
        other => Err(Error::bug(format!("this host knows no `{other}`"))),
    }
}

fn make(kind: Kind, start: &Value) -> Result<Box<dyn Plugin>> {
    Ok(match kind {
        Kind::Library => Box::new(library::Library::load(start)?),
        Kind::Adbc => Box::new(adbc::Adbc::connect(start)?),
    })
}
