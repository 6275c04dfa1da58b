//! The promises about runs in a pod, on an API server in memory.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use millrace_crds::{
    JobPlan, Plan, Setting, builtin,
    channel::{
        FLOW_LABEL, FLOW_UID_ANNOTATION, JOB_LABEL, JobDoc, LEDGER_KEY, PLAN, PLAN_KEY, PlanDoc, REPORT,
        Report, RunState, STATE, SourceDoc, TRIGGERS, child, child_of, labels, to_text,
    },
    job::Load,
    ledger::{Annotated, Ledger},
    manifest, resolve,
};

use super::run;
use crate::{
    cluster::{api::fake::Fake, discover, job, metrics::Metrics, pod::Pod, preflight, serve::Health},
    engine::drain::Drain,
    error::ErrorKind,
};

/// A Flow `f` of generated rows into a connector.
pub(crate) fn plan(destination: &str, more: &str) -> Plan {
    let text = format!(
        "apiVersion: millrace.dev/v1alpha1\nkind: Source\nmetadata: {{ name: s }}\nspec:\n  connector: {{ name: generator }}\n  connection: {{ rows: 10 }}\n\
         ---\napiVersion: millrace.dev/v1alpha1\nkind: Flow\nmetadata: {{ name: f }}\nspec:\n  source: {{ name: s }}\n  destination: {destination}\n{more}"
    );
    let text = text.replace(
        "destination: nothing",
        "destination: { connector: { name: memory } }",
    );
    let resources = manifest::parse("test.yaml", &text).unwrap();
    let setting = Setting::Local {
        environment: BTreeMap::new(),
    };
    let mut found = resolve(&resources, builtin(), &setting);
    assert!(found.is_sound(), "{:?}", found.problems);
    found.plans.remove(0)
}

/// A cluster with one Flow, as the operator leaves it.
pub(crate) struct Ground {
    pub(crate) fake: Fake,
    pub(crate) pod: Pod,
    pub(crate) plan: Plan,
    _directory: tempfile::TempDir,
}

fn map(name: &str, data: &[(&str, String)]) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    let data = data.iter().map(|(key, text)| ((*key).to_owned(), text.clone()));
    map.data = Some(data.collect());
    map
}

impl Ground {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("{stream}");
        let to = format!(
            "{{ connector: {{ name: file }}, connection: {{ url: {:?}, format: ndjson }} }}",
            place.display().to_string()
        );
        let plan = plan(&to, "");
        let fake = Fake::default();
        let doc = PlanDoc {
            plan: plan.clone(),
            generation: 3,
            adopt: None,
        };
        fake.put(map(&child("f", PLAN), &[(PLAN_KEY, to_text(&doc).unwrap())]));
        fake.put(map(&child("f", REPORT), &[]));
        let mut state = map(&child("f", STATE), &[]);
        state.metadata.labels = Some(labels(FLOW_LABEL, "f", "state"));
        state
            .annotations_mut()
            .insert(FLOW_UID_ANNOTATION.to_owned(), plan.flow.uid.clone());
        fake.put(state);
        let pod = Pod {
            client: fake.client(),
            namespace: "default".to_owned(),
            name: "f-0".to_owned(),
            uid: "1".to_owned(),
            index: 0,
            drain: Drain::default(),
            metrics: Metrics::default(),
            health: Health::default(),
        };
        Self {
            fake,
            pod,
            plan,
            _directory: directory,
        }
    }

    /// The ledger, with one token at work as run 1.
    pub(crate) fn trigger(&self, name: &str) {
        let of = |value: Option<&str>| {
            let value = value.map(|value| (format!("millrace.dev/{name}"), value.to_owned()));
            vec![Annotated {
                object: "Flow/f".to_owned(),
                uid: self.plan.flow.uid.clone(),
                annotations: value.into_iter().collect(),
            }]
        };
        let now = Timestamp::now();
        let mut ledger = Ledger::born(&of(None), now);
        ledger.look(&of(Some("1")), now);
        ledger.begin().unwrap();
        let text = to_text(&ledger).unwrap();
        self.fake.put(map(&child("f", TRIGGERS), &[(LEDGER_KEY, text)]));
    }

    pub(crate) fn report(&self) -> Report {
        let map = self.fake.get(&child("f", REPORT)).unwrap();
        serde_json::from_str(&map.data.unwrap()["report-0.json"]).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_done_once_and_reported() {
    let ground = Ground::new();
    ground.trigger("full_load");
    let ended = run(&ground.pod, "f", 1).await.unwrap();
    assert!(ended.errors.is_empty(), "{ended:?}");
    let report = ground.report();
    assert_eq!((report.generation, report.pod.as_str()), (3, "f-0"));
    assert!(report.guarantee.is_some());
    let done = &report.runs[&1];
    assert_eq!(
        (done.state, done.rows, done.streams.len()),
        (RunState::Succeeded, 10, 1)
    );
    assert_eq!(done.streams[0].counts.read, 10);
    assert!(done.first_read_at >= Some(done.started_at) && done.finished_at >= done.first_read_at);
    let stand = &report.streams[0];
    assert!(stand.last_full_load.is_some() && stand.state_bytes > Some(100) && stand.epoch == 1);
    let metrics = ground.pod.metrics.text();
    assert!(metrics.contains("millrace_runs_total{namespace=\"default\",flow=\"f\",result=\"succeeded\"} 1"));

    let state = ground.fake.get(&child("f", STATE));
    let again = run(&ground.pod, "f", 1).await.unwrap();
    assert!(again.errors.is_empty());
    assert_eq!(
        ground.fake.get(&child("f", STATE)),
        state,
        "a run that is over is not begun again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_started_again_skips_what_its_run_has_committed() {
    let ground = Ground::new();
    ground.trigger("full_load");
    run(&ground.pod, "f", 1).await.unwrap();
    // As if the pod had died after its commit, and before its report.
    let mut map = ground.fake.get(&child("f", REPORT)).unwrap();
    let mut report = ground.report();
    let begun = report.runs[&1].started_at;
    report
        .runs
        .insert(1, millrace_crds::channel::RunReport::begun(begun, 1));
    map.data
        .get_or_insert_default()
        .insert("report-0.json".to_owned(), report.to_text(100_000));
    ground.fake.put(map);
    let state = ground.fake.get(&child("f", STATE));
    let ended = run(&ground.pod, "f", 1).await.unwrap();
    assert!(ended.errors.is_empty(), "{ended:?}");
    let done = &ground.report().runs[&1];
    assert_eq!((done.state, done.started_at), (RunState::Succeeded, begun));
    assert_eq!(
        ground.fake.get(&child("f", STATE)),
        state,
        "nothing was loaded twice"
    );
}

#[tokio::test]
async fn a_run_that_fails_says_why() {
    let ground = Ground::new();
    ground.trigger("full_load_nowhere");
    let ended = run(&ground.pod, "f", 1).await.unwrap();
    assert_eq!(ended.errors[0].reason, "UnknownStream");
    let done = &ground.report().runs[&1];
    let error = done.error.as_ref().unwrap();
    assert_eq!(
        (done.state, error.reason.as_str()),
        (RunState::Failed, "UnknownStream")
    );
    assert_eq!(error.kind, "config");
}

#[tokio::test]
async fn lost_and_foreign_state_stop_the_run() {
    let ground = Ground::new();
    ground.trigger("full_load");
    ground.fake.delete(&child("f", STATE));
    let ended = run(&ground.pod, "f", 1).await.unwrap();
    assert_eq!(ended.errors[0].kind, ErrorKind::State);
    assert_eq!(
        ground.report().runs[&1].error.as_ref().unwrap().reason,
        "StateLost"
    );

    let ground = Ground::new();
    ground.trigger("full_load");
    let mut state = ground.fake.get(&child("f", STATE)).unwrap();
    state
        .annotations_mut()
        .insert(FLOW_UID_ANNOTATION.to_owned(), "another".to_owned());
    ground.fake.put(state);
    let ended = run(&ground.pod, "f", 1).await.unwrap();
    assert_eq!(ended.errors[0].reason, "StateOwnedByOther");
}

#[tokio::test(flavor = "multi_thread")]
async fn state_that_was_made_anew_is_lost_and_not_the_first() {
    let ground = Ground::new();
    let empty = ground.fake.get(&child("f", STATE)).unwrap();
    ground.trigger("full_load");
    run(&ground.pod, "f", 1).await.unwrap();
    ground.fake.put(empty);
    let mut map = ground.fake.get(&child("f", TRIGGERS)).unwrap();
    let text = map.data.as_ref().unwrap()[LEDGER_KEY].replace("\"run\":1", "\"run\":2");
    map.data
        .get_or_insert_default()
        .insert(LEDGER_KEY.to_owned(), text);
    ground.fake.put(map);
    let ended = run(&ground.pod, "f", 2).await.unwrap();
    let error = &ended.errors[0];
    assert_eq!(error.reason, "StateLost");
    assert!(error.message.contains("no record of it"), "{error}");
}

#[tokio::test]
async fn a_run_that_was_told_to_end_goes_on_in_the_next_pod() {
    let ground = Ground::new();
    ground.trigger("full_load");
    ground.pod.drain.ask();
    let ended = run(&ground.pod, "f", 1).await.unwrap();
    assert!(ended.interrupted && ended.errors.is_empty(), "{ended:?}");
    assert_eq!(ground.report().runs[&1].state, RunState::Running);
    let next = Pod {
        drain: Drain::default(),
        ..ground.pod.clone()
    };
    let ended = run(&next, "f", 1).await.unwrap();
    assert!(ended.errors.is_empty() && !ended.interrupted);
    assert_eq!(ground.report().runs[&1].rows, 10);
}

#[tokio::test]
async fn a_run_that_nobody_began_is_refused() {
    let ground = Ground::new();
    ground.trigger("full_load");
    assert_eq!(run(&ground.pod, "f", 2).await.unwrap_err().reason, "NoSuchRun");
    assert!(
        ground
            .fake
            .get(&child("f", REPORT))
            .unwrap()
            .data
            .unwrap_or_default()
            .is_empty(),
        "nothing is reported of it"
    );
}

#[tokio::test]
async fn a_job_has_a_report_of_its_own() {
    let ground = Ground::new();
    let batch = millrace_crds::ledger::Batch {
        run: 1,
        objects: Vec::new(),
        load: Some(Load::Full),
        job: Some("reload".to_owned()),
        terms: millrace_crds::ledger::Terms::default(),
        streams: Vec::new(),
        allow_deletes: false,
        resumed: false,
    };
    let doc = JobDoc {
        job: super::jobs(&ground.plan, &batch).remove(0),
        uid: "uid-j".to_owned(),
        generation: 1,
        adopt: None,
    };
    let name = |suffix| child_of(JOB_LABEL, "reload", suffix);
    let text = to_text(&doc).unwrap();
    ground.fake.put(map(&name(PLAN), &[(PLAN_KEY, text)]));
    ground.fake.put(map(&name(REPORT), &[]));
    let ended = job(&ground.pod, "reload").await.unwrap();
    assert!(ended.errors.is_empty(), "{ended:?}");
    let data = ground.fake.get(&name(REPORT)).unwrap().data.unwrap();
    let report: Report = serde_json::from_str(&data["report-0.json"]).unwrap();
    assert_eq!(
        (report.runs[&1].state, report.runs[&1].rows),
        (RunState::Succeeded, 10)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_share_a_job_deal_its_streams() {
    let ground = Ground::new();
    let mut plan = ground.plan.clone();
    let names: Vec<String> = (0..8).map(|number| format!("s{number}")).collect();
    let streams = serde_json::to_value(&names).unwrap();
    plan.source
        .system
        .connection
        .insert("streams".to_owned(), streams);
    let doc = JobDoc {
        job: JobPlan {
            name: "reload".to_owned(),
            plan,
            load: Load::Full,
            streams: Vec::new(),
            backfill: None,
            parallelism: 3,
            retries: 0,
            deadline: None,
        },
        uid: "uid-j".to_owned(),
        generation: 1,
        adopt: None,
    };
    let name = |suffix| child_of(JOB_LABEL, "reload", suffix);
    let text = to_text(&doc).unwrap();
    ground.fake.put(map(&name(PLAN), &[(PLAN_KEY, text)]));
    ground.fake.put(map(&name(REPORT), &[]));
    let pods = (0..3).map(|index| Pod {
        index,
        ..ground.pod.clone()
    });
    for ended in futures::future::join_all(pods.map(async |pod| job(&pod, "reload").await)).await {
        assert!(ended.unwrap().errors.is_empty());
    }
    let data = ground.fake.get(&name(REPORT)).unwrap().data.unwrap();
    let mut loaded: Vec<String> = Vec::new();
    for index in 0..3 {
        let report: Report = serde_json::from_str(&data[&format!("report-{index}.json")]).unwrap();
        let run = &report.runs[&1];
        assert_eq!(run.state, RunState::Succeeded);
        assert!(run.streams.iter().all(|stream| stream.counts.inserted == 10));
        loaded.extend(run.streams.iter().map(|stream| stream.name.clone()));
    }
    loaded.sort();
    assert_eq!(loaded, names);
}

#[tokio::test]
async fn discovery_tells_streams_and_columns() {
    let ground = Ground::new();
    let doc = SourceDoc {
        namespace: "default".to_owned(),
        source: ground.plan.source.clone(),
        uid: "uid-s".to_owned(),
        generation: 2,
    };
    let name = |suffix| child_of(millrace_crds::channel::SOURCE_LABEL, "s", suffix);
    let text = to_text(&doc).unwrap();
    ground.fake.put(map(&name(PLAN), &[(PLAN_KEY, text)]));
    ground.fake.put(map(&name(REPORT), &[]));
    let ended = discover(&ground.pod, "s").await.unwrap();
    assert!(ended.errors.is_empty(), "{ended:?}");
    let data = ground.fake.get(&name(REPORT)).unwrap().data.unwrap();
    let report: Report = serde_json::from_str(&data["report-0.json"]).unwrap();
    let found = report.discovery.unwrap();
    assert_eq!((found.total, found.truncated, report.generation), (1, false, 2));
    assert!(!found.streams[0].fields.is_empty());
}

#[tokio::test]
async fn a_preflight_loads_nothing_and_finds_what_is_wrong() {
    let ground = Ground::new();
    let state = ground.fake.get(&child("f", STATE));
    let ended = preflight(&ground.pod, "f").await.unwrap();
    assert!(ended.errors.is_empty(), "{ended:?}");
    assert_eq!(ground.fake.get(&child("f", STATE)), state);
    ground.fake.delete(&child("f", STATE));
    let ended = preflight(&ground.pod, "f").await.unwrap();
    assert_eq!(ended.errors[0].reason, "StateLost");
}
