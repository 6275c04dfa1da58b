//! The status of a Flow of a cluster: what its workers and the operator have told; its systems are not asked.

use millrace_crds::channel::{Report, StreamStand};
use serde_json::{Value, json};

use super::{table, trigger_json, triggers};
use crate::{
    cli::{closing::guarantee, out, state::show::cell},
    cluster::desk::Desk,
    error::Result,
};

/// What is known of it.
pub(super) struct Remote {
    desk: Desk,
    reports: Vec<Report>,
    ledger: millrace_crds::ledger::Ledger,
}

impl Remote {
    pub(super) async fn look(desk: Desk) -> Result<Self> {
        Ok(Self {
            reports: desk.reports().await?,
            ledger: desk.ledger().await?,
            desk,
        })
    }

    fn streams(&self) -> Vec<&StreamStand> {
        let mut streams: Vec<&StreamStand> = Vec::new();
        for stand in self.reports.iter().flat_map(|report| &report.streams) {
            // A stream that was dealt anew is in the report of each worker that has had it.
            match streams.iter_mut().find(|known| known.name == stand.name) {
                Some(known) if known.epoch >= stand.epoch => {}
                Some(known) => *known = stand,
                None => streams.push(stand),
            }
        }
        streams
    }

    pub(super) fn text(&self) -> String {
        let flow = &self.desk.doc.plan.flow;
        let mut lines = vec![format!("{}/{} in the cluster", flow.namespace, flow.name)];
        let status = self.desk.object.status.as_ref();
        for condition in status.into_iter().flat_map(|status| &status.conditions) {
            let message = match condition.message.as_str() {
                "" => String::new(),
                message => format!(": {message}"),
            };
            lines.push(format!(
                "{}: {} ({}){message}",
                condition.type_, condition.status, condition.reason
            ));
        }
        if let Some(next) = status.and_then(|status| status.next_run.as_ref()) {
            lines.push(format!("next run: {:.0}", next.0));
        }
        for problem in self.reports.iter().filter_map(|report| report.problem.as_ref()) {
            lines.push(format!("problem: {} [{}]", problem.message, problem.reason));
        }
        let streams = self.streams();
        match streams.is_empty() {
            true => lines.push("nothing was loaded yet".to_owned()),
            false => lines.push(table(streams.iter().map(|stand| {
                let watermark = json!({ "watermark": stand.watermark });
                (
                    stand.name.clone(),
                    stand.generation.to_string(),
                    stand.last_full_load,
                    stand.last_delta_load,
                    cell(&watermark),
                )
            }))),
        }
        if !self.ledger.entries.is_empty() {
            lines.push(triggers(&self.ledger.entries));
        }
        lines.join("\n")
    }

    pub(super) fn as_json(&self) -> Value {
        let flow = &self.desk.doc.plan.flow;
        let status = self.desk.object.status.as_ref();
        let known = self.reports.iter().find_map(|report| report.guarantee);
        let problems = self.reports.iter().filter_map(|report| report.problem.as_ref());
        let entries = self.ledger.entries.iter();
        json!({
            "name": flow.name,
            "namespace": flow.namespace,
            "deliveryGuarantee": known.map(guarantee),
            "suspended": self.desk.doc.plan.run.suspend,
            "conditions": status.map(|status| &status.conditions),
            "problems": problems.collect::<Vec<_>>(),
            "streams": self.streams(),
            "triggers": entries.map(|entry| trigger_json(entry, flow)).collect::<Vec<_>>(),
            "nextRun": status.and_then(|status| status.next_run.as_ref()),
        })
    }

    pub(super) fn tell(&self) -> Result<()> {
        out::line(self.text())
    }
}
