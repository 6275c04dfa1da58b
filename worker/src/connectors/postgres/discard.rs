//! What becomes of staged rows when no commit follows: a load that found nothing new has staged for nothing.
//!
//! In: the tokens of the stages. Out: their tables and their segments of the index are gone, though they are younger
//! than what is swept.

use std::collections::BTreeSet;

use super::{commit::tokens, index, shard::PostgresShard, stage::Token};
use crate::{connector::Staged, error::Result};

/// Drops what the stages wrote.
pub(super) async fn discard(shard: &PostgresShard, staged: &[Staged]) -> Result<()> {
    let tokens = tokens(staged)?;
    if tokens.is_empty() {
        return Ok(());
    }
    let mut link = shard.control().await?;
    let tables: BTreeSet<&str> = tokens.iter().map(|token| token.table.as_str()).collect();
    for table in tables {
        let table = shard.target.beside(table);
        link.run(&format!("DROP TABLE IF EXISTS {table}")).await?;
    }
    index::discard(&mut link, &shard.ledger, &tokens).await?;
    if tokens.iter().any(|token: &Token| token.build) {
        // The next stage begins a table of its own.
        shard.built().await;
    }
    shard.keep(link).await;
    Ok(())
}
