//! The command line of `millrace`: one command a file.
//!
//! In: arguments. Out: results on standard output (tables for people, JSON for programs), log lines and sentences on
//! standard error, and an exit code: 0 done, 1 a stream failed, 2 something written by a person is wrong and nothing
//! was read, 3 the state needs a person, 4 a signal ended the run early, 77 a newer worker took over.

mod annotated;
mod closing;
mod connectors;
mod discover;
mod display;
mod exit;
mod failpoints;
mod files;
mod human;
mod init;
mod log;
mod manifests;
mod out;
mod place;
mod preview;
mod refusal;
mod remote;
mod run;
mod schema;
mod signals;
mod state;
mod status;
mod trigger;
mod validate;
mod watch;
mod worker;
mod yaml;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::exit::Exit;
use crate::{error::Result, plugin_host};

/// Moves data from sources to destinations, exactly once, as manifests declare it.
#[derive(Parser)]
#[command(name = "millrace", version, propagate_version = true, after_long_help = exit::HELP, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the Flows and Jobs of manifests
    #[command(after_long_help = exit::HELP)]
    Run(Box<run::RunArgs>),
    /// Write a manifest to start from, with rows that it reads
    Init(init::InitArgs),
    /// Check manifests, and with --connect the systems that they name
    Validate(validate::ValidateArgs),
    /// Ask Sources for their streams and schemas, as a `streams:` block to paste
    Discover(discover::DiscoverArgs),
    /// Show the first rows of a stream
    Preview(preview::PreviewArgs),
    /// Show where each stream stands, what became of triggers, and when the next run is due
    Status(status::StatusArgs),
    /// Ask a `run --watch` for a load, by an annotation in the manifest
    Trigger(trigger::TriggerArgs),
    /// List the current files of a Flow, one path a line
    Files(files::FilesArgs),
    /// List the built-in connectors, or show one
    Connectors(connectors::ConnectorsArgs),
    /// Look at the state of a Flow, or change it
    State(state::StateCommand),
    /// Print the JSON Schema of all kinds, for editors
    Schema,
    /// Work in a pod, as the operator starts it
    #[command(hide = true, after_long_help = exit::HELP)]
    Worker(worker::WorkerArgs),
    /// Run a plugin, as the worker starts it
    #[command(hide = true)]
    PluginHost {
        /// What the plugin is
        kind: plugin_host::Kind,
    },
    /// List the places where a test can stop the program
    #[command(hide = true)]
    Failpoints,
}

/// Runs the program: reads the arguments, does what they ask, and says how it ended.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = log::init().and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let ended = runtime.block_on(dispatch(cli.command));
        // Lanes of an aborted load may still be at work; nobody waits for them.
        runtime.shutdown_background();
        ended
    });
    let exit = ended.unwrap_or_else(|error| {
        out::error(&error);
        Exit::of([&error], false)
    });
    exit.into()
}

async fn dispatch(command: Command) -> Result<Exit> {
    match command {
        Command::Run(args) => run::run(*args).await,
        Command::Init(args) => init::run(&args),
        Command::Discover(args) => discover::run(args).await,
        Command::Preview(args) => preview::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::Trigger(args) => trigger::run(args).await,
        Command::Validate(args) => validate::run(args).await,
        Command::Files(args) => files::run(args).await,
        Command::Connectors(args) => connectors::run(&args),
        Command::State(args) => state::run(args).await,
        Command::Worker(args) => worker::run(args).await,
        Command::PluginHost { kind } => plugin_host::serve(kind).map(|()| Exit::Done),
        Command::Schema => schema::run(),
        Command::Failpoints => failpoints::run(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_make_sense() {
        super::Cli::command().debug_assert();
    }
}
