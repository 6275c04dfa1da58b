//! `millrace worker --source S --discover`: the streams of a Source, for its status.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use millrace_crds::{
    channel::{Discovered, Discovery, PLAN, PLAN_KEY, SourceDoc},
    plan::FlowRef,
};

use super::{api::Maps, end::Ended, note::KeptNote, pod::Pod, report, run::introduce};
use crate::{
    backoff::Backoff,
    connector::{Note, StreamInfo, System},
    engines,
    error::{Context, Result},
    secrets::LocalSecrets,
    types::odcs_fields,
};

/// Asks the source, and reports what it has, or why it could not be asked.
///
/// # Errors
/// What keeps it from reporting.
pub async fn discover(pod: &Pod, source: &str) -> Result<Ended> {
    let channel = pod.of_source(source);
    let doc: SourceDoc = channel.document(PLAN, PLAN_KEY).await?;
    let found = ask(&pod.maps(), &doc).await.context(format!("Source {source}"));
    let now = Timestamp::now();
    channel
        .update(|report| {
            introduce(report, pod, doc.generation);
            match &found {
                Ok(streams) => {
                    report.problem = None;
                    report.discovery = Some(told(streams, now));
                }
                // What was found before is still the best that is known.
                Err(error) => report.problem = Some(report::failure(error)),
            }
        })
        .await?;
    Ok(match found {
        Ok(_) => Ended::default(),
        Err(error) => Ended::failed(error),
    })
}

async fn ask(maps: &Maps, doc: &SourceDoc) -> Result<Vec<StreamInfo>> {
    let place = FlowRef {
        namespace: doc.namespace.clone(),
        name: doc.source.name.clone(),
        uid: doc.uid.clone(),
        labels: BTreeMap::new(),
    };
    let secrets = Arc::new(LocalSecrets::new());
    let note: Arc<dyn Note> = Arc::new(KeptNote::of_source(maps, &doc.source.name));
    let source = engines::source(System {
        note: Some(note),
        ..System::of_source(place, &doc.source, &secrets)
    })?;
    let backoff = Backoff {
        tries: 4,
        ..Backoff::default()
    };
    backoff.retry(|| source.discover()).await
}

fn told(streams: &[StreamInfo], now: Timestamp) -> Discovery {
    let stream = |info: &StreamInfo| Discovered {
        name: info.name.clone(),
        primary_key: info.primary_key.clone(),
        fields: odcs_fields(&info.schema),
    };
    Discovery {
        streams: streams.iter().map(stream).collect(),
        total: streams.len(),
        truncated: false,
        at: Some(now),
    }
}
