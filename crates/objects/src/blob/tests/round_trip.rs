//! What goes in comes out, whole and in ranges, and nothing more is read than that takes.

use proptest::prelude::*;
use types::limits::FRAME_BYTES;

use super::drives::Asked;
use super::*;

const GEOMETRIES: [&str; 5] = ["1+0", "1+1", "2+1", "3+2", "8+2"];

#[tokio::test]
async fn every_length_around_the_edges_round_trips() {
    for text in GEOMETRIES {
        let k = geometry(text).data();
        let stripe = k * FRAME_BYTES;
        let bench = Bench::new(text, geometry(text).total() + 1);
        for len in [
            0,
            1,
            k.saturating_sub(1),
            k,
            k + 1,
            FRAME_BYTES - 1,
            FRAME_BYTES,
            FRAME_BYTES + 1,
            stripe - 1,
            stripe,
            stripe + 1,
            3 * stripe,
            3_500_017,
        ] {
            let bytes = pattern(len);
            let blob = bench.write(&bytes).await.expect("healthy drives");
            let indexes: Vec<u8> = blob.copies.iter().map(|copy| copy.index).collect();
            assert_eq!(indexes, (0..geometry(text).total() as u8).collect::<Vec<_>>());
            assert_eq!((blob.geometry, blob.len), (geometry(text), len as u64));
            assert!(blob.missing.is_empty());
            assert_same(&bench.read_all(&blob).await.expect("healthy drives"), &bytes);
        }
        assert_eq!((bench.damage(), bench.drives.open_writers()), (vec![], 0));
        assert_eq!(bench.store.inner.pool.used_and_peak().0, 0, "{text}");
        assert_eq!(bench.store.budget().available(), 256 << 20, "{text}");
    }
}

#[tokio::test]
async fn copies_are_on_distinct_drives_and_ids_are_fresh() {
    let bench = Bench::new("3+2", 5);
    let first = bench.write(&pattern(1000)).await.expect("healthy drives");
    let second = bench.write(&pattern(1000)).await.expect("healthy drives");
    assert_eq!(bench.drives.drives_used().len(), 5);
    assert_ne!(first.id, second.id);
    assert_eq!(first.id.session, SessionId::new(0xabc));
    let copies: HashSet<CopyId> =
        first.copies.iter().chain(&second.copies).map(|copy| copy.copy).collect();
    assert_eq!(copies.len(), 10);
}

#[tokio::test]
async fn the_digests_are_of_the_body() {
    let bench = Bench::new("3+2", 5);
    for len in [0, 10, 300_000, 3_000_000] {
        let bytes = pattern(len);
        let algorithm = Some(crate::digest::ChecksumAlgorithm::Sha256);
        let mut through_store = Hasher::new(true, algorithm);
        let mut alone = Hasher::new(true, algorithm);
        bench
            .store
            .write(HOME, len as u64, &mut body(&bytes, 70_001), &mut through_store)
            .await
            .expect("healthy drives");
        alone.update(Bytes::from(bytes)).await;
        assert_eq!(through_store.finish().await, alone.finish().await);
    }
}

#[tokio::test]
async fn a_healthy_read_asks_each_data_shard_for_what_the_range_touches_and_no_parity() {
    let bench = Bench::new("3+2", 5);
    let frame = FRAME_BYTES as u64;
    let blob = bench.write(&pattern(10 * 3 * FRAME_BYTES)).await.expect("healthy drives");
    let ask = |index, first, count| Asked { index, first, count };
    for (range, asked) in [
        (0..1, vec![ask(0, 0, 1)]),
        (frame - 1..frame + 1, vec![ask(0, 0, 1), ask(1, 0, 1)]),
        (4 * frame..5 * frame, vec![ask(1, 1, 1)]),
        (2 * frame..4 * frame, vec![ask(0, 1, 1), ask(2, 0, 1)]),
        (5 * frame..12 * frame, vec![ask(0, 2, 2), ask(1, 2, 2), ask(2, 1, 3)]),
        (0..0, vec![]),
    ] {
        bench.read(&blob, range.clone()).await.expect("healthy drives");
        assert_eq!(bench.drives.asked(), asked, "{range:?}");
    }
}

#[tokio::test]
async fn a_long_read_goes_in_few_large_reads() {
    let bench = Bench::new("3+2", 5);
    let bytes = pattern(20 << 20);
    let blob = bench.write(&bytes).await.expect("healthy drives");
    assert_same(&bench.read_all(&blob).await.expect("healthy drives"), &bytes);
    let asked = bench.drives.asked();
    assert!(asked.len() <= 3 * 7, "{}", asked.len());
}

#[tokio::test]
async fn a_lazy_read_touches_no_drive_before_the_first_poll() {
    let bench = Bench::new("2+1", 3);
    let bytes = pattern(500_000);
    let blob = bench.write(&bytes).await.expect("healthy drives");
    let base = bench.store.base(blob.len).await.expect("room");
    let stream = bench.store.read(blob, 100..400_000, bench.on_damage(), None, base);
    tokio::task::yield_now().await;
    assert_eq!(bench.drives.asked(), vec![]);
    assert_same(&collect(stream).await.expect("healthy drives"), &bytes[100..400_000]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_range_of_any_blob(
        which in 0..GEOMETRIES.len(),
        len in 1usize..2_000_000,
        a in any::<prop::sample::Index>(),
        b in any::<prop::sample::Index>(),
        lost in any::<prop::sample::Index>(),
    ) {
        let text = GEOMETRIES[which];
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let bench = Bench::new(text, geometry(text).total());
            let bytes = pattern(len);
            let blob = bench.write(&bytes).await.expect("healthy drives");
            let (a, b) = (a.index(len + 1), b.index(len + 1));
            let range = a.min(b)..a.max(b);
            let wide = range.start as u64..range.end as u64;
            let got = bench.read(&blob, wide.clone()).await.expect("healthy drives");
            assert_same(&got, &bytes[range.clone()]);
            if geometry(text).parity() > 0 {
                let copy = blob.copies[lost.index(blob.copies.len())];
                let id = ShardId { blob: blob.id, index: copy.index, copy: copy.copy };
                bench.drives.remove(id, copy);
                let got = bench.read(&blob, wide).await.expect("enough drives");
                assert_same(&got, &bytes[range]);
            }
        });
    }
}
