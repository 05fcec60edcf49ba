//! Files kept open for reading, a bounded number of them.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use runtime::disk::File;

use crate::{ShardHeader, ShardId};

/// A file that is open for reading.
pub(crate) struct OpenFile {
    pub(crate) file: Box<dyn File>,
    pub(crate) path: PathBuf,
    /// The verified header, when it is a shard's own file.
    pub(crate) header: Option<ShardHeader>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Segment(u64),
    Shard(ShardId),
}

pub(crate) struct OpenFiles {
    limit: usize,
    files: Mutex<Slots>,
    /// Counts removals: a file opened before one must not be kept after it.
    removals: AtomicU64,
}

#[derive(Default)]
struct Slots {
    slots: HashMap<Key, (Arc<OpenFile>, u64)>,
    tick: u64,
}

impl OpenFiles {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), files: Mutex::default(), removals: AtomicU64::new(0) }
    }

    /// The file, if it is open.
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<OpenFile>> {
        let mut files = self.files.lock();
        files.tick += 1;
        let tick = files.tick;
        let (file, used) = files.slots.get_mut(key)?;
        *used = tick;
        Some(file.clone())
    }

    /// The file, opened by `open` if it is not open yet.
    pub(crate) fn get_or_open<E>(
        &self,
        key: Key,
        open: impl FnOnce() -> Result<OpenFile, E>,
    ) -> Result<Arc<OpenFile>, E> {
        if let Some(file) = self.get(&key) {
            return Ok(file);
        }
        let removals = self.removals.load(Ordering::SeqCst);
        let file = Arc::new(open()?);
        let mut files = self.files.lock();
        if self.removals.load(Ordering::SeqCst) == removals {
            files.tick += 1;
            let tick = files.tick;
            files.slots.insert(key, (file.clone(), tick));
            if files.slots.len() > self.limit {
                let oldest = files.slots.iter().min_by_key(|(_, (_, used))| *used);
                if let Some(oldest) = oldest.map(|(key, _)| *key) {
                    files.slots.remove(&oldest);
                }
            }
        }
        Ok(file)
    }

    /// Closes a file whose name is gone.
    pub(crate) fn remove(&self, key: &Key) {
        let mut files = self.files.lock();
        self.removals.fetch_add(1, Ordering::SeqCst);
        files.slots.remove(key);
    }
}

/// Why a look at the disk gave nothing: the shard's own error, or that the look would have had to wait.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Only when asked not to wait: ask again from a thread that may.
    WouldBlock,
    /// The segment was removed meanwhile, as nothing in it is live.
    Gone,
    /// The file of a segment with live shards was removed, or another stands in its place.
    Missing,
    /// The answer is this error.
    Shard(crate::ShardError),
}

impl Trouble {
    /// What to answer about shard `id` after a look that was allowed to wait.
    pub(crate) fn into_error(self, id: &crate::ShardId) -> crate::ShardError {
        match self {
            Self::Shard(error) => error,
            Self::Missing => crate::ShardError::Corrupt { id: *id, frame: None },
            Self::Gone | Self::WouldBlock => crate::ShardError::NotFound(*id),
        }
    }
}

impl From<crate::ShardError> for Trouble {
    fn from(error: crate::ShardError) -> Self {
        Self::Shard(error)
    }
}

/// Sorts what a read came to: `WouldBlock`, the end of the file, or a failure.
pub(crate) enum ReadFailure {
    WouldBlock,
    Short,
    Failed(io::Error),
}

impl From<io::Error> for ReadFailure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock => Self::WouldBlock,
            io::ErrorKind::UnexpectedEof => Self::Short,
            _ => Self::Failed(error),
        }
    }
}
