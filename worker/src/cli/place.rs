//! Where state lies: `--state`, what the manifest says, or the default.

use std::{path::Path, path::PathBuf, str::FromStr, sync::Arc};

use clap::Args;
use millrace_crds::{
    Plan,
    flow::DeletionPolicy,
    plan::{S3Plan, StatePlan, StateStorePlan},
};

use crate::{
    error::{Error, Result},
    secrets::LocalSecrets,
    state::{self, Store},
    storage::Location,
};

/// The choice of a state store.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct StateArgs {
    /// Where state lies. Without it: what the Flow's `state` says, else the directory in `MILLRACE_STATE_DIR`, else
    /// `.millrace/state` below the current directory
    #[arg(long = "state", value_name = "DIR|s3://BUCKET/PREFIX")]
    pub(super) place: Option<StatePlace>,
}

/// A place that `--state` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StatePlace(StateStorePlan);

impl FromStr for StatePlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Meant from where the person stands, not from the manifest.
        let here = std::env::current_dir().map_err(|error| error.to_string())?;
        match Location::parse(text, Some(&here)).map_err(|error| error.to_string())? {
            Location::Local(path) => Ok(Self(StateStorePlan::Directory(path.display().to_string()))),
            Location::S3 { bucket, prefix } => Ok(Self(StateStorePlan::S3(S3Plan {
                bucket,
                prefix,
                endpoint: first_variable(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]),
                region: None,
                credentials: Vec::new(),
            }))),
            _ => Err("state lies in a directory or in `s3://bucket/prefix`".to_owned()),
        }
    }
}

fn first_variable(names: &[&str]) -> Option<String> {
    names
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

impl StateArgs {
    /// The plan with the state that was chosen here, if any was.
    pub(super) fn apply(&self, plan: &mut Plan) {
        if let Some(StatePlace(store)) = &self.place {
            plan.state.store = store.clone();
        }
    }

    /// The store where no manifest names one.
    ///
    /// # Errors
    /// As [`state::open`].
    pub(super) async fn open(&self) -> Result<Arc<dyn Store>> {
        let plan = StatePlan {
            id: String::new(),
            store: self
                .place
                .clone()
                .map_or(StateStorePlan::Default, |place| place.0),
            deletion_policy: DeletionPolicy::Retain,
        };
        state::open(&plan, &Arc::new(LocalSecrets::new()), Path::new(".")).await
    }
}

/// Where a person finds the state of a plan, without opening it.
///
/// # Errors
/// `config` where there is no current directory.
pub(super) fn of(plan: &Plan) -> Result<String> {
    let base = PathBuf::from(plan.destination.system.base_dir.as_deref().unwrap_or("."));
    Ok(match &plan.state.store {
        StateStorePlan::Default => state::default_directory()?.display().to_string(),
        StateStorePlan::Directory(path) => base.join(path).display().to_string(),
        StateStorePlan::S3(place) => format!("s3://{}/{}", place.bucket, place.prefix),
        StateStorePlan::ConfigMap => {
            return Err(Error::config("state in a ConfigMap needs the operator").advice("give `--state DIR`"));
        }
    })
}

#[cfg(test)]
mod tests {
    use millrace_crds::plan::StateStorePlan;

    use super::StatePlace;

    #[test]
    fn a_directory_is_meant_from_here() {
        let place: StatePlace = "somewhere".parse().unwrap();
        let here = std::env::current_dir().unwrap().join("somewhere");
        assert_eq!(place.0, StateStorePlan::Directory(here.display().to_string()));
    }

    #[test]
    fn a_bucket_has_a_prefix() {
        let place: StatePlace = "s3://lake/state/here/".parse().unwrap();
        let StateStorePlan::S3(s3) = place.0 else {
            panic!("no bucket")
        };
        assert_eq!((s3.bucket.as_str(), s3.prefix.as_str()), ("lake", "state/here"));
        assert!("gs://lake".parse::<StatePlace>().is_err());
        assert!("s3://".parse::<StatePlace>().is_err());
    }
}
