//! `file`: CSV, NDJSON and Parquet files, local, in S3 or Google Cloud Storage, or from a web server.

pub mod target;

use std::sync::Arc;

use super::{Connector, Side};

/// The table's line.
pub const CONNECTOR: Connector = Connector {
    name: "file",
    summary: "CSV, NDJSON and Parquet files: local, S3, Google Cloud Storage, https",
    source: None,
    destination: Some(Side::new::<target::FileTargetConfig>(|system| {
        Ok(Arc::new(target::FileTarget::new(system)?))
    })),
    credentials: &[
        ("accessKeyId", Some("AWS_ACCESS_KEY_ID")),
        ("secretAccessKey", Some("AWS_SECRET_ACCESS_KEY")),
        ("sessionToken", Some("AWS_SESSION_TOKEN")),
        ("serviceAccountKey", Some("GOOGLE_SERVICE_ACCOUNT_KEY")),
    ],
    example: "{ url: data/*.csv, format: csv }",
};
