//! Which records are dead, and what the delete records say that they were.

use std::collections::HashMap;

use twox_hash::XxHash3_64;

use crate::ShardId;
use crate::codec::{self, DeadRecord};

/// Dead records by segment and number. An entry takes 16 bytes.
#[derive(Default)]
pub(super) struct Kills(HashMap<u64, Vec<Kill>>);

/// A record that some delete record names.
#[derive(Clone, Copy)]
struct Kill {
    number: u32,
    bytes: u32,
    /// Hash of the shard's id; 0 until its delete record was read.
    id: u64,
}

/// What a delete record is compared by.
pub(super) fn hash(id: &ShardId) -> u64 {
    XxHash3_64::oneshot(&codec::encode_shard_id(id)).max(1)
}

impl Kills {
    /// A table, or a scan, says that this record is dead.
    pub(super) fn add(&mut self, dead: DeadRecord) {
        let kill = Kill { number: dead.number, bytes: dead.bytes, id: 0 };
        self.0.entry(dead.segment).or_default().push(kill);
    }

    /// To be called when all are added.
    pub(super) fn sort(&mut self) {
        for kills in self.0.values_mut() {
            kills.sort_by_key(|kill| kill.number);
            kills.dedup_by_key(|kill| kill.number);
            kills.shrink_to_fit();
        }
    }

    /// Forgets what is about segments that are not there.
    pub(super) fn retain(&mut self, exists: impl Fn(u64) -> bool) {
        self.0.retain(|segment, _| exists(*segment));
    }

    /// Whether record `number` of the segment is dead.
    pub(super) fn is_dead(&self, segment: u64, number: u32) -> bool {
        self.find(segment, number).is_some()
    }

    fn find(&self, segment: u64, number: u32) -> Option<Kill> {
        let kills = self.0.get(&segment)?;
        let at = kills.binary_search_by_key(&number, |kill| kill.number).ok()?;
        kills.get(at).copied()
    }

    /// A delete record was read: this is what it says. Nothing happens when it was not added before.
    pub(super) fn name(&mut self, segment: u64, number: u32, id: &ShardId) {
        let Some(kills) = self.0.get_mut(&segment) else { return };
        let Ok(at) = kills.binary_search_by_key(&number, |kill| kill.number) else { return };
        if let Some(kill) = kills.get_mut(at) {
            kill.id = hash(id);
        }
    }

    /// Forgets a segment; its dead records, with their bytes and the hash of the shard that was meant, if its
    /// delete record was read.
    pub(super) fn take(&mut self, segment: u64) -> Vec<(u32, u32, Option<u64>)> {
        let kills = self.0.remove(&segment).unwrap_or_default();
        let of = |kill: Kill| (kill.number, kill.bytes, (kill.id != 0).then_some(kill.id));
        kills.into_iter().map(of).collect()
    }
}
