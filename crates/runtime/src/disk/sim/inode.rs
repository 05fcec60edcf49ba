//! The bytes of one simulated file: what is seen, what is durable, and the steps between.

use std::collections::BTreeSet;

use crate::{Entropy, SimEntropy};

/// Unit of allocation and of holes, in bytes.
pub(super) const BLOCK_BYTES: u64 = 4096;

/// Unit that a disk writes whole or, rarely, torn.
const SECTOR_BYTES: usize = 512;

/// Deterministic dice.
pub(super) struct Dice(SimEntropy);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(SimEntropy::new(seed))
    }

    /// A number below `end` (0 when `end` is 0).
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0.nonzero_u64().checked_rem(end).unwrap_or(0)
    }

    /// New dice.
    pub(super) fn split(&mut self) -> Self {
        Self::new(self.0.nonzero_u64())
    }

    /// A probability in percent; often none or all.
    pub(super) fn chance(&mut self) -> u64 {
        match self.below(4) {
            0 => 0,
            1 => 100,
            _ => self.below(101),
        }
    }

    pub(super) fn happens(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Clone)]
enum Step {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Punch(u64, u64),
}

/// One file.
#[derive(Clone, Default)]
pub(super) struct Inode {
    current: Vec<u8>,
    durable: Vec<u8>,
    /// Steps since the last sync, oldest first.
    pending: Vec<Step>,
    blocks: BTreeSet<u64>,
    /// It has no name any more, and its room was given back.
    disowned: bool,
}

impl Inode {
    pub(super) fn len(&self) -> u64 {
        self.current.len() as u64
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.current.len());
        let n = buffer.len().min(self.current.len() - start);
        buffer[..n].copy_from_slice(&self.current[start..start + n]);
        n
    }

    /// Blocks of a range that have no room yet.
    pub(super) fn unallocated(&self, offset: u64, len: u64) -> u64 {
        if self.disowned || len == 0 {
            return 0;
        }
        let blocks = offset / BLOCK_BYTES..(offset + len).div_ceil(BLOCK_BYTES);
        blocks.filter(|b| !self.blocks.contains(b)).count() as u64
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let end = offset + data.len() as u64;
        self.blocks.extend(offset / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES));
        put(&mut self.current, offset as usize, data);
        self.pending.push(Step::Write(offset, data.to_vec()));
    }

    /// Returns how many blocks were given back.
    pub(super) fn set_len(&mut self, len: u64) -> u64 {
        self.current.resize(len as usize, 0);
        self.pending.push(Step::SetLen(len));
        let gone = self.blocks.split_off(&len.div_ceil(BLOCK_BYTES)).len() as u64;
        if self.disowned { 0 } else { gone }
    }

    /// Returns how many blocks were given back.
    pub(super) fn punch(&mut self, offset: u64, len: u64) -> u64 {
        zero(&mut self.current, offset, len);
        self.pending.push(Step::Punch(offset, len));
        let whole = offset.div_ceil(BLOCK_BYTES)..(offset + len) / BLOCK_BYTES;
        let gone = whole.filter(|b| self.blocks.remove(b)).count() as u64;
        if self.disowned { 0 } else { gone }
    }

    /// Bytes of room that it takes.
    pub(super) fn allocated(&self) -> u64 {
        self.blocks.len() as u64 * BLOCK_BYTES
    }

    /// Gives its room back; the bytes stay for those who have it open.
    pub(super) fn disown(&mut self) -> u64 {
        if std::mem::replace(&mut self.disowned, true) { 0 } else { self.allocated() }
    }

    pub(super) fn sync(&mut self) {
        for step in std::mem::take(&mut self.pending) {
            match step {
                Step::Write(offset, data) => put(&mut self.durable, offset as usize, &data),
                Step::SetLen(len) => self.durable.resize(len as usize, 0),
                Step::Punch(offset, len) => zero(&mut self.durable, offset, len),
            }
        }
    }

    /// An arbitrary part of what was pending reaches the disk, and nobody will try the rest again.
    pub(super) fn lose(&mut self, dice: &mut Dice) {
        let chance = dice.chance();
        for step in std::mem::take(&mut self.pending) {
            match step {
                Step::Write(offset, data) => self.tear(offset as usize, &data, chance, dice),
                Step::SetLen(len) if dice.happens(chance) => self.durable.resize(len as usize, 0),
                Step::SetLen(_) => {}
                Step::Punch(offset, len) => {
                    let (mut at, end) = (offset, offset + len);
                    while at < end {
                        let next = ((at / BLOCK_BYTES + 1) * BLOCK_BYTES).min(end);
                        if dice.happens(chance) {
                            zero(&mut self.durable, at, next - at);
                        }
                        at = next;
                    }
                }
            }
        }
    }

    /// Writes some sectors of `data`, and sometimes half a sector.
    fn tear(&mut self, offset: usize, data: &[u8], chance: u64, dice: &mut Dice) {
        let mut at = 0;
        while at < data.len() {
            let sector = SECTOR_BYTES - (offset + at) % SECTOR_BYTES;
            let next = (at + sector).min(data.len());
            if dice.happens(chance) {
                let torn = dice.happens(2);
                let end = if torn { at + dice.below((next - at) as u64) as usize } else { next };
                put(&mut self.durable, offset + at, &data[at..end]);
            } else if dice.happens(30) && self.durable.len() < offset + next {
                // The length got through, the bytes did not.
                self.durable.resize(offset + next, 0);
            }
            at = next;
        }
    }

    /// A file with what is durable of this one.
    pub(super) fn durable(&self) -> Self {
        let blocks = (0..(self.durable.len() as u64).div_ceil(BLOCK_BYTES)).collect();
        let (current, durable) = (self.durable.clone(), self.durable.clone());
        Self { current, durable, blocks, ..Self::default() }
    }

    /// What the power failure leaves becomes the state.
    pub(super) fn crash(&mut self, dice: &mut Dice) {
        self.lose(dice);
        self.current = self.durable.clone();
        self.disowned = false;
        self.blocks = (0..self.len().div_ceil(BLOCK_BYTES)).collect();
    }

    pub(super) fn corrupt(&mut self, offset: u64, mask: u8) -> bool {
        let at = offset as usize;
        if let Some(byte) = self.durable.get_mut(at) {
            *byte ^= mask;
        }
        self.current.get_mut(at).map(|byte| *byte ^= mask).is_some()
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if data.is_empty() {
        return;
    }
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

fn zero(bytes: &mut [u8], offset: u64, len: u64) {
    let start = (offset as usize).min(bytes.len());
    let end = ((offset + len) as usize).min(bytes.len());
    bytes[start..end].fill(0);
}
