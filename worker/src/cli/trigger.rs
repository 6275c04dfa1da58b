//! `millrace trigger`: asks for a load of the Flows that a Connector, a Source or a Flow stands for.
//!
//! In: an object of the manifests, and what to load. Out: a new token in the ledger of each Flow concerned. The manifest
//! is a person's and is never edited, so the token goes straight to the ledger, where an annotation's would go too: a
//! `millrace run --watch` at work takes it within a second, and the next one where none is.

use clap::Args;
use jiff::Timestamp;
use millrace_crds::triggers::{self, PREFIX, Trigger};

use super::{
    annotated,
    exit::Exit,
    manifests::{self, Manifests, full_name},
    out,
    place::StateArgs,
};
use crate::{
    engine::ledger::Books,
    error::{Error, Result},
};

/// The options of `millrace trigger`.
#[derive(Args, Clone, Debug)]
pub(super) struct TriggerArgs {
    /// What to load again: connector/NAME, source/NAME or flow/NAME
    #[arg(value_name = "KIND/NAME")]
    object: String,
    /// full_load, delta_load, full_load_TABLE or delta_load_TABLE
    #[arg(value_name = "LOAD")]
    load: String,
    #[command(flatten)]
    manifests: Manifests,
    /// These tables only, by exact name
    #[arg(long, value_delimiter = ',', value_name = "NAME,NAME")]
    tables: Vec<String>,
    /// Let the full load delete more than maxDeleteFraction, this once
    #[arg(long)]
    allow_deletes: bool,
    #[command(flatten)]
    state: StateArgs,
}

/// Posts the token.
///
/// # Errors
/// `config` where there is no such object, load or Flow; what the state store says.
pub(super) async fn run(args: TriggerArgs) -> Result<Exit> {
    let loaded = manifests::load(&args.manifests.paths)?;
    let trigger = args.trigger()?;
    let (kind, name) = args
        .object
        .split_once('/')
        .ok_or_else(|| wrong_object(&args.object))?;
    let mut posted = 0;
    for plan in &loaded.resolution.plans {
        let objects = annotated::of(&loaded, plan);
        let Some(object) = objects.iter().find(|object| object.is(kind, name)) else {
            continue;
        };
        let mut plan = plan.clone();
        args.state.apply(&mut plan);
        let flow = loaded.open(&plan).await?;
        let books = Books::new(flow.store.clone(), &plan.state.id, &plan.flow.uid);
        books
            .change(
                &objects
                    .iter()
                    .map(|object| object.annotated.clone())
                    .collect::<Vec<_>>(),
                |ledger| {
                    ledger.wait(&object.annotated.object, trigger.clone(), Timestamp::now());
                },
            )
            .await?;
        posted += 1;
        out::line(format_args!(
            "{}: {} waits with token {}; state: {}",
            full_name(&plan),
            trigger.name,
            trigger.token,
            flow.store.place()
        ))?;
    }
    match posted {
        0 => Err(Error::config(format!(
            "no Flow of these manifests has to do with {}",
            args.object
        ))
        .advice("name a connector, source or flow that they declare")),
        _ => {
            out::note(
                "`millrace run --watch` takes it within a second where it is at work, and as it starts where it is not",
            );
            Ok(Exit::Done)
        }
    }
}

fn wrong_object(text: &str) -> Error {
    Error::config(format!("`{text}` names no object"))
        .advice("write connector/NAME, source/NAME or flow/NAME")
}

impl TriggerArgs {
    /// The same words as an annotation has, read by the same rules.
    fn trigger(&self) -> Result<Trigger> {
        let mut value = Timestamp::now().to_string();
        if !self.tables.is_empty() {
            value += &format!(";tables={}", self.tables.join(","));
        }
        if self.allow_deletes {
            value += ";allow-deletes";
        }
        let annotations = std::iter::once((format!("{PREFIX}{}", self.load), value)).collect();
        match triggers::parse(&annotations).pop() {
            Some(Ok(trigger)) => Ok(trigger),
            Some(Err(error)) => Err(Error::config(error.to_string().replace("annotation ", ""))),
            None => Err(Error::config(format!("`{}` is no load", self.load))
                .advice("write full_load, delta_load, full_load_TABLE or delta_load_TABLE")),
        }
    }
}
