//! What people and programs read: results on standard output, sentences on standard error.

use std::{
    fmt::Display,
    io::{ErrorKind, Write},
    sync::OnceLock,
};

use comfy_table::{ContentArrangement, Table, presets};

use crate::error::{Error, Result};

/// Log lines are JSON: then so is everything else on standard error.
static JSON: OnceLock<bool> = OnceLock::new();

/// Chooses how sentences are written, once, at the start.
pub(super) fn sentences_as_json(json: bool) {
    let _ = JSON.set(json);
}

/// Writes a result to standard output, with a line break at the end. Whoever closed the other end wants no more.
///
/// # Errors
/// Where standard output cannot be written.
pub(super) fn line(text: impl Display) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::from(error)),
        _ => Ok(()),
    }
}

/// Writes JSON for programs to standard output.
///
/// # Errors
/// Where standard output cannot be written.
pub(super) fn json(value: &serde_json::Value) -> Result<()> {
    line(format_args!("{value:#}"))
}

/// Says what is worth knowing.
pub(super) fn note(text: impl Display) {
    if as_json() {
        tracing::info!("{text}");
    } else {
        say(&text);
    }
}

/// Says what may not be as meant.
pub(super) fn warning(text: impl Display) {
    if as_json() {
        tracing::warn!("{text}");
    } else {
        say(&format_args!("warning: {text}"));
    }
}

/// Says what went wrong.
pub(super) fn error(text: impl Display) {
    if as_json() {
        tracing::error!("{text}");
    } else {
        say(&format_args!("error: {text}"));
    }
}

fn as_json() -> bool {
    JSON.get().copied().unwrap_or_default()
}

/// Nothing can be done where standard error is closed.
fn say(text: &dyn Display) {
    super::log::quietly(|| {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    });
}

/// A table without wrapping, whoever reads it.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    table
}
