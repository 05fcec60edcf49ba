//! Reads from drives that lost, spoilt or withhold shards.

use super::drives::Faults;
use super::*;

const LEN: usize = 700_000;

fn id(blob: &StoredBlob, copy: ShardCopy) -> ShardId {
    ShardId { blob: blob.id, index: copy.index, copy: copy.copy }
}

#[derive(Clone, Copy, Debug)]
enum Harm {
    Lost,
    Corrupt,
    Truncated,
    Away,
    Failing,
}

const HARMS: [(Harm, DamageKind); 5] = [
    (Harm::Lost, DamageKind::Missing),
    (Harm::Corrupt, DamageKind::Corrupt),
    (Harm::Truncated, DamageKind::Corrupt),
    (Harm::Away, DamageKind::Away),
    (Harm::Failing, DamageKind::Failed),
];

fn harm(bench: &Bench, blob: &StoredBlob, copy: ShardCopy, harm: Harm) {
    let id = id(blob, copy);
    match harm {
        Harm::Lost => drop(bench.drives.remove(id, copy)),
        Harm::Corrupt => {
            let frames = BlobShape { geometry: blob.geometry, len: blob.len }.stripes() as usize;
            (0..frames).for_each(|frame| bench.drives.corrupt(id, copy, frame));
        }
        Harm::Truncated => bench.drives.truncate(id, copy, 0),
        Harm::Away => bench.drives.set(copy.drive, Faults { away: true, ..Faults::default() }),
        Harm::Failing => {
            bench.drives.set(copy.drive, Faults { fail_at_read: true, ..Faults::default() });
        }
    }
}

/// All ways to choose some of `0..total`.
fn subsets(total: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..1usize << total).map(move |bits| (0..total).filter(|i| bits >> i & 1 == 1).collect())
}

#[tokio::test]
async fn any_m_shards_may_be_harmed_in_any_way_and_one_more_is_an_error() {
    let bytes = pattern(LEN);
    for text in ["1+1", "2+1", "3+2"] {
        let geometry = geometry(text);
        for (kind, reported) in HARMS {
            for harmed in subsets(geometry.total()) {
                let bench = Bench::new(text, geometry.total());
                let blob = bench.write(&bytes).await.expect("healthy drives");
                harmed.iter().for_each(|&index| harm(&bench, &blob, blob.copies[index], kind));
                let read = bench.read_all(&blob).await;
                let damage = bench.damage();
                if harmed.len() > geometry.parity() {
                    let expected = match kind {
                        Harm::Away | Harm::Failing => ReadError::Unavailable,
                        Harm::Lost | Harm::Corrupt | Harm::Truncated => ReadError::Corrupt,
                    };
                    assert_eq!(read, Err(expected), "{text} {kind:?} {harmed:?}");
                    continue;
                }
                assert_same(&read.expect("enough shards"), &bytes);
                // Data shards are always missed; parity only when it was asked for.
                for &index in harmed.iter().filter(|&&index| index < geometry.data()) {
                    assert!(
                        damage.contains(&(index as u8, reported)),
                        "{text} {kind:?} {harmed:?}"
                    );
                }
                let mut once = damage.clone();
                once.dedup();
                assert_eq!(once, damage);
                assert!(damage.iter().all(|(index, _)| harmed.contains(&usize::from(*index))));
            }
        }
    }
}

#[tokio::test]
async fn frames_spoilt_here_and_there_are_mended_stripe_by_stripe() {
    // All five shards are damaged, but no stripe has lost more than two frames.
    let bench = Bench::new("3+2", 5);
    let bytes = pattern(20 * 3 * 65_536 + 17);
    let blob = bench.write(&bytes).await.expect("healthy drives");
    for frame in 0..21 {
        for step in [0, 2] {
            let copy = blob.copies[(frame + step) % 5];
            bench.drives.corrupt(id(&blob, copy), copy, frame);
        }
    }
    assert_same(&bench.read_all(&blob).await.expect("three of each stripe are whole"), &bytes);
    // The second parity shard was never needed where it is spoilt.
    assert_eq!(bench.damage(), (0..4).map(|i| (i, DamageKind::Corrupt)).collect::<Vec<_>>());
    // One stripe with three spoilt frames: an error, not wrong bytes.
    let copy = blob.copies[1];
    bench.drives.corrupt(id(&blob, copy), copy, 10);
    assert_eq!(bench.read_all(&blob).await, Err(ReadError::Corrupt));
    let before = 10 * 3 * 65_536;
    let got = bench.read(&blob, 0..before).await.expect("the others are whole");
    assert_same(&got, &bytes[..before as usize]);
}

#[tokio::test]
async fn frames_in_the_wrong_place_do_not_pass() {
    let bench = Bench::new("2+1", 3);
    let bytes = pattern(600_000);
    let blob = bench.write(&bytes).await.expect("healthy drives");
    let other = bench.write(&pattern(600_001)[1..]).await.expect("healthy drives");
    // The other blob's shard under this one's name, with its own checksums.
    let (mine, theirs) = (blob.copies[0], other.copies[0]);
    let (header, _) = bench.drives.remove(id(&blob, mine), mine);
    let (_, frames) = bench.drives.remove(id(&other, theirs), theirs);
    bench.drives.insert(id(&blob, mine), mine.drive, header, &[]);
    bench.drives.put_raw(id(&blob, mine), mine.drive, frames);
    assert_same(&bench.read_all(&blob).await.expect("one of three is wrong"), &bytes);
    assert_eq!(bench.damage(), vec![(0, DamageKind::Corrupt)]);
}

#[tokio::test]
async fn an_error_in_the_first_window_is_known_before_the_stream() {
    let bench = Bench::new("2+1", 3);
    let blob = bench.write(&pattern(LEN)).await.expect("healthy drives");
    for copy in &blob.copies[..2] {
        harm(&bench, &blob, *copy, Harm::Away);
    }
    assert!(matches!(bench.open(&blob, 0..10).await.err(), Some(ReadError::Unavailable)));
    // Lost and away together: what is away may come back, and would be enough.
    harm(&bench, &blob, blob.copies[2], Harm::Lost);
    assert_eq!(bench.read_all(&blob).await, Err(ReadError::Unavailable));
}

#[tokio::test]
async fn damage_that_no_drive_can_mend_is_corrupt_even_while_others_are_away() {
    let bench = Bench::new("2+1", 3);
    let blob = bench.write(&pattern(LEN)).await.expect("healthy drives");
    harm(&bench, &blob, blob.copies[0], Harm::Lost);
    harm(&bench, &blob, blob.copies[1], Harm::Corrupt);
    harm(&bench, &blob, blob.copies[2], Harm::Away);
    assert_eq!(bench.read_all(&blob).await, Err(ReadError::Corrupt));
}

#[tokio::test]
async fn an_error_behind_the_first_window_ends_the_stream_after_the_good_bytes() {
    let bench = Bench::new("2+1", 3);
    let bytes = pattern(6 << 20);
    let blob = bench.write(&bytes).await.expect("healthy drives");
    for copy in &blob.copies[..2] {
        bench.drives.corrupt(id(&blob, *copy), *copy, 40);
    }
    let mut stream = bench.open(&blob, 0..blob.len).await.expect("the first window is whole");
    let mut got = Vec::new();
    let error = loop {
        match stream.next().await.expect("the error comes first") {
            Ok(piece) => got.extend_from_slice(&piece),
            Err(error) => break error,
        }
    };
    assert_eq!(error, ReadError::Corrupt);
    assert!(got.len() >= 1 << 20);
    assert_same(&got, &bytes[..got.len()]);
    assert!(stream.next().await.is_none());
}

/// Moves a copy to a drive that nobody knows of; its new place.
fn move_away(bench: &Bench, blob: &StoredBlob, index: usize) -> ShardCopy {
    let old = blob.copies[index];
    let (header, frames) = bench.drives.remove(id(blob, old), old);
    let new = ShardCopy {
        drive: drive(90 + index),
        copy: CopyId::new(old.copy.get().wrapping_add(1)),
        ..old
    };
    bench.drives.insert(id(blob, new), new.drive, header, &frames);
    new
}

#[tokio::test]
async fn a_copy_that_has_moved_is_found_through_the_record_and_is_no_damage() {
    let bytes = pattern(3 << 20);
    for moved in [vec![0], vec![0, 1, 2, 3, 4]] {
        let bench = Bench::new("3+2", 5);
        let blob = bench.write(&bytes).await.expect("healthy drives");
        let mut truth = blob.copies.clone();
        moved.iter().for_each(|&index| truth[index] = move_away(&bench, &blob, index));
        let lookups = Arc::new(AtomicU64::new(0));
        let relocate: Relocate = Arc::new({
            let lookups = lookups.clone();
            move |_| {
                lookups.fetch_add(1, Ordering::SeqCst);
                let truth = truth.clone();
                Box::pin(async move { Some(truth) })
            }
        });
        let stream = bench.store.open(blob.clone(), 0..blob.len, bench.on_damage(), Some(relocate));
        let got = collect(stream.await.expect("all are there")).await.expect("all are there");
        assert_same(&got, &bytes);
        assert_eq!((bench.damage(), lookups.load(Ordering::SeqCst)), (vec![], 1));
    }
}

#[tokio::test]
async fn every_copy_that_has_moved_is_asked_where_it_is_now() {
    let bytes = pattern(3 << 20);
    let bench = Bench::new("3+2", 5);
    let blob = bench.write(&bytes).await.expect("healthy drives");
    let mut truth = blob.copies.clone();
    (0..3).for_each(|index| truth[index] = move_away(&bench, &blob, index));
    // Nothing else could take the place of those that have moved.
    for copy in &blob.copies[3..] {
        harm(&bench, &blob, *copy, Harm::Lost);
    }
    let relocate: Relocate = Arc::new(move |_| {
        let truth = truth.clone();
        Box::pin(async move { Some(truth) })
    });
    let stream = bench.store.open(blob.clone(), 0..blob.len, bench.on_damage(), Some(relocate));
    let got = collect(stream.await.expect("enough")).await.expect("enough");
    assert_same(&got, &bytes);
    assert_eq!(bench.damage(), vec![]);
}

#[tokio::test]
async fn a_missing_copy_is_damage_only_when_the_record_confirms_it() {
    let bytes = pattern(LEN);
    let bench = Bench::new("3+2", 5);
    let blob = bench.write(&bytes).await.expect("healthy drives");
    harm(&bench, &blob, blob.copies[1], Harm::Lost);
    for (record, damage) in
        [(None, vec![]), (Some(blob.copies.clone()), vec![(1, DamageKind::Missing)])]
    {
        let relocate: Relocate = Arc::new(move |_| {
            let record = record.clone();
            Box::pin(async move { record })
        });
        let stream = bench.store.open(blob.clone(), 0..blob.len, bench.on_damage(), Some(relocate));
        let got = collect(stream.await.expect("enough")).await.expect("enough");
        assert_same(&got, &bytes);
        assert_eq!(bench.damage(), damage);
    }
}

#[tokio::test]
async fn a_blob_that_was_written_with_shards_missing_reads_without_new_damage() {
    let bench = Bench::new("3+2", 5);
    let bytes = pattern(LEN);
    let mut blob = bench.write(&bytes).await.expect("healthy drives");
    blob.copies.remove(0);
    blob.missing = vec![0];
    assert_same(&bench.read_all(&blob).await.expect("four are there"), &bytes);
    assert_eq!(bench.damage(), vec![]);
}
