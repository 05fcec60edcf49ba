//! Large shards: a file each, found by name.
//!
//! `files/<session>/<sequence / 4096>/<sequence>-<index>-<copy>.shard`, all in hex of fixed width, so that the
//! order of names is the order of [`ShardId`] and shards written together share a directory, whose syncs are
//! then shared too. While being written a file stands in `temp/`, which is emptied when the store opens.

mod commits;
mod dirs;
mod staging;
mod write;

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use runtime::disk::Disk;
use types::{BlobId, CopyId, SessionId};

pub(crate) use write::{LargeFile, QUEUE_FRAMES, Step};

use crate::cache::{Key, OpenFile, OpenFiles, ReadFailure, Trouble};
use crate::codec::{self, RECORD_HEADER_BYTES, Record, RecordBody};
use crate::drive::Drive;
use crate::{OpenError, Presence, ShardError, ShardHeader, ShardId};
use commits::Commits;
use dirs::{DirSync, Dirs};
use staging::Stagings;

/// Blobs of one session whose shards share a directory: 2 to the power of this.
pub(crate) const SEQUENCE_BITS: u32 = 12;

/// A directory: the session, and the sequence number without its lowest bits.
type DirKey = (SessionId, u64);

fn dir_key(id: &ShardId) -> DirKey {
    (id.blob.session, id.blob.sequence >> SEQUENCE_BITS)
}

/// The name of a shard's file, without its directory.
pub(crate) fn shard_name(id: &ShardId) -> String {
    format!("{:016x}-{:02x}-{}.shard", id.blob.sequence, id.index, id.copy)
}

/// The shard of session `session` that a name stands for.
pub(crate) fn shard_of_name(session: SessionId, name: &str) -> Option<ShardId> {
    let mut parts = name.strip_suffix(".shard")?.split('-');
    let (sequence, index, copy) = (parts.next()?, parts.next()?, parts.next()?);
    let id = ShardId {
        blob: BlobId { session, sequence: u64::from_str_radix(sequence, 16).ok()? },
        index: u8::from_str_radix(index, 16).ok()?,
        copy: CopyId::new(u64::from_str_radix(copy, 16).ok()?),
    };
    // Only the one spelling that would be looked for.
    (shard_name(&id) == name).then_some(id)
}

pub(crate) struct Files {
    drive: Arc<Drive>,
    cache: Arc<OpenFiles>,
    next_temp: AtomicU64,
    dirs: Dirs,
    /// Shards whose commit is under way.
    commits: Commits,
    /// Held while a name comes or goes.
    census: Mutex<Census>,
    syncs: DirSync,
    stagings: Stagings,
}

/// Counting of what is there, directory by directory, after the store has opened.
#[derive(Default)]
struct Census {
    /// All directories up to this one are counted.
    position: Option<DirKey>,
    done: bool,
}

impl Census {
    fn has_counted(&self, dir: DirKey) -> bool {
        self.done || self.position.is_some_and(|position| dir <= position)
    }
}

impl Files {
    /// Removes what a crash left in `temp/` and finds the directories; counts nothing yet.
    pub(crate) fn open(drive: Arc<Drive>, cache: Arc<OpenFiles>) -> Result<Self, OpenError> {
        let (root, temp) = (drive.dir.join("files"), drive.dir.join("temp"));
        for dir in [&root, &temp] {
            drive.disk.create_dir_all(dir).map_err(|e| OpenError::io("make", dir, &e))?;
        }
        let list = |dir: &Path| drive.disk.list(dir).map_err(|e| OpenError::io("list", dir, &e));
        for entry in list(&temp)?.iter().filter(|entry| entry.name.ends_with(".tmp")) {
            let path = temp.join(&entry.name);
            drive.disk.remove(&path).map_err(|e| OpenError::io("remove", &path, &e))?;
        }
        let found = dirs_in(&*drive.disk, &root).map_err(|e| OpenError::io("list", &root, &e))?;
        let dirs = Dirs::default();
        for key in found {
            dirs.add(key);
        }
        Ok(Self {
            drive,
            cache,
            next_temp: AtomicU64::new(0),
            dirs,
            commits: Commits::default(),
            census: Mutex::default(),
            syncs: DirSync::default(),
            stagings: Stagings::default(),
        })
    }

    pub(crate) fn path(&self, id: &ShardId) -> PathBuf {
        dir_path(&self.drive, dir_key(id)).join(shard_name(id))
    }

    fn temp_path(&self) -> PathBuf {
        let number = self.next_temp.fetch_add(1, Ordering::Relaxed);
        self.drive.dir.join("temp").join(format!("{number:016x}.tmp"))
    }

    /// The shard's file, open, with its verified header. `wait`: whether to wait for the device.
    pub(crate) fn file(&self, id: &ShardId, wait: bool) -> Result<Arc<OpenFile>, Trouble> {
        self.cache.get_or_open(Key::Shard(*id), || {
            if wait { self.open_file(id).map_err(Trouble::from) } else { Err(Trouble::WouldBlock) }
        })
    }

    fn open_file(&self, id: &ShardId) -> Result<OpenFile, ShardError> {
        let path = self.path(id);
        let file = match self.drive.disk.open(&path, false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ShardError::NotFound(*id));
            }
            Err(error) => return Err(self.drive.read_failed(&path, 0, &error)),
        };
        let header = match file.read_vec(RECORD_HEADER_BYTES, 0, true).map_err(ReadFailure::from) {
            Ok(bytes) => decode_header(id, &bytes),
            Err(ReadFailure::Failed(error)) => {
                return Err(self.drive.read_failed(&path, 0, &error));
            }
            Err(ReadFailure::Short | ReadFailure::WouldBlock) => None,
        };
        match header {
            Some(header) => Ok(OpenFile { file, path, header: Some(header) }),
            None => {
                tracing::warn!(path = %path.display(), "the header of a shard's file is damaged");
                Err(ShardError::Corrupt { id: *id, frame: None })
            }
        }
    }

    /// Gives a finished and synced temporary file its name, durably. May wait.
    fn publish(&self, temp: &Path, header: &ShardHeader) -> Result<(), ShardError> {
        let key = dir_key(&header.id);
        // Before, so that nothing is put into the drive that may stand there now; after, as it may go meanwhile.
        self.drive.check_in_place()?;
        self.dirs.enter(&self.drive, key)?;
        let outcome = self.rename(temp, header).and_then(|ticket| self.sync(key, ticket));
        self.dirs.leave(key);
        outcome.and_then(|()| self.drive.check_in_place())
    }

    fn rename(&self, temp: &Path, header: &ShardHeader) -> Result<u64, ShardError> {
        let (key, path) = (dir_key(&header.id), self.path(&header.id));
        let census = self.census.lock();
        if self.commits.is_doomed(&header.id) {
            return Err(ShardError::NotFound(header.id));
        }
        match self.drive.disk.exists(&path) {
            Ok(false) => {}
            Ok(true) => return Err(ShardError::Misuse(header.id)),
            Err(error) => return Err(self.drive.read_failed(&path, 0, &error)),
        }
        let renamed = match self.drive.disk.rename(temp, &path) {
            // Somebody has removed the directory.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.drive.check_in_place()?;
                self.dirs.make_again(&self.drive, key)?;
                self.drive.disk.rename(temp, &path)
            }
            renamed => renamed,
        };
        renamed.map_err(|error| self.drive.write_failed("rename", temp, &error))?;
        if census.has_counted(key) {
            self.drive.count(file_bytes(header.stored_len()));
        }
        Ok(self.syncs.ticket(key))
    }

    fn sync(&self, key: DirKey, ticket: u64) -> Result<(), ShardError> {
        let dir = dir_path(&self.drive, key);
        self.syncs
            .sync(key, ticket, || self.drive.disk.sync_dir(&dir))
            .map_err(|error| self.drive.write_failed("sync", &dir, &error))
    }

    /// Removes a shard's file, durably; whether it was there. If its commit is under way, that will fail. May wait.
    pub(crate) fn delete(&self, id: &ShardId) -> Result<bool, ShardError> {
        let key = dir_key(id);
        let census = self.census.lock();
        self.commits.doom(id);
        if !self.dirs.enter_existing(key) {
            return Ok(false);
        }
        let removed = self.remove(id, &census);
        drop(census);
        self.cache.remove(&Key::Shard(*id));
        let outcome = match removed {
            Ok((was_there, Some(ticket))) => self.sync(key, ticket).map(|()| was_there),
            Ok((was_there, None)) => Ok(was_there),
            Err(error) => Err(error),
        };
        self.dirs.leave(key);
        if outcome == Ok(true) && self.syncs.is_clean(key) {
            self.dirs.prune(&self.drive, key);
        }
        self.drive.gave_back();
        outcome
    }

    /// Whether it was there, and a ticket for the sync that is needed.
    fn remove(&self, id: &ShardId, census: &Census) -> Result<(bool, Option<u64>), ShardError> {
        let (key, path) = (dir_key(id), self.path(id));
        let len = self.drive.disk.open(&path, false).and_then(|file| file.len());
        match len.and_then(|len| self.drive.disk.remove(&path).map(|()| len)) {
            Ok(len) => {
                if census.has_counted(key) {
                    self.drive.uncount(len);
                }
                Ok((true, Some(self.syncs.ticket(key))))
            }
            // That it is not there is no proof that it will not come back: an earlier removal, perhaps of
            // an earlier process, may not be durable.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let is_clean = self.syncs.is_clean(key);
                Ok((false, (!is_clean).then(|| self.syncs.ticket(key))))
            }
            Err(error) => Err(self.drive.write_failed("remove", &path, &error)),
        }
    }

    /// Adds to `found` the headers of shards behind `after`, so that it has the `limit` lowest. A file whose
    /// header is damaged is left out. May wait.
    pub(crate) fn list(
        &self,
        after: Option<&ShardId>,
        limit: usize,
        found: &mut BTreeMap<ShardId, ShardHeader>,
    ) -> Result<(), ShardError> {
        self.walk(after, |id| {
            let bound = if found.len() < limit { None } else { found.last_key_value() };
            if bound.is_some_and(|(bound, _)| id > *bound) {
                return Ok(false);
            }
            match self.open_file(&id).map(|file| file.header) {
                Ok(header) => found.extend(header.map(|header| (id, header))),
                Err(ShardError::NotFound(_) | ShardError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
            if found.len() > limit {
                found.pop_last();
            }
            Ok(true)
        })
    }

    /// The `limit` lowest shards behind `after` by the names of their files. May wait.
    pub(crate) fn names(
        &self,
        after: Option<&ShardId>,
        limit: usize,
    ) -> Result<Vec<ShardId>, ShardError> {
        let mut found = Vec::new();
        self.walk(after, |id| {
            found.push(id);
            Ok(found.len() < limit)
        })?;
        Ok(found)
    }

    /// Shows the shards behind `after` in order, by their names, as long as `visit` wants more.
    fn walk(
        &self,
        after: Option<&ShardId>,
        mut visit: impl FnMut(ShardId) -> Result<bool, ShardError>,
    ) -> Result<(), ShardError> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Included(dir_key(after)));
        for key in self.dirs.behind(from) {
            for id in self.ids_in(key)? {
                if after.is_none_or(|after| id > *after) && !visit(id)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether a shard's file is there, of the right length and with its header. May wait.
    pub(crate) fn presence(&self, id: &ShardId) -> Presence {
        let whole = |file: &OpenFile| {
            let expected = file.header.map(|header| file_bytes(header.stored_len()));
            file.file.len().is_ok_and(|len| Some(len) == expected)
        };
        match self.open_file(id) {
            Ok(file) if whole(&file) => Presence::Whole,
            Err(ShardError::NotFound(_)) => Presence::Absent,
            Ok(_) | Err(_) => Presence::Damaged,
        }
    }

    /// Looks for directories that somebody has put there since the store opened. May wait.
    pub(crate) fn find_dirs(&self) -> Result<(), ShardError> {
        let root = self.drive.dir.join("files");
        let found = dirs_in(&*self.drive.disk, &root)
            .map_err(|error| self.drive.read_failed(&root, 0, &error))?;
        let census = self.census.lock();
        for key in found {
            if self.dirs.add(key) && census.has_counted(key) {
                self.count_dir(key);
            }
        }
        Ok(())
    }

    /// The shards in a directory by their names, in order.
    fn ids_in(&self, key: DirKey) -> Result<Vec<ShardId>, ShardError> {
        let dir = dir_path(&self.drive, key);
        let names = match self.drive.disk.list(&dir) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(self.drive.read_failed(&dir, 0, &error)),
        };
        let ids = names.iter().filter_map(|entry| shard_of_name(key.0, &entry.name));
        Ok(ids.filter(|id| dir_key(id) == key).collect())
    }

    /// Counts one more directory; whether that was the last. May wait.
    pub(crate) fn count_next(&self) -> bool {
        let mut census = self.census.lock();
        let from = census.position.map_or(Bound::Unbounded, Bound::Excluded);
        let Some(key) = self.dirs.first(from) else {
            census.done = true;
            return true;
        };
        self.count_dir(key);
        census.position = Some(key);
        false
    }

    /// What cannot be read is not counted; the reader of that shard will say why. A directory without shards goes
    /// if it is empty.
    fn count_dir(&self, key: DirKey) {
        let ids = self.ids_in(key);
        if ids.as_ref().is_ok_and(Vec::is_empty) && self.dirs.enter_existing(key) {
            // Its last removals may not be durable.
            let synced = self.sync(key, self.syncs.ticket(key));
            self.dirs.leave(key);
            if synced.is_ok() {
                self.dirs.prune(&self.drive, key);
            }
        }
        for id in ids.unwrap_or_default() {
            let len = self.drive.disk.open(&self.path(&id), false).and_then(|file| file.len());
            if let Ok(len) = len {
                self.drive.count(len);
            }
        }
    }
}

/// The directories of shards under `root`. Other names are not ours.
fn dirs_in(disk: &dyn Disk, root: &Path) -> io::Result<Vec<DirKey>> {
    let mut dirs = Vec::new();
    for outer in disk.list(root)?.iter().filter(|entry| entry.is_dir) {
        let Ok(session) = outer.name.parse::<SessionId>() else { continue };
        let inside = match disk.list(&root.join(&outer.name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            inside => inside?,
        };
        for inner in inside.iter().filter(|entry| entry.is_dir) {
            let number = u64::from_str_radix(&inner.name, 16).ok();
            let key = number.map(|n| (session, n)).filter(|key| dir_name(*key) == inner.name);
            dirs.extend(key);
        }
    }
    Ok(dirs)
}

fn dir_path(drive: &Drive, key: DirKey) -> PathBuf {
    drive.dir.join("files").join(key.0.to_string()).join(dir_name(key))
}

fn dir_name(key: DirKey) -> String {
    format!("{:013x}", key.1)
}

/// Bytes of a file with so many bytes of frames.
fn file_bytes(stored: u64) -> u64 {
    stored.saturating_add(RECORD_HEADER_BYTES as u64)
}

/// The record header of a shard in a file of its own.
fn encode_header(header: &ShardHeader) -> [u8; RECORD_HEADER_BYTES] {
    let record = Record { segment: 0, offset: 0, number: 0, body: RecordBody::Shard(*header) };
    codec::encode_record(&record, 0)
}

/// The header of shard `id` at the front of its file.
pub(crate) fn decode_header(id: &ShardId, bytes: &[u8]) -> Option<ShardHeader> {
    match codec::decode_record(bytes, 0).ok()? {
        Record { segment: 0, offset: 0, number: 0, body: RecordBody::Shard(header) } => {
            (header.id == *id).then_some(header)
        }
        _ => None,
    }
}
