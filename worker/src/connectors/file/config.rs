//! The settings of the `file` connector.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::formats::{Format, compression::Compression, csv::CsvOptions};

/// Files: CSV, NDJSON and Parquet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileConfig {
    /// Where the files are: a path (relative to the manifest), `file://`, `s3://bucket/prefix`, `gs://bucket/prefix`
    /// or `https://`. A source may name one file, a directory, or a pattern (`*`, `?`, `[abc]`, `**` for any depth),
    /// all of whose files are one stream; with `{stream}` in it, each name that stands there is a stream of its own.
    #[schemars(length(min = 1), extend("format" = "template"))]
    pub url: String,
    /// The format. Where nothing is said, the suffix of the file names tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// How the files are compressed. Where nothing is said, the name or the first bytes of each file tell.
    #[serde(default)]
    pub compression: Compression,
    /// How CSV files are written.
    #[serde(default)]
    pub csv: CsvOptions,
    /// The largest record, in bytes, its compression undone; 64 MiB where nothing is said. A file that holds a larger
    /// one is not read further.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 2_147_483_647))]
    pub max_record_bytes: Option<u32>,
    /// A server other than the cloud's own, for `s3://` and `gs://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The region of the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whether the bucket stands in the path (`https://server/bucket/key`) and not in the host name. Where nothing is
    /// said, it does when there is an endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// Whether requests are sent without credentials, as public buckets allow.
    #[serde(default)]
    pub anonymous: bool,
    /// The public half of an S3 key pair, where it is not among the credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
}

/// Where nothing is said.
const MAX_RECORD_BYTES: usize = 64 << 20;

impl FileConfig {
    /// The largest record in bytes.
    #[must_use]
    pub fn record_limit(&self) -> usize {
        self.max_record_bytes
            .and_then(|limit| usize::try_from(limit).ok())
            .unwrap_or(MAX_RECORD_BYTES)
    }
}
