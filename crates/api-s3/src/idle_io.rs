//! A connection whose writes may not stall for ever: a client that reads nothing of its reply for too long is cut
//! off, and the memory and the place that its request holds are free again.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use runtime::Clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::body::Idle;

/// `inner` with a limit on stalled writes.
pub(crate) struct IdleIo<T> {
    inner: T,
    idle: Idle,
    stalled: bool,
}

impl<T> IdleIo<T> {
    /// Fails a write that has made no progress for `limit`.
    pub(crate) fn new(inner: T, clock: Arc<dyn Clock>, limit: Duration) -> Self {
        Self { inner, idle: Idle::new(clock, limit), stalled: false }
    }

    fn watch<R>(
        &mut self,
        cx: &mut Context<'_>,
        progress: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if progress.is_ready() {
            self.stalled = false;
            return progress;
        }
        if !self.stalled {
            self.stalled = true;
            self.idle.touch();
        }
        match self.idle.poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for IdleIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for IdleIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.watch(cx, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.watch(cx, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
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
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_stalled_write_fails_and_a_slow_one_does_not() {
        let clock = Arc::new(SimClock::default());
        let (near, mut far) = tokio::io::duplex(4);
        let mut io = IdleIo::new(near, clock.clone(), Duration::from_secs(60));
        let writer = tokio::spawn(async move { io.write_all(b"twelve bytes").await });
        for _ in 0..2 {
            tokio::task::yield_now().await;
            clock.advance(Duration::from_secs(59));
            tokio::task::yield_now().await;
            let mut four = [0; 4];
            tokio::io::AsyncReadExt::read_exact(&mut far, &mut four).await.expect("four bytes");
        }
        writer.await.expect("the task ends").expect("all is written");

        let (near, _far) = tokio::io::duplex(4);
        let mut io = IdleIo::new(near, clock.clone(), Duration::from_secs(60));
        let writer = tokio::spawn(async move { io.write_all(b"twelve bytes").await });
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(61));
        let error = writer.await.expect("the task ends").expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
