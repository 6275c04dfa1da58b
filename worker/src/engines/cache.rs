//! Where what engines fetch and install is kept, between runs and beside other workers.
//!
//! In: a name for what is wanted. Out: a path at which it lies whole: it is made by one process while others wait, and what
//! was begun and not finished is begun anew.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The file that says that a directory is whole.
const WHOLE: &str = ".whole";

/// The directory: `MILLRACE_PLUGIN_CACHE_DIR`, else the user's cache, else that for temporary files.
#[must_use]
pub(super) fn directory() -> PathBuf {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let user = || set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    set("MILLRACE_PLUGIN_CACHE_DIR")
        .or_else(|| {
            user()
                .map(|cache| cache.join("millrace"))
                .filter(|cache| fs::create_dir_all(cache).is_ok())
        })
        .unwrap_or_else(|| std::env::temp_dir().join("millrace"))
        .join("plugins")
}

/// The digest that names what is kept.
#[must_use]
pub(crate) fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    format!("{:x}", hash.finalize())
}

/// A directory of the cache, made by `make` where it is not there; `anew` makes it again.
///
/// # Errors
/// What making it gives; `config` where nothing can be written or locked there.
pub(super) async fn keep(
    kind: &str,
    name: &str,
    anew: bool,
    make: impl AsyncFnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let parent = directory().join(kind);
    let unwritable = |error| unfit(&parent, "written", &error);
    fs::create_dir_all(&parent).map_err(unwritable)?;
    let place = parent.join(name);
    let is_whole = || place.join(WHOLE).exists();
    if is_whole() && !anew {
        return Ok(place);
    }
    let lock = fs::File::create(parent.join(format!("{name}.lock"))).map_err(unwritable)?;
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await;
    let lock = lock.map_err(|error| Error::bug(format!("the lock of the plugin cache: {error}")))?;
    let _lock = lock.map_err(|error| unfit(&parent, "locked", &error))?;
    if is_whole() && !anew {
        return Ok(place);
    }
    match fs::remove_dir_all(&place) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(unwritable(error)),
        _ => {}
    }
    fs::create_dir_all(&place).map_err(unwritable)?;
    make(&place).await?;
    fs::write(place.join(WHOLE), "").map_err(unwritable)?;
    Ok(place)
}

fn unfit(place: &Path, what: &str, error: &std::io::Error) -> Error {
    let place = place.display();
    Error::config(format!("the plugin cache {place} cannot be {what}: {error}"))
        .advice("set MILLRACE_PLUGIN_CACHE_DIR to a directory that can be")
}
