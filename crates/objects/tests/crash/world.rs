//! A small cluster on simulated disks, in one process that can die and start again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use erasure::Geometry;
use futures::StreamExt as _;
use kv::Kv;
use kv::memory::Memory;
use net::{Carrier as _, LocalCarrier, ShardId};
use objects::schema::{Kind, Record as _, blob, kind_of};
use objects::*;
use placement::{Drive, DriveRole, Layout};
use runtime::disk::{Disk, Fault, SimDisk};
use runtime::{Progress, RealEntropy, Runtime, Throttle, Worker};
use shards::{DRIVE_VERSION, Identity, Store, StoreOptions};
use tenancy::action::{Action, ListBucket};
use tenancy::{Authorized, Gate, ObjectRef, Principal};
use types::{
    AccessKeyId, AccountId, BlobId, BucketName, DriveId, NodeId, ObjectKey, PartNumber, Token,
    UploadId,
};

use crate::bodies::Content;
use crate::clock::HandClock;
use crate::fsck;
use crate::lying::Lying;
use crate::mortal::Mortal;

const BUCKET: &str = "bucket";
pub const DRIVES: u64 = 5;
const DISK_BYTES: u64 = 64 << 20;
/// Rounds of all workers, an hour apart, in which everything must have been put in order.
const ROUNDS_MAX: usize = 10;

/// The background workers that change something, in an order that comes to an end soon.
pub const ALL: [&str; 7] =
    ["oldest-read", "repair-filer", "sweep", "scrub", "repair", "collect", "compact"];

/// How many disks there are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Disks {
    /// One under all drives: its calls can be counted, and the power fails for all at once.
    One,
    /// One for each drive.
    Each,
}

/// What stays when the process dies.
pub struct Machine {
    pub disks: Vec<SimDisk>,
    /// Whether the disks only say that they sync files, from the next start on.
    pub lies: bool,
    memory: Arc<Memory>,
    clock: Arc<HandClock>,
}

/// A running process.
pub struct World {
    pub kv: Arc<Mortal>,
    pub carrier: Arc<LocalCarrier>,
    pub engine: Engine,
    workers: Vec<Box<dyn Worker>>,
    clock: Arc<HandClock>,
    gate: Gate,
    principal: Principal,
    memory: Arc<Memory>,
}

pub fn wanted() -> Geometry {
    Geometry::new(2, 2).expect("a geometry")
}

fn drives() -> impl Iterator<Item = DriveId> {
    (1..=DRIVES).map(DriveId::new)
}

fn dir(drive: DriveId) -> PathBuf {
    Path::new("/").join(format!("drive-{}", drive.get()))
}

impl Machine {
    /// Formatted drives and no metadata. Disks are used in turn.
    pub fn new(disks: Disks, seed: u64) -> Self {
        let count = if disks == Disks::One { 1 } else { DRIVES };
        let disks: Vec<SimDisk> = (0..count)
            .map(|number| SimDisk::new(DISK_BYTES * DRIVES / count, seed * DRIVES + number))
            .collect();
        let clock = Arc::new(HandClock::new());
        let machine = Self { disks, lies: false, memory: Memory::new(), clock };
        for drive in drives() {
            let identity = Identity {
                v: DRIVE_VERSION,
                cluster: "00".to_owned(),
                drive,
                node: NodeId::new(drive.get()),
                created_at_ms: 0,
            };
            Store::format(machine.disk(drive), &dir(drive), &identity).expect("formatted");
        }
        machine
    }

    fn disk(&self, drive: DriveId) -> Arc<dyn Disk> {
        let disk = self.disks[drive.get() as usize % self.disks.len()].clone();
        if self.lies { Arc::new(Lying(disk)) } else { Arc::new(disk) }
    }

    /// The process starts: it ends the sessions of the one before it.
    pub async fn start(&self) -> World {
        self.memory.reopen();
        self.memory.end_all_sessions().await.expect("ended");
        let runtime = Runtime { clock: self.clock.clone(), entropy: Arc::new(RealEntropy) };
        let options = StoreOptions {
            high_watermark: 1.0,
            min_free_bytes: 0,
            read_threads: 1,
            write_threads: 1,
            open_files: 8,
            segment_bytes: 64 * 1024,
        };
        let mut stores = HashMap::new();
        for drive in drives() {
            let store =
                Store::open(self.disk(drive), runtime.clone(), &dir(drive), options.clone());
            stores.insert(drive, store.expect("a drive opens"));
        }
        let carrier = Arc::new(LocalCarrier::new(stores));
        let disks = self.disks.clone();
        let will = Box::new(move || disks.iter().for_each(cut));
        let kv = Arc::new(Mortal::new(self.memory.clone(), will));
        let engine = engine(kv.clone(), carrier.clone(), runtime).await;
        let principal = Principal {
            account: AccountId::new(1).expect("an account"),
            access_key: AccessKeyId::new("AKTEST").expect("a key id"),
        };
        let gate = Gate::new(self.memory.clone());
        let workers = engine.workers();
        let (clock, memory) = (self.clock.clone(), self.memory.clone());
        World { kv, carrier, engine, workers, clock, gate, principal, memory }
    }

    /// The power fails, if it has not, and comes back.
    pub fn crash(&self, world: World, seed: u64) {
        world.kv.die();
        drop(world);
        for (number, disk) in (0..).zip(&self.disks) {
            disk.crash(seed ^ (number << 32));
        }
    }

    /// Calls on all disks so far.
    pub fn calls(&self) -> u64 {
        self.disks.iter().map(SimDisk::calls).sum()
    }
}

/// From now on every call fails.
fn cut(disk: &SimDisk) {
    cut_after(disk, 0);
}

/// From that call on all fail.
pub fn cut_after(disk: &SimDisk, calls: u64) {
    let error = std::io::ErrorKind::Other;
    disk.inject(Fault { call: None, after: calls, error, forever: true });
}

async fn engine(kv: Arc<Mortal>, carrier: Arc<LocalCarrier>, runtime: Runtime) -> Engine {
    let drive = |id: DriveId| Drive {
        id,
        node: NodeId::new(id.get()),
        zone: String::new(),
        tier: String::new(),
        capacity_bytes: 1 << 40,
        state: DriveRole::Active,
        path_hint: String::new(),
    };
    let mut layout = Layout::empty();
    layout.drives = drives().map(drive).collect();
    let config = EngineConfig {
        kv,
        carrier,
        layout,
        geometry: wanted(),
        throttle: Arc::new(Throttle::new(runtime.clock.clone(), 1.0)),
        runtime,
        region: "us-east-1".to_owned(),
        label: "test".to_owned(),
        memory_budget_bytes: 64 << 20,
        upkeep: UpkeepOptions { scrub_pass: Duration::from_secs(60), ..Default::default() },
    };
    Engine::start(config).await.expect("the engine starts")
}

impl World {
    pub async fn create_bucket(&self) {
        let name = BucketName::new(BUCKET).expect("a name");
        let proof = self.gate.new_bucket(&self.principal, name);
        self.engine.create_bucket(proof).await.expect("a bucket");
    }

    async fn on<A: Action<Resource = ObjectRef>>(&self, name: &str) -> Authorized<A> {
        let bucket = BucketName::new(BUCKET).expect("a name");
        let key = ObjectKey::new(name).expect("a key");
        self.gate.object(&self.principal, &bucket, key, None).await.expect("allowed")
    }

    pub async fn put(&self, name: &str, content: Content) -> Result<(), PutError> {
        let request = PutRequest {
            len: content.len as u64,
            headers: ObjectHeaders::default(),
            digests: DeclaredDigests::default(),
            conditions: WriteConditions::default(),
            body: content.stream(),
        };
        self.engine.put_object(self.on(name).await, request).await.map(|_| ())
    }

    pub async fn delete(&self, name: &str) -> Result<bool, Failure> {
        self.engine.delete_object(self.on(name).await).await
    }

    pub async fn copy(&self, from: &str, to: &str) -> Result<(), CopyError> {
        let request = CopyRequest {
            headers: CopyHeaders::Keep,
            source_conditions: ReadConditions::default(),
            conditions: WriteConditions::default(),
            checksum: None,
        };
        let (from, to) = (self.on(from).await, self.on(to).await);
        self.engine.copy_object(from, to, request).await.map(|_| ())
    }

    pub async fn begin(&self, name: &str) -> UploadId {
        let upload = self.engine.create_upload(self.on(name).await, NewUpload::default()).await;
        upload.expect("an upload")
    }

    pub async fn part(
        &self,
        (name, upload): (&str, UploadId),
        number: u16,
        content: Content,
    ) -> Result<(), UploadError> {
        let request = PartRequest {
            upload,
            number: PartNumber::new(i64::from(number)).expect("a number"),
            len: content.len as u64,
            digests: DeclaredDigests::default(),
            body: content.stream(),
        };
        self.engine.put_part(self.on(name).await, request).await.map(|_| ())
    }

    pub async fn abort(&self, (name, upload): (&str, UploadId)) -> Result<(), UploadError> {
        self.engine.abort_upload(self.on(name).await, upload).await
    }

    /// Completes with the first part.
    pub async fn complete(
        &self,
        (name, upload): (&str, UploadId),
        content: Content,
    ) -> Result<(), CompleteError> {
        let number = PartNumber::new(1).expect("a number");
        let part = CompletedPart { number, etag: content.etag(), checksum: None };
        let request = CompleteRequest { parts: vec![part], ..Default::default() };
        self.engine.complete_upload(self.on(name).await, upload, request).await.map(|_| ())
    }

    pub async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Failure> {
        match self.engine.get_object(self.on(name).await, GetRequest::default()).await {
            Ok(mut found) => {
                let mut bytes = Vec::new();
                while let Some(piece) = found.body.next().await {
                    bytes.extend_from_slice(&piece?);
                }
                assert_eq!(bytes.len() as u64, found.info.len);
                Ok(Some(bytes))
            }
            Err(GetError::NoSuchKey) => Ok(None),
            Err(GetError::Failure(failure)) => Err(failure),
            Err(error) => panic!("{error}"),
        }
    }

    /// All names.
    pub async fn names(&self) -> BTreeSet<String> {
        let name = BucketName::new(BUCKET).expect("a name");
        let proof: Authorized<ListBucket> =
            self.gate.bucket(&self.principal, &name, None).await.expect("allowed");
        let request = ListRequest { max: 1000, ..ListRequest::default() };
        let page = self.engine.list_objects(proof, request).await.expect("a list");
        page.objects.into_iter().map(|object| object.key).collect()
    }

    /// Steps some workers until each is idle. The first failure ends it.
    pub async fn work(&mut self, names: &[&str]) -> Result<(), String> {
        for name in names {
            let found = self.workers.iter_mut().find(|worker| worker.name() == *name);
            let worker = found.unwrap_or_else(|| panic!("there is no worker {name}"));
            worker.round_asked();
            while worker.step().await? == Progress::More {}
        }
        Ok(())
    }

    /// Lets the background do all that there is to do, and checks what comes of it.
    pub async fn settle(&mut self) {
        for round in 0.. {
            self.work(&ALL).await.expect("the background works");
            self.clock.advance(Duration::from_secs(3600));
            match self.in_order().await {
                Ok(()) => return,
                Err(wrong) => assert!(round < ROUNDS_MAX, "after {round} rounds: {wrong}"),
            }
        }
    }

    /// The blob records.
    pub async fn records(&self) -> BTreeMap<BlobId, blob::Blob> {
        let mut records = BTreeMap::new();
        let mut visit = |key: &[u8], value: &[u8], _| {
            if let Some((_, Kind::Blob)) = kind_of(key) {
                let id = blob::parse_key(key).expect("a key");
                records.insert(id, blob::Blob::decode(value).expect("a blob"));
            }
            kv::Step::Next
        };
        let edge = |token| kv::Key::data(Token(token), &[]).expect("a key");
        let range = kv::KeyRange::new(edge(0), edge(u32::MAX).prefix_end()).expect("a range");
        let reader = self.memory.snapshot().await.expect("a snapshot");
        reader.visit(&range, &mut visit).await.expect("a visit");
        records
    }

    /// Every record against every other.
    pub async fn check_records(&self) -> fsck::Census {
        fsck::check(self.memory.as_ref()).await
    }

    async fn in_order(&self) -> Result<(), String> {
        let census = self.check_records().await;
        if !census.garbage.is_empty() || !census.repairs.is_empty() {
            return Err(format!("{census:?}"));
        }
        let mut named = BTreeSet::new();
        for (id, record) in self.records().await {
            let location = record.location;
            if location.geometry != wanted() || location.copies.len() != wanted().total() {
                return Err(format!("blob {id} is {location:?}"));
            }
            let shard =
                |c: &objects::schema::CopyPlace| ShardId { blob: id, index: c.index, copy: c.copy };
            named.extend(location.copies.iter().map(|copy| (copy.drive, shard(copy))));
        }
        let mut found = BTreeSet::new();
        for drive in drives() {
            let headers = self.carrier.list(drive, None, 10_000).await;
            for header in headers.map_err(|error| error.to_string())? {
                found.insert((drive, header.id));
            }
        }
        if named == found {
            return Ok(());
        }
        let (lost, stray): (Vec<_>, Vec<_>) =
            (named.difference(&found).collect(), found.difference(&named).collect());
        Err(format!("shards lost: {lost:?}, shards that no record names: {stray:?}"))
    }
}
