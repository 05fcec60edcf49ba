//! What nothing refers to any more goes, wholly, and never under a reader.

use std::time::Duration;

use futures::StreamExt as _;
use net::{Carrier as _, ShardId};
use objects::schema::garbage::Candidate;
use objects::schema::hold::{self, Orphans, Switch};
use objects::schema::{Home, Record as _, blob, kind_of};
use objects::*;
use runtime::Progress;
use types::{BatchId, DriveId, SessionId, Token, UnixMillis};

use crate::support::*;

/// Runs the collector until a tour comes to nothing.
pub async fn collect(engine: &Engine) {
    let mut worker = worker(engine, "collect");
    while let Progress::More = worker.step().await.expect("a step") {}
}

fn worker(engine: &Engine, name: &str) -> Box<dyn runtime::Worker> {
    engine.workers().into_iter().find(|worker| worker.name() == name).expect("a worker")
}

/// Shards on all drives.
async fn shards(world: &World) -> u64 {
    world.engine.drive_statuses().await.iter().map(|(_, status)| status.shards).sum()
}

async fn used(world: &World) -> u64 {
    world.engine.drive_statuses().await.iter().map(|(_, status)| status.used_bytes).sum()
}

/// Nothing is filed, and everything on the drives is named.
async fn all_is_clean(world: &World) {
    collect(&world.engine).await;
    let census = world.check().await;
    assert!(census.garbage.is_empty(), "{:?}", census.garbage);
    assert_eq!(world.check_shards().await as u64, shards(world).await);
    world.check_copies().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_and_replaced_goes() {
    let world = World::new().await;
    let before = used(&world).await;
    for seed in 0..3 {
        world.put("a", &bytes(LARGE, seed)).await;
        world.put("b", &bytes(2 << 20, seed)).await;
    }
    assert_eq!(shards(&world).await, 30);
    all_is_clean(&world).await;
    assert_eq!(shards(&world).await, 10);
    assert_eq!(world.get("a").await, Some(bytes(LARGE, 2)));
    assert_eq!(world.get("b").await, Some(bytes(2 << 20, 2)));
    assert!(world.delete("a").await && world.delete("b").await);
    all_is_clean(&world).await;
    assert_eq!(world.check().await.blobs, 0);
    assert_eq!((shards(&world).await, used(&world).await), (0, before));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_go_at_once() {
    let world = World::new().await;
    for n in 0..300_u64 {
        world.put(&format!("{n}"), &bytes(10_000, n)).await;
    }
    let proofs = futures::stream::iter(0..300)
        .then(async |n| world.on(&format!("{n}")).await)
        .collect::<Vec<_>>()
        .await;
    assert!(world.engine.delete_objects(proofs).await.iter().all(|r| matches!(r, Ok(true))));
    all_is_clean(&world).await;
    assert_eq!(shards(&world).await, 0);
}
