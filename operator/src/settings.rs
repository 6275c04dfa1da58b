//! The operator's settings, from its environment.
//!
//! In: environment variables, which the chart sets. Out: [`Settings`], checked.

/// What the operator is told by its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The namespace of the operator's own pod (`POD_NAMESPACE`): its Lease lies there.
    pub namespace: String,
    /// The operator's own pod (`POD_NAME`): how it is called in the Lease and in events.
    pub pod: String,
    /// The namespaces whose resources it serves (`WATCH_NAMESPACES`, separated by commas); empty: all.
    pub namespaces: Vec<String>,
    /// The image of the worker (`MILLRACE_WORKER_IMAGE`).
    pub worker_image: String,
    /// The image of workers that run connectors in Python or by a command (`MILLRACE_WORKER_PYTHON_IMAGE`); without it,
    /// that of the worker.
    pub python_image: String,
    /// The claim of each namespace that holds what plugins fetch and install (`MILLRACE_WORKER_PLUGIN_CACHE`); without it,
    /// that goes with the pod.
    pub plugin_cache: Option<String>,
    /// When the kubelet pulls it (`MILLRACE_WORKER_PULL_POLICY`).
    pub pull_policy: String,
    /// Secrets for pulling it (`MILLRACE_WORKER_PULL_SECRETS`, separated by commas).
    pub pull_secrets: Vec<String>,
    /// Whether workers get a user namespace of their own (`MILLRACE_USER_NAMESPACES`: `true`).
    pub user_namespaces: bool,
    /// How much workers write to their logs (`MILLRACE_WORKER_LOG`).
    pub worker_log: Option<String>,
    /// Whether one of several operators leads (`MILLRACE_LEADER_ELECTION`: not `false`).
    pub leader_election: bool,
    /// Where probes and metrics are served (`MILLRACE_LISTEN`).
    pub listen: String,
}

/// A setting that is missing or wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct SettingError {
    name: &'static str,
    problem: &'static str,
}

impl Settings {
    /// Reads the settings; `variable` gives the value of an environment variable.
    ///
    /// # Errors
    /// Where a setting that is needed is missing, or one has a value that means nothing.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingError> {
        let given = |name: &str| {
            variable(name)
                .map(|value| value.trim().to_owned())
                .filter(|value| !value.is_empty())
        };
        let list = |name: &str| -> Vec<String> {
            let values = given(name).unwrap_or_default();
            let values = values.split(',').map(str::trim).filter(|value| !value.is_empty());
            values.map(str::to_owned).collect()
        };
        let worker_image = given("MILLRACE_WORKER_IMAGE").ok_or(SettingError {
            name: "MILLRACE_WORKER_IMAGE",
            problem: "is not set; give it the image of the worker",
        })?;
        Ok(Self {
            namespace: given("POD_NAMESPACE").ok_or(SettingError {
                name: "POD_NAMESPACE",
                problem: "is not set; give it the namespace of the operator",
            })?,
            pod: given("POD_NAME")
                .or_else(|| given("HOSTNAME"))
                .unwrap_or_else(|| format!("millrace-operator-{}", std::process::id())),
            namespaces: list("WATCH_NAMESPACES"),
            python_image: given("MILLRACE_WORKER_PYTHON_IMAGE").unwrap_or_else(|| worker_image.clone()),
            worker_image,
            plugin_cache: given("MILLRACE_WORKER_PLUGIN_CACHE"),
            pull_policy: pull_policy(given("MILLRACE_WORKER_PULL_POLICY"))?,
            pull_secrets: list("MILLRACE_WORKER_PULL_SECRETS"),
            user_namespaces: switch(
                "MILLRACE_USER_NAMESPACES",
                given("MILLRACE_USER_NAMESPACES"),
                false,
            )?,
            worker_log: given("MILLRACE_WORKER_LOG"),
            leader_election: switch(
                "MILLRACE_LEADER_ELECTION",
                given("MILLRACE_LEADER_ELECTION"),
                true,
            )?,
            listen: given("MILLRACE_LISTEN").unwrap_or_else(|| "0.0.0.0:8080".to_owned()),
        })
    }
}

fn pull_policy(given: Option<String>) -> Result<String, SettingError> {
    match given.as_deref() {
        None => Ok("IfNotPresent".to_owned()),
        Some("Always" | "IfNotPresent" | "Never") => Ok(given.unwrap_or_default()),
        Some(_) => Err(SettingError {
            name: "MILLRACE_WORKER_PULL_POLICY",
            problem: "must be Always, IfNotPresent or Never",
        }),
    }
}

fn switch(name: &'static str, given: Option<String>, default: bool) -> Result<bool, SettingError> {
    match given.as_deref() {
        None => Ok(default),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(SettingError {
            name,
            problem: "must be true or false",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, SettingError> {
        Settings::read(|name| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn what_is_needed_is_asked_for_by_name() {
        let error = read(&[("POD_NAMESPACE", "millrace")]).unwrap_err();
        assert!(error.to_string().starts_with("MILLRACE_WORKER_IMAGE"));
    }

    #[test]
    fn namespaces_are_a_list_and_none_means_all() {
        let needed = [
            ("POD_NAMESPACE", "millrace"),
            ("MILLRACE_WORKER_IMAGE", "worker:1"),
        ];
        assert!(read(&needed).unwrap().namespaces.is_empty());
        let some = [&needed[..], &[("WATCH_NAMESPACES", "a, b,")]].concat();
        assert_eq!(read(&some).unwrap().namespaces, ["a", "b"]);
        let wrong = [&needed[..], &[("MILLRACE_LEADER_ELECTION", "yes")]].concat();
        assert!(read(&wrong).is_err());
    }
}
