//! The connection's side of a request body: bytes counted, and what is left of a refused body read away for a
//! while, so that the client gets to see the refusal instead of a reset connection.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use runtime::Clock;

use crate::body::{Broken, Wire};
use crate::telemetry::Meter;

/// How much of an unwanted body is read away, and for how long.
const LINGER_MAX_BYTES: usize = 8 << 20;
const LINGER: Duration = Duration::from_secs(10);

/// See [`Lingering::held_back`].
pub(crate) struct HeldBack {
    waits: bool,
    begun: Arc<AtomicBool>,
}

impl HeldBack {
    /// Whether it is so now.
    pub(crate) fn is_true(&self) -> bool {
        self.waits && !self.begun.load(Ordering::Relaxed)
    }
}

/// A body that is read away when it is dropped unread.
pub(crate) struct Lingering<B: Body<Data = Bytes> + Unpin + Send + 'static> {
    inner: Option<B>,
    begun: Arc<AtomicBool>,
    expects: bool,
    meter: Meter,
    clock: Arc<dyn Clock>,
}

impl<B> Lingering<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Send,
{
    /// `expects`: the client waits for `100 Continue` and sends nothing before.
    pub(crate) fn new(inner: B, expects: bool, meter: Meter, clock: Arc<dyn Clock>) -> Self {
        Self { inner: Some(inner), begun: Arc::default(), expects, meter, clock }
    }

    /// Tells, at any time, whether the client waits for `100 Continue` and has not been sent it: its body will not
    /// come, and the connection cannot serve another request.
    pub(crate) fn held_back(&self) -> HeldBack {
        let waits = self.expects && self.inner.as_ref().is_some_and(|body| !body.is_end_stream());
        HeldBack { waits, begun: self.begun.clone() }
    }

    /// In the form that [`crate::body::RequestBody`] reads.
    pub(crate) fn into_wire(self) -> Wire {
        self.boxed_unsync()
    }
}

impl<B: Body<Data = Bytes> + Unpin + Send + 'static> Body for Lingering<B> {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.begun.store(true, Ordering::Relaxed);
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        match std::task::ready!(Pin::new(inner).poll_frame(cx)) {
            Some(Ok(frame)) => {
                self.meter.add(frame.data_ref().map_or(0, Bytes::len));
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(_)) => {
                self.inner = None;
                Poll::Ready(Some(Err(Broken)))
            }
            None => {
                self.inner = None;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B: Body<Data = Bytes> + Unpin + Send + 'static> Drop for Lingering<B> {
    fn drop(&mut self) {
        let Some(mut inner) = self.inner.take() else { return };
        if inner.is_end_stream() || (self.expects && !self.begun.load(Ordering::Relaxed)) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let clock = self.clock.clone();
        runtime.spawn(async move {
            let read_away = async {
                let mut left = LINGER_MAX_BYTES;
                while let Some(Ok(frame)) = inner.frame().await {
                    match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                        Some(rest) => left = rest,
                        None => break,
                    }
                }
            };
            tokio::select! {
                () = read_away => {}
                () = clock.sleep(LINGER) => {}
            }
        });
    }
}
