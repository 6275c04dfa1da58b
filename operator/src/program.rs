//! The program: `run` and `crd`.
//!
//! In: arguments and environment. Out: the operator at work until it is asked to stop or no longer leads; or the custom
//! resource definitions on standard output.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use jiff::Timestamp;
use kube::{Client, Config};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

use crate::context::Context;
use crate::error::chain;
use crate::leader::Lease;
use crate::serve::Missing;
use crate::settings::Settings;
use crate::{controllers, leader, serve};

/// Makes the Millrace resources of a cluster into running workers.
#[derive(Debug, Parser)]
#[command(name = "millrace-operator", version, about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the resources of a cluster until a signal says to stop.
    Run,
    /// Print the custom resource definitions as YAML.
    Crd,
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Run => run(),
        Command::Crd => crd(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// The stack of a thread, in bytes: the objects of Kubernetes are large.
const STACK: usize = 4 << 20;

type Failure = Box<dyn std::error::Error>;

fn crd() -> Result<(), Failure> {
    for definition in millrace_crds::crds() {
        print!("---\n{}", serde_saphyr::to_string(&definition)?);
    }
    Ok(())
}

fn run() -> Result<(), Failure> {
    log();
    let settings = Settings::read(|name| std::env::var(name).ok())?;
    // Chosen here, since another crate may bring a second one along.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK)
        .build()?
        .block_on(operate(settings))
}

fn log() {
    let filter = std::env::var("MILLRACE_LOG").unwrap_or_else(|_| "info,kube=warn".to_owned());
    let filter = EnvFilter::new(filter);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match std::env::var("MILLRACE_LOG_FORMAT").as_deref() {
        Ok("json") => lines.json().init(),
        _ => lines.init(),
    }
}

async fn operate(settings: Settings) -> Result<(), Failure> {
    let mut config = Config::infer().await?;
    config.connect_timeout = Some(std::time::Duration::from_secs(10));
    let client = Client::try_from(config)?;
    let context = Arc::new(Context::new(client, settings, Arc::new(Timestamp::now)));
    let missing = Arc::new(Missing::default());
    info!(version = env!("CARGO_PKG_VERSION"), namespaces = ?context.settings.namespaces, "starting");
    let serving = serve::serve(context.clone(), missing.clone());
    tokio::select! {
        done = serving => done.map_err(Into::into),
        done = work(context, missing) => done,
    }
}

/// Waits to lead, and then works until another does, or a signal says to stop.
async fn work(context: Arc<Context>, missing: Arc<Missing>) -> Result<(), Failure> {
    let mut lease = tokio::select! {
        lease = lead(&context, &missing) => lease?,
        done = signal() => return done.map_err(Into::into),
    };
    context.metrics.leads(true);
    let lost = async {
        match &mut lease {
            Some(lease) => lease.lost().await,
            None => std::future::pending().await,
        }
    };
    // What is broken off here is broken off as by a crash: every step can be.
    let done = tokio::select! {
        () = controllers::run(context.clone()) => Err("the controllers have ended"),
        () = lost => Err("another operator leads"),
        done = signal() => { done?; info!("asked to stop"); Ok(()) }
    };
    if let Some(lease) = lease {
        lease.release().await;
    }
    done.map_err(|why| {
        error!("{why}; this one ends, and starts anew as a follower");
        why.into()
    })
}

/// Waits for all that is needed, and to lead; `None`: nobody asks who leads.
async fn lead(context: &Arc<Context>, missing: &Missing) -> Result<Option<Lease>, Failure> {
    controllers::wait_for_kinds(context, missing).await;
    match context.settings.leader_election {
        true => leader::acquire(context).await.map(Some),
        false => Ok(None),
    }
}

async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
