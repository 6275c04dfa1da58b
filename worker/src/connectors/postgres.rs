//! PostgreSQL 12 and later, as source and as destination.
//!
//! In: a [`System`]. Out: a [`Source`] that reads through binary COPY within one snapshot ([`source`](mod@self::source)),
//! and a destination that takes the offset and the index in the same transaction as the rows.

use millrace_crds::plan::FlowRef;

use crate::{
    connector::{Source, System},
    error::Result,
};

mod bounds;
mod config;
mod connect;
mod decode;
mod discover;
mod failure;
mod ident;
mod load;
mod numeric;
mod parts;
mod source;
mod tls;
mod types;
mod watermark;

pub use config::{PostgresConfig, SslMode};

/// A server to read from. It is connected to at the first use.
///
/// # Errors
/// `config` where the settings are wrong.
pub fn source(system: &System, flow: &FlowRef) -> Result<Box<dyn Source>> {
    Ok(Box::new(source::PostgresSource::new(system, flow)?))
}

#[cfg(test)]
mod tests;
