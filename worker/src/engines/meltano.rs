//! `meltano`: a tap or a target as a Meltano project declares it.
//!
//! In: the directory of a project, and the name of a plugin. Out: one like any other ([`super::singer`]): its program is the
//! one that Meltano installed, its configuration what Meltano makes of the project, its environments and `.env`, with what the
//! Source says over it. What it keeps secret is hidden as credentials are.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::{process::Command, sync::OnceCell};

use super::{Engine, child::Program, messages::config, singer};
use crate::{
    connector::System,
    error::{Error, Result},
    secrets::{Learned, Mask},
};

/// What is part of the names of secret settings and variables.
const SECRET: [&str; 6] = ["password", "passwd", "secret", "token", "api_key", "private_key"];

/// The table's line.
pub(super) const ENGINE: Engine = Engine {
    name: "meltano",
    source: Some(|system| Ok(singer::source(plugin(system, Kind::Extractor)?))),
    destination: Some(|system| Ok(singer::destination(plugin(system, Kind::Loader)?))),
};

/// What a plugin is to its project.
#[derive(Clone, Copy)]
enum Kind {
    Extractor,
    Loader,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Extractor => "extractor",
            Self::Loader => "loader",
        }
    }
}

fn plugin(system: System, kind: Kind) -> Result<Plugin> {
    let text = |key: &str| {
        let value = system.plan.engine_config.get(key).and_then(Value::as_str);
        value
            .map(str::to_owned)
            .ok_or_else(|| Error::config(format!("engines.meltano.{key} is missing")))
    };
    let base = Path::new(system.plan.base_dir.as_deref().unwrap_or("."));
    let project = std::path::absolute(base.join(text("project")?))?;
    let plugin = text("plugin")?;
    Ok(Plugin {
        project,
        plugin,
        kind,
        system,
        found: OnceCell::new(),
        learned: Learned::default(),
    })
}

/// A plugin of a project.
struct Plugin {
    project: PathBuf,
    plugin: String,
    kind: Kind,
    system: System,
    found: OnceCell<Found>,
    learned: Learned,
}

/// What Meltano makes of it.
struct Found {
    program: PathBuf,
    config: Map<String, Value>,
}

impl Plugin {
    async fn found(&self) -> Result<&Found> {
        self.found.get_or_try_init(|| self.find()).await
    }

    async fn find(&self) -> Result<Found> {
        let manifest = self.project.join("meltano.yml");
        if !manifest.exists() {
            return Err(Error::config(format!("there is no {}", manifest.display()))
                .advice("`project` is the directory of a Meltano project"));
        }
        self.learn_variables();
        let programs = self
            .project
            .join(format!(".meltano/{}s", self.kind.name()))
            .join(&self.plugin)
            .join("venv/bin");
        if !programs.is_dir() {
            self.meltano(&["install", self.kind.name(), &self.plugin]).await?;
        }
        let config = self.meltano(&["invoke", "--dump=config", &self.plugin]).await?;
        let start = config.find('{').unwrap_or_default();
        let config: Map<String, Value> = serde_json::from_str(&config[start..]).map_err(|error| {
            Error::bug(format!(
                "meltano gave no configuration of {}: {error}",
                self.plugin
            ))
        })?;
        for (name, value) in &config {
            self.learn(name, value.as_str().unwrap_or_default());
        }
        Ok(Found {
            program: programs.join(self.executable(&manifest)?),
            config,
        })
    }

    /// Finds what is secret in the variables of the project, which Meltano reads by itself. A line that is none is Meltano's
    /// affair, and not quoted: it may hold a secret.
    fn learn_variables(&self) {
        let variables = dotenvy::from_path_iter(self.project.join(".env"));
        for (name, value) in variables.into_iter().flatten().flatten() {
            self.learn(&name, &value);
        }
    }

    /// Hides a value from now on, where its name or its form says that it is secret.
    fn learn(&self, name: &str, value: &str) {
        let name = name.to_ascii_lowercase();
        if SECRET.iter().any(|part| name.contains(part)) {
            self.learned.add(value.lines());
        }
        if let Ok(url) = url::Url::parse(value) {
            self.learned.add(url.password());
        }
    }

    /// The name of its program: what the project says, else its own.
    fn executable(&self, manifest: &Path) -> Result<String> {
        let text = std::fs::read_to_string(manifest)?;
        let project: Value = serde_saphyr::from_str(&text)
            .map_err(|error| Error::config(format!("{}: {error}", manifest.display())))?;
        let plugins = project["plugins"][format!("{}s", self.kind.name())].as_array();
        let named = |name: &str| plugins?.iter().find(|plugin| plugin["name"] == name);
        let mut plugin = named(&self.plugin).ok_or_else(|| {
            let names = plugins
                .into_iter()
                .flatten()
                .filter_map(|plugin| plugin["name"].as_str());
            Error::config(format!(
                "{} has no {} {}",
                manifest.display(),
                self.kind.name(),
                self.plugin
            ))
            .advice(format!("it has {}", names.collect::<Vec<_>>().join(", ")))
        })?;
        // One that is made from another runs what that one runs.
        for _ in 0..10 {
            let parent = plugin["inherit_from"].as_str();
            match (plugin["executable"].as_str(), parent.and_then(named)) {
                (Some(executable), _) => return Ok(executable.to_owned()),
                (None, Some(parent)) => plugin = parent,
                (None, None) => {
                    return Ok(parent
                        .or(plugin["name"].as_str())
                        .unwrap_or(&self.plugin)
                        .to_owned());
                }
            }
        }
        Err(Error::config(format!(
            "{}: {} is made from itself",
            manifest.display(),
            self.plugin
        )))
    }

    /// What Meltano prints.
    async fn meltano(&self, args: &[&str]) -> Result<String> {
        let program = std::env::var_os("MILLRACE_MELTANO").unwrap_or_else(|| "meltano".into());
        let output = Command::new(&program)
            .args(args)
            .current_dir(&self.project)
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| {
                Error::config(format!("`{}` cannot be run: {error}", program.to_string_lossy()))
                    .reason("ProgramMissing")
                    .advice("install Meltano, or set MILLRACE_MELTANO to its program")
            })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let errors = singer::Origin::mask(self)?.hide(&String::from_utf8_lossy(&output.stderr));
        let last: Vec<&str> = errors.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = last[last.len().saturating_sub(3)..].join(" | ");
        Err(Error::config(format!(
            "`meltano {}` failed: {last}",
            args.join(" ")
        )))
    }
}

#[async_trait]
impl singer::Origin for Plugin {
    fn system(&self) -> &System {
        &self.system
    }

    fn mask(&self) -> Result<Mask> {
        Ok(Mask::of(&self.system.secrets)?.and(self.learned.clone()))
    }

    async fn program(&self) -> Result<Program> {
        let found = self.found().await?;
        Ok(Program {
            name: self.plugin.clone(),
            program: found.program.clone().into_os_string(),
            directory: Some(self.project.clone()),
            ..Program::default()
        })
    }

    async fn config(&self) -> Result<Value> {
        let mut all = self.found().await?.config.clone();
        if let Value::Object(own) = config(&self.system)? {
            all.extend(own);
        }
        Ok(Value::Object(all))
    }
}
