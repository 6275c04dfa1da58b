//! PostgreSQL as a destination: the server that keeps rows, offset and index in one transaction.
//!
//! In: the settings. Out: a [`Shard`](crate::connector::Shard) for each stream.

use std::sync::Arc;

use async_trait::async_trait;
use millrace_crds::plan::FlowRef;
use tokio_postgres::types::Type;

use super::{
    config::PostgresConfig,
    connect::Server,
    ident::{literal, qualified, quote},
    link::Link,
    shard::PostgresShard,
    target::Target,
};
use crate::{
    connector::{Authority, Destination, Shard, System},
    error::{Context, Error, Result},
    protocol::ShardId,
    stream::StreamSpec,
};

/// A PostgreSQL server that is written.
pub(super) struct PostgresDestination {
    server: Arc<Server>,
    flow: FlowRef,
}

impl PostgresDestination {
    /// # Errors
    /// `config` where the settings are wrong.
    pub(super) fn new(system: &System) -> Result<Self> {
        let server = Server {
            config: PostgresConfig::new(&system.plan)?,
            secrets: system.secrets.clone(),
            limiter: system.limiter.clone(),
            application: format!("millrace/{}", system.flow.name),
        };
        Ok(Self {
            server: Arc::new(server),
            flow: system.flow.clone(),
        })
    }

    fn target(&self, id: &ShardId) -> Result<Target> {
        Target::new(&self.server.config, &self.flow, id)
    }
}

/// Makes a schema where it is missing and the role may.
pub(super) async fn ensure_schema(link: &mut Link, schema: &str) -> Result<()> {
    let known = link
        .query(
            "SELECT FROM pg_namespace WHERE nspname = $1",
            &[(&schema, Type::TEXT)],
        )
        .await?;
    if known.is_empty() {
        link.run(&format!("CREATE SCHEMA IF NOT EXISTS {}", quote(schema)))
            .await?;
    }
    Ok(())
}

#[async_trait]
impl Destination for PostgresDestination {
    fn authority(&self) -> Authority {
        Authority::Destination
    }

    async fn shard(&self, id: &ShardId, stream: &StreamSpec) -> Result<Arc<dyn Shard>> {
        let target = self.target(id)?;
        Ok(Arc::new(PostgresShard::new(
            self.server.clone(),
            id.clone(),
            stream.clone(),
            target,
        )))
    }

    async fn check(&self) -> Result<()> {
        let any = ShardId {
            state: "check".to_owned(),
            stream: "check".to_owned(),
        };
        let schema = self.target(&any)?.schema;
        let mut link = self.server.connect().await?;
        let context = || format!("{}: schema {schema}", self.server.place());
        let row = link
            .query_one(
                "SELECT current_setting('server_version_num')::int4, pg_is_in_recovery()",
                &[],
            )
            .await
            .context(context())?;
        if row.get::<_, i32>(0) < 120_000 {
            return Err(Error::config(format!(
                "{}: PostgreSQL 12 or later is needed",
                self.server.place()
            )));
        }
        if row.get(1) {
            return Err(Error::config(format!(
                "{}: it is a standby, which cannot be written",
                self.server.place()
            )));
        }
        trial(&mut link, &schema).await.context(context())
    }
}

/// Makes a table, writes and drops it, and takes all of it back.
async fn trial(link: &mut Link, schema: &str) -> Result<()> {
    let table = qualified(
        schema,
        &format!("millrace_check_{}", uuid::Uuid::new_v4().simple()),
    );
    link.run("BEGIN").await?;
    ensure_schema(link, schema).await?;
    link.run(&format!(
        "CREATE TABLE {table} (note text); INSERT INTO {table} VALUES ({}); ALTER TABLE {table} ADD COLUMN more text; \
         DELETE FROM {table}; DROP TABLE {table}; ROLLBACK",
        literal("trial")
    ))
    .await
}
