//! How fast collection is: objects a second, small ones (in segments) and large ones (files of their own).
//!
//! `cargo run --release -p objects --example collect_speed -- [DIR] [SMALL] [LARGE]`; the drives and the metadata are
//! directories in DIR (default: a temporary one). SMALL objects are of 64 KiB, LARGE ones of 64 MiB.
#![allow(clippy::disallowed_methods, reason = "a measurement is not part of the product")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use erasure::Geometry;
use futures::{StreamExt as _, stream};
use kv::Kv;
use kv::lsm::{Lsm, LsmOptions};
use net::LocalCarrier;
use objects::{
    DeclaredDigests, Engine, EngineConfig, ObjectHeaders, PutRequest, UpkeepOptions,
    WriteConditions,
};
use placement::{Drive, DriveRole, Layout};
use runtime::disk::RealDisk;
use runtime::{Progress, Runtime, Throttle};
use shards::{Identity, Store, StoreOptions};
use tenancy::action::Action;
use tenancy::{Authorized, Gate, ObjectRef, Principal};
use types::{AccessKeyId, AccountId, BucketName, DriveId, NodeId, ObjectKey};

const DRIVES: u64 = 5;
const STREAMS: usize = 8;

struct World {
    engine: Engine,
    gate: Gate,
    principal: Principal,
    bucket: BucketName,
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
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    threads.expect("threads").block_on(async {
        let world = open(dir).await;
        measure(&world, number(1, 4000), 64 << 10).await;
        measure(&world, number(2, 16), 64 << 20).await;
    });
}

async fn measure(world: &World, count: usize, len: usize) {
    let body = Bytes::from(vec![7; len]);
    let names: Vec<String> = (0..count).map(|n| format!("{len}/{n}")).collect();
    let began = Instant::now();
    stream::iter(&names)
        .for_each_concurrent(STREAMS, |name| async {
            let pieces: Vec<_> = body.chunks(1 << 20).map(|c| Ok(body.slice_ref(c))).collect();
            let request = PutRequest {
                len: len as u64,
                headers: ObjectHeaders::default(),
                digests: DeclaredDigests::default(),
                conditions: WriteConditions::default(),
                body: Box::pin(stream::iter(pieces)),
            };
            world.engine.put_object(world.on(name).await, request).await.expect("a put");
        })
        .await;
    report("put", count, len, began);
    let began = Instant::now();
    for some in names.chunks(1000) {
        let proofs = stream::iter(some).then(|name| world.on(name)).collect().await;
        for deleted in world.engine.delete_objects(proofs).await {
            assert!(deleted.expect("a delete"));
        }
    }
    report("delete", count, len, began);
    let began = Instant::now();
    let workers = world.engine.workers().into_iter();
    let mut collector = workers.filter(|w| w.name() == "collect").collect::<Vec<_>>();
    while let Progress::More = collector[0].step().await.expect("a step") {}
    report("collect", count, len, began);
    let statuses = world.engine.drive_statuses().await;
    assert_eq!(statuses.iter().map(|(_, status)| status.shards).sum::<u64>(), 0);
}

fn report(what: &str, count: usize, len: usize, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{what}: {count} objects of {} KiB in {seconds:.2} s, {:.0} a second",
        len >> 10,
        count as f64 / seconds
    );
}

impl World {
    async fn on<A: Action<Resource = ObjectRef>>(&self, key: &str) -> Authorized<A> {
        let key = ObjectKey::new(key).expect("a key");
        self.gate.object(&self.principal, &self.bucket, key, None).await.expect("allowed")
    }
}

async fn open(dir: &Path) -> World {
    let runtime = Runtime::real();
    let (mut stores, mut layout) = (HashMap::new(), Layout::empty());
    for number in 1..=DRIVES {
        let (id, node) = (DriveId::new(number), NodeId::new(number));
        let dir = dir.join(format!("drive-{number}"));
        std::fs::create_dir_all(&dir).expect("a directory");
        let disk = Arc::new(RealDisk);
        let cluster = format!("{:032x}", 1);
        let identity = Identity { v: 1, cluster, drive: id, node, created_at_ms: 0 };
        Store::format(disk.clone(), &dir, &identity).expect("a fresh directory");
        let store = Store::open(disk, runtime.clone(), &dir, StoreOptions::default());
        stores.insert(id, store.expect("a drive"));
        layout.drives.push(Drive {
            id,
            node,
            zone: String::new(),
            tier: String::new(),
            capacity_bytes: 1 << 40,
            state: DriveRole::Active,
            path_hint: String::new(),
        });
    }
    let meta = dir.join("meta");
    std::fs::create_dir_all(&meta).expect("a directory");
    let kv: Arc<dyn Kv> =
        Lsm::open(&meta, runtime.clone(), LsmOptions::default()).expect("the metadata store");
    let config = EngineConfig {
        kv: kv.clone(),
        carrier: Arc::new(LocalCarrier::new(stores)),
        geometry: Geometry::default_for(layout.drives.len()),
        layout,
        throttle: Arc::new(Throttle::new(runtime.clock.clone(), 1.0)),
        runtime,
        region: "us-east-1".to_owned(),
        label: "measurement".to_owned(),
        memory_budget_bytes: 512 << 20,
        upkeep: UpkeepOptions::default(),
    };
    let engine = Engine::start(config).await.expect("the engine starts");
    let principal = Principal {
        account: AccountId::new(1).expect("an account"),
        access_key: AccessKeyId::new("AKMEASURE").expect("a key id"),
    };
    let (gate, bucket) = (Gate::new(kv), BucketName::new("measure").expect("a name"));
    let proof = gate.new_bucket(&principal, bucket.clone());
    engine.create_bucket(proof).await.expect("a bucket");
    World { engine, gate, principal, bucket }
}
