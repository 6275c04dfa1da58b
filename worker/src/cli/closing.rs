//! The end of a run: JSON for programs; on a terminal a table, and a sentence for each failure. Elsewhere the log lines
//! have told it, each stream as it ended.

use std::io::IsTerminal;

use comfy_table::CellAlignment;
use millrace_crds::flow::DeliveryGuarantee;
use serde_json::{Map, Value, json};

use super::{exit::Exit, human, log, out, watch::Closing};
use crate::{
    engine::{
        counts::Counts,
        flow::{LEFT_OUT, Report, StreamReport},
    },
    error::{Error, Result},
};

/// How one Flow's or Job's part of a run ended.
pub(super) struct Ended {
    /// The Flow's namespace.
    pub(super) namespace: String,
    /// The Flow's name.
    pub(super) flow: String,
    /// The Job that ran it, where one did.
    pub(super) job: Option<String>,
    /// Nothing was asked of it: it is suspended, or the end was asked for first.
    pub(super) skipped: Option<&'static str>,
    /// What became of it; `None` where it was skipped.
    pub(super) result: Option<Result<Report>>,
}

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// Why a Flow did not begin.
pub(super) const INTERRUPTED: &str = "interrupted";

impl Ended {
    fn streams(&self) -> &[StreamReport] {
        match &self.result {
            Some(Ok(report)) => &report.streams,
            _ => &[],
        }
    }

    fn title(&self) -> String {
        self.job
            .as_ref()
            .map_or_else(|| self.flow.clone(), |job| format!("{} (Job {job})", self.flow))
    }

    /// Each failure: where, and what.
    fn failures(&self) -> Vec<(String, &Error)> {
        let title = self.title();
        if let Some(Err(error)) = &self.result {
            return vec![(title, error)];
        }
        self.failed_streams()
    }

    /// Each stream that failed, and why.
    pub(super) fn failed_streams(&self) -> Vec<(String, &Error)> {
        let title = self.title();
        let failed = self
            .streams()
            .iter()
            .filter_map(|stream| Some((stream, stream.outcome.as_ref().err()?)));
        failed
            .map(|(stream, error)| (format!("{title}, stream {}", stream.name), error))
            .collect()
    }

    /// What no log line has told yet.
    fn untold(&self) -> Vec<(String, &Error)> {
        match &self.result {
            Some(Ok(_)) if !log::is_watched() => Vec::new(),
            _ => self.failures(),
        }
    }

    fn interrupted(&self) -> bool {
        let left = matches!(&self.result, Some(Ok(report)) if !report.left.is_empty());
        left || self.skipped == Some(INTERRUPTED)
    }
}

/// Writes the closing report, and says how the program ends.
///
/// # Errors
/// Where standard output cannot be written.
pub(super) fn close(ended: &[Ended], output: Output, dry_run: bool, to_stderr: bool) -> Result<Exit> {
    match (output, to_stderr) {
        (Output::Json, false) => out::json(&as_json(ended, dry_run))?,
        (Output::Json, true) => out::note(as_json(ended, dry_run)),
        (Output::Text, to_stderr) => show(ended, dry_run, to_stderr)?,
    }
    tell(ended.iter().flat_map(Ended::untold));
    Ok(exit(ended, Vec::new()))
}

/// Shows the table where a person sees it; log lines have told the counts elsewhere.
fn show(ended: &[Ended], dry_run: bool, to_stderr: bool) -> Result<()> {
    if !log::is_watched() && (to_stderr || !std::io::stdout().is_terminal()) {
        remarks(ended, dry_run)
            .iter()
            .for_each(|remark| tracing::info!("{remark}"));
        return Ok(());
    }
    match text(ended, dry_run) {
        text if text.is_empty() => Ok(()),
        text if to_stderr => {
            out::note(text);
            Ok(())
        }
        text => out::line(text),
    }
}

fn tell<'a>(failures: impl Iterator<Item = (String, &'a Error)>) {
    failures.for_each(|(place, error)| out::error(format_args!("{place}: {error}")));
}

/// How the program ends.
fn exit(ended: &[Ended], more: Vec<&Error>) -> Exit {
    let failures = ended.iter().flat_map(Ended::failures).map(|(_, error)| error);
    let failures: Vec<&Error> = failures.chain(more).collect();
    let loaded = ended
        .iter()
        .flat_map(Ended::streams)
        .any(|stream| stream.outcome.is_ok());
    let exit = Exit::of(failures, loaded);
    let interrupted = ended.iter().any(Ended::interrupted);
    if exit == Exit::Done && interrupted {
        Exit::Interrupted
    } else {
        exit
    }
}

/// The same after a watch: what the streams have come to since its start. That a signal ended it is how it ends.
///
/// # Errors
/// Where standard output cannot be written.
pub(super) fn close_watch(closing: Closing) -> Result<Exit> {
    let Closing {
        mut ended,
        errors,
        output,
        to_stderr,
    } = closing;
    for one in &mut ended {
        if let Some(Ok(report)) = &mut one.result {
            report.left.clear();
        }
    }
    // As JSON, each load was written as it ended.
    if output == Output::Text {
        show(&ended, false, to_stderr)?;
    }
    if log::is_watched() {
        let more = errors.iter().map(|(name, error)| (name.clone(), error));
        tell(ended.iter().flat_map(Ended::failures).chain(more));
    }
    Ok(exit(&ended, errors.iter().map(|(_, error)| error).collect()))
}

/// What a load has come to, a sentence for each stream.
pub(super) fn sentences(ended: &Ended) -> Vec<String> {
    let now = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
    let title = ended.title();
    let loaded = ended
        .streams()
        .iter()
        .filter_map(|stream| Some((stream, stream.outcome.as_ref().ok()?)));
    loaded
        .map(|(stream, counts)| {
            let parts: Vec<String> = COLUMNS[..7]
                .iter()
                .filter(|(_, get)| get(counts) > 0)
                .map(|(name, get)| format!("{} {name}", human::count(get(counts))))
                .collect();
            let parts = if parts.is_empty() {
                "nothing new".to_owned()
            } else {
                parts.join(", ")
            };
            match stream.load {
                LEFT_OUT => format!("{now} {title}, stream {}: {LEFT_OUT}", stream.name),
                load => format!("{now} {title}, stream {}: {load} load: {parts}", stream.name),
            }
        })
        .collect()
}

/// A heading and the number under it.
type Column = (&'static str, fn(&Counts) -> u64);

const COLUMNS: [Column; 9] = [
    ("inserted", |counts| counts.inserted),
    ("updated", |counts| counts.updated),
    ("deleted", |counts| counts.deleted),
    ("unchanged", |counts| counts.unchanged),
    ("superseded", |counts| counts.superseded),
    ("filtered", |counts| counts.filtered),
    ("refused", |counts| counts.refused),
    ("files", |counts| counts.files),
    ("bytes", |counts| counts.bytes),
];

fn text(ended: &[Ended], dry_run: bool) -> String {
    let mut header = vec!["flow", "stream", "load", "read"];
    header.extend(COLUMNS.iter().map(|(name, _)| *name));
    header.push("seconds");
    let mut table = out::table(&header);
    for one in ended {
        one.streams().iter().for_each(|stream| {
            table.add_row(row(&one.title(), stream));
        });
    }
    table
        .column_iter_mut()
        .skip(3)
        .for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    let mut lines: Vec<String> = Vec::new();
    if !table.is_empty() {
        lines.push(table.trim_fmt());
    }
    lines.extend(remarks(ended, dry_run));
    lines.join("\n")
}

fn row(title: &str, stream: &StreamReport) -> Vec<String> {
    let mut cells = vec![title.to_owned(), stream.name.clone(), stream.load.to_owned()];
    match &stream.outcome {
        Ok(counts) => {
            cells.push(human::count(counts.read));
            cells.extend(COLUMNS.iter().map(|(name, get)| match *name {
                "bytes" => human::bytes(get(counts)),
                _ => human::count(get(counts)),
            }));
            cells.push(format!("{:.1}", counts.seconds));
        }
        Err(_) => cells.push("failed".to_owned()),
    }
    cells
}

/// What numbers do not say.
fn remarks(ended: &[Ended], dry_run: bool) -> Vec<String> {
    let mut lines: Vec<String> = ended.iter().flat_map(remarks_on).collect();
    if dry_run {
        lines.push("Nothing was written: this is what a run would do.".to_owned());
    }
    lines
}

fn remarks_on(ended: &Ended) -> Vec<String> {
    let title = ended.title();
    let mut lines = Vec::new();
    for stream in ended.streams() {
        if matches!(&stream.outcome, Ok(counts) if is_empty(stream, counts)) {
            lines.push(format!(
                "{title}, stream {}: the source has no rows.",
                stream.name
            ));
        }
        if stream.load == LEFT_OUT {
            lines.push(format!(
                "{title}, stream {}: left out: it is new, and `schemaContract.tables` does not let it in.",
                stream.name
            ));
        }
    }
    if let Some(Ok(report)) = &ended.result {
        if !report.left.is_empty() {
            lines.push(format!("{title}: not begun: {}.", report.left.join(", ")));
        }
        if !report.gone.is_empty() {
            lines.push(format!(
                "{title}: delivered before, and no longer at the source: {}.",
                report.gone.join(", ")
            ));
        }
    }
    if let Some(why) = ended.skipped {
        lines.push(format!("{title}: not run: {why}."));
    }
    lines
}

/// A full load that met no rows at all: worth telling, since rows are what a full load is for.
fn is_empty(stream: &StreamReport, counts: &Counts) -> bool {
    stream.load == "full" && counts.read == 0
}

/// The closing report, for programs.
pub(super) fn as_json(ended: &[Ended], dry_run: bool) -> Value {
    let mut closing = json!({ "flows": ended.iter().map(flow_json).collect::<Vec<_>>() });
    if dry_run {
        closing["dryRun"] = true.into();
    }
    closing
}

fn flow_json(ended: &Ended) -> Value {
    let mut flow = json!({ "name": ended.flow, "namespace": ended.namespace });
    if let Some(job) = &ended.job {
        flow["job"] = job.clone().into();
    }
    if let Some(Ok(report)) = &ended.result {
        flow["deliveryGuarantee"] = guarantee(report.guarantee);
        if !report.left.is_empty() {
            flow["notBegun"] = report.left.clone().into();
        }
        if !report.gone.is_empty() {
            flow["gone"] = report.gone.clone().into();
        }
    }
    if let Some(why) = ended.skipped {
        flow["notRun"] = why.into();
    }
    if let Some(Err(error)) = &ended.result {
        flow["error"] = error_json(error);
    }
    flow["streams"] = ended.streams().iter().map(stream_json).collect();
    flow
}

fn stream_json(stream: &StreamReport) -> Value {
    let mut value = Map::new();
    value.insert("name".to_owned(), stream.name.clone().into());
    value.insert("load".to_owned(), stream.load.into());
    match &stream.outcome {
        Ok(counts) => {
            let outcome = match counts.delivered() {
                0 if stream.load == LEFT_OUT => "leftOut",
                0 if is_empty(stream, counts) => "empty",
                0 => "unchanged",
                _ => "loaded",
            };
            value.insert("outcome".to_owned(), outcome.into());
            if let Ok(Value::Object(counts)) = serde_json::to_value(counts) {
                value.extend(counts);
            }
        }
        Err(error) => {
            value.insert("outcome".to_owned(), "failed".into());
            value.insert("error".to_owned(), error_json(error));
        }
    }
    Value::Object(value)
}

/// An error for programs.
pub(super) fn error_json(error: &Error) -> Value {
    let mut value = json!({ "kind": error.kind.as_str(), "message": error.message });
    if !error.reason.is_empty() {
        value["reason"] = error.reason.into();
    }
    if let Some(advice) = &error.advice {
        value["advice"] = advice.clone().into();
    }
    value
}

/// The word for a guarantee.
pub(super) fn guarantee(guarantee: DeliveryGuarantee) -> Value {
    serde_json::to_value(guarantee).unwrap_or_default()
}

#[cfg(test)]
mod tests;
