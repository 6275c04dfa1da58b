//! Files: CSV, NDJSON and Parquet, in a directory, in S3, in Google Cloud Storage or behind a web server.

mod config;
pub mod cursor;
mod inspect;
mod load;
mod names;
mod seen;
pub mod source;
pub mod target;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::{config::FileConfig, source::FileSource};
use super::{Connector, Side};

/// The table's line.
pub const CONNECTOR: Connector = Connector {
    name: "file",
    summary: "CSV, NDJSON and Parquet files: local, S3, Google Cloud Storage, https",
    source: Some(Side::new::<FileConfig>(
        "{ url: data/*.csv, format: csv }",
        |system| Ok(Arc::new(FileSource::new(&system)?)),
    )),
    destination: Some(Side::new::<target::FileTargetConfig>(
        "{ url: \"lake/{stream}\", format: parquet }",
        |system| Ok(Arc::new(target::FileTarget::new(system)?)),
    )),
    credentials: &[
        ("accessKeyId", Some("AWS_ACCESS_KEY_ID")),
        ("secretAccessKey", Some("AWS_SECRET_ACCESS_KEY")),
        ("sessionToken", Some("AWS_SESSION_TOKEN")),
        ("serviceAccountKey", Some("GOOGLE_SERVICE_ACCOUNT_KEY")),
    ],
};
