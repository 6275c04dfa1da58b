//! The promises about the channel.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use millrace_crds::channel::{FLOW_LABEL, LIMIT, REPORT, Report, RunReport, child};

use super::{Channel, Share};
use crate::cluster::api::fake::{Fake, Fault};

fn ground(ordinal: u32) -> (Fake, Channel) {
    let fake = Fake::default();
    let mut map = ConfigMap::default();
    map.metadata.name = Some(child("lake", REPORT));
    fake.put(map);
    let channel = Channel::new(fake.maps(), FLOW_LABEL, "lake", Share { ordinal, workers: 3 });
    (fake, channel)
}

fn begin(number: u64) -> impl FnMut(&mut Report) + Send {
    move |report| {
        let run = RunReport::begun(Timestamp::UNIX_EPOCH, 1);
        report.runs.entry(number).or_insert(run);
    }
}

#[tokio::test]
async fn a_report_is_changed_where_nobody_else_has() {
    let (fake, channel) = ground(0);
    assert_eq!(channel.report().await.unwrap(), Report::default());
    fake.state().script.extend([Fault::Other, Fault::ApplyThenCut]);
    channel.update(begin(7)).await.unwrap();
    assert!(channel.report().await.unwrap().runs.contains_key(&7));
    let data = fake.get(&child("lake", REPORT)).unwrap().data.unwrap();
    assert_eq!(data["other"], "writer", "another's key stays");
}

#[tokio::test]
async fn what_changes_nothing_writes_nothing() {
    let (fake, channel) = ground(0);
    channel.update(begin(1)).await.unwrap();
    let sent = fake.state().requests.len();
    channel.update(begin(1)).await.unwrap();
    let requests = fake.state().requests[sent..].to_vec();
    assert!(
        requests.iter().all(|request| request.starts_with("GET")),
        "{requests:?}"
    );
}

#[tokio::test]
async fn each_ordinal_has_a_key() {
    let (fake, first) = ground(0);
    let second = Channel::new(
        fake.maps(),
        FLOW_LABEL,
        "lake",
        Share {
            ordinal: 1,
            workers: 3,
        },
    );
    first.update(begin(1)).await.unwrap();
    second.update(begin(2)).await.unwrap();
    assert!(!first.report().await.unwrap().runs.contains_key(&2));
    let data = fake.get(&child("lake", REPORT)).unwrap().data.unwrap();
    assert_eq!(
        data.keys().collect::<Vec<_>>(),
        ["report-0.json", "report-1.json"]
    );
}

#[tokio::test]
async fn reports_of_all_pods_fit_together() {
    let (fake, _) = ground(0);
    for ordinal in 0..3 {
        let channel = Channel::new(fake.maps(), FLOW_LABEL, "lake", Share { ordinal, workers: 3 });
        channel
            .update(|report| {
                report.streams = (0..20_000)
                    .map(|number| millrace_crds::channel::StreamStand {
                        name: format!("public.table_{number}"),
                        ..Default::default()
                    })
                    .collect();
            })
            .await
            .unwrap();
        assert_eq!(channel.report().await.unwrap().stream_count, Some(20_000));
    }
    let data = fake.get(&child("lake", REPORT)).unwrap().data.unwrap();
    assert!(data.values().map(String::len).sum::<usize>() <= LIMIT);
}

#[tokio::test]
async fn what_the_operator_has_not_made_is_told() {
    let (fake, channel) = ground(0);
    fake.delete(&child("lake", REPORT));
    let error = channel.update(begin(1)).await.unwrap_err();
    assert_eq!(error.reason, "ChannelMissing");
    let error = channel.document::<Report>("plan", "plan.json").await.unwrap_err();
    assert!(error.message.contains(&child("lake", "plan")), "{error}");
}

#[tokio::test]
async fn a_report_that_cannot_be_read_is_begun_anew() {
    let (fake, channel) = ground(0);
    let mut map = fake.get(&child("lake", REPORT)).unwrap();
    let data = map.data.get_or_insert_default();
    data.insert("report-0.json".to_owned(), "{ not json".to_owned());
    fake.put(map);
    channel.update(begin(1)).await.unwrap();
    assert_eq!(channel.report().await.unwrap().runs.len(), 1);
}
