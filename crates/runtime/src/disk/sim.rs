//! A disk in memory that forgets what was not synced.
//!
//! It keeps two states apart: what a running process sees, and what is sure to be there after the power has
//! failed. [`SimDisk::crash`] builds one of the legal states in between: unsynced writes are dropped, reordered
//! and torn by sector, unsynced names come and go. Not a model of speed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{DIRECT_ALIGN_BYTES, Disk, Entry, File, Lock, Space};

mod inode;

use inode::{BLOCK_BYTES, Dice, Inode};

/// The kinds of disk call, for [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the call of the same name")]
pub enum Call {
    Create,
    Open,
    Rename,
    Remove,
    MakeDir,
    List,
    SyncDir,
    Space,
    Lock,
    Exists,
    IsAt,
    Read,
    Write,
    Sync,
    Len,
    SetLen,
    Punch,
}

/// A fault to inject.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Which calls count; `None`: all.
    pub call: Option<Call>,
    /// How many of them still succeed before the one that fails.
    pub after: u64,
    /// What it fails with: `StorageFull` for `ENOSPC`, `Other` for `EIO`. A failing write has written a part of
    /// its bytes; after a failing sync nothing is known of what was written before it.
    pub error: io::ErrorKind,
    /// Whether all later ones fail too.
    pub forever: bool,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

struct Shared {
    capacity: u64,
    used: AtomicU64,
    epoch: AtomicU64,
    names: Mutex<Names>,
    control: Mutex<Control>,
}

struct Control {
    dice: Dice,
    calls: u64,
    faults: Vec<Fault>,
    /// What the last fault has hit.
    hit: Option<Call>,
}

#[derive(Clone)]
enum Node {
    Dir,
    File(Arc<Mutex<Inode>>),
}

#[derive(Default)]
struct Names {
    current: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    /// Changes of single names since their directory was synced, oldest first.
    pending: Vec<Change>,
    locked: Vec<Arc<Mutex<Inode>>>,
}

#[derive(Clone)]
struct Change {
    path: PathBuf,
    /// What the name stands for from then on.
    node: Option<Node>,
    /// Both halves of a rename within one directory have the same number and survive together.
    unit: u64,
    /// A sync of its directory failed: no later sync makes it durable.
    limbo: bool,
}

impl SimDisk {
    /// An empty disk of `capacity` bytes, with dice from `seed`.
    pub fn new(capacity: u64, seed: u64) -> Self {
        let shared = Shared {
            capacity,
            used: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            names: Mutex::default(),
            control: Mutex::new(Control {
                dice: Dice::new(seed),
                calls: 0,
                faults: Vec::new(),
                hit: None,
            }),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Another disk with what is durable on this one, and dice from `seed`.
    pub fn fork(&self, seed: u64) -> Self {
        let disk = Self::new(self.shared.capacity, seed);
        let (names, mut used) = (self.shared.names.lock(), 0);
        let mut copy = disk.shared.names.lock();
        for (path, node) in &names.durable {
            let node = match node {
                Node::Dir => Node::Dir,
                Node::File(inode) => {
                    let inode = inode.lock().durable();
                    used += inode.allocated();
                    Node::File(Arc::new(Mutex::new(inode)))
                }
            };
            copy.durable.insert(path.clone(), node);
        }
        copy.current = copy.durable.clone();
        drop(copy);
        disk.shared.used.store(used, Ordering::SeqCst);
        disk
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.shared.control.lock().calls
    }

    /// Injects a fault, besides those that are there.
    pub fn inject(&self, fault: Fault) {
        self.shared.control.lock().faults.push(fault);
    }

    /// Faults that are still to come.
    pub fn faults_left(&self) -> usize {
        self.shared.control.lock().faults.len()
    }

    /// The kind of call that a fault has hit last.
    pub fn last_hit(&self) -> Option<Call> {
        self.shared.control.lock().hit
    }

    /// Takes all faults away.
    pub fn heal(&self) {
        self.shared.control.lock().faults.clear();
    }

    /// The power fails and comes back: all handles and locks are dead, all faults are gone, and of what was
    /// not synced an arbitrary part is there. The same seed on the same history gives the same state.
    pub fn crash(&self, seed: u64) {
        let mut dice = Dice::new(seed);
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        let mut names = self.shared.names.lock();
        names.crash(&mut dice);
        let mut used = 0;
        let mut seen = HashSet::new();
        for node in names.durable.values() {
            if let Node::File(inode) = node
                && seen.insert(Arc::as_ptr(inode) as usize)
            {
                let mut inode = inode.lock();
                inode.crash(&mut dice);
                used += inode.allocated();
            }
        }
        // Handles of the old life keep their inodes; give the survivors new ones so that a late write of a
        // dead process reaches nobody.
        let mut fresh: BTreeMap<usize, Arc<Mutex<Inode>>> = BTreeMap::new();
        for node in names.durable.values_mut() {
            if let Node::File(inode) = node {
                let copy = fresh
                    .entry(Arc::as_ptr(inode) as usize)
                    .or_insert_with(|| Arc::new(Mutex::new(inode.lock().clone())));
                *inode = copy.clone();
            }
        }
        names.current = names.durable.clone();
        self.shared.used.store(used, Ordering::SeqCst);
        let mut control = self.shared.control.lock();
        control.faults.clear();
        control.dice = dice;
    }

    /// Flips bits: XORs `mask` into the byte at `offset` of the file at `path`, durably. Whether there is one.
    pub fn corrupt(&self, path: &Path, offset: u64, mask: u8) -> bool {
        let names = self.shared.names.lock();
        match names.current.get(path) {
            Some(Node::File(inode)) => inode.lock().corrupt(offset, mask),
            _ => false,
        }
    }

    /// Removes all names at and below `path` at once and durably, as somebody else would, or an unmount. Files
    /// that are open live on without a name.
    pub fn wipe(&self, path: &Path) {
        let mut names = self.shared.names.lock();
        let mut gone: Vec<Node> = Vec::new();
        names.current.retain(|name, node| {
            let is_below = name.starts_with(path);
            gone.extend(is_below.then(|| node.clone()));
            !is_below
        });
        names.durable.retain(|name, _| !name.starts_with(path));
        names.pending.retain(|change| !change.path.starts_with(path));
        gone.into_iter().for_each(|node| self.forget(&names, Some(node)));
    }

    fn enter(&self, call: Call) -> io::Result<()> {
        self.shared.enter(call)
    }
}

impl Shared {
    /// Counts a call, and fails it if a fault says so.
    fn enter(&self, call: Call) -> io::Result<()> {
        let mut control = self.control.lock();
        control.calls += 1;
        let mut failed = None;
        control.faults.retain_mut(|fault| {
            if fault.call.is_some_and(|c| c != call) {
                return true;
            }
            if fault.after > 0 {
                fault.after -= 1;
                return true;
            }
            failed = failed.or(Some(fault.error));
            fault.forever
        });
        if failed.is_some() {
            control.hit = Some(call);
        }
        failed.map_or(Ok(()), |kind| Err(io::Error::new(kind, "injected fault")))
    }

    /// Whether `path` stands for `inode`; asked of a handle from `epoch`.
    fn is_at(&self, inode: &Arc<Mutex<Inode>>, epoch: u64, path: &Path) -> io::Result<bool> {
        if self.epoch.load(Ordering::SeqCst) != epoch {
            return Err(io::Error::other("the power has failed since this file was opened"));
        }
        self.enter(Call::IsAt)?;
        let names = self.names.lock();
        let named = names.current.get(path);
        Ok(matches!(named, Some(Node::File(named)) if Arc::ptr_eq(named, inode)))
    }

    fn roll(&self) -> Dice {
        self.control.lock().dice.split()
    }

    /// Takes `bytes` of room, or fails with `StorageFull`.
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.used
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
                used.checked_add(bytes).filter(|&sum| sum <= self.capacity)
            })
            .map(|_| ())
            .map_err(|_| io::ErrorKind::StorageFull.into())
    }

    fn release(&self, bytes: u64) {
        let _ = self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
            Some(used.saturating_sub(bytes))
        });
    }
}

impl Names {
    fn require_parent(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            None => Ok(()),
            Some(parent) if parent.parent().is_none() || parent.as_os_str().is_empty() => Ok(()),
            Some(parent) => match self.current.get(parent) {
                Some(Node::Dir) => Ok(()),
                Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
                None => Err(io::ErrorKind::NotFound.into()),
            },
        }
    }

    fn change(&mut self, path: &Path, node: Option<Node>, unit: u64) {
        match &node {
            Some(node) => self.current.insert(path.to_owned(), node.clone()),
            None => self.current.remove(path),
        };
        self.pending.push(Change { path: path.to_owned(), node, unit, limbo: false });
    }

    fn apply(durable: &mut BTreeMap<PathBuf, Node>, change: &Change) {
        match &change.node {
            Some(node) => durable.insert(change.path.clone(), node.clone()),
            None => durable.remove(&change.path),
        };
    }

    /// Makes the changes of the names in `dir` durable, but for those that an earlier sync has lost.
    fn sync_dir(&mut self, dir: &Path) {
        let mut kept: Vec<Change> = Vec::new();
        for change in std::mem::take(&mut self.pending) {
            if change.path.parent() == Some(dir) && !change.limbo {
                Self::apply(&mut self.durable, &change);
                // Older changes of the name have no say any more.
                kept.retain(|older| older.path != change.path);
            } else {
                kept.push(change);
            }
        }
        self.pending = kept;
    }

    fn crash(&mut self, dice: &mut Dice) {
        let chance = dice.chance();
        let mut lost: HashSet<PathBuf> = HashSet::new();
        let mut decided: BTreeMap<u64, bool> = BTreeMap::new();
        for change in std::mem::take(&mut self.pending) {
            let kept = *decided.entry(change.unit).or_insert_with(|| dice.happens(chance));
            // Changes of one name keep their order: what follows a lost one is lost.
            if kept && !lost.contains(&change.path) {
                Self::apply(&mut self.durable, &change);
            } else {
                decided.insert(change.unit, false);
                lost.insert(change.path);
            }
        }
        // A name in a directory that was itself lost is lost with it.
        let dirs: BTreeSet<PathBuf> = self
            .durable
            .iter()
            .filter(|(_, node)| matches!(node, Node::Dir))
            .map(|(path, _)| path.clone())
            .collect();
        self.durable.retain(|path, _| {
            path.ancestors()
                .skip(1)
                .filter(|a| a.parent().is_some() && !a.as_os_str().is_empty())
                .all(|a| dirs.contains(a))
        });
        self.locked.clear();
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.enter(Call::Create)?;
        let mut names = self.shared.names.lock();
        names.require_parent(path)?;
        if names.current.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = Arc::new(Mutex::new(Inode::default()));
        let unit = self.calls();
        names.change(path, Some(Node::File(inode.clone())), unit);
        Ok(Box::new(self.handle(inode, true)))
    }

    fn open(&self, path: &Path, writable: bool) -> io::Result<Box<dyn File>> {
        self.enter(Call::Open)?;
        match self.shared.names.lock().current.get(path) {
            Some(Node::File(inode)) => Ok(Box::new(self.handle(inode.clone(), writable))),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.enter(Call::Rename)?;
        let mut names = self.shared.names.lock();
        names.require_parent(to)?;
        let node = names.current.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
        if matches!(node, Node::Dir) || matches!(names.current.get(to), Some(Node::Dir)) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let replaced = names.current.get(to).cloned();
        let unit = self.calls();
        // Between two directories the halves may survive one without the other; no order is promised.
        let second = if from.parent() == to.parent() { unit } else { unit | 1 << 63 };
        names.change(to, Some(node), unit);
        names.change(from, None, second);
        self.forget(&names, replaced);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.enter(Call::Remove)?;
        let mut names = self.shared.names.lock();
        let node = names.current.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        if matches!(node, Node::Dir) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let unit = self.calls();
        names.change(path, None, unit);
        self.forget(&names, Some(node));
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.enter(Call::MakeDir)?;
        let mut names = self.shared.names.lock();
        let mut missing: Vec<&Path> = path
            .ancestors()
            .filter(|a| a.parent().is_some() && !a.as_os_str().is_empty())
            .take_while(|a| !names.current.contains_key(*a))
            .collect();
        missing.reverse();
        for dir in missing {
            names.current.insert(dir.to_owned(), Node::Dir);
            names.durable.insert(dir.to_owned(), Node::Dir);
            // What happened to the name before is settled by the same sync.
            names.pending.retain(|change| change.path != dir);
        }
        match names.current.get(path) {
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            _ => Ok(()),
        }
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.enter(Call::Remove)?;
        let mut names = self.shared.names.lock();
        if !matches!(names.current.get(path), Some(Node::Dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if names.current.keys().any(|name| name.parent() == Some(path)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let unit = self.calls();
        names.change(path, None, unit);
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.enter(Call::List)?;
        let names = self.shared.names.lock();
        if path.parent().is_some() && !matches!(names.current.get(path), Some(Node::Dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside =
            names.current.range(path.to_owned()..).take_while(|(p, _)| p.starts_with(path));
        Ok(inside
            .filter(|(p, _)| p.parent() == Some(path))
            .filter_map(|(p, node)| {
                let name = p.file_name()?.to_str()?.to_owned();
                Some(Entry { name, is_dir: matches!(node, Node::Dir) })
            })
            .collect())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let outcome = self.enter(Call::SyncDir);
        let mut names = self.shared.names.lock();
        match outcome {
            Ok(()) => names.sync_dir(path),
            Err(_) => {
                for change in &mut names.pending {
                    change.limbo |= change.path.parent() == Some(path);
                }
            }
        }
        outcome
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        self.enter(Call::Space)?;
        let total = self.shared.capacity;
        Ok(Space { total, available: total - self.shared.used.load(Ordering::SeqCst).min(total) })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.enter(Call::Lock)?;
        let mut names = self.shared.names.lock();
        names.require_parent(path)?;
        if !names.current.contains_key(path) {
            let unit = self.calls();
            names.change(path, Some(Node::File(Arc::default())), unit);
        }
        let inode = match names.current.get(path) {
            Some(Node::File(inode)) => inode.clone(),
            _ => return Err(io::ErrorKind::IsADirectory.into()),
        };
        // Of the file, not of the name: who has lost the name has still the lock.
        if names.locked.iter().any(|held| Arc::ptr_eq(held, &inode)) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        names.locked.push(inode.clone());
        let epoch = self.shared.epoch.load(Ordering::SeqCst);
        Ok(Box::new(SimLock { disk: self.clone(), inode, epoch }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.enter(Call::Exists)?;
        Ok(self.shared.names.lock().current.contains_key(path))
    }
}

impl SimDisk {
    fn handle(&self, inode: Arc<Mutex<Inode>>, writable: bool) -> SimFile {
        let epoch = self.shared.epoch.load(Ordering::SeqCst);
        let direct = AtomicBool::new(false);
        SimFile { shared: self.shared.clone(), inode, writable, direct, epoch }
    }

    /// Gives back the room of a file that has lost its last name (a handle may still read it).
    fn forget(&self, names: &Names, node: Option<Node>) {
        let Some(Node::File(gone)) = node else { return };
        let named =
            names.current.values().any(|n| matches!(n, Node::File(i) if Arc::ptr_eq(i, &gone)));
        if !named {
            let allocated = gone.lock().disown();
            self.shared.release(allocated);
        }
    }
}

struct SimLock {
    disk: SimDisk,
    inode: Arc<Mutex<Inode>>,
    epoch: u64,
}

impl Lock for SimLock {
    fn is_at(&self, path: &Path) -> io::Result<bool> {
        self.disk.shared.is_at(&self.inode, self.epoch, path)
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut names = self.disk.shared.names.lock();
        if self.disk.shared.epoch.load(Ordering::SeqCst) == self.epoch {
            names.locked.retain(|held| !Arc::ptr_eq(held, &self.inode));
        }
    }
}

struct SimFile {
    shared: Arc<Shared>,
    inode: Arc<Mutex<Inode>>,
    writable: bool,
    direct: AtomicBool,
    epoch: u64,
}

impl SimFile {
    /// Counts the call; a handle from before a crash is dead.
    fn enter(&self, call: Call) -> io::Result<()> {
        if self.shared.epoch.load(Ordering::SeqCst) != self.epoch {
            return Err(io::Error::other("the power has failed since this file was opened"));
        }
        if !self.writable && matches!(call, Call::Write | Call::SetLen | Call::Punch) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.shared.enter(call)
    }

    /// Writes `data`, which takes room.
    fn put(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut inode = self.inode.lock();
        let fresh = inode.unallocated(offset, data.len() as u64);
        self.shared.allocate(fresh * BLOCK_BYTES)?;
        inode.write(offset, data);
        Ok(())
    }
}

/// Not `InvalidInput`, as a real disk answers: a caller that is ready for that must not get by unnoticed with a
/// call that no disk takes.
fn check_aligned(buffers: &[io::IoSlice<'_>], offset: u64) -> io::Result<()> {
    let is_aligned = |buffer: &io::IoSlice<'_>| {
        buffer.as_ptr().align_offset(DIRECT_ALIGN_BYTES) == 0
            && buffer.len().is_multiple_of(DIRECT_ALIGN_BYTES)
    };
    if offset.is_multiple_of(DIRECT_ALIGN_BYTES as u64) && buffers.iter().all(is_aligned) {
        return Ok(());
    }
    Err(io::Error::other("a direct read or write that is not aligned"))
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.enter(Call::Read)?;
        if self.direct.load(Ordering::SeqCst) {
            check_aligned(&[io::IoSlice::new(buffer)], offset)?;
        }
        Ok(self.inode.lock().read(buffer, offset))
    }

    fn write_at(&self, buffers: &[io::IoSlice<'_>], offset: u64) -> io::Result<()> {
        let outcome = self.enter(Call::Write);
        if outcome.is_ok() && self.direct.load(Ordering::SeqCst) {
            check_aligned(buffers, offset)?;
        }
        let mut data = Vec::with_capacity(buffers.iter().map(|b| b.len()).sum());
        buffers.iter().for_each(|buffer| data.extend_from_slice(buffer));
        match outcome {
            Ok(()) => self.put(offset, &data),
            Err(error) => {
                if self.shared.epoch.load(Ordering::SeqCst) == self.epoch && self.writable {
                    let part = self.shared.roll().below(data.len() as u64 + 1) as usize;
                    let _ = self.put(offset, &data[..part]);
                }
                Err(error)
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        let outcome = self.enter(Call::Sync);
        if self.shared.epoch.load(Ordering::SeqCst) == self.epoch {
            let mut inode = self.inode.lock();
            match outcome {
                Ok(()) => inode.sync(),
                // The pages are marked clean although an unknown part never reached the disk.
                Err(_) => inode.lose(&mut self.shared.roll()),
            }
        }
        outcome
    }

    /// Direct writes are as little durable before a sync as all others; direct reads see what others see.
    fn set_direct(&self, on: bool) -> io::Result<bool> {
        self.direct.store(on, Ordering::SeqCst);
        Ok(on)
    }

    fn len(&self) -> io::Result<u64> {
        self.enter(Call::Len)?;
        Ok(self.inode.lock().len())
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        self.shared.is_at(&self.inode, self.epoch, path)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.enter(Call::SetLen)?;
        let freed = self.inode.lock().set_len(len);
        self.shared.release(freed * BLOCK_BYTES);
        Ok(())
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        self.enter(Call::Punch)?;
        let freed = self.inode.lock().punch(offset, len);
        self.shared.release(freed * BLOCK_BYTES);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
