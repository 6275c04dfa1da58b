//! The promises about a pod that stays, on an API server in memory; the ledger comes by hand.

use std::time::Duration;

use millrace_crds::{
    channel::{LEDGER_KEY, Report, RunState, STATE, TRIGGERS, child},
    ledger::Ledger,
};
use tokio::sync::watch;

use super::{Share, keep_on};
use crate::cluster::{channel::parse, run::tests::Ground};

/// Waits until a report says what is expected.
async fn until(ground: &Ground, is: impl Fn(&Report) -> bool) -> Report {
    until_of(ground, 0, is).await
}

async fn until_of(ground: &Ground, ordinal: u32, is: impl Fn(&Report) -> bool) -> Report {
    for _ in 0..600 {
        let map = ground.fake.get(&child("f", "report")).unwrap();
        let report: Option<Report> = parse(&map, &format!("report-{ordinal}.json")).unwrap();
        if let Some(report) = report.filter(|report| is(report)) {
            return report;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!(
        "it was not reported: {:?}",
        ground.fake.get(&child("f", "report"))
    );
}

fn ledger(ground: &Ground) -> Ledger {
    ground.trigger("full_load");
    parse(&ground.fake.get(&child("f", TRIGGERS)).unwrap(), LEDGER_KEY)
        .unwrap()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_done_as_they_come_and_each_once() {
    let ground = Ground::new();
    let (sender, receiver) = watch::channel(Ledger::default());
    let channel = ground.pod.of_flow("f", Share::ALONE);
    let work = keep_on(&ground.pod, &channel, receiver);
    let script = async {
        // Without an interval it is loaded as the pod starts.
        let report = until(&ground, |report| !report.streams.is_empty()).await;
        assert!(report.runs.is_empty());
        assert_eq!(ground.pod.health.missing(), None);

        sender.send_replace(ledger(&ground));
        let report = until(&ground, |report| {
            report
                .runs
                .get(&1)
                .is_some_and(millrace_crds::channel::RunReport::is_over)
        })
        .await;
        let run = &report.runs[&1];
        assert_eq!((run.state, run.streams[0].counts.read), (RunState::Succeeded, 10));
        assert_eq!(run.rows, 0, "all of it was there by then");

        let written = ground.fake.get(&child("f", STATE));
        sender.send_modify(|ledger| ledger.runs += 1);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(
            ground.fake.get(&child("f", STATE)),
            written,
            "a run that is over is not done again"
        );
        ground.pod.drain.ask();
    };
    let (ended, ()) = tokio::join!(work, script);
    assert!(ended.errors.is_empty(), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_while_there_is_nothing_to_do() {
    let ground = Ground::new();
    let (_sender, receiver) = watch::channel(Ledger::default());
    let channel = ground.pod.of_flow("f", Share::ALONE);
    let work = keep_on(&ground.pod, &channel, receiver);
    let script = async {
        until(&ground, |report| report.guarantee.is_some()).await;
        let mut sent = 0;
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = ground.fake.state().requests.len();
            if now == sent {
                break;
            }
            sent = now;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(ground.fake.state().requests.len(), sent);
        ground.pod.drain.ask();
    };
    tokio::join!(work, script);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_it_from_its_work_is_told() {
    let ground = Ground::new();
    ground.fake.delete(&child("f", STATE));
    let (_sender, receiver) = watch::channel(Ledger::default());
    let channel = ground.pod.of_flow("f", Share::ALONE);
    let work = keep_on(&ground.pod, &channel, receiver);
    let script = async {
        let report = until(&ground, |report| report.problem.is_some()).await;
        assert_eq!(report.problem.unwrap().reason, "StateLost");
        assert!(ground.pod.health.missing().unwrap().contains("is gone"));
        ground.pod.drain.ask();
    };
    tokio::join!(work, script);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_without_a_stream_closes_its_part_of_a_run() {
    let ground = Ground::new();
    let (sender, receiver) = watch::channel(Ledger::default());
    let mine = millrace_crds::channel::dealt("rows", 2);
    let ordinal = u32::from(mine == 0);
    let channel = ground.pod.of_flow("f", Share { ordinal, workers: 2 });
    let work = keep_on(&ground.pod, &channel, receiver);
    let script = async {
        sender.send_replace(ledger(&ground));
        let report = until_of(&ground, ordinal, |report| {
            report
                .runs
                .get(&1)
                .is_some_and(millrace_crds::channel::RunReport::is_over)
        })
        .await;
        assert!(report.runs[&1].streams.is_empty());
        ground.pod.drain.ask();
    };
    tokio::join!(work, script);
}
