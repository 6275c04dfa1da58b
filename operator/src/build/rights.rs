//! What a worker may do: an account of its own for each owner, and rights on the objects between it and the operator.
//!
//! In: the owner, and where its state and what its connector keeps lie. Out: ServiceAccount, Role, RoleBinding, made so.
//! Every right names its object.

use std::time::Duration;

use k8s_openapi::api::{
    core::v1::ServiceAccount,
    rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
};
use millrace_crds::channel::{PLAN, REPORT, TRIGGERS};

use crate::apply::keep;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::owner::Owner;

/// How often, and after which wait, a binding is sent again while its Role is news to the API server.
const ROLE_IS_NEWS: (usize, Duration) = (10, Duration::from_millis(100));

const COMPONENT: &str = "rights";

/// The account, the rights, and what ties them together.
#[derive(Clone, Debug)]
pub struct Rights {
    /// The account.
    pub account: ServiceAccount,
    /// The rights.
    pub role: Role,
    /// What ties them together.
    pub binding: RoleBinding,
}

impl Rights {
    /// Makes them so, one after another: a binding is refused before its Role is there. An API server looks Roles up in
    /// a cache, so that one which it has just made may be unknown to it for a moment.
    ///
    /// # Errors
    /// Where one of them belongs to somebody else, or the API server does not take it.
    pub async fn apply(self, context: &Context) -> Result<()> {
        keep(context, self.account).await?;
        keep(context, self.role).await?;
        let (mut left, wait) = ROLE_IS_NEWS;
        loop {
            match keep(context, self.binding.clone()).await {
                Err(Error::Api { error, .. }) if left > 0 && is_not_found(&error) => {
                    left -= 1;
                    tokio::time::sleep(wait).await;
                }
                done => return done,
            }
        }
    }
}

fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}

/// The name of the account of an owner's workers.
#[must_use]
pub fn account_name(owner: &Owner) -> String {
    owner.child("worker")
}

/// The rights of an owner's workers; `also`: the `ConfigMap`s that they write beside their report.
#[must_use]
pub fn rights(owner: &Owner, also: impl IntoIterator<Item = String>) -> Rights {
    let name = account_name(owner);
    let account = ServiceAccount {
        metadata: owner.meta(name.clone(), COMPONENT),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    };
    let mut written = vec![owner.child(REPORT)];
    written.extend(also);
    let role = Role {
        metadata: owner.meta(name.clone(), COMPONENT),
        rules: Some(vec![
            rule(
                vec![owner.child(PLAN), owner.child(TRIGGERS)],
                &["get", "list", "watch"],
            ),
            rule(written, &["get", "update"]),
        ]),
    };
    let binding = RoleBinding {
        metadata: owner.meta(name.clone(), COMPONENT),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name: name.clone(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name,
            namespace: Some(owner.namespace.clone()),
            api_group: None,
        }]),
    };
    Rights {
        account,
        role,
        binding,
    }
}

fn rule(names: Vec<String>, verbs: &[&str]) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![String::new()]),
        resources: Some(vec!["configmaps".to_owned()]),
        resource_names: Some(names),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        non_resource_urls: None,
    }
}
