//! A reader of CSV files: each file of a directory is a stream, read in parts side by side.
//!
//! In: `directory`, and `parts`. Out: rows. A column that the manifest declares is text here, and the worker reads it as it is
//! declared; others have the types that the first thousand rows show. Fields hold no line ends: a part begins behind one.

mod cells;
mod columns;
mod lines;
mod part;

use std::{path::PathBuf, sync::Arc};

use millrace_plugin::{
    Batches, Config, Error, Reader, Request, Stream,
    arrow_array::cast::AsArray,
    arrow_schema::{DataType, Field, Schema, SchemaRef},
};
use serde::Deserialize;

use self::{columns::narrowest, lines::Lines, part::Part};

/// Bytes of a part, at least.
const PART: u64 = 64 * 1024;
/// Rows that tell the types.
const SAMPLE: usize = 1000;

/// What a Source says in its `connection`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The directory of the files, meant from the manifest.
    directory: String,
    /// Parts of a file that are read side by side.
    #[serde(default = "one")]
    parts: usize,
}

const fn one() -> usize {
    1
}

struct CsvFiles {
    config: Config,
    directory: PathBuf,
    parts: usize,
}

impl CsvFiles {
    fn lines(&self, stream: &str, part: usize, parts: usize) -> Result<Lines, Error> {
        Lines::of(self.directory.join(format!("{stream}.csv")), part, parts)
    }

    fn schema(&self, stream: &str) -> Result<SchemaRef, Error> {
        let mut lines = self.lines(stream, 0, 1)?;
        let texts = |name| Field::new(name, DataType::Utf8, true);
        let texts = Schema::new(lines.header()?.into_iter().map(texts).collect::<Vec<_>>());
        let sample = Part::new(lines, texts.into())?.rows(SAMPLE)?;
        let typed = |(field, cells): (&Arc<Field>, _)| match self.config.declares(stream, field.name()) {
            true => field.clone(),
            false => {
                let cells = AsArray::as_string::<i32>(cells).iter().flatten();
                Arc::new(Field::new(
                    field.name(),
                    narrowest(cells.map(str::as_bytes)),
                    true,
                ))
            }
        };
        let fields = sample.schema_ref().fields().iter().zip(sample.columns());
        Ok(Schema::new(fields.map(typed).collect::<Vec<_>>()).into())
    }
}

impl Reader for CsvFiles {
    fn open(config: Config) -> Result<Self, Error> {
        let settings: Settings = config.settings()?;
        Ok(Self {
            directory: config.path(&settings.directory),
            parts: settings.parts.max(1),
            config,
        })
    }

    fn discover(&mut self) -> Result<Vec<Stream>, Error> {
        let shown = self.directory.display();
        let files = std::fs::read_dir(&self.directory).map_err(|error| {
            Error::config(format!("{shown} cannot be listed: {error}"))
                .advice("write the path as seen from the manifest")
        })?;
        let mut streams = Vec::new();
        for file in files {
            let path = file?.path();
            let name = path.file_stem().and_then(|name| name.to_str());
            let (Some(name), Some("csv")) = (name, path.extension().and_then(|end| end.to_str())) else {
                continue;
            };
            // A file that cannot be read fails the loads of its stream, which say why, and no others.
            let schema = self.schema(name).unwrap_or_else(|error| {
                eprintln!("{error}");
                Schema::empty().into()
            });
            let most = path.metadata().map_or(0, |file| file.len()) / PART + 1;
            streams.push(Stream {
                partitions: self.parts.min(usize::try_from(most).unwrap_or(usize::MAX)),
                ..Stream::new(name, schema)
            });
        }
        streams.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(streams)
    }

    fn read(&mut self, request: Request) -> Result<Box<dyn Batches>, Error> {
        let schema = self.schema(&request.stream)?;
        let mut lines = self.lines(&request.stream, request.instance, request.instances)?;
        if request.instance == 0 {
            lines.header()?;
        }
        Ok(Box::new(Part::new(lines, schema)?))
    }
}

millrace_plugin::reader!(CsvFiles);
