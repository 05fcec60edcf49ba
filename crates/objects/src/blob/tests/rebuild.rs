//! Shards made again are the shards that there were; and what no record will name is known to be void.

use net::Carrier as _;

use super::drives::Faults;
use super::*;

fn id(blob: &StoredBlob, copy: &ShardCopy) -> ShardId {
    ShardId { blob: blob.id, index: copy.index, copy: copy.copy }
}

async fn payloads(bench: &Bench, blob: &StoredBlob, copy: &ShardCopy) -> Vec<Bytes> {
    let frames = bench.drives.read(copy.drive, id(blob, copy), 0, u32::MAX).await.expect("a copy");
    (0..).zip(&frames).for_each(|(n, frame)| assert!(frame.verifies(&id(blob, copy), n)));
    frames.into_iter().map(|frame| frame.payload).collect()
}

impl Bench {
    async fn begin(&self, blob: &StoredBlob, wanted: &[(u8, DriveId)]) -> Rebuild {
        let bytes = BlobStore::rebuild_bytes(blob.geometry, blob.len, wanted.len());
        let held = self.store.budget().acquire_patiently(bytes).await;
        self.store.rebuild(HOME, blob.clone(), wanted, self.on_damage(), held).await
    }

    fn void(&self) -> Vec<ShardId> {
        self.store.void().take(usize::MAX).into_iter().map(|copy| copy.shard).collect()
    }
}

#[tokio::test]
async fn any_shards_are_made_again_from_the_others() {
    for (text, len) in [
        ("3+2", 1),
        ("3+2", 100_000),
        ("3+2", 3 * 65_536),
        ("3+2", 3 * 65_536 + 1),
        ("3+2", 7_000_001),
        ("1+1", 2_500_000),
        ("5+3", 4_000_000),
    ] {
        let bytes = pattern(len);
        for first in 0..geometry(text).total() as u8 {
            let bench = Bench::new(text, 12);
            let blob = bench.write(&bytes).await.expect("healthy drives");
            let parity = blob.geometry.parity();
            let lost: Vec<u8> =
                (0..parity as u8).map(|n| (first + n * 2) % blob.geometry.total() as u8).collect();
            let lost: std::collections::BTreeSet<u8> = lost.into_iter().collect();
            let mut expected = Vec::new();
            let mut known = blob.clone();
            known.copies.retain(|copy| !lost.contains(&copy.index));
            for copy in blob.copies.iter().filter(|copy| lost.contains(&copy.index)) {
                expected.push(payloads(&bench, &blob, copy).await);
                bench.drives.remove(id(&blob, copy), *copy);
            }
            let wanted = lost.iter().map(|&index| (index, drive(50 + usize::from(index))));
            let wanted: Vec<_> = wanted.collect();
            wanted.iter().for_each(|(_, drive)| bench.drives.set(*drive, Faults::default()));
            let mut rebuild = bench.begin(&known, &wanted).await;
            while rebuild.advance().await.expect("enough shards") {}
            let mut made = rebuild.commit().await;
            made.release();
            assert_eq!(made.copies().len(), lost.len());
            for ((copy, expected), (index, drive)) in made.copies().iter().zip(expected).zip(wanted)
            {
                assert_eq!((copy.index, copy.drive), (index, drive));
                assert!(payloads(&bench, &blob, copy).await == expected, "{text} {len} {index}");
            }
            assert_eq!((bench.damage(), bench.void()), (vec![], vec![]));
            assert_eq!(bench.drives.open_writers(), 0);
        }
    }
}

#[tokio::test]
async fn what_is_partly_damaged_gives_what_it_has() {
    let bytes = pattern(5_000_000);
    let bench = Bench::new("3+2", 5);
    let blob = bench.write(&bytes).await.expect("healthy drives");
    // In every stripe at most two are damaged; of no shard all frames are whole.
    for (index, copy) in blob.copies.iter().enumerate() {
        for frame in [index, index + 5, index + 10] {
            bench.drives.corrupt(id(&blob, copy), *copy, frame);
        }
    }
    let wanted: Vec<_> = [1, 4].map(|index| (index as u8, drive(index))).into();
    let mut rebuild = bench.begin(&blob, &wanted).await;
    while rebuild.advance().await.expect("enough frames") {}
    let mut made = rebuild.commit().await;
    made.release();
    let copies = made.copies().to_vec();
    let mut mended = blob.clone();
    mended.copies.retain(|copy| copy.index != 1 && copy.index != 4);
    mended.copies.extend(copies);
    // The other three have at least one damaged frame in some stripes, and the two new ones none.
    assert_same(&bench.read_all(&mended).await.expect("enough frames"), &bytes);
    assert!(bench.damage().iter().all(|(_, kind)| *kind == DamageKind::Corrupt));
}

#[tokio::test]
async fn a_drive_that_fails_costs_its_shard_and_no_other() {
    let bytes = pattern(5_000_000);
    let none = Faults::default;
    for faults in [
        Faults { fail_at_create: true, ..none() },
        Faults { fail_at_write: Some(1), ..none() },
        Faults { hang_at_write: Some(0), ..none() },
        Faults { fail_at_commit: true, ..none() },
        Faults { hang_at_commit: true, ..none() },
    ] {
        let bench = Bench::new("3+2", 5);
        let blob = bench.write(&bytes).await.expect("healthy drives");
        bench.drives.set(drive(70), faults.clone());
        bench.drives.set(drive(71), none());
        let mut known = blob.clone();
        known.copies.retain(|copy| copy.index > 1);
        let made = async {
            let mut rebuild = bench.begin(&known, &[(0, drive(70)), (1, drive(71))]).await;
            while rebuild.advance().await.expect("enough shards") {}
            rebuild.commit().await
        };
        let made = bench.in_time(made).await;
        assert_eq!(made.copies().iter().map(|copy| copy.index).collect::<Vec<_>>(), [1]);
        // What may be durable is void, and without a commit that names it the other one, too.
        let begun = faults.fail_at_commit || faults.hang_at_commit;
        let void: Vec<u8> = bench.void().iter().map(|shard| shard.index).collect();
        assert_eq!(void, if begun { vec![0] } else { vec![] }, "{faults:?}");
        drop(made);
        assert_eq!(bench.void().iter().map(|shard| shard.index).collect::<Vec<_>>(), [1]);
    }
}

#[tokio::test]
async fn writers_that_are_left_behind_or_dropped_are_void() {
    let bytes = pattern(200_000);
    let bench = Bench::new("3+2", 5);
    bench.write(&bytes).await.expect("healthy drives");
    assert_eq!(bench.void(), []);
    let hangs = Faults { hang_at_commit: true, ..Faults::default() };
    bench.drives.set(drive(2), hangs.clone());
    let blob = bench.in_time(bench.write(&bytes)).await.expect("four are enough");
    let void = bench.void();
    assert_eq!(void.iter().map(|shard| shard.index).collect::<Vec<_>>(), blob.missing);
    // A client that goes away in the middle of the commit.
    (0..5).for_each(|number| bench.drives.set(drive(number), hangs.clone()));
    let gone = {
        let mut write = std::pin::pin!(bench.write(&bytes));
        tokio::select! {
            biased;
            _ = &mut write => false,
            () = async { for _ in 0..1000 { tokio::task::yield_now().await } } => true,
        }
    };
    assert!(gone);
    let mut void: Vec<u8> = bench.void().iter().map(|shard| shard.index).collect();
    void.sort_unstable();
    assert_eq!(void, [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn what_could_not_be_discarded_is_void() {
    let bench = Bench::new("3+2", 5);
    let blob = bench.write(&pattern(200_000)).await.expect("healthy drives");
    bench.drives.set(blob.copies[1].drive, Faults { away: true, ..Faults::default() });
    bench.store.discard(&blob).await;
    assert_eq!(bench.void(), [id(&blob, &blob.copies[1])]);
}
