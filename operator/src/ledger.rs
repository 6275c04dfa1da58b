//! The ledger of a Flow where it lies: read, born, written by compare-and-swap.
//!
//! In: the `ConfigMap` of triggers. Out: the ledger and the operator's notes on the clock, and how to write both in one
//! step. Everything that starts a run is written here before it is done, so that a crash repeats nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use millrace_crds::{
    channel::{LEDGER_KEY, REPORT, Report, RunReport, StreamStand, TRIGGERS, report_ordinal, to_text},
    ledger::{Annotated, Ledger},
};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::apply::{make, read, replace};
use crate::build::channel;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::owner::Owner;

/// The annotation that holds the operator's notes on the clock.
const CLOCK: &str = "millrace.dev/clock";

/// The most workers that one Flow has.
const WORKERS: usize = 100;

/// What the operator notes of a Flow's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Clock {
    /// The schedule and its zone, or that the Flow is suspended: what these notes hold for.
    pub of: String,
    /// Since when: ticks before that are none.
    pub since: Timestamp,
    /// The plan by which the first load was last begun, as a hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// The plan by which the last run was begun, as a hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// A ledger as it was read.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The ledger.
    pub ledger: Ledger,
    /// The notes on the clock.
    pub clock: Option<Clock>,
    map: ConfigMap,
}

impl Kept {
    fn of(map: ConfigMap) -> Result<Self> {
        let text = map.data.as_ref().and_then(|data| data.get(LEDGER_KEY));
        let unreadable =
            |why: String| Error::content(format!("ConfigMap {}: {LEDGER_KEY}", map.name_any()), why);
        let text = text.ok_or_else(|| unreadable("is not there".to_owned()))?;
        let ledger = serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))?;
        let clock = map.annotations().get(CLOCK);
        let clock = clock.and_then(|text| serde_json::from_str(text).ok());
        Ok(Self { ledger, clock, map })
    }

    /// Writes the ledger and the notes, if they say something new and nobody has written meanwhile.
    ///
    /// # Errors
    /// [`Error::Changed`] where somebody has, and where the API server does not answer.
    pub async fn write(&mut self, context: &Context, ledger: Ledger, clock: Option<Clock>) -> Result<()> {
        if ledger == self.ledger && clock == self.clock {
            return Ok(());
        }
        let mut map = self.map.clone();
        let text = to_text(&ledger).map_err(|error| Error::content(map.name_any(), error))?;
        map.data
            .get_or_insert_default()
            .insert(LEDGER_KEY.to_owned(), text);
        if let Some(clock) = &clock {
            let text = serde_json::to_string(clock).map_err(|error| Error::content(map.name_any(), error))?;
            map.annotations_mut().insert(CLOCK.to_owned(), text);
        }
        self.map = replace(context, &map).await?;
        (self.ledger, self.clock) = (ledger, clock);
        Ok(())
    }
}

/// The ledger of an owner, if it is there.
///
/// # Errors
/// Where it cannot be read.
pub async fn find(context: &Context, owner: &Owner) -> Result<Option<Kept>> {
    let map = read::<ConfigMap>(context, &owner.namespace, &owner.child(TRIGGERS)).await?;
    map.map(Kept::of).transpose()
}

/// The ledger of an owner, born where there is none: what is annotated then is not run. Runs go on from the last that
/// is known of, so that a ledger which somebody has deleted gives no run a number twice.
///
/// # Errors
/// Where it cannot be read or made.
pub async fn open(context: &Context, owner: &Owner, annotated: &[Annotated]) -> Result<Kept> {
    if let Some(kept) = find(context, owner).await? {
        return Ok(kept);
    }
    let report = read::<ConfigMap>(context, &owner.namespace, &owner.child(REPORT)).await?;
    let reports = report.as_ref().map(reports).unwrap_or_default();
    let last = reports.iter().filter_map(|report| report.runs.keys().next_back());
    let ledger = Ledger {
        runs: last.max().copied().unwrap_or_default(),
        ..Ledger::born(annotated, context.now())
    };
    let text = to_text(&ledger).map_err(|error| Error::content(owner.child(TRIGGERS), error))?;
    Kept::of(make(context, &channel::triggers(owner, text)).await?)
}

/// The reports in their `ConfigMap`, in the order of their ordinals; one that is missing or cannot be read is empty.
#[must_use]
pub fn reports(map: &ConfigMap) -> Vec<Report> {
    let mut found: Vec<Report> = Vec::new();
    for (key, text) in map.data.iter().flatten() {
        let ordinal = report_ordinal(key).and_then(|ordinal| usize::try_from(ordinal).ok());
        let Some(ordinal) = ordinal.filter(|ordinal| *ordinal < WORKERS) else {
            continue;
        };
        match serde_json::from_str(text) {
            Ok(report) => {
                found.resize(found.len().max(ordinal + 1), Report::default());
                found[ordinal] = report;
            }
            Err(error) => warn!(map = map.name_any(), key, %error, "a report cannot be read"),
        }
    }
    found
}

/// A run, as its pods tell; over once all of them are.
#[must_use]
pub fn told(reports: &[Report], run: u64, pods: u32) -> Option<RunReport> {
    let of = |ordinal: u32| reports.get(usize::try_from(ordinal).ok()?)?.runs.get(&run);
    let told: Vec<Option<&RunReport>> = (0..pods.max(1)).map(of).collect();
    RunReport::shared(&told)
}

/// What the pods of a Batch Flow tell, as one: the first one's report, with the runs that several pods shared as a whole,
/// and each stream as whoever had it last left it.
#[must_use]
pub fn as_one(reports: &[Report], ledger: &Ledger) -> Option<Report> {
    let mut one = reports.first()?.clone();
    let runs = reports.iter().flat_map(|report| report.runs.keys().copied());
    for run in runs {
        let pods = ledger.pods(run);
        if pods > 1 {
            one.runs.extend(told(reports, run, pods).map(|told| (run, told)));
        }
    }
    one.streams = streams(reports).cloned().collect();
    Some(one)
}

/// The streams of all pods by name, each as whoever had it last left it: the streams are dealt anew where the number of
/// pods changes.
pub fn streams(reports: &[Report]) -> impl Iterator<Item = &StreamStand> {
    let newest = |stand: &StreamStand| {
        (
            stand.generation,
            stand.epoch,
            stand.last_full_load,
            stand.last_delta_load,
        )
    };
    let mut by_name: BTreeMap<&str, &StreamStand> = BTreeMap::new();
    for stand in reports.iter().flat_map(|report| &report.streams) {
        let known = by_name.entry(&stand.name).or_insert(stand);
        if newest(stand) > newest(known) {
            *known = stand;
        }
    }
    by_name.into_values()
}
