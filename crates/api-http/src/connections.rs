//! The admin listener's connections: so many at once, and none that is silent for ever. Whoever can reach the listener
//! could otherwise hold every file descriptor of the process, and with them the drives. Not a general server: it
//! knows nothing of HTTP.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use runtime::Clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at once; further ones wait in the operating system's queue.
pub(crate) const CONNECTIONS_MAX: usize = 64;
/// How long a connection may last. Scrapers connect anew, and no reply takes as long.
pub(crate) const LIFETIME: Duration = Duration::from_secs(60);

/// A listener with a limit.
pub(crate) struct Bounded {
    inner: TcpListener,
    places: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
}

impl Bounded {
    /// Over `inner`.
    pub(crate) fn new(inner: TcpListener, clock: Arc<dyn Clock>) -> Self {
        Self { inner, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)), clock }
    }
}

impl Listener for Bounded {
    type Io = Mortal<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // The semaphore is never closed: without a place there is only waiting.
        let place = self.places.clone().acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.inner).await;
        (Mortal::new(stream, place, self.clock.clone()), address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

/// A connection that ends after [`LIFETIME`], whatever its client does.
pub(crate) struct Mortal<T> {
    inner: T,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    over: bool,
    _place: Option<OwnedSemaphorePermit>,
}

impl<T> Mortal<T> {
    fn new(inner: T, place: Option<OwnedSemaphorePermit>, clock: Arc<dyn Clock>) -> Self {
        let end = Box::pin(async move { clock.sleep(LIFETIME).await });
        Self { inner, end, over: false, _place: place }
    }

    /// `progress`, or an error when the end has come first.
    fn watch<R>(
        &mut self,
        cx: &mut Context<'_>,
        progress: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if progress.is_ready() {
            return progress;
        }
        if !self.over {
            ready!(self.end.as_mut().poll(cx));
            self.over = true;
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Mortal<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.inner).poll_read(cx, buffer);
        self.watch(cx, progress)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Mortal<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.watch(cx, progress)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch(cx, progress)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.watch(cx, progress)
    }
}

#[cfg(test)]
mod tests {
    use runtime::SimClock;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn places_are_limited_and_come_back_from_silent_clients() {
        let clock = Arc::new(SimClock::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut listener = Bounded::new(listener, clock.clone());
        let mut near = Vec::new();
        let mut far = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            far.push(TcpStream::connect(address).await.expect("connected"));
            near.push(listener.accept().await.0);
        }
        far.push(TcpStream::connect(address).await.expect("in the queue"));
        assert_eq!(listener.places.available_permits(), 0);
        let mut first = near.swap_remove(0);
        far[0].write_all(b"x").await.expect("written");
        assert_eq!(first.read_u8().await.expect("still alive"), b'x');
        let reading = tokio::spawn(async move { first.read_u8().await.map_err(|e| e.kind()) });
        tokio::task::yield_now().await;
        clock.advance(LIFETIME);
        assert_eq!(reading.await.expect("ends"), Err(io::ErrorKind::TimedOut));
        let _place_is_free = listener.accept().await;
    }
}
