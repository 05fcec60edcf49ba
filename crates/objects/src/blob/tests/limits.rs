//! Memory: bounded whatever comes, and never a reason to stand still.

use futures::future::join_all;

use super::*;

const MIB: usize = 1 << 20;

#[tokio::test]
async fn many_large_writes_stay_within_the_budget_and_all_end() {
    for text in ["1+1", "3+2", "8+2"] {
        let bench = Bench::with_budget(text, geometry(text).total(), 6 * MIB);
        let bytes = pattern(9 * MIB + 77);
        let written = join_all((0..12).map(|_| async {
            let mut hasher = Hasher::new(true, Some(crate::digest::ChecksumAlgorithm::Sha256));
            let mut body = body(&bytes, 100_003);
            let written = bench.store.write(HOME, bytes.len() as u64, &mut body, &mut hasher).await;
            hasher.finish().await;
            written
        }));
        let written = written.await;
        let (used, peak) = bench.store.inner.pool.used_and_peak();
        assert!(used == 0 && peak <= 6 * MIB, "{text} {used} {peak}");
        assert_eq!(bench.store.budget().available(), 6 * MIB);
        for blob in written.into_iter().take(2) {
            let blob = blob.expect("its turn came");
            assert_same(&bench.read_all(&blob).await.expect("healthy drives"), &bytes);
        }
    }
}

#[tokio::test]
async fn small_blobs_pay_for_all_of_their_shards() {
    let bench = Bench::with_budget("3+2", 5, 6 * MIB);
    let bytes = pattern(MIB);
    let written = join_all((0..30).map(|_| bench.write(&bytes))).await;
    assert!(written.iter().all(Result::is_ok));
    assert!(bench.store.inner.pool.used_and_peak().1 <= 6 * MIB);
}

#[tokio::test]
async fn without_memory_a_write_is_refused_before_its_body_is_read() {
    let bench = Bench::with_budget("3+2", 5, 6 * MIB);
    let held = bench.store.budget().acquire(6 * MIB).await.expect("all is free");
    let mut body: BodyStream = Box::pin(futures::stream::poll_fn(|_| panic!("nobody reads this")));
    let mut hasher = Hasher::new(false, None);
    let written = bench.in_time(bench.store.write(HOME, 10, &mut body, &mut hasher)).await;
    assert_eq!(written, Err(StoreError::Busy));
    assert_eq!(bench.drives.open_writers(), 0);
    drop(held);
    assert!(bench.write(b"now there is room").await.is_ok());
}

#[tokio::test]
async fn without_memory_a_read_is_refused_before_its_headers() {
    let bench = Bench::with_budget("3+2", 5, 6 * MIB);
    let blob = bench.write(&pattern(MIB)).await.expect("healthy drives");
    let held = bench.store.budget().acquire(6 * MIB).await.expect("all is free");
    let opened = bench.in_time(bench.open(&blob, 0..10)).await;
    assert!(matches!(opened.err(), Some(ReadError::Busy)));
    drop(held);
    assert!(bench.read(&blob, 0..10).await.is_ok());
}

#[tokio::test]
async fn reads_of_slow_clients_go_on_a_stripe_at_a_time() {
    // Room for ten readers' stripes, but not for one whole window.
    let bench = Bench::with_budget("3+2", 5, 2 * MIB);
    let bytes = pattern(5 * MIB);
    let blob = bench.write(&bytes).await.expect("healthy drives");
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(bench.open(&blob, 0..blob.len).await.expect("there is room for ten"));
    }
    assert!(bench.store.budget().available() <= 2 * MIB - 10 * 3 * 65_536);
    // The last one is read to its end while nine stand still.
    let last = streams.pop().expect("ten were opened");
    assert_same(&collect(last).await.expect("healthy drives"), &bytes);
    for stream in streams {
        assert_same(&collect(stream).await.expect("healthy drives"), &bytes);
    }
    assert_eq!(bench.store.budget().available(), 2 * MIB);
}

/// A part behind the first is read although all memory is taken, by those who wait for its bytes.
#[tokio::test]
async fn what_has_begun_never_waits_for_memory() {
    let bench = Bench::with_budget("3+2", 5, 4 * MIB);
    let bytes = pattern(MIB);
    let blob = bench.write(&bytes).await.expect("healthy drives");
    let base = bench.store.base(1 << 30).await.expect("there is room");
    let rest = bench.store.budget().available();
    let taken = bench.store.budget().acquire(rest).await.expect("there is room");
    assert_eq!(bench.store.budget().available(), 0);
    for _ in 0..2 {
        let (blob, on_damage) = (blob.clone(), bench.on_damage());
        let part = bench.store.read(blob.clone(), 0..blob.len, on_damage, None, base.clone());
        assert_same(&bench.in_time(collect(part)).await.expect("healthy drives"), &bytes);
    }
    drop((base, taken));
    assert_eq!(bench.store.budget().available(), 4 * MIB);
}
