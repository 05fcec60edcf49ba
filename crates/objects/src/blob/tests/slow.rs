//! Drives that are late or never answer.

use futures::future::join_all;
use runtime::Clock as _;

use super::drives::Faults;
use super::*;

fn hang_reads() -> Faults {
    Faults { hang_at_read: true, ..Faults::default() }
}

#[tokio::test]
async fn a_late_shard_is_replaced_by_parity_after_the_measured_delay() {
    let bench = Bench::new("3+2", 5);
    let bytes = pattern(500_000);
    let blob = bench.write(&bytes).await.expect("healthy drives");
    bench.drives.set(blob.copies[1].drive, hang_reads());
    let start = bench.clock.monotonic();
    let got = bench.in_time(bench.read_all(&blob)).await.expect("four answer");
    assert_same(&got, &bytes);
    let took = bench.clock.monotonic() - start;
    assert!(took <= Duration::from_millis(200), "{took:?}");
    // Late is not damaged.
    assert_eq!(bench.damage(), vec![]);
    let parity: Vec<u8> =
        bench.drives.asked().iter().map(|asked| asked.index).filter(|&index| index > 2).collect();
    assert_eq!(parity, vec![3]);
}

#[tokio::test]
async fn nothing_is_hedged_before_the_delay() {
    let bench = Bench::new("3+2", 5);
    let blob = bench.write(&pattern(500_000)).await.expect("healthy drives");
    bench.drives.set(blob.copies[1].drive, hang_reads());
    let mut read = Box::pin(bench.read_all(&blob));
    for _ in 0..10 {
        assert!(futures::poll!(&mut read).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.drives.asked().len(), 3);
}

#[tokio::test]
async fn a_shard_that_was_overtaken_is_not_waited_for_in_every_window() {
    let bench = Bench::new("3+2", 5);
    let bytes = pattern(20 << 20);
    let blob = bench.write(&bytes).await.expect("healthy drives");
    bench.drives.set(blob.copies[0].drive, hang_reads());
    let start = bench.clock.monotonic();
    let got = bench.in_time(bench.read_all(&blob)).await.expect("four answer");
    assert_same(&got, &bytes);
    let took = bench.clock.monotonic() - start;
    assert!(took <= Duration::from_millis(300), "{took:?}");
}

#[tokio::test]
async fn a_drive_that_hangs_does_not_make_every_read_late() {
    let bench = Bench::new("3+2", 5);
    let bytes = pattern(500_000);
    let blobs = join_all((0..40).map(|_| bench.write(&bytes))).await;
    let blobs: Vec<_> = blobs.into_iter().map(|blob| blob.expect("healthy drives")).collect();
    bench.drives.set(drive(1), hang_reads());
    let start = bench.clock.monotonic();
    for blob in &blobs {
        let got = bench.in_time(bench.read_all(blob)).await.expect("four answer");
        assert_same(&got, &bytes);
    }
    let took = bench.clock.monotonic() - start;
    assert!(took <= Duration::from_millis(300), "{took:?}");
    // Now and then one read asks it again; when it answers, all do.
    bench.drives.set(drive(1), Faults::default());
    bench.clock.advance(Duration::from_secs(60));
    bench.drives.asked();
    for blob in &blobs {
        assert_same(&bench.read_all(blob).await.expect("five answer"), &bytes);
    }
    let parity = bench.drives.asked().iter().filter(|asked| asked.index > 2).count();
    assert!(parity <= 1, "{parity} reads of parity");
}

#[tokio::test]
async fn late_hedges_are_hedged_too() {
    let bench = Bench::new("3+2", 5);
    let bytes = pattern(500_000);
    let blob = bench.write(&bytes).await.expect("healthy drives");
    bench.drives.set(blob.copies[0].drive, hang_reads());
    bench.drives.set(blob.copies[3].drive, hang_reads());
    let start = bench.clock.monotonic();
    let got = bench.in_time(bench.read_all(&blob)).await.expect("three answer");
    assert_same(&got, &bytes);
    let took = bench.clock.monotonic() - start;
    assert!(took <= Duration::from_millis(400), "{took:?}");
}

#[tokio::test]
async fn drives_that_never_answer_end_in_an_error() {
    let bench = Bench::new("3+2", 5);
    let blob = bench.write(&pattern(500_000)).await.expect("healthy drives");
    blob.copies[..3].iter().for_each(|copy| bench.drives.set(copy.drive, hang_reads()));
    assert_eq!(bench.in_time(bench.read_all(&blob)).await, Err(ReadError::Unavailable));
    let damage: Vec<_> = (0..3).map(|index| (index, DamageKind::Away)).collect();
    assert_eq!(bench.damage(), damage);
}

#[tokio::test]
async fn a_straggling_writer_is_left_behind_after_the_grace() {
    let bytes = pattern(3_000_000);
    let hangs = [
        Faults { hang_at_write: Some(0), ..Faults::default() },
        Faults { hang_at_write: Some(2), ..Faults::default() },
        Faults { hang_at_commit: true, ..Faults::default() },
    ];
    for faults in hangs {
        let bench = Bench::new("3+2", 5);
        bench.drives.set(drive(2), faults.clone());
        let start = bench.clock.monotonic();
        let blob = bench.in_time(bench.write(&bytes)).await.expect("four of five are enough");
        let took = bench.clock.monotonic() - start;
        assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(3), "{took:?}");
        assert_eq!((blob.copies.len(), blob.missing.len()), (4, 1), "{faults:?}");
        bench.drives.set(drive(2), Faults::default());
        assert_same(&bench.read_all(&blob).await.expect("four are there"), &bytes);
        assert_eq!(bench.drives.open_writers(), 0);
    }
}

#[tokio::test]
async fn a_drive_that_hangs_does_not_make_every_write_late() {
    let bench = Bench::new("3+2", 5);
    bench.drives.set(drive(2), Faults { hang_at_commit: true, ..Faults::default() });
    let start = bench.clock.monotonic();
    for _ in 0..20 {
        let blob = bench.in_time(bench.write(&pattern(100_000))).await.expect("four of five");
        assert_eq!((blob.copies.len(), blob.missing.len()), (4, 1));
    }
    let took = bench.clock.monotonic() - start;
    assert!(took < Duration::from_secs(4), "{took:?}");
    // It is written to all the same, and as soon as it answers it is whole again.
    bench.drives.set(drive(2), Faults::default());
    let blob = bench.in_time(bench.write(&pattern(100_000))).await.expect("five of five");
    assert_eq!(blob.missing, Vec::<u8>::new());
}

#[tokio::test]
async fn too_many_stragglers_are_an_error_in_the_end() {
    let bench = Bench::new("3+2", 5);
    let faults = Faults { hang_at_commit: true, ..Faults::default() };
    bench.drives.set(drive(0), faults.clone());
    bench.drives.set(drive(1), faults);
    let written = bench.in_time(bench.write(&pattern(100_000))).await;
    assert_eq!(written, Err(StoreError::TooFewDrives));
    assert_eq!((bench.drives.shards(), bench.drives.open_writers()), (0, 0));
}
