//! Processes for the worker.
//!
//! In: connections. Out: for each a process with the streams that came with it, and how it ended. A process leads a group of
//! its own, which is killed when the connection is closed.

use std::{
    ffi::OsString,
    fs::{Permissions, remove_file, set_permissions},
    io::{self, ErrorKind, Read, Write},
    net::Shutdown,
    os::{
        fd::OwnedFd,
        unix::{
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::Path,
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use millrace_shim::{Answer, asked};
use rustix::process::{Pid, Signal, kill_process_group};

/// The argument by which the shim starts itself to serve.
pub(crate) const VERB: &str = "listen";
/// Where the images of Airbyte name their program.
const ENTRYPOINT: &str = "AIRBYTE_ENTRYPOINT";

/// What is waited after a connection that could not be served: the machine has no room for it now.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves for ever.
pub(crate) fn listen(socket: &Path) -> io::Result<()> {
    match remove_file(socket) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    // The worker is another user of the same group.
    set_permissions(socket, Permissions::from_mode(0o660))?;
    for stream in listener.incoming() {
        // The connectors that are at work go on, and whoever has asked in vain asks again.
        let served = stream.and_then(|stream| thread::Builder::new().spawn(move || serve(&stream)));
        if let Err(error) = served {
            eprintln!("millrace-shim: a connection was not served: {error}");
            thread::sleep(PAUSE);
        }
    }
    Ok(())
}

fn serve(stream: &UnixStream) {
    let answer = match asked(stream) {
        Ok(None) => return,
        Ok(Some((command, streams))) => run(stream, command, streams),
        Err(error) => Err(error),
    };
    let answer = answer.unwrap_or_else(|error| Answer::Failed(error.to_string()));
    // Whoever asked may be gone.
    let _ = (&*stream).write_all(&answer.to_bytes());
    let _ = stream.shutdown(Shutdown::Both);
}

fn run(stream: &UnixStream, command: Vec<OsString>, streams: [OwnedFd; 3]) -> io::Result<Answer> {
    let mut child = start(command, streams)?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let over = Arc::new(AtomicBool::new(false));
    let (mut worker, known) = (stream.try_clone()?, over.clone());
    let watch = move || {
        // It says no more: what comes is the end.
        let _ = worker.read(&mut [0]);
        if !known.load(Ordering::SeqCst) {
            kill(group);
        }
    };
    if let Err(error) = thread::Builder::new().spawn(watch) {
        kill(group);
        let _ = child.wait();
        return Err(error);
    }
    let status = child.wait();
    over.store(true, Ordering::SeqCst);
    kill(group);
    Ok(Answer::Ended(status?.into_raw()))
}

fn kill(group: Option<Pid>) {
    if let Some(group) = group {
        // It may be gone by now.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// The program that is named, else that of the image.
fn start(command: Vec<OsString>, [input, output, errors]: [OwnedFd; 3]) -> io::Result<Child> {
    let mut parts = command.into_iter();
    let named = parts.next().filter(|program| !program.is_empty());
    let whole: Vec<OsString> = match named {
        Some(program) => vec![program],
        None => own()?,
    };
    let (program, first) = whole.split_first().ok_or_else(no_entrypoint)?;
    Command::new(program)
        .args(first)
        .args(parts)
        .stdin(input)
        .stdout(output)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("`{}` cannot be run: {error}", program.display()),
            )
        })
}

fn own() -> io::Result<Vec<OsString>> {
    let own = std::env::var(ENTRYPOINT).map_err(|_| no_entrypoint())?;
    Ok(own.split_whitespace().map(OsString::from).collect())
}

fn no_entrypoint() -> io::Error {
    io::Error::other(format!(
        "the image says in no {ENTRYPOINT} what is to be run: write `entrypoint` beside `image`"
    ))
}
