//! The worker of Millrace: reads streams from a source and commits them to a destination, exactly once.
//!
//! Data walks through it in one direction:
//!
//! ```text
//! connector (Source) -> coerce -> transform -> difference -> stage -> commit -> acknowledge
//!                                     |                                  |
//!                               dead letters                    state store, epochs
//! ```

pub mod connector;
pub mod diff;
pub mod error;
pub mod protocol;
pub mod rate;
pub mod secrets;
pub mod state;
pub mod stream;
