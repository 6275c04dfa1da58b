//! Where credentials are found, and their values for as long as a connection needs them.
//!
//! In: the places that a plan names, and the `v1` Secrets of local manifests. Out: values that never print.
//! They are read anew at each call, so that a rotated Secret is used by the next connection. A line end at the end of
//! a file or Secret is no part of the value.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use millrace_crds::plan::{Credential, CredentialPlace};
use secrecy::{ExposeSecret, SecretString};

use crate::error::{Error, Result};

/// Secrets of local manifests: `(name, key)` to value, for one namespace.
pub type LocalSecrets = BTreeMap<(String, String), SecretString>;

/// The credentials of one system.
#[derive(Clone)]
pub struct Secrets {
    places: Arc<[Credential]>,
    local: Arc<LocalSecrets>,
    base: PathBuf,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.places.iter().map(|place| &place.name))
            .finish()
    }
}

impl Secrets {
    /// The credentials in `places`; relative files are meant from `base`.
    #[must_use]
    pub fn new(places: Vec<Credential>, local: Arc<LocalSecrets>, base: PathBuf) -> Self {
        Self {
            places: places.into(),
            local,
            base,
        }
    }

    /// The value of a credential; `None` where the plan names none of that name.
    ///
    /// # Errors
    /// `config` where the place is named but holds nothing; reason `SecretKeyMissing`.
    pub fn get(&self, name: &str) -> Result<Option<SecretString>> {
        let Some(credential) = self.places.iter().find(|credential| credential.name == name) else {
            return Ok(None);
        };
        let missing =
            |what: String| Error::config(format!("credential `{name}`: {what}")).reason("SecretKeyMissing");
        let value = match &credential.from {
            CredentialPlace::Secret { name: secret, key } => self
                .local
                .get(&(secret.clone(), key.clone()))
                .map(|value| line(value.expose_secret()))
                .ok_or_else(|| {
                    missing(format!(
                        "no Secret `{secret}` with key `{key}` is in these manifests"
                    ))
                    .advice("add the Secret, or take the value from `env: NAME` or `file: PATH`")
                })?,
            CredentialPlace::Env(variable) => {
                std::env::var(variable).map(SecretString::from).map_err(|_| {
                    missing(format!("environment variable {variable} is not set"))
                        .advice("export it before the run")
                })?
            }
            CredentialPlace::File(path) => std::fs::read_to_string(self.base.join(path))
                .map(|text| line(&text))
                .map_err(|error| missing(format!("cannot read {path}: {error}")))?,
        };
        Ok(Some(value))
    }

    /// The value of a credential that must be there.
    ///
    /// # Errors
    /// `config` where it is not.
    pub fn require(&self, name: &str) -> Result<SecretString> {
        self.get(name)?.ok_or_else(|| {
            Error::config(format!("credential `{name}` is needed"))
                .reason("SecretKeyMissing")
                .advice(format!("add `credentials: [{{ name: {name}, ... }}]`"))
        })
    }

    /// The value as plain text, for the one call that sends it.
    ///
    /// # Errors
    /// As [`Secrets::get`].
    pub fn plain(&self, name: &str) -> Result<Option<String>> {
        Ok(self.get(name)?.map(|secret| secret.expose_secret().to_owned()))
    }
}

/// Without the line end that editors and `kubectl create secret --from-file` leave.
fn line(text: &str) -> SecretString {
    SecretString::from(text.trim_end_matches(['\n', '\r']))
}

#[cfg(test)]
mod tests;
