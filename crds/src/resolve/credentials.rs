//! Credentials: the places where their values are found, never the values.

use crate::common::{CredentialRef, Engine};
use crate::connector::CredentialSpec;
use crate::plan::{Credential, CredentialPlace};
use crate::problem::{Reason, Report, item};
use crate::suggest;

use super::{Resolver, system::Asked};

/// What a resource gives, and what its connector asks for.
pub(super) struct Given<'a> {
    /// The namespace of the resource.
    pub(super) namespace: &'a str,
    /// What the credentials are for, in words.
    pub(super) owner: &'a str,
    /// What is asked for.
    pub(super) asked: &'a [CredentialSpec],
    /// What is given.
    pub(super) refs: &'a [CredentialRef],
    /// The path of what is given.
    pub(super) field: &'a str,
}

/// By what a plugin itself is fetched from its bucket: each is the credential of the bucket after `plugin`.
const OF_PLUGIN: [&str; 4] = [
    "pluginAccessKeyId",
    "pluginSecretAccessKey",
    "pluginSessionToken",
    "pluginServiceAccountKey",
];

/// What a recipe asks for, and what may be given beside it: a plugin that is fetched has a bucket of its own, and one
/// without a recipe asks for nothing by name.
pub(super) fn asked(asked: &Asked<'_>, recipe: &[CredentialSpec], engine: Engine) -> Vec<CredentialSpec> {
    let fetched = matches!(engine, Engine::Python | Engine::Library);
    let of_plugin = OF_PLUGIN.into_iter().filter(|_| fetched);
    let given = asked.credentials.iter().map(|given| given.name.as_str());
    let more = of_plugin.chain(given.filter(|_| asked.connector.is_none()));
    let mut all = recipe.to_vec();
    for name in more {
        if !all.iter().any(|known| known.name == name) {
            all.push(CredentialSpec {
                name: name.to_owned(),
                from_env: None,
                required: None,
                description: None,
            });
        }
    }
    all
}

impl Resolver<'_> {
    /// The places of all credentials: those that the resource names, and in local runs those that the
    /// environment holds under the connector's names.
    pub(super) fn credentials(&self, given: &Given<'_>, report: &mut Report<'_>) -> Vec<Credential> {
        let mut found: Vec<Credential> = Vec::new();
        for (index, credential) in given.refs.iter().enumerate() {
            let field = item(given.field, index);
            let Some(asked) = given.asked.iter().find(|asked| asked.name == credential.name) else {
                unknown(given, &credential.name, &field, report);
                continue;
            };
            if found.iter().any(|other| other.name == credential.name) {
                report.error(
                    Reason::Duplicate,
                    &field,
                    format!("{} is given twice", credential.name),
                    "remove one",
                );
            } else if let Some(from) = self.place(credential, asked, given.namespace, &field, report) {
                found.push(Credential {
                    name: credential.name.clone(),
                    from,
                });
            }
        }
        let rest = given
            .asked
            .iter()
            .filter(|asked| !given.refs.iter().any(|one| one.name == asked.name));
        for asked in rest {
            match self.in_environment(asked) {
                Some(from) => found.push(Credential {
                    name: asked.name.clone(),
                    from,
                }),
                None if asked.required == Some(true) => missing(given, asked, report),
                None => {}
            }
        }
        found
    }

    fn place(
        &self,
        credential: &CredentialRef,
        asked: &CredentialSpec,
        namespace: &str,
        field: &str,
        report: &mut Report<'_>,
    ) -> Option<CredentialPlace> {
        if let Some(secret) = &credential.secret {
            let place = CredentialPlace::Secret {
                name: secret.name.clone(),
                key: secret.key.clone(),
            };
            return match self.secret_problem(namespace, &secret.name, &secret.key) {
                None => Some(place),
                Some(problem) => self.in_environment(asked).or_else(|| {
                    let advice = asked.from_env.as_ref().map_or_else(
                        || "add it to the manifests".to_owned(),
                        |name| format!("add it to the manifests, or set {name}"),
                    );
                    report.error(Reason::InvalidCredential, field, problem, advice);
                    None
                }),
            };
        }
        let Some(environment) = self.environment() else {
            let message = format!(
                "{} is found by env or file, which is for local runs only",
                credential.name
            );
            report.error(
                Reason::LocalOnly,
                field,
                message,
                "write secret: { name: ..., key: ... }",
            );
            return None;
        };
        match (&credential.env, &credential.file) {
            (Some(name), _) if !environment.contains_key(name) => {
                let message = format!("the environment variable {name} is not set");
                report.error(Reason::VariableNotSet, &format!("{field}.env"), message, "set it");
                None
            }
            (Some(name), _) => Some(CredentialPlace::Env(name.clone())),
            (None, file) => file.clone().map(CredentialPlace::File),
        }
    }

    /// Why a Secret cannot be used at a desk; a cluster's own is the worker's to read.
    fn secret_problem(&self, namespace: &str, name: &str, key: &str) -> Option<String> {
        self.environment()?;
        match self.resources.secret(namespace, name) {
            None => Some(format!("Secret {name} is not among the manifests")),
            Some(secret) if secret.get(key).is_none() => Some(format!("Secret {name} has no key {key}")),
            Some(_) => None,
        }
    }

    fn in_environment(&self, asked: &CredentialSpec) -> Option<CredentialPlace> {
        let name = asked.from_env.as_ref()?;
        self.environment()?
            .contains_key(name)
            .then(|| CredentialPlace::Env(name.clone()))
    }
}

fn unknown(given: &Given<'_>, name: &str, field: &str, report: &mut Report<'_>) {
    let known: Vec<&str> = given.asked.iter().map(|asked| asked.name.as_str()).collect();
    let advice = if known.is_empty() {
        "remove it".to_owned()
    } else {
        suggest::advice(name, known, "known are")
    };
    let message = format!("{} asks for no credential {name}", given.owner);
    report.error(
        Reason::InvalidCredential,
        &format!("{field}.name"),
        message,
        advice,
    );
}

fn missing(given: &Given<'_>, asked: &CredentialSpec, report: &mut Report<'_>) {
    let message = format!("{} needs the credential {}", given.owner, asked.name);
    let advice = format!(
        "add {{ name: {}, secret: {{ name: ..., key: ... }} }}",
        asked.name
    );
    report.error(Reason::InvalidCredential, given.field, message, advice);
}
