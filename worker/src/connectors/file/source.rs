//! The reading side: streams of files, whole or what is new of them.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use serde_json::Value;

use super::{
    config::FileConfig,
    inspect::{Inspected, Inspector},
    load::{FileLoad, Filter, Ticket, parts},
    names::Pattern,
    seen::Seen,
};
use crate::{
    connector::{Load, Range, Source, StreamInfo, System},
    error::{Error, ErrorKind, Result},
    storage::{Object, Storage},
    stream::StreamSpec,
    types,
};

/// Files as a source.
pub struct FileSource {
    config: FileConfig,
    storage: Storage,
    pattern: Pattern,
    /// The name of the only stream, where the manifest gives one.
    name: Option<String>,
}

impl FileSource {
    /// The source that a connection describes. Where the manifest names one stream, and the URL means one, that is its
    /// name.
    ///
    /// # Errors
    /// `config` where a setting is wrong or a credential is missing. Nothing is read yet.
    pub fn new(system: &System) -> Result<Self> {
        let config: FileConfig = crate::connectors::config(system)?;
        let base = system.plan.base_dir.as_deref().map(Path::new);
        let (storage, rest) = Storage::open_at(
            &config.url,
            &system.plan.settings(),
            &system.secrets,
            &system.limiter,
            base,
        )?;
        let pattern = Pattern::new(&rest, !storage.lists(), config.format)?;
        let name = match system.streams.as_slice() {
            [name] if !pattern.per_stream() => Some(name.clone()),
            _ => None,
        };
        Ok(Self {
            config,
            storage,
            pattern,
            name,
        })
    }

    /// The streams and their files.
    async fn streams(&self) -> Result<BTreeMap<String, Vec<Object>>> {
        let found = self.pattern.find(&self.storage).await?;
        Ok(match &self.name {
            Some(name) => found.into_values().map(|files| (name.clone(), files)).collect(),
            None => found,
        })
    }

    async fn files(&self, stream: &str) -> Result<Vec<Object>> {
        let mut streams = self.streams().await?;
        streams.remove(stream).ok_or_else(|| {
            let names: Vec<_> = streams.keys().map(String::as_str).collect();
            Error::config(format!(
                "there is no stream `{stream}` at {}",
                self.storage.place()
            ))
            .reason("UnknownStream")
            .advice(format!("there are: {}", names.join(", ")))
        })
    }

    fn inspector(&self, declared: Option<SchemaRef>, known: Option<SchemaRef>) -> Inspector<'_> {
        Inspector {
            storage: &self.storage,
            config: &self.config,
            declared,
            known,
        }
    }

    async fn info(&self, name: String, files: Vec<Object>) -> Result<StreamInfo> {
        let inspector = self.inspector(None, None);
        let files = inspector.files(files).await?;
        let schema = inspector.schema(&files).await?;
        let is_time = |type_: &arrow::datatypes::DataType| type_.is_temporal();
        let cursors = schema
            .fields()
            .iter()
            .filter(|field| is_time(field.data_type()))
            .map(|field| field.name().clone());
        let rows = files.iter().map(Inspected::rows).sum::<Option<u64>>();
        Ok(StreamInfo {
            name,
            cursors: cursors.collect(),
            schema,
            primary_key: Vec::new(),
            rows,
            trouble: None,
        })
    }

    /// The rows that are wanted of the files that are read.
    fn filter(stream: &StreamSpec, range: &Range) -> Result<Option<Arc<Filter>>> {
        Ok(match range {
            Range::Delta {
                after: Some(position),
            } if position.get("cursor").is_some() => {
                let columns = stream.cursor.iter().chain(&stream.primary_key).cloned().collect();
                Some(Arc::new(Filter::After(columns, position.clone())))
            }
            Range::Backfill { from, to } => {
                let column = stream.cursor.first().ok_or_else(|| {
                    Error::config(format!(
                        "stream `{}` has no cursor, and a backfill needs one",
                        stream.name
                    ))
                    .advice("add `cursorField` to the stream")
                })?;
                Some(Arc::new(Filter::Between(
                    column.clone(),
                    from.clone(),
                    to.clone(),
                )))
            }
            _ => None,
        })
    }
}

#[async_trait]
impl Source for FileSource {
    fn declares_keys(&self) -> bool {
        false
    }

    async fn discover(&self) -> Result<Vec<StreamInfo>> {
        let mut infos = Vec::new();
        for (name, files) in self.streams().await? {
            infos.push(match self.info(name.clone(), files).await {
                Err(trouble) if trouble.kind == ErrorKind::Data => StreamInfo {
                    trouble: Some(trouble),
                    ..StreamInfo::named(name)
                },
                info => info?,
            });
        }
        Ok(infos)
    }

    async fn load(&self, stream: &StreamSpec, range: &Range) -> Result<Arc<dyn Load>> {
        let files = self.files(&stream.name).await?;
        let before = match range {
            Range::Delta {
                after: Some(position),
            } => Seen::of(position)?,
            _ => Seen::default(),
        };
        // Marked before anything is read, so that a change meanwhile is seen by the next delta.
        let (seen, changed) = before.compare(&self.storage, &files)?;
        let files_at_hand: Vec<Object> = files.first().cloned().into_iter().collect();
        let wanted = if matches!(range, Range::Delta { .. }) {
            changed
        } else {
            files
        };
        let declared = stream.declared.as_deref().map(types::arrow_schema).transpose()?;
        let inspector = self.inspector(declared, stream.discovered.clone());
        // Where nothing changed, an old file still tells the columns.
        let witnesses = if wanted.is_empty() {
            files_at_hand
        } else {
            Vec::new()
        };
        let ticket = Ticket {
            files: wanted.clone(),
            parts: stream
                .partitions
                .unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from)),
        };
        let files = inspector.files(wanted).await?;
        let witnesses = inspector.files(witnesses).await?;
        let schema = inspector
            .schema(if files.is_empty() { &witnesses } else { &files })
            .await?;
        Ok(Arc::new(FileLoad {
            parts: parts(&self.storage, files, ticket.parts).await?,
            ticket,
            storage: self.storage.clone(),
            schema,
            watermark: (!matches!(range, Range::Backfill { .. })).then(|| seen.position()),
            filter: Self::filter(stream, range)?,
            record_limit: self.config.record_limit(),
        }))
    }

    async fn join(&self, stream: &StreamSpec, range: &Range, ticket: &Value) -> Result<Arc<dyn Load>> {
        let ticket: Ticket = serde_json::from_value(ticket.clone())?;
        let declared = stream.declared.as_deref().map(types::arrow_schema).transpose()?;
        let inspector = self.inspector(declared, stream.discovered.clone());
        let files = inspector.files(ticket.files.clone()).await?;
        Ok(Arc::new(FileLoad {
            storage: self.storage.clone(),
            schema: inspector.schema(&files).await?,
            parts: parts(&self.storage, files, ticket.parts).await?,
            ticket,
            watermark: None,
            filter: Self::filter(stream, range)?,
            record_limit: self.config.record_limit(),
        }))
    }

    async fn check(&self) -> Result<()> {
        let streams = self.streams().await?;
        for file in streams.values().filter_map(|files| files.first()) {
            self.storage
                .read(file, 0..file.size.min(1))?
                .read(&mut [0])
                .await?;
        }
        Ok(())
    }
}
