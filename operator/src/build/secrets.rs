//! The Secrets that a plan names, as files for the worker.
//!
//! In: the places of credentials in a plan. Out: volumes and mounts, one for each Secret. The operator never reads a
//! Secret: the kubelet mounts the keys, and one that is missing is for the worker to report.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{KeyToPath, SecretVolumeSource, Volume, VolumeMount};
use millrace_crds::{
    Plan,
    channel::{SECRETS_PLACE, child},
    plan::{Credential, CredentialPlace, SourcePlan, StateStorePlan},
};

/// The keys that are needed of each Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, BTreeSet<String>>);

impl Secrets {
    /// What a Flow needs: of its source, its destination and its state store.
    #[must_use]
    pub fn of_plan(plan: &Plan) -> Self {
        let mut secrets = Self::of_source(&plan.source);
        secrets.add(&plan.destination.system.credentials);
        secrets.add(Self::of_state(&plan.state.store));
        secrets
    }

    /// What a Source needs.
    #[must_use]
    pub fn of_source(source: &SourcePlan) -> Self {
        let mut secrets = Self::default();
        secrets.add(&source.system.credentials);
        secrets
    }

    fn of_state(store: &StateStorePlan) -> &[Credential] {
        match store {
            StateStorePlan::S3(s3) => &s3.credentials,
            _ => &[],
        }
    }

    fn add(&mut self, credentials: &[Credential]) {
        for credential in credentials {
            if let CredentialPlace::Secret { name, key } = &credential.from {
                self.0.entry(name.clone()).or_default().insert(key.clone());
            }
        }
    }

    /// The volumes and where they are mounted.
    #[must_use]
    pub fn volumes(&self) -> (Vec<Volume>, Vec<VolumeMount>) {
        self.0.iter().map(|(secret, keys)| volume(secret, keys)).unzip()
    }
}

fn volume(secret: &str, keys: &BTreeSet<String>) -> (Volume, VolumeMount) {
    // The name of a volume is a DNS label, and that of a Secret may be longer and hold dots.
    let name = child(secret, "secret");
    let items = keys.iter().map(|key| KeyToPath {
        key: key.clone(),
        path: key.clone(),
        mode: None,
    });
    let source = SecretVolumeSource {
        secret_name: Some(secret.to_owned()),
        items: Some(items.collect()),
        default_mode: Some(0o440),
        optional: Some(true),
    };
    let volume = Volume {
        name: name.clone(),
        secret: Some(source),
        ..Volume::default()
    };
    let mount = VolumeMount {
        name,
        mount_path: format!("{SECRETS_PLACE}/{secret}"),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    (volume, mount)
}
