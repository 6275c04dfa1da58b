//! From a safe reader or writer to the functions that a library exports.
//!
//! In: calls across the border. Out: calls of the traits. A panic stops here: it must never unwind into the host.

#![expect(
    unsafe_code,
    reason = "the border of a library is made of raw pointers, and this module is all of it"
)]

use std::{
    any::Any,
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
    slice,
};

use arrow_array::{
    Array, RecordBatch, StructArray,
    ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi, to_ffi},
};
use arrow_schema::Schema;
use serde_json::{Value, json};

use crate::{
    Batches, Config, Error, File, Reader, Stream, Target, Writer,
    abi::{DONE, FAILED, Plugin, Text, VERSION},
};

/// Rows on the border: one array and its schema, in or out.
struct Rows {
    array: *mut FFI_ArrowArray,
    schema: *mut FFI_ArrowSchema,
}

impl Rows {
    fn put_schema(&self, schema: &Schema) -> Result<(), Error> {
        let schema = FFI_ArrowSchema::try_from(schema)?;
        // SAFETY: the host gives room for a schema that holds nothing to free.
        unsafe { self.schema.write(schema) };
        Ok(())
    }

    fn put(&self, rows: RecordBatch) -> Result<(), Error> {
        let (array, schema) = to_ffi(&StructArray::from(rows).to_data())?;
        // SAFETY: as above, for both.
        unsafe {
            self.array.write(array);
            self.schema.write(schema);
        }
        Ok(())
    }

    fn take_schema(&self) -> Result<Schema, Error> {
        // SAFETY: the host gives a schema, and takes an empty one back.
        let schema = unsafe { self.schema.replace(FFI_ArrowSchema::empty()) };
        Ok(Schema::try_from(&schema)?)
    }

    fn take(&self) -> Result<RecordBatch, Error> {
        // SAFETY: the host gives an array and its schema, and takes empty ones back.
        let data = unsafe {
            let schema = self.schema.replace(FFI_ArrowSchema::empty());
            from_ffi(self.array.replace(FFI_ArrowArray::empty()), &schema)?
        };
        Ok(RecordBatch::from(StructArray::from(data)))
    }
}

/// Something that answers requests.
trait Answers: Send {
    fn answer(&mut self, request: &Value, rows: &Rows) -> Result<Value, Error>;
}

struct Reading<R> {
    reader: R,
    /// Those that were discovered last: their schemas are asked for one by one.
    streams: Vec<Stream>,
    open: Option<Box<dyn Batches>>,
}

impl<R: Reader> Answers for Reading<R> {
    fn answer(&mut self, request: &Value, rows: &Rows) -> Result<Value, Error> {
        match request["type"].as_str().unwrap_or_default() {
            "ready" => Ok(json!({ "kind": "reader" })),
            "discover" => {
                self.streams = self.reader.discover()?;
                let told = self.streams.iter().map(|stream| {
                    json!({ "name": stream.name, "primaryKey": stream.primary_key, "cursors": stream.cursors,
                            "rows": stream.rows, "partitions": stream.partitions })
                });
                Ok(json!({ "streams": told.collect::<Vec<_>>() }))
            }
            "schema" => {
                let name = request["stream"].as_str().unwrap_or_default();
                let stream = self.streams.iter().find(|stream| stream.name == name);
                let stream = stream.ok_or_else(|| Error::config(format!("there is no stream {name}")))?;
                rows.put_schema(&stream.schema)?;
                Ok(json!({}))
            }
            "check" => self.reader.check().map(|()| json!({})),
            "read" => {
                let request = serde_json::from_value(request.clone());
                let request = request.map_err(|error| Error::bug(format!("the request: {error}")))?;
                let open = self.open.insert(self.reader.read(request)?);
                rows.put_schema(&open.schema())?;
                Ok(json!({}))
            }
            "next" => {
                let open = self
                    .open
                    .as_mut()
                    .ok_or_else(|| Error::bug("nothing is being read"))?;
                let Some(batch) = open.next()? else {
                    self.open = None;
                    return Ok(json!({ "end": true }));
                };
                rows.put(batch.rows)?;
                Ok(json!({ "end": false, "position": batch.position, "bytes": batch.bytes }))
            }
            other => Err(Error::bug(format!("a reader knows no `{other}`"))),
        }
    }
}

struct Writing<W>(W);

impl<W: Writer> Answers for Writing<W> {
    fn answer(&mut self, request: &Value, rows: &Rows) -> Result<Value, Error> {
        let writer = &mut self.0;
        match request["type"].as_str().unwrap_or_default() {
            "ready" => Ok(json!({ "kind": "writer", "idempotent": W::IDEMPOTENT })),
            "check" => writer.check().map(|()| json!({})),
            "open" => {
                let text = |key: &str| request[key].as_str().unwrap_or_default().to_owned();
                let bug = |error: serde_json::Error| Error::bug(format!("the request: {error}"));
                writer.begin(Target {
                    stream: text("stream"),
                    mode: serde_json::from_value(request["mode"].clone()).map_err(bug)?,
                    primary_key: serde_json::from_value(request["primaryKey"].clone()).map_err(bug)?,
                    schema: rows.take_schema()?.into(),
                })?;
                Ok(json!({}))
            }
            "write" => {
                let files =
                    writer.write(&rows.take()?, request["fileCounter"].as_u64().unwrap_or_default())?;
                Ok(json!({ "files": files }))
            }
            "commit" => {
                let files: Vec<File> = serde_json::from_value(request["files"].clone())
                    .map_err(|error| Error::bug(format!("the files: {error}")))?;
                let id = request["id"].as_str().unwrap_or_default();
                writer.commit(id, &files, request["replace"] == true)?;
                Ok(json!({}))
            }
            other => Err(Error::bug(format!("a writer knows no `{other}`"))),
        }
    }
}

/// What a plugin keeps.
type Kept = Box<dyn Answers>;

/// Makes a reader across the border: what [`reader!`](crate::reader) exports.
///
/// # Safety
/// As [`Create`](crate::abi::Create): `config` holds `len` bytes, `plugin` and `error` have room.
pub unsafe fn create_reader<R: Reader>(
    config: *const u8,
    len: usize,
    plugin: *mut Plugin,
    error: *mut Text,
) -> i32 {
    let make = |config| {
        Ok(Box::new(Reading {
            reader: R::open(config)?,
            streams: Vec::new(),
            open: None,
        }) as Kept)
    };
    // SAFETY: as the caller promises.
    unsafe { create(config, len, plugin, error, make) }
}

/// Makes a writer across the border: what [`writer!`](crate::writer) exports.
///
/// # Safety
/// As [`create_reader`].
pub unsafe fn create_writer<W: Writer>(
    config: *const u8,
    len: usize,
    plugin: *mut Plugin,
    error: *mut Text,
) -> i32 {
    let make = |config| Ok(Box::new(Writing(W::open(config)?)) as Kept);
    // SAFETY: as the caller promises.
    unsafe { create(config, len, plugin, error, make) }
}

unsafe fn create(
    config: *const u8,
    len: usize,
    plugin: *mut Plugin,
    error: *mut Text,
    make: impl FnOnce(Config) -> Result<Kept, Error>,
) -> i32 {
    // SAFETY: the host's bytes live as long as the call.
    let config = unsafe { slice::from_raw_parts(config, len) };
    let made = guarded(|| {
        let config = serde_json::from_slice(config)
            .map_err(|error| Error::bug(format!("the configuration: {error}")))?;
        make(config)
    });
    match made {
        Ok(kept) => {
            let data: *mut Kept = Box::into_raw(Box::new(kept));
            let made = Plugin {
                version: VERSION,
                data: data.cast::<c_void>(),
                call: Some(call),
                release: Some(release),
            };
            // SAFETY: the host gives room for a plugin.
            unsafe { plugin.write(made) };
            DONE
        }
        Err(failed) => {
            // SAFETY: the host gives room for a text.
            unsafe { error.write(text(&json!(failed))) };
            FAILED
        }
    }
}

unsafe extern "C" fn call(
    plugin: *mut Plugin,
    request: *const u8,
    len: usize,
    array: *mut FFI_ArrowArray,
    schema: *mut FFI_ArrowSchema,
    answer: *mut Text,
) -> i32 {
    // SAFETY: `data` is what `create` put there, and one thread calls at a time.
    let (kept, request) = unsafe {
        (
            &mut *(*plugin).data.cast::<Kept>(),
            slice::from_raw_parts(request, len),
        )
    };
    let answered = guarded(|| {
        let request =
            serde_json::from_slice(request).map_err(|error| Error::bug(format!("the request: {error}")))?;
        kept.answer(&request, &Rows { array, schema })
    });
    let (code, value) = match answered {
        Ok(value) => (DONE, value),
        Err(error) => (FAILED, json!(error)),
    };
    // SAFETY: the host gives room for a text.
    unsafe { answer.write(text(&value)) };
    code
}

unsafe extern "C" fn release(plugin: *mut Plugin) {
    // SAFETY: `data` is what `create` put there; the host calls this once.
    let kept = unsafe { Box::from_raw((*plugin).data.cast::<Kept>()) };
    // A panic on the way out has nobody to hear it.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(kept)));
}

/// What `work` gives, or its panic as an error.
fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Error::bug(format!("it panicked: {}", said(&panic)))))
}

fn said(panic: &Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it does not say why".to_owned())
}

fn text(value: &Value) -> Text {
    let mut bytes = std::mem::ManuallyDrop::new(value.to_string().into_bytes());
    Text {
        data: bytes.as_mut_ptr(),
        len: bytes.len(),
        room: bytes.capacity(),
        release: Some(release_text),
    }
}

unsafe extern "C" fn release_text(text: *mut Text) {
    // SAFETY: these are the parts of a vector that `text` took apart; the host calls this once.
    drop(unsafe { Vec::from_raw_parts((*text).data, (*text).len, (*text).room) });
}

/// Exports a [`Reader`](crate::Reader) as `create_reader`, or under another name: `reader!(create_users, Users)`.
#[macro_export]
macro_rules! reader {
    ($reader:ty) => {
        $crate::reader!(create_reader, $reader);
    };
    ($name:ident, $reader:ty) => {
        $crate::export_as!($name, $crate::create_reader::<$reader>);
    };
}

/// Exports a [`Writer`](crate::Writer) as `create_writer`, or under another name: `writer!(create_lake, Lake)`.
#[macro_export]
macro_rules! writer {
    ($writer:ty) => {
        $crate::writer!(create_writer, $writer);
    };
    ($name:ident, $writer:ty) => {
        $crate::export_as!($name, $crate::create_writer::<$writer>);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! export_as {
    ($name:ident, $create:expr) => {
        /// Makes a plugin; see `millrace_plugin::abi::Create`.
        ///
        /// # Safety
        /// As `millrace_plugin::abi::Create`.
        #[allow(unsafe_code, reason = "a function that other languages call")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            config: *const u8,
            len: usize,
            plugin: *mut $crate::abi::Plugin,
            error: *mut $crate::abi::Text,
        ) -> i32 {
            // SAFETY: the caller promises what `Create` asks for.
            unsafe { $create(config, len, plugin, error) }
        }
    };
}
