//! What connectors that are not built in ask of a pod.
//!
//! In: the systems of a plan. Out: the worker's image with Python where a connector needs one, a cache for what is fetched
//! and installed, the volumes that plugins lie in, and for each connector with an image a container of its own: a native
//! sidecar, so that Jobs end. It has neither the worker's token nor its Secrets; what it shares with the worker is a
//! directory in memory with its configuration, and with the shim, through which the worker runs it.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, EmptyDirVolumeSource, PersistentVolumeClaimVolumeSource, PodSpec,
    SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use millrace_crds::{
    Mounted, Plan,
    channel::{CONNECTORS_DIR, CONNECTORS_PLACE, PLUGINS_DIR, PLUGINS_PLACE, child},
    flow::ResourceAmounts,
    mounted,
    plan::{SourcePlan, SystemPlan},
};
use serde_json::Value;

use super::pod::{container_security, mount, plain, resources};
use crate::settings::Settings;

/// Where the worker keeps what it fetches and installs.
const CACHE: &str = "/var/cache/millrace";
/// The volume that lies there.
const CACHE_VOLUME: &str = "plugin-cache";
/// The shim in the worker's image.
const SHIM: &str = "/usr/local/bin/millrace-shim";
/// The memory of a connector's container where its recipe does not say.
const MEMORY: &str = "1Gi";
/// The memory of the shared directory: configurations, catalogs and states.
const SHARED: &str = "64Mi";

/// The connectors of a pod that are not built in.
#[derive(Clone, Debug, Default)]
pub struct Guests(Vec<Guest>);

#[derive(Clone, Debug)]
struct Guest {
    /// `source` or `destination`.
    role: &'static str,
    /// It needs a Python, or a program that comes with one.
    python: bool,
    /// What holds its plugin: a kind of volume, and a name.
    volume: Option<(mounted::Volume, String)>,
    image: Option<Image>,
}

#[derive(Clone, Debug)]
struct Image {
    name: String,
    user: Option<i64>,
    resources: ResourceAmounts,
}

impl Guests {
    /// Those of a Flow.
    #[must_use]
    pub fn of_plan(plan: &Plan) -> Self {
        let destination = &plan.destination.system;
        let both = [
            guest("source", "reader", &plan.source.system),
            guest("destination", "writer", destination),
        ];
        Self(both.into_iter().flatten().collect())
    }

    /// That of a Source.
    #[must_use]
    pub fn of_source(source: &SourcePlan) -> Self {
        Self(guest("source", "reader", &source.system).into_iter().collect())
    }

    /// The pod of a worker, with them.
    #[must_use]
    pub fn join(&self, settings: &Settings, mut pod: PodSpec) -> PodSpec {
        if self.0.is_empty() {
            return pod;
        }
        let Some(worker) = pod.containers.first_mut() else {
            return pod;
        };
        if self.0.iter().any(|guest| guest.python) {
            worker.image = Some(settings.python_image.clone());
        }
        let (mounts, env) = (
            worker.volume_mounts.get_or_insert_default(),
            worker.env.get_or_insert_default(),
        );
        let volumes = pod.volumes.get_or_insert_default();
        volumes.push(cache(settings));
        mounts.push(mount(CACHE_VOLUME, CACHE, false));
        // Programs look for a home that they can write.
        env.extend([plain("MILLRACE_PLUGIN_CACHE_DIR", CACHE), plain("HOME", "/tmp")]);
        let files: BTreeSet<_> = self.0.iter().filter_map(|guest| guest.volume.clone()).collect();
        if !files.is_empty() {
            env.push(plain(PLUGINS_DIR, PLUGINS_PLACE));
        }
        for (kind, name) in files {
            let place = format!("{PLUGINS_PLACE}/{}/{name}", kind.word());
            // A kubelet never mounts a claim that two volumes of a pod name.
            if kind == mounted::Volume::Claim && settings.plugin_cache.as_ref() == Some(&name) {
                mounts.push(mount(CACHE_VOLUME, &place, true));
            } else {
                let volume = plugin_volume(kind, &name);
                mounts.push(mount(&volume.name, &place, true));
                volumes.push(volume);
            }
        }
        let images = || {
            self.0
                .iter()
                .filter_map(|guest| Some((guest.role, guest.image.as_ref()?)))
        };
        if images().next().is_some() {
            env.push(plain(CONNECTORS_DIR, CONNECTORS_PLACE));
            let roles: Vec<&str> = images().map(|(role, _)| role).collect();
            mounts.extend(roles.iter().map(|role| shared_mount(role)));
            volumes.extend(roles.iter().flat_map(|role| [shared(role), scratch(role)]));
            let inits = pod.init_containers.get_or_insert_default();
            inits.push(lender(settings, &roles));
            inits.extend(images().map(|(role, image)| sidecar(role, image)));
        }
        pod
    }
}

fn guest(role: &'static str, part: &str, system: &SystemPlan) -> Option<Guest> {
    let config = &system.engine_config;
    let own = system.image().is_some();
    let python = match system.engine.as_str() {
        "native" => return None,
        "library" | "adbc" => false,
        _ => !own,
    };
    let driver = config.get("driver").and_then(Value::as_str);
    let volume = system.plugin_of(part).or(driver).and_then(Mounted::parse);
    let image = system.image().map(|name| Image {
        name: name.to_owned(),
        user: config.get("runAsUser").and_then(Value::as_i64),
        resources: config
            .get("resources")
            .and_then(|resources| serde_json::from_value(resources.clone()).ok())
            .unwrap_or_default(),
    });
    Some(Guest {
        role,
        python,
        volume: volume.map(|volume| (volume.volume, volume.name.to_owned())),
        image,
    })
}

fn cache(settings: &Settings) -> Volume {
    let claim = settings.plugin_cache.clone();
    Volume {
        name: CACHE_VOLUME.to_owned(),
        empty_dir: claim.is_none().then(EmptyDirVolumeSource::default),
        persistent_volume_claim: claim.map(|claim_name| PersistentVolumeClaimVolumeSource {
            claim_name,
            read_only: None,
        }),
        ..Volume::default()
    }
}

/// A ConfigMap that is not there is for the worker to report, who can say which plugin it is for.
fn plugin_volume(kind: mounted::Volume, name: &str) -> Volume {
    let mut volume = Volume {
        name: child(name, kind.word()),
        ..Volume::default()
    };
    match kind {
        mounted::Volume::ConfigMap => {
            volume.config_map = Some(ConfigMapVolumeSource {
                name: name.to_owned(),
                optional: Some(true),
                ..ConfigMapVolumeSource::default()
            });
        }
        mounted::Volume::Claim => {
            volume.persistent_volume_claim = Some(PersistentVolumeClaimVolumeSource {
                claim_name: name.to_owned(),
                read_only: Some(true),
            });
        }
    }
    volume
}

fn directory(role: &str) -> String {
    format!("{CONNECTORS_PLACE}/{role}")
}

fn shared_mount(role: &str) -> VolumeMount {
    mount(&format!("connector-{role}"), &directory(role), false)
}

/// In memory, since configurations hold secrets.
fn shared(role: &str) -> Volume {
    Volume {
        name: format!("connector-{role}"),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: Some("Memory".to_owned()),
            size_limit: Some(Quantity(SHARED.to_owned())),
        }),
        ..Volume::default()
    }
}

fn scratch(role: &str) -> Volume {
    Volume {
        name: format!("scratch-{role}"),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    }
}

/// Puts the shim where the connectors' containers find it.
fn lender(settings: &Settings, roles: &[&str]) -> Container {
    let own = ResourceAmounts {
        requests: [("cpu".to_owned(), Quantity("10m".to_owned()))].into(),
        limits: [("memory".to_owned(), Quantity(SHARED.to_owned()))].into(),
    };
    Container {
        name: "shim".to_owned(),
        image: Some(settings.worker_image.clone()),
        image_pull_policy: Some(settings.pull_policy.clone()),
        command: Some(vec![SHIM.to_owned(), "lend".to_owned()]),
        args: Some(roles.iter().map(|role| directory(role)).collect()),
        resources: Some(resources(own, SHARED)),
        security_context: Some(container_security()),
        volume_mounts: Some(roles.iter().map(|role| shared_mount(role)).collect()),
        ..Container::default()
    }
}

fn sidecar(role: &str, image: &Image) -> Container {
    let place = directory(role);
    Container {
        name: format!("connector-{role}"),
        image: Some(image.name.clone()),
        command: Some(vec![
            format!("{place}/shim"),
            "serve".to_owned(),
            format!("{place}/socket"),
        ]),
        env: Some(vec![plain("HOME", "/tmp")]),
        // It goes on for as long as the worker does, and no longer.
        restart_policy: Some("Always".to_owned()),
        resources: Some(resources(image.resources.clone(), MEMORY)),
        security_context: Some(SecurityContext {
            run_as_user: image.user,
            ..container_security()
        }),
        volume_mounts: Some(vec![
            shared_mount(role),
            mount(&format!("scratch-{role}"), "/tmp", false),
        ]),
        ..Container::default()
    }
}

#[cfg(test)]
mod tests;
