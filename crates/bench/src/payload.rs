//! Request bodies: slices of one buffer of random bytes, never copied.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use aws_lc_rs::digest;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use runtime::Entropy;

use crate::sign::hex;

/// Length of the buffer: not a multiple of any block size, so that a server that stores equal
/// blocks once finds none in an object that goes round the buffer several times.
const SOURCE_BYTES: usize = (4 << 20) + 4099;

/// Bytes handed to the connection at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// Random bytes that all bodies are cut from. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Source(Bytes);

impl Source {
    pub(crate) fn new(entropy: &dyn Entropy) -> Self {
        let mut bytes = vec![0; SOURCE_BYTES];
        entropy.fill(&mut bytes);
        Self(bytes.into())
    }

    /// A body of `len` bytes that begins `offset` (of any size) bytes into the buffer.
    pub(crate) fn payload(&self, offset: u64, len: u64) -> Payload {
        let position = (offset % SOURCE_BYTES as u64) as usize;
        Payload { source: self.0.clone(), position, remaining: len }
    }
}

/// A body. A clone begins where this one is.
#[derive(Clone, Default)]
pub(crate) struct Payload {
    source: Bytes,
    position: usize,
    remaining: u64,
}

impl Payload {
    /// No bytes.
    pub(crate) fn empty() -> Self {
        Self::default()
    }

    /// A short text.
    pub(crate) fn text(text: String) -> Self {
        Self { remaining: text.len() as u64, source: text.into(), position: 0 }
    }

    pub(crate) fn len(&self) -> u64 {
        self.remaining
    }

    /// The SHA-256 of what remains, in hexadecimal.
    pub(crate) fn sha256(&self) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        let mut rest = self.clone();
        while let Some(chunk) = rest.next_chunk() {
            context.update(&chunk);
        }
        hex(context.finish())
    }

    fn next_chunk(&mut self) -> Option<Bytes> {
        if self.remaining == 0 {
            return None;
        }
        let left = self.source.len().saturating_sub(self.position);
        let len = left.min(CHUNK_BYTES).min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        let chunk = self.source.slice(self.position..self.position + len);
        self.remaining -= len as u64;
        self.position = if len == left { 0 } else { self.position + len };
        Some(chunk)
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next_chunk().map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(mut payload: Payload) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(chunk) = payload.next_chunk() {
            assert!(!chunk.is_empty() && chunk.len() <= CHUNK_BYTES);
            all.extend_from_slice(&chunk);
        }
        all
    }

    #[test]
    fn bodies_go_round_the_buffer() {
        let source = Source::new(&runtime::SimEntropy::new(1));
        let len = 2 * SOURCE_BYTES as u64 + 77;
        let offset = SOURCE_BYTES as u64 * 3 + 100;
        let payload = source.payload(offset, len);
        assert_eq!(payload.size_hint().exact(), Some(len));
        let all = bytes(payload.clone());
        assert_eq!(all.len() as u64, len);
        for (i, &byte) in all.iter().enumerate() {
            assert_eq!(byte, source.0[(i + 100) % SOURCE_BYTES]);
        }
        assert_eq!(payload.sha256(), hex(digest::digest(&digest::SHA256, &all)));
        assert!(bytes(source.payload(5, 0)).is_empty());
        assert_eq!(bytes(Payload::text("abc".to_owned())), b"abc");
    }

    #[test]
    fn blocks_of_a_large_object_differ() {
        let source = Source::new(&runtime::SimEntropy::new(2));
        let all = bytes(source.payload(0, 64 << 20));
        let blocks: std::collections::HashSet<&[u8]> = all.chunks(1 << 20).collect();
        assert_eq!(blocks.len(), 64);
    }
}
