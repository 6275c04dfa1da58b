//! The writing side of `file`: a directory or bucket that holds data files, and one `HEAD.json` that says which count.
//!
//! In: staged rows. Out: immutable data files, index segments and manifests under names that are never used twice, and
//! one compare-and-swap of `HEAD.json`, which is the commit. Whoever swaps it first wins; whoever was fenced can leave
//! nothing but files that nobody refers to, and [`clean`] removes those after a while.
//!
//! ```text
//! HEAD.json -> manifests/1-7-….json -> data/1-3-7/0-….parquet, index/1-3-7/0-….index
//! ```

mod clean;
mod encode;
mod head;
mod parquet;
mod presence;
mod rewrite;
mod shard;
mod stage;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp, Zoned};
use millrace_crds::{
    flow::WriteMode,
    plan::S3Plan,
    template::{Template, Values},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::shard::FileShard;
use crate::{
    connector::{Authority, Destination, Shard, System},
    error::{Error, Result},
    protocol::ShardId,
    storage::{
        Storage,
        cas::{CasStore, DirectoryCas, S3Cas},
    },
    stream::StreamSpec,
};

/// Where files are written, and how.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileTargetConfig {
    /// A directory or bucket, one a stream: a path (from the manifest on) or `s3://bucket/prefix`, with
    /// `{namespace}`, `{flow}`, `{stream}` and `{label:NAME}` filled in. Without `{stream}` each stream gets a directory.
    #[schemars(length(min = 1), extend("format" = "template"))]
    pub url: String,
    /// The format.
    #[serde(default)]
    pub format: FileFormat,
    /// How the files are compressed. Without it zstd for Parquet, and nothing for text.
    pub compression: Option<FileCompression>,
    /// The level of zstd or gzip.
    #[schemars(range(min = 1, max = 19))]
    pub compression_level: Option<u8>,
    /// A file is ended beyond this many bytes.
    #[serde(default = "file_bytes")]
    #[schemars(range(min = 65_536))]
    pub file_bytes: u64,
    /// Rows in one row group of a Parquet file.
    #[serde(default = "row_group_rows")]
    #[schemars(range(min = 1024, max = 16_777_216))]
    pub row_group_rows: usize,
    /// Integers of many values are stored in Parquet as differences (`DELTA_BINARY_PACKED`): smaller and faster. `false`
    /// for readers that know nothing but the first version of the format.
    #[serde(default = "yes")]
    pub delta_encoding: bool,
    /// Columns by whose values files are put into directories `column=value`.
    #[serde(default)]
    pub partition_by: Vec<String>,
    /// Files that are no longer current, or never were, are removed after so many hours.
    #[serde(default = "clean_after_hours")]
    pub clean_after_hours: u32,
    /// The S3 server, where it is not AWS.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
}

impl FileTargetConfig {
    /// What was replaced before this moment may be removed.
    fn kept_since(&self, now: Timestamp) -> Timestamp {
        let age = SignedDuration::from_hours(self.clean_after_hours.into());
        now.checked_sub(age).unwrap_or(Timestamp::MIN)
    }
}

fn file_bytes() -> u64 {
    256 << 20
}

fn yes() -> bool {
    true
}

fn row_group_rows() -> usize {
    1 << 19
}

fn clean_after_hours() -> u32 {
    24
}

/// Formats that are written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[schemars(transform = crate::formats::with_aliases)]
pub enum FileFormat {
    /// Apache Parquet.
    #[default]
    Parquet,
    /// CSV with a header.
    Csv,
    /// One JSON object a line.
    #[serde(alias = "json", alias = "jsonl")]
    Ndjson,
}

/// Compressions that are written.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileCompression {
    /// None.
    None,
    /// Snappy; Parquet only.
    Snappy,
    /// LZ4; Parquet only.
    Lz4,
    /// Gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// Files as a destination.
pub struct FileTarget {
    system: System,
    config: Arc<FileTargetConfig>,
}

impl FileTarget {
    /// Checks the settings; opens nothing yet.
    ///
    /// # Errors
    /// `config` where they do not fit together.
    pub fn new(system: System) -> Result<Self> {
        let config: FileTargetConfig = crate::connectors::config(&system)?;
        let text = config.format != FileFormat::Parquet;
        if text
            && matches!(
                config.compression,
                Some(FileCompression::Snappy | FileCompression::Lz4)
            )
        {
            return Err(Error::config(
                "connection.compression: text files are written with gzip, zstd or none",
            ));
        }
        if text && system.write_mode == Some(WriteMode::Upsert) {
            return Err(Error::config(
                "connection.format: `writeMode: upsert` rewrites files by row, which only parquet can do here",
            )
            .advice("choose parquet, or writeMode append or overwrite"));
        }
        Ok(Self {
            system,
            config: Arc::new(config),
        })
    }

    fn url(&self, stream: &str) -> Result<String> {
        let template: Template = self
            .config
            .url
            .parse()
            .map_err(|error| Error::config(format!("connection.url: {error}")))?;
        let flow = &self.system.flow;
        let values = Values {
            namespace: &flow.namespace,
            flow: &flow.name,
            stream,
            labels: &flow.labels,
            date: Zoned::now().date(),
        };
        if self.config.url.contains("{date") {
            return Err(
                Error::config("connection.url: a table has one place, whatever the day")
                    .advice("leave {date} out; use partitionBy with a date column"),
            );
        }
        let url = template
            .render(&values)
            .map_err(|error| Error::config(format!("connection.url: {error}")))?;
        Ok(if template.is_per_stream() {
            url
        } else {
            format!(
                "{}/{}",
                url.trim_end_matches('/'),
                millrace_crds::template::safe(stream)
            )
        })
    }

    async fn open(&self, stream: &str) -> Result<(Storage, Arc<dyn CasStore>)> {
        let url = self.url(stream)?;
        let system = &self.system;
        let base = system.plan.base_dir.as_deref().map(Path::new);
        let storage = Storage::open(
            &url,
            &system.plan.settings(),
            &system.secrets,
            &system.limiter,
            base,
        )?;
        let heads: Arc<dyn CasStore> = match (storage.local_path("")?, url.strip_prefix("s3://")) {
            (Some(root), _) => Arc::new(DirectoryCas::new(root)),
            (None, Some(rest)) => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let place = S3Plan {
                    bucket: bucket.to_owned(),
                    prefix: prefix.to_owned(),
                    endpoint: self.config.endpoint.clone(),
                    region: self.config.region.clone(),
                    credentials: Vec::new(),
                };
                Arc::new(
                    S3Cas::connect(&place, &system.secrets)
                        .await?
                        .limited(&system.limiter),
                )
            }
            _ => {
                return Err(Error::config(format!(
                    "{} cannot be written: commits need conditional writes",
                    storage.place()
                ))
                .advice("write to a directory or to an S3 server"));
            }
        };
        Ok((storage, heads))
    }
}

#[async_trait]
impl Destination for FileTarget {
    fn authority(&self) -> Authority {
        Authority::Destination
    }

    async fn shard(&self, id: &ShardId, stream: &StreamSpec) -> Result<Arc<dyn Shard>> {
        let (storage, heads) = self.open(&stream.name).await?;
        let upsert = stream.write_mode == WriteMode::Upsert;
        Ok(Arc::new(FileShard::new(
            id.clone(),
            storage,
            heads,
            self.config.clone(),
            upsert,
        )))
    }

    async fn check(&self) -> Result<()> {
        let (_, heads) = self.open("millrace-check").await?;
        heads.probe().await
    }
}
