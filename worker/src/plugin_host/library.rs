//! A library of the plugin interface, called across its border.
//!
//! In: a file and the name of a function. Out: a [`Plugin`]. Everything unsafe of it is here: what a library does with the
//! pointers that it is given is its own affair, and that of this process alone.

#![expect(
    unsafe_code,
    reason = "libraries are called through raw pointers, and this module is where"
)]

use std::{path::Path, sync::Arc};

use arrow::{
    array::{RecordBatch, StructArray},
    datatypes::{Schema, SchemaRef},
    ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi, to_ffi},
};
use libloading::Symbol;
use millrace_plugin::abi::{self, Create, DONE, Text, VERSION};
use serde_json::{Value, json};

use super::Plugin;
use crate::error::{Error, ErrorKind, Result};

/// A plugin of a library.
pub(super) struct Library {
    plugin: abi::Plugin,
    /// Lives as long as what it made.
    _library: libloading::Library,
}

/// Rows on the border.
struct Rows {
    array: FFI_ArrowArray,
    schema: FFI_ArrowSchema,
}

impl Rows {
    fn none() -> Self {
        Self {
            array: FFI_ArrowArray::empty(),
            schema: FFI_ArrowSchema::empty(),
        }
    }
}

impl Library {
    /// Loads the library that `start` names, and makes its plugin.
    pub(super) fn load(start: &Value) -> Result<Self> {
        let plugin = start["plugin"].as_str().unwrap_or_default();
        let (file, symbol) = plugin.rsplit_once(':').unwrap_or((plugin, ""));
        if !Path::new(file).exists() {
            return Err(Error::config(format!("there is no library {file}"))
                .advice("write its path as it is seen from the manifest, or from within the pod"));
        }
        let library = open(file)?;
        let mut made = abi::Plugin::empty();
        let mut error = Text::empty();
        let config = start["config"].to_string();
        let done = {
            // SAFETY: a function of this name is taken for one of this type; its version is looked at below.
            let create: Symbol<'_, Create> =
                unsafe { library.get(symbol) }.map_err(|_| missing(file, symbol))?;
            // SAFETY: the configuration lives as long as the call, and there is room for what comes back.
            unsafe { create(config.as_ptr(), config.len(), &raw mut made, &raw mut error) }
        };
        if done != DONE {
            return Err(failed(&taken(&mut error)));
        }
        if made.version != VERSION {
            return Err(Error::config(format!(
                "{file} speaks version {} of the plugin interface, and this is version {VERSION}",
                made.version
            ))
            .advice("build it with the release of `millrace-plugin` that belongs to this worker"));
        }
        Ok(Self {
            plugin: made,
            _library: library,
        })
    }

    fn call(&mut self, request: &Value, rows: &mut Rows) -> Result<Value> {
        let call = self
            .plugin
            .call
            .ok_or_else(|| Error::bug("the library made a plugin that cannot be called"))?;
        let request = request.to_string();
        let mut answer = Text::empty();
        // SAFETY: the request lives as long as the call; all others have room, and hold nothing that would be lost.
        let done = unsafe {
            call(
                &raw mut self.plugin,
                request.as_ptr(),
                request.len(),
                &raw mut rows.array,
                &raw mut rows.schema,
                &raw mut answer,
            )
        };
        let answer = taken(&mut answer);
        match done {
            DONE => Ok(answer),
            _ => Err(failed(&answer)),
        }
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        self.call(request, &mut Rows::none())
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        if let Some(release) = self.plugin.release.take() {
            // SAFETY: once, and the library is still loaded.
            unsafe { release(&raw mut self.plugin) };
        }
    }
}

/// Loads a library.
///
/// # Errors
/// `config` where it cannot be loaded, with the words of the system.
pub(super) fn open(file: &str) -> Result<libloading::Library> {
    // SAFETY: what a library does as it is loaded is its own affair, and that of this process.
    unsafe { libloading::Library::new(file) }.map_err(|error| {
        let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        let of_python = why.contains("undefined symbol: Py") || why.contains("undefined symbol: _Py");
        let advice = match of_python {
            true => "it is a module for Python; name the library of the system itself, such as libduckdb.so",
            false => "`file` tells what it was built for; `ldd` what it needs",
        };
        Error::config(format!("{file} cannot be loaded: {why}")).advice(advice)
    })
}

/// Whether a library exports a function.
///
/// # Errors
/// `config` where it does not, or cannot be loaded.
pub(super) fn require(file: &str, symbol: &[u8]) -> Result<()> {
    let library = open(file)?;
    // SAFETY: it is only looked for.
    let found = unsafe { library.get::<unsafe extern "C" fn()>(symbol) }.is_ok();
    match found {
        true => Ok(()),
        false => Err(missing(file, &String::from_utf8_lossy(symbol))),
    }
}

fn missing(file: &str, symbol: &str) -> Error {
    Error::config(format!("{file} exports no `{symbol}`"))
        .advice(format!("`nm -D --defined-only {file}` lists what it exports; `millrace_plugin::reader!` exports create_reader"))
}

/// The JSON of a text, which is freed.
fn taken(text: &mut Text) -> Value {
    if text.data.is_null() {
        return Value::Null;
    }
    // SAFETY: the library gave so many bytes.
    let bytes = unsafe { std::slice::from_raw_parts(text.data, text.len) };
    let value = serde_json::from_slice(bytes)
        .unwrap_or_else(|_| json!({ "message": String::from_utf8_lossy(bytes) }));
    if let Some(release) = text.release.take() {
        // SAFETY: once, by who made it.
        unsafe { release(text) };
    }
    value
}

fn failed(told: &Value) -> Error {
    let kind = match told["kind"].as_str().unwrap_or_default() {
        "config" => ErrorKind::Config,
        "transient" => ErrorKind::Transient,
        "data" => ErrorKind::Data,
        _ => ErrorKind::Bug,
    };
    let error = Error::new(
        kind,
        told["message"]
            .as_str()
            .unwrap_or("it failed and did not say why"),
    );
    match told["advice"].as_str() {
        Some(advice) => error.advice(advice),
        None => error,
    }
}

fn schema(rows: &Rows) -> Result<SchemaRef> {
    let schema = Schema::try_from(&rows.schema);
    Ok(Arc::new(schema.map_err(|error| {
        Error::bug(format!("the library gave no schema: {error}"))
    })?))
}

impl Plugin for Library {
    fn ready(&mut self) -> Result<Value> {
        let told = self.ask(&json!({ "type": "ready" }))?;
        Ok(json!({ "kind": told["kind"], "idempotent": told["idempotent"] == true, "declaresKeys": true }))
    }

    fn discover(&mut self, only: Option<&str>) -> Result<Vec<(Value, Option<SchemaRef>)>> {
        let told = self.ask(&json!({ "type": "discover" }))?;
        let streams = told["streams"].as_array().cloned().unwrap_or_default();
        let with_schema = |stream: Value| {
            let mut rows = Rows::none();
            self.call(&json!({ "type": "schema", "stream": stream["name"] }), &mut rows)?;
            Ok((stream, Some(schema(&rows)?)))
        };
        let asked = streams
            .into_iter()
            .filter(|stream| only.is_none_or(|only| stream["name"] == only));
        asked.map(with_schema).collect()
    }

    fn check(&mut self) -> Result<()> {
        self.ask(&json!({ "type": "check" })).map(drop)
    }

    fn read(&mut self, request: &Value) -> Result<(SchemaRef, Value)> {
        let mut rows = Rows::none();
        self.call(request, &mut rows)?;
        Ok((schema(&rows)?, json!({})))
    }

    fn next(&mut self) -> Result<Option<(RecordBatch, Value)>> {
        let mut rows = Rows::none();
        let told = self.call(&json!({ "type": "next" }), &mut rows)?;
        if told["end"] == true {
            return Ok(None);
        }
        let Rows { array, schema } = rows;
        // SAFETY: the library promises an array that fits its schema. One that does not takes this process down, or is
        // seen by the worker, which looks at all that it is sent.
        let data = unsafe { from_ffi(array, &schema) }?;
        let rows = RecordBatch::from(StructArray::from(data));
        let mut header = json!({ "position": told["position"] });
        if told["bytes"].as_u64().is_some_and(|bytes| bytes > 0) {
            header["bytes"] = told["bytes"].clone();
        }
        Ok(Some((rows, header)))
    }

    fn open(&mut self, request: &Value, schema: SchemaRef) -> Result<()> {
        let mut rows = Rows {
            schema: FFI_ArrowSchema::try_from(schema.as_ref())?,
            ..Rows::none()
        };
        self.call(request, &mut rows).map(drop)
    }

    fn write(&mut self, request: &Value, rows: RecordBatch) -> Result<Value> {
        let data = arrow::array::Array::to_data(&StructArray::from(rows));
        let (array, schema) = to_ffi(&data)?;
        let answer = self.call(request, &mut Rows { array, schema })?;
        Ok(answer["files"].clone())
    }

    fn commit(&mut self, request: &Value) -> Result<()> {
        self.ask(request).map(drop)
    }
}

#[cfg(test)]
mod tests;
