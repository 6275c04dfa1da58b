//! Which files were delivered, as the watermark of a stream of files.
//!
//! A file is known again by its size and its version (an `ETag`; for a local file also its change time, which no
//! program sets back). Clocks tick coarsely, so a local file that changed just before it was listed could change
//! once more unseen: of such files, and of all small ones, a hash of the content is kept too.

use std::{
    collections::BTreeMap,
    io::Read,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    connector::Position,
    error::{Context, Error, Result},
    storage::{Object, Storage},
};

/// Local files up to this size are always hashed.
const SMALL: u64 = 64 << 20;
/// A change within this time before the listing may share its time stamp with a later one.
const TICK: Duration = Duration::from_secs(2);

/// What is kept of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// Bytes.
    size: u64,
    /// The store's version, or the modification time.
    version: String,
    /// A hash of the content, where the version alone is not sure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
}

/// The files that were delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen(BTreeMap<String, Mark>);

impl Seen {
    /// The files of a position; none where it holds no files.
    ///
    /// # Errors
    /// `state` where the position was not written by this connector.
    pub(super) fn of(position: &Position) -> Result<Self> {
        match position.get("files") {
            None | Some(Value::Null) => Ok(Self::default()),
            Some(files) => serde_json::from_value(files.clone())
                .map(Self)
                .map_err(|error| Error::state("StateCorrupt", format!("the position of the files: {error}"))),
        }
    }

    /// As a position.
    pub(super) fn position(&self) -> Position {
        let files: BTreeMap<_, _> = self
            .0
            .iter()
            .map(|(key, mark)| (key.clone(), serde_json::to_value(mark).unwrap_or_default()))
            .collect();
        json!({ "files": files })
    }

    /// What is to be kept of these files, and those of them that are not the same as they were.
    ///
    /// # Errors
    /// What reading a file gives.
    pub(super) fn compare(&self, storage: &Storage, files: &[Object]) -> Result<(Self, Vec<Object>)> {
        let mut now = BTreeMap::new();
        let mut changed = Vec::new();
        for file in files {
            let before = self.0.get(&file.key).filter(|before| before.size == file.size);
            let (mark, same) = mark(storage, file, before)?;
            if !same {
                changed.push(file.clone());
            }
            now.insert(file.key.clone(), mark);
        }
        Ok((Self(now), changed))
    }
}

/// What is to be kept of a file, and whether it is the one of which `before` was kept.
fn mark(storage: &Storage, file: &Object, before: Option<&Mark>) -> Result<(Mark, bool)> {
    let version = file.version.clone().unwrap_or_else(|| match file.modified {
        0 => String::new(),
        modified => modified.to_string(),
    });
    let path = storage.local_path(&file.key)?;
    let unsure = path.is_some() && (file.size <= SMALL || is_fresh(file));
    let hash_before = before.and_then(|before| before.hash.as_ref());
    let hash = match path {
        Some(path) if unsure || hash_before.is_some() => Some(hash(&path)?),
        _ => None,
    };
    let same = match (hash_before, before) {
        (Some(hash_before), _) => hash.as_ref() == Some(hash_before),
        (None, Some(before)) => before.version == version && !version.is_empty(),
        (None, None) => false,
    };
    Ok((
        Mark {
            size: file.size,
            version,
            hash: hash.filter(|_| unsure),
        },
        same,
    ))
}

fn is_fresh(file: &Object) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let modified = Duration::from_nanos(u64::try_from(file.modified).unwrap_or_default());
    now.saturating_sub(modified) < TICK
}

fn hash(path: &std::path::Path) -> Result<String> {
    let place = || format!("cannot read {}", path.display());
    let mut file = std::fs::File::open(path).context(place())?;
    let (mut hasher, mut buffer) = (Xxh3::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).context(place())? {
            0 => return Ok(format!("{:032x}", hasher.digest128())),
            count => hasher.update(&buffer[..count]),
        }
    }
}
