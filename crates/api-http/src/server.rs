//! The listener and its routes.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::health::{self, Status};
use crate::metrics::MetricsHandle;
use crate::report::Source;

/// Why the listener could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is in use, or not ours.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// Accepting connections failed.
    #[error("the admin listener failed: {0}")]
    Serve(std::io::Error),
}

/// A bound admin listener that does not serve yet.
pub struct AdminServer {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
}

#[derive(Clone)]
struct Shared {
    source: Arc<dyn Source>,
    metrics: MetricsHandle,
    version: &'static str,
}

impl AdminServer {
    /// Binds `address`; port 0 picks a free one.
    ///
    /// # Errors
    /// [`ServeError::Bind`].
    pub async fn bind(
        address: SocketAddr,
        source: Arc<dyn Source>,
        metrics: MetricsHandle,
        version: &'static str,
    ) -> Result<Self, ServeError> {
        let bind = |source| ServeError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let router = router(Shared { source, metrics, version });
        Ok(Self { listener, address, router })
    }

    /// The address with the port that was picked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` resolves and the requests under way are answered.
    ///
    /// # Errors
    /// [`ServeError::Serve`].
    pub async fn serve(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let serving = axum::serve(self.listener, self.router).with_graceful_shutdown(stop);
        serving.await.map_err(ServeError::Serve)
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(shared)
}

async fn index(State(shared): State<Shared>) -> Response {
    let endpoints = json!({
        "GET /health": "state of nodes, drives and metadata, as JSON",
        "GET /metrics": "metrics in Prometheus' text format",
    });
    let body =
        json!({ "service": "undercroft admin", "version": shared.version, "endpoints": endpoints });
    json_response(StatusCode::OK, &body)
}

async fn health(State(shared): State<Shared>) -> Response {
    let report = shared.source.report().await;
    let (status, body) = health::to_json(&report, shared.version);
    // Degraded still serves everything: a balancer must not take it away.
    let code = match status {
        Status::Healthy | Status::Degraded => StatusCode::OK,
        Status::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    json_response(code, &body)
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let report = shared.source.report().await;
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, shared.metrics.render(&report)).into_response()
}

async fn unknown(method: Method, uri: Uri) -> Response {
    let message = format!("there is no {method} {}; see GET /", uri.path());
    json_response(StatusCode::NOT_FOUND, &json!({ "error": "not_found", "message": message }))
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let message = format!("{} does not take {method}; see GET /", uri.path());
    let body = json!({ "error": "method_not_allowed", "message": message });
    json_response(StatusCode::METHOD_NOT_ALLOWED, &body)
}

fn json_response(code: StatusCode, body: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (code, kind, format!("{body:#}\n")).into_response()
}
