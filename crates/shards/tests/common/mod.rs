//! What the tests of the store share: shards with known bytes, and a model of what must be there.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use runtime::disk::{Disk, SimDisk};
use runtime::{Entropy, Runtime, SimEntropy};
use shards::{
    DRIVE_VERSION, Frame, Identity, OpenError, ShardError, ShardHeader, ShardId, Store,
    StoreOptions,
};
use types::limits::{FRAME_BYTES, SHARD_FILE_MIN_BYTES};
use types::{BlobId, CopyId, DriveId, ErrorKind, NodeId, SessionId};

pub fn identity() -> Identity {
    Identity {
        v: DRIVE_VERSION,
        cluster: "000102030405060708090a0b0c0d0e0f".to_owned(),
        drive: DriveId::new(0xd1),
        node: NodeId::new(0xa1),
        created_at_ms: 1_767_225_600_000,
    }
}

/// Small segments and few threads.
pub fn options() -> StoreOptions {
    StoreOptions {
        high_watermark: 1.0,
        min_free_bytes: 0,
        read_threads: 1,
        write_threads: 2,
        open_files: 4,
        segment_bytes: 64 * 1024,
    }
}

pub const DIR: &str = "/drive";

/// A formatted drive on a simulated disk.
pub fn sim_drive(capacity: u64, seed: u64) -> SimDisk {
    let disk = SimDisk::new(capacity, seed);
    Store::format(Arc::new(disk.clone()), Path::new(DIR), &identity()).expect("formatted");
    disk
}

pub fn open(disk: &SimDisk, seed: u64) -> Result<Arc<Store>, OpenError> {
    open_with(disk, seed, options())
}

pub fn open_with(
    disk: &SimDisk,
    seed: u64,
    options: StoreOptions,
) -> Result<Arc<Store>, OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Store::open(disk, Runtime::simulated(seed), Path::new(DIR), options)
}

pub fn shard(session: u64, sequence: u64, payload_len: u64) -> ShardHeader {
    let id = ShardId {
        blob: BlobId { session: SessionId::new(session), sequence },
        index: (sequence % 5) as u8,
        copy: CopyId::new(sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
    };
    let (blob_len, home) = (3 * payload_len, 0xb0c0 + sequence);
    ShardHeader { id, data_shards: 3, parity_shards: 2, blob_len, payload_len, home }
}

/// The frames that the shard with this header has in all tests.
pub fn frames(header: &ShardHeader) -> Vec<Frame> {
    let mut block = vec![0; FRAME_BYTES];
    SimEntropy::new(header.id.copy.get() ^ header.id.blob.sequence).fill(&mut block);
    let block = Bytes::from(block);
    (0..header.frames())
        .map(|n| Frame::seal(&header.id, n, block.slice(..header.frame_len(n))))
        .collect()
}

pub async fn put(store: &Store, header: &ShardHeader) -> Result<(), ShardError> {
    let mut sink = store.create(*header)?;
    for chunk in frames(header).chunks(5) {
        sink.write(chunk.to_vec()).await?;
    }
    sink.commit().await
}

/// The shard is there and every frame is the one that was written.
pub async fn assert_whole(store: &Store, header: &ShardHeader) {
    assert_eq!(store.header(header.id).await.as_ref(), Ok(header));
    let mut read = Vec::new();
    while (read.len() as u64) < header.frames() {
        let more = store.read(header.id, read.len() as u64, 7).await.expect("frames");
        assert!(!more.is_empty());
        read.extend(more);
    }
    assert!(read == frames(header), "{header:?} reads as something else");
    assert_eq!(store.verify(header.id).await, Ok(Vec::new()));
}

/// The file of a large shard.
pub fn large_path(header: &ShardHeader) -> PathBuf {
    let name = format!(
        "/drive/files/{}/{:013x}/{:016x}-{:02x}-{}.shard",
        header.id.blob.session,
        header.id.blob.sequence >> 12,
        header.id.blob.sequence,
        header.id.index,
        header.id.copy
    );
    PathBuf::from(name)
}

/// What must be found of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Present,
    Absent,
    /// An operation on it failed: it is there whole, or not at all.
    Either,
}

#[derive(Clone, Default)]
pub struct Model {
    pub shards: BTreeMap<ShardId, (ShardHeader, Fate)>,
    /// A sync has failed and the process went on or was started again on the same page cache: of what was not
    /// acknowledged, damaged bytes may be left, which nobody refers to.
    pub sync_failed: bool,
}

impl Model {
    pub fn after_put(&mut self, header: ShardHeader, outcome: &Result<(), ShardError>) {
        let fate = if outcome.is_ok() { Fate::Present } else { Fate::Either };
        self.shards.insert(header.id, (header, fate));
    }

    pub fn after_delete(&mut self, id: ShardId, outcome: &Result<bool, ShardError>) {
        let Some((_, fate)) = self.shards.get_mut(&id) else { return };
        match (&outcome, *fate) {
            (Ok(false), Fate::Present) => panic!("{id:?} was not there"),
            (Ok(true), Fate::Absent) => panic!("{id:?} came back"),
            (Ok(_), _) => *fate = Fate::Absent,
            (Err(_), Fate::Present) => *fate = Fate::Either,
            (Err(_), _) => {}
        }
    }

    /// Compares with the store.
    pub async fn check(&self, store: &Store) {
        let mut found = Vec::new();
        for (id, (header, fate)) in &self.shards {
            match store.header(*id).await {
                Ok(_) => {
                    assert_ne!(*fate, Fate::Absent, "{id:?} is back from the dead");
                    if *fate == Fate::Present || !self.sync_failed {
                        assert_whole(store, header).await;
                    }
                    found.push(*header);
                }
                Err(ShardError::NotFound(_)) => {
                    assert_ne!(*fate, Fate::Present, "{id:?} is lost");
                    assert_eq!(store.read(*id, 0, 1).await, Err(ShardError::NotFound(*id)));
                }
                Err(error) => panic!("{id:?} {fate:?}: {error}"),
            }
        }
        assert_eq!(list_all(store, 3).await, found);
        store.counted().await;
        assert_eq!(store.status().shards, found.len() as u64);
    }
}

pub async fn list_all(store: &Store, page: usize) -> Vec<ShardHeader> {
    let mut all: Vec<ShardHeader> = Vec::new();
    loop {
        let after = all.last().map(|header| header.id);
        let more = store.list(after, page).await.expect("a page");
        if more.is_empty() {
            return all;
        }
        assert!(more.len() <= page);
        all.extend(more);
    }
}

/// Numbers that a seed decides.
pub struct Rolls(SimEntropy);

impl Rolls {
    pub fn new(seed: u64) -> Self {
        Self(SimEntropy::new(seed ^ 0x5ca1_ab1e))
    }

    pub fn below(&self, end: u64) -> u64 {
        self.0.nonzero_u64() % end
    }

    /// Mostly small, around every boundary, now and then large enough for a file.
    pub fn payload_len(&self) -> u64 {
        match self.below(12) {
            0 => 0,
            1 => 1 + self.below(8),
            2 => FRAME_BYTES as u64 - 1 + self.below(3),
            3 => SHARD_FILE_MIN_BYTES - self.below(2),
            4 => SHARD_FILE_MIN_BYTES + self.below(200_000),
            5 => 2 * FRAME_BYTES as u64 + self.below(10),
            _ => self.below(20_000),
        }
    }
}

/// Whether a caller may meet this error on a failing disk.
pub fn is_expected(error: &ShardError) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Full)
}
