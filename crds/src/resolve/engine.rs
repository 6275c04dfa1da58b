//! Which engine runs a connector, and with what settings.

use std::path::Path;

use serde_json::{Map, Value};

use crate::common::{Empty, Engine};
use crate::connector::{Engines, Role};
use crate::problem::{Reason, Report, join};
use crate::suggest;

use super::system::{Asked, Recipe};

/// The engines of a recipe and their settings, in the order of the type.
pub(super) fn each(engines: &Engines) -> Vec<(Engine, Map<String, Value>)> {
    let all = [
        (Engine::Native, settings_of(engines.native.as_ref())),
        (Engine::Python, settings_of(engines.python.as_ref())),
        (Engine::Library, settings_of(engines.library.as_ref())),
        (Engine::Airbyte, settings_of(engines.airbyte.as_ref())),
        (Engine::Singer, settings_of(engines.singer.as_ref())),
        (Engine::Meltano, settings_of(engines.meltano.as_ref())),
        (Engine::Adbc, settings_of(engines.adbc.as_ref())),
    ];
    all.into_iter()
        .filter_map(|(engine, settings)| settings.map(|settings| (engine, settings)))
        .collect()
}

fn settings_of(engine: Option<&impl serde::Serialize>) -> Option<Map<String, Value>> {
    engine.map(|engine| match serde_json::to_value(engine) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    })
}

/// The engine that runs, and its settings.
pub(super) fn choose(
    asked: &Asked<'_>,
    recipe: &Recipe,
    report: &mut Report<'_>,
) -> Option<(Engine, Map<String, Value>)> {
    let native = Engines {
        native: Some(Empty {}),
        ..Engines::default()
    };
    let engines = each(recipe.spec.engines.as_ref().unwrap_or(&native));
    if let Some(plugin) = asked.plugin {
        return plugin_engine(asked, plugin, engines, report);
    }
    let only = || (engines.len() == 1).then(|| engines[0].0);
    let chosen = asked.connector.and_then(|connector| connector.engine);
    let wanted = chosen
        .or(recipe.spec.default_engine)
        .or_else(only)
        .unwrap_or(Engine::Native);
    let Some(found) = engines.iter().find(|(engine, _)| *engine == wanted) else {
        let known: Vec<&str> = engines.iter().map(|(engine, _)| engine.name()).collect();
        let message = format!("{} has no engine {}", recipe.name, wanted.name());
        let advice = format!("write {}", suggest::list(&known, "or"));
        report.error(
            Reason::Unsupported,
            &join(asked.field, "connector.engine"),
            message,
            advice,
        );
        return None;
    };
    let part = if asked.role == Role::Source {
        "reader"
    } else {
        "writer"
    };
    if matches!(wanted, Engine::Python | Engine::Library) && !found.1.contains_key(part) {
        let message = format!("the engine {} of {} has no {part}", wanted.name(), recipe.name);
        let advice = format!("choose another engine, or write {part} here");
        report.error(
            Reason::Unsupported,
            &join(asked.field, "connector.engine"),
            message,
            advice,
        );
    }
    Some(found.clone())
}

/// A plugin of its own runs by what its name says; of the recipe's engine only what is not about the
/// recipe's own plugin applies.
fn plugin_engine(
    asked: &Asked<'_>,
    plugin: &str,
    engines: Vec<(Engine, Map<String, Value>)>,
    report: &mut Report<'_>,
) -> Option<(Engine, Map<String, Value>)> {
    let (path, symbol) = plugin.rsplit_once(':').unwrap_or((plugin, ""));
    let extension = Path::new(path)
        .extension()
        .and_then(|extension| extension.to_str());
    let engine = match extension {
        Some("py") => Some(Engine::Python),
        Some("so" | "dylib") => Some(Engine::Library),
        _ => None,
    };
    let is_identifier = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    // `package.module:Class` is one that is installed.
    let installed = path.split('.').all(is_identifier).then_some(Engine::Python);
    let Some(engine) = engine.or(installed).filter(|_| is_identifier(symbol)) else {
        let field = join(
            asked.field,
            if asked.role == Role::Source {
                "reader"
            } else {
                "writer"
            },
        );
        let message = format!("\"{plugin}\" names no plugin");
        report.error(
            Reason::InvalidSpec,
            &field,
            message,
            "write MODULE.py:Class, package.module:Class or LIBRARY.so:symbol",
        );
        return None;
    };
    let mut settings = engines
        .into_iter()
        .find(|(one, _)| *one == engine)
        .map(|(_, settings)| settings)
        .unwrap_or_default();
    settings.retain(|key, _| !matches!(key.as_str(), "reader" | "writer" | "sha256"));
    Some((engine, settings))
}
