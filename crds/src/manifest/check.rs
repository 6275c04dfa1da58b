//! What the API server would check, offline: fields, types, enums, bounds, and the rules of the kinds.

use std::sync::LazyLock;

use jsonschema::Validator;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use kube::core::cel::{Validator as Rules, apply_defaults};
use serde_json::Value;

use crate::explain::{Show, findings};
use crate::problem::{Reason, Report};
use crate::{Connector, Flow, Job, Source, strict};

/// What one kind is checked by.
struct Checks {
    structural: Value,
    strict: Value,
    validator: Option<Validator>,
}

/// Each is made where it is first needed: the schemas of a kind are large, and a manifest seldom has all kinds.
static CHECKS: [(&str, LazyLock<Checks>); 4] = [
    ("Connector", LazyLock::new(|| Checks::of(&Connector::crd()))),
    ("Flow", LazyLock::new(|| Checks::of(&Flow::crd()))),
    ("Job", LazyLock::new(|| Checks::of(&Job::crd()))),
    ("Source", LazyLock::new(|| Checks::of(&Source::crd()))),
];

impl Checks {
    fn of(crd: &CustomResourceDefinition) -> Self {
        let (structural, strict) = (strict::structural(crd), strict::strict(crd));
        let validator = jsonschema::draft7::new(&strict).ok();
        Self {
            structural,
            strict,
            validator,
        }
    }
}

/// The kinds that are checked here.
pub(super) fn kinds() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|(kind, _)| *kind)
}

/// Checks an object of a kind; its defaults are filled in. The rules run only over what has the right
/// shape, so that one mistake is told once.
pub(super) fn check(kind: &str, object: &Value, report: &mut Report<'_>) -> Option<Value> {
    let (_, checks) = CHECKS.iter().find(|(known, _)| *known == kind)?;
    let mut sound = true;
    for found in checks
        .validator
        .iter()
        .flat_map(|v| findings(v, &checks.strict, object, "", Show::Value))
    {
        sound = false;
        report.error(Reason::InvalidSpec, &found.path, found.message, found.advice);
    }
    if !sound {
        return None;
    }
    let object = apply_defaults(&checks.structural, object);
    match Rules::new().validate(&checks.structural, &object, None) {
        Ok(()) => Some(object),
        Err(errors) => {
            for error in errors.into_vec() {
                report.error(Reason::InvalidSpec, &error.field_path, error.message, "");
            }
            None
        }
    }
}
