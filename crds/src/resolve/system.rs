//! A system to talk to, at either end: its recipe, engine, merged configuration and credentials.

use std::path::Path;

use jsonschema::Validator;
use serde_json::Value;

use crate::Connector;
use crate::common::{ConnectorRef, CredentialRef, Settings};
use crate::connector::{ConnectorSpec, Role};
use crate::explain::{Show, TEMPLATE, findings};
use crate::plan::{RateLimit, SystemPlan};
use crate::problem::{Place, Reason, Report, below, join};
use crate::resources::base_dir;
use crate::source::RecipeOrigin;
use crate::suggest;
use crate::template::Template;

use super::engine::{self, each};
use super::settings::{Expander, merge, refuse_secrets};
use super::{Resolver, credentials};

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
    if let Some(schema) = &spec.config_schema
        && let Err(error) = validator(&Value::Object(schema.clone()))
    {
        let message = format!("is not a JSON Schema: {error}");
        report.error(Reason::InvalidSpec, "spec.configSchema", message, "");
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
        let connection = self.connection(asked, &recipe, report);
        let options_field = join(asked.field, "options");
        let options = self
            .expander()
            .settings(asked.options, &Value::Null, &options_field, report);
        refuse_secrets(&options, &options_field, report);
        let credentials = self.credentials(
            &credentials::Given {
                namespace: asked.namespace,
                owner: &recipe.name,
                asked: &recipe.spec.credentials,
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
    fn connection(&self, asked: &Asked<'_>, recipe: &Recipe, report: &mut Report<'_>) -> Settings {
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
        let schema = recipe
            .spec
            .config_schema
            .clone()
            .map_or(Value::Null, Value::Object);
        let errors = report.errors();
        let connection = self
            .expander()
            .settings(asked.connection, &schema, &field, report);
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
            check(&merged, &schema, &field, recipe, report);
        }
        merged
    }
}

impl Recipe {
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
            capabilities: None,
            rate_limit: None,
            config_schema: None,
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

/// Checks merged settings; a finding never shows a value, which may come from the environment.
fn check(settings: &Settings, schema: &Value, field: &str, recipe: &Recipe, report: &mut Report<'_>) {
    let Ok(validator) = validator(if schema.is_null() {
        &Value::Bool(true)
    } else {
        schema
    }) else {
        let message = format!("the configSchema of {} is not a JSON Schema", recipe.name);
        return report.error(Reason::InvalidConfig, field, message, "mend the Connector");
    };
    let value = Value::Object(settings.clone());
    for found in findings(&validator, schema, &value, field, Show::Nothing) {
        report.error(Reason::InvalidConfig, &found.path, found.message, found.advice);
    }
}
