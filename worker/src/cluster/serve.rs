//! Metrics and probes of a worker, by HTTP: `/metrics`, `/healthz`, `/readyz`.
//!
//! A worker is alive as long as it answers. It is ready once its Flow is open; where it is not, the answer says why.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    routing::get,
};
use tokio::net::TcpListener;

use super::metrics::Metrics;
use crate::error::{Error, Result};

/// The format of the metrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether a worker is ready; clones share it.
#[derive(Clone)]
pub struct Health(Arc<Mutex<Option<String>>>);

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some("it is starting".to_owned()))))
    }
}

impl Health {
    /// It is at work.
    pub fn ready(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// It is not, and why.
    pub fn not_ready(&self, why: impl std::fmt::Display) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_string());
    }

    /// Why it is not ready, if so.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Listens on a port of every address of this pod, of either family.
///
/// # Errors
/// `config` where the port is taken.
pub async fn listen(port: u16) -> Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
            .await
            .map_err(|error| Error::config(format!("port {port}, for metrics and probes: {error}"))),
    }
}

/// Answers until it is dropped.
///
/// # Errors
/// Where the system does not let it listen any longer.
pub async fn serve(listener: TcpListener, metrics: Metrics, health: Health) -> Result<()> {
    let ready = move || async move {
        match health.missing() {
            None => (StatusCode::OK, "ok\n".to_owned()),
            Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        }
    };
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route(
            "/metrics",
            get(move || async move { ([(CONTENT_TYPE, OPEN_METRICS)], metrics.text()) }),
        );
    axum::serve(listener, router).await.map_err(Error::from)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::{Health, Metrics, listen, serve};

    async fn get(port: u16, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn probes_and_metrics_answer() {
        let listener = listen(0).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let health = Health::default();
        tokio::spawn(serve(listener, Metrics::default(), health.clone()));
        assert!(get(port, "/healthz").await.starts_with("HTTP/1.1 200"));
        let starting = get(port, "/readyz").await;
        assert!(starting.starts_with("HTTP/1.1 503") && starting.contains("starting"));
        health.ready();
        assert!(get(port, "/readyz").await.starts_with("HTTP/1.1 200"));
        health.not_ready("the Secret is missing");
        assert!(get(port, "/readyz").await.ends_with("the Secret is missing\n"));
        let metrics = get(port, "/metrics").await;
        assert!(metrics.contains("application/openmetrics-text") && metrics.contains("# EOF"));
    }
}
