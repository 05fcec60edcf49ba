//! A request's body on its way in: framing taken off, length, hash, chunk signatures and trailer verified, silence
//! noticed.
//!
//! The last piece of a body is held back until everything has been verified, so that whoever has all the bytes it
//! was promised also knows that they are the signer's. (s3s would collect each chunk, up to 4 GiB, before it let
//! it pass; takes the end of the connection between two chunks for the end of the body; and does not hold the
//! decoded length against what was declared. Its decoder is not used.)

mod chunked;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use objects::{BodyError, BodyStream, ChecksumAlgorithm, ChecksumValue};
use parking_lot::Mutex;
use runtime::Clock;

use crate::error::Code;
use crate::gate::{Claim, Payload, Trailer};
pub(crate) use chunked::ChunkSigner;
use chunked::Chunked;
#[cfg(test)]
pub(crate) use chunked::hex;

/// The connection failed or ended too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// Bytes as they come from the connection.
pub(crate) type Wire = UnsyncBoxBody<Bytes, Broken>;

/// Why a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It ended before its declared length.
    Incomplete,
    /// It went on behind its declared length.
    TooLong,
    /// Anything that has an S3 code of its own.
    Refused(Code),
}

impl From<Fault> for BodyError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Incomplete => Self::Incomplete,
            Fault::TooLong => Self::TooLong,
            Fault::Refused(code) => Self::Refused(code.as_str().to_owned()),
        }
    }
}

/// Where the trailer's checksum is found once the body has been read.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrailerSlot(Arc<Mutex<Option<ChecksumValue>>>);

impl TrailerSlot {
    /// Takes the value out, if the trailer has come.
    pub(crate) fn take(&self) -> Option<ChecksumValue> {
        self.0.lock().take()
    }

    fn set(&self, value: ChecksumValue) {
        *self.0.lock() = Some(value);
    }
}

/// A body that verifies itself as it is read.
pub(crate) struct RequestBody {
    wire: Wire,
    framing: Framing,
    ready: VecDeque<Bytes>,
    held: Option<Bytes>,
    state: State,
    idle: Idle,
    len: u64,
    trailer: TrailerSlot,
    trailer_algorithm: Option<ChecksumAlgorithm>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Verified,
    Over,
}

enum Framing {
    Plain { left: u64, hash: Option<(digest::Context, [u8; 32])> },
    Chunked(Box<Chunked>),
}

impl RequestBody {
    /// A body of `len` decoded bytes that is protected as `payload` says. `signer` makes the chunk signatures of a
    /// verified claim.
    pub(crate) fn new(
        wire: Wire,
        payload: Payload,
        len: u64,
        signer: impl FnOnce() -> ChunkSigner,
        idle: Idle,
    ) -> Self {
        let trailer = TrailerSlot::default();
        let mut trailer_algorithm = None;
        let framing = match payload {
            Payload::Unsigned => Framing::Plain { left: len, hash: None },
            Payload::Hash(expected) => {
                let context = digest::Context::new(&digest::SHA256);
                Framing::Plain { left: len, hash: Some((context, expected)) }
            }
            Payload::Chunked { signed, trailer: declared } => {
                if let Trailer::Checksum(algorithm) = declared {
                    trailer_algorithm = Some(algorithm);
                }
                let signer = signed.then(signer);
                Framing::Chunked(Box::new(Chunked::new(
                    len,
                    signer,
                    trailer_algorithm,
                    trailer.clone(),
                )))
            }
        };
        let (ready, held, state) = (VecDeque::new(), None, State::Reading);
        Self { wire, framing, ready, held, state, idle, len, trailer, trailer_algorithm }
    }

    /// Length of the decoded body in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The checksum that the trailer will bring, and where to find it.
    pub(crate) fn trailer(&self) -> Option<(ChecksumAlgorithm, TrailerSlot)> {
        self.trailer_algorithm.map(|algorithm| (algorithm, self.trailer.clone()))
    }

    /// The body as the engine reads it. One without bytes is verified at once: nobody would poll for them.
    ///
    /// # Errors
    /// What is wrong with a body without bytes.
    pub(crate) async fn into_stream(mut self) -> Result<BodyStream, BodyError> {
        if self.len > 0 {
            return Ok(Box::pin(self));
        }
        while let Some(piece) = self.next().await {
            piece?;
        }
        Ok(Box::pin(futures::stream::empty()))
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        loop {
            while let Some(piece) = self.ready.pop_front() {
                if let Some(earlier) = self.held.replace(piece) {
                    return Poll::Ready(Some(Ok(earlier)));
                }
            }
            match self.state {
                State::Reading => {}
                State::Verified => {
                    self.state = State::Over;
                    return Poll::Ready(self.held.take().map(Ok));
                }
                State::Over => return Poll::Ready(None),
            }
            let step = match Pin::new(&mut self.wire).poll_frame(cx) {
                Poll::Pending => {
                    ready!(self.idle.poll(cx));
                    Err(Fault::Refused(Code::RequestTimeout))
                }
                Poll::Ready(Some(Ok(frame))) => {
                    self.idle.touch();
                    match frame.into_data() {
                        Ok(data) => self.framing.push(data, &mut self.ready),
                        // HTTP trailers are not S3 trailers.
                        Err(_) => Ok(()),
                    }
                }
                Poll::Ready(Some(Err(Broken))) => Err(Fault::Incomplete),
                Poll::Ready(None) => self.framing.finish().map(|()| self.state = State::Verified),
            };
            if let Err(fault) = step {
                self.state = State::Over;
                self.ready.clear();
                self.held = None;
                return Poll::Ready(Some(Err(fault)));
            }
        }
    }
}

impl Stream for RequestBody {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_piece(cx).map(|piece| piece.map(|piece| piece.map_err(BodyError::from)))
    }
}

impl Framing {
    fn push(&mut self, data: Bytes, ready: &mut VecDeque<Bytes>) -> Result<(), Fault> {
        match self {
            Self::Plain { left, hash } => {
                let len = data.len() as u64;
                *left = left.checked_sub(len).ok_or(Fault::TooLong)?;
                if let Some((context, _)) = hash {
                    context.update(&data);
                }
                if !data.is_empty() {
                    ready.push_back(data);
                }
                Ok(())
            }
            Self::Chunked(chunked) => chunked.push(data, ready),
        }
    }

    fn finish(&mut self) -> Result<(), Fault> {
        match self {
            Self::Plain { left: 0, hash } => {
                let matches = |(context, expected): (digest::Context, [u8; 32])| {
                    context.finish().as_ref() == expected
                };
                if hash.take().is_none_or(matches) {
                    Ok(())
                } else {
                    Err(Fault::Refused(Code::XAmzContentSha256Mismatch))
                }
            }
            Self::Plain { .. } => Err(Fault::Incomplete),
            Self::Chunked(chunked) => chunked.finish(),
        }
    }
}

/// Notices that a client has gone silent.
pub(crate) struct Idle {
    clock: Arc<dyn Clock>,
    limit: Duration,
    last: Duration,
    sleep: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Idle {
    /// Ready when nothing was heard for `limit`.
    pub(crate) fn new(clock: Arc<dyn Clock>, limit: Duration) -> Self {
        let last = clock.monotonic();
        Self { clock, limit, last, sleep: None }
    }

    /// Something was heard.
    pub(crate) fn touch(&mut self) {
        self.last = self.clock.monotonic();
    }

    /// Ready when the limit has passed. One timer lasts for many touches: it looks at the time when it fires.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let sleep = match &mut self.sleep {
                Some(sleep) => sleep,
                None => {
                    let quiet = self.clock.monotonic().saturating_sub(self.last);
                    let Some(rest) = self.limit.checked_sub(quiet).filter(|r| !r.is_zero()) else {
                        return Poll::Ready(());
                    };
                    let clock = self.clock.clone();
                    self.sleep.insert(Box::pin(async move { clock.sleep(rest).await }))
                }
            };
            ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
        }
    }
}

impl ChunkSigner {
    /// For the chunks behind a verified claim.
    pub(crate) fn of_claim(claim: &Claim, secret: &str) -> Self {
        Self::new(secret, &claim.scope_date, &claim.region, &claim.date, &claim.signature)
    }
}

#[cfg(test)]
pub(crate) mod tests;
