//! Readers and writers of your own for Millrace, as Rust libraries.
//!
//! In: a type that implements [`Reader`] or [`Writer`]. Out: a shared library that a Source or a Flow names:
//! `libmine.so:create_reader`. Rows cross the border as Arrow arrays, nothing is copied; the library runs in a process of
//! its own, and a panic within it is an error with a name.
//!
//! ```
//! use millrace_plugin::{Batches, Config, Error, Reader, Request, Stream};
//!
//! struct Mine;
//!
//! impl Reader for Mine {
//!     fn open(_config: Config) -> Result<Self, Error> {
//!         Ok(Self)
//!     }
//!     fn discover(&mut self) -> Result<Vec<Stream>, Error> {
//!         Ok(vec![])
//!     }
//!     fn read(&mut self, request: Request) -> Result<Box<dyn Batches>, Error> {
//!         Err(Error::config(format!("there is no stream {}", request.stream)))
//!     }
//! }
//!
//! millrace_plugin::reader!(Mine);
//! ```
//!
//! `crate-type = ["cdylib"]` makes the library; `nm -D --defined-only libmine.so` shows `create_reader`.

pub mod abi;
mod config;
mod error;
mod export;
mod reader;
mod writer;

pub use self::{
    config::Config,
    error::{Error, Kind},
    export::{create_reader, create_writer},
    reader::{Batch, Batches, Range, Reader, Request, Stream},
    writer::{File, Mode, Target, Writer},
};
pub use arrow_array;
pub use arrow_schema;
