//! What was written with too few drives is encoded as it should have been, once they are there.

use std::sync::Arc;

use erasure::Geometry;
use net::Carrier as _;
use types::DriveId;

use crate::hooked::Fate;
use crate::repair::{Crew, HUGE, all_is_whole, blobs, fated};
use crate::support::*;

/// Takes two of five drives away.
fn shrink(world: &World) -> Vec<(DriveId, Arc<shards::Store>)> {
    let away = [DriveId::new(2), DriveId::new(4)].into_iter();
    away.map(|drive| (drive, world.carrier.detach(drive).expect("a drive"))).collect()
}

fn grow(world: &World, away: Vec<(DriveId, Arc<shards::Store>)>) {
    for (drive, store) in away {
        world.carrier.attach(drive, store);
    }
}

async fn geometries(world: &World) -> Vec<String> {
    blobs(world).await.iter().map(|blob| blob.location.geometry.to_string()).collect()
}

async fn copy(world: &World, from: &str, (bucket, to): (&str, &str)) {
    let (from, to) = (world.on(from).await, world.on_in(bucket, to).await);
    let plain = crate::copies::plain();
    world.engine.copy_object(from, to, plain).await.expect("a copy");
}

/// All blobs have the geometry of five drives, and nothing else is left.
async fn all_is_wide(world: &World) {
    crate::collect::collect(&world.engine).await;
    all_is_whole(world).await;
    let wanted = Geometry::default_for(5).to_string();
    assert!(geometries(world).await.iter().all(|found| *found == wanted));
    let census = world.check().await;
    assert!(census.garbage.is_empty(), "{:?}", census.garbage);
    let mut copies = 0;
    for drive in world.carrier.drives() {
        copies += world.carrier.list(drive, None, 10_000).await.expect("a list").len();
    }
    assert_eq!(copies, 5 * census.blobs);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_copies_and_parts_are_encoded_again() {
    let world = World::new().await;
    world.create_bucket("second").await;
    let mut crew = Crew::of(&world.engine);
    let away = shrink(&world);
    let (large, huge) = (bytes(LARGE, 1), bytes(HUGE, 2));
    world.put("large", &large).await;
    world.put("huge", &huge).await;
    for n in 0..100 {
        copy(&world, "large", (["first", "second"][n % 2], &format!("copy-{n}"))).await;
    }
    let parts = [bytes(PART, 3), bytes(LARGE, 4), bytes(LARGE, 5)];
    let made = world.begin("made").await;
    let mut etags = Vec::new();
    for (number, part) in (1..).zip(&parts) {
        etags.push(world.part("made", made, number, part).await.etag);
    }
    world.complete("made", made, &[(1, &etags[0]), (2, &etags[1])]).await.expect("made");
    let open = world.begin("open").await;
    let part = world.part("open", open, 1, &parts[1]).await.etag;
    crate::collect::collect(&world.engine).await;
    assert_eq!(geometries(&world).await, ["2+1"; 5]);
    let keys = ["large", "huge", "copy-0", "made"];
    let mut heads = Vec::new();
    for key in keys {
        heads.push(world.head(key).await);
    }
    crew.repair().await;
    assert_eq!(geometries(&world).await, ["2+1"; 5], "not while drives are away");
    grow(&world, away);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    crew.run("repair").await;
    all_is_wide(&world).await;
    for (key, head) in keys.iter().zip(heads) {
        assert_eq!(world.head(key).await, head, "nothing else about it has changed");
    }
    assert_eq!(world.check().await.blobs, 5, "copies go on sharing");
    world.carrier.detach(DriveId::new(1));
    world.carrier.detach(DriveId::new(5));
    assert_eq!(world.get("huge").await, Some(huge));
    assert_eq!(world.get("copy-98").await, Some(large.clone()));
    assert_eq!(world.get_in("second", "copy-99").await, Some(large));
    assert_eq!(world.get("made").await, Some(parts[..2].concat()));
    world.complete("open", open, &[(1, &part)]).await.expect("made");
    assert_eq!(world.get("open").await.as_ref(), Some(&parts[1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn owners_may_change_meanwhile() {
    let world = World::new().await;
    for round in 0..8 {
        let away = shrink(&world);
        for n in 0..6 {
            world.put(&format!("{n}"), &bytes(LARGE, n)).await;
            copy(&world, &format!("{n}"), ("first", &format!("copy-{n}"))).await;
        }
        let part = bytes(LARGE, 50 + round);
        let upload = world.begin("parts").await;
        let etag = world.part("parts", upload, 1, &part).await.etag;
        let aborted = world.begin("parts").await;
        world.part("parts", aborted, 1, &bytes(LARGE, 9)).await;
        grow(&world, away);
        // Looks at the drives anew.
        let mut crew = Crew::of(&world.engine);
        let changes = async {
            world.put("0", &bytes(LARGE, 100)).await;
            assert!(world.delete("1").await && world.delete("copy-1").await);
            copy(&world, "copy-2", ("first", "2")).await;
            copy(&world, "copy-3", ("first", "again")).await;
            world.complete("parts", upload, &[(1, &etag)]).await.expect("made");
            world.abort("parts", aborted).await.expect("aborted");
            world.put("4", &bytes(SMALL, 101)).await;
            assert!(world.delete("copy-5").await);
        };
        futures::join!(crew.run("repair"), changes);
        crate::collect::collect(&world.engine).await;
        crew.run("repair").await;
        all_is_wide(&world).await;
        let expected = [(100, LARGE), (0, 0), (2, LARGE), (3, LARGE), (101, SMALL), (5, LARGE)];
        for (n, (seed, len)) in expected.into_iter().enumerate() {
            let content = (len > 0).then(|| bytes(len, seed));
            assert_eq!(world.get(&format!("{n}")).await, content, "{n}");
        }
        assert_eq!(world.get("again").await, Some(bytes(LARGE, 3)));
        assert_eq!(world.get("parts").await, Some(part));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_its_commits_nothing_is_lost() {
    for (fate, after, times) in [
        (Fate::LoseReply, 0, 7),
        (Fate::LoseReply, 1, 7),
        (Fate::LoseReply, 2, 7),
        (Fate::Refuse, 0, 1),
        (Fate::Refuse, 1, 1),
        (Fate::Refuse, 2, 1),
        (Fate::Vanish, 0, 7),
        (Fate::Vanish, 1, 7),
    ] {
        let (world, fates) = fated().await;
        let away = shrink(&world);
        let content = bytes(LARGE, 1);
        world.put("a", &content).await;
        for key in ["b", "c"] {
            copy(&world, "a", ("first", key)).await;
        }
        grow(&world, away);
        let mut crew = Crew::of(&world.engine);
        let mut all = vec![fate; times];
        all.extend(vec![Fate::Go; after]);
        *fates.lock() = all;
        for _ in 0..20 {
            // Failures are tried again.
            let _ = crew.try_run("repair", 100).await;
        }
        fates.lock().clear();
        crate::collect::collect(&world.engine).await;
        crew.run("repair").await;
        for key in ["a", "b", "c"] {
            assert_eq!(world.get(key).await, Some(content.clone()), "{fate:?} {after}");
        }
        all_is_whole(&world).await;
        assert!(geometries(&world).await.iter().all(|found| found == "3+2"));
        crate::collect::collect(&world.engine).await;
        world.check().await;
        world.check_copies().await;
    }
}
