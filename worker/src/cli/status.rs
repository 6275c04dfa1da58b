//! `millrace status`: where each stream stands, what became of triggers, and when the next run is due.
//!
//! In: manifests, and the state of their Flows; neither source nor destination is asked. Out: a table, or JSON of the
//! shape that a Flow's status has in a cluster.

mod remote;

use clap::Args;
use jiff::Timestamp;
use millrace_crds::{
    Plan,
    flow::TriggerState,
    ledger::{Entry, Ledger, run_id},
    plan::FlowRef,
    schedule::Schedule,
};
use serde_json::{Value, json};

use super::{
    closing::{Output, guarantee},
    exit::Exit,
    human,
    manifests::{self, Loaded, Manifests},
    out,
    place::StateArgs,
    remote::RemoteArgs,
    state::show::cell,
};
use crate::{
    engine::{
        flow::Flow,
        history::{self, Standing},
        ledger::Books,
    },
    error::Result,
};

/// The options of `millrace status`.
#[derive(Args, Clone, Debug)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    manifests: Manifests,
    #[command(flatten)]
    state: StateArgs,
    #[command(flatten)]
    remote: RemoteArgs,
    /// How it is written
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

struct Status {
    flow: Flow,
    streams: Vec<Standing>,
    ledger: Ledger,
    next: Option<Timestamp>,
    /// It has a schedule or an interval.
    timed: bool,
}

/// Looks and prints.
///
/// # Errors
/// What the state store says.
pub(super) async fn run(args: StatusArgs) -> Result<Exit> {
    if let Some(desk) = args.remote.open().await? {
        let found = remote::Remote::look(desk).await?;
        match args.output {
            Output::Json => out::json(&json!({ "flows": [found.as_json()] }))?,
            Output::Text => found.tell()?,
        }
        return Ok(Exit::Done);
    }
    let loaded = manifests::load(&args.manifests.paths)?;
    let mut found = Vec::new();
    for plan in &loaded.resolution.plans {
        let mut plan = plan.clone();
        args.state.apply(&mut plan);
        found.push(status(&loaded, &plan).await?);
    }
    match args.output {
        Output::Json => {
            out::json(&json!({ "flows": found.iter().map(Status::as_json).collect::<Vec<_>>() }))?;
        }
        Output::Text => found.iter().try_for_each(|status| out::line(status.text()))?,
    }
    Ok(Exit::Done)
}

async fn status(loaded: &Loaded, plan: &Plan) -> Result<Status> {
    let flow = loaded.open(plan).await?;
    let streams = history::standing(&flow).await?;
    let books = Books::new(flow.store.clone(), &plan.state.id, &plan.flow.uid);
    let schedule = Schedule::new(plan, history::last(&streams, &[]), Timestamp::now())?;
    let timed = schedule.is_timed() && !flow.is_continuous();
    let next = schedule.next().filter(|_| timed && !plan.run.suspend);
    Ok(Status {
        streams,
        ledger: books.read().await?.unwrap_or_default(),
        next,
        timed,
        flow,
    })
}

impl Status {
    fn text(&self) -> String {
        let mut lines = vec![format!(
            "{}: {:?}; state: {}",
            self.flow.name(),
            self.flow.guarantee(),
            self.flow.store.place()
        )];
        if self.flow.plan.run.suspend {
            lines.push("suspended: nothing starts".to_owned());
        }
        match self.next {
            Some(next) if next <= Timestamp::now() => {
                lines.push("a `run --watch` loads it at once".to_owned());
            }
            Some(next) => lines.push(format!("next load by a `run --watch`: {next:.0}")),
            None if self.flow.is_continuous() => {
                lines.push("continuous: loaded all the time while a run is at work".to_owned());
            }
            None if self.timed => lines.push("no load is planned".to_owned()),
            None => lines.push(
                "no schedule and no interval: it is loaded as a run starts, or by a trigger".to_owned(),
            ),
        }
        if self.streams.is_empty() {
            lines.push("nothing was loaded yet".to_owned());
        } else {
            lines.push(self.streams());
        }
        if !self.ledger.entries.is_empty() {
            lines.push(triggers(&self.ledger.entries));
        }
        lines.join("\n")
    }

    fn streams(&self) -> String {
        table(self.streams.iter().map(|stream| {
            let (generation, seq) = stream.at;
            (
                stream.name.clone(),
                format!("{generation}.{seq}"),
                stream.offset.as_ref().and_then(Standing::full),
                stream.offset.as_ref().and_then(Standing::delta),
                cell(&offset(stream)),
            )
        }))
    }

    fn as_json(&self) -> Value {
        let plan = &self.flow.plan;
        let stream = |stream: &Standing| {
            json!({
                "name": stream.name,
                "generation": stream.at.0,
                "commit": stream.at.1,
                "lastFullLoad": stream.offset.as_ref().and_then(Standing::full),
                "lastDeltaLoad": stream.offset.as_ref().and_then(Standing::delta),
                "watermark": offset(stream)["watermark"],
            })
        };
        json!({
            "name": plan.flow.name,
            "namespace": plan.flow.namespace,
            "deliveryGuarantee": guarantee(self.flow.guarantee()),
            "suspended": plan.run.suspend,
            "state": self.flow.store.place(),
            "streams": self.streams.iter().map(stream).collect::<Vec<_>>(),
            "triggers": self.ledger.entries.iter().map(|entry| trigger_json(entry, &plan.flow)).collect::<Vec<_>>(),
            "nextRun": self.next,
        })
    }
}

/// A row for each stream: its name, its commit, its last full and delta load, its watermark.
fn table(
    rows: impl Iterator<Item = (String, String, Option<Timestamp>, Option<Timestamp>, String)>,
) -> String {
    let mut table = out::table(&[
        "stream",
        "commit",
        "last full load",
        "last delta load",
        "watermark",
    ]);
    let time = |time: Option<Timestamp>| time.map(|time| format!("{time:.0}")).unwrap_or_default();
    for (name, commit, full, delta, watermark) in rows {
        table.add_row([name, commit, time(full), time(delta), watermark]);
    }
    table.trim_fmt()
}

/// A row for each token.
fn triggers(entries: &[Entry]) -> String {
    let mut table = out::table(&[
        "trigger",
        "on",
        "token",
        "state",
        "requested",
        "finished",
        "rows",
        "remark",
    ]);
    for entry in entries {
        table.add_row([
            entry.name.clone(),
            entry.object.clone(),
            entry.token.clone(),
            word(entry.state).to_owned(),
            format!("{:.0}", entry.requested_at),
            entry
                .finished_at
                .map(|time| format!("{time:.0}"))
                .unwrap_or_default(),
            entry.rows.map(human::count).unwrap_or_default(),
            entry.message.clone().unwrap_or_default(),
        ]);
    }
    table.trim_fmt()
}

fn trigger_json(entry: &Entry, flow: &FlowRef) -> Value {
    json!({
        "name": entry.name,
        "object": entry.object,
        "token": entry.token,
        "job": entry.run.map(|run| run_id(&flow.name, &flow.uid, run)),
        "state": entry.state,
        "requestedAt": entry.requested_at,
        "finishedAt": entry.finished_at,
        "rows": entry.rows,
        "message": entry.message,
    })
}

fn word(state: TriggerState) -> &'static str {
    match state {
        TriggerState::Initial => "Initial",
        TriggerState::Waiting => "Waiting",
        TriggerState::Running => "Running",
        TriggerState::Succeeded => "Succeeded",
        TriggerState::Failed => "Failed",
    }
}

fn offset(stream: &Standing) -> Value {
    serde_json::to_value(&stream.offset).unwrap_or_default()
}
