//! The admin listener over a real socket, against a source whose answers the test chooses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api_http::{
    AdminServer, DriveReport, DriveState, MetadataReport, MetricsHandle, NodeReport, Order,
    RedundancyReport, Report, Source, WorkerReports,
};
use runtime::{Progress, Runtime, UnknownWorker, Worker, Workers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use types::{DriveId, NodeId};

struct Switch {
    drive_is_away: AtomicBool,
    workers: Workers,
}

/// Has nothing to do.
struct Lazy;

#[async_trait::async_trait]
impl Worker for Lazy {
    fn name(&self) -> &'static str {
        "lazy"
    }

    fn about(&self) -> &'static str {
        "Rests."
    }

    async fn step(&mut self) -> Result<Progress, String> {
        Ok(Progress::Idle(std::time::Duration::from_secs(3600)))
    }
}

#[async_trait::async_trait]
impl Source for Switch {
    async fn report(&self) -> Report {
        let away = self.drive_is_away.load(Ordering::SeqCst);
        let drive = DriveReport {
            id: DriveId::new(1),
            path: "node-1".to_owned(),
            state: if away { DriveState::Away } else { DriveState::Up },
            trouble: None,
            capacity_bytes: 10,
            available_bytes: 5,
            used_bytes: 1,
            shards: 1,
            quarantine_bytes: 0,
        };
        Report {
            nodes: vec![NodeReport {
                id: NodeId::new(1),
                name: "node-1".to_owned(),
                drives: vec![drive],
            }],
            metadata: MetadataReport { replicas: 1, available: true, ..Default::default() },
            redundancy: RedundancyReport { geometry: "1+0".to_owned(), ..Default::default() },
            workers: self.workers(),
            ..Default::default()
        }
    }

    fn workers(&self) -> WorkerReports {
        self.workers.states()
    }

    fn steer(&self, name: &str, order: Order) -> Result<(), UnknownWorker> {
        match order {
            Order::Pause => self.workers.pause(name),
            Order::Resume => self.workers.resume(name),
            Order::Run => self.workers.run_now(name),
        }
    }
}

async fn ask(address: std::net::SocketAddr, request: &str) -> (u16, String) {
    ask_as(address, request, "localhost").await
}

async fn ask_as(address: std::net::SocketAddr, request: &str, host: &str) -> (u16, String) {
    let reply = exchange(address, &format!("{request} HTTP/1.1\r\nhost: {host}")).await;
    let code = reply.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
    let body = reply.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (code, body)
}

/// The whole reply to a request with these head lines.
async fn exchange(address: std::net::SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the listener is there");
    let head = format!("{head}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("the request is sent");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.expect("the reply is text");
    reply
}

#[tokio::test]
async fn health_metrics_index_and_strangers() {
    let workers = Workers::new(Runtime::real().clock);
    workers.start(Lazy);
    let source = Arc::new(Switch { drive_is_away: AtomicBool::new(false), workers });
    let handle = MetricsHandle::install("9.9.9").expect("the first recorder of this process");
    assert!(MetricsHandle::install("9.9.9").is_err());
    let any = "127.0.0.1:0".parse().expect("an address");
    let server =
        AdminServer::bind(any, source.clone(), handle, "9.9.9", Runtime::real().clock).await;
    let server = server.expect("a free port");
    let address = server.address();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(async {
        let _ = stopped.await;
    }));

    let (code, body) = ask(address, "GET /health").await;
    assert_eq!(code, 200);
    assert!(
        body.contains("\"status\": \"healthy\"") && body.contains("\"version\": \"9.9.9\""),
        "{body}"
    );

    source.drive_is_away.store(true, Ordering::SeqCst);
    let (code, body) = ask(address, "GET /health").await;
    assert_eq!(code, 503);
    assert!(
        body.contains("\"status\": \"unhealthy\"") && body.contains("\"state\": \"down\""),
        "{body}"
    );

    let (code, body) = ask(address, "GET /metrics").await;
    assert_eq!(code, 200);
    assert!(body.contains("undercroft_build_info{version=\"9.9.9\"} 1"), "{body}");
    assert!(body.contains("undercroft_health 0"), "{body}");

    assert_eq!(ask(address, "GET /").await.0, 200);
    let (code, body) = ask(address, "GET /nothing?secret=1").await;
    assert!(code == 404 && body.contains("not_found") && !body.contains("secret"), "{body}");
    assert_eq!(ask(address, "POST /health").await.0, 405);

    let (code, body) = ask_as(address, "GET /health", "evil.example:9001").await;
    assert!(code == 421 && !body.contains("node-1"), "{body}");
    assert_eq!(ask_as(address, "GET /health", &address.to_string()).await.0, 503);

    steering(address).await;

    stop.send(()).expect("the server still runs");
    serving.await.expect("no panic").expect("a clean end");
}

/// Workers are listed and steered, and not by web pages.
async fn steering(address: std::net::SocketAddr) {
    let listed = async || {
        let (code, body) = ask(address, "GET /workers").await;
        assert_eq!(code, 200);
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        body["workers"][0].clone()
    };
    // Its first step may still have to end.
    while listed().await["state"] != "idle" {}
    assert_eq!((&listed().await["name"], &listed().await["steps"]), (&"lazy".into(), &1.into()));

    let pause = "POST /workers/lazy/pause HTTP/1.1";
    for page in ["origin: http://evil.example", "origin: null", "sec-fetch-site: same-origin"] {
        let reply = exchange(address, &format!("{pause}\r\nhost: localhost\r\n{page}")).await;
        assert!(reply.starts_with("HTTP/1.1 403 ") && reply.contains("forbidden"), "{reply}");
    }
    assert_eq!(ask_as(address, "POST /workers/lazy/pause", "evil.example").await.0, 421);
    assert_eq!(listed().await["paused"], false);

    let (code, body) = ask(address, "POST /workers/lazy/pause").await;
    assert!(code == 200 && body.contains("\"state\": \"paused\""), "{body}");
    let (_, health) = ask(address, "GET /health").await;
    assert!(health.contains("worker lazy is paused"), "{health}");
    assert_eq!(ask(address, "POST /workers/lazy/run").await.0, 200);
    while listed().await["steps"] != 2 {}
    assert_eq!(listed().await["paused"], true);
    let (code, body) = ask(address, "POST /workers/lazy/resume").await;
    assert!(code == 200 && body.contains("\"paused\": false"), "{body}");
    while listed().await["steps"] != 3 {}

    let (code, body) = ask(address, "POST /workers/crazy/pause").await;
    assert!(code == 404 && body.contains("there are: lazy"), "{body}");
    assert_eq!(ask(address, "POST /workers/lazy/dance").await.0, 404);
    for (request, allow) in [("GET /workers/lazy/pause", "POST"), ("POST /workers", "GET,HEAD")] {
        let reply = exchange(address, &format!("{request} HTTP/1.1\r\nhost: localhost")).await;
        assert!(reply.starts_with("HTTP/1.1 405 "), "{reply}");
        let head = reply.to_lowercase();
        assert!(head.contains(&format!("allow: {}\r\n", allow.to_lowercase())), "{reply}");
    }
}
