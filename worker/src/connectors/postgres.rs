//! PostgreSQL 12 and later, as source and as destination.
//!
//! In: a [`System`]. Out: a source that reads through binary COPY within one snapshot, with deltas that lose no row
//! that commits late; and a destination that takes rows, offset and index in one transaction.
//!
//! ```text
//! discover -> bounds -> load -> parts -> decode          encode <- stage (a COPY for each lane)
//!             (sampled first)   (one snapshot)              |        |
//!                                                         target   index, ledger -> commit (one transaction)
//! ```

use std::sync::Arc;

use super::{Connector, Side};
use crate::{
    connector::{Destination, Source, System},
    error::Result,
};

mod bounds;
mod commit;
mod config;
mod connect;
mod decode;
mod defaults;
mod destination;
mod discard;
mod discover;
mod encode;
mod failure;
mod ident;
mod index;
mod ledger;
mod link;
mod load;
mod numeric;
mod parts;
mod presence;
mod shard;
mod source;
mod stage;
mod swap;
mod target;
#[cfg(test)]
pub(super) mod tests;
mod tls;
mod types;
mod watermark;

pub use config::{PostgresConfig, SslMode};

/// The table's line.
pub const CONNECTOR: Connector = Connector {
    name: "postgres",
    summary: "PostgreSQL 12 and later: tables, views, partitioned tables; offset and index in the same transaction as the rows",
    source: Some(Side::new::<PostgresConfig>(
        "{ host: db.acme, port: 5432, database: shop, user: reader }",
        source,
    )),
    destination: Some(Side::new::<PostgresConfig>(
        "{ host: db.acme, port: 5432, database: lake, user: writer }",
        destination,
    )),
    credentials: &[("password", Some("PGPASSWORD"))],
};

/// A server to read from. It is connected to at the first use.
///
/// # Errors
/// `config` where the settings are wrong.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the table of connectors hands the system over"
)]
pub fn source(system: System) -> Result<Arc<dyn Source>> {
    Ok(Arc::new(source::PostgresSource::new(&system)?))
}

/// A server to write to. It is connected to at the first use.
///
/// # Errors
/// `config` where the settings are wrong.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the table of connectors hands the system over"
)]
pub fn destination(system: System) -> Result<Arc<dyn Destination>> {
    Ok(Arc::new(destination::PostgresDestination::new(&system)?))
}
