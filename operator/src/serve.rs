//! What the operator serves: `/healthz`, `/readyz`, `/metrics`.
//!
//! In: requests of the kubelet and of Prometheus. Out: whether the process is well, what it still waits for, counts. An
//! operator that waits to lead is ready: it can take over at once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Router, extract::State, http::StatusCode, http::header::CONTENT_TYPE, response::IntoResponse,
    routing::get,
};

use crate::context::Context;

/// What is missing before the operator can do its work.
#[derive(Debug, Default)]
pub struct Missing(Mutex<BTreeSet<String>>);

impl Missing {
    /// Something is missing.
    pub fn add(&self, what: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(what.to_owned());
    }

    /// It is there.
    pub fn remove(&self, what: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(what);
    }

    /// All that is missing.
    pub fn all(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }
}

#[derive(Clone)]
struct Served {
    context: Arc<Context>,
    missing: Arc<Missing>,
}

/// Serves until the process ends.
///
/// # Errors
/// Where the address cannot be listened to.
pub async fn serve(context: Arc<Context>, missing: Arc<Missing>) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(&context.settings.listen).await?;
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Served { context, missing });
    axum::serve(listener, router).await
}

async fn ready(State(served): State<Served>) -> (StatusCode, String) {
    let missing = served.missing.all();
    if missing.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    let text = missing.iter().map(|what| format!("missing: {what}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, text)
}

async fn metrics(State(served): State<Served>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], served.context.metrics.text())
}
