//! `millrace init`: a manifest to start from, and a few rows, so that it runs as it is.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use clap::Args;

use super::{exit::Exit, out};
use crate::error::{Context, Error, Result};

const MANIFEST: &str = include_str!("init/flow.yaml");
const ROWS: &str = include_str!("init/orders.csv");
/// Each in a file of its own: the manifest, and the rows that it reads.
const FILES: [(&str, &str); 2] = [("flow.yaml", MANIFEST), ("orders.csv", ROWS)];

/// The options of `millrace init`.
#[derive(Args, Clone, Debug)]
pub(super) struct InitArgs {
    /// Where to write it
    #[arg(default_value = ".", value_name = "DIR")]
    directory: PathBuf,
}

/// Writes, unless something would be overwritten.
///
/// # Errors
/// `config` where one of the files is there already, or the directory cannot be written.
pub(super) fn run(args: &InitArgs) -> Result<Exit> {
    let directory = &args.directory;
    let taken = FILES
        .iter()
        .map(|(name, _)| directory.join(name))
        .find(|path| path.exists());
    if let Some(path) = taken {
        return Err(Error::config(format!("{} is there already", path.display()))
            .advice("name another directory: `millrace init DIR`"));
    }
    fs::create_dir_all(directory).context(directory.display())?;
    for (name, text) in FILES {
        create(&directory.join(name), text)?;
    }
    let (manifest, rows) = (directory.join(FILES[0].0), directory.join(FILES[1].0));
    let (manifest, rows) = (manifest.display(), rows.display());
    out::line(format_args!(
        "{manifest} reads {rows} and writes Parquet files. Try:\n\n  \
         millrace run {manifest}\n  \
         millrace files orders {manifest}\n\n\
         Then change {rows}, run again, and only the difference is delivered."
    ))?;
    Ok(Exit::Done)
}

fn create(path: &Path, text: &str) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).create_new(true).open(path);
    match file.and_then(|mut file| file.write_all(text.as_bytes())) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(Error::config(format!("{} is there already", path.display())))
        }
        result => result.context(path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::{FILES, InitArgs, run};
    use crate::cli::manifests;

    #[test]
    fn what_is_written_is_sound_and_never_overwrites() {
        let place = tempfile::tempdir().unwrap();
        let args = InitArgs {
            directory: place.path().join("new"),
        };
        run(&args).unwrap();
        let loaded = manifests::load(&[args.directory.join(FILES[0].0)]).unwrap();
        assert!(loaded.resolution.problems.is_empty());
        assert_eq!(loaded.resolution.plans.len(), 1);
        assert!(run(&args).unwrap_err().message.contains("is there already"));
    }
}
