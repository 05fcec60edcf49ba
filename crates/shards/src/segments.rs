//! All segments of a drive, and which of them may hold a shard.
//!
//! The index of a sealed segment stays on disk, in its footer; in memory are, for each segment, the first id
//! of every index page, a filter of ten bits a shard, one bit for each record that is dead and the spans of
//! sequence numbers by writer session. A blob's shards are written near each other in time, so the spans
//! alone point at one or two segments.

mod append;
mod group;
mod recover;
mod reindex;
mod scan;
mod segment;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use types::{BlobId, SessionId};

pub(crate) use append::{Appender, Move, Put, Request, Waiting, create, is_full, seal};
pub(crate) use group::{Group, Tail};
pub(crate) use recover::recover;
pub(crate) use reindex::check;
pub(crate) use scan::{Trust, scan, split_frames};
pub(crate) use segment::{Segment, ranges, record_bytes, seal_bytes};

use crate::cache::{OpenFile, OpenFiles, ReadFailure, Trouble};
use crate::codec::{DeadRecord, IndexEntry, SessionRange};
use crate::drive::Drive;
use crate::{ShardError, ShardId};

/// Where the segments of the drive at `dir` are.
pub(crate) fn segments_dir(dir: &Path) -> PathBuf {
    dir.join("segments")
}

/// The file of segment `number`.
pub(crate) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    segments_dir(dir).join(format!("{number:016x}.seg"))
}

/// The number in a segment's name.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let lower = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if digits.len() == 16 && lower { u64::from_str_radix(digits, 16).ok() } else { None }
}

pub(crate) struct Segments {
    drive: Arc<Drive>,
    cache: Arc<OpenFiles>,
    state: RwLock<State>,
    /// The number of the next segment. Never one that was used before, as old deletes may name it.
    next: AtomicU64,
    /// Counts times when shards were moved from one segment to another.
    moves: AtomicU64,
}

#[derive(Default)]
struct State {
    /// The one that is appended to; its index is in memory.
    open: Option<Arc<Segment>>,
    rest: BTreeMap<u64, Arc<Segment>>,
    /// For each writer session the spans of the segments in `rest`.
    spans: HashMap<SessionId, Vec<Span>>,
    /// The one that compaction writes; its index is in memory.
    target: Option<Arc<Segment>>,
    /// Records whose write failed or is under way, and which a restart may find all the same.
    doubtful: HashMap<ShardId, Vec<Found>>,
}

struct Span {
    first: u64,
    last: u64,
    segment: Arc<Segment>,
}

/// A shard in a segment.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) segment: Arc<Segment>,
    pub(crate) entry: IndexEntry,
}

impl Found {
    /// What a delete record says of it.
    pub(crate) fn dead(&self) -> DeadRecord {
        DeadRecord {
            segment: self.segment.number(),
            number: self.entry.number,
            bytes: u32::try_from(record_bytes(&self.entry)).unwrap_or(u32::MAX),
        }
    }
}

impl Segments {
    pub(crate) fn new(drive: Arc<Drive>, cache: Arc<OpenFiles>) -> Self {
        let (next, moves) = (AtomicU64::new(1), AtomicU64::new(0));
        Self { drive, cache, state: RwLock::default(), next, moves }
    }

    /// Segments up to this number are or were there.
    pub(crate) fn used_number(&self, number: u64) {
        self.next.fetch_max(number.saturating_add(1), Ordering::SeqCst);
    }

    /// A number that no segment has had.
    pub(crate) fn next_number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::SeqCst)
    }

    /// The segment that compaction writes from now on.
    pub(crate) fn set_target(&self, segment: Arc<Segment>) {
        self.state.write().target = Some(segment);
    }

    /// The segment that is appended to from now on.
    pub(crate) fn set_open(&self, segment: Arc<Segment>) {
        self.state.write().open = Some(segment);
    }

    /// `segment`, open or new, is not appended to any more; `ranges` says what it holds.
    pub(crate) fn add_closed(&self, segment: Arc<Segment>, ranges: &[SessionRange]) {
        let mut state = self.state.write();
        for range in ranges {
            let span = Span { first: range.first, last: range.last, segment: segment.clone() };
            state.spans.entry(range.session).or_default().push(span);
        }
        if state.open.as_ref().is_some_and(|open| open.number() == segment.number()) {
            state.open = None;
        }
        if state.target.as_ref().is_some_and(|target| target.number() == segment.number()) {
            state.target = None;
        }
        state.rest.insert(segment.number(), segment);
    }

    pub(crate) fn remove(&self, number: u64) {
        let mut state = self.state.write();
        state.rest.remove(&number);
        state.spans.retain(|_, spans| {
            spans.retain(|span| span.segment.number() != number);
            !spans.is_empty()
        });
    }

    pub(crate) fn get(&self, number: u64) -> Option<Arc<Segment>> {
        let state = self.state.read();
        let mut written = state.open.iter().chain(&state.target);
        let written = written.find(|segment| segment.number() == number);
        written.or_else(|| state.rest.get(&number)).cloned()
    }

    /// Those that are not appended to, oldest first.
    pub(crate) fn closed(&self) -> Vec<Arc<Segment>> {
        self.state.read().rest.values().cloned().collect()
    }

    fn candidates(&self, blob: BlobId) -> Vec<Arc<Segment>> {
        let state = self.state.read();
        let spans = state.spans.get(&blob.session).map(Vec::as_slice).unwrap_or_default();
        let hits = spans.iter().filter(|s| s.first <= blob.sequence && blob.sequence <= s.last);
        let written = state.open.iter().chain(&state.target);
        written.chain(hits.rev().map(|s| &s.segment)).cloned().collect()
    }

    /// The live record of `id`, if a segment has one. `wait`: whether to wait for the device.
    pub(crate) fn find(&self, id: &ShardId, wait: bool) -> Result<Option<Found>, Trouble> {
        loop {
            let moves = self.moves.load(Ordering::SeqCst);
            let found = self.find_once(id, wait)?;
            // It may have gone from a segment not looked at yet to one that was.
            if found.is_some() || self.moves.load(Ordering::SeqCst) == moves {
                return Ok(found);
            }
        }
    }

    fn find_once(&self, id: &ShardId, wait: bool) -> Result<Option<Found>, Trouble> {
        let mut is_missing = false;
        for segment in self.candidates(id.blob) {
            match segment.find(id, self, wait) {
                Ok(Some(entry)) => return Ok(Some(Found { segment, entry })),
                Ok(None) | Err(Trouble::Gone) => {}
                Err(Trouble::Missing) => is_missing = true,
                Err(trouble) => return Err(trouble),
            }
        }
        if is_missing { Err(Trouble::Missing) } else { Ok(None) }
    }

    /// All records of `id`: the live ones first (a crash in the middle of a compaction leaves two), then those of
    /// which a restart would have to say whether they are there. May wait.
    pub(crate) fn find_all(&self, id: &ShardId) -> Result<Vec<Found>, ShardError> {
        let mut found = Vec::new();
        for segment in self.candidates(id.blob) {
            match segment.find(id, self, true) {
                Ok(entry) => found.extend(entry.map(|entry| Found { segment, entry })),
                // What was in a file that is gone is gone.
                Err(Trouble::Gone | Trouble::Missing) => {}
                Err(trouble) => return Err(trouble.into_error(id)),
            }
        }
        found.extend(self.state.read().doubtful.get(id).into_iter().flatten().cloned());
        Ok(found)
    }

    /// Whether a sealed segment has a live record of `id`. May wait.
    pub(crate) fn is_sealed(&self, id: &ShardId) -> bool {
        let sealed = self.candidates(id.blob).into_iter().filter(|one| one.pages().is_some());
        sealed.into_iter().any(|segment| matches!(segment.find(id, self, true), Ok(Some(_))))
    }

    /// These entries of `segment` are being written, or their write failed. They are not there, but their deletes
    /// must be recorded.
    pub(crate) fn doubt(&self, segment: &Arc<Segment>, entries: Vec<IndexEntry>) {
        let mut state = self.state.write();
        for entry in entries {
            let found = Found { segment: segment.clone(), entry };
            state.doubtful.entry(entry.header.id).or_default().push(found);
        }
    }

    /// Nothing of `id` is in doubt any more: the deletes of all its records are durable.
    pub(crate) fn settled(&self, id: &ShardId) {
        self.state.write().doubtful.remove(id);
    }

    /// The copies of these in the target are live from now on, and not in doubt.
    pub(crate) fn moved<'a>(&self, ids: impl Iterator<Item = &'a ShardId>) {
        let mut state = self.state.write();
        let Some(target) = state.target.as_ref().map(|target| target.number()) else { return };
        for id in ids {
            if let Some(found) = state.doubtful.get_mut(id) {
                found.retain(|found| found.segment.number() != target);
                if found.is_empty() {
                    state.doubtful.remove(id);
                }
            }
        }
        drop(state);
        self.moves.fetch_add(1, Ordering::SeqCst);
    }

    /// The segment's file, open for reading.
    pub(crate) fn file(&self, segment: &Segment, wait: bool) -> Result<Arc<OpenFile>, Trouble> {
        let key = crate::cache::Key::Segment(segment.number());
        self.cache.get_or_open(key, || {
            if !wait {
                return Err(Trouble::WouldBlock);
            }
            let path = segment_path(&self.drive.dir, segment.number());
            match self.drive.disk.open(&path, false) {
                Ok(file) => Ok(OpenFile { file, path, header: None }),
                Err(_) if segment.live() == 0 => Err(Trouble::Gone),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Trouble::Missing),
                Err(error) => Err(self.drive.read_failed(&path, 0, &error).into()),
            }
        })
    }

    /// `len` bytes at `offset` of the segment; `None` when it is shorter.
    fn bytes(
        &self,
        segment: &Segment,
        offset: u64,
        len: usize,
        wait: bool,
    ) -> Result<Option<Vec<u8>>, Trouble> {
        let file = self.file(segment, wait)?;
        match file.file.read_vec(len, offset, wait).map_err(ReadFailure::from) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ReadFailure::WouldBlock) => Err(Trouble::WouldBlock),
            Err(ReadFailure::Short) => Ok(None),
            Err(ReadFailure::Failed(error)) => {
                Err(self.drive.read_failed(&file.path, offset, &error).into())
            }
        }
    }

    /// The `limit` lowest live shards behind `after`. Those of a segment whose index cannot be read are left out.
    /// May wait.
    pub(crate) fn list(
        &self,
        after: Option<&ShardId>,
        limit: usize,
    ) -> Result<BTreeMap<ShardId, Found>, ShardError> {
        loop {
            let moves = self.moves.load(Ordering::SeqCst);
            let found = self.list_once(after, limit)?;
            if self.moves.load(Ordering::SeqCst) == moves {
                return Ok(found);
            }
        }
    }

    fn list_once(
        &self,
        after: Option<&ShardId>,
        limit: usize,
    ) -> Result<BTreeMap<ShardId, Found>, ShardError> {
        let mut found: BTreeMap<ShardId, Found> = BTreeMap::new();
        let mut segments = self.closed();
        {
            let state = self.state.read();
            segments.extend(state.open.iter().chain(&state.target).cloned());
        }
        let mut spans: Vec<(ShardId, Arc<Segment>)> = segments
            .into_iter()
            .filter_map(|segment| {
                let (first, last) = segment.bounds()?;
                (after.is_none_or(|after| last > *after)).then_some((first, segment))
            })
            .collect();
        spans.sort_by_key(|(first, _)| *first);
        for (first, segment) in spans {
            let bound = if found.len() < limit { None } else { found.last_key_value() };
            if bound.is_some_and(|(bound, _)| first > *bound) {
                break;
            }
            let listed = match segment.list(after, limit, self) {
                Ok(listed) => listed,
                Err(Trouble::Shard(error)) => return Err(error),
                Err(Trouble::Missing) => {
                    let segment = segment.number();
                    tracing::error!(drive = %self.drive.id, segment, "the file of this segment is gone");
                    continue;
                }
                // It was allowed to wait.
                Err(Trouble::Gone | Trouble::WouldBlock) => continue,
            };
            found.extend(listed.into_iter().map(|entry| {
                let segment = segment.clone();
                (entry.header.id, Found { segment, entry })
            }));
            while found.len() > limit {
                found.pop_last();
            }
        }
        Ok(found)
    }
}
