//! A small cluster: the API server in memory, an operator that can crash, and workers that do what they are told.
//!
//! In: manifests and annotations. Out: what was run, and how the objects stand. The workers keep the promises of the real
//! ones: a run that their report says is over is not begun again.

use std::sync::{Arc, Mutex};

use http::Method;
use jiff::{SignedDuration, Timestamp};
use millrace_crds::{
    Connector, Flow, Job, Source,
    channel::{Failure, LEDGER_KEY, Report, RunReport, RunState, StreamStand, child, report_key},
    flow::TriggerState,
    ledger::Ledger,
};
use serde_json::{Value, json};

use super::api::Server;
use crate::context::Context;
use crate::index::Key;
use crate::run::reconcile;
use crate::settings::Settings;

pub(crate) const FLOWS: &str = "apis/millrace.dev/v1alpha1/namespaces/acme/flows";
pub(crate) const SOURCES: &str = "apis/millrace.dev/v1alpha1/namespaces/acme/sources";
pub(crate) const JOBS: &str = "apis/millrace.dev/v1alpha1/namespaces/acme/jobs";
pub(crate) const MAPS: &str = "api/v1/namespaces/acme/configmaps";
pub(crate) const RUNS: &str = "apis/batch/v1/namespaces/acme/jobs";

/// One execution of a run by a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Executed {
    pub(crate) flow: String,
    pub(crate) run: u64,
    /// What asked for it: name and token.
    pub(crate) tokens: Vec<(String, String)>,
}

/// How workers fare.
#[derive(Clone, Debug, Default)]
pub(crate) enum Fate {
    /// They do what they are told.
    #[default]
    Works,
    /// They report a failure.
    Fails(Failure),
    /// They die without a word.
    Dies,
    /// They die before they can report, and leave their last word with the kubelet.
    Says(Failure),
    /// They never end.
    Hangs,
}

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) context: Context,
    /// An operator that works at the same time.
    pub(crate) second: Option<Context>,
    pub(crate) executed: Vec<Executed>,
    pub(crate) fate: Fate,
    /// Of the pods that share a run, only the first does its part.
    pub(crate) half: bool,
    clock: Arc<Mutex<Timestamp>>,
}

fn settings() -> Settings {
    let known = |name: &str| match name {
        "WATCH_NAMESPACES" => Some("acme".to_owned()),
        "POD_NAMESPACE" => Some("millrace".to_owned()),
        "POD_NAME" => Some("operator-0".to_owned()),
        "MILLRACE_WORKER_IMAGE" => Some("millrace@sha256:abc".to_owned()),
        _ => None,
    };
    Settings::read(known).unwrap()
}

fn context(server: &Server, clock: &Arc<Mutex<Timestamp>>) -> Context {
    let clock = clock.clone();
    Context::new(
        server.client(),
        settings(),
        Arc::new(move || *clock.lock().unwrap()),
    )
}

impl World {
    pub(crate) fn new() -> Self {
        let server = Server::default();
        let clock = Arc::new(Mutex::new("2026-01-01T00:00:10Z".parse().unwrap()));
        Self {
            context: context(&server, &clock),
            second: None,
            server,
            executed: Vec::new(),
            fate: Fate::default(),
            half: false,
            clock,
        }
    }

    /// A world with a Source of declared streams and a Flow.
    pub(crate) fn with_flow(more: &Value) -> Self {
        let world = Self::new();
        world.create(SOURCES, &source());
        world.create(FLOWS, &flow(more));
        world
    }

    pub(crate) fn pass(&self, time: SignedDuration) {
        let mut clock = self.clock.lock().unwrap();
        *clock = clock.saturating_add(time).unwrap();
    }

    pub(crate) fn create(&self, collection: &str, object: &Value) -> Value {
        self.server.outside(Method::POST, collection, object)
    }

    pub(crate) fn patch(&self, path: &str, patch: &Value) -> Value {
        self.server.outside(Method::PATCH, path, patch)
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.server.outside(Method::GET, path, &Value::Null)
    }

    pub(crate) fn delete(&self, path: &str) {
        self.server.outside(Method::DELETE, path, &Value::Null);
    }

    pub(crate) fn annotate(&self, path: &str, name: &str, value: &str) {
        let key = format!("millrace.dev/{name}");
        self.patch(path, &json!({ "metadata": { "annotations": { key: value } } }));
    }

    /// One more operator.
    pub(crate) fn operator(&self) -> Context {
        context(&self.server, &self.clock)
    }

    /// A new operator takes the place of one that has crashed.
    pub(crate) fn restart(&mut self) {
        self.server.revive();
        self.context = self.operator();
    }

    /// Lets operator and workers do their work until there is nothing left to do.
    pub(crate) async fn settle(&mut self) {
        for _ in 0..40 {
            let before = (self.server.writes(), self.executed.len());
            self.operate().await;
            if self.server.is_dead() {
                self.restart();
                continue;
            }
            if !self.work() && before == (self.server.writes(), self.executed.len()) {
                return;
            }
        }
        panic!(
            "it never settles: {:#?}",
            self.server.writes_since(self.server.writes().saturating_sub(20))
        );
    }

    /// Each object is reconciled once.
    pub(crate) async fn operate(&self) {
        match &self.second {
            Some(second) => drop(futures::future::join(self.look(&self.context), self.look(second)).await),
            None => self.look(&self.context).await,
        }
    }

    async fn look(&self, context: &Context) {
        for connector in self.keys("connectors") {
            let _ = reconcile::<Connector>(context, &connector).await;
        }
        for source in self.keys("sources") {
            let _ = reconcile::<Source>(context, &source).await;
        }
        for flow in self.keys("flows") {
            let _ = reconcile::<Flow>(context, &flow).await;
        }
        for job in self.keys("jobs") {
            let _ = reconcile::<Job>(context, &job).await;
        }
    }

    /// The same for the objects that an operator sees in an old view, and for those that there are.
    pub(crate) async fn operate_by_view(&self) {
        self.operate().await;
        let names = ["lake", "again", "shop"].map(|name| Key::new("acme", name));
        let _ = reconcile::<Source>(&self.context, &names[2]).await;
        let _ = reconcile::<Flow>(&self.context, &names[0]).await;
        let _ = reconcile::<Job>(&self.context, &names[1]).await;
    }

    fn keys(&self, plural: &str) -> Vec<Key> {
        let all = self.server.all(plural);
        let ours = all
            .iter()
            .filter(|object| object["apiVersion"] == "millrace.dev/v1alpha1");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        ours.map(|object| {
            Key::new(
                &text(&object["metadata"]["namespace"]),
                &text(&object["metadata"]["name"]),
            )
        })
        .collect()
    }

    /// Pods run; says whether any did something.
    pub(crate) fn work(&mut self) -> bool {
        self.server.collect_orphans();
        let mut worked = false;
        for job in self.server.all("jobs") {
            let open = job["status"]["conditions"].as_array().is_none_or(Vec::is_empty);
            if job["apiVersion"] == "batch/v1" && open && !matches!(self.fate, Fate::Hangs) {
                self.run(&job);
                worked = true;
            }
        }
        worked
    }

    fn run(&mut self, job: &Value) {
        let args: Vec<&str> = job["spec"]["template"]["spec"]["containers"][0]["args"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let after = |name: &str| {
            args.iter()
                .position(|arg| *arg == name)
                .map(|at| args[at + 1].to_owned())
        };
        let pods = u32::try_from(job["spec"]["completions"].as_u64().unwrap()).unwrap();
        let mut well = true;
        for index in 0..pods {
            well &= match (after("--flow"), after("--run"), after("--source"), after("--job")) {
                (Some(flow), Some(run), _, _) => self.do_run(&flow, run.parse().unwrap(), (index, pods)),
                (_, _, Some(source), _) => self.discover(&source),
                (_, _, _, Some(job)) => self.do_job(&job, (index, pods)),
                _ => matches!(self.fate, Fate::Works),
            };
            if self.half && index == 0 {
                return;
            }
        }
        let condition = match well {
            true => json!({ "type": "Complete", "status": "True" }),
            false => {
                json!({ "type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "it died" })
            }
        };
        let mut condition = condition;
        condition["lastTransitionTime"] = json!(self.context.now());
        let name = job["metadata"]["name"].as_str().unwrap();
        if let Fate::Says(failure) = &self.fate {
            self.leave_word(name, failure);
        }
        self.patch(
            &format!("{RUNS}/{name}"),
            &json!({ "status": { "conditions": [condition] } }),
        );
    }

    /// The pod of a Job, as the kubelet shows it after its end.
    fn leave_word(&self, job: &str, failure: &Failure) {
        let ended =
            json!({ "exitCode": 2, "reason": "Error", "message": serde_json::to_string(failure).unwrap() });
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "generateName": format!("{job}-"), "labels": { "batch.kubernetes.io/job-name": job } },
            "spec": { "containers": [] },
            "status": { "containerStatuses": [{
                "name": "worker", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "terminated": ended } }] },
        });
        self.create("api/v1/namespaces/acme/pods", &pod);
    }

    fn do_run(&mut self, flow: &str, run: u64, (index, pods): (u32, u32)) -> bool {
        if matches!(self.fate, Fate::Dies | Fate::Says(_)) {
            return false;
        }
        let map = format!("{MAPS}/{}", child(flow, "report"));
        let mut report = self.report_of(&map, index);
        if let Some(over) = report.runs.get(&run).filter(|run| run.is_over()) {
            return over.state == RunState::Succeeded;
        }
        let ledger = self.ledger(flow);
        let running = |entry: &&millrace_crds::ledger::Entry| {
            entry.run == Some(run) && entry.state == TriggerState::Running
        };
        let tokens: Vec<(String, String)> = ledger
            .entries
            .iter()
            .filter(running)
            .map(|entry| (entry.name.clone(), entry.token.clone()))
            .collect();
        assert!(!tokens.is_empty(), "run {run} is not in the ledger");
        self.executed.push(Executed {
            flow: flow.to_owned(),
            run,
            tokens,
        });
        let generation = self.get(&format!("{FLOWS}/{flow}"))["metadata"]["generation"].as_i64();
        self.conclude(&mut report, (run, pods), generation.unwrap_or_default());
        self.write_of(&map, index, &report);
        !matches!(self.fate, Fate::Fails(_))
    }

    fn conclude(&self, report: &mut Report, (run, pods): (u64, u32), generation: i64) {
        let now = self.context.now();
        let mut told = RunReport {
            finished_at: Some(now),
            first_read_at: Some(now),
            rows: 10,
            state: RunState::Succeeded,
            ..RunReport::begun(now, pods)
        };
        if let Fate::Fails(failure) = &self.fate {
            told.state = RunState::Failed;
            told.rows = 0;
            told.error = Some(failure.clone());
        }
        report.runs.insert(run, told);
        report.generation = generation;
        report.streams = vec![StreamStand {
            name: "users".to_owned(),
            epoch: run,
            generation: 1,
            last_full_load: Some(now),
            ..StreamStand::default()
        }];
    }

    fn do_job(&mut self, job: &str, (index, pods): (u32, u32)) -> bool {
        let name = millrace_crds::channel::child_of(millrace_crds::channel::JOB_LABEL, job, "report");
        let map = format!("{MAPS}/{name}");
        let mut report = self.report_of(&map, index);
        if report.runs.is_empty() {
            self.executed.push(Executed {
                flow: format!("Job/{job}"),
                run: 1,
                tokens: Vec::new(),
            });
            self.conclude(&mut report, (1, pods), 1);
            self.write_of(&map, index, &report);
        }
        !matches!(self.fate, Fate::Fails(_))
    }

    fn discover(&mut self, source: &str) -> bool {
        let name = millrace_crds::channel::child_of(millrace_crds::channel::SOURCE_LABEL, source, "report");
        let map = format!("{MAPS}/{name}");
        let mut report = self.report(&map);
        match &self.fate {
            Fate::Works => {
                report.problem = None;
                let fields = json!([{ "name": "id", "logicalType": "integer", "physicalType": "int64" }]);
                let users = json!({ "name": "users", "primaryKey": ["id"], "fields": fields });
                let found =
                    json!({ "streams": [users, { "name": "orders" }], "total": 2, "at": self.context.now() });
                report.discovery = serde_json::from_value(found).unwrap();
            }
            Fate::Fails(failure) => report.problem = Some(failure.clone()),
            Fate::Dies | Fate::Says(_) | Fate::Hangs => return false,
        }
        self.write(&map, &report);
        matches!(self.fate, Fate::Works)
    }

    pub(crate) fn report(&self, map: &str) -> Report {
        self.report_of(map, 0)
    }

    pub(crate) fn report_of(&self, map: &str, index: u32) -> Report {
        let found = self.get(map);
        let text = found["data"][report_key(index)].as_str();
        text.map(|text| serde_json::from_str(text).unwrap())
            .unwrap_or_default()
    }

    pub(crate) fn write(&self, map: &str, report: &Report) {
        self.write_of(map, 0, report);
    }

    pub(crate) fn write_of(&self, map: &str, index: u32, report: &Report) {
        let text = serde_json::to_string(report).unwrap();
        self.patch(map, &json!({ "data": { report_key(index): text } }));
    }

    pub(crate) fn ledger(&self, flow: &str) -> Ledger {
        let map = self.get(&format!("{MAPS}/{}", child(flow, "triggers")));
        serde_json::from_str(map["data"][LEDGER_KEY].as_str().unwrap()).unwrap()
    }

    /// The status and the reason of a condition; empty: it is not there.
    pub(crate) fn condition(&self, path: &str, type_: &str) -> (String, String) {
        let object = self.get(path);
        let conditions = object["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let found = conditions.iter().find(|condition| condition["type"] == type_);
        let text = |key: &str| {
            found
                .map(|found| found[key].as_str().unwrap_or_default().to_owned())
                .unwrap_or_default()
        };
        (text("status"), text("reason"))
    }

    /// How often a token was run.
    pub(crate) fn times(&self, token: &str) -> usize {
        let has = |executed: &&Executed| executed.tokens.iter().any(|(_, one)| one == token);
        self.executed.iter().filter(has).count()
    }
}

pub(crate) fn source() -> Value {
    json!({
        "apiVersion": "millrace.dev/v1alpha1", "kind": "Source", "metadata": { "name": "shop" },
        "spec": {
            "connector": { "name": "postgres" },
            "connection": { "host": "db", "database": "shop", "user": "reader" },
            "credentials": [{ "name": "password", "secret": { "name": "shop-db", "key": "password" } }],
            "streams": [
                { "name": "users", "schema": [{ "name": "id", "logicalType": "integer" }] },
                { "name": "orders", "schema": [{ "name": "id", "logicalType": "integer" }] },
            ],
        },
    })
}

pub(crate) fn flow(more: &Value) -> Value {
    let mut flow = json!({
        "apiVersion": "millrace.dev/v1alpha1", "kind": "Flow", "metadata": { "name": "lake" },
        "spec": {
            "source": { "name": "shop" },
            "destination": { "connector": { "name": "file" }, "connection": { "url": "s3://lake/{stream}", "format": "parquet" } },
        },
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        flow["spec"][key] = value.clone();
    }
    flow
}
