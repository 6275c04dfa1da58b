//! `millrace run --watch`: goes on, and does what intervals, schedules, triggers and Jobs ask for.
//!
//! In: manifests, read again whenever they change. Out: a follower for each Flow, told of each change; at the end, what
//! became of all. Manifests that are wrong after a change are told, and those from before stay in force.

mod files;
mod follow;
mod take;
mod tally;
mod unit;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{
    StreamExt,
    future::{FutureExt, LocalBoxFuture},
    stream::FuturesUnordered,
};
use tokio::sync::{Semaphore, watch};

pub(super) use self::{files::Files, tally::Closing};
use self::{
    follow::{Shared, follow},
    tally::Tally,
    unit::Unit,
};
use super::{
    closing,
    display::Display,
    exit::Exit,
    manifests::{self, Loaded},
    out, place,
    run::RunArgs,
    signals,
};
use crate::{
    engine::drain::Drain,
    error::{Error, Result},
};

/// Watches until a signal comes, or newer workers have taken all Flows over; `files`: as they were before `loaded` was read.
///
/// # Errors
/// `config` where a Flow cannot be opened as things are.
pub(super) async fn run(args: RunArgs, mut files: Files, loaded: Loaded, drain: Drain) -> Result<Exit> {
    let units = unit::all(&loaded, &args);
    check(&loaded, &units, &args.request(&drain).streams).await?;
    let to_stderr = units
        .iter()
        .any(|unit| unit.plan.destination.system.type_ == "stdout");
    let places: BTreeSet<String> = units
        .iter()
        .filter_map(|unit| place::of(&unit.plan).ok())
        .collect();
    places
        .iter()
        .for_each(|place| out::note(format_args!("state: {place}")));
    let shared = Arc::new(Shared {
        request: args.request(&drain),
        display: Display::new(),
        slots: Semaphore::new(args.parallel()),
        tally: Tally::new(args.output, to_stderr),
    });
    files.also(&loaded);
    let mut followers = Followers {
        shared: shared.clone(),
        args,
        files,
        flows: BTreeMap::new(),
        fenced: BTreeSet::new(),
        tasks: FuturesUnordered::new(),
    };
    followers.update(units);
    let display = shared.display.clone();
    tokio::select! {
        () = followers.watch(&drain) => {}
        signal = signals::listen(&drain) => return Ok(Exit::Aborted(signal?)),
        never = display.draw() => match never {},
    }
    drop(followers);
    let shared = Arc::into_inner(shared).ok_or_else(|| Error::bug("a follower outlived the watch"))?;
    closing::close_watch(shared.tally.close())
}

/// What is wrong from the start is wrong for a person at the keyboard: it is not waited for.
async fn check(loaded: &Loaded, units: &[Arc<Unit>], streams: &[String]) -> Result<()> {
    let mut missing = streams.to_vec();
    for unit in units {
        let mut flow = loaded.open(&unit.plan).await?;
        flow.prepare().await?;
        flow.require()?;
        if !missing.is_empty() {
            let there = flow.streams(&[]).await?;
            missing.retain(|name| !there.iter().any(|stream| stream.name == *name));
        }
    }
    match missing.first() {
        None => Ok(()),
        Some(name) => Err(Error::config(format!("no Flow has a stream `{name}`"))
            .reason("UnknownStream")
            .advice("`millrace discover` lists the streams")),
    }
}

struct Followers {
    shared: Arc<Shared>,
    args: RunArgs,
    files: Files,
    /// What each follower is told, by the name of its Flow.
    flows: BTreeMap<String, watch::Sender<Option<Arc<Unit>>>>,
    /// Flows that newer workers have taken over: they are never taken back.
    fenced: BTreeSet<String>,
    /// The followers at work; each ends with its Flow's name, and whether it was fenced.
    tasks: FuturesUnordered<LocalBoxFuture<'static, (String, bool)>>,
}

impl Followers {
    /// Watches the manifests until all followers have ended.
    async fn watch(&mut self, drain: &Drain) {
        while !self.is_over(drain) {
            tokio::select! {
                () = drain.wait(), if !drain.asked() => {}
                Some((name, fenced)) = self.tasks.next() => {
                    if fenced {
                        self.fenced.insert(name);
                    }
                }
                () = self.files.changed(), if !drain.asked() => self.read(),
            }
        }
    }

    fn is_over(&self, drain: &Drain) -> bool {
        let nothing_left = !self.flows.is_empty() && self.flows.keys().all(|name| self.fenced.contains(name));
        self.tasks.is_empty() && (drain.asked() || nothing_left)
    }

    /// Reads the manifests again.
    fn read(&mut self) {
        match manifests::load(&self.args.manifests.paths) {
            Ok(loaded) => {
                out::note("the manifests have changed");
                self.files.also(&loaded);
                let units = unit::all(&loaded, &self.args);
                self.update(units);
            }
            Err(error) => out::error(format_args!("{error}; what was read before stays in force")),
        }
    }

    /// Tells each follower what there is of its Flow, and begins to follow those that are new.
    fn update(&mut self, units: Vec<Arc<Unit>>) {
        let names: Vec<String> = units.iter().map(|unit| unit.name()).collect();
        for (name, flow) in &self.flows {
            if !names.contains(name) && flow.send_replace(None).is_some() {
                out::note(format_args!(
                    "{name} is gone from the manifests: it is no longer run"
                ));
            }
        }
        for (name, unit) in names.into_iter().zip(units) {
            match self.flows.get(&name) {
                Some(flow) if !flow.is_closed() => {
                    flow.send_replace(Some(unit));
                }
                _ if self.fenced.contains(&name) => {}
                _ => self.follow(name, unit),
            }
        }
    }

    fn follow(&mut self, name: String, unit: Arc<Unit>) {
        let (flow, updates) = watch::channel(Some(unit));
        self.flows.insert(name.clone(), flow);
        let work = follow(self.shared.clone(), updates);
        self.tasks.push(async move { (name, work.await) }.boxed_local());
    }
}
