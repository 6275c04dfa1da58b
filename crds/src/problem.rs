//! What is wrong with a resource, where, and what to write instead.
//!
//! In: findings of the manifest reader and of the resolver. Out: one good sentence for a person, and a
//! reason for a condition of a status.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Whether it stops the resource.
    pub kind: ProblemKind,
    /// The class of the finding, for programs.
    pub reason: Reason,
    /// The manifest; `None` for objects of a cluster.
    pub file: Option<String>,
    /// The line in the manifest, from 1.
    pub line: Option<u32>,
    /// Kind and name, for example `Flow/shop-to-lake`; empty for a file as a whole.
    pub resource: String,
    /// The path of the field, for example `spec.streams[0].name`; may be empty.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it; may be empty.
    pub advice: String,
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProblemKind {
    /// The resource cannot be used.
    Error,
    /// The resource works, perhaps not as meant.
    Warning,
}

/// The class of a finding, as a condition's reason has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// A file cannot be read or is not YAML.
    Unreadable,
    /// A value breaks the rules of its field.
    InvalidSpec,
    /// Two resources of one kind have one name.
    Duplicate,
    /// A reference leads nowhere.
    RefNotFound,
    /// The connection does not meet the connector's configSchema.
    InvalidConfig,
    /// The connector cannot be used this way.
    Unsupported,
    /// Something that only local runs can have.
    LocalOnly,
    /// An environment variable is not set.
    VariableNotSet,
    /// A credential is missing or unknown.
    InvalidCredential,
    /// A secret is written where everyone can read it.
    LiteralSecret,
}

impl Problem {
    /// Whether it stops the resource.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.kind == ProblemKind::Error
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
            if let Some(line) = self.line {
                write!(f, "{line}:")?;
            }
            f.write_str(" ")?;
        }
        for part in [&self.resource, &self.field] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.message)?;
        if !self.advice.is_empty() {
            write!(f, "; {}", self.advice)?;
        }
        Ok(())
    }
}

/// Where a resource was written: a file, and the line of each of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The manifest; `None` for objects of a cluster.
    pub file: Option<String>,
    /// Lines by field path; the empty path is the document's first line.
    pub lines: BTreeMap<String, u32>,
}

impl Place {
    /// The line of a field, or of the nearest field around it that is written.
    #[must_use]
    pub fn line(&self, field: &str) -> Option<u32> {
        let mut path = field;
        loop {
            if let Some(line) = self.lines.get(path) {
                return Some(*line);
            }
            if path.is_empty() {
                return None;
            }
            path = &path[..path.rfind(['.', '[']).unwrap_or(0)];
        }
    }
}

/// An object and the place where it was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Located<T> {
    /// The object.
    pub object: T,
    /// The place.
    pub place: Place,
}

impl<T> From<T> for Located<T> {
    fn from(object: T) -> Self {
        Self {
            object,
            place: Place::default(),
        }
    }
}

/// Collects the findings about one resource.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    place: &'a Place,
    resource: String,
    problems: Vec<Problem>,
}

impl<'a> Report<'a> {
    /// An empty report on a resource, named as in `Flow/shop-to-lake`.
    pub(crate) fn on(place: &'a Place, resource: impl Into<String>) -> Self {
        Self {
            place,
            resource: resource.into(),
            problems: Vec::new(),
        }
    }

    /// Adds what stops the resource.
    pub(crate) fn error(
        &mut self,
        reason: Reason,
        field: &str,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.add(ProblemKind::Error, reason, field, message.into(), advice.into());
    }

    /// Adds what may not be as meant.
    pub(crate) fn warn(
        &mut self,
        reason: Reason,
        field: &str,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.add(ProblemKind::Warning, reason, field, message.into(), advice.into());
    }

    fn add(&mut self, kind: ProblemKind, reason: Reason, field: &str, message: String, advice: String) {
        self.problems.push(Problem {
            kind,
            reason,
            file: self.place.file.clone(),
            line: self.place.line(field),
            resource: self.resource.clone(),
            field: field.to_owned(),
            message,
            advice,
        });
    }

    /// The number of errors so far.
    pub(crate) fn errors(&self) -> usize {
        self.problems.iter().filter(|problem| problem.is_error()).count()
    }

    /// All that was found.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

/// The path of a key below a path: `spec.source`, or `metadata.labels["a.b/c"]` where the key is no plain word.
pub(crate) fn below(path: &str, key: &str) -> String {
    let plain = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '$'));
    match (path.is_empty(), plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{key:?}]"),
    }
}

/// The path of known fields below a path: `spec` and `source.name`.
pub(crate) fn join(path: &str, fields: &str) -> String {
    format!("{path}.{fields}")
}

/// The path of an item of a list.
pub(crate) fn item(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}
