//! Files: CSV, NDJSON and Parquet, in a directory, in S3, in Google Cloud Storage or behind a web server.

mod config;
pub mod cursor;
mod inspect;
mod load;
mod names;
mod seen;
pub mod source;
#[cfg(test)]
mod tests;

pub use self::{config::FileConfig, source::FileSource};
