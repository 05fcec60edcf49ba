//! Writes to drives that fail at every step, and bodies that do.

use net::DriveState;

use super::drives::Faults;
use super::*;

/// Small enough for one batch, and large enough for many.
const LENGTHS: [usize; 3] = [0, 200_000, 5_000_000];

fn steps() -> Vec<(&'static str, Faults)> {
    let none = Faults::default;
    vec![
        ("away", Faults { away: true, ..none() }),
        ("full", Faults { full_at_create: true, ..none() }),
        ("create", Faults { fail_at_create: true, ..none() }),
        ("write 0", Faults { fail_at_write: Some(0), ..none() }),
        ("write 1", Faults { fail_at_write: Some(1), ..none() }),
        ("write 3", Faults { fail_at_write: Some(3), ..none() }),
        ("commit", Faults { fail_at_commit: true, ..none() }),
    ]
}

/// Whether a failure at this step comes while everything is still at hand.
fn in_time(step: &str, len: usize) -> bool {
    match step {
        "write 1" | "write 3" | "commit" => len <= 200_000,
        _ => true,
    }
}

#[tokio::test]
async fn a_failing_drive_is_replaced_while_its_bytes_are_at_hand() {
    for len in LENGTHS {
        let bytes = pattern(len);
        for (step, faults) in steps() {
            let bench = Bench::new("3+2", 7);
            bench.write(b"so that the states are known").await.expect("healthy drives");
            (0..7).take(2).for_each(|number| bench.drives.set(drive(number), faults.clone()));
            // Two of seven fail: of a blob that met them, both shards go elsewhere or are missing.
            for _ in 0..8 {
                match bench.write(&bytes).await {
                    Ok(blob) => {
                        let whole = blob.missing.is_empty();
                        assert!(whole || !in_time(step, len), "{step} {len}");
                        assert!(blob.missing.len() <= 1, "{step} {len}");
                        let got = bench.read_all(&blob).await.expect("enough shards");
                        assert_same(&got, &bytes);
                    }
                    Err(error) => {
                        assert_eq!(error, StoreError::TooFewDrives, "{step} {len}");
                        assert!(!in_time(step, len), "{step} {len}");
                    }
                }
            }
            assert_eq!(bench.drives.open_writers(), 0, "{step} {len}");
        }
    }
}

#[tokio::test]
async fn without_a_spare_one_failure_is_recorded_as_missing() {
    for len in LENGTHS {
        let bytes = pattern(len);
        for (step, faults) in steps() {
            let bench = Bench::new("3+2", 5);
            bench.write(b"so that the states are known").await.expect("healthy drives");
            bench.drives.set(drive(3), faults);
            let blob = bench.write(&bytes).await.expect("four of five are enough");
            assert_eq!(blob.geometry, geometry("3+2"));
            let fails = len > 200_000 || step != "write 3" && step != "write 1";
            let fails = fails && (len > 0 || !step.starts_with("write"));
            assert_eq!(blob.missing.len(), usize::from(fails), "{step} {len}");
            assert_eq!(blob.copies.len() + blob.missing.len(), 5);
            assert_same(&bench.read_all(&blob).await.expect("enough shards"), &bytes);
        }
    }
}

#[tokio::test]
async fn below_the_quorum_nothing_is_left() {
    for len in [200_000, 5_000_000] {
        for (step, faults) in steps().into_iter().skip(3) {
            if in_time(step, len) && step.starts_with("write") && step != "write 0" {
                continue;
            }
            let bench = Bench::new("3+2", 5);
            bench.drives.set(drive(1), faults.clone());
            bench.drives.set(drive(3), faults);
            let written = bench.write(&pattern(len)).await;
            assert_eq!(written, Err(StoreError::TooFewDrives), "{step} {len}");
            assert_eq!((bench.drives.shards(), bench.drives.open_writers()), (0, 0), "{step}");
        }
    }
}

#[tokio::test]
async fn drives_that_turn_out_to_be_away_before_the_body_cost_geometry_not_the_write() {
    let bench = Bench::new("3+2", 5);
    bench.write(b"so that the states are known").await.expect("healthy drives");
    let away = Faults { away: true, ..Faults::default() };
    bench.drives.set(drive(0), away.clone());
    bench.drives.set(drive(4), away);
    let bytes = pattern(300_000);
    let blob = bench.write(&bytes).await.expect("three drives hold 2+1");
    assert_eq!((blob.geometry, blob.missing.len()), (geometry("2+1"), 0));
    assert_same(&bench.read_all(&blob).await.expect("all are there"), &bytes);
}

#[tokio::test]
async fn with_drives_down_the_widest_geometry_that_fits_is_used() {
    for (text, drives, down, fits) in [
        ("3+2", 5, 0, Some("3+2")),
        ("3+2", 5, 1, Some("3+1")),
        ("3+2", 5, 3, Some("1+1")),
        ("3+2", 5, 4, None),
        ("1+1", 2, 1, None),
        ("1+0", 1, 0, Some("1+0")),
        ("1+0", 1, 1, None),
        ("8+2", 12, 2, Some("8+2")),
    ] {
        let bench = Bench::new(text, drives);
        for number in 0..down {
            bench.drives.set(drive(number), Faults { away: true, ..Faults::default() });
        }
        let written = bench.write(&pattern(100_000)).await;
        let expected = fits.map(geometry).ok_or(StoreError::TooFewDrives);
        assert_eq!(written.map(|blob| blob.geometry), expected, "{text} {down}");
    }
}

#[tokio::test]
async fn full_drives_are_told_from_absent_ones() {
    let told = |state| Faults { state: Some(state), ..Faults::default() };
    let turns_out = Faults { full_at_create: true, ..Faults::default() };
    for (faults, error) in [
        (told(DriveState::Full), StoreError::Full),
        (told(DriveState::Suspect), StoreError::TooFewDrives),
        (told(DriveState::Away), StoreError::TooFewDrives),
        (turns_out, StoreError::Full),
    ] {
        let bench = Bench::new("2+1", 3);
        (0..2).for_each(|number| bench.drives.set(drive(number), faults.clone()));
        assert_eq!(bench.write(&pattern(1000)).await, Err(error));
    }
}

#[tokio::test]
async fn the_drives_are_asked_again_after_a_second() {
    let bench = Bench::new("2+1", 4);
    let away = Faults { away: true, ..Faults::default() };
    (0..2).for_each(|number| bench.drives.set(drive(number), away.clone()));
    let cut = |blob: StoredBlob| blob.geometry;
    assert_eq!(bench.write(b"x").await.map(cut), Ok(geometry("1+1")));
    (0..2).for_each(|number| bench.drives.set(drive(number), Faults::default()));
    assert_eq!(bench.write(b"x").await.map(cut), Ok(geometry("1+1")));
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.write(b"x").await.map(cut), Ok(geometry("2+1")));
}

#[tokio::test]
async fn a_body_of_another_length_than_declared_leaves_nothing() {
    let bytes = pattern(2_000_000);
    for have in [0, 1, 199_999, 200_001, 1_999_999, 2_000_000] {
        for declared in [1u64, 200_000, 1_999_999] {
            let bench = Bench::new("3+2", 5);
            let mut hasher = Hasher::new(true, None);
            let mut body = body(&bytes[..have], 64_000);
            let written = bench.store.write(HOME, declared, &mut body, &mut hasher).await;
            let expected = match (have as u64).cmp(&declared) {
                std::cmp::Ordering::Less => BodyError::Incomplete,
                std::cmp::Ordering::Greater => BodyError::TooLong,
                std::cmp::Ordering::Equal => continue,
            };
            assert_eq!(written, Err(StoreError::Body(expected)), "{have} of {declared}");
            assert_eq!((bench.drives.shards(), bench.drives.open_writers()), (0, 0));
        }
    }
}

#[tokio::test]
async fn an_error_of_the_body_is_passed_on_even_behind_its_last_byte() {
    let refused = BodyError::Refused("a wrong signature".to_owned());
    for before in [0, 70_000, 3_000_000] {
        let bench = Bench::new("3+2", 5);
        let bytes = Bytes::from(pattern(before));
        let pieces = vec![Ok(bytes), Ok(Bytes::new()), Err(refused.clone())];
        let mut body: BodyStream = Box::pin(futures::stream::iter(pieces));
        let mut hasher = Hasher::new(false, None);
        let written = bench.store.write(HOME, before as u64, &mut body, &mut hasher).await;
        assert_eq!(written, Err(StoreError::Body(refused.clone())));
        assert_eq!((bench.drives.shards(), bench.drives.open_writers()), (0, 0));
    }
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_nothing_open() {
    let bench = Bench::new("3+2", 5);
    let pieces = futures::stream::iter(vec![Ok(Bytes::from(pattern(2_500_000)))]);
    let mut body: BodyStream = Box::pin(pieces.chain(futures::stream::pending()));
    let mut hasher = Hasher::new(false, None);
    let mut write = Box::pin(bench.store.write(HOME, 5_000_000, &mut body, &mut hasher));
    for _ in 0..200 {
        assert!(futures::poll!(&mut write).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.drives.open_writers(), 5);
    drop(write);
    assert_eq!((bench.drives.shards(), bench.drives.open_writers()), (0, 0));
    assert_eq!(bench.store.budget().available(), 256 << 20);
}

#[tokio::test]
async fn a_discarded_blob_is_gone() {
    let bench = Bench::new("3+2", 5);
    let blob = bench.write(&pattern(100_000)).await.expect("healthy drives");
    let kept = bench.write(&pattern(100_000)).await.expect("healthy drives");
    bench.store.discard(&blob).await;
    assert_eq!(bench.drives.shards(), 5);
    assert!(bench.read_all(&kept).await.is_ok());
}
