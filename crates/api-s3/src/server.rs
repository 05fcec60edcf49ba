//! Connections: accepted up to a limit, served with hyper (HTTP/1.1), drained at the end.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use runtime::Clock;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::config::S3Config;
use crate::idle_io::IdleIo;
use crate::service::Service;

/// What a client gets when there are too many connections.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\n\
Retry-After: 1\r\nContent-Length: 148\r\n\r\n<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>SlowDown\
</Code><Message>Please reduce your request rate.</Message><Resource>/</Resource></Error>";

/// How long to wait when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves S3 on `listener` until `shutdown`, then drains: idle connections are closed at once, requests under way
/// have [`crate::S3Limits::drain`] to end.
///
/// # Errors
/// When the listener is unusable from the start. Failures to accept a single connection are survived.
pub async fn serve(
    listener: TcpListener,
    config: S3Config,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let limits = config.limits.clone();
    let clock = config.runtime.clock.clone();
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let service = Arc::new(Service::new(config));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(limits.max_head_bytes)
        // Not `pipeline_flush`: it makes hyper copy every byte of a reply into one buffer.
        .max_buf_size(limits.max_head_bytes.max(64 * 1024));
    tracing::info!(%address, "serving S3");
    tokio::pin!(shutdown);
    loop {
        let stream = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    pause_after(&error, clock.as_ref()).await;
                    continue;
                }
            },
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            turn_away(stream);
            continue;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone before it was served");
            continue;
        }
        let io = TokioIo::new(IdleIo::new(stream, clock.clone(), limits.write_idle));
        let service = service.clone();
        let answer = service_fn(move |request| {
            let service = service.clone();
            async move { Ok::<_, Infallible>(service.handle(request).await) }
        });
        let connection = graceful.watch(http.serve_connection(io, answer));
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended badly");
            }
            drop(place);
        });
    }
    drop(listener);
    drain(graceful, connections, clock.as_ref(), limits.drain).await;
    Ok(())
}

async fn drain(
    graceful: GracefulShutdown,
    mut connections: JoinSet<()>,
    clock: &dyn Clock,
    limit: Duration,
) {
    tokio::select! {
        () = graceful.shutdown() => {}
        () = clock.sleep(limit) => {
            tracing::warn!(connections = connections.len(), "requests were cut off at the end of the drain");
        }
    }
    connections.shutdown().await;
}

async fn pause_after(error: &io::Error, clock: &dyn Clock) {
    let passing = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    );
    if !passing {
        tracing::error!(%error, "a connection could not be accepted");
        clock.sleep(ACCEPT_PAUSE).await;
    }
}

/// Says `SlowDown` without reading anything, as far as the socket's buffer takes it.
fn turn_away(stream: TcpStream) {
    let _ = stream.try_write(TOO_MANY);
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_canned_refusal_says_its_length() {
        let text = std::str::from_utf8(super::TOO_MANY).expect("UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len()))
                || head.ends_with(&format!("Content-Length: {}", body.len())),
            "{}",
            body.len()
        );
    }
}
