//! The program of a connector that is run as a command.

use millrace_crds::plan::SystemPlan;

use super::{child::Program, environment, image, python::strings};
use crate::{
    connector::System,
    error::{Error, Result},
};

/// The program that `engines.<engine>.command` names, with the packages that it needs; that of the image where the connector
/// has a container of its own.
///
/// # Errors
/// `config` where none is named, or a package cannot be installed.
pub(super) async fn program(system: &System) -> Result<Program> {
    if let Some(program) = image::program(system).await? {
        return Ok(program);
    }
    let plan = &system.plan;
    let python = environment::with(&strings(plan.engine_config.get("requirements"))).await?;
    let command = strings(plan.engine_config.get("command"));
    let Some((first, args)) = command.split_first() else {
        return Err(missing(plan));
    };
    let installed = python
        .programs
        .as_ref()
        .map(|programs| programs.join(first))
        .filter(|program| program.exists());
    let program = match installed {
        Some(program) => program.into_os_string(),
        None if first.contains('/') => at(plan, first),
        None => first.into(),
    };
    Ok(Program {
        name: called(&command),
        program,
        args: args.iter().map(Into::into).collect(),
        directory: plan.base_dir.as_ref().map(Into::into),
        ..Program::default()
    })
}

/// What people call a program: of an interpreter, the script that it runs.
fn called(command: &[String]) -> String {
    let name = |path: &String| path.rsplit('/').next().unwrap_or(path).to_owned();
    let first = command.first().map(name).unwrap_or_default();
    let script = command.iter().skip(1).find(|arg| !arg.starts_with('-'));
    match (first.starts_with("python"), script) {
        (true, Some(script)) => name(script),
        _ => first,
    }
}

/// A path is meant from the manifest.
fn at(plan: &SystemPlan, path: &str) -> std::ffi::OsString {
    let base = std::path::Path::new(plan.base_dir.as_deref().unwrap_or("."));
    let path = base.join(path);
    std::path::absolute(&path).unwrap_or(path).into_os_string()
}

fn missing(plan: &SystemPlan) -> Error {
    let error = Error::config(format!(
        "the engine {} of {} names no command",
        plan.engine, plan.connector
    ));
    match plan.engine_config.contains_key("image") {
        true => error.advice(format!(
            "an image runs in a cluster; write `engines.{}.command` for runs at a desk",
            plan.engine
        )),
        false => error.advice(format!("write `engines.{}.command`", plan.engine)),
    }
}
