//! Rules for streams: what they speak of, their keys, cursors and schemas.

use std::collections::BTreeSet;

use regex::Regex;

use crate::plan::{StreamRule, StreamSelect};
use crate::problem::{Place, Reason, Report, below, item};
use crate::resources::base_dir;
use crate::schema::{CONFIG_MAP, Contract, Field, LogicalType};
use crate::source::StreamSpec;
use crate::suggest;

use super::Resolver;

/// A regular expression over the whole name.
pub(super) fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("^(?:{pattern})$"))
}

/// All rules of a Source.
pub(super) fn rules(
    resolver: &Resolver<'_>,
    streams: &[StreamSpec],
    namespace: &str,
    place: &Place,
    report: &mut Report<'_>,
) -> Vec<StreamRule> {
    let mut seen = BTreeSet::new();
    let one = |(index, spec): (usize, &StreamSpec)| {
        let field = item("spec.streams", index);
        let select = select(spec, &field, report)?;
        if let StreamSelect::Name(name) = &select
            && !seen.insert(name.clone())
        {
            report.error(
                Reason::Duplicate,
                &field,
                format!("{name} is named twice"),
                "remove one of the two",
            );
        }
        let schema = resolver.schema(spec, &select, namespace, place, &field, report);
        Some(rule(spec, select, schema))
    };
    streams.iter().enumerate().filter_map(one).collect()
}

fn rule(spec: &StreamSpec, select: StreamSelect, schema: Option<Vec<Field>>) -> StreamRule {
    let declared = spec.primary_key.clone();
    let primary_key = if declared.is_empty() {
        key_of(schema.as_deref().unwrap_or_default())
    } else {
        declared
    };
    let cursor_field = spec
        .cursor_fields
        .clone()
        .unwrap_or_else(|| spec.cursor_field.clone().into_iter().collect());
    StreamRule {
        select,
        primary_key,
        cursor_field,
        schema,
        partitions: spec.partitions,
    }
}

fn select(spec: &StreamSpec, field: &str, report: &mut Report<'_>) -> Option<StreamSelect> {
    if let Some(name) = &spec.name {
        return Some(StreamSelect::Name(name.0.clone()));
    }
    let pattern = spec.match_.clone()?;
    if let Err(error) = whole(&pattern) {
        let reason = error
            .to_string()
            .lines()
            .last()
            .unwrap_or_default()
            .trim_start_matches("error: ")
            .to_owned();
        let message = format!("is not a regular expression: {reason}");
        report.error(
            Reason::InvalidSpec,
            &below(field, "match"),
            message,
            "a literal dot is written \\.",
        );
    }
    Some(StreamSelect::Match(pattern))
}

/// The key that a declared schema names.
fn key_of(fields: &[Field]) -> Vec<String> {
    let mut key: Vec<&Field> = fields.iter().filter(|field| field.primary_key).collect();
    key.sort_by_key(|field| field.primary_key_position.unwrap_or(u32::MAX));
    key.into_iter().map(|field| field.name.clone()).collect()
}

/// Refuses streams that no rule of the Source speaks of; without rules, discovery decides.
pub(super) fn refuse_unknown(names: &[String], rules: &[StreamRule], field: &str, report: &mut Report<'_>) {
    let matches = |rule: &StreamRule, name: &str| match &rule.select {
        StreamSelect::Name(known) => known == name,
        StreamSelect::Match(pattern) => whole(pattern).is_ok_and(|regex| regex.is_match(name)),
    };
    let known = rules.iter().map(|rule| match &rule.select {
        StreamSelect::Name(text) | StreamSelect::Match(text) => text.as_str(),
    });
    let known: Vec<&str> = known.collect();
    for (index, name) in names.iter().enumerate() {
        if !rules.is_empty() && !rules.iter().any(|rule| matches(rule, name)) {
            let advice = suggest::advice(name, known.iter().copied(), "its streams are");
            let message = format!("the Source has no stream {name}");
            report.error(Reason::RefNotFound, &item(field, index), message, advice);
        }
    }
}

impl Resolver<'_> {
    fn schema(
        &self,
        spec: &StreamSpec,
        select: &StreamSelect,
        namespace: &str,
        place: &Place,
        field: &str,
        report: &mut Report<'_>,
    ) -> Option<Vec<Field>> {
        if let Some(fields) = &spec.schema {
            check_fields(fields, &below(field, "schema"), Writer::Manifest, report);
            return Some(fields.clone());
        }
        let schema_ref = spec.schema_ref.as_deref()?;
        let field = below(field, "schemaRef");
        let contract = self.contract(schema_ref, namespace, place, &field, report)?;
        let object = schema_ref.split_once('#').map(|(_, object)| object);
        let name = match (object, select) {
            (Some(object), _) => object,
            (None, StreamSelect::Name(name)) => name,
            (None, StreamSelect::Match(_)) => {
                let advice = "add #OBJECT to name the schema object";
                report.error(
                    Reason::InvalidSpec,
                    &field,
                    "many streams cannot share a contract by their names",
                    advice,
                );
                return None;
            }
        };
        let Some(object) = contract.object(name) else {
            let known: Vec<&str> = contract
                .schema
                .iter()
                .map(|object| object.name.as_str())
                .collect();
            let advice = suggest::advice(name, known, "its objects are");
            report.error(
                Reason::RefNotFound,
                &field,
                format!("the contract has no schema object {name}"),
                advice,
            );
            return None;
        };
        check_fields(&object.properties, &field, Writer::Contract, report);
        Some(object.properties.clone())
    }

    /// The contract that a `schemaRef` names: among the files read, or in a `ConfigMap`.
    fn contract(
        &self,
        schema_ref: &str,
        namespace: &str,
        place: &Place,
        field: &str,
        report: &mut Report<'_>,
    ) -> Option<Contract> {
        let found = match Contract::path(schema_ref) {
            Some(_) if self.environment().is_none() => {
                let advice = "keep the contract in a ConfigMap and write configmap:NAME/KEY";
                report.error(Reason::LocalOnly, field, "a path is for local runs only", advice);
                return None;
            }
            Some(path) => self
                .resources
                .contracts
                .get(&base_dir(place).join(path))
                .cloned()
                .ok_or("was not read".to_owned()),
            None => self.config_map_contract(schema_ref, namespace),
        };
        let message = |error: &String| format!("the contract {schema_ref} cannot be used: {error}");
        found
            .inspect_err(|error| report.error(Reason::RefNotFound, field, message(error), ""))
            .ok()
    }

    fn config_map_contract(&self, schema_ref: &str, namespace: &str) -> Result<Contract, String> {
        let place = schema_ref.strip_prefix(CONFIG_MAP).unwrap_or(schema_ref);
        let place = place.split_once('#').map_or(place, |(place, _)| place);
        let (name, key) = place.split_once('/').ok_or("write configmap:NAME/KEY")?;
        let map = self
            .resources
            .config_map(namespace, name)
            .ok_or(format!("there is no ConfigMap {name}"))?;
        let bytes = map
            .values
            .get(key)
            .ok_or(format!("ConfigMap {name} has no key {key}"))?;
        Contract::parse(&String::from_utf8_lossy(bytes))
    }
}

/// Whom a schema was written for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// Millrace alone: what means nothing here is a mistake.
    Manifest,
    /// Others, too: what means nothing here may mean something to them.
    Contract,
}

/// What the API server cannot check, since schemas nest without end.
fn check_fields(fields: &[Field], path: &str, writer: Writer, report: &mut Report<'_>) {
    let mut seen = BTreeSet::new();
    for (index, field) in fields.iter().enumerate() {
        let path = item(path, index);
        if field.name.is_empty() {
            report.error(Reason::InvalidSpec, &below(&path, "name"), "is missing", "add it");
        } else if !seen.insert(&field.name) {
            report.error(
                Reason::Duplicate,
                &path,
                format!("{} is named twice", field.name),
                "remove one of the two",
            );
        }
        check_field(field, &path, writer, report);
    }
}

fn check_field(field: &Field, path: &str, writer: Writer, report: &mut Report<'_>) {
    let is = |wanted| field.logical_type == Some(wanted);
    if field.logical_type.is_none() && field.physical_type.is_none() {
        report.error(
            Reason::InvalidSpec,
            path,
            "has no type",
            "write logicalType, physicalType or both",
        );
    }
    if field.items.is_some() && !is(LogicalType::Array) {
        report.error(
            Reason::InvalidSpec,
            path,
            "has items but is no array",
            "write logicalType: array",
        );
    }
    if !field.properties.is_empty() && !is(LogicalType::Object) {
        report.error(
            Reason::InvalidSpec,
            path,
            "has properties but is no object",
            "write logicalType: object",
        );
    }
    if let Some(items) = &field.items {
        check_field(items, &below(path, "items"), writer, report);
    }
    check_options(field, &below(path, "logicalTypeOptions"), writer, report);
    check_fields(&field.properties, &below(path, "properties"), writer, report);
}

/// Options that would change nothing are refused: their author expects something of them.
fn check_options(field: &Field, path: &str, writer: Writer, report: &mut Report<'_>) {
    let known = field.logical_type.map_or(&[][..], LogicalType::options);
    let formats = field.logical_type.map_or(&[][..], LogicalType::formats);
    for (key, value) in &field.logical_type_options {
        let path = below(path, key);
        let (message, advice) = match (key.as_str(), value.as_str()) {
            (key, _) if !known.contains(&key) => {
                let advice = suggest::advice(key, known.iter().copied(), "known here is");
                let advice = if advice.is_empty() {
                    "remove it".to_owned()
                } else {
                    advice
                };
                if writer == Writer::Contract {
                    report.warn(Reason::InvalidSpec, &path, "is not looked at", "");
                    continue;
                }
                ("there is no such option of this type".to_owned(), advice)
            }
            ("format", Some(format)) if formats.contains(&format) => continue,
            ("format", format) => {
                let formats = formats.iter().copied();
                let advice = suggest::advice(format.unwrap_or_default(), formats, "known are");
                (format!("{value} is not a format of this type"), advice)
            }
            _ if value.is_boolean() => continue,
            _ => (
                format!("{value} is not allowed"),
                "write true or false".to_owned(),
            ),
        };
        report.error(Reason::InvalidSpec, &path, message, advice);
    }
}
