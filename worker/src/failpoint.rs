//! Places where a test stops this process: to prove that a death at any of them costs nothing.
//!
//! In: `MILLRACE_FAILPOINT`, one of `NAME`, `NAME:COUNT` or either followed by `=ACTION`; the action is taken when the
//! place is passed for the COUNT-th time (the first, where none is given). Actions: `kill` (the default, `kill -9`),
//! `stop` (`SIGSTOP`; goes on with `SIGCONT`), `error` and `panic`. Out: nothing, where the variable is not set.
//!
//! Beside them, deliberate mistakes, by `MILLRACE_MUTATION`: a test of the tests, which have to see each of them.
//! Programs built for release hear neither: what stands in somebody's environment must not stop a load.

use std::{
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::error::{Error, Result};

/// Every place, in the order in which a run passes them. A commit passes `intent.*` only where the destination
/// cannot hold the offset.
pub const FAILPOINTS: &[&str] = &[
    "acquire.before",
    "acquire.after",
    "fence.before",
    "fence.after",
    "recover.before",
    "recover.after",
    "stage.write",
    "stage.finish",
    "intent.before",
    "intent.after",
    "commit.before",
    "commit.after",
    "state.before",
    "state.after",
    "ack.before",
    "ack.after",
];

#[derive(Debug, PartialEq)]
struct Armed {
    name: String,
    count: u64,
    action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    Kill,
    Stop,
    Error,
    Panic,
}

/// Passes a place. Cheap enough for every step of a commit, not meant for every row.
///
/// # Errors
/// Where a test asks for one; or `config`, where `MILLRACE_FAILPOINT` makes no sense. None in programs built for release.
pub fn hit(name: &'static str) -> Result<()> {
    static ARMED: OnceLock<Result<Option<Armed>>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    if !cfg!(debug_assertions) {
        return Ok(());
    }
    debug_assert!(FAILPOINTS.contains(&name), "{name} is missing in FAILPOINTS");
    match ARMED.get_or_init(|| {
        std::env::var("MILLRACE_FAILPOINT")
            .ok()
            .map(|text| parse(&text))
            .transpose()
    }) {
        Ok(Some(armed)) if armed.name == name && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == armed.count => {
            act(name, armed.action)
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error.clone()),
    }
}

/// Whether `MILLRACE_MUTATION` asks for this mistake. Programs built for release make none.
#[must_use]
pub fn mutated(mistake: &str) -> bool {
    cfg!(debug_assertions) && std::env::var("MILLRACE_MUTATION").is_ok_and(|asked| asked == mistake)
}

fn parse(text: &str) -> Result<Armed> {
    let wrong = |what: String| Error::config(format!("MILLRACE_FAILPOINT=`{text}`: {what}"));
    let (place, action) = text.split_once('=').unwrap_or((text, "kill"));
    let (name, count) = place.split_once(':').unwrap_or((place, "1"));
    if !FAILPOINTS.contains(&name) {
        return Err(wrong(format!(
            "there is no `{name}`; there are {}",
            FAILPOINTS.join(", ")
        )));
    }
    let count = match count.parse() {
        Ok(count) if count > 0 => count,
        _ => return Err(wrong(format!("`{count}` is no number from 1 on"))),
    };
    let action = match action {
        "kill" => Action::Kill,
        "stop" => Action::Stop,
        "error" => Action::Error,
        "panic" => Action::Panic,
        other => return Err(wrong(format!("`{other}` is none of kill, stop, error, panic"))),
    };
    Ok(Armed {
        name: name.to_owned(),
        count,
        action,
    })
}

fn act(name: &str, action: Action) -> Result<()> {
    match action {
        Action::Kill => signal("KILL").map(|()| {
            // The signal is on its way; nothing after the place may run.
            loop {
                std::thread::park();
            }
        }),
        Action::Stop => signal("STOP"),
        Action::Error => Err(Error::transient(format!(
            "the failpoint {name} was asked to fail"
        ))),
        Action::Panic => panic!("the failpoint {name} was asked to panic"),
    }
}

/// A signal to this process. The shell's own `kill` is there even where no program of that name is.
fn signal(name: &str) -> Result<()> {
    let command = format!("kill -{name} {}", std::process::id());
    let status = Command::new("sh").args(["-c", &command]).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::bug(format!("`{command}` ended with {status}")))
    }
}

#[cfg(test)]
mod tests;
