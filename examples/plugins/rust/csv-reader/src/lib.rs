//! A reader of CSV files: each file of a directory is a stream, read in parts side by side.
//!
//! In: `directory`, and `parts`. Out: rows, with the types that the first thousand of them show. Fields hold no line ends:
//! a part begins behind one.

mod cells;
mod columns;
mod part;

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    path::PathBuf,
    sync::Arc,
};

use arrow_csv::reader::Format;
use millrace_plugin::{Batches, Config, Error, Reader, Request, Stream, arrow_schema::SchemaRef};
use serde::Deserialize;

use self::part::Part;

/// Bytes of a part, at least.
const PART: u64 = 64 * 1024;

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
    directory: PathBuf,
    parts: usize,
}

impl CsvFiles {
    fn path(&self, stream: &str) -> PathBuf {
        self.directory.join(format!("{stream}.csv"))
    }

    fn schema(&self, stream: &str) -> Result<SchemaRef, Error> {
        let format = Format::default().with_header(true);
        let (schema, _) = format.infer_schema(File::open(self.path(stream))?, Some(1000))?;
        Ok(Arc::new(schema))
    }
}

impl Reader for CsvFiles {
    fn open(config: Config) -> Result<Self, Error> {
        let settings: Settings = config.settings()?;
        Ok(Self {
            directory: config.path(&settings.directory),
            parts: settings.parts.max(1),
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
            let most = std::fs::metadata(&path)?.len() / PART + 1;
            streams.push(Stream {
                partitions: self.parts.min(usize::try_from(most).unwrap_or(usize::MAX)),
                ..Stream::new(name, self.schema(name)?)
            });
        }
        streams.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(streams)
    }

    fn read(&mut self, request: Request) -> Result<Box<dyn Batches>, Error> {
        let mut file = File::open(self.path(&request.stream))?;
        let size = file.metadata()?.len();
        let (part, parts) = (request.instance as u64, request.instances.max(1) as u64);
        let begin = line_after(&mut file, size / parts * part, part == 0)?;
        let end = match part + 1 == parts {
            true => size,
            false => line_after(&mut file, size / parts * (part + 1), false)?,
        };
        file.seek(SeekFrom::Start(begin))?;
        let bytes = file.take(end.saturating_sub(begin));
        let rows = Part::new(self.path(&request.stream), bytes, self.schema(&request.stream)?)?;
        Ok(Box::new(if part == 0 { rows.skip_header()? } else { rows }))
    }
}

/// The first byte of a line at or after `at`.
fn line_after(file: &mut File, at: u64, first: bool) -> Result<u64, Error> {
    if first {
        return Ok(0);
    }
    file.seek(SeekFrom::Start(at))?;
    let mut rest = Vec::new();
    let read = BufReader::new(file).read_until(b'\n', &mut rest)?;
    Ok(at + read as u64)
}

millrace_plugin::reader!(CsvFiles);
