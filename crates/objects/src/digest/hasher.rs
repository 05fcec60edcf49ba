//! The hasher that a body runs through once: MD5 and one checksum at the same time.
//!
//! CRCs run at tens of GB/s and are computed where the bytes are. MD5 and SHA run at about one, so once a body
//! has shown itself to be large they move to tokio's blocking threads, in batches: the state goes there with
//! a batch and comes back, so a slow client holds no thread. A bounded number of bytes waits for it.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use bytes::Bytes;
use md5::{Digest as _, Md5};
use tokio::task::JoinHandle;

use super::{ChecksumAlgorithm, ChecksumValue};

/// The first bytes of every body are hashed in place: for a small one a hand-over costs more than it gains.
const INLINE_BYTES: usize = 256 * 1024;
/// The least that is worth a hand-over.
const BATCH_BYTES: usize = 256 * 1024;
/// Most bytes that wait for a thread; as many again may be with it.
const QUEUE_BYTES: usize = 1024 * 1024;

/// What a [`Hasher`] computed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digests {
    /// MD5 of all bytes, if it was asked for.
    pub(crate) md5: Option<[u8; 16]>,
    /// The checksum of all bytes, if one was asked for.
    pub(crate) checksum: Option<ChecksumValue>,
}

/// Digests over a run of bytes.
pub(crate) struct Hasher {
    md5: Option<Lane<Md5>>,
    checksum: Checksum,
}

enum Checksum {
    None,
    Crc(ChecksumAlgorithm, crc_fast::Digest),
    Sha(ChecksumAlgorithm, Lane<Context>),
}

impl Hasher {
    /// Computes MD5 if `md5`, and `checksum` if there is one.
    pub(crate) fn new(md5: bool, checksum: Option<ChecksumAlgorithm>) -> Self {
        let checksum = match checksum {
            None => Checksum::None,
            Some(algorithm) => match crc_of(algorithm) {
                Some(crc) => Checksum::Crc(algorithm, crc_fast::Digest::new(crc)),
                None => Checksum::Sha(algorithm, Lane::new(sha_of(algorithm))),
            },
        };
        Self { md5: md5.then(|| Lane::new(Md5::new())), checksum }
    }

    /// Takes the next bytes. Waits while a slow digest is too far behind; a few MiB may stay
    /// referenced until [`Self::settle`] or [`Self::finish`].
    pub(crate) async fn update(&mut self, bytes: Bytes) {
        match &mut self.checksum {
            Checksum::None => {}
            Checksum::Crc(_, crc) => crc.update(&bytes),
            Checksum::Sha(_, lane) => lane.update(bytes.clone()).await,
        }
        if let Some(lane) = &mut self.md5 {
            lane.update(bytes).await;
        }
    }

    /// Waits until none of the bytes taken so far are referenced any more.
    pub(crate) async fn settle(&mut self) {
        if let Checksum::Sha(_, lane) = &mut self.checksum {
            lane.settle().await;
        }
        if let Some(lane) = &mut self.md5 {
            lane.settle().await;
        }
    }

    /// Waits for the last bytes to be hashed and gives the digests of all that were taken.
    pub(crate) async fn finish(self) -> Digests {
        let checksum = match self.checksum {
            Checksum::None => None,
            Checksum::Crc(algorithm, crc) => Some(crc_value(algorithm, crc.finalize())),
            Checksum::Sha(algorithm, lane) => {
                ChecksumValue::new(algorithm, lane.finish().await.finish().as_ref())
            }
        };
        let md5 = match self.md5 {
            Some(lane) => Some(lane.finish().await.finalize().into()),
            None => None,
        };
        Digests { md5, checksum }
    }
}

/// crc-fast's name of an algorithm; `None` for the SHAs.
pub(super) fn crc_of(algorithm: ChecksumAlgorithm) -> Option<crc_fast::CrcAlgorithm> {
    match algorithm {
        ChecksumAlgorithm::Crc32 => Some(crc_fast::CrcAlgorithm::Crc32IsoHdlc),
        ChecksumAlgorithm::Crc32c => Some(crc_fast::CrcAlgorithm::Crc32Iscsi),
        ChecksumAlgorithm::Crc64Nvme => Some(crc_fast::CrcAlgorithm::Crc64Nvme),
        ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 => None,
    }
}

/// A CRC as S3 writes it: big-endian, in the algorithm's length.
pub(super) fn crc_value(algorithm: ChecksumAlgorithm, crc: u64) -> ChecksumValue {
    let bytes = crc.to_be_bytes();
    ChecksumValue { algorithm, bytes: bytes[8 - algorithm.len_bytes().min(8)..].to_vec() }
}

fn sha_of(algorithm: ChecksumAlgorithm) -> Context {
    match algorithm {
        ChecksumAlgorithm::Sha1 => Context::new(&SHA1_FOR_LEGACY_USE_ONLY),
        _ => Context::new(&SHA256),
    }
}

/// The state of a slow digest.
trait State: Clone + Send + 'static {
    fn absorb(&mut self, bytes: &[u8]);
}

impl State for Md5 {
    fn absorb(&mut self, bytes: &[u8]) {
        Self::update(self, bytes);
    }
}

impl State for Context {
    fn absorb(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

/// A slow digest and the bytes on their way into it.
struct Lane<S> {
    /// Of all bytes before `away` and `queue`.
    state: S,
    seen: usize,
    away: Option<Batch<S>>,
    queue: Vec<Bytes>,
    queued: usize,
}

/// Bytes being hashed elsewhere, on a copy of the state.
struct Batch<S> {
    bytes: Vec<Bytes>,
    task: JoinHandle<S>,
}

impl<S: State> Lane<S> {
    fn new(state: S) -> Self {
        Self { state, seen: 0, away: None, queue: Vec::new(), queued: 0 }
    }

    async fn update(&mut self, bytes: Bytes) {
        self.seen = self.seen.saturating_add(bytes.len());
        if self.seen <= INLINE_BYTES {
            self.state.absorb(&bytes);
            return;
        }
        self.queued += bytes.len();
        self.queue.push(bytes);
        let done = self.away.as_ref().is_none_or(|batch| batch.task.is_finished());
        if self.queued >= QUEUE_BYTES || (self.queued >= BATCH_BYTES && done) {
            self.bring_back().await;
            self.send_away();
        }
    }

    async fn bring_back(&mut self) {
        let Some(Batch { bytes, task }) = &mut self.away else { return };
        match task.await {
            Ok(state) => self.state = state,
            // The blocking threads are shutting down. Our copy of the state is as it was before.
            Err(_) => bytes.iter().for_each(|bytes| self.state.absorb(bytes)),
        }
        self.away = None;
    }

    fn send_away(&mut self) {
        let bytes = std::mem::take(&mut self.queue);
        self.queued = 0;
        let (mut state, batch) = (self.state.clone(), bytes.clone());
        let task = tokio::task::spawn_blocking(move || {
            batch.iter().for_each(|bytes| state.absorb(bytes));
            state
        });
        self.away = Some(Batch { bytes, task });
    }

    async fn settle(&mut self) {
        self.bring_back().await;
        if self.queued >= BATCH_BYTES {
            self.send_away();
            self.bring_back().await;
        }
        self.queue.drain(..).for_each(|bytes| self.state.absorb(&bytes));
        self.queued = 0;
    }

    async fn finish(mut self) -> S {
        self.settle().await;
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    async fn digests(text: &[u8], algorithm: ChecksumAlgorithm) -> (String, String) {
        let mut hasher = Hasher::new(true, Some(algorithm));
        hasher.update(Bytes::copy_from_slice(text)).await;
        let digests = hasher.finish().await;
        (
            hex(&digests.md5.expect("asked for")),
            hex(digests.checksum.expect("asked for").as_bytes()),
        )
    }

    /// RFC 1321, FIPS 180 and the catalogue of parametrised CRC algorithms.
    #[tokio::test]
    async fn published_vectors() {
        use ChecksumAlgorithm::*;
        let of = |text: &'static [u8], algorithm| digests(text, algorithm);
        assert_eq!(of(b"", Crc32).await.0, "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(of(b"abc", Crc32).await.0, "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(of(b"message digest", Crc32).await.0, "f96b697d7cb7938d525a2f31aaf161d0");
        assert_eq!(of(b"123456789", Crc32).await.1, "cbf43926");
        assert_eq!(of(b"123456789", Crc32c).await.1, "e3069283");
        assert_eq!(of(b"123456789", Crc64Nvme).await.1, "ae8b14860a799888");
        assert_eq!(of(b"abc", Sha1).await.1, "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(
            of(b"abc", Sha256).await.1,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(of(b"", Crc32).await.1, "00000000");
    }

    #[tokio::test]
    async fn a_long_body_hashed_elsewhere_has_the_digests_of_its_bytes() {
        let body: Vec<u8> =
            (0..5_000_003_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for (algorithm, piece) in [
            (ChecksumAlgorithm::Sha256, 7_919),
            (ChecksumAlgorithm::Sha1, 300_000),
            (ChecksumAlgorithm::Crc64Nvme, 5_000_003),
            (ChecksumAlgorithm::Sha256, 65_536),
        ] {
            let mut hasher = Hasher::new(true, Some(algorithm));
            for piece in body.chunks(piece) {
                hasher.update(Bytes::copy_from_slice(piece)).await;
            }
            let digests = hasher.finish().await;
            assert_eq!(digests.md5, Some(Md5::digest(&body).into()));
            let mut whole = Hasher::new(false, Some(algorithm));
            match &mut whole.checksum {
                Checksum::Sha(_, lane) => lane.state.absorb(&body),
                Checksum::Crc(_, crc) => crc.update(&body),
                Checksum::None => unreachable!("asked for"),
            }
            assert_eq!(digests.checksum, whole.finish().await.checksum);
        }
    }

    #[tokio::test]
    async fn what_was_not_asked_for_is_not_computed() {
        let mut hasher = Hasher::new(false, None);
        hasher.update(Bytes::from_static(b"abc")).await;
        assert_eq!(hasher.finish().await, Digests::default());
    }
}
