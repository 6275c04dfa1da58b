//! The shim: the first program of a connector's container, which runs the connector as the worker beside it asks.
//!
//! ```text
//! millrace-shim lend DIRECTORY...   copies itself there: an init container of the worker's image does that
//! millrace-shim serve SOCKET        runs what it is asked to, in the connector's container
//! ```
//!
//! It is linked statically, since the connector's image may have any libraries, or none.

mod init;
mod run;

use std::{ffi::OsString, io, os::unix::fs::PermissionsExt, path::Path, process::ExitCode};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let verb = args.next().unwrap_or_default();
    let rest: Vec<OsString> = args.collect();
    let done = match (verb.to_str(), rest.as_slice()) {
        (Some("lend"), directories) if !directories.is_empty() => lend(directories),
        (Some("serve"), [socket]) => init::serve(Path::new(socket)),
        (Some(run::VERB), [socket]) => run::listen(Path::new(socket)),
        _ => Err(io::Error::other("millrace-shim lend DIRECTORY... | serve SOCKET")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millrace-shim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn lend(directories: &[OsString]) -> io::Result<()> {
    let own = std::fs::read(std::env::current_exe()?)?;
    for directory in directories {
        let place = Path::new(directory).join(millrace_shim::PROGRAM);
        std::fs::write(&place, &own)?;
        std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o555))?;
    }
    Ok(())
}
