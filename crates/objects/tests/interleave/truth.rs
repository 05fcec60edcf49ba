//! What must hold after every schedule, before and after the background has done all it can.

use std::collections::{BTreeMap, HashMap, HashSet};

use kv::{Key, KeyRange, Kv as _};
use net::ShardId;
use objects::schema::{Kind, Record as _, blob, kind_of};
use types::{DriveId, Token};

use crate::fsck;
use crate::model::{Event, State, Told, explains};
use crate::world::{World, wanted};

/// Rounds of all workers, an hour apart, in which everything must have been put in order.
const ROUNDS_MAX: usize = 12;

/// Checks `world`, in which the sessions of the engines `dead` have ended.
pub async fn check(world: &mut World, dead: &[usize], start: &State, events: &[Event]) {
    let alive: Vec<usize> =
        (0..world.engines.len()).filter(|engine| !dead.contains(engine)).collect();
    let witness = *alive.first().expect("somebody lives");
    let seen = world.run(world.seen(witness)).await;
    assert!(
        explains(start, events, &seen),
        "no order of these explains what was told and found:\n{events:#?}\n{}",
        brief(&seen)
    );
    fsck::check(world.memory.as_ref()).await;
    readable(world).await;
    // What a client has not been told of, only the end of the session proves.
    let doubt = events.iter().any(|event| matches!(event.told, Told::Unknown));
    let engines = if doubt { vec![world.restart().await] } else { alive };
    for round in 0.. {
        for &engine in &engines {
            world.round(engine).await;
        }
        match in_order(world).await {
            Ok(()) => break,
            Err(wrong) => assert!(round < ROUNDS_MAX, "after {round} rounds: {wrong}"),
        }
    }
    let after = world.run(world.seen(engines[0])).await;
    assert!(after == seen, "the background changed what clients see: {}", brief(&after));
}

fn brief(seen: &crate::model::Seen) -> String {
    let objects: BTreeMap<_, _> = seen
        .objects
        .iter()
        .map(|(name, bytes)| (name, (bytes.len(), bytes.get(..4).map(<[u8]>::to_vec))))
        .collect();
    format!("bucket: {}, objects: {objects:?}, upload: {:?}", seen.bucket, seen.upload)
}

/// The copies of each blob that its record lists.
async fn records(world: &World) -> HashMap<types::BlobId, blob::Blob> {
    let mut records = HashMap::new();
    let mut visit = |key: &[u8], value: &[u8], _| {
        if let Some((_, Kind::Blob)) = kind_of(key) {
            let id = blob::parse_key(key).expect("a key");
            records.insert(id, blob::Blob::decode(value).expect("a blob"));
        }
        kv::Step::Next
    };
    let edge = |token| Key::data(Token(token), &[]).expect("a key");
    let range = KeyRange::new(edge(0), edge(u32::MAX).prefix_end()).expect("a range");
    let reader = world.memory.snapshot().await.expect("a snapshot");
    reader.visit(&range, &mut visit).await.expect("a visit");
    records
}

/// No record names a copy that was removed while the record stands, unless a drive has lost it.
async fn readable(world: &World) {
    let whole: HashSet<(DriveId, ShardId)> = whole(world);
    for (id, record) in records(world).await {
        let location = record.location;
        let there = location.copies.iter().filter(|copy| {
            let shard = ShardId { blob: id, index: copy.index, copy: copy.copy };
            whole.contains(&(copy.drive, shard))
        });
        assert!(there.count() >= location.geometry.data(), "blob {id} cannot be read");
    }
}

fn whole(world: &World) -> HashSet<(DriveId, ShardId)> {
    let all = world.drives.all().into_iter();
    all.filter(|(_, _, whole)| *whole).map(|(drive, header, _)| (drive, header.id)).collect()
}

/// No garbage, no task, no shard without a record that names it, no record that names a shard that is not there.
async fn in_order(world: &World) -> Result<(), String> {
    let census = fsck::check(world.memory.as_ref()).await;
    if !census.garbage.is_empty() {
        return Err(format!("garbage: {:?}", census.garbage));
    }
    if !census.repairs.is_empty() {
        return Err(format!("repair tasks: {:?}", census.repairs));
    }
    let mut left = whole(world);
    for (id, record) in records(world).await {
        let location = record.location;
        if location.geometry != wanted() || location.copies.len() != wanted().total() {
            return Err(format!("blob {id} is {location:?}"));
        }
        for copy in &location.copies {
            let shard = ShardId { blob: id, index: copy.index, copy: copy.copy };
            if !left.remove(&(copy.drive, shard)) {
                return Err(format!("{shard:?} is not on {}", copy.drive));
            }
        }
    }
    if !left.is_empty() {
        return Err(format!("shards that no record names: {left:?}"));
    }
    match world.drives.all().iter().find(|(_, _, whole)| !whole) {
        Some(damaged) => Err(format!("a damaged shard: {damaged:?}")),
        None => Ok(()),
    }
}
