//! The blob store against drives in memory that fail in every way a drive can.

mod drives;
mod faults;
mod limits;
mod local;
mod rebuild;
mod round_trip;
mod slow;
mod writing;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use placement::{Drive, DriveRole};
use runtime::{Runtime, SimClock, SimEntropy};
use types::NodeId;

use super::*;
use crate::error::BodyError;
use crate::model::OutputStream;
use drives::TestDrives;

/// The bucket under which the blobs' records would be.
const HOME: BucketId = BucketId::new(0xb0c);

/// A store over `drives` healthy drives in memory.
struct Bench {
    store: BlobStore,
    drives: Arc<TestDrives>,
    clock: Arc<SimClock>,
    damage: Arc<Mutex<Vec<Damage>>>,
}

fn geometry(text: &str) -> Geometry {
    text.parse().expect("a geometry")
}

fn drive(number: usize) -> DriveId {
    DriveId::new(number as u64 + 1)
}

fn layout(drives: usize) -> Layout {
    let drives = (0..drives).map(|number| Drive {
        id: drive(number),
        node: NodeId::new(number as u64 + 1),
        zone: String::new(),
        tier: String::new(),
        capacity_bytes: 1 << 40,
        state: DriveRole::Active,
        path_hint: String::new(),
    });
    Layout { drives: drives.collect(), ..Layout::empty() }
}

impl Bench {
    fn new(text: &str, drives: usize) -> Self {
        Self::with_budget(text, drives, 256 << 20)
    }

    fn with_budget(text: &str, drives: usize, budget_bytes: usize) -> Self {
        let clock = Arc::new(SimClock::default());
        let runtime = Runtime { clock: clock.clone(), entropy: Arc::new(SimEntropy::new(7)) };
        let layout = layout(drives);
        let drives = Arc::new(TestDrives::new(drives));
        let session = SessionId::new(0xabc);
        let store =
            BlobStore::new(drives.clone(), layout, geometry(text), runtime, session, budget_bytes);
        Self { store, drives, clock, damage: Arc::default() }
    }

    async fn write(&self, bytes: &[u8]) -> Result<StoredBlob, StoreError> {
        let mut hasher = Hasher::new(false, None);
        self.store.write(HOME, bytes.len() as u64, &mut body(bytes, 50_021), &mut hasher).await
    }

    fn on_damage(&self) -> OnDamage {
        let damage = self.damage.clone();
        Arc::new(move |_, found| damage.lock().push(found))
    }

    async fn open(&self, blob: &StoredBlob, range: Range<u64>) -> Result<OutputStream, ReadError> {
        self.store.open(blob.clone(), range, self.on_damage(), None).await
    }

    async fn read(&self, blob: &StoredBlob, range: Range<u64>) -> Result<Vec<u8>, ReadError> {
        collect(self.open(blob, range).await?).await
    }

    async fn read_all(&self, blob: &StoredBlob) -> Result<Vec<u8>, ReadError> {
        self.read(blob, 0..blob.len).await
    }

    /// Damage reported since the last call: index and kind, sorted.
    fn damage(&self) -> Vec<(u8, DamageKind)> {
        let mut damage: Vec<_> =
            self.damage.lock().drain(..).map(|found| (found.copy.index, found.kind)).collect();
        damage.sort_unstable_by_key(|(index, _)| *index);
        damage
    }

    /// Runs `future` to its end; whenever it can only wait for time, time moves on.
    async fn in_time<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        loop {
            for _ in 0..64 {
                let nothing = std::future::ready(());
                tokio::select! {
                    biased;
                    output = &mut future => return output,
                    () = nothing => {}
                }
                tokio::task::yield_now().await;
            }
            self.clock.advance(Duration::from_millis(10));
        }
    }
}

/// Bytes that repeat at no power of two.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 15) as u8 ^ (i % 251) as u8).collect()
}

/// `bytes` in pieces of `piece`.
fn body(bytes: &[u8], piece: usize) -> BodyStream {
    let pieces: Vec<Result<Bytes, BodyError>> =
        bytes.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    Box::pin(futures::stream::iter(pieces))
}

async fn collect(stream: OutputStream) -> Result<Vec<u8>, ReadError> {
    let pieces: Vec<Bytes> = stream.try_collect().await?;
    Ok(pieces.concat())
}

fn assert_same(got: &[u8], expected: &[u8]) {
    let differ = got.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!((got.len(), differ), (expected.len(), None));
}
