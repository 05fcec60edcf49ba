//! Connections: kept alive, limited, drained, and clients that do not behave.

use std::time::Duration;

use super::support::*;
use crate::S3Limits;

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_and_drained() {
    let mut server = Server::start().await;
    let mut connection = server.connect().await;
    for _ in 0..3 {
        let request = Request::new("GET", "/").sign(OWNER);
        connection.write(&request.to_bytes()).await;
        connection.read("GET").await.ok(200);
    }
    server.begin_stop();
    assert!(connection.closed().await, "an idle connection is closed");
    server.stopped().await;
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_may_end() {
    let mut server = Server::start().await;
    server.ask("PUT", "/bucket", b"").await.ok(200);
    let request = Request::new("PUT", "/bucket/k").body(b"hello world").sign(OWNER);
    let bytes = request.to_bytes();
    let mut connection = server.connect().await;
    connection.write(&bytes[..bytes.len() - 3]).await;
    // An answer to another request says that the first one's head has been seen as well.
    server.ask("GET", "/", b"").await.ok(200);
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.begin_stop();
    connection.write(&bytes[bytes.len() - 3..]).await;
    connection.read("PUT").await.ok(200);
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drain_has_an_end() {
    let limits = S3Limits { drain: Duration::from_millis(300), ..S3Limits::default() };
    let mut server = Server::start_with(limits).await;
    server.ask("PUT", "/bucket", b"").await.ok(200);
    let request = Request::new("PUT", "/bucket/k").body(b"hello").sign(OWNER);
    let mut connection = server.connect().await;
    connection.write(&request.head(Some(5))).await;
    connection.write(b"hel").await;
    server.ask("GET", "/", b"").await.ok(200);
    server.begin_stop();
    server.stopped().await;
    assert!(connection.closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_are_told_to_slow_down() {
    let limits = S3Limits {
        max_in_flight: 1,
        admission_wait: Duration::from_millis(50),
        ..S3Limits::default()
    };
    let server = Server::start_with(limits).await;
    server.ask("PUT", "/bucket", b"").await.ok(200);
    let request = Request::new("PUT", "/bucket/k")
        .header("expect", "100-continue")
        .body(b"hello")
        .sign(OWNER);
    let mut slow = server.connect().await;
    slow.write(&request.head(Some(5))).await;
    // The server reads the body: the request has its place.
    assert_eq!(slow.read("PUT").await.status, 100);
    let mut refused = server.connect().await;
    refused.write(&request.head(Some(5))).await;
    refused.read("PUT").await.refused(503, "SlowDown");
    // Strangers do not even wait for a place.
    let guess = Identity2 { key: OWNER.key, secret: "a guess" };
    let stranger = server.send(&Request::new("GET", "/").sign(guess)).await;
    stranger.refused(403, "SignatureDoesNotMatch");
    slow.write(b"hello").await;
    slow.read("PUT").await.ok(200);
    server.ask("GET", "/bucket/k", b"").await.ok(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_connections_are_turned_away() {
    let limits = S3Limits { max_connections: 1, ..S3Limits::default() };
    let server = Server::start_with(limits).await;
    let mut first = server.connect().await;
    first.write(&Request::new("GET", "/").sign(OWNER).to_bytes()).await;
    first.read("GET").await.ok(200);
    let mut second = server.connect().await;
    let answer = second.read("GET").await;
    assert_eq!((answer.status, answer.element("Code")), (503, "SlowDown"));
    assert!(second.closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_body_times_out() {
    let limits = S3Limits { body_idle: Duration::from_millis(100), ..S3Limits::default() };
    let server = Server::start_with(limits).await;
    server.ask("PUT", "/bucket", b"").await.ok(200);
    let request = Request::new("PUT", "/bucket/k").body(b"hello").sign(OWNER);
    let mut connection = server.connect().await;
    connection.write(&request.head(Some(5))).await;
    connection.write(b"hel").await;
    connection.read("PUT").await.refused(400, "RequestTimeout");
    server.ask("GET", "/bucket/k", b"").await.refused(404, "NoSuchKey");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_leaves_nothing() {
    let server = Server::start().await;
    server.ask("PUT", "/bucket", b"").await.ok(200);
    for len in [5, 100_000] {
        let body = vec![b'x'; len];
        let bytes = Request::new("PUT", "/bucket/k").body(&body).sign(OWNER).to_bytes();
        let mut connection = server.connect().await;
        connection.write(&bytes[..bytes.len() - 1]).await;
        drop(connection);
        server.ask("GET", "/bucket/k", b"").await.refused(404, "NoSuchKey");
    }
    server.ask("PUT", "/bucket/k", &vec![b'y'; 3 << 20]).await.ok(200);
    let mut connection = server.connect().await;
    connection.write(&Request::new("GET", "/bucket/k").sign(OWNER).to_bytes()).await;
    drop(connection);
    assert_eq!(server.ask("GET", "/bucket/k", b"").await.ok(200).body.len(), 3 << 20);
}

/// A refusal reaches a client that is still sending, and the connection stays good.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_seen_by_a_client_that_sends_on() {
    let server = Server::start().await;
    let body = vec![b'x'; 2 << 20];
    let request = Request::new("PUT", "/nowhere/k").body(&body).sign(OWNER);
    let mut connection = server.connect().await;
    connection.write(&request.to_bytes()).await;
    connection.read("PUT").await.refused(404, "NoSuchBucket");
    connection.write(&Request::new("GET", "/").sign(OWNER).to_bytes()).await;
    connection.read("GET").await.ok(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_permission_gets_the_refusal_first() {
    let server = Server::start().await;
    server.ask("PUT", "/bucket", b"").await.ok(200);
    let put = |path| {
        Request::new("PUT", path).header("expect", "100-continue").body(b"hello").sign(OWNER)
    };
    let mut connection = server.connect().await;
    connection.write(&put("/nowhere/k").head(Some(5))).await;
    connection.read("PUT").await.refused(404, "NoSuchBucket");
    let mut connection = server.connect().await;
    connection.write(&put("/bucket/k").head(Some(5))).await;
    assert_eq!(connection.read("PUT").await.status, 100);
    connection.write(b"hello").await;
    connection.read("PUT").await.ok(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_does_not_hurt() {
    let server = Server::start().await;
    let heads: [&[u8]; 7] = [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET * HTTP/1.1\r\nhost: h\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n",
        b"GET /%ff HTTP/1.1\r\nhost: h\r\n\r\n",
        b"PUT /b/k HTTP/1.1\r\nhost: h\r\ncontent-length: 99999999999999999999\r\n\r\n",
    ];
    for head in heads {
        let mut connection = server.connect().await;
        connection.write(head).await;
        let mut bytes = Vec::new();
        let read = tokio::io::AsyncReadExt::read_buf(&mut connection.stream, &mut bytes);
        let _ = tokio::time::timeout(Duration::from_secs(10), read).await;
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    server.ask("GET", "/", b"").await.ok(200);
}
