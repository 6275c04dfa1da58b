//! The Connector: a recipe, checked.
//!
//! In: a Connector. Out: a status that says whether it can be used, and how many use it. It belongs to no tenant, so it
//! holds counts alone; of several operators each has an entry of its own.

use kube::{Api, Resource, ResourceExt, runtime::controller::Action};
use millrace_crds::{
    Connector,
    connector::{ConnectorStatus, ConnectorUses},
};

use crate::apply::short_hash;
use crate::conditions::Conditions;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::index::Key;
use crate::resolve;
use crate::run::Reconcile;
use crate::stand::Stand;
use crate::{reasons, report};

impl Reconcile for Connector {
    const KIND: &'static str = "Connector";

    fn api(context: &Context, _: &str) -> Api<Self> {
        Api::all(context.client.clone())
    }

    async fn reconcile(self, context: &Context) -> Result<Action> {
        if self.meta().deletion_timestamp.is_some() {
            return Ok(Action::await_change());
        }
        let before = self.status.clone().unwrap_or_default();
        let stand = match resolve::connector(&self) {
            Some(wrong) => Stand::stalled(wrong),
            None => Stand::ready(reasons::VALID, "the recipe can be used"),
        };
        let mut conditions = Conditions::new(&before.conditions, self.meta().generation, context.now());
        stand.set(&mut conditions);
        let me = operator(context);
        let counted = before.uses.iter().find(|uses| uses.operator == me).cloned();
        // After a start the counts are not known before all have been looked at.
        let uses = counted.filter(|_| !context.index.knows_all()).unwrap_or_else(|| {
            let (sources, flows) = context.index.uses_of_connector(&self.name_any());
            ConnectorUses {
                operator: me.clone(),
                sources,
                flows,
            }
        });
        let after = ConnectorStatus {
            observed_generation: self.meta().generation,
            conditions: conditions.finish(),
            uses: vec![uses],
        };
        // The entries of other operators are theirs.
        let before = ConnectorStatus {
            uses: before
                .uses
                .into_iter()
                .filter(|uses| uses.operator == me)
                .collect(),
            ..before
        };
        let manager = format!("{}-{me}", report::STATUS_MANAGER);
        let api = Self::api(context, "");
        match report::status(&api, &manager, &self, Some(&before), &after).await {
            // An operator that may only read Connectors leaves their status to others.
            Err(Error::Api { error, .. }) if matches!(&*error, kube::Error::Api(status) if status.is_forbidden()) =>
                {}
            other => drop(other?),
        }
        Ok(stand.action())
    }

    fn gone(_: &Context, _: &Key) {}
}

/// The name of this operator where tenants can read it: it tells nobody its namespace.
fn operator(context: &Context) -> String {
    short_hash(&format!("operator in {}", context.settings.namespace))
}
