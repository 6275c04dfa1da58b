//! A first look into files: compression, header, and a sample of the rows for the types of undeclared columns.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::{StreamExt, TryStreamExt, stream};

use super::config::FileConfig;
use crate::{
    error::{Context, Error, Result},
    formats::{
        Format,
        compression::{Compression, Decoded},
        csv::{self, Csv, Header},
        infer::Kind,
        ndjson, parquet,
    },
    storage::{Object, Storage},
    types::{INFERRED, UNTYPED},
};

/// Bytes looked at in the front of a file, in its middle and at its end.
const GLANCE: u64 = 256 << 10;
/// The longest header.
const LONGEST_HEADER: u64 = 16 << 20;
/// Files looked into at once.
const AT_ONCE: usize = 8;
/// Files of a stream whose rows are taken as a sample, at its front and at its end.
const SAMPLED: usize = 4;

/// What was seen of one file.
#[derive(Clone, Debug)]
pub(super) struct Inspected {
    pub(super) object: Object,
    pub(super) compression: Compression,
    pub(super) layout: Layout,
}

/// What its format needs to be read.
#[derive(Clone, Debug)]
pub(super) enum Layout {
    /// There is nothing in it.
    Empty,
    Csv(Arc<Csv>, Header),
    Ndjson,
    Parquet(parquet::Footer),
}

impl Inspected {
    /// Rows, where the file says how many it holds.
    pub(super) fn rows(&self) -> Option<u64> {
        match &self.layout {
            Layout::Empty => Some(0),
            Layout::Parquet(footer) => Some(footer.all_rows()),
            _ => None,
        }
    }
}

/// Looks into files.
pub(super) struct Inspector<'a> {
    pub(super) storage: &'a Storage,
    pub(super) config: &'a FileConfig,
    /// The declared columns.
    pub(super) declared: Option<SchemaRef>,
    /// The columns that an earlier look found, which keep their types.
    pub(super) known: Option<SchemaRef>,
}

/// The columns of a stream as its files show them, in the order in which they were met.
#[derive(Default)]
struct Columns {
    names: Vec<String>,
    found: BTreeMap<String, Column>,
}

enum Column {
    Text(Kind),
    Typed(Field),
}

impl Inspector<'_> {
    /// All files, in their order.
    ///
    /// # Errors
    /// What reading a file gives; `config` and `data` where a file is not what the settings say.
    pub(super) async fn files(&self, files: Vec<Object>) -> Result<Vec<Inspected>> {
        stream::iter(files)
            .map(|file| self.file(file))
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn file(&self, object: Object) -> Result<Inspected> {
        let place = self.storage.url_of(&object.key);
        self.look(object).await.context(place)
    }

    async fn look(&self, object: Object) -> Result<Inspected> {
        let format = self.format(&object.key)?;
        if object.size == 0 {
            return Ok(Inspected {
                object,
                compression: Compression::None,
                layout: Layout::Empty,
            });
        }
        if format == Format::Parquet {
            let footer = parquet::Footer::read(self.storage, &object).await?;
            return Ok(Inspected {
                object,
                compression: Compression::None,
                layout: Layout::Parquet(footer),
            });
        }
        let (magic, _) = self.head(&object, Compression::None, 4).await?;
        let compression = self.config.compression.detect(&object.key, &magic);
        let layout = match format {
            Format::Csv => self.csv(&object, compression).await?,
            _ => self.ndjson(&object, compression).await?,
        };
        Ok(Inspected {
            object,
            compression,
            layout,
        })
    }

    async fn ndjson(&self, object: &Object, compression: Compression) -> Result<Layout> {
        let (head, _) = self.head(object, compression, 1024).await?;
        match head.trim_ascii_start().first() {
            Some(b'[') => Err(
                Error::data("the file is one JSON array, and one object a line is wanted")
                    .advice("convert it, for example with `jq -c '.[]'`"),
            ),
            _ => Ok(Layout::Ndjson),
        }
    }

    fn format(&self, key: &str) -> Result<Format> {
        self.config
            .format
            .or_else(|| Format::of_name(key))
            .ok_or_else(|| {
                Error::config("the name does not tell the format")
                    .advice("add `format: csv`, `format: ndjson` or `format: parquet` to the connection")
            })
    }

    async fn csv(&self, object: &Object, compression: Compression) -> Result<Layout> {
        let name = std::path::Path::new(Compression::strip(&object.key));
        let tabs = name
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("tsv"));
        let delimiter = if tabs { b'\t' } else { b',' };
        let csv = self.config.csv.understand(delimiter)?;
        let declared: Option<Vec<String>> = self
            .declared
            .as_ref()
            .map(|schema| schema.fields().iter().map(|field| field.name().clone()).collect());
        let mut size = GLANCE;
        loop {
            let (head, last) = self.head(object, compression, size).await?;
            match Header::read(&head, last, &csv, declared.as_deref())? {
                Some(header) => {
                    self.check(&header)?;
                    return Ok(Layout::Csv(Arc::new(csv), header));
                }
                None if last => return Ok(Layout::Empty),
                None if size >= LONGEST_HEADER => {
                    return Err(
                        Error::data("the first record is larger than 16 MiB").reason("RecordTooLarge")
                    );
                }
                None => size *= 4,
            }
        }
    }

    /// Every declared column must be there.
    fn check(&self, header: &Header) -> Result<()> {
        let Some(declared) = &self.declared else {
            return Ok(());
        };
        let missing = |field: &&Arc<Field>| !header.names.iter().any(|name| name == field.name());
        match declared.fields().iter().find(missing) {
            None => Ok(()),
            Some(field) => Err(Error::config(format!(
                "the header has no column `{}`, which is declared",
                field.name()
            ))
            .reason("ColumnMissing")
            .advice(format!(
                "the header names {}; names are exact",
                header.names.join(", ")
            ))),
        }
    }

    /// The first bytes with their compression undone, and whether they are all of the file.
    async fn head(&self, object: &Object, compression: Compression, size: u64) -> Result<(Vec<u8>, bool)> {
        let cut = object.size > size;
        let input = self.storage.read(object, 0..object.size.min(size))?;
        let mut decoded = Decoded::new(input, compression)?;
        let mut head = vec![0; usize::try_from(size).unwrap_or_default()];
        let mut filled = 0;
        while filled < head.len() {
            match decoded.read(&mut head[filled..]).await {
                Ok(0) => break,
                Ok(count) => filled += count,
                // A compressed stream that is looked at in part seems damaged where that part ends.
                Err(_) if cut && compression != Compression::None => break,
                Err(error) => return Err(error),
            }
        }
        let last = !cut && filled < head.len();
        head.truncate(filled);
        Ok((head, last))
    }

    /// The columns of a stream: the declared ones, then the others that its files hold.
    ///
    /// # Errors
    /// What reading the samples gives; `data` where nothing tells the columns.
    pub(super) async fn schema(&self, files: &[Inspected]) -> Result<SchemaRef> {
        let mut columns = Columns::default();
        for known in [&self.declared, &self.known].into_iter().flatten() {
            known.fields().iter().for_each(|field| columns.typed(field));
        }
        for (index, file) in files.iter().enumerate() {
            let ends = index == 0 || index + 1 == files.len();
            let sampled = index < SAMPLED || index + SAMPLED >= files.len();
            self.columns_of(file, sampled, ends, &mut columns)
                .await
                .context(self.storage.url_of(&file.object.key))?;
        }
        if columns.names.is_empty() {
            let first = files.first().map(|file| self.storage.url_of(&file.object.key));
            return Err(Error::data(format!(
                "{}: the files of this stream are empty, and nothing tells their columns",
                first.unwrap_or_else(|| self.storage.place())
            ))
            .advice("declare the schema of the stream, or write at least a header"));
        }
        Ok(Arc::new(columns.schema()))
    }

    /// `sampled`: some rows tell the types; `ends`: also rows from the middle and the end of the file.
    async fn columns_of(
        &self,
        file: &Inspected,
        sampled: bool,
        ends: bool,
        columns: &mut Columns,
    ) -> Result<()> {
        match &file.layout {
            Layout::Empty => {}
            Layout::Parquet(footer) => footer
                .schema()
                .fields()
                .iter()
                .for_each(|field| columns.typed(field)),
            Layout::Csv(csv, header) => {
                let missing = columns.names_missing(&header.names);
                if sampled && missing {
                    let from = usize::try_from(header.data).unwrap_or(usize::MAX);
                    for text in self.samples(file, from, ends).await? {
                        let rows = csv::sample(&text, header.names.len(), csv);
                        columns.see(&header.names, &rows);
                    }
                }
                columns.see(&header.names, &[]);
            }
            Layout::Ndjson if sampled => {
                let texts = self.samples(file, 0, ends).await?;
                ndjson::infer(&texts)
                    .iter()
                    .for_each(|field| columns.typed(field));
            }
            Layout::Ndjson => {}
        }
        Ok(())
    }

    /// Pieces of a file: its front from `from` on, its middle, its end; each but the first cut to whole lines.
    async fn samples(&self, file: &Inspected, from: usize, ends: bool) -> Result<Vec<Vec<u8>>> {
        let (mut head, last) = self.head(&file.object, file.compression, GLANCE).await?;
        if last && !head.ends_with(b"\n") {
            head.push(b'\n');
        }
        let mut pieces = vec![head.split_off(from.min(head.len()))];
        let size = file.object.size;
        if ends && file.compression == Compression::None && size > 4 * GLANCE && self.storage.lists() {
            for start in [size / 2, size - GLANCE] {
                let piece = self
                    .storage
                    .get_range(&file.object.key, start..start + GLANCE)
                    .await?;
                let line = memchr::memchr(b'\n', &piece).map_or(piece.len(), |at| at + 1);
                pieces.push(piece[line..].to_vec());
            }
        }
        Ok(pieces)
    }
}

impl Columns {
    fn names_missing(&self, names: &[String]) -> bool {
        names
            .iter()
            .any(|name| !matches!(self.found.get(name), Some(Column::Typed(_))))
    }

    /// A column whose type is known; the first type counts.
    fn typed(&mut self, field: &Field) {
        let column = Column::Typed(field.clone());
        if !self.found.contains_key(field.name()) {
            self.names.push(field.name().clone());
            self.found.insert(field.name().clone(), column);
        }
    }

    /// Columns of text, and some of their rows.
    fn see(&mut self, names: &[String], rows: &[Vec<Option<String>>]) {
        for (index, name) in names.iter().enumerate() {
            if !self.found.contains_key(name) {
                self.names.push(name.clone());
                self.found.insert(name.clone(), Column::Text(Kind::default()));
            }
            if let Some(Column::Text(kind)) = self.found.get_mut(name) {
                rows.iter()
                    .filter_map(|row| row[index].as_deref())
                    .for_each(|text| kind.see(text));
            }
        }
    }

    /// Every column may be null: what must not be null is the contract's to say.
    fn schema(self) -> Schema {
        let field = |name: &String| match self.found.get(name) {
            Some(Column::Typed(field)) => nullable(field),
            Some(Column::Text(kind)) if kind.seen() => marked(name, kind.data_type(), INFERRED),
            _ => marked(name, DataType::Utf8, UNTYPED),
        };
        Schema::new(self.names.iter().map(field).collect::<Vec<_>>())
    }
}

fn marked(name: &str, type_: DataType, mark: &str) -> Field {
    let metadata = HashMap::from([(mark.to_owned(), String::new())]);
    Field::new(name, type_, true).with_metadata(metadata)
}

/// A field that may be null, and all of its parts.
fn nullable(field: &Field) -> Field {
    let inner = |field: &Arc<Field>| Arc::new(nullable(field));
    let type_ = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::List(item) => DataType::List(inner(item)),
        DataType::LargeList(item) => DataType::LargeList(inner(item)),
        // The key and the entries of a map cannot be null, as Arrow has it.
        other => other.clone(),
    };
    field.clone().with_data_type(type_).with_nullable(true)
}
