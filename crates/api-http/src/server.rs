//! The listener and its routes.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use runtime::Clock;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::connections::Bounded;
use crate::health::{self, Status};
use crate::metrics::MetricsHandle;
use crate::report::{Order, Source};
use crate::workers;

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
    listener: Bounded,
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
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ServeError> {
        let bind = |source| ServeError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let mut router = router(Shared { source, metrics, version });
        if address.ip().is_loopback() {
            router = router.layer(middleware::from_fn(refuse_rebound_names));
        }
        Ok(Self { listener: Bounded::new(listener, clock), address, router })
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
        .route("/workers", get(list_workers))
        .route("/workers/{name}/pause", steering(Order::Pause))
        .route("/workers/{name}/resume", steering(Order::Resume))
        .route("/workers/{name}/run", steering(Order::Run))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(shared)
}

/// A web page may give its own name the address of this machine's loopback interface, and then read what is served
/// there (DNS rebinding). Nobody reaches a loopback listener by a name but `localhost`.
async fn refuse_rebound_names(request: Request, next: Next) -> Response {
    if is_local_name(request.headers()) {
        return next.run(request).await;
    }
    let message = "this listener is for this machine: ask for it as localhost or by its address";
    let body = json!({ "error": "misdirected_request", "message": message });
    json_response(StatusCode::MISDIRECTED_REQUEST, &body)
}

/// Whether the one `Host` is an address (any) or a name of the loopback interface.
pub(crate) fn is_local_name(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = host.to_str() else { return false };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if host.parse::<SocketAddr>().is_ok() || bracketed.unwrap_or(host).parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = match host.split_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) => return false,
        None => host,
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

async fn index(State(shared): State<Shared>) -> Response {
    let endpoints = json!({
        "GET /health": "state of nodes, drives and metadata, as JSON",
        "GET /metrics": "metrics in Prometheus' text format",
        "GET /workers": "the background workers, as JSON",
        "POST /workers/{name}/pause": "lets a worker rest until it is resumed or this process ends",
        "POST /workers/{name}/resume": "lets it go on",
        "POST /workers/{name}/run": "asks for a round at once, also of a paused worker",
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

async fn list_workers(State(shared): State<Shared>) -> Response {
    workers::list(&shared.source.workers())
}

fn steering(order: Order) -> MethodRouter<Shared> {
    post(async move |State(shared): State<Shared>, Path(name): Path<String>, headers: HeaderMap| {
        workers::steer(&*shared.source, &name, order, &headers)
    })
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

pub(crate) fn json_response(code: StatusCode, body: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (code, kind, format!("{body:#}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine() {
        let local = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().expect("a value"));
            is_local_name(&headers)
        };
        for host in [
            "127.0.0.1",
            "127.0.0.1:9001",
            "[::1]",
            "[::1]:9001",
            "localhost",
            "LocalHost:9001",
            "undercroft.localhost:9001",
            "10.0.0.1:80",
        ] {
            assert!(local(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9001",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "[::1].evil.example",
            "localhost:evil",
            "x",
            "",
            ":9001",
        ] {
            assert!(!local(host), "{host}");
        }
        assert!(!is_local_name(&HeaderMap::new()));
    }
}
