//! Python for engines: the interpreter, environments with packages, the `millrace` package itself.
//!
//! In: the packages that a connector needs. Out: an interpreter that has them. An environment is made once for the same
//! packages, and kept. The package that speaks the plugin protocol comes with this program, so that both are of one release.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use include_dir::{Dir, include_dir};
use tokio::process::Command;

use super::cache;
use crate::error::{Error, Result};

static PACKAGE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../sdk/python/src/millrace");

/// An interpreter and where its programs lie.
#[derive(Clone, Debug)]
pub(super) struct Python {
    /// The interpreter.
    pub(super) interpreter: OsString,
    /// The directory of the programs that its packages bring; `None`: those in `PATH`.
    pub(super) programs: Option<PathBuf>,
}

/// The interpreter of this machine: `MILLRACE_PYTHON`, else `python3`.
#[must_use]
pub(super) fn interpreter() -> OsString {
    std::env::var_os("MILLRACE_PYTHON").unwrap_or_else(|| "python3".into())
}

/// An interpreter with these packages.
///
/// # Errors
/// `config` where there is no Python, or a package cannot be installed.
pub(super) async fn with(requirements: &[String]) -> Result<Python> {
    let base = interpreter();
    if requirements.is_empty() {
        return Ok(Python {
            interpreter: base,
            programs: None,
        });
    }
    let version = said(&base, &["-c", "import sys; print(sys.version, sys.prefix)"]).await?;
    let mut wanted: Vec<&[u8]> = vec![version.as_bytes()];
    wanted.extend(requirements.iter().map(String::as_bytes));
    let place = cache::keep("environments", &cache::digest(&wanted), false, async |place| {
        tracing::info!(packages = requirements.join(" "), "a Python environment is made");
        said(
            &base,
            &[
                "-m",
                "venv",
                "--system-site-packages",
                &place.display().to_string(),
            ],
        )
        .await?;
        let python = place.join("bin/python").into_os_string();
        let mut args = vec![
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
        ];
        args.extend(requirements.iter().map(String::as_str));
        said(&python, &args).await.map(drop)
    })
    .await?;
    Ok(Python {
        interpreter: place.join("bin/python").into_os_string(),
        programs: Some(place.join("bin")),
    })
}

/// What a program prints.
async fn said(program: &OsString, args: &[&str]) -> Result<String> {
    let shown = program.to_string_lossy();
    let output = Command::new(program).args(args).kill_on_drop(true).output().await.map_err(|error| {
        Error::config(format!("`{shown}` cannot be run: {error}"))
            .reason("ProgramMissing")
            .advice("install Python 3.10 or later, or set MILLRACE_PYTHON to an interpreter; in a cluster use the worker image with Python")
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = errors.lines().rev().take(5).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    Err(Error::config(format!(
        "`{shown} {}` failed: {}",
        args.join(" "),
        last.join(" | ")
    )))
}

/// The directory that holds the `millrace` package of this release.
///
/// # Errors
/// `config` where the cache cannot be written.
pub(super) async fn package() -> Result<PathBuf> {
    let files: Vec<_> = sources(&PACKAGE);
    let parts: Vec<&[u8]> = files
        .iter()
        .flat_map(|(path, text)| [path.as_os_str().as_encoded_bytes(), *text])
        .collect();
    cache::keep("sdk", &cache::digest(&parts), false, async |place| {
        for (path, text) in &files {
            let path = place.join("millrace").join(path);
            let write = || {
                std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
                std::fs::write(&path, text)
            };
            write()
                .map_err(|error| Error::config(format!("{} cannot be written: {error}", path.display())))?;
        }
        Ok(())
    })
    .await
}

/// The modules of the package, without what an interpreter has left there.
fn sources(directory: &'static Dir<'static>) -> Vec<(&'static Path, &'static [u8])> {
    let own = directory
        .files()
        .filter(|file| file.path().extension().is_some_and(|end| end == "py"));
    let own = own.map(|file| (file.path(), file.contents()));
    own.chain(directory.dirs().flat_map(sources)).collect()
}
