//! A new table in the place of an old one, in one transaction: whoever reads sees all of one or all of the other.
//!
//! In: the old table and the new one. Out: the new one under the name of the old, with the grants of the old. Where
//! more hangs on the old one (views, foreign keys, indexes, triggers, policies, comments), it is kept, and its rows are
//! exchanged instead.

use tokio_postgres::types::Type;

use super::{
    commit::own_key_pattern,
    ident::quote,
    link::Link,
    target::{Existing, Target},
};
use crate::error::{Context, Result};

/// Everything that would be lost with the old table. Its row type, its TOAST table and our own key go with it.
const DEPENDENTS: &str = "SELECT EXISTS (SELECT FROM pg_depend d \
         LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid \
         LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid \
       WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 \
         AND NOT (d.classid = 'pg_type'::regclass AND d.deptype = 'i') \
         AND NOT coalesce(c.relkind = 't' OR c.relname LIKE $2, false) \
         AND NOT coalesce(k.conname LIKE $2 OR k.contype = 'n', false)) \
     OR EXISTS (SELECT FROM pg_depend d JOIN pg_class t ON t.reltype = d.refobjid \
       WHERE t.oid = $1 AND d.refclassid = 'pg_type'::regclass AND d.classid <> 'pg_type'::regclass) \
     OR EXISTS (SELECT FROM pg_description WHERE classoid = 'pg_class'::regclass AND objoid = $1) \
     OR EXISTS (SELECT FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND attacl IS NOT NULL) \
     OR EXISTS (SELECT FROM pg_class WHERE oid = $1 AND (relrowsecurity OR relhassubclass OR relispartition \
       OR reloptions IS NOT NULL OR reltablespace <> 0 OR reloftype <> 0 OR relpersistence <> 'p' OR relreplident <> 'd'))";

/// Whether something hangs on the old table that a swap would lose.
pub(super) async fn has_dependents(link: &mut Link, there: &Existing) -> Result<bool> {
    let pattern = own_key_pattern();
    let row = link
        .query_one(DEPENDENTS, &[(&there.id, Type::OID), (&pattern, Type::TEXT)])
        .await?;
    Ok(row.get(0))
}

/// The new table takes the name of the old one, which is dropped. Without CASCADE: what has come to hang on it in the
/// last moment makes the commit fail, and the next attempt exchanges the rows.
pub(super) async fn swap(link: &mut Link, target: &Target, there: &Existing, build: &str) -> Result<()> {
    grants(link, target, there, build).await.context("grants")?;
    link.run(&format!("DROP TABLE {}", target.sql_name()))
        .await
        .context("the old table")?;
    rename(link, target, build).await
}

/// The new table becomes the target.
pub(super) async fn rename(link: &mut Link, target: &Target, build: &str) -> Result<()> {
    link.run(&format!(
        "ALTER TABLE {} RENAME TO {}",
        target.beside(build),
        quote(&target.table)
    ))
    .await
}

/// All rows of the old table go, for this transaction's readers alone until it commits.
pub(super) async fn empty(link: &mut Link, target: &Target) -> Result<()> {
    link.run(&format!("DELETE FROM {}", target.sql_name())).await
}

/// Gives the new table what others may do with the old one.
async fn grants(link: &mut Link, target: &Target, there: &Existing, build: &str) -> Result<()> {
    let rows = link
        .query(
            "SELECT CASE WHEN a.grantee = 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END, a.privilege_type, a.is_grantable \
             FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = $1 AND a.grantee <> c.relowner",
            &[(&there.id, Type::OID)],
        )
        .await?;
    for row in rows {
        let grantee = row
            .get::<_, Option<String>>(0)
            .map_or_else(|| "PUBLIC".to_owned(), |role| quote(&role));
        let privilege: String = row.get(1);
        let option = if row.get(2) { " WITH GRANT OPTION" } else { "" };
        link.run(&format!(
            "GRANT {privilege} ON {} TO {grantee}{option}",
            target.beside(build)
        ))
        .await?;
    }
    Ok(())
}
