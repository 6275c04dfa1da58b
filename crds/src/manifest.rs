//! Manifests: files of resources, read as strictly as a cluster would.
//!
//! In: files and directories of YAML or JSON. Out: [`Resources`], each with the file and line of every
//! field, or all that is wrong with them. Here alone in this crate is a disk touched.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kube::Resource;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::problem::{Located, Place, Problem, ProblemKind, Reason, Report};
use crate::resources::{LocalConfigMap, LocalSecret, Resources, base_dir};
use crate::schema::Contract;
use crate::{API_VERSION, suggest};

mod check;
mod core_v1;
mod yaml;

const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Reads files, and the manifests of directories in the order of their names.
///
/// # Errors
///
/// All that is wrong with the files, in the order of reading.
pub fn read(paths: &[PathBuf]) -> Result<Resources, Vec<Problem>> {
    let mut reader = Reader::default();
    for path in paths {
        match files(path) {
            Ok(files) if files.is_empty() => {
                reader.file_problem(
                    path,
                    "holds no manifest",
                    "put *.yaml, *.yml or *.json files there; `millrace init` writes one to start from",
                );
            }
            Ok(files) => files.iter().for_each(|file| reader.file(file)),
            Err(error) => reader.file_problem(path, &format!("cannot be read: {error}"), ""),
        }
    }
    reader.contracts();
    reader.finish()
}

/// Reads the text of one file; contracts that Sources refer to by path are not fetched.
///
/// # Errors
///
/// All that is wrong with the text.
pub fn parse(file: &str, text: &str) -> Result<Resources, Vec<Problem>> {
    let mut reader = Reader::default();
    reader.text(file, text);
    reader.finish()
}

/// A file itself, or the manifests in a directory.
fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        let known = file
            .extension()
            .and_then(|e| e.to_str())
            .is_some_and(|e| EXTENSIONS.contains(&e));
        if known && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

#[derive(Default)]
struct Reader {
    resources: Resources,
    problems: Vec<Problem>,
    /// Where each (kind, namespace, name) was first declared.
    seen: BTreeMap<(String, String, String), String>,
}

impl Reader {
    fn finish(self) -> Result<Resources, Vec<Problem>> {
        if self.problems.is_empty() {
            Ok(self.resources)
        } else {
            Err(self.problems)
        }
    }

    fn file_problem(&mut self, path: &Path, message: &str, advice: &str) {
        self.unreadable(&path.display().to_string(), None, message, advice);
    }

    fn unreadable(&mut self, file: &str, line: Option<u32>, message: &str, advice: &str) {
        self.problems.push(Problem {
            kind: ProblemKind::Error,
            reason: Reason::Unreadable,
            file: Some(file.to_owned()),
            line,
            resource: String::new(),
            field: String::new(),
            message: message.to_owned(),
            advice: advice.to_owned(),
        });
    }

    fn file(&mut self, path: &Path) {
        match fs::read_to_string(path) {
            Ok(text) => self.text(&path.display().to_string(), &text),
            Err(error) => self.file_problem(path, &format!("cannot be read: {error}"), ""),
        }
    }

    fn text(&mut self, file: &str, text: &str) {
        match yaml::documents(text) {
            Ok(documents) => {
                for yaml::Document { value, lines } in documents {
                    let place = Place {
                        file: Some(file.to_owned()),
                        lines,
                    };
                    self.document(&value, &place);
                }
            }
            Err(error) => self.unreadable(file, error.line, &error.message, ""),
        }
    }

    fn document(&mut self, value: &Value, place: &Place) {
        let (kind, name) = (text(value, "/kind"), resource_name(value));
        let namespace = text(value, "/metadata/namespace");
        let mut report = Report::on(
            place,
            if kind.is_empty() {
                name.clone()
            } else {
                format!("{kind}/{name}")
            },
        );
        if known_kind(value, &mut report) && self.is_first(value, place, &mut report) {
            match kind {
                "Connector" => push(&mut self.resources.connectors, value, place, &mut report),
                "Source" => push(&mut self.resources.sources, value, place, &mut report),
                "Flow" => push(&mut self.resources.flows, value, place, &mut report),
                "Job" => push(&mut self.resources.jobs, value, place, &mut report),
                "Secret" => {
                    let values = core_v1::secret(value, &mut report);
                    self.resources
                        .secrets
                        .push(LocalSecret::new(namespace, &name, values));
                }
                _ => {
                    let values = core_v1::config_map(value, &mut report);
                    self.resources
                        .config_maps
                        .push(LocalConfigMap::new(namespace, &name, values));
                }
            }
        }
        let mut problems = report.into_problems();
        problems.sort_by_key(|problem| problem.line);
        self.problems.extend(problems);
    }

    /// Whether nothing of the same kind and name was read before. Jobs with a `generateName` never clash.
    fn is_first(&mut self, value: &Value, place: &Place, report: &mut Report<'_>) -> bool {
        let name = text(value, "/metadata/name");
        let key = [
            text(value, "/kind"),
            crate::resources::namespace(Some(text(value, "/metadata/namespace"))),
            name,
        ];
        let here = format!(
            "{}:{}",
            place.file.as_deref().unwrap_or_default(),
            place.line("").unwrap_or_default()
        );
        if name.is_empty() {
            return true;
        }
        match self.seen.entry(key.map(str::to_owned).into()) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(here);
                true
            }
            std::collections::btree_map::Entry::Occupied(entry) => {
                let message = format!("is declared before, at {}", entry.get());
                report.error(
                    Reason::Duplicate,
                    "metadata.name",
                    message,
                    "remove one of the two, or rename it",
                );
                false
            }
        }
    }

    /// Fetches the contracts that Sources refer to by path.
    fn contracts(&mut self) {
        for source in &self.resources.sources {
            let mut report = Report::on(&source.place, format!("Source/{}", name_of(&source.object)));
            for (index, stream) in source.object.spec.streams.iter().enumerate() {
                let Some(path) = stream.schema_ref.as_deref().and_then(Contract::path) else {
                    continue;
                };
                let key = base_dir(&source.place).join(path);
                let found = fs::read_to_string(&key).map_err(|error| error.to_string());
                match found.and_then(|text| Contract::parse(&text)) {
                    Ok(contract) => {
                        self.resources.contracts.insert(key, contract);
                    }
                    Err(error) => {
                        let message = format!("{} is not a readable contract: {error}", key.display());
                        report.error(
                            Reason::RefNotFound,
                            &format!("spec.streams[{index}].schemaRef"),
                            message,
                            "",
                        );
                    }
                }
            }
            self.problems.extend(report.into_problems());
        }
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The name, or the beginning of a name that is to be made.
fn resource_name(value: &Value) -> String {
    match (
        text(value, "/metadata/name"),
        text(value, "/metadata/generateName"),
    ) {
        ("", "") => "(no name)".to_owned(),
        ("", begin) => format!("{begin}*"),
        (name, _) => name.to_owned(),
    }
}

pub(crate) fn name_of<T: Resource>(object: &T) -> String {
    let begin = || {
        object
            .meta()
            .generate_name
            .as_ref()
            .map(|begin| format!("{begin}*"))
    };
    object.meta().name.clone().or_else(begin).unwrap_or_default()
}

fn known_kind(value: &Value, report: &mut Report<'_>) -> bool {
    let (version, kind) = (text(value, "/apiVersion"), text(value, "/kind"));
    let ours = check::kinds().any(|known| known == kind);
    let core = ["Secret", "ConfigMap"].contains(&kind);
    match (version, ours, core) {
        (API_VERSION, true, _) | ("v1", _, true) => return true,
        ("", ..) => report.error(
            Reason::InvalidSpec,
            "apiVersion",
            "is missing",
            format!("write {API_VERSION}"),
        ),
        (_, false, false) => {
            let known = check::kinds().chain(["Secret", "ConfigMap"]);
            let advice = suggest::advice(kind, known, "known are");
            report.error(
                Reason::InvalidSpec,
                "kind",
                format!("\"{kind}\" is not a kind that Millrace reads"),
                advice,
            );
        }
        _ => {
            let advice = format!("write {}", if core { "v1" } else { API_VERSION });
            report.error(
                Reason::InvalidSpec,
                "apiVersion",
                format!("{kind} has no version \"{version}\""),
                advice,
            );
        }
    }
    false
}

/// Checks an object and keeps it if it is sound.
fn push<T: DeserializeOwned>(
    to: &mut Vec<Located<T>>,
    value: &Value,
    place: &Place,
    report: &mut Report<'_>,
) {
    let Some(object) = check::check(text(value, "/kind"), value, report) else {
        return;
    };
    match serde_json::from_value(object) {
        Ok(object) => to.push(Located {
            object,
            place: place.clone(),
        }),
        Err(error) => report.error(Reason::InvalidSpec, "spec", error.to_string(), ""),
    }
}

#[cfg(test)]
mod tests;
