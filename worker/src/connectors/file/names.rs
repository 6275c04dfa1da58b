//! Which files belong to which stream.
//!
//! In: a URL's pattern and what a place holds. Out: the streams by name, each with its files in order.

use std::{collections::BTreeMap, path::Path};

use globset::GlobBuilder;
use regex::bytes::Regex;

use crate::{
    error::{Error, Result},
    formats::{Format, compression::Compression},
    storage::{Object, Storage},
};

/// Stands for `{stream}` while a pattern is compiled; no file name holds it.
const MARK: &str = "\u{1}";

/// What a URL says about files.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    text: String,
    /// `None`: one file or directory by its exact name.
    regex: Option<Regex>,
    per_stream: bool,
    /// In a directory, names of another format are no data; `None`: every format is.
    format: Option<Format>,
}

impl Pattern {
    /// Understands the pattern that follows a place; `literal`: it is a name, whatever characters it holds. `format`: as
    /// the settings have it.
    ///
    /// # Errors
    /// `config` for a pattern that cannot be read.
    pub(super) fn new(text: &str, literal: bool, format: Option<Format>) -> Result<Self> {
        let per_stream = !literal && text.contains("{stream}");
        let pattern = literal || !text.contains(['*', '?', '[', '{']);
        let regex = if pattern { None } else { Some(compile(text)?) };
        Ok(Self {
            text: text.to_owned(),
            regex,
            per_stream,
            format,
        })
    }

    /// The streams and their files, both in order.
    ///
    /// # Errors
    /// What listing the place gives; `config` where nothing matches.
    pub(super) async fn find(&self, storage: &Storage) -> Result<BTreeMap<String, Vec<Object>>> {
        let Some(regex) = &self.regex else {
            return self.named(storage).await;
        };
        let mut streams: BTreeMap<String, Vec<Object>> = BTreeMap::new();
        for object in storage.list("").await? {
            let Some(found) = regex.captures(object.key.as_bytes()) else {
                continue;
            };
            if is_partial(&object.key) || self.hides(&object.key) {
                continue;
            }
            let name = match found.name("stream") {
                Some(name) => String::from_utf8_lossy(name.as_bytes()).into_owned(),
                None => self.stream_name(storage),
            };
            streams.entry(name).or_default().push(object);
        }
        if streams.is_empty() {
            return Err(self.nothing(storage));
        }
        Ok(streams)
    }

    /// One file, or the files of one directory.
    async fn named(&self, storage: &Storage) -> Result<BTreeMap<String, Vec<Object>>> {
        let file = if self.text.is_empty() {
            None
        } else {
            storage.head(&self.text).await?
        };
        let files = match file {
            Some(file) => vec![file],
            None if storage.lists() => self.directory(storage).await?,
            None => Vec::new(),
        };
        if files.is_empty() {
            return Err(self.nothing(storage));
        }
        Ok(BTreeMap::from([(self.stream_name(storage), files)]))
    }

    /// The data files of one directory.
    async fn directory(&self, storage: &Storage) -> Result<Vec<Object>> {
        let found = storage.list(&self.text).await?;
        let (data, other): (Vec<Object>, Vec<Object>) =
            found.into_iter().partition(|file| self.is_data(file));
        match other.first() {
            Some(other) if data.is_empty() => Err(Error::config(format!(
                "no file in {} has the name of a data file; the first is {}",
                storage.url_of(&self.text),
                storage.url_of(&other.key)
            ))
            .reason("NotFound")
            .advice("name the files by a pattern, such as `in/*.txt`, and say the `format` where their names do not")),
            _ => Ok(data),
        }
    }

    /// The name of the only stream: what is written out of the last part of the URL (`orders-*.csv` is `orders`),
    /// else the part before it.
    fn stream_name(&self, storage: &Storage) -> String {
        let place = storage.place();
        let parts = place.rsplit('/').filter(|part| !part.is_empty() && *part != ".");
        let texts = self.text.rsplit('/').chain(parts).map(stem);
        texts
            .map(ToOwned::to_owned)
            .find(|stem| !stem.is_empty())
            .unwrap_or_else(|| "files".to_owned())
    }

    /// As in a shell: a pattern takes what is hidden only where it says so itself.
    fn hides(&self, key: &str) -> bool {
        let hidden = |text: &str| text.split('/').any(|part| part.starts_with('.'));
        hidden(key) && !hidden(&self.text)
    }

    /// Directories also hold what is no data: hidden files, markers, logs of other systems, notes. `.txt` may be either,
    /// and a table with lines of a note in it is worse than a file that has to be named.
    fn is_data(&self, object: &Object) -> bool {
        let name = Compression::strip(&object.key);
        let hidden = name.split('/').any(|part| part.starts_with(['.', '_']));
        let note = Path::new(name)
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("txt"));
        let format = Format::of_name(name).filter(|found| self.format.is_none_or(|wanted| wanted == *found));
        !hidden && !note && !is_partial(&object.key) && format.is_some()
    }

    fn nothing(&self, storage: &Storage) -> Error {
        Error::config(format!("no file matches {}", storage.url_of(&self.text)))
            .reason("NotFound")
            .advice("check `connection.url`; relative paths are meant from the manifest's directory")
    }

    /// Whether the URL names many streams.
    pub(super) fn per_stream(&self) -> bool {
        self.per_stream
    }
}

fn compile(text: &str) -> Result<Regex> {
    if text.replace("{stream}", "").contains(['{', '}']) {
        return Err(Error::config(format!(
            "`{text}`: only {{stream}} may stand in braces in the URL of a source"
        )));
    }
    let wrong =
        |error: &dyn std::fmt::Display| Error::config(format!("`{text}` is not a pattern of files: {error}"));
    let glob = GlobBuilder::new(&text.replace("{stream}", MARK))
        .literal_separator(true)
        .build()
        .map_err(|error| wrong(&error))?;
    // The first `{stream}` names it; where the word stands again, the same name is not demanded.
    let named = glob
        .regex()
        .replacen(MARK, "(?P<stream>[^/]+?)", 1)
        .replace(MARK, "[^/]+?");
    Regex::new(&named).map_err(|error| wrong(&error))
}

/// The letters of a name up to its first pattern character or suffix, without what joins it to those.
fn stem(part: &str) -> &str {
    let literal = part.split(['*', '?', '[', '{']).next().unwrap_or_default();
    let bare = Compression::strip(literal);
    let bare = if Format::of_name(literal).is_some() {
        bare.rsplit_once('.').map_or(bare, |(stem, _)| stem)
    } else {
        bare
    };
    bare.trim_end_matches(['-', '_', '.'])
}

/// A file that a writer has not finished.
fn is_partial(key: &str) -> bool {
    key.ends_with(".partial")
}
