//! What the pods of one Indexed Job share beside its streams: the parts of each other's loads.
//!
//! In: an order for one of several pods, whose state lies in S3. Out: a request by which its loads are shared, at a board
//! beside the state; and, once its own streams are done, help with those of the others.

use std::{path::PathBuf, sync::Arc};

use millrace_crds::{Plan, ledger::run_id, plan::StateStorePlan};

use super::{channel::Channel, run::Order};
use crate::{
    engine::{
        flow::Flow,
        shared::{self, Board, Sharing},
    },
    error::Result,
    secrets::{LocalSecrets, Secrets},
};

/// The board beside the state of a plan; `None`: the state is not in S3.
///
/// # Errors
/// `config` where a credential is missing.
pub(super) async fn board(plan: &Plan) -> Result<Option<Board>> {
    let StateStorePlan::S3(place) = &plan.state.store else {
        return Ok(None);
    };
    let local = Arc::new(LocalSecrets::new());
    let secrets = Secrets::new(place.credentials.clone(), local, PathBuf::from("/"));
    Board::open(place, &secrets, &plan.state.id).await.map(Some)
}

/// Lets the loads of an order be shared, where it is one of several.
///
/// # Errors
/// `config` where a credential is missing.
pub(super) async fn open(order: &mut Order) -> Result<()> {
    let share = order.share;
    if share.workers < 2 || order.request.sharing.is_some() {
        return Ok(());
    }
    if order.request.run.is_empty() {
        let flow = &order.plan.flow;
        order.request.run = run_id(&flow.name, &flow.uid, order.batch.run);
    }
    let board = board(&order.plan).await?;
    order.request.sharing = board.map(|board| Sharing::new(board, share.ordinal, share.workers));
    Ok(())
}

/// Helps the other pods until their parts of the run are over, too.
pub(super) async fn help(channel: &Channel, flow: &Flow, order: &Order) {
    let Some(sharing) = &order.request.sharing else {
        return;
    };
    let number = order.batch.run;
    // What cannot be read now is read a moment later; that nothing comes up any more ends it, too.
    let over = async || channel.all_over(number).await.unwrap_or(false);
    let parts = shared::help(flow, sharing, &order.request, over).await;
    tracing::info!(
        run = number,
        parts,
        "the streams of this pod are done, and it has helped with those of others"
    );
}
