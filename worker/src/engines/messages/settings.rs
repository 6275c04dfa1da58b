//! What a connector is given: files that only this user can read, which go with the load.
//!
//! In: the Source's connection and credentials. Out: `config.json` and others in a directory of its own. A credential is
//! put where its name says: `password`, or `credentials.client_secret` within an object.

use std::{
    fs::{Permissions, set_permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use crate::{
    connector::System,
    engines::image,
    error::{Error, Result},
    scratch::Scratch,
};

/// A directory of files for one process.
pub(in crate::engines) struct Settings {
    directory: Scratch,
    mode: u32,
}

impl Settings {
    /// An empty one, where the connector finds it; in memory where the machine has a place for that.
    ///
    /// # Errors
    /// `transient` where it cannot be made.
    pub(in crate::engines) fn of(system: &System) -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let shared = image::directory(system);
        let place = match &shared {
            Some(shared) => shared.clone(),
            None if memory.is_dir() => memory.to_owned(),
            None => std::env::temp_dir(),
        };
        let made = match &shared {
            Some(_) => Self::within(&place, true),
            None => Self::within(&place, false).or_else(|_| Self::within(&std::env::temp_dir(), false)),
        };
        made.map_err(|error| Error::transient(format!("no directory for a connector: {error}")))
    }

    /// `shared`: with the connector's container, which may have another user, of the same group.
    fn within(place: &Path, shared: bool) -> io::Result<Self> {
        let directory = Scratch::within(place)?;
        if shared {
            set_permissions(directory.path(), Permissions::from_mode(0o750))?;
        }
        Ok(Self {
            directory,
            mode: if shared { 0o640 } else { 0o600 },
        })
    }

    /// Writes a file, and gives its path.
    ///
    /// # Errors
    /// `transient` where it cannot be written.
    pub(in crate::engines) fn write(&self, name: &str, value: &Value) -> Result<PathBuf> {
        let path = self.directory.path().join(name);
        let write = || {
            let mut options = std::fs::OpenOptions::new();
            // A connector could have put a link there.
            let mut file = options.create_new(true).write(true).mode(self.mode).open(&path)?;
            file.write_all(value.to_string().as_bytes())
        };
        match write() {
            Ok(()) => Ok(path),
            Err(error) => Err(Error::transient(format!(
                "{} cannot be written: {error}",
                path.display()
            ))),
        }
    }
}

/// The configuration of a connector: its settings, with the credentials in their places.
///
/// # Errors
/// `config` where a credential is missing, or has no place.
pub(in crate::engines) fn config(system: &System) -> Result<Value> {
    let mut config = system.plan.settings();
    for (name, value) in system.secrets.for_plugin()? {
        put(&mut config, &name, Value::String(value)).ok_or_else(|| {
            Error::config(format!(
                "credential `{name}`: the connection has something else there"
            ))
        })?;
    }
    Ok(Value::Object(config))
}

/// Puts a value where a path of names says.
fn put(config: &mut Map<String, Value>, path: &str, value: Value) -> Option<()> {
    match path.split_once('.') {
        None => {
            config.insert(path.to_owned(), value);
            Some(())
        }
        Some((first, rest)) => {
            let inner = config.entry(first).or_insert_with(|| Value::Object(Map::new()));
            put(inner.as_object_mut()?, rest, value)
        }
    }
}
