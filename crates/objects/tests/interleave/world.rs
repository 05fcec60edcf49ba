//! A small cluster in memory, with as many engines as a scene wants. While the desk is open it just works; setting up
//! and checking happen then.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use erasure::Geometry;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use kv::Kv;
use kv::memory::Memory;
use objects::*;
use placement::{Drive, DriveRole, Layout};
use runtime::{Clock as _, Progress, Runtime, SimEntropy, Throttle, Worker};
use tenancy::action::Action;
use tenancy::{Authorized, BucketRef, Gate, ObjectRef, Principal, Refusal};
use types::{AccessKeyId, AccountId, BucketName, DriveId, NodeId, ObjectKey, PartNumber, UploadId};

use crate::bodies::Content;
use crate::clock::StepClock;
use crate::desk::{Desk, OTHERS};
use crate::drives::Drives;
use crate::gated::{Gated, Weakness};
use crate::model::{MADE, Name, Op, Seen, Told};

const BUCKET: &str = "bucket";
pub const DRIVES: u64 = 4;
/// So little that a reader of several stripes holds one at a time.
const MEMORY_BYTES: usize = 600 << 10;

/// See the module.
pub struct World {
    pub desk: Arc<Desk>,
    pub clock: Arc<StepClock>,
    pub memory: Arc<Memory>,
    pub kv: Arc<dyn Kv>,
    pub drives: Arc<Drives>,
    pub engines: Vec<Engine>,
    workers: Vec<Vec<Box<dyn Worker>>>,
    gate: Gate,
    principal: Principal,
    upload: UploadId,
}

/// How blobs are cut when all drives are there.
pub fn wanted() -> Geometry {
    Geometry::new(2, 1).expect("a geometry")
}

impl World {
    /// An empty bucket, an upload, and `engines` engines on a store with a weakness.
    pub async fn new(engines: usize, weakness: Weakness) -> Self {
        let desk = Arc::new(Desk::default());
        let clock = Arc::new(StepClock::new(desk.clone()));
        let memory = Memory::new();
        let kv = Gated::new(memory.clone(), desk.clone(), weakness).await;
        let kv: Arc<dyn Kv> = Arc::new(kv);
        let ids = (1..=DRIVES).map(DriveId::new);
        let drives = Arc::new(Drives::new(desk.clone(), ids.clone()));
        let gate = Gate::new(memory.clone());
        let principal = Principal {
            account: AccountId::new(1).expect("an account"),
            access_key: AccessKeyId::new("AKTEST").expect("a key id"),
        };
        let mut world = Self {
            desk,
            clock,
            memory,
            kv,
            drives,
            engines: Vec::new(),
            workers: Vec::new(),
            gate,
            principal,
            upload: UploadId::new(0),
        };
        for number in 0..engines {
            let engine = world.start(number as u64).await;
            world.workers.push(engine.workers());
            world.engines.push(engine);
        }
        let name = BucketName::new(BUCKET).expect("a name");
        let proof = world.gate.new_bucket(&world.principal, name);
        world.engines[0].create_bucket(proof).await.expect("a bucket");
        let proof = world.on(MADE).await.expect("a bucket");
        let upload = world.engines[0].create_upload(proof, NewUpload::default()).await;
        world.upload = upload.expect("an upload");
        world
    }

    /// Ends the sessions of all engines and starts another, as a restart of everything does. Its number.
    pub async fn restart(&mut self) -> usize {
        for engine in &self.engines {
            engine.stop().await;
        }
        let number = self.engines.len();
        let engine = self.start(number as u64).await;
        self.workers.push(engine.workers());
        self.engines.push(engine);
        number
    }

    async fn start(&self, number: u64) -> Engine {
        let drive = |id| Drive {
            id: DriveId::new(id),
            node: NodeId::new(id),
            zone: String::new(),
            tier: String::new(),
            capacity_bytes: 1 << 40,
            state: DriveRole::Active,
            path_hint: String::new(),
        };
        let mut layout = Layout::empty();
        layout.drives = (1..=DRIVES).map(drive).collect();
        let entropy = Arc::new(SimEntropy::new(77 + number));
        let config = EngineConfig {
            kv: self.kv.clone(),
            carrier: self.drives.clone(),
            layout,
            geometry: wanted(),
            runtime: Runtime { clock: self.clock.clone(), entropy },
            region: "us-east-1".to_owned(),
            label: "test".to_owned(),
            memory_budget_bytes: MEMORY_BYTES,
            throttle: Arc::new(Throttle::new(self.clock.clone(), 1.0)),
            upkeep: UpkeepOptions { scrub_pass: Duration::from_secs(60), ..Default::default() },
        };
        Engine::start(config).await.expect("the engine starts")
    }

    async fn on<A: Action<Resource = ObjectRef>>(
        &self,
        name: Name,
    ) -> Result<Authorized<A>, Refusal> {
        let bucket = BucketName::new(BUCKET).expect("a name");
        let key = ObjectKey::new(name).expect("a key");
        self.gate.object(&self.principal, &bucket, key, None).await
    }

    async fn on_bucket<A: Action<Resource = BucketRef>>(&self) -> Authorized<A> {
        let bucket = BucketName::new(BUCKET).expect("a name");
        self.gate.bucket(&self.principal, &bucket, None).await.expect("allowed")
    }

    /// A client's request, which has passed the gate.
    pub async fn client(&self, engine: usize, op: &Op) -> BoxFuture<'static, Told> {
        let (engine, upload) = (self.engines[engine].clone(), self.upload);
        match *op {
            Op::Put(name, content) | Op::PutNew(name, content) => {
                let proof = self.on(name).await.expect("allowed");
                let is_new = matches!(op, Op::PutNew(..));
                Box::pin(async move {
                    told_put(engine.put_object(proof, put(content, is_new)).await.map(|_| ()))
                })
            }
            Op::Delete(name) => {
                let proof = self.on(name).await.expect("allowed");
                Box::pin(async move {
                    engine.delete_object(proof).await.map_or_else(told_failure, Told::Deleted)
                })
            }
            Op::Copy(from, to) => {
                let from = self.on(from).await.expect("allowed");
                let to = self.on(to).await.expect("allowed");
                Box::pin(async move { told_copy(engine.copy_object(from, to, plain()).await) })
            }
            Op::Get(name) => {
                let proof = self.on(name).await.expect("allowed");
                Box::pin(async move { get(&engine, proof).await })
            }
            Op::DeleteBucket => {
                let proof = self.on_bucket().await;
                Box::pin(async move {
                    match engine.delete_bucket(proof).await {
                        Ok(()) => Told::Done,
                        Err(DeleteBucketError::NotEmpty) => Told::NotEmpty,
                        Err(DeleteBucketError::Failure(failure)) => told_failure(failure),
                    }
                })
            }
            Op::Part(number, content) => {
                let proof = self.on(MADE).await.expect("allowed");
                let request = PartRequest {
                    upload,
                    number: PartNumber::new(i64::from(number)).expect("a number"),
                    len: content.len as u64,
                    digests: DeclaredDigests::default(),
                    body: content.stream(),
                };
                Box::pin(
                    async move { told_upload(engine.put_part(proof, request).await.map(|_| ())) },
                )
            }
            Op::Complete(parts) => {
                let proof = self.on(MADE).await.expect("allowed");
                let request = CompleteRequest { parts: completed(parts), ..Default::default() };
                Box::pin(async move {
                    told_complete(engine.complete_upload(proof, upload, request).await)
                })
            }
            Op::Abort => {
                let proof = self.on(MADE).await.expect("allowed");
                Box::pin(async move { told_upload(engine.abort_upload(proof, upload).await) })
            }
            Op::GiveUploadsUp => panic!("no request"),
        }
    }

    /// One round of some background workers, in this order: each steps until it is idle. If the engine is `doomed`, a
    /// failure ends it.
    pub fn upkeep(
        &self,
        engine: usize,
        names: &'static [&'static str],
        doomed: bool,
    ) -> BoxFuture<'static, Told> {
        let mut workers = self.engines[engine].workers();
        Box::pin(async move {
            for name in names {
                let found = workers.iter_mut().find(|worker| worker.name() == *name);
                let worker = found.unwrap_or_else(|| panic!("there is no worker {name}"));
                worker.round_asked();
                match work(worker.as_mut()).await {
                    Ok(()) => {}
                    Err(_) if doomed => break,
                    Err(error) => panic!("{name}: {error}"),
                }
            }
            Told::Refused
        })
    }

    /// Ends the session of an engine, as the one who is sure that it is dead does.
    pub fn end_session(&self, engine: usize) -> BoxFuture<'static, Told> {
        let (kv, session) = (self.kv.clone(), self.engines[engine].session());
        Box::pin(async move {
            kv.end_session(session).await.expect("ended");
            Told::Refused
        })
    }

    /// What clients see now, through an engine that lives.
    pub async fn seen(&self, engine: usize) -> Seen {
        let engine = &self.engines[engine];
        let mut seen = Seen { bucket: true, objects: BTreeMap::new(), upload: None };
        match self.on::<tenancy::action::GetObject>(MADE).await {
            Ok(_) => {}
            Err(Refusal::NoSuchBucket) => return Seen { bucket: false, ..seen },
            Err(refusal) => panic!("{refusal}"),
        }
        let request = ListRequest { max: 1000, ..ListRequest::default() };
        let page = engine.list_objects(self.on_bucket().await, request).await.expect("a list");
        for name in ["a", "b", MADE] {
            let proof = self.on(name).await.expect("allowed");
            if let Told::Read(bytes) = get(engine, proof).await {
                seen.objects.insert(name, bytes);
            }
        }
        let listed: Vec<&str> = page.objects.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(listed, seen.objects.keys().copied().collect::<Vec<_>>(), "GET and LIST agree");
        let proof = self.on(MADE).await.expect("allowed");
        match engine.list_parts(proof, self.upload, 0, 1000).await {
            Ok(page) => {
                let part = |part: PartInfo| (part.number.get(), (part.len, part.etag));
                seen.upload = Some(page.parts.into_iter().map(part).collect());
            }
            Err(UploadError::NoSuchUpload) => {}
            Err(error) => panic!("{error}"),
        }
        seen
    }

    /// Runs with the desk open; time passes as it is waited for.
    pub async fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        let woken = Arc::new(Woken::default());
        loop {
            let waker = Waker::from(woken.clone());
            self.desk.enter(OTHERS);
            if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return done;
            }
            turn_of_others().await;
            if !woken.take() {
                let next = self.clock.next().expect("somebody is waited for");
                self.clock.advance_to(next);
                turn_of_others().await;
            }
        }
    }

    /// What engines have spawned comes to its end.
    pub async fn quiesce(&self) {
        let handle = tokio::runtime::Handle::current();
        while handle.metrics().num_alive_tasks() > 0 {
            turn_of_others().await;
            match self.clock.next() {
                Some(next) if handle.metrics().num_alive_tasks() > 0 => {
                    self.clock.advance_to(next);
                }
                _ => {}
            }
        }
    }

    /// One round of all background workers of an engine.
    pub async fn round(&mut self, engine: usize) {
        let mut workers = std::mem::take(&mut self.workers[engine]);
        for worker in &mut workers {
            self.run(work(worker.as_mut())).await.expect("the background works");
        }
        self.workers[engine] = workers;
        self.quiesce().await;
        self.pass(Duration::from_secs(3600));
    }

    /// Time passes.
    pub fn pass(&self, time: Duration) {
        self.clock.advance_to(self.clock.monotonic() + time);
    }
}

async fn work(worker: &mut dyn Worker) -> Result<(), String> {
    for _ in 0..1000 {
        if let Progress::Idle(_) = worker.step().await? {
            return Ok(());
        }
    }
    panic!("{} does not come to an end", worker.name());
}

/// Lets tasks run that the engine has spawned.
pub async fn turn_of_others() {
    // Also without tasks: whoever has yielded is woken only then.
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    for _ in 0..if tasks > 0 { 3 } else { 1 } {
        tokio::task::yield_now().await;
    }
}

/// Whether somebody was woken.
#[derive(Default)]
pub struct Woken(AtomicBool);

impl Woken {
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.set();
    }
}

async fn get(engine: &Engine, proof: Authorized<tenancy::action::GetObject>) -> Told {
    match engine.get_object(proof, GetRequest::default()).await {
        Ok(mut found) => {
            let mut bytes = Vec::new();
            while let Some(piece) = found.body.next().await {
                bytes.extend_from_slice(&piece.expect("a read that has begun goes on"));
            }
            assert_eq!(bytes.len() as u64, found.info.len);
            Told::Read(bytes)
        }
        Err(GetError::NoSuchKey) => Told::NoSuchKey,
        Err(GetError::Failure(failure)) => told_failure(failure),
        Err(error) => panic!("{error}"),
    }
}

fn put(content: Content, is_new: bool) -> PutRequest {
    let if_none_match = is_new.then_some(EtagCondition::Any);
    PutRequest {
        len: content.len as u64,
        headers: ObjectHeaders::default(),
        digests: DeclaredDigests::default(),
        conditions: WriteConditions { if_match: None, if_none_match },
        body: content.stream(),
    }
}

fn plain() -> CopyRequest {
    CopyRequest {
        headers: CopyHeaders::Keep,
        source_conditions: ReadConditions::default(),
        conditions: WriteConditions::default(),
        checksum: None,
    }
}

fn completed(parts: &[(u16, Content)]) -> Vec<CompletedPart> {
    let named = |&(number, content): &(u16, Content)| CompletedPart {
        number: PartNumber::new(i64::from(number)).expect("a number"),
        etag: content.etag(),
        checksum: None,
    };
    parts.iter().map(named).collect()
}

fn told_failure(failure: Failure) -> Told {
    match failure {
        Failure::NoSuchBucket => Told::NoSuchBucket,
        Failure::Unknown => Told::Unknown,
        Failure::Fenced | Failure::Contended => Told::Refused,
        other => panic!("{other}"),
    }
}

fn told_put(result: Result<(), PutError>) -> Told {
    match result {
        Ok(()) => Told::Done,
        Err(PutError::PreconditionFailed) => Told::Precondition,
        Err(PutError::Failure(failure)) => told_failure(failure),
        Err(error) => panic!("{error}"),
    }
}

fn told_copy(result: Result<WriteResult, CopyError>) -> Told {
    match result {
        Ok(_) => Told::Done,
        Err(CopyError::Source(GetError::NoSuchKey)) => Told::NoSuchKey,
        Err(CopyError::Source(GetError::Failure(failure))) => told_failure(failure),
        Err(CopyError::Target(PutError::Failure(failure))) => told_failure(failure),
        Err(error) => panic!("{error}"),
    }
}

/// An upload ends with its bucket: which of the two is missed first is all the same.
fn told_upload(result: Result<(), UploadError>) -> Told {
    match result {
        Ok(()) => Told::Done,
        Err(UploadError::NoSuchUpload | UploadError::Failure(Failure::NoSuchBucket)) => {
            Told::NoSuchUpload
        }
        Err(UploadError::Failure(failure)) => told_failure(failure),
        Err(error) => panic!("{error}"),
    }
}

fn told_complete(result: Result<WriteResult, CompleteError>) -> Told {
    match result {
        Ok(_) => Told::Done,
        Err(CompleteError::NoSuchUpload | CompleteError::Failure(Failure::NoSuchBucket)) => {
            Told::NoSuchUpload
        }
        Err(CompleteError::InvalidPart { .. }) => Told::InvalidPart,
        Err(CompleteError::Failure(failure)) => told_failure(failure),
        Err(error) => panic!("{error}"),
    }
}
