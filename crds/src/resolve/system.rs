//! A system to talk to, at either end: its recipe, engine, merged configuration and credentials.

use std::path::Path;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::Connector;
use crate::common::{ConnectorRef, CredentialRef, Engine, Settings};
use crate::connector::{ConnectorSpec, Role};
use crate::explain::{Finding, Show, TEMPLATE, findings};
use crate::plan::{RateLimit, SystemPlan};
use crate::problem::{Place, Reason, Report, below, join};
use crate::resources::base_dir;
use crate::source::RecipeOrigin;
use crate::suggest;
use crate::template::Template;

use super::engine::{self, each};
use super::settings::{Expander, merge, refuse_secrets};
use super::{Resolver, credentials};

/// The columns that a destination adds unless its options say otherwise.
const ADDED_COLUMNS: [&str; 2] = ["_millrace_op", "_millrace_loaded_at"];

/// What a Source, or the destination of a Flow, asks for.
pub(super) struct Asked<'a> {
    /// What it is used as.
    pub(super) role: Role,
    /// The path of the part that asks: `spec` or `spec.destination`.
    pub(super) field: &'a str,
    /// The namespace of the resource.
    pub(super) namespace: &'a str,
    /// Where the resource was written.
    pub(super) place: &'a Place,
    /// The connector.
    pub(super) connector: Option<&'a ConnectorRef>,
    /// The custom reader or writer.
    pub(super) plugin: Option<&'a str>,
    /// The connection.
    pub(super) connection: &'a Settings,
    /// The options.
    pub(super) options: &'a Settings,
    /// The credentials.
    pub(super) credentials: &'a [CredentialRef],
}

/// The recipe that applies.
pub(super) struct Recipe {
    /// The Connector's name.
    pub(super) name: String,
    /// Where it came from.
    pub(super) origin: RecipeOrigin,
    /// What it says.
    pub(super) spec: ConnectorSpec,
}

/// What is wrong with a recipe on its own.
pub(super) fn check_recipe(spec: &ConnectorSpec, report: &mut Report<'_>) {
    for (name, config) in &spec.configs {
        refuse_secrets(config, &below("spec.configs", name), report);
    }
    for (field, schema) in [
        ("spec.configSchema", &spec.config_schema),
        ("spec.destinationConfigSchema", &spec.destination_config_schema),
    ] {
        if let Some(schema) = schema
            && let Err(error) = validator(&Value::Object(schema.clone()))
        {
            let message = format!("is not a JSON Schema: {error}");
            report.error(Reason::InvalidSpec, field, message, "");
        }
    }
    if spec.default_engine.is_none()
        && spec
            .engines
            .as_ref()
            .is_some_and(|e| e.native.is_none() && each(e).len() > 1)
    {
        let names: Vec<&str> = spec
            .engines
            .iter()
            .flat_map(each)
            .map(|(engine, _)| engine.name())
            .collect();
        let advice = format!("write {}", suggest::list(&names, "or"));
        report.error(
            Reason::InvalidSpec,
            "spec.defaultEngine",
            "is missing, with several engines",
            advice,
        );
    }
}

impl Resolver<'_> {
    pub(super) fn system(&self, asked: &Asked<'_>, report: &mut Report<'_>) -> Option<SystemPlan> {
        let recipe = self.recipe(asked, report)?;
        if !recipe.spec.roles.contains(&asked.role) {
            let message = format!("{} cannot be used as a {}", recipe.name, asked.role.name());
            let advice = format!(
                "choose one of {}",
                suggest::list(&names(&self.names_for(asked.role)), "and")
            );
            report.error(Reason::Unsupported, &name_field(asked), message, advice);
        }
        let (engine, engine_config) = engine::choose(asked, &recipe, report)?;
        let native = (engine == Engine::Native)
            .then(|| self.native_schema(asked.role, &recipe))
            .flatten();
        let connection = self.connection(asked, &recipe, native.as_ref(), report);
        let options = self.options(asked, &recipe, native, report);
        let credentials = self.credentials(
            &credentials::Given {
                namespace: asked.namespace,
                owner: &recipe.name,
                asked: &credentials::asked(asked, &recipe.spec.credentials, engine),
                refs: asked.credentials,
                field: &join(asked.field, "credentials"),
            },
            report,
        );
        let limit = |limit: crate::connector::RateLimitSpec| RateLimit {
            requests_per_second: limit.requests_per_second,
            burst: limit.burst,
        };
        Some(SystemPlan {
            connector: recipe.name,
            recipe: recipe.origin,
            type_: recipe.spec.type_,
            engine: engine.name().to_owned(),
            engine_config,
            connection,
            options,
            credentials,
            plugin: asked.plugin.map(str::to_owned),
            rate_limit: recipe.spec.rate_limit.map(limit),
            base_dir: self.base_dir(asked.place),
        })
    }

    pub(super) fn expander(&self) -> Expander<'_> {
        Expander {
            environment: self.environment(),
        }
    }

    fn base_dir(&self, place: &Place) -> Option<String> {
        self.environment()?;
        place.file.as_ref().map(|_| base_dir(place)).map(|dir| {
            if dir == Path::new("") {
                ".".into()
            } else {
                dir.display().to_string()
            }
        })
    }

    /// The Connector of a name, else the built-in recipe; a plugin alone needs neither.
    fn recipe(&self, asked: &Asked<'_>, report: &mut Report<'_>) -> Option<Recipe> {
        let Some(connector) = asked.connector else {
            return Some(Recipe::of_plugin());
        };
        let named = |one: &&Connector| one.metadata.name.as_ref() == Some(&connector.name);
        let object = self
            .resources
            .connectors
            .iter()
            .map(|located| &located.object)
            .find(named);
        let found = object.map(|object| (object, RecipeOrigin::Connector));
        let found = found.or_else(|| {
            self.recipes
                .iter()
                .find(named)
                .map(|recipe| (recipe, RecipeOrigin::BuiltIn))
        });
        if found.is_none() {
            let known = self.names_for(asked.role);
            let advice = suggest::advice(&connector.name, names(&known), "known are");
            let message = format!("there is no Connector or built-in recipe {}", connector.name);
            report.error(Reason::RefNotFound, &name_field(asked), message, advice);
        }
        found.map(|(object, origin)| Recipe {
            name: connector.name.clone(),
            origin,
            spec: object.spec.clone(),
        })
    }

    /// The connectors that can be used in a role.
    fn names_for(&self, role: Role) -> Vec<String> {
        let all = self
            .resources
            .connectors
            .iter()
            .map(|located| &located.object)
            .chain(self.recipes);
        let mut names: Vec<String> = all
            .filter(|one| one.spec.roles.contains(&role))
            .filter_map(|one| one.metadata.name.clone())
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// `default` config, then the named config, then the connection of the resource; checked.
    fn connection(
        &self,
        asked: &Asked<'_>,
        recipe: &Recipe,
        native: Option<&Value>,
        report: &mut Report<'_>,
    ) -> Settings {
        let field = join(asked.field, "connection");
        let configs = &recipe.spec.configs;
        let chosen = asked.connector.and_then(|connector| connector.config.as_ref());
        if let Some(name) = chosen.filter(|name| !configs.contains_key(*name)) {
            let advice = suggest::advice(name, configs.keys().map(String::as_str), "known are");
            let message = format!("{} has no config {name}", recipe.name);
            report.error(
                Reason::InvalidConfig,
                &join(asked.field, "connector.config"),
                message,
                advice,
            );
        }
        let own = recipe.spec.schema(asked.role).cloned().map(Value::Object);
        let errors = report.errors();
        let types = native.or(own.as_ref()).unwrap_or(&Value::Null);
        let connection = self.expander().settings(asked.connection, types, &field, report);
        let layers = [
            configs.get("default"),
            chosen.and_then(|name| configs.get(name)),
            Some(&connection),
        ];
        let merged = merge(layers.into_iter().flatten());
        // Also what the environment filled in: a plan is no place for a secret either.
        refuse_secrets(&connection, &field, report);
        // What an unset variable leaves behind would only be told about twice.
        if report.errors() == errors {
            let schemas: Vec<&Value> = own
                .iter()
                .chain(native.filter(|_| !recipe.is_builtin()))
                .collect();
            check(&merged, &schemas, &field, recipe, report);
        }
        merged
    }

    /// The settings that lie over the connection. Of a plugin they are its own matter.
    fn options(
        &self,
        asked: &Asked<'_>,
        recipe: &Recipe,
        native: Option<Value>,
        report: &mut Report<'_>,
    ) -> Settings {
        let field = join(asked.field, "options");
        let schema = native.map(|schema| options_schema(schema, asked.role));
        let errors = report.errors();
        let types = schema.as_ref().unwrap_or(&Value::Null);
        let options = self.expander().settings(asked.options, types, &field, report);
        refuse_secrets(&options, &field, report);
        if report.errors() == errors {
            check(&options, schema.as_slice(), &field, recipe, report);
        }
        options
    }

    /// What the worker itself takes for a type of system, whatever a Connector of that type says of it.
    fn native_schema(&self, role: Role, recipe: &Recipe) -> Option<Value> {
        let of_type = |one: &&Connector| one.metadata.name.as_ref() == Some(&recipe.spec.type_);
        let builtin = self.recipes.iter().find(of_type)?;
        builtin.spec.schema(role).cloned().map(Value::Object)
    }
}

/// Of the options none is needed, and a destination also says which columns are added.
fn options_schema(mut schema: Value, role: Role) -> Value {
    let Some(rules) = schema.as_object_mut() else {
        return schema;
    };
    rules.retain(|key, _| !matches!(key.as_str(), "required" | "allOf" | "anyOf"));
    // A connector with nothing to set has no properties at all.
    let properties = rules.entry("properties").or_insert_with(|| json!({}));
    if role == Role::Destination
        && let Some(properties) = properties.as_object_mut()
    {
        properties.extend(ADDED_COLUMNS.map(|name| (name.to_owned(), json!({ "type": "boolean" }))));
    }
    schema
}

impl Recipe {
    fn is_builtin(&self) -> bool {
        self.origin == RecipeOrigin::BuiltIn
    }

    /// What stands in for a recipe where a custom reader or writer stands alone.
    fn of_plugin() -> Self {
        let spec = ConnectorSpec {
            type_: "plugin".to_owned(),
            description: None,
            roles: vec![Role::Source, Role::Destination],
            default_engine: None,
            engines: None,
            configs: std::collections::BTreeMap::new(),
            credentials: Vec::new(),
            rate_limit: None,
            config_schema: None,
            destination_config_schema: None,
        };
        Self {
            name: "plugin".to_owned(),
            origin: RecipeOrigin::BuiltIn,
            spec,
        }
    }
}

fn name_field(asked: &Asked<'_>) -> String {
    join(asked.field, "connector.name")
}

fn names(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

fn validator(schema: &Value) -> Result<Validator, String> {
    let options = jsonschema::options().should_validate_formats(true);
    let options = options.with_format(TEMPLATE, |text: &str| text.parse::<Template>().is_ok());
    options.build(schema).map_err(|error| error.to_string())
}

/// Checks settings; a finding never shows a value, which may come from the environment.
fn check(
    settings: &Settings,
    schemas: &[impl std::borrow::Borrow<Value>],
    field: &str,
    recipe: &Recipe,
    report: &mut Report<'_>,
) {
    let value = Value::Object(settings.clone());
    let mut told: Vec<Finding> = Vec::new();
    for schema in schemas.iter().map(std::borrow::Borrow::borrow) {
        let Ok(validator) = validator(schema) else {
            let message = format!("the configSchema of {} is not a JSON Schema", recipe.name);
            return report.error(Reason::InvalidConfig, field, message, "mend the Connector");
        };
        for found in findings(&validator, schema, &value, field, Show::Nothing) {
            if !told.iter().any(|known| known.path == found.path) {
                told.push(found);
            }
        }
    }
    for found in told {
        report.error(Reason::InvalidConfig, &found.path, found.message, found.advice);
    }
}
