//! Where credentials are found, and their values for as long as a connection needs them.
//!
//! In: the places that a plan names, the `v1` Secrets of local manifests, and in a pod the Secrets that the kubelet has
//! mounted. Out: values that never print.
//! They are read anew at each call, so that a rotated Secret is used by the next connection. A line end at the end of
//! a file or Secret is no part of the value.

mod mounted;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use millrace_crds::plan::{Credential, CredentialPlace};
use secrecy::{ExposeSecret, SecretString};

use crate::error::{Error, Result};

/// Secrets of local manifests: `(name, key)` to value, for one namespace.
pub type LocalSecrets = BTreeMap<(String, String), SecretString>;

/// What the names of credentials begin with by which a plugin is fetched.
const PLUGIN: &str = "plugin";
/// Characters that are shown of what a program says of its failure.
const LONGEST: usize = 2000;

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
            CredentialPlace::Secret { name: secret, key } => {
                match self.local.get(&(secret.clone(), key.clone())) {
                    Some(value) => line(value.expose_secret()),
                    None => match mounted::directory() {
                        Some(directory) => mounted::read(&directory, secret, key).map_err(|error| {
                            let message = format!("credential `{name}`: {}", error.message);
                            Error { message, ..error }
                        })?,
                        None => {
                            let what = format!("no Secret `{secret}` with key `{key}` is in these manifests");
                            return Err(missing(what).advice(
                                "add the Secret, or take the value from `env: NAME` or `file: PATH`",
                            ));
                        }
                    },
                }
            }
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

    /// All values as plain text, for a plugin that asks for no names.
    ///
    /// # Errors
    /// As [`Secrets::get`].
    pub fn all(&self) -> Result<BTreeMap<String, String>> {
        let names = self.places.iter().map(|credential| credential.name.clone());
        let values = names.map(|name| Ok((name.clone(), self.plain(&name)?.unwrap_or_default())));
        values.collect()
    }

    /// The values for a plugin: all but those by which it is fetched.
    ///
    /// # Errors
    /// As [`Secrets::get`].
    pub fn for_plugin(&self) -> Result<BTreeMap<String, String>> {
        let mut all = self.all()?;
        all.retain(|name, _| !name.starts_with(PLUGIN));
        Ok(all)
    }

    /// Those by which a plugin itself is fetched: `pluginAccessKeyId` is the `accessKeyId` of its place.
    #[must_use]
    pub fn of_plugin(&self) -> Self {
        let own = self.places.iter().filter_map(|credential| {
            let name = credential.name.strip_prefix(PLUGIN)?;
            let mut name = name.to_owned();
            name.get_mut(..1)?.make_ascii_lowercase();
            Some(Credential {
                name,
                from: credential.from.clone(),
            })
        });
        Self {
            places: own.collect(),
            ..self.clone()
        }
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

/// Values that turn out to be secret as a program goes on: those who share it know all of them.
#[derive(Clone, Default)]
pub struct Learned(Arc<RwLock<Vec<SecretString>>>);

impl Learned {
    /// Adds values.
    pub fn add<'a>(&self, values: impl IntoIterator<Item = &'a str>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for value in values
            .into_iter()
            .filter(|value| value.trim().len() >= Mask::SHORTEST)
        {
            if known.iter().all(|known| known.expose_secret() != value) {
                known.push(value.into());
            }
        }
        known.sort_by_key(|value| std::cmp::Reverse(value.expose_secret().len()));
    }
}

/// What must not be seen in the words of a program that was given secrets.
#[derive(Clone, Default)]
pub struct Mask(Arc<[SecretString]>, Learned);

impl Mask {
    /// A value so short is found in too many words.
    const SHORTEST: usize = 4;

    /// Hides all values of these credentials.
    ///
    /// # Errors
    /// As [`Secrets::get`].
    pub fn of(secrets: &Secrets) -> Result<Self> {
        let values = secrets.all()?.into_values();
        // A value of several lines is told line by line.
        let lines: Vec<String> = values
            .flat_map(|value| value.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        let mut lines: Vec<String> = lines
            .into_iter()
            .filter(|line| line.trim().len() >= Self::SHORTEST)
            .collect();
        lines.sort_by_key(|line| std::cmp::Reverse(line.len()));
        let lines = lines.into_iter().map(SecretString::from);
        Ok(Self(lines.collect(), Learned::default()))
    }

    /// Hides these as well, and those that come to them.
    #[must_use]
    pub fn and(self, learned: Learned) -> Self {
        Self(self.0, learned)
    }

    /// The text without them.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        let learned = self.1.0.read().unwrap_or_else(PoisonError::into_inner);
        // What was learned may hold what was known, a token with more behind it.
        learned
            .iter()
            .chain(self.0.iter())
            .fold(text.to_owned(), |text, secret| {
                match text.contains(secret.expose_secret()) {
                    true => text.replace(secret.expose_secret(), "***"),
                    false => text,
                }
            })
    }

    /// The error of a program without them, and cut where nobody reads on: some quote a whole configuration.
    #[must_use]
    pub fn hide_in(&self, error: Error) -> Error {
        let shown = |text: &str| self.hide(text).chars().take(LONGEST).collect::<String>();
        Error {
            message: shown(&error.message),
            advice: error.advice.map(|advice| shown(&advice)),
            ..error
        }
    }
}

#[cfg(test)]
mod tests;
