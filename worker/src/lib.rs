//! The worker of Millrace: reads streams from a source and commits them to a destination, exactly once.
//!
//! Data walks through it in one direction:
//!
//! ```text
//! connector (Source) -> coerce -> transform -> difference -> stage -> commit -> acknowledge
//!                                     |                                  |
//!                               dead letters                    state store, epochs
//! ```

pub mod backoff;
pub mod cli;
pub mod cluster;
pub mod connector;
pub mod connectors;
pub mod diff;
pub mod engine;
pub mod engines;
pub mod error;
pub mod failpoint;
pub mod formats;
pub mod plugin_host;
pub mod protocol;
pub mod rate;
pub mod scratch;
pub mod secrets;
pub mod settings;
pub mod state;
pub mod storage;
pub mod stream;
pub mod types;
