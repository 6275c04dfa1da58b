//! A writer of Parquet files: a directory a stream, and a list of what is committed.
//!
//! In: rows. Out: `STREAM/part-N.parquet`, and `STREAM/committed.json`, which names the files that count and the commit that
//! brought them. It is replaced as a whole, so that a reader sees a load or none of it, and a repeated commit changes nothing.

use std::{
    fs::{self, File as Handle},
    io::Write,
    path::PathBuf,
    sync::Arc,
};

use millrace_plugin::{
    Config, Error, File, Target, Writer, arrow_array::RecordBatch, arrow_schema::SchemaRef,
};
use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What a Flow says in its destination's `connection`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The directory, meant from the manifest.
    directory: String,
}

struct ParquetFiles {
    root: PathBuf,
    /// Where the stream goes, and its columns.
    target: Option<(PathBuf, SchemaRef)>,
}

/// What counts.
#[derive(Default, Serialize, Deserialize)]
struct Committed {
    id: Option<String>,
    files: Vec<String>,
}

impl ParquetFiles {
    fn target(&self) -> Result<&(PathBuf, SchemaRef), Error> {
        self.target
            .as_ref()
            .ok_or_else(|| Error::bug("nothing was begun"))
    }

    fn committed(&self) -> Result<Committed, Error> {
        match fs::read(self.target()?.0.join("committed.json")) {
            Ok(text) => {
                serde_json::from_slice(&text).map_err(|error| Error::data(format!("committed.json: {error}")))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Committed::default()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Writer for ParquetFiles {
    const IDEMPOTENT: bool = true;

    fn open(config: Config) -> Result<Self, Error> {
        let settings: Settings = config.settings()?;
        Ok(Self {
            root: config.path(&settings.directory),
            target: None,
        })
    }

    fn begin(&mut self, target: Target) -> Result<(), Error> {
        let directory = self.root.join(&target.stream);
        fs::create_dir_all(&directory)?;
        self.target = Some((directory, target.schema));
        Ok(())
    }

    fn write(&mut self, rows: &RecordBatch, file_counter: u64) -> Result<Vec<File>, Error> {
        let (directory, schema) = self.target()?;
        let unique = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        let name = format!("part-{unique}-{file_counter}.parquet");
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .build();
        let handle = Handle::create(directory.join(&name))?;
        let mut writer =
            ArrowWriter::try_new(handle, Arc::clone(schema), Some(properties)).map_err(Error::data)?;
        writer.write(rows).map_err(Error::data)?;
        writer.finish().map_err(Error::data)?;
        let handle = writer.inner();
        handle.sync_all()?;
        let (serde_json::Value::Object(file), bytes) = (
            json!({ "path": name, "rows": rows.num_rows() }),
            handle.metadata()?.len(),
        ) else {
            return Ok(Vec::new());
        };
        Ok(vec![
            file.into_iter()
                .chain([("bytes".to_owned(), json!(bytes))])
                .collect(),
        ])
    }

    fn commit(&mut self, id: &str, files: &[File], replace: bool) -> Result<(), Error> {
        let mut committed = self.committed()?;
        if committed.id.as_deref() == Some(id) {
            return Ok(());
        }
        if replace {
            committed.files.clear();
        }
        committed.files.extend(
            files
                .iter()
                .filter_map(|file| file.get("path")?.as_str())
                .map(str::to_owned),
        );
        committed.id = Some(id.to_owned());
        let (directory, _) = self.target()?;
        let new = directory.join("committed.json.new");
        let mut handle = Handle::create(&new)?;
        handle.write_all(json!(committed).to_string().as_bytes())?;
        handle.sync_all()?;
        Ok(fs::rename(new, directory.join("committed.json"))?)
    }
}

millrace_plugin::writer!(ParquetFiles);
