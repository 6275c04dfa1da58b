//! `millrace worker --flow F --forget`: the state of a Flow that is being deleted goes with it.
//!
//! In: the last plan of the Flow. Out: nothing left of its records in the state store. The operator starts this once no
//! other worker of the Flow is left, where `deletionPolicy: Delete` asks for it. What another Flow has under the same
//! `state.id` stays.

use std::sync::Arc;

use millrace_crds::channel::{PLAN, PLAN_KEY, PlanDoc};

use super::{Share, end::Ended, open, pod::Pod, sharing};
use crate::{
    error::{Context, Result},
    secrets::LocalSecrets,
    state::Store,
};

/// Removes the records.
///
/// # Errors
/// What keeps it from reading or removing one of them; what is removed stays so.
pub async fn forget(pod: &Pod, name: &str) -> Result<Ended> {
    let doc: PlanDoc = pod.of_flow(name, Share::ALONE).document(PLAN, PLAN_KEY).await?;
    let secrets = Arc::new(LocalSecrets::new());
    let store = open::store(&pod.maps(), &doc.plan, doc.adopt.as_deref(), &secrets).await?;
    let removed = records(store.as_ref(), &doc.plan.state.id, &doc.plan.flow.uid).await?;
    // The board is its alone where nobody else has a record under the same name.
    if store.list(Some(&doc.plan.state.id)).await?.is_empty()
        && let Some(board) = sharing::board(&doc.plan).await?
    {
        board.clear().await?;
    }
    tracing::info!(flow = name, removed, "the state is deleted");
    Ok(Ended::default())
}

/// Removes what one Flow has under the name of a state; gives back how many records that were.
async fn records(store: &dyn Store, state: &str, flow_uid: &str) -> Result<usize> {
    let mut removed = 0;
    for shard in store.list(Some(state)).await? {
        let found = store.load(&shard).await.context(format!("state of {shard}"))?;
        if found.is_some_and(|(record, _)| record.flow_uid == flow_uid) {
            store.remove(&shard).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::records;
    use crate::{
        protocol::ShardId,
        state::{Objects, Record, Store},
        storage::cas::MemoryCas,
    };

    #[tokio::test]
    async fn only_the_records_of_this_flow_go() {
        let store = Objects::new(Arc::new(MemoryCas::default()));
        for (state, stream, uid) in [
            ("a/x", "s", "1"),
            ("a/x", "t", "1"),
            ("a/x", "u", "2"),
            ("a/y", "s", "1"),
        ] {
            let shard = ShardId {
                state: state.to_owned(),
                stream: stream.to_owned(),
            };
            store.create(&shard, &Record::first(uid, "pod", 1)).await.unwrap();
        }
        assert_eq!(records(&store, "a/x", "1").await.unwrap(), 2);
        let left: Vec<String> = store
            .list(None)
            .await
            .unwrap()
            .iter()
            .map(|shard| shard.stream.clone())
            .collect();
        assert_eq!(left, ["u", "s"]);
        assert_eq!(records(&store, "a/x", "1").await.unwrap(), 0);
    }
}
