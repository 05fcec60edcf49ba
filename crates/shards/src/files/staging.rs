//! Aligned buffers that direct writes are made from: one for each write thread that is at work, pooled.

use parking_lot::Mutex;
use runtime::disk::DIRECT_ALIGN_BYTES;

/// Most bytes of one write.
const STAGING_BYTES: usize = 1 << 20;
const _: () = assert!(STAGING_BYTES.is_multiple_of(DIRECT_ALIGN_BYTES));

/// Buffers that are not in use. There are at most as many as there were write threads at work at once.
#[derive(Default)]
pub(super) struct Stagings(Mutex<Vec<Staging>>);

impl Stagings {
    pub(super) fn take(&self) -> Staging {
        self.0.lock().pop().unwrap_or_else(Staging::new)
    }

    pub(super) fn give_back(&self, mut staging: Staging) {
        staging.clear();
        self.0.lock().push(staging);
    }
}

/// Bytes behind each other at an aligned address.
pub(super) struct Staging {
    memory: Vec<u8>,
    /// Where the aligned part of `memory` begins.
    start: usize,
    len: usize,
}

impl Staging {
    fn new() -> Self {
        // Never grown, so that its address stays.
        let memory = vec![0; STAGING_BYTES + DIRECT_ALIGN_BYTES];
        let start = memory.as_ptr().align_offset(DIRECT_ALIGN_BYTES).min(DIRECT_ALIGN_BYTES);
        Self { memory, start, len: 0 }
    }

    /// Takes in as much of `bytes` as fits; how much that was.
    pub(super) fn push(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(STAGING_BYTES - self.len);
        let from = self.start + self.len;
        self.memory[from..from + taken].copy_from_slice(&bytes[..taken]);
        self.len += taken;
        taken
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == STAGING_BYTES
    }

    /// Bytes of it that fill blocks.
    pub(super) fn whole_blocks(&self) -> usize {
        self.len / DIRECT_ALIGN_BYTES * DIRECT_ALIGN_BYTES
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_aligned_and_takes_what_fits() {
        let stagings = Stagings::default();
        let mut staging = stagings.take();
        assert_eq!(staging.push(&[7; 5000]), 5000);
        assert_eq!(staging.bytes().as_ptr().align_offset(DIRECT_ALIGN_BYTES), 0);
        assert_eq!((staging.whole_blocks(), staging.is_full()), (4096, false));
        assert_eq!(staging.push(&vec![8; STAGING_BYTES]), STAGING_BYTES - 5000);
        assert!(staging.is_full());
        assert_eq!((staging.bytes()[4999], staging.bytes()[5000]), (7, 8));
        stagings.give_back(staging);
        assert!(stagings.take().bytes().is_empty());
    }
}
