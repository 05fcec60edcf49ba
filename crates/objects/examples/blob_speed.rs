//! What the blob store costs: CPU-seconds per GiB and MB/s of writing and reading large blobs on local drives.
//!
//! `cargo run --release -p objects --example blob_speed -- [DIR] [GEOMETRY] [STREAMS] [MIB] [BLOBS]`; the drives are
//! directories in DIR (default: a temporary one), which should be on the disk to be measured. It compiles the store's
//! modules in, because they are no part of the crate's interface.
#![allow(dead_code, unused_imports, unreachable_pub)]
#![allow(clippy::disallowed_methods, reason = "a measurement is not part of the product")]

#[path = "../src/blob/mod.rs"]
mod blob;
#[path = "../src/digest/mod.rs"]
mod digest;
#[path = "../src/error.rs"]
mod error;
#[path = "../src/model.rs"]
mod model;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use blob::{BlobStore, StoredBlob};
use bytes::Bytes;
use digest::Hasher;
use futures::{StreamExt, TryStreamExt};
use net::LocalCarrier;
use placement::{Drive, DriveRole, Layout};
use runtime::Runtime;
use runtime::disk::RealDisk;
use shards::{Identity, Store, StoreOptions};
use types::{BucketId, DriveId, NodeId, SessionId};

struct Arguments {
    geometry: erasure::Geometry,
    streams: usize,
    len: usize,
    blobs: usize,
}

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, or| given.get(at).map_or(or, |n| n.parse().expect("a number"));
    let scratch;
    let dir = match given.first() {
        Some(dir) => Path::new(dir),
        None => {
            scratch = tempfile::tempdir().expect("a temporary directory");
            scratch.path()
        }
    };
    let arguments = Arguments {
        geometry: given.get(1).map_or("3+2", String::as_str).parse().expect("a geometry"),
        streams: number(2, 2),
        len: number(3, 64) << 20,
        blobs: number(4, 16),
    };
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    threads.expect("threads").block_on(measure(dir, &arguments));
}

async fn measure(dir: &Path, arguments: &Arguments) {
    let Arguments { geometry, streams, len, blobs } = *arguments;
    let (store, carrier) = open(dir, geometry);
    println!("{geometry}, {streams} streams, {blobs} blobs of {} MiB", len >> 20);
    for (what, md5) in [("write", false), ("write with MD5", true)] {
        let written = Meter::start();
        let stored: Vec<StoredBlob> = futures::stream::iter(0..blobs)
            .map(|_| write(store.clone(), len, md5))
            .buffer_unordered(streams)
            .collect()
            .await;
        written.report(what, blobs * len);
        assert!(stored.iter().all(|blob| blob.missing.is_empty()));
        for (what, harmed) in [("read", false), ("read with a drive away", true)] {
            if harmed && geometry.parity() == 0 {
                continue;
            }
            let away = harmed.then(|| carrier.detach(DriveId::new(1))).flatten();
            let read = Meter::start();
            futures::stream::iter(stored.clone())
                .map(|blob| async { tokio::spawn(drain(store.clone(), blob)).await })
                .buffer_unordered(streams)
                .for_each(|length| async move { assert_eq!(length.expect("no panic"), len) })
                .await;
            read.report(what, blobs * len);
            away.and_then(|drive| carrier.attach(DriveId::new(1), drive));
        }
        for blob in &stored {
            store.discard(blob).await;
        }
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().filter(|line| line.starts_with("VmHWM")).for_each(|line| println!("{line}"));
}

fn open(dir: &Path, geometry: erasure::Geometry) -> (BlobStore, Arc<LocalCarrier>) {
    let runtime = Runtime::real();
    let mut drives = Vec::new();
    let mut stores = HashMap::new();
    for number in 1..=geometry.total() as u64 {
        let (id, node) = (DriveId::new(number), NodeId::new(number));
        let dir = dir.join(format!("drive-{number}"));
        let disk = Arc::new(RealDisk);
        let identity =
            Identity { v: 1, cluster: format!("{:032x}", 1), drive: id, node, created_at_ms: 0 };
        Store::format(disk.clone(), &dir, &identity).expect("a fresh directory");
        let options = StoreOptions::default();
        let store = Store::open(disk, runtime.clone(), &dir, options).expect("a drive");
        stores.insert(id, store);
        drives.push(Drive {
            id,
            node,
            zone: String::new(),
            tier: String::new(),
            capacity_bytes: 1 << 40,
            state: DriveRole::Active,
            path_hint: String::new(),
        });
    }
    let layout = Layout { drives, ..Layout::empty() };
    let session = SessionId::new(1);
    let carrier = Arc::new(LocalCarrier::new(stores));
    let store = BlobStore::new(carrier.clone(), layout, geometry, runtime, session, 256 << 20);
    (store, carrier)
}

async fn write(store: BlobStore, len: usize, md5: bool) -> StoredBlob {
    let task = tokio::spawn(async move {
        let piece = Bytes::from(
            (0..128u32 << 10).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect::<Vec<_>>(),
        );
        let pieces = (0..len / piece.len()).map(move |_| Ok(piece.clone()));
        let mut body: model::BodyStream = Box::pin(futures::stream::iter(pieces));
        let mut hasher = Hasher::new(md5, None);
        let stored =
            store.write(BucketId::new(1), len as u64, &mut body, &mut hasher).await.expect("room");
        hasher.finish().await;
        stored
    });
    task.await.expect("no panic")
}

async fn drain(store: BlobStore, blob: StoredBlob) -> usize {
    let range = 0..blob.len;
    let body = store.open(blob, range, Arc::new(|_, _| {}), None).await.expect("whole");
    body.try_fold(0, |sum, piece| async move { Ok(sum + piece.len()) }).await.expect("whole")
}

/// Wall and CPU time of this process since its start.
struct Meter {
    wall: Instant,
    cpu: [f64; 2],
}

impl Meter {
    fn start() -> Self {
        Self { wall: Instant::now(), cpu: cpu_seconds() }
    }

    fn report(&self, what: &str, bytes: usize) {
        let (seconds, gib) = (self.wall.elapsed().as_secs_f64(), bytes as f64 / f64::from(1 << 30));
        let [user, system] = cpu_seconds();
        let (user, system) = ((user - self.cpu[0]) / gib, (system - self.cpu[1]) / gib);
        let rate = bytes as f64 / 1e6 / seconds;
        let cpu = user + system;
        println!(
            "{what:24}{rate:6.0} MB/s {cpu:6.2} CPU-s/GiB ({user:.2} user, {system:.2} system)"
        );
    }
}

/// User and system time: the 14th and 15th field of Linux's `stat`, in hundredths of a second.
fn cpu_seconds() -> [f64; 2] {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11);
    let mut next = || fields.next().and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
    [next() / 100.0, next() / 100.0]
}
