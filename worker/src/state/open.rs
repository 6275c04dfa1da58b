//! From the plan to the store.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use millrace_crds::plan::{StatePlan, StateStorePlan};

use super::{Objects, Store};
use crate::{
    error::{Error, Result},
    secrets::{LocalSecrets, Secrets},
    storage::{
        Storage,
        cas::{DirectoryCas, S3Cas},
    },
};

/// The store that a plan names; sends nothing yet ([`Store::probe`] does). Relative paths are meant from `base`.
///
/// # Errors
/// `config` where a credential is missing, or the store needs the operator (`NeedsOperator`).
pub async fn open(plan: &StatePlan, local: &Arc<LocalSecrets>, base: &Path) -> Result<Arc<dyn Store>> {
    Ok(match &plan.store {
        StateStorePlan::Default => directory(default_directory()?),
        StateStorePlan::Directory(path) => directory(base.join(path)),
        StateStorePlan::S3(place) => {
            let secrets = Secrets::new(place.credentials.clone(), Arc::clone(local), base.to_owned());
            let records = Objects::new(Arc::new(S3Cas::connect(place, &secrets).await?));
            Arc::new(records.with_files(Storage::s3(place, &secrets)?))
        }
        StateStorePlan::ConfigMap => {
            return Err(Error::config(
                "state in a ConfigMap needs the operator, which makes it and grants it",
            )
            .reason("NeedsOperator")
            .advice(
                "for local runs leave `state` out, use `state: { directory: PATH }`, or give `--state DIR`",
            ));
        }
    })
}

/// Where local state lies unless told otherwise: `MILLRACE_STATE_DIR`, or `.millrace/state` below the current directory.
///
/// # Errors
/// `config` where there is no current directory.
pub fn default_directory() -> Result<PathBuf> {
    match std::env::var_os("MILLRACE_STATE_DIR") {
        Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
        _ => Ok(std::env::current_dir()?.join(".millrace/state")),
    }
}

fn directory(path: PathBuf) -> Arc<dyn Store> {
    let files = Storage::directory(&path);
    Arc::new(Objects::new(Arc::new(DirectoryCas::new(path))).with_files(files))
}
