//! Replies: a status, headers and a body of exact length, sent without copying.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use objects::OutputStream;

use crate::telemetry::Record;

/// What an operation answers.
pub(crate) struct Reply {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: ReplyBody,
}

/// A reply's body.
pub(crate) enum ReplyBody {
    /// None.
    Empty,
    /// In memory.
    Bytes(Bytes),
    /// A stream of exactly so many bytes.
    Stream(OutputStream, u64),
}

impl Reply {
    /// Without a body.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::with_capacity(16), body: ReplyBody::Empty }
    }

    /// 200 with an XML document.
    pub(crate) fn xml(document: Vec<u8>) -> Self {
        let mut reply = Self::empty(StatusCode::OK);
        reply.set_xml(document);
        reply
    }

    /// Makes the body an XML document.
    pub(crate) fn set_xml(&mut self, document: Vec<u8>) {
        self.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        self.body = ReplyBody::Bytes(document.into());
    }

    /// Sets a header; text that cannot be one is left out.
    pub(crate) fn set(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
    }

    /// Sets an `x-amz-…` header.
    pub(crate) fn set_amz(&mut self, name: &'static str, value: &str) {
        self.set(HeaderName::from_static(name), value);
    }
}

/// The connection has to be broken: the reply cannot be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CannotComplete;

impl std::fmt::Display for CannotComplete {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the reply could not be completed")
    }
}

impl std::error::Error for CannotComplete {}

/// A body on its way out, with the record that is written when it has gone.
pub(crate) struct Sending {
    body: ReplyBody,
    record: Record,
}

impl Sending {
    /// Sends `body`, then closes `record`.
    pub(crate) fn new(body: ReplyBody, record: Record) -> Self {
        Self { body, record }
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = CannotComplete;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CannotComplete>>> {
        let this = &mut *self;
        let (stream, left) = match &mut this.body {
            ReplyBody::Empty => return Poll::Ready(None),
            ReplyBody::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                this.body = ReplyBody::Empty;
                this.record.sent(bytes.len());
                return Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))));
            }
            ReplyBody::Stream(_, 0) => return Poll::Ready(None),
            ReplyBody::Stream(stream, left) => (stream, left),
        };
        match std::task::ready!(stream.as_mut().poll_next(cx)) {
            Some(Ok(bytes)) => match left.checked_sub(bytes.len() as u64) {
                Some(rest) => {
                    *left = rest;
                    this.record.sent(bytes.len());
                    Poll::Ready(Some(Ok(Frame::data(bytes))))
                }
                None => Poll::Ready(Some(Err(this.record.broken("more bytes than promised")))),
            },
            Some(Err(error)) => Poll::Ready(Some(Err(this.record.broken(&error.to_string())))),
            None => Poll::Ready(Some(Err(this.record.broken("fewer bytes than promised")))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            ReplyBody::Empty | ReplyBody::Stream(_, 0) => true,
            ReplyBody::Bytes(bytes) => bytes.is_empty(),
            ReplyBody::Stream(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            ReplyBody::Empty => SizeHint::with_exact(0),
            ReplyBody::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            ReplyBody::Stream(_, left) => SizeHint::with_exact(*left),
        }
    }
}
