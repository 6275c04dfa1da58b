//! Log lines: structured, on standard error, and never in the middle of a progress bar.
//!
//! In: `MILLRACE_LOG` (or `RUST_LOG`) and `MILLRACE_LOG_FORMAT` (`text`, `json`). Out: a subscriber. A plain level such as
//! `trace` is for Millrace alone: other crates log what goes over the wire, which may be secret.

use std::io::{IsTerminal, Write};

use indicatif::{MultiProgress, ProgressDrawTarget};
use tracing_subscriber::{EnvFilter, fmt, fmt::MakeWriter};

use crate::error::{Error, Result};

static BARS: std::sync::OnceLock<MultiProgress> = std::sync::OnceLock::new();

/// The place where progress bars are drawn; nowhere, unless standard error is a terminal.
pub(super) fn bars() -> &'static MultiProgress {
    BARS.get_or_init(|| {
        let hidden = !std::io::stderr().is_terminal() || json();
        let target = if hidden {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        MultiProgress::with_draw_target(target)
    })
}

/// Writes to the terminal while the bars are out of the way.
pub(super) fn quietly(write: impl FnOnce()) {
    if bars().is_hidden() {
        write();
    } else {
        bars().suspend(write);
    }
}

/// Begins to log.
///
/// # Errors
/// `config` where `MILLRACE_LOG_FORMAT` or the filter makes no sense.
pub(super) fn init() -> Result<()> {
    super::out::sentences_as_json(json());
    let filter = filter()?;
    let format = std::env::var("MILLRACE_LOG_FORMAT").unwrap_or_default();
    let lines = fmt().with_env_filter(filter).with_writer(Lines);
    match format.as_str() {
        "json" => lines.json().flatten_event(true).init(),
        "" | "text" => lines.with_ansi(!bars().is_hidden()).with_target(false).init(),
        other => {
            let error = Error::config(format!("MILLRACE_LOG_FORMAT=`{other}` is no format"));
            return Err(error.advice("write text or json"));
        }
    }
    Ok(())
}

fn json() -> bool {
    std::env::var("MILLRACE_LOG_FORMAT").is_ok_and(|format| format == "json")
}

/// On a terminal the bars tell how it goes, so that only warnings are worth a line.
fn filter() -> Result<EnvFilter> {
    let wanted = ["MILLRACE_LOG", "RUST_LOG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()));
    let wanted = wanted.unwrap_or_else(|| if bars().is_hidden() { "info" } else { "warn" }.to_owned());
    let directives = directives(&wanted);
    EnvFilter::try_new(&directives).map_err(|error| {
        Error::config(format!("MILLRACE_LOG=`{wanted}` is no filter: {error}"))
            .advice("write error, warn, info, debug or trace")
    })
}

fn directives(wanted: &str) -> String {
    let plain = wanted.chars().all(|letter| letter.is_ascii_alphanumeric());
    if plain {
        format!("error,millrace={wanted},millrace_crds={wanted}")
    } else {
        wanted.to_owned()
    }
}

/// Standard error, line by line.
struct Lines;

/// One line; it is written as a whole.
struct OneLine(Vec<u8>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = OneLine;
    fn make_writer(&'a self) -> OneLine {
        OneLine(Vec::with_capacity(256))
    }
}

impl Write for OneLine {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for OneLine {
    fn drop(&mut self) {
        quietly(|| {
            // Nobody can be told that standard error is closed.
            let _ = std::io::stderr().lock().write_all(&self.0);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::directives;

    #[test]
    fn a_plain_level_is_for_millrace_alone() {
        assert_eq!(directives("trace"), "error,millrace=trace,millrace_crds=trace");
        assert_eq!(directives("warn,hyper=debug"), "warn,hyper=debug");
    }
}
