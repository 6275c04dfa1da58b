//! `millrace trigger`: asks for a load of the Flows that a Connector, a Source or a Flow stands for.
//!
//! In: an object of the manifests, and what to load. Out: an annotation with a new token in its manifest, as `kubectl
//! annotate` sets one in a cluster. A `millrace run --watch` at work takes it at once, and the next one where none is:
//! the ledger of each Flow concerned is there before the annotation is, so that the token is new to it.

mod edit;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use jiff::Timestamp;
use millrace_crds::{
    Resources,
    problem::Place,
    triggers::{self, PREFIX},
};
use serde_json::Value;

use super::{
    annotated::{self, Object},
    exit::Exit,
    manifests::{self, Loaded, Manifests, full_name},
    out,
    place::StateArgs,
};
use crate::{
    cluster::{api, desk},
    engine::ledger::Books,
    error::{Context, Error, Result},
};

/// The options of `millrace trigger`.
#[derive(Args, Clone, Debug)]
pub(super) struct TriggerArgs {
    /// What to load again: connector/NAME, source/NAME or flow/NAME
    #[arg(value_name = "KIND/NAME")]
    object: String,
    /// `full_load`, `delta_load`, `full_load_TABLE` or `delta_load_TABLE`
    #[arg(value_name = "LOAD")]
    load: String,
    #[command(flatten)]
    manifests: Manifests,
    /// These tables only, by exact name
    #[arg(long, value_delimiter = ',', value_name = "NAME,NAME")]
    tables: Vec<String>,
    /// Let the full load delete more than maxDeleteFraction, this once
    #[arg(long)]
    allow_deletes: bool,
    /// The token: any text that was not the last one; without it, the time
    #[arg(long, value_name = "TEXT")]
    token: Option<String>,
    /// Ask in the cluster that the kubeconfig names, in place of manifests: the namespace of the object
    #[arg(long, short, value_name = "NAME", conflicts_with_all = ["manifests", "place"])]
    namespace: Option<String>,
    #[command(flatten)]
    state: StateArgs,
}

/// Writes the annotation.
///
/// # Errors
/// `config` where there is no such object, load or Flow, or the manifest cannot be changed; what the state store says.
pub(super) async fn run(args: TriggerArgs) -> Result<Exit> {
    let value = args.value()?;
    if let Some(namespace) = &args.namespace {
        return in_cluster(&args, namespace, &value).await;
    }
    let loaded = manifests::load(&args.manifests.paths)?;
    let (kind, name) = args
        .object
        .split_once('/')
        .ok_or_else(|| wrong_object(&args.object))?;
    let mut target: Option<Object> = None;
    let mut flows = Vec::new();
    for plan in &loaded.resolution.plans {
        let objects = annotated::of(&loaded, plan);
        let Some(place) = objects.iter().position(|object| object.is(kind, name)) else {
            continue;
        };
        let mut plan = plan.clone();
        args.state.apply(&mut plan);
        let flow = loaded.open(&plan).await?;
        let annotated: Vec<_> = objects.iter().map(|object| object.annotated.clone()).collect();
        let books = Books::new(flow.store.clone(), &plan.state.id, &plan.flow.uid);
        books.change(&annotated, |_| ()).await?;
        flows.push(format!("{} (state: {})", full_name(&plan), flow.store.place()));
        target = objects.into_iter().nth(place);
    }
    let Some(object) = target else {
        return Err(no_object(&loaded, &args.object));
    };
    let file = write(&object, &format!("{PREFIX}{}", args.load), &value)?;
    out::line(format_args!(
        "{}: {PREFIX}{}: {value:?} in {}",
        object.annotated.object,
        args.load,
        file.display()
    ))?;
    out::note(format_args!(
        "a `millrace run --watch` takes it at once where one is at work, and as it starts where none is: {}",
        flows.join(", ")
    ));
    Ok(Exit::Done)
}

/// As `kubectl annotate` does it.
async fn in_cluster(args: &TriggerArgs, namespace: &str, value: &str) -> Result<Exit> {
    let object = args
        .object
        .split_once('/')
        .ok_or_else(|| wrong_object(&args.object))?;
    let key = format!("{PREFIX}{}", args.load);
    let client = api::of_person().await?;
    desk::annotate(client, namespace, object, &key, value)
        .await
        .context(format!("{} in namespace {namespace}", args.object))?;
    out::line(format_args!("{}: {key}: {value:?} in the cluster", args.object))?;
    out::note("`kubectl get flow -o yaml` shows in `status.triggers` what becomes of it");
    Ok(Exit::Done)
}

fn wrong_object(text: &str) -> Error {
    Error::config(format!("`{text}` names no object"))
        .advice("write connector/NAME, source/NAME or flow/NAME")
}

fn no_object(loaded: &Loaded, asked: &str) -> Error {
    let mut known: Vec<String> = Vec::new();
    for plan in &loaded.resolution.plans {
        for object in annotated::of(loaded, plan) {
            let name = object.annotated.object.to_lowercase();
            if !known.contains(&name) {
                known.push(name);
            }
        }
    }
    Error::config(format!(
        "these manifests have no {asked} that a Flow has to do with"
    ))
    .advice(format!("they have {}", known.join(", ")))
}

impl TriggerArgs {
    /// The annotation's value, by the rules that every annotation is read by.
    fn value(&self) -> Result<String> {
        let mut value = self
            .token
            .clone()
            .unwrap_or_else(|| format!("{:.3}", Timestamp::now()));
        if !self.tables.is_empty() {
            value += &format!(";tables={}", self.tables.join(","));
        }
        if self.allow_deletes {
            value += ";allow-deletes";
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !self.load.chars().all(plain) {
            return Err(
                Error::config(format!("`{}` cannot be the name of an annotation", self.load))
                    .advice("write full_load or delta_load, and the tables by `--tables NAME,NAME`"),
            );
        }
        let annotations = std::iter::once((format!("{PREFIX}{}", self.load), value.clone())).collect();
        match triggers::parse(&annotations).pop() {
            Some(Ok(_)) => Ok(value),
            Some(Err(error)) => Err(Error::config(format!("`{}`: {}", self.load, error.problem))),
            None => Err(Error::config(format!("`{}` is no load", self.load))
                .advice("write full_load, delta_load, full_load_TABLE or delta_load_TABLE")),
        }
    }
}

/// Writes the annotation to the file that the object stands in.
fn write(object: &Object, key: &str, value: &str) -> Result<PathBuf> {
    let by_hand = || format!("set the annotation {key}: {value:?} there by hand");
    let Place { file: Some(file), .. } = &object.place else {
        return Err(
            Error::config(format!("{} stands in no file", object.annotated.object)).advice(by_hand()),
        );
    };
    let path = fs::canonicalize(file).context(file)?;
    let text = fs::read_to_string(&path).context(file)?;
    let changed = edit::annotate(&text, &object.place, key, value)
        .filter(|changed| is_all(object, key, value, &text, changed));
    let Some(changed) = changed else {
        let what = format!(
            "{file}: {} is written in a way that cannot be changed here",
            object.annotated.object
        );
        return Err(Error::config(what).advice(by_hand()));
    };
    replace(&path, &changed).context(file)?;
    Ok(PathBuf::from(file))
}

/// Whether the change is the annotation, and nothing else.
fn is_all(object: &Object, key: &str, value: &str, before: &str, after: &str) -> bool {
    let read = |text| Some(objects(&millrace_crds::manifest::parse("", text).ok()?));
    let (Some(mut before), Some(after)) = (read(before), read(after)) else {
        return false;
    };
    let mine = before.iter_mut().find(|found| {
        let text = |pointer: &str| found.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let namespace = Some(text("/metadata/namespace")).filter(|name| !name.is_empty());
        object.is(text("/kind"), text("/metadata/name"))
            && namespace.unwrap_or("default") == object.namespace()
    });
    if let Some(mine) = mine {
        mine["metadata"]["annotations"][key] = value.into();
    }
    before == after
}

fn objects(resources: &Resources) -> Vec<Value> {
    let mut all = Vec::new();
    let mut add = |object: serde_json::Result<Value>| all.extend(object.ok());
    for found in &resources.connectors {
        add(serde_json::to_value(&found.object));
    }
    for found in &resources.sources {
        add(serde_json::to_value(&found.object));
    }
    for found in &resources.flows {
        add(serde_json::to_value(&found.object));
    }
    for found in &resources.jobs {
        add(serde_json::to_value(&found.object));
    }
    all
}

/// The whole new text at once, so that nobody reads half of it.
fn replace(path: &Path, text: &str) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = directory.join(name);
    let written = fs::write(&temporary, text)
        .and_then(|()| fs::set_permissions(&temporary, fs::metadata(path)?.permissions()))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The error tells more than a file that is left over.
        let _ = fs::remove_file(&temporary);
    }
    Ok(written?)
}
