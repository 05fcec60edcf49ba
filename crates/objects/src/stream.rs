//! Small adapters for streams of bytes on their way out.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use parking_lot::Mutex;

use crate::error::ReadError;
use crate::model::OutputStream;
use crate::reads::OpenRead;

type Item = Result<Bytes, ReadError>;

/// Makes a stream shareable between threads, as servers want it. It is only ever polled through an exclusive
/// reference, so the lock is never taken.
pub(crate) struct Shared(Mutex<Pin<Box<dyn Stream<Item = Item> + Send>>>);

impl Shared {
    pub(crate) fn new(stream: impl Stream<Item = Item> + Send + 'static) -> Self {
        Self(Mutex::new(Box::pin(stream)))
    }
}

impl Stream for Shared {
    type Item = Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        self.get_mut().0.get_mut().as_mut().poll_next(cx)
    }
}

/// A stream that keeps a read open until it is dropped.
pub(crate) struct Open {
    stream: OutputStream,
    _read: OpenRead,
}

impl Open {
    pub(crate) fn new(stream: OutputStream, read: OpenRead) -> Self {
        Self { stream, _read: read }
    }
}

impl Stream for Open {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        self.stream.as_mut().poll_next(cx)
    }
}
