//! A whole small cluster in a temporary directory, and short forms of what tests ask of it.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use erasure::Geometry;
use futures::{StreamExt as _, stream};
use kv::Kv;
use kv::lsm::{Lsm, LsmOptions};
use net::{Carrier as _, LocalCarrier};
use objects::*;
use placement::{Drive, DriveRole, Layout};
use runtime::Runtime;
use runtime::disk::RealDisk;
use shards::{Identity, Store, StoreOptions};
use tempfile::TempDir;
use tenancy::action::Action;
use tenancy::{Authorized, BucketRef, Gate, ObjectRef, Principal};
use types::{
    AccessKeyId, AccountId, BucketId, BucketName, DriveId, NodeId, ObjectKey, PartNumber, UploadId,
};

pub struct World {
    pub engine: Engine,
    pub kv: Arc<dyn Kv>,
    pub carrier: Arc<LocalCarrier>,
    pub principal: Principal,
    pub layout: Layout,
    gate: Gate,
    _dir: TempDir,
}

pub const DRIVES: u64 = 5;

pub fn open_drive(dir: &Path, drive: DriveId, runtime: &Runtime) -> Arc<Store> {
    let disk = Arc::new(RealDisk);
    let identity = Identity {
        v: 1,
        cluster: "00".to_owned(),
        drive,
        node: NodeId::new(drive.get()),
        created_at_ms: 0,
    };
    Store::format(disk.clone(), dir, &identity).expect("format");
    let options = StoreOptions {
        high_watermark: 1.0,
        min_free_bytes: 0,
        read_threads: 1,
        write_threads: 2,
        ..StoreOptions::default()
    };
    Store::open(disk, runtime.clone(), dir, options).expect("open")
}

impl World {
    pub async fn new() -> Self {
        Self::over(|kv| kv).await
    }

    /// With the key-value store behind a wrapper.
    pub async fn over(wrap: impl FnOnce(Arc<dyn Kv>) -> Arc<dyn Kv>) -> Self {
        Self::sized(DRIVES, wrap).await
    }

    /// With so many drives, each on a node of its own.
    pub async fn sized(drives: u64, wrap: impl FnOnce(Arc<dyn Kv>) -> Arc<dyn Kv>) -> Self {
        let (dir, runtime) = (TempDir::new().expect("a directory"), Runtime::real());
        let meta = dir.path().join("meta");
        std::fs::create_dir_all(&meta).expect("a directory");
        let options = LsmOptions { reserve_bytes: 0, ..LsmOptions::default() };
        let kv = wrap(Lsm::open(&meta, runtime.clone(), options).expect("the store opens"));
        let mut stores = HashMap::new();
        let mut layout = Layout::empty();
        for number in 1..=drives {
            let id = DriveId::new(number);
            let path = dir.path().join(format!("drive-{number}"));
            std::fs::create_dir_all(&path).expect("a directory");
            stores.insert(id, open_drive(&path, id, &runtime));
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
        let engine = start(&kv, &carrier, &layout).await;
        let principal = Principal {
            account: AccountId::new(1).expect("an account"),
            access_key: AccessKeyId::new("AKTEST").expect("a key id"),
        };
        let gate = Gate::new(kv.clone());
        let world = Self { engine, kv, carrier, principal, gate, layout, _dir: dir };
        world.create_bucket("first").await;
        world
    }

    /// Where the files of a drive are.
    pub fn drive_dir(&self, drive: DriveId) -> std::path::PathBuf {
        self._dir.path().join(format!("drive-{}", drive.get()))
    }

    /// Another engine over the same store and drives, as after a restart.
    pub async fn second_engine(&self) -> Engine {
        start(&self.kv, &self.carrier, &self.layout).await
    }

    /// Another engine, whose layout does not have this drive.
    pub async fn engine_without(&self, drive: DriveId) -> Engine {
        let mut layout = self.layout.clone();
        layout.drives.retain(|d| d.id != drive);
        start(&self.kv, &self.carrier, &layout).await
    }

    /// Another engine over the same store and drives, with changes to what it is made of.
    pub async fn engine_with(&self, change: impl FnOnce(&mut EngineConfig)) -> Engine {
        let mut config = config(&self.kv, &self.carrier, &self.layout);
        change(&mut config);
        Engine::start(config).await.expect("the engine starts")
    }

    pub async fn create_bucket(&self, name: &str) -> BucketInfo {
        let name = BucketName::new(name).expect("a name");
        let proof = self.gate.new_bucket(&self.principal, name);
        self.engine.create_bucket(proof).await.expect("a bucket")
    }

    pub async fn on_bucket<A: Action<Resource = BucketRef>>(&self, name: &str) -> Authorized<A> {
        let name = BucketName::new(name).expect("a name");
        self.gate.bucket(&self.principal, &name, None).await.expect("allowed")
    }

    pub async fn on<A: Action<Resource = ObjectRef>>(&self, key: &str) -> Authorized<A> {
        self.on_in("first", key).await
    }

    pub async fn on_in<A: Action<Resource = ObjectRef>>(
        &self,
        bucket: &str,
        key: &str,
    ) -> Authorized<A> {
        let name = BucketName::new(bucket).expect("a name");
        let key = ObjectKey::new(key).expect("a key");
        self.gate.object(&self.principal, &name, key, None).await.expect("allowed")
    }

    pub async fn on_account(&self) -> Authorized<tenancy::action::ListAllMyBuckets> {
        self.gate.own_account(&self.principal)
    }

    pub fn new_bucket(
        &self,
        account: u64,
        name: &str,
    ) -> Authorized<tenancy::action::CreateBucket> {
        let account = AccountId::new(account).expect("an account");
        let principal = Principal { account, access_key: self.principal.access_key.clone() };
        self.gate.new_bucket(&principal, BucketName::new(name).expect("a name"))
    }

    pub async fn put(&self, key: &str, bytes: &[u8]) -> WriteResult {
        self.try_put(key, request(bytes)).await.expect("a put")
    }

    pub async fn try_put(&self, key: &str, request: PutRequest) -> Result<WriteResult, PutError> {
        self.engine.put_object(self.on(key).await, request).await
    }

    pub async fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.get_in("first", key).await
    }

    pub async fn get_in(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        let proof = self.on_in(bucket, key).await;
        match self.engine.get_object(proof, GetRequest::default()).await {
            Ok(found) => {
                let bytes = read(found.body).await.expect("the body");
                assert_eq!(bytes.len() as u64, found.info.len);
                Some(bytes)
            }
            Err(GetError::NoSuchKey) => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn select(
        &self,
        key: &str,
        selection: Selection,
    ) -> Result<(ObjectInfo, Vec<u8>), GetError> {
        let request = GetRequest { selection, ..GetRequest::default() };
        let head = self.engine.head_object(self.on(key).await, request.clone()).await;
        let found = self.engine.get_object(self.on(key).await, request).await;
        match (head, found) {
            (Ok(head), Ok(found)) => {
                assert_eq!(head, found.info, "HEAD and GET agree");
                let bytes = read(found.body).await.expect("the body");
                assert_eq!(bytes.len() as u64, head.range.end - head.range.start);
                Ok((head, bytes))
            }
            (Err(head), Err(found)) => {
                assert_eq!(head.to_string(), found.to_string());
                Err(found)
            }
            _ => panic!("HEAD and GET disagree"),
        }
    }

    pub async fn head(&self, key: &str) -> ObjectInfo {
        let proof = self.on(key).await;
        self.engine.head_object(proof, GetRequest::default()).await.expect("an object")
    }

    pub async fn delete(&self, key: &str) -> bool {
        self.engine.delete_object(self.on(key).await).await.expect("a delete")
    }

    pub async fn list(&self, request: ListRequest) -> ListPage {
        let proof = self.on_bucket("first").await;
        self.engine.list_objects(proof, request).await.expect("a page")
    }

    pub async fn begin(&self, key: &str) -> UploadId {
        self.begin_with(key, NewUpload::default()).await
    }

    pub async fn begin_with(&self, key: &str, new: NewUpload) -> UploadId {
        self.engine.create_upload(self.on(key).await, new).await.expect("an upload")
    }

    pub async fn part(
        &self,
        key: &str,
        upload: UploadId,
        number: u16,
        bytes: &[u8],
    ) -> WriteResult {
        self.try_part(key, upload, number, bytes).await.expect("a part")
    }

    pub async fn try_part(
        &self,
        key: &str,
        upload: UploadId,
        number: u16,
        bytes: &[u8],
    ) -> Result<WriteResult, UploadError> {
        let request = PartRequest {
            upload,
            number: part_number(number),
            len: bytes.len() as u64,
            digests: DeclaredDigests::default(),
            body: body(bytes),
        };
        self.engine.put_part(self.on(key).await, request).await
    }

    pub async fn complete(
        &self,
        key: &str,
        upload: UploadId,
        parts: &[(u16, &str)],
    ) -> Result<WriteResult, CompleteError> {
        let request = CompleteRequest { parts: completed(parts), ..CompleteRequest::default() };
        self.engine.complete_upload(self.on(key).await, upload, request).await
    }

    pub async fn abort(&self, key: &str, upload: UploadId) -> Result<(), UploadError> {
        self.engine.abort_upload(self.on(key).await, upload).await
    }

    /// Whoever meets a shard on a drive finds the record of its blob, and the shard in it. How many there are.
    pub async fn check_shards(&self) -> usize {
        use objects::schema::{Home, Record as _, blob};
        let mut shards = 0;
        for drive in self.carrier.drives() {
            for header in self.carrier.list(drive, None, 10_000).await.expect("a list") {
                let key = blob::key(Home::of(BucketId::new(header.home)), header.id.blob);
                let record = self.kv.get(&key).await.expect("a look").expect("the blob's record");
                let location = blob::Blob::decode(&record.value).expect("a blob").location;
                let place = (header.id.index, drive, header.id.copy);
                let copies = location.copies.iter().map(|c| (c.index, c.drive, c.copy));
                assert!(copies.into_iter().any(|copy| copy == place), "{header:?} on {drive}");
                shards += 1;
            }
        }
        shards
    }

    /// Every copy that a record names is on its drive.
    pub async fn check_copies(&self) {
        use objects::schema::{Record as _, blob};
        for (key, value) in self.records().await {
            let Some(id) = blob::parse_key(&key) else { continue };
            for copy in blob::Blob::decode(&value).expect("a blob").location.copies {
                let shard = net::ShardId { blob: id, index: copy.index, copy: copy.copy };
                let found = self.carrier.header(copy.drive, shard).await;
                assert!(found.is_ok(), "{copy:?} of {id}: {found:?}");
            }
        }
    }

    /// All data records.
    pub async fn records(&self) -> Vec<(Vec<u8>, Bytes)> {
        let first = kv::Key::data(types::Token(0), &[]).expect("a key");
        let last = kv::Key::data(types::Token(u32::MAX), &[]).expect("a key").prefix_end();
        let range = kv::KeyRange::new(first, last).expect("a range");
        let mut records = Vec::new();
        let mut visit = |key: &[u8], value: &[u8], _| {
            records.push((key.to_vec(), Bytes::copy_from_slice(value)));
            kv::Step::Next
        };
        let reader = self.kv.snapshot().await.expect("a snapshot");
        reader.visit(&range, &mut visit).await.expect("a visit");
        records
    }

    /// Everything that must hold between the records at rest.
    pub async fn check(&self) -> crate::fsck::Census {
        crate::fsck::check(self.kv.as_ref()).await
    }
}

async fn start(kv: &Arc<dyn Kv>, carrier: &Arc<LocalCarrier>, layout: &Layout) -> Engine {
    Engine::start(config(kv, carrier, layout)).await.expect("the engine starts")
}

fn config(kv: &Arc<dyn Kv>, carrier: &Arc<LocalCarrier>, layout: &Layout) -> EngineConfig {
    EngineConfig {
        kv: kv.clone(),
        carrier: carrier.clone(),
        layout: layout.clone(),
        geometry: Geometry::default_for(layout.drives.len()),
        runtime: Runtime::real(),
        region: "us-east-1".to_owned(),
        label: "test".to_owned(),
        memory_budget_bytes: 256 << 20,
        throttle: Arc::new(runtime::Throttle::new(Runtime::real().clock, 1.0)),
        upkeep: UpkeepOptions::default(),
    }
}

pub fn completed(parts: &[(u16, &str)]) -> Vec<CompletedPart> {
    let named = |&(number, etag): &(u16, &str)| CompletedPart {
        number: part_number(number),
        etag: etag.to_owned(),
        checksum: None,
    };
    parts.iter().map(named).collect()
}

pub fn part_number(number: u16) -> PartNumber {
    PartNumber::new(i64::from(number)).expect("a part number")
}

/// A body in pieces of uneven length.
pub fn body(bytes: &[u8]) -> BodyStream {
    let mut pieces = Vec::new();
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut len = 1;
    while !rest.is_empty() {
        pieces.push(Ok(rest.split_to(len.min(rest.len()))));
        len = (len * 3 + 1).min(100_000);
    }
    Box::pin(stream::iter(pieces))
}

pub fn request(bytes: &[u8]) -> PutRequest {
    PutRequest {
        len: bytes.len() as u64,
        headers: ObjectHeaders::default(),
        digests: DeclaredDigests::default(),
        conditions: WriteConditions::default(),
        body: body(bytes),
    }
}

pub async fn read(mut stream: OutputStream) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes)
}

/// Bytes that differ everywhere and between seeds.
pub fn bytes(len: usize, seed: u64) -> Vec<u8> {
    use runtime::Entropy as _;
    let mut bytes = vec![0; len];
    runtime::SimEntropy::new(seed).fill(&mut bytes);
    bytes
}

pub fn slice(bytes: &[u8], range: Range<u64>) -> &[u8] {
    &bytes[range.start as usize..range.end as usize]
}

/// Small enough to lie beside its record, and large enough not to.
pub const SMALL: usize = 1000;
pub const LARGE: usize = 300_000;
/// The smallest part that is not the last.
pub const PART: usize = types::limits::PART_MIN_BYTES as usize;
