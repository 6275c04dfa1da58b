//! The pod of a worker: the same for every kind of work, but for its arguments.
//!
//! In: the arguments, the Secrets to mount, what the Flow sets for its pods. Out: a template that meets the `restricted`
//! Pod Security Standard with a read-only root.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapProjection, Container, ContainerPort, DownwardAPIProjection,
    DownwardAPIVolumeFile, EmptyDirVolumeSource, EnvVar, EnvVarSource, HTTPGetAction, KeyToPath,
    LocalObjectReference, ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ProjectedVolumeSource, ResourceFieldSelector, ResourceRequirements, SeccompProfile, SecurityContext,
    ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::{
    api::resource::Quantity, apis::meta::v1::ObjectMeta, util::intstr::IntOrString,
};
use millrace_crds::{
    channel::{NAME_ANNOTATION, PORT, SECRETS_DIR, SECRETS_PLACE},
    flow,
};

use super::{guests::Guests, secrets::Secrets};
use crate::owner::{Owner, WORKER};
use crate::settings::Settings;

/// The user and group of a worker.
const USER: i64 = 65_532;
/// The memory that a worker may take where the Flow does not say.
const MEMORY: &str = "512Mi";
/// The time in which a worker commits what is complete once it is asked to stop, in seconds.
const GRACE: i64 = 60;
/// Where the token of the ServiceAccount lies.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The name of the worker's container.
pub const CONTAINER: &str = "worker";

/// What is particular to one pod.
#[derive(Clone, Debug)]
pub struct Work<'a> {
    /// Whose it is.
    pub owner: &'a Owner,
    /// The arguments of `millrace worker`, without namespace and owner.
    pub args: Vec<String>,
    /// The Secrets to mount.
    pub secrets: Secrets,
    /// What runs connectors that are not built in.
    pub guests: Guests,
    /// What the Flow sets for its pods.
    pub pod: Option<&'a flow::PodSpec>,
    /// Annotations of the pod.
    pub annotations: BTreeMap<String, String>,
    /// It serves until it is stopped, and is probed.
    pub serves: bool,
}

/// The template of the pod; `restart`: its restart policy.
#[must_use]
pub fn template(settings: &Settings, work: &Work<'_>, restart: &str) -> PodTemplateSpec {
    let name = (NAME_ANNOTATION.to_owned(), work.owner.name.clone());
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(work.owner.labels(WORKER)),
            annotations: Some(work.annotations.clone().into_iter().chain([name]).collect()),
            ..ObjectMeta::default()
        }),
        spec: Some(spec(settings, work, restart)),
    }
}

fn spec(settings: &Settings, work: &Work<'_>, restart: &str) -> PodSpec {
    let (mut volumes, mut mounts) = work.secrets.volumes();
    volumes.extend([scratch(), token()]);
    mounts.extend([mount("scratch", "/tmp", false), mount("token", TOKEN, true)]);
    let own = work.pod.cloned().unwrap_or_default();
    let pull = settings
        .pull_secrets
        .iter()
        .chain(own.image_pull_secrets.iter().map(|secret| &secret.name));
    let pull: Vec<LocalObjectReference> = pull
        .map(|name| LocalObjectReference { name: name.clone() })
        .collect();
    let spec = PodSpec {
        service_account_name: Some(super::rights::account_name(work.owner)),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        host_users: settings.user_namespaces.then_some(false),
        restart_policy: Some(restart.to_owned()),
        termination_grace_period_seconds: Some(GRACE),
        security_context: Some(pod_security()),
        node_selector: Some(own.node_selector.clone()).filter(|selector| !selector.is_empty()),
        tolerations: Some(own.tolerations.clone()).filter(|tolerations| !tolerations.is_empty()),
        priority_class_name: own.priority_class_name.clone(),
        image_pull_secrets: Some(pull).filter(|pull| !pull.is_empty()),
        containers: vec![container(settings, work, mounts)],
        volumes: Some(volumes),
        ..PodSpec::default()
    };
    work.guests.join(settings, spec)
}

fn container(settings: &Settings, work: &Work<'_>, mounts: Vec<VolumeMount>) -> Container {
    let own = work.pod.and_then(|pod| pod.resources.clone()).unwrap_or_default();
    Container {
        name: CONTAINER.to_owned(),
        image: Some(settings.worker_image.clone()),
        image_pull_policy: Some(settings.pull_policy.clone()),
        args: Some(arguments(work)),
        env: Some(environment(settings)),
        ports: Some(vec![ContainerPort {
            name: Some("metrics".to_owned()),
            container_port: i32::from(PORT),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        liveness_probe: work.serves.then(|| probe("/healthz", 20, 6)),
        readiness_probe: work.serves.then(|| probe("/readyz", 5, 3)),
        resources: Some(resources(own, MEMORY)),
        security_context: Some(container_security()),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

fn arguments(work: &Work<'_>) -> Vec<String> {
    let owner = match work.owner.label {
        millrace_crds::channel::SOURCE_LABEL => "--source",
        millrace_crds::channel::JOB_LABEL => "--job",
        _ => "--flow",
    };
    let start = [
        "worker",
        "--namespace",
        &work.owner.namespace,
        owner,
        &work.owner.name,
    ];
    let start = start.into_iter().map(str::to_owned);
    start.chain(work.args.iter().cloned()).collect()
}

/// Without a limit a worker would not know how much memory it may take.
pub(super) fn resources(own: flow::ResourceAmounts, memory: &str) -> ResourceRequirements {
    let (mut requests, mut limits) = (own.requests, own.limits);
    requests
        .entry("cpu".to_owned())
        .or_insert_with(|| Quantity("100m".to_owned()));
    limits.entry("memory".to_owned()).or_insert_with(|| {
        requests
            .get("memory")
            .cloned()
            .unwrap_or(Quantity(memory.to_owned()))
    });
    let memory = limits["memory"].clone();
    requests.entry("memory".to_owned()).or_insert(memory);
    ResourceRequirements {
        requests: Some(requests),
        limits: Some(limits),
        claims: None,
    }
}

fn environment(settings: &Settings) -> Vec<EnvVar> {
    let from = |name: &str, source: EnvVarSource| EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(source),
    };
    let field = |path: &str| EnvVarSource {
        field_ref: Some(ObjectFieldSelector {
            api_version: Some("v1".to_owned()),
            field_path: path.to_owned(),
        }),
        ..EnvVarSource::default()
    };
    let memory = EnvVarSource {
        resource_field_ref: Some(ResourceFieldSelector {
            container_name: Some(CONTAINER.to_owned()),
            resource: "limits.memory".to_owned(),
            divisor: Some(Quantity("1".to_owned())),
        }),
        ..EnvVarSource::default()
    };
    let mut all = vec![
        from("POD_NAME", field("metadata.name")),
        from("POD_NAMESPACE", field("metadata.namespace")),
        from("POD_UID", field("metadata.uid")),
        from("MILLRACE_MEMORY_LIMIT", memory),
        plain("MILLRACE_SCRATCH_DIR", "/tmp"),
        plain(SECRETS_DIR, SECRETS_PLACE),
        plain("MILLRACE_LOG_FORMAT", "json"),
    ];
    all.extend(
        settings
            .worker_log
            .as_deref()
            .map(|log| plain("MILLRACE_LOG", log)),
    );
    all
}

/// A variable.
pub(super) fn plain(name: &str, value: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        value_from: None,
    }
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("metrics".to_owned()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        seccomp_profile: Some(default_seccomp()),
        ..PodSecurityContext::default()
    }
}

pub(super) fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        privileged: Some(false),
        run_as_non_root: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: None,
        }),
        seccomp_profile: Some(default_seccomp()),
        ..SecurityContext::default()
    }
}

fn default_seccomp() -> SeccompProfile {
    SeccompProfile {
        type_: "RuntimeDefault".to_owned(),
        localhost_profile: None,
    }
}

fn scratch() -> Volume {
    Volume {
        name: "scratch".to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    }
}

/// A token for the API server that is renewed each hour, in place of one that lasts.
fn token() -> Volume {
    let token = ServiceAccountTokenProjection {
        path: "token".to_owned(),
        expiration_seconds: Some(3600),
        audience: None,
    };
    let authority = ConfigMapProjection {
        name: "kube-root-ca.crt".to_owned(),
        items: Some(vec![KeyToPath {
            key: "ca.crt".to_owned(),
            path: "ca.crt".to_owned(),
            mode: None,
        }]),
        optional: None,
    };
    let namespace = DownwardAPIProjection {
        items: Some(vec![DownwardAPIVolumeFile {
            path: "namespace".to_owned(),
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: "metadata.namespace".to_owned(),
            }),
            ..DownwardAPIVolumeFile::default()
        }]),
    };
    let sources = vec![
        VolumeProjection {
            service_account_token: Some(token),
            ..VolumeProjection::default()
        },
        VolumeProjection {
            config_map: Some(authority),
            ..VolumeProjection::default()
        },
        VolumeProjection {
            downward_api: Some(namespace),
            ..VolumeProjection::default()
        },
    ];
    Volume {
        name: "token".to_owned(),
        projected: Some(ProjectedVolumeSource {
            default_mode: Some(0o440),
            sources: Some(sources),
        }),
        ..Volume::default()
    }
}

pub(super) fn mount(volume: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}
