//! How fast a drive is scrubbed and compacted: `cargo run --release -p shards --example scrub_speed -- DIR [MIB]`.
//! DIR is made, and removed again.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use runtime::Runtime;
use runtime::disk::{Disk, RealDisk};
use shards::{
    DRIVE_VERSION, Frame, Identity, ScrubBudget, ShardHeader, ShardId, Store, StoreOptions,
};
use types::limits::FRAME_BYTES;
use types::{BlobId, CopyId, DriveId, NodeId, SessionId};

const SMALL_BYTES: u64 = 48 * 1024;
const LARGE_BYTES: u64 = 16 << 20;

fn header(sequence: u64, payload_len: u64) -> ShardHeader {
    let blob = BlobId { session: SessionId::new(1), sequence };
    let id = ShardId { blob, index: 0, copy: CopyId::new(sequence + 1) };
    let blob_len = payload_len * 3;
    ShardHeader { id, data_shards: 3, parity_shards: 2, blob_len, payload_len, home: 1 }
}

async fn put(store: &Store, header: ShardHeader) {
    let block = Bytes::from(vec![header.id.blob.sequence as u8; FRAME_BYTES]);
    let mut sink = store.create(header).expect("begun");
    for n in 0..header.frames() {
        let frame = Frame::seal(&header.id, n, block.slice(..header.frame_len(n)));
        sink.write(vec![frame]).await.expect("accepted");
    }
    sink.commit().await.expect("committed");
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().expect("a directory to be made"));
    let mib: u64 = arguments.next().map_or(512, |mib| mib.parse().expect("a number"));
    let disk = Arc::new(RealDisk);
    assert!(!disk.exists(&dir).expect("looked"), "{} exists", dir.display());
    let (drive, node) = (DriveId::new(1), NodeId::new(1));
    let identity =
        Identity { v: DRIVE_VERSION, cluster: "0".repeat(32), drive, node, created_at_ms: 0 };
    Store::format(disk.clone(), &dir, &identity).expect("formatted");
    let runtime = Runtime::real();
    let clock = runtime.clock.clone();
    let store = Store::open(disk, runtime, &dir, StoreOptions::default()).expect("opened");

    let (small, large) = ((mib << 20) / SMALL_BYTES, (mib << 20) / LARGE_BYTES);
    let mut tasks = Vec::new();
    for part in 0..32 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            for n in (part..small).step_by(32) {
                put(&store, header(n, SMALL_BYTES)).await;
            }
        }));
    }
    for task in tasks {
        task.await.expect("written");
    }
    for n in 0..large {
        put(&store, header(small + n, LARGE_BYTES)).await;
    }
    let rate = |bytes: u64, since: std::time::Duration| {
        let seconds = (clock.monotonic() - since).as_secs_f64();
        format!(
            "{:.0} MB in {seconds:.2} s, {:.0} MB/s",
            bytes as f64 / 1e6,
            bytes as f64 / 1e6 / seconds
        )
    };

    for (what, from, to) in [("small", 0, small), ("large", small, small + large)] {
        let (begin, mut bytes) = (clock.monotonic(), 0);
        let mut after = from.checked_sub(1).map(|n| header(n, 0).id);
        loop {
            let budget = ScrubBudget { bytes: 8 << 20, shards: 1024 };
            let slice = store.scrub(after, budget).await.expect("a slice");
            assert!(slice.seen.iter().all(|seen| seen.is_whole()));
            bytes += slice.bytes;
            after = slice.next;
            if after.is_none_or(|next| next.blob.sequence + 1 >= to) {
                break;
            }
        }
        println!("scrub of {what} shards: {}", rate(bytes, begin));
    }

    let ids: Vec<_> = (0..small + large).map(|n| header(n, 0).id).collect();
    let begin = clock.monotonic();
    let found = store.presence(ids).await.expect("told").len();
    let seconds = (clock.monotonic() - begin).as_secs_f64();
    println!("presence of {found} shards: {seconds:.3} s");

    for n in (0..small).filter(|n| !n.is_multiple_of(3)) {
        store.delete(header(n, 0).id).await.expect("deleted");
    }
    store.close().await;
    drop(store);
    let store = Store::open(Arc::new(RealDisk), Runtime::real(), &dir, StoreOptions::default());
    let store = store.expect("opened");
    let (begin, mut moved, mut freed) = (clock.monotonic(), 0, 0);
    loop {
        let done = store.compact(16 << 20).await.expect("compacted");
        moved += done.moved_bytes;
        freed += done.freed_bytes;
        if !done.more {
            break;
        }
    }
    println!("compaction, moved: {}; freed {:.0} MB", rate(moved, begin), freed as f64 / 1e6);
    store.close().await;
    drop(store);
    std::fs::remove_dir_all(&dir).expect("removed");
}
