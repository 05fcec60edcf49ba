//! Batches: guards and writes that commit together or not at all.

use bytes::Bytes;
use types::{Revision, limits};

use crate::{Key, KeyRange};

/// A condition that must hold when the batch commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// There is no such key.
    Absent(Key),
    /// The key was last put by exactly this revision.
    Revision(Key, Revision),
    /// There is such a key.
    Exists(Key),
    /// No key lies in the range.
    EmptyRange(KeyRange),
    /// The counter, with this batch's own `Add`s to it, is at most this.
    AtMost(Key, i64),
}

/// A change. A batch changes each key at most once, except that several `Add`s to one counter add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets a value.
    Put(Key, Bytes),
    /// Sets a value under `prefix`, the commit's revision (8 bytes, big-endian), `suffix`.
    PutStamped(Key, Bytes, Bytes),
    /// Removes a key; nothing happens when it is absent.
    Delete(Key),
    /// Removes all keys of a range, at most `types::limits::KV_DELETE_RANGE_MAX_KEYS`. Only where the owner's
    /// schema says that nothing else counts or references them.
    DeleteRange(KeyRange),
    /// Adds to a counter: an absent one is 0, and the stored form is [`encode_counter`].
    Add(Key, i64),
}

/// The stored form of a counter: its two's complement, big-endian.
pub fn encode_counter(value: i64) -> [u8; 8] {
    value.to_be_bytes()
}

/// Reads [`encode_counter`]'s form.
pub fn decode_counter(bytes: &[u8]) -> Option<i64> {
    bytes.try_into().ok().map(i64::from_be_bytes)
}

/// A batch that breaks a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchTooLarge {
    /// More guards and writes than `types::limits::KV_BATCH_MAX_OPS`.
    #[error("a batch of {0} operations is over the limit")]
    Operations(usize),
    /// More bytes than `types::limits::KV_BATCH_MAX_BYTES`.
    #[error("a batch of {0} bytes is over the limit")]
    Bytes(usize),
    /// A value longer than `types::limits::KV_VALUE_MAX_BYTES`.
    #[error("a value of {0} bytes is over the limit")]
    Value(usize),
    /// A `DeleteRange` over more keys than `types::limits::KV_DELETE_RANGE_MAX_KEYS`.
    #[error("a range delete over more keys than the limit")]
    Range,
}

/// Guards and writes, in the order they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// All must hold.
    pub guards: Vec<Guard>,
    /// All are done, in order.
    pub writes: Vec<Write>,
}

impl Batch {
    /// Adds a guard.
    pub fn guard(&mut self, guard: Guard) -> &mut Self {
        self.guards.push(guard);
        self
    }

    /// Adds a write.
    pub fn write(&mut self, write: Write) -> &mut Self {
        self.writes.push(write);
        self
    }

    /// Adds a [`Write::Put`].
    pub fn put(&mut self, key: Key, value: impl Into<Bytes>) -> &mut Self {
        self.write(Write::Put(key, value.into()))
    }

    /// Adds the guard that a key still is what was read: `Revision`, or `Absent` for `None`.
    pub fn unchanged(&mut self, key: Key, read: Option<Revision>) -> &mut Self {
        self.guard(match read {
            Some(revision) => Guard::Revision(key, revision),
            None => Guard::Absent(key),
        })
    }

    /// Checks the limits that hold on every engine.
    pub fn check_limits(&self) -> Result<(), BatchTooLarge> {
        let operations = self.guards.len() + self.writes.len();
        if operations > limits::KV_BATCH_MAX_OPS {
            return Err(BatchTooLarge::Operations(operations));
        }
        let mut total = 0;
        for write in &self.writes {
            let (key, value) = match write {
                Write::Put(key, value) => (key.as_bytes().len(), value.len()),
                Write::PutStamped(key, suffix, value) => {
                    (key.as_bytes().len() + 8 + suffix.len(), value.len())
                }
                Write::Delete(key) | Write::Add(key, _) => (key.as_bytes().len(), 8),
                Write::DeleteRange(range) => {
                    (range.start().as_bytes().len() + range.end().as_bytes().len(), 0)
                }
            };
            // Only a stamped key can be over the limit, and a range is two keys.
            if key > limits::KV_KEY_MAX_BYTES && matches!(write, Write::PutStamped(..)) {
                return Err(BatchTooLarge::Bytes(key));
            }
            if value > limits::KV_VALUE_MAX_BYTES {
                return Err(BatchTooLarge::Value(value));
            }
            total += key + value;
        }
        if total > limits::KV_BATCH_MAX_BYTES { Err(BatchTooLarge::Bytes(total)) } else { Ok(()) }
    }
}
