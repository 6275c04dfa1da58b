//! What the API server would check, offline: fields, types, enums, bounds, and the rules of the kinds.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jsonschema::Validator;
use kube::core::cel::{Validator as Rules, apply_defaults};
use serde_json::Value;

use crate::explain::{Show, findings};
use crate::problem::{Reason, Report};
use crate::{crds, strict};

/// What one kind is checked by.
struct Checks {
    structural: Value,
    strict: Value,
    validator: Option<Validator>,
}

static CHECKS: LazyLock<BTreeMap<String, Checks>> = LazyLock::new(|| {
    let checks = crds().into_iter().map(|crd| {
        let (structural, strict) = (strict::structural(&crd), strict::strict(&crd));
        let validator = jsonschema::draft7::new(&strict).ok();
        (
            crd.spec.names.kind,
            Checks {
                structural,
                strict,
                validator,
            },
        )
    });
    checks.collect()
});

/// The kinds that are checked here.
pub(super) fn kinds() -> impl Iterator<Item = &'static str> {
    CHECKS.keys().map(String::as_str)
}

/// Checks an object of a kind; its defaults are filled in. The rules run only over what has the right
/// shape, so that one mistake is told once.
pub(super) fn check(kind: &str, object: &Value, report: &mut Report<'_>) -> Option<Value> {
    let checks = CHECKS.get(kind)?;
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
