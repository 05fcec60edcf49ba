//! The same over real stores in real directories.

use std::collections::HashMap;

use net::LocalCarrier;
use runtime::disk::RealDisk;
use shards::{Identity, Store, StoreOptions};

use super::*;

fn carrier(dir: &std::path::Path, drives: usize) -> Arc<LocalCarrier> {
    let open = |number| {
        let (disk, dir) = (Arc::new(RealDisk), dir.join(format!("drive-{number}")));
        let identity = Identity {
            v: 1,
            cluster: format!("{:032x}", 1),
            drive: drive(number),
            node: NodeId::new(number as u64 + 1),
            created_at_ms: 0,
        };
        Store::format(disk.clone(), &dir, &identity).expect("a fresh directory");
        let options =
            StoreOptions { high_watermark: 1.0, min_free_bytes: 0, ..StoreOptions::default() };
        (drive(number), Store::open(disk, Runtime::real(), &dir, options).expect("a drive"))
    };
    Arc::new(LocalCarrier::new((0..drives).map(open).collect::<HashMap<_, _>>()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blobs_of_all_sizes_survive_the_loss_of_two_drives_of_five() {
    let dir = tempfile::tempdir().expect("a directory");
    let carrier = carrier(dir.path(), 5);
    let store = BlobStore::new(
        carrier.clone(),
        layout(5),
        geometry("3+2"),
        Runtime::real(),
        SessionId::new(5),
        64 << 20,
    );
    let mut blobs = Vec::new();
    // Segments, and files of their own (over 3 MiB).
    for len in [0, 1, 9_000, 200_000, 3 << 20, (3 << 20) + 1, 12_345_678] {
        let bytes = pattern(len);
        let mut hasher = Hasher::new(true, None);
        let written = store.write(HOME, len as u64, &mut body(&bytes, 65_000), &mut hasher).await;
        hasher.finish().await;
        let blob = written.expect("healthy drives");
        assert!(blob.missing.is_empty());
        blobs.push((blob, bytes));
    }
    let read = async |blob: &StoredBlob| {
        let stream = store.open(blob.clone(), 0..blob.len, Arc::new(|_, _| {}), None).await?;
        collect(stream).await
    };
    for (blob, bytes) in &blobs {
        assert_same(&read(blob).await.expect("healthy drives"), bytes);
    }
    let away = [carrier.detach(drive(1)), carrier.detach(drive(3))];
    for (blob, bytes) in &blobs {
        assert_same(&read(blob).await.expect("three of five are there"), bytes);
    }
    let third = carrier.detach(drive(0)).expect("it was there");
    for (blob, _) in blobs.iter().filter(|(blob, _)| blob.len > 0) {
        assert_eq!(read(blob).await, Err(ReadError::Unavailable));
    }
    carrier.attach(drive(0), third);
    for (number, store) in [1, 3].into_iter().zip(away) {
        carrier.attach(drive(number), store.expect("it was there"));
    }
    for (blob, _) in &blobs {
        store.discard(blob).await;
    }
    for number in 0..5 {
        assert_eq!(carrier.status(drive(number)).await.shards, 0);
    }
}
