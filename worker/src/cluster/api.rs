//! The API server, as far as a worker needs it: one `ConfigMap` by its name.
//!
//! In: a pod's token, or a kubeconfig. Out: reads that are always the newest (no resource version is asked for), and
//! writes that replace exactly what was read (UID and resource version), whose end is told apart: done, refused, gone,
//! or not known.

use std::{fmt::Display, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config, ResourceExt,
    api::PostParams,
    config::{KubeConfigOptions, KubeconfigError},
};

use crate::{
    backoff::Backoff,
    error::{Error, Result},
};

/// The longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Who writes, as the API server notes it.
pub const MANAGER: &str = "millrace-worker";

/// A client with the rights of this pod.
///
/// # Errors
/// `config` where this is no pod, or its token is not mounted.
pub fn in_pod() -> Result<Client> {
    let config = Config::incluster().map_err(|error| {
        Error::config(format!("this is no pod of a cluster: {error}"))
            .reason("NoCluster")
            .advice("`millrace worker` is started by the operator; at a desk use `millrace run`")
    })?;
    client(config)
}

/// A client with the rights of the person at the keyboard.
///
/// # Errors
/// `config` where there is no kubeconfig, or it cannot be used.
pub async fn of_person() -> Result<Client> {
    let config = match Config::from_kubeconfig(&KubeConfigOptions::default()).await {
        Ok(config) => config,
        // A shell in a pod has its rights.
        Err(KubeconfigError::ReadConfig(error, path)) => Config::incluster().map_err(|_| {
            Error::config(format!("there is no kubeconfig: {}: {error}", path.display()))
                .reason("NoKubeconfig")
                .advice("set KUBECONFIG, or name manifests instead of a Flow of a cluster")
        })?,
        Err(error) => {
            return Err(Error::config(format!("the kubeconfig cannot be used: {error}"))
                .reason("NoKubeconfig")
                .advice("`kubectl config view` shows what is wrong with it"));
        }
    };
    client(config)
}

fn client(mut config: Config) -> Result<Client> {
    // A write is sent once: the retry of one that was applied would be refused as if another had written.
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(10));
    Client::try_from(config).map_err(|error| Error::config(format!("no client for the API server: {error}")))
}

/// How a write ended.
#[derive(Debug)]
pub enum Put {
    /// Applied.
    Done(Box<ConfigMap>),
    /// Not applied: something else is there than what was read.
    Conflict,
    /// Not applied: the object is gone.
    Gone,
    /// No answer that settles it.
    Unknown(String),
}

/// The `ConfigMap`s of one namespace.
#[derive(Clone)]
pub struct Maps {
    api: Api<ConfigMap>,
    namespace: String,
    backoff: Backoff,
}

impl Maps {
    /// Those of a namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            backoff: Backoff {
                tries: 6,
                ..Backoff::default()
            },
        }
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// For whoever watches them.
    #[must_use]
    pub fn api(&self) -> Api<ConfigMap> {
        self.api.clone()
    }

    /// The newest; `None`: the API server says that there is none.
    ///
    /// # Errors
    /// `config` where it may not be read; transient where no answer came, several times.
    pub async fn get(&self, name: &str) -> Result<Option<ConfigMap>> {
        self.backoff
            .retry(|| async move {
                match tokio::time::timeout(ANSWER, self.api.get_opt(name)).await {
                    Err(_) => Err(silent()),
                    Ok(answer) => answer.map_err(failure),
                }
            })
            .await
            .map_err(|error| self.at(name, error))
    }

    /// Replaces what was read before.
    ///
    /// # Errors
    /// What says that it was surely not applied.
    pub async fn replace(&self, map: &ConfigMap) -> Result<Put> {
        let name = map.name_any();
        if map.metadata.resource_version.is_none() || map.metadata.uid.is_none() {
            return Err(Error::bug(format!(
                "ConfigMap {name} would be written without what was read"
            )));
        }
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let answer = tokio::time::timeout(ANSWER, self.api.replace(&name, &params, map)).await;
        let error = match answer {
            Err(_) => return Ok(Put::Unknown(format!("no answer within {} s", ANSWER.as_secs()))),
            Ok(Ok(map)) => return Ok(Put::Done(Box::new(map))),
            Ok(Err(error)) => error,
        };
        match code(&error) {
            Some(409) => Ok(Put::Conflict),
            Some(404) => Ok(Put::Gone),
            // Turned away at the door, or refused for what it says.
            Some(400..=499) => Err(self.at(&name, failure(error))),
            _ => Ok(Put::Unknown(error.to_string())),
        }
    }

    fn at(&self, name: &str, mut error: Error) -> Error {
        error.message = format!("ConfigMap {}/{name}: {}", self.namespace, error.message);
        error
    }
}

fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// What an answer of the API server means for a worker.
#[must_use]
pub fn failure(error: kube::Error) -> Error {
    let told = |error: &dyn Display| format!("the API server: {error}");
    match error {
        kube::Error::Api(status) => match status.code {
            403 => Error::config(told(&status.message))
                .reason("Forbidden")
                .advice("look whether the Role of this Flow is there; the operator makes it"),
            // A token that has run out is replaced by the kubelet.
            401 | 409 | 429 | 500..=599 => Error::transient(told(&status.message)),
            404 => Error::config(told(&status.message)).reason("NotFound"),
            _ => Error::config(told(&status.message)),
        },
        kube::Error::Auth(error) => Error::config(told(&error)).reason("Forbidden"),
        error @ (kube::Error::SerdeError(_) | kube::Error::BuildRequest(_)) => Error::bug(told(&error)),
        error => Error::transient(told(&error)),
    }
}

fn silent() -> Error {
    Error::transient(format!(
        "the API server gave no answer within {} s",
        ANSWER.as_secs()
    ))
}

#[cfg(test)]
pub(crate) mod fake;
