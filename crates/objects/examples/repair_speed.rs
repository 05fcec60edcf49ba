//! How fast a drive is filled again, and what that costs clients meanwhile.
//!
//! `cargo run --release -p objects --example repair_speed -- [DIR] [SMALL] [LARGE] [LARGE_MIB]`: five drives in
//! directories in DIR (default: a temporary one, which should be on the disk to be measured) at 3+2; SMALL objects of
//! 64 KiB and LARGE ones. A drive is replaced by an empty one and filled again: alone, and beside clients that write
//! and read.
#![allow(clippy::disallowed_methods, reason = "a measurement is not part of the product")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use kv::lsm::{Lsm, LsmOptions};
use net::LocalCarrier;
use objects::*;
use placement::{Drive, DriveRole, Layout};
use runtime::disk::RealDisk;
use runtime::{Progress, Runtime, Throttle, Worker};
use shards::{Identity, Store, StoreOptions};
use tenancy::{Gate, Principal};
use types::{AccessKeyId, AccountId, BucketName, DriveId, NodeId, ObjectKey};

const SMALL_BYTES: usize = 64 << 10;
const CLIENTS: usize = 4;

struct World {
    engine: Engine,
    carrier: Arc<LocalCarrier>,
    gate: Gate,
    principal: Principal,
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
    let (small, large, len) = (number(1, 2000), number(2, 8), number(3, 64) << 20);
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    threads.expect("threads").block_on(measure(dir, small, large, len));
}

async fn measure(dir: &Path, small: usize, large: usize, len: usize) {
    let world = Arc::new(open(dir).await);
    for n in 0..large {
        world.put(&format!("large-{n}"), len).await;
    }
    futures::stream::iter(0..small)
        .for_each_concurrent(16, |n| {
            let world = world.clone();
            async move {
                world.put(&format!("small-{n}"), SMALL_BYTES).await;
            }
        })
        .await;
    let mut number = 0;
    for what in ["alone", "beside clients"] {
        let load = Load::default();
        let with_clients = what != "alone";
        let alone = match with_clients {
            true => load.rate(&world, Duration::from_secs(10)).await,
            false => 0.0,
        };
        number += 1;
        let drive = DriveId::new(number);
        let old = world.carrier.detach(drive).expect("a drive");
        old.close().await;
        let store = open_drive(&dir.join(format!("new-{number}")), drive);
        world.carrier.attach(drive, store);
        let mut workers: HashMap<_, Box<dyn Worker>> =
            world.engine.workers().into_iter().map(|w| (w.name(), w)).collect();
        world.engine.sweep();
        run(&mut workers, "sweep").await;
        let clients = with_clients.then(|| load.start(&world));
        let (before, began) = (world.engine.metrics_snapshot(), Instant::now());
        run(&mut workers, "repair").await;
        let (took, after) = (began.elapsed(), world.engine.metrics_snapshot());
        let blobs = after.repaired_blobs - before.repaired_blobs;
        let bytes = after.repaired_bytes - before.repaired_bytes;
        let seconds = took.as_secs_f64();
        println!(
            "{what}: {blobs} blobs, {} MB of shards, {:.1} MB/s of shards ({:.1} MB/s of objects), {:.0} blobs/s",
            bytes / 1_000_000,
            bytes as f64 / 1e6 / seconds,
            3.0 * bytes as f64 / 1e6 / seconds,
            blobs as f64 / seconds,
        );
        if let Some(clients) = clients {
            let rate = clients.stop().await;
            println!(
                "clients: {alone:.1} MB/s without repair, {rate:.1} MB/s beside it ({:.0} %)",
                100.0 * rate / alone
            );
        }
        for n in 0..large.min(2) {
            assert_eq!(world.get(&format!("large-{n}")).await, len);
        }
    }
}

async fn run(workers: &mut HashMap<&'static str, Box<dyn Worker>>, name: &str) {
    let worker = workers.get_mut(name).expect("a worker");
    while let Progress::More = worker.step().await.expect("a step") {}
}

/// Clients that put and get objects of 1 MiB as fast as they can.
#[derive(Default, Clone)]
struct Load {
    over: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
}

struct Clients {
    load: Load,
    began: Instant,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(&self, world: &Arc<World>) -> Clients {
        self.over.store(false, Ordering::SeqCst);
        self.bytes.store(0, Ordering::SeqCst);
        let client = |client: usize| {
            let (world, load) = (world.clone(), self.clone());
            tokio::spawn(async move {
                let mut n = 0;
                while !load.over.load(Ordering::SeqCst) {
                    let _busy = world.engine.throttle().foreground();
                    let key = format!("load-{client}-{}", n % 8);
                    n += 1;
                    let bytes = match n % 2 {
                        0 => world.put(&key, 1 << 20).await,
                        _ if n < 16 => world.put(&key, 1 << 20).await,
                        _ => world.get(&key).await,
                    };
                    load.bytes.fetch_add(bytes as u64, Ordering::SeqCst);
                }
            })
        };
        let tasks = (0..CLIENTS).map(client).collect();
        Clients { load: self.clone(), began: Instant::now(), tasks }
    }

    async fn rate(&self, world: &Arc<World>, time: Duration) -> f64 {
        let clients = self.start(world);
        tokio::time::sleep(time).await;
        clients.stop().await
    }
}

impl Clients {
    /// MB/s.
    async fn stop(self) -> f64 {
        let (bytes, seconds) =
            (self.load.bytes.load(Ordering::SeqCst), self.began.elapsed().as_secs_f64());
        self.load.over.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.expect("no panic");
        }
        bytes as f64 / 1e6 / seconds
    }
}

impl World {
    async fn put(&self, key: &str, len: usize) -> usize {
        let name = BucketName::new("speed").expect("a name");
        let key = ObjectKey::new(key).expect("a key");
        let proof = self.gate.object(&self.principal, &name, key, None).await.expect("allowed");
        let piece = Bytes::from(
            (0..128_u32 << 10).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect::<Vec<_>>(),
        );
        let pieces: Vec<_> = (0..len.div_ceil(piece.len()))
            .map(|n| Ok(piece.slice(..piece.len().min(len - n * piece.len()))))
            .collect();
        let request = PutRequest {
            len: len as u64,
            headers: ObjectHeaders::default(),
            digests: DeclaredDigests::default(),
            conditions: WriteConditions::default(),
            body: Box::pin(futures::stream::iter(pieces)),
        };
        self.engine.put_object(proof, request).await.expect("a put");
        len
    }

    async fn get(&self, key: &str) -> usize {
        let name = BucketName::new("speed").expect("a name");
        let key = ObjectKey::new(key).expect("a key");
        let proof = self.gate.object(&self.principal, &name, key, None).await.expect("allowed");
        let found = self.engine.get_object(proof, GetRequest::default()).await.expect("an object");
        found.body.fold(0, |sum, piece| async move { sum + piece.expect("bytes").len() }).await
    }
}

fn open_drive(dir: &Path, id: DriveId) -> Arc<Store> {
    let disk = Arc::new(RealDisk);
    let (node, cluster) = (NodeId::new(id.get()), format!("{:032x}", 1));
    let identity = Identity { v: 1, cluster, drive: id, node, created_at_ms: 0 };
    Store::format(disk.clone(), dir, &identity).expect("a fresh directory");
    // Nothing is collected meanwhile, and all drives share a disk.
    let options = StoreOptions { high_watermark: 1.0, ..StoreOptions::default() };
    Store::open(disk, Runtime::real(), dir, options).expect("a drive")
}

async fn open(dir: &Path) -> World {
    let runtime = Runtime::real();
    let meta = dir.join("meta");
    std::fs::create_dir_all(&meta).expect("a directory");
    let kv = Lsm::open(&meta, runtime.clone(), LsmOptions::default()).expect("metadata");
    let mut layout = Layout::empty();
    let mut stores = HashMap::new();
    for number in 1..=5 {
        let id = DriveId::new(number);
        stores.insert(id, open_drive(&dir.join(format!("drive-{number}")), id));
        layout.drives.push(Drive {
            id,
            node: NodeId::new(number),
            zone: String::new(),
            tier: String::new(),
            capacity_bytes: 1 << 40,
            state: DriveRole::Active,
            path_hint: String::new(),
        });
    }
    let carrier = Arc::new(LocalCarrier::new(stores));
    let config = EngineConfig {
        kv: kv.clone(),
        carrier: carrier.clone(),
        layout,
        geometry: erasure::Geometry::default_for(5),
        runtime: runtime.clone(),
        region: "us-east-1".to_owned(),
        label: "measurement".to_owned(),
        memory_budget_bytes: 192 << 20,
        throttle: Arc::new(Throttle::new(runtime.clock, 0.2)),
        upkeep: UpkeepOptions::default(),
    };
    let engine = Engine::start(config).await.expect("an engine");
    let principal = Principal {
        account: AccountId::new(1).expect("an account"),
        access_key: AccessKeyId::new("AKSPEED").expect("a key id"),
    };
    let gate = Gate::new(kv);
    let proof = gate.new_bucket(&principal, BucketName::new("speed").expect("a name"));
    engine.create_bucket(proof).await.expect("a bucket");
    World { engine, carrier, gate, principal }
}
