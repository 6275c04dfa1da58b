//! Settings of the process that the environment gives.

use std::{path::PathBuf, time::Duration};

/// A number of seconds; `None`: not given, or no whole number.
#[must_use]
pub fn seconds(name: &str) -> Option<Duration> {
    let text = std::env::var(name).ok()?;
    text.parse().ok().map(Duration::from_secs)
}

/// Where files for a while lie: `MILLRACE_SCRATCH_DIR`, or the temporary directory of the system.
#[must_use]
pub fn scratch() -> PathBuf {
    std::env::var_os("MILLRACE_SCRATCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from)
}
