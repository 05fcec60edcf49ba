//! Where the bytes of a blob stand: stripes, frames and padding.

use std::ops::Range;

use types::limits::FRAME_BYTES;

use crate::Geometry;

/// A blob of `len` bytes cut into stripes of one frame per shard.
///
/// A full stripe carries `data * FRAME_BYTES` bytes of the blob, frame after frame in shard order.
/// If `r > 0` bytes remain, the last stripe has frames of `ceil(r / data)` bytes, filled in the
/// same order and padded with zeroes at the end. Stripe `s` is frame number `s` of every shard. A
/// blob of no bytes has no stripes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobShape {
    /// Data and parity shards.
    pub geometry: Geometry,
    /// Length of the blob in bytes.
    pub len: u64,
}

impl BlobShape {
    /// Bytes of the blob in a full stripe.
    pub const fn stripe_bytes(self) -> u64 {
        (self.geometry.data() * FRAME_BYTES) as u64
    }

    /// Number of stripes, and so of frames in each shard.
    pub const fn stripes(self) -> u64 {
        self.len.div_ceil(self.stripe_bytes())
    }

    /// Payload bytes of each shard; all shards are equally long.
    pub const fn shard_len(self) -> u64 {
        self.len / self.stripe_bytes() * FRAME_BYTES as u64 + self.tail_frame_len()
    }

    /// Payload bytes of each frame of a stripe; 0 beyond the last stripe.
    pub const fn frame_len(self, stripe: u64) -> usize {
        let full = self.len / self.stripe_bytes();
        if stripe < full {
            FRAME_BYTES
        } else if stripe == full {
            self.tail_frame_len() as usize
        } else {
            0
        }
    }

    /// The stripe that holds the byte at `offset` (which may lie beyond the end).
    pub const fn stripe_of(self, offset: u64) -> u64 {
        offset / self.stripe_bytes()
    }

    /// The bytes of the blob that a stripe carries; empty beyond the last stripe.
    pub const fn stripe_range(self, stripe: u64) -> Range<u64> {
        let start = min(stripe.saturating_mul(self.stripe_bytes()), self.len);
        start..min(start.saturating_add(self.stripe_bytes()), self.len)
    }

    /// The bytes of the blob in the frame of data shard `index` in a stripe. Shorter than
    /// [`Self::frame_len`] where the frame is padded, empty where it is all padding, or for a
    /// parity shard.
    pub const fn frame_range(self, stripe: u64, index: usize) -> Range<u64> {
        let Range { start, end } = self.stripe_range(stripe);
        if index >= self.geometry.data() {
            return end..end;
        }
        let frame = self.frame_len(stripe) as u64;
        let from = min(start + index as u64 * frame, end);
        from..min(from + frame, end)
    }

    const fn tail_frame_len(self) -> u64 {
        (self.len % self.stripe_bytes()).div_ceil(self.geometry.data() as u64)
    }
}

const fn min(a: u64, b: u64) -> u64 {
    if a < b { a } else { b }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAME: u64 = FRAME_BYTES as u64;

    fn shape(text: &str, len: u64) -> BlobShape {
        BlobShape { geometry: text.parse().expect("a geometry"), len }
    }

    #[test]
    fn nothing_has_no_stripes() {
        let empty = shape("3+2", 0);
        assert_eq!((empty.stripes(), empty.shard_len(), empty.frame_len(0)), (0, 0, 0));
        assert_eq!(empty.stripe_range(0), 0..0);
    }

    #[test]
    fn edges_of_a_stripe() {
        let full = 3 * FRAME;
        for (len, stripes, shard_len) in [
            (1, 1, 1),
            (3, 1, 1),
            (4, 1, 2),
            (full - 1, 1, FRAME),
            (full, 1, FRAME),
            (full + 1, 2, FRAME + 1),
            (2 * full, 2, 2 * FRAME),
        ] {
            let shape = shape("3+2", len);
            assert_eq!((shape.stripes(), shape.shard_len()), (stripes, shard_len), "{len}");
        }
        let padded = shape("3+2", full + 4);
        assert_eq!(padded.frame_range(1, 0), full..full + 2);
        assert_eq!(padded.frame_range(1, 1), full + 2..full + 4);
        assert_eq!(padded.frame_range(1, 2), full + 4..full + 4);
        assert_eq!(padded.frame_range(0, 2), 2 * FRAME..full);
    }

    #[test]
    fn the_longest_length_does_not_overflow() {
        for geometry in ["1+0", "8+2", "32+0"] {
            let shape = shape(geometry, u64::MAX);
            let last = shape.stripes() - 1;
            assert_eq!(shape.stripe_range(last).end, u64::MAX);
            assert_eq!(shape.stripe_range(u64::MAX), u64::MAX..u64::MAX);
            assert_eq!(shape.frame_len(u64::MAX), 0);
        }
    }

    proptest! {
        #[test]
        fn frames_cover_the_blob_once_and_in_order(
            data in 1u8..=16, parity in 0u8..=16, len in 0u64..40 * FRAME
        ) {
            let geometry = Geometry::new(data, parity).expect("in range");
            let shape = BlobShape { geometry, len };
            let (mut next, mut shard_len) = (0, 0);
            for stripe in 0..shape.stripes() {
                let (range, frame) = (shape.stripe_range(stripe), shape.frame_len(stripe) as u64);
                prop_assert!(frame > 0 && frame <= FRAME);
                prop_assert!(frame * u64::from(data) >= range.end - range.start);
                prop_assert_eq!(range.start, next);
                shard_len += frame;
                for index in 0..geometry.total() {
                    let part = shape.frame_range(stripe, index);
                    prop_assert!(part.end - part.start <= frame);
                    if !part.is_empty() {
                        prop_assert_eq!(part.start, next);
                        prop_assert_eq!(shape.stripe_of(part.end - 1), stripe);
                        next = part.end;
                    }
                }
                prop_assert_eq!(range.end, next);
            }
            prop_assert_eq!((next, shard_len), (len, shape.shard_len()));
        }
    }
}
