//! What a completed upload is made of: which of its parts, and where some of them begin. It lives as long as its
//! part set: a copy guards that it exists.
//!
//! Key: [`Kind::Manifest`], `upload id (16)`.

use bytes::Bytes;
use kv::Key;
use types::{UnixMillis, UploadId, limits};

use super::Kind;
use super::codec::{self, Record, Undecodable};
use super::key::{self, Home};

/// A part set. Everything in it is ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// When the upload was completed.
    pub completed: UnixMillis,
    /// Length of all parts together, in bytes.
    pub len: u64,
    /// How many parts.
    pub count: u32,
    /// The numbers of the parts, as runs: first and last, both inclusive.
    pub runs: Vec<(u16, u16)>,
    /// Where every [`CHECKPOINT_PARTS`]th part begins, from the first on: number and offset in bytes.
    pub checkpoints: Vec<(u16, u64)>,
}

/// Distance of checkpoints in parts: the most part records that a read passes over to find its first.
pub const CHECKPOINT_PARTS: usize = 64;

/// The record's key.
pub fn key(home: Home, upload: UploadId) -> Key {
    key::build(home.token(), Kind::Manifest, &[&upload.to_bytes()])
}

/// Which part set a key is of.
pub fn parse_key(key: &[u8]) -> Option<UploadId> {
    key::split_kind(key, Kind::Manifest).and_then(|(_, rest)| UploadId::from_slice(rest))
}

impl Manifest {
    /// Of parts in ascending order of number, with their lengths in bytes.
    pub fn of(parts: impl IntoIterator<Item = (u16, u64)>, completed: UnixMillis) -> Self {
        let mut manifest =
            Self { completed, len: 0, count: 0, runs: Vec::new(), checkpoints: Vec::new() };
        for (number, len) in parts {
            if (manifest.count as usize).is_multiple_of(CHECKPOINT_PARTS) {
                manifest.checkpoints.push((number, manifest.len));
            }
            match manifest.runs.last_mut() {
                Some((_, last)) if u32::from(*last) + 1 == u32::from(number) => *last = number,
                _ => manifest.runs.push((number, number)),
            }
            manifest.len += len;
            manifest.count += 1;
        }
        manifest
    }

    /// Whether part `number` belongs to it.
    pub fn contains(&self, number: u16) -> bool {
        let behind = self.runs.partition_point(|&(first, _)| first <= number);
        behind
            .checked_sub(1)
            .and_then(|at| self.runs.get(at))
            .is_some_and(|&(_, last)| number <= last)
    }

    /// The last checkpoint at or before `offset`: number and offset.
    pub fn checkpoint_at(&self, offset: u64) -> Option<(u16, u64)> {
        let behind = self.checkpoints.partition_point(|&(_, begins)| begins <= offset);
        behind.checked_sub(1).and_then(|at| self.checkpoints.get(at)).copied()
    }

    /// The last checkpoint at or before part `number`: number and offset.
    pub fn checkpoint_of(&self, number: u16) -> Option<(u16, u64)> {
        let behind = self.checkpoints.partition_point(|&(part, _)| part <= number);
        behind.checked_sub(1).and_then(|at| self.checkpoints.get(at)).copied()
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(uint64, tag = "1")]
    completed_ms: u64,
    #[prost(uint64, tag = "2")]
    len: u64,
    #[prost(uint32, tag = "3")]
    count: u32,
    /// Gap in front of a run (from the end of the last, at first from 0) and the run's length, in turns.
    #[prost(uint32, repeated, tag = "4")]
    runs: Vec<u32>,
    /// Distance from the last checkpoint's number and offset, in turns.
    #[prost(uint64, repeated, tag = "5")]
    checkpoints: Vec<u64>,
}

impl Record for Manifest {
    const NAME: &'static str = "manifest";

    fn encode(&self) -> Bytes {
        let mut runs = Vec::with_capacity(2 * self.runs.len());
        let mut end = 0;
        for &(first, last) in &self.runs {
            runs.push(u32::from(first).saturating_sub(end));
            runs.push(u32::from(last.saturating_sub(first)) + 1);
            end = u32::from(last) + 1;
        }
        let mut checkpoints = Vec::with_capacity(2 * self.checkpoints.len());
        let mut before = (0, 0);
        for &(number, offset) in &self.checkpoints {
            checkpoints.push(u64::from(number.saturating_sub(before.0)));
            checkpoints.push(offset.saturating_sub(before.1));
            before = (number, offset);
        }
        let wire = Wire {
            completed_ms: self.completed.0,
            len: self.len,
            count: self.count,
            runs,
            checkpoints,
        };
        codec::seal(1, &wire)
    }

    fn decode(value: &[u8]) -> Result<Self, Undecodable> {
        let wire: Wire = codec::open(Self::NAME, 1, value)?;
        from_wire(&wire).ok_or(Undecodable(Self::NAME))
    }
}

fn from_wire(wire: &Wire) -> Option<Manifest> {
    let mut manifest = Manifest {
        completed: UnixMillis(wire.completed_ms),
        len: wire.len,
        count: wire.count,
        runs: Vec::with_capacity(wire.runs.len() / 2),
        checkpoints: Vec::with_capacity(wire.checkpoints.len() / 2),
    };
    let (mut end, mut count) = (0_u32, 0_u32);
    for run in wire.runs.chunks(2) {
        let &[gap, len] = run else { return None };
        let first = end.checked_add(gap)?;
        end = first.checked_add(len)?;
        if len == 0 || end > u32::from(limits::PART_NUMBER_MAX) + 1 {
            return None;
        }
        count += len;
        manifest.runs.push((u16::try_from(first).ok()?, u16::try_from(end - 1).ok()?));
    }
    let mut at = (0_u64, 0_u64);
    for step in wire.checkpoints.chunks(2) {
        let &[number, offset] = step else { return None };
        at = (at.0.checked_add(number)?, at.1.checked_add(offset)?);
        manifest.checkpoints.push((u16::try_from(at.0).ok()?, at.1));
    }
    (count == wire.count).then_some(manifest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use types::BucketId;

    use super::*;
    use crate::schema::codec::testing::{golden, round_trips};

    #[test]
    fn golden_bytes() {
        let parts = [(1, 10), (2, 10), (4, 300)];
        let record = Manifest::of(parts, UnixMillis(1_700_000_000_123));
        assert_eq!(record.runs, [(1, 2), (4, 4)]);
        golden(
            &record,
            "0108fbd095ffbc3110c002180322040102010 12a020100".replace(' ', "").as_str(),
        );
        let key = key(Home::of(BucketId::new(7)), UploadId::new(9));
        assert_eq!(parse_key(key.as_bytes()), Some(UploadId::new(9)));
    }

    #[test]
    fn the_largest_is_small() {
        let most_runs = Manifest::of((1..=5000).map(|n| (n * 2, 5 << 30)), UnixMillis(0));
        assert_eq!(most_runs.runs.len(), 5000);
        assert!(most_runs.encode().len() < 16 * 1024);
        let all = Manifest::of((1..=10_000).map(|n| (n, 5 << 20)), UnixMillis(0));
        assert_eq!((all.runs.len(), all.checkpoints.len()), (1, 157));
        assert!(all.encode().len() < 2048);
        assert_eq!(all.checkpoint_at(0), Some((1, 0)));
        assert_eq!(all.checkpoint_at(64 * (5 << 20)), Some((65, 64 * (5 << 20))));
        assert_eq!(all.checkpoint_at(64 * (5 << 20) - 1), Some((1, 0)));
        assert_eq!(all.checkpoint_of(10_000), Some((9985, 9984 * (5 << 20))));
    }

    proptest! {
        #[test]
        fn round_trip(
            parts in prop::collection::btree_map(1_u16..=10_000, 0_u64..(5 << 30), 0..400),
            probe in 0_u16..=10_001,
        ) {
            let manifest = Manifest::of(parts.clone(), UnixMillis(3));
            round_trips(&manifest);
            prop_assert_eq!(manifest.contains(probe), parts.contains_key(&probe));
            prop_assert_eq!(manifest.len, parts.values().sum::<u64>());
            prop_assert_eq!(manifest.count as usize, parts.len());
            let mut offset = 0;
            for (&number, len) in &parts {
                let (part, begins) = manifest.checkpoint_of(number).expect("one before each part");
                prop_assert!(part <= number && begins <= offset);
                prop_assert!(parts.range(part..number).count() < CHECKPOINT_PARTS);
                offset += len;
            }
        }

        #[test]
        fn any_bytes(value in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut value = value;
            let _ = (Manifest::decode(&value), parse_key(&value));
            if let Some(first) = value.first_mut() {
                *first = 1;
            }
            if let Ok(manifest) = Manifest::decode(&value) {
                let _ = (manifest.contains(5), manifest.checkpoint_at(7), manifest.checkpoint_of(9));
            }
        }
    }
}
