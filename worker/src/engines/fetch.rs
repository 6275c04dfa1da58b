//! The file of a plugin: where it lies on this machine.
//!
//! In: `readers/pg.py:Reader`, `s3://plugins/libpg.so:create_reader`, `gs://...`, `package.module:Class`. Out: a path (or the
//! module's name) and what to take from it. What is fetched is kept, and fetched again where `refresh` asks for it; where a
//! SHA-256 is given, another content is refused.

use std::path::{Path, PathBuf};

use millrace_crds::{Mounted, channel::PLUGINS_DIR, plan::SystemPlan};
use sha2::{Digest, Sha256};

use super::cache;
use crate::{
    connector::System,
    error::{Context, Error, Result},
    storage::Storage,
};

/// A plugin that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The file; for Python also the name of a module.
    pub(super) file: String,
    /// The class or function within it.
    pub(super) symbol: String,
}

/// What the plan names: the plugin of the Source or Flow itself, or that of the recipe's engine (`reader` or `writer`).
///
/// # Errors
/// `config` where it names none.
pub(super) fn named(plan: &SystemPlan, part: &str) -> Result<String> {
    plan.plugin_of(part).map(str::to_owned).ok_or_else(|| {
        Error::config(format!(
            "the engine {} of {} has no {part}",
            plan.engine, plan.connector
        ))
        .advice(format!(
            "name it in the Connector's `engines.{}.{part}`",
            plan.engine
        ))
    })
}

/// Finds a plugin, and fetches it where it lies elsewhere.
///
/// # Errors
/// `config` where there is none, or its content is not the one that was pinned; `transient` where it cannot be fetched.
pub(super) async fn find(system: &System, part: &str) -> Result<Found> {
    let name = named(&system.plan, part)?;
    let Some((file, symbol)) = name.rsplit_once(':') else {
        return Err(Error::config(format!("`{name}` names no plugin")).advice("write FILE:NAME"));
    };
    let own = system.plan.plugin.is_none();
    let pinned = system
        .plan
        .engine_config
        .get("sha256")
        .and_then(|digest| digest.as_str())
        .filter(|_| own);
    let file = match file.contains("://") {
        true => fetched(system, file, pinned)
            .await
            .context(format!("plugin {name}"))?,
        false => local(&system.plan, file)?,
    };
    match pinned {
        Some(pinned) if Path::new(&file).is_absolute() => verify(Path::new(&file), pinned)?,
        Some(_) => {
            return Err(
                Error::config(format!("`sha256` is that of a file, and `{name}` names a module"))
                    .advice("name the file, or leave out `sha256` and pin the package in `requirements`"),
            );
        }
        None => {}
    }
    Ok(Found {
        file,
        symbol: symbol.to_owned(),
    })
}

/// A path is meant from the manifest, a file in a volume from where that is mounted; the name of a module is left as it is.
///
/// # Errors
/// `config` for a volume where there is none.
pub(super) fn local(plan: &SystemPlan, file: &str) -> Result<String> {
    if let Some(mounted) = Mounted::parse(file) {
        let volumes = std::env::var_os(PLUGINS_DIR).filter(|place| !place.is_empty());
        let volumes = volumes.ok_or_else(|| {
            Error::config(format!("`{file}` lies in a volume, which only a cluster has"))
                .reason("PluginMissing")
                .advice("write a path for runs at a desk")
        })?;
        let path = Path::new(&volumes).join(mounted.below());
        return match path.exists() {
            true => Ok(path.display().to_string()),
            false => Err(Error::config(format!("plugin {file}: there is no such file"))
                .reason("PluginMissing")
                .advice("look whether it is in that namespace, and has such a key or path")),
        };
    }
    let is_module = !file.contains('/')
        && Path::new(file)
            .extension()
            .is_none_or(|end| end != "py" && end != "so" && end != "dylib");
    if is_module {
        return Ok(file.to_owned());
    }
    let base = PathBuf::from(plan.base_dir.as_deref().unwrap_or("."));
    let path = base.join(file);
    Ok(std::path::absolute(&path).unwrap_or(path).display().to_string())
}

async fn fetched(system: &System, url: &str, pinned: Option<&str>) -> Result<String> {
    let config = &system.plan.engine_config;
    let secrets = system.secrets.of_plugin();
    let (storage, key) = Storage::open_at(url, config, &secrets, &system.limiter, None)?;
    let anew = config
        .get("refresh")
        .and_then(serde_json::Value::as_bool)
        .unwrap_or(false)
        || std::env::var("MILLRACE_PLUGIN_REFRESH")
            .is_ok_and(|value| !value.is_empty() && value != "0" && value != "false");
    let name = url.rsplit('/').next().unwrap_or("plugin").to_owned();
    let place = cache::digest(&[url.as_bytes(), pinned.unwrap_or_default().as_bytes()]);
    let directory = cache::keep("files", &place, anew, async |place| {
        let bytes = storage
            .get(&key)
            .await?
            .ok_or_else(|| Error::config("there is no such object").reason("PluginMissing"))?;
        if let Some(pinned) = pinned {
            pin(url, &bytes, pinned)?;
        }
        std::fs::write(place.join(&name), &bytes)
            .map_err(|error| Error::config(format!("{} cannot be written: {error}", place.display())))
    });
    Ok(directory.await?.join(&name).display().to_string())
}

fn verify(file: &Path, pinned: &str) -> Result<()> {
    let bytes = std::fs::read(file).map_err(|error| {
        Error::config(format!("plugin {}: {error}", file.display())).reason("PluginMissing")
    })?;
    pin(&file.display().to_string(), &bytes, pinned)
}

fn pin(name: &str, bytes: &[u8], pinned: &str) -> Result<()> {
    let found = format!("{:x}", Sha256::digest(bytes));
    match found == pinned {
        true => Ok(()),
        false => Err(Error::config(format!(
            "plugin {name} has the SHA-256 {found}, and {pinned} is wanted"
        ))
        .reason("PluginChanged")
        .advice("look at what has changed, and write the new digest where it is to run")),
    }
}
