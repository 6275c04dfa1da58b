//! Dead letters: refused rows, with reason and place, as NDJSON beside the data. None is dropped in silence.
//!
//! In: [`Refused`] rows of all lanes. Out: one object for each load that refused rows, durable before the commit that
//! counts them. Its name follows from the commit's number, so a load that is tried again does not leave two.

use std::io::{BufReader, Read, Seek, SeekFrom, Write};

use bytes::Bytes;
use jiff::Zoned;
use millrace_crds::template::{Template, Values};
use serde::Serialize;
use tokio::sync::Mutex;

use crate::{
    connector::{Refused, System},
    error::{Context, Error, Result},
    storage::Storage,
};

/// Where the refused rows of one load go.
pub struct DeadLetters {
    place: Place,
    stream: String,
    run: String,
    held: Mutex<Held>,
}

/// What is needed to write them.
pub struct Place {
    /// The storage, or why there is none: it matters only once a row is refused.
    pub storage: Result<Storage>,
    /// The object's name below it.
    pub key: String,
}

#[derive(Default)]
struct Held {
    file: Option<std::fs::File>,
    rows: u64,
}

impl Held {
    fn file(&mut self) -> Result<&mut std::fs::File> {
        Ok(match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Letter<'a> {
    run: &'a str,
    stream: &'a str,
    #[serde(flatten)]
    refused: &'a Refused,
}

impl Place {
    /// The place that a plan names for a stream: `deadLetter`, else `_refused/` beside the files of a `file`
    /// destination, else `_refused/` in the current directory.
    #[must_use]
    pub fn of(plan: &millrace_crds::plan::Plan, stream: &str, destination: &System, key: String) -> Self {
        let flow = &plan.flow;
        let system = &destination.plan;
        let values = Values {
            namespace: &flow.namespace,
            flow: &flow.name,
            stream,
            labels: &flow.labels,
            date: Zoned::now().date(),
        };
        let settings = system.settings();
        let beside = || match settings.get("url").and_then(serde_json::Value::as_str) {
            Some(url) if system.type_ == "file" => format!("{}/_refused/{{stream}}", parent(url)),
            _ => "_refused/{flow}/{stream}".to_owned(),
        };
        let url = plan.dead_letter.clone().unwrap_or_else(beside);
        let base = system.base_dir.as_deref().map(std::path::Path::new);
        let storage = url
            .parse::<Template>()
            .and_then(|template| template.render(&values))
            .map_err(|error| Error::config(format!("deadLetter.url: {error}")))
            .and_then(|url| Storage::open(&url, &settings, &destination.secrets, &destination.limiter, base));
        Self { storage, key }
    }
}

/// The url up to the part that differs between streams.
fn parent(url: &str) -> &str {
    let fixed = url.split('{').next().unwrap_or(url);
    let cut = if fixed.len() < url.len() {
        fixed.rfind('/')
    } else {
        None
    };
    cut.map_or(fixed, |cut| &fixed[..cut]).trim_end_matches('/')
}

impl DeadLetters {
    /// Nothing yet.
    #[must_use]
    pub fn new(place: Place, stream: &str, run: &str) -> Self {
        Self {
            place,
            stream: stream.to_owned(),
            run: run.to_owned(),
            held: Mutex::default(),
        }
    }

    /// Takes refused rows; they wait in a scratch file.
    ///
    /// # Errors
    /// What the file system says; `config` where the place cannot be opened.
    pub async fn add(&self, refused: Vec<Refused>) -> Result<()> {
        if refused.is_empty() {
            return Ok(());
        }
        self.place.storage.as_ref().map_err(Clone::clone)?;
        let mut lines = Vec::new();
        for refused in &refused {
            serde_json::to_writer(
                &mut lines,
                &Letter {
                    run: &self.run,
                    stream: &self.stream,
                    refused,
                },
            )?;
            lines.push(b'\n');
        }
        let mut held = self.held.lock().await;
        held.rows += refused.len() as u64;
        Ok(held.file()?.write_all(&lines)?)
    }

    /// Forgets what was taken: the load is compared once more from its beginning.
    pub async fn clear(&self) {
        *self.held.lock().await = Held::default();
    }

    /// Takes out what was taken in, as it is written: for another process, which writes it.
    pub async fn take(&self) -> (u64, Option<std::fs::File>) {
        let Held { file, rows } = std::mem::take(&mut *self.held.lock().await);
        (rows, file)
    }

    /// Takes in what another process has taken out.
    ///
    /// # Errors
    /// As [`DeadLetters::add`].
    pub async fn append(&self, rows: u64, letters: &mut std::fs::File) -> Result<()> {
        self.place.storage.as_ref().map_err(Clone::clone)?;
        let mut held = self.held.lock().await;
        held.rows += rows;
        std::io::copy(letters, held.file()?)?;
        Ok(())
    }

    /// Writes them all, and waits until they are safe. Gives the place, where there were any.
    ///
    /// # Errors
    /// What the storage says.
    pub async fn finish(&self) -> Result<Option<String>> {
        let mut held = self.held.lock().await;
        let Some(mut file) = held.file.take() else {
            return Ok(None);
        };
        let storage = self.place.storage.as_ref().map_err(Clone::clone)?;
        file.seek(SeekFrom::Start(0))?;
        let mut file = BufReader::new(file);
        let mut writer = storage.writer(&self.place.key).context("dead letter")?;
        loop {
            let mut chunk = Vec::with_capacity(1 << 20);
            if file.by_ref().take(1 << 20).read_to_end(&mut chunk)? == 0 {
                break;
            }
            writer.write(Bytes::from(chunk)).await.context("dead letter")?;
        }
        writer.finish().await.context("dead letter")?;
        let place = storage.url_of(&self.place.key);
        tracing::warn!(stream = self.stream, rows = held.rows, place, "rows were refused");
        Ok(Some(place))
    }
}
