//! All segments of a drive, and which of them may hold a shard.
//!
//! The index of a sealed segment stays on disk, in its footer; in memory are, for each segment, the first id
//! of every index page, a filter of ten bits a shard, one bit for each record that is dead and the spans of
//! sequence numbers by writer session. A blob's shards are written near each other in time, so the spans
//! alone point at one or two segments.

mod append;
mod recover;
mod reindex;
mod scan;
mod segment;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use types::{BlobId, SessionId};

pub(crate) use append::{Appender, Put, Request, Waiting};
pub(crate) use recover::recover;
pub(crate) use reindex::check;
pub(crate) use scan::split_frames;
pub(crate) use segment::{Segment, seal_bytes};

use crate::cache::{OpenFile, OpenFiles, ReadFailure, Trouble};
use crate::codec::{IndexEntry, SessionRange};
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
}

#[derive(Default)]
struct State {
    /// The one that is appended to; its index is in memory.
    open: Option<Arc<Segment>>,
    rest: BTreeMap<u64, Arc<Segment>>,
    /// For each writer session the spans of the segments in `rest`.
    spans: HashMap<SessionId, Vec<Span>>,
    /// Shards whose write failed, which a restart may find all the same.
    doubtful: HashMap<ShardId, (Arc<Segment>, IndexEntry)>,
}

struct Span {
    first: u64,
    last: u64,
    segment: Arc<Segment>,
}

/// A live shard in a segment.
pub(crate) struct Found {
    pub(crate) segment: Arc<Segment>,
    pub(crate) entry: IndexEntry,
}

impl Segments {
    pub(crate) fn new(drive: Arc<Drive>, cache: Arc<OpenFiles>) -> Self {
        Self { drive, cache, state: RwLock::default() }
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
        let open = state.open.as_ref().filter(|open| open.number() == number);
        open.or_else(|| state.rest.get(&number)).cloned()
    }

    /// Those that are not appended to, oldest first.
    pub(crate) fn closed(&self) -> Vec<Arc<Segment>> {
        self.state.read().rest.values().cloned().collect()
    }

    fn candidates(&self, blob: BlobId) -> Vec<Arc<Segment>> {
        let state = self.state.read();
        let spans = state.spans.get(&blob.session).map(Vec::as_slice).unwrap_or_default();
        let hits = spans.iter().filter(|s| s.first <= blob.sequence && blob.sequence <= s.last);
        state.open.iter().chain(hits.rev().map(|s| &s.segment)).cloned().collect()
    }

    /// The live record of `id`, if a segment has one. `wait`: whether to wait for the device.
    pub(crate) fn find(&self, id: &ShardId, wait: bool) -> Result<Option<Found>, Trouble> {
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

    /// The write of these entries to `segment` failed. They are not there, but their deletes must be recorded.
    pub(crate) fn doubt(&self, segment: &Arc<Segment>, entries: Vec<IndexEntry>) {
        let doubtful = entries.into_iter().map(|e| (e.header.id, (segment.clone(), e)));
        self.state.write().doubtful.extend(doubtful);
    }

    /// The record of `id`, if its write failed.
    pub(crate) fn doubtful(&self, id: &ShardId) -> Option<Found> {
        let state = self.state.read();
        let (segment, entry) = state.doubtful.get(id)?;
        Some(Found { segment: segment.clone(), entry: *entry })
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
        let mut found: BTreeMap<ShardId, Found> = BTreeMap::new();
        let mut segments = self.closed();
        segments.extend(self.state.read().open.clone());
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
