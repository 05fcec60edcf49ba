//! One segment: its index, and which of its records are dead.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use types::{DriveId, SessionId};

use super::Segments;
use super::reindex::{self, Pages};
use crate::ShardId;
use crate::cache::Trouble;
use crate::codec::{
    self, DeadRecord, FooterTables, IndexEntry, PAGE_BYTES, PAGE_ENTRIES, Record, RecordBody,
    SEGMENT_RECORDS_OFFSET, SessionRange, Trailer,
};

/// Where the entries of a segment are.
pub(crate) enum Index {
    /// In its footer; this is what of it stays in memory.
    Footer {
        records_end: u64,
        pages_offset: u64,
        fences: Vec<ShardId>,
        last: Option<ShardId>,
        filter: Vec<u8>,
    },
    /// All in memory: it is still appended to, or its footer is damaged, or it could not be sealed.
    Memory(BTreeMap<ShardId, IndexEntry>),
}

impl Index {
    /// The index of a segment whose footer has these tables.
    pub(crate) fn of_footer(trailer: &Trailer, tables: FooterTables) -> Self {
        let FooterTables { fences, last, filter, .. } = tables;
        let Trailer { records_end, pages_offset, .. } = *trailer;
        Self::Footer { records_end, pages_offset, fences, last, filter }
    }
}

pub(crate) struct Segment {
    number: u64,
    salt: u64,
    index: RwLock<Index>,
    state: Mutex<Liveness>,
    is_left: AtomicBool,
    is_stuck: AtomicBool,
    /// Where the pages of its footer begin or began, if it ever had one; no record is behind that.
    sealed_at: AtomicU64,
}

#[derive(Default)]
struct Liveness {
    /// One bit for each record number: a live shard.
    bits: Vec<u64>,
    /// How many bits are set.
    live: u32,
    /// Bytes of their records.
    bytes: u64,
    /// Segments that have records which delete records in here killed, and how many.
    victims: BTreeMap<u64, u32>,
}

impl Segment {
    /// The segment of a footer with these tables.
    pub(crate) fn sealed(number: u64, salt: u64, trailer: &Trailer, tables: FooterTables) -> Self {
        let live = tables.live.iter().map(|word| word.count_ones()).sum();
        let (bits, bytes) = (tables.live.clone(), trailer.shard_bytes);
        let state = Liveness { bits, live, bytes, victims: BTreeMap::new() };
        let segment = Self::new(number, salt, Index::Memory(BTreeMap::new()), state);
        segment.set_index(Index::of_footer(trailer, tables));
        segment
    }

    /// A segment with its index in memory.
    pub(crate) fn unsealed(number: u64, salt: u64, entries: BTreeMap<ShardId, IndexEntry>) -> Self {
        let mut state = Liveness::default();
        entries.values().for_each(|entry| state.set(entry));
        Self::new(number, salt, Index::Memory(entries), state)
    }

    fn new(number: u64, salt: u64, index: Index, state: Liveness) -> Self {
        let (index, state) = (RwLock::new(index), Mutex::new(state));
        let (is_left, is_stuck) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { number, salt, index, state, is_left, is_stuck, sealed_at: AtomicU64::new(0) }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn salt(&self) -> u64 {
        self.salt
    }

    /// Adds a durable record; only to a segment whose index is in memory.
    pub(crate) fn insert(&self, entry: IndexEntry) {
        if let Index::Memory(entries) = &mut *self.index.write() {
            entries.insert(entry.header.id, entry);
            self.state.lock().set(&entry);
        }
    }

    /// The live entries, sorted by id, if they are all in memory.
    pub(crate) fn entries(&self) -> Vec<IndexEntry> {
        match &*self.index.read() {
            Index::Memory(entries) => {
                let state = self.state.lock();
                entries.values().filter(|entry| state.get(entry.number)).copied().collect()
            }
            Index::Footer { .. } => Vec::new(),
        }
    }

    /// The entries are in the footer from now on.
    pub(crate) fn set_index(&self, index: Index) {
        if let Index::Footer { pages_offset, .. } = &index {
            self.sealed_at.store(*pages_offset, Ordering::SeqCst);
        }
        *self.index.write() = index;
    }

    /// Marks a record of `bytes` dead; whether it was a live shard.
    pub(crate) fn kill(&self, number: u32, bytes: u64) -> bool {
        self.state.lock().clear(number, bytes)
    }

    /// Bytes of live records.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.state.lock().bytes
    }

    /// Delete records in here that are needed: those whose victims' files are there.
    pub(crate) fn needed_deletes(&self, exists: impl Fn(u64) -> bool) -> u32 {
        let state = self.state.lock();
        state.victims.iter().filter(|(n, _)| exists(**n)).map(|(_, count)| count).sum()
    }

    /// All delete records of this segment stand elsewhere, too.
    pub(crate) fn forget_deletes(&self) {
        self.state.lock().victims.clear();
    }

    /// Live records.
    pub(crate) fn live(&self) -> u32 {
        self.state.lock().live
    }

    pub(crate) fn is_live(&self, number: u32) -> bool {
        self.state.lock().get(number)
    }

    /// A delete record in this segment killed a record of segment `number`.
    pub(crate) fn add_victim(&self, number: u64) {
        *self.state.lock().victims.entry(number).or_default() += 1;
    }

    /// Bytes of its records, dead or alive; `None` when its index is in memory.
    pub(crate) fn records_bytes(&self) -> Option<u64> {
        match &*self.index.read() {
            Index::Memory(_) => None,
            Index::Footer { records_end, .. } => {
                Some(records_end.saturating_sub(SEGMENT_RECORDS_OFFSET))
            }
        }
    }

    /// Whether nothing in it is needed: sealed, no live shard, and all that its deletes killed is gone.
    pub(crate) fn is_needless(&self, exists: impl Fn(u64) -> bool) -> bool {
        let is_sealed = matches!(&*self.index.read(), Index::Footer { .. });
        let state = self.state.lock();
        is_sealed
            && state.live == 0
            && state.victims.keys().all(|&n| n == self.number || !exists(n))
    }

    /// Its lowest and highest id; `None` when it has none. Some of the dead count.
    pub(crate) fn bounds(&self) -> Option<(ShardId, ShardId)> {
        match &*self.index.read() {
            Index::Footer { fences, last, .. } => Some((*fences.first()?, (*last)?)),
            Index::Memory(entries) => {
                Some((*entries.first_key_value()?.0, *entries.last_key_value()?.0))
            }
        }
    }

    /// The live entry of `id`.
    pub(crate) fn find(
        &self,
        id: &ShardId,
        all: &Segments,
        wait: bool,
    ) -> Result<Option<IndexEntry>, Trouble> {
        if self.live() == 0 {
            return Ok(None);
        }
        let page = match &*self.index.read() {
            Index::Memory(entries) => {
                return Ok(entries.get(id).filter(|e| self.is_live(e.number)).copied());
            }
            Index::Footer { filter, fences, last, .. } => {
                if !codec::filter_may_hold(filter, id) || Some(*id) > *last {
                    return Ok(None);
                }
                match fences.partition_point(|fence| fence <= id).checked_sub(1) {
                    Some(page) => page,
                    None => return Ok(None),
                }
            }
        };
        let entries = self.page(page, None, all, wait)?.entries;
        if self.pages().is_none() {
            // The page was damaged; the index is in memory now.
            return self.find(id, all, wait);
        }
        let at = entries.binary_search_by_key(id, |entry| entry.header.id);
        let entry = at.ok().and_then(|at| entries.get(at));
        Ok(entry.filter(|entry| self.is_live(entry.number)).copied())
    }

    /// Live entries behind `after` in order, at most `limit`. May wait.
    pub(crate) fn list(
        &self,
        after: Option<&ShardId>,
        limit: usize,
        all: &Segments,
    ) -> Result<Vec<IndexEntry>, Trouble> {
        let (mut found, mut floor) = (Vec::new(), after.copied());
        let mut at = match &*self.index.read() {
            _ if self.live() == 0 => return Ok(found),
            Index::Memory(_) => 0,
            Index::Footer { fences, .. } => {
                after.map_or(0, |after| fences.partition_point(|f| f <= after).saturating_sub(1))
            }
        };
        loop {
            let page = self.page(at, floor.as_ref(), all, true)?;
            for entry in page.entries {
                let behind = floor.is_none_or(|floor| entry.header.id > floor);
                if behind {
                    floor = Some(entry.header.id);
                    found.extend(self.is_live(entry.number).then_some(entry));
                }
            }
            found.truncate(limit);
            if page.is_last || found.len() >= limit {
                return Ok(found);
            }
            at += 1;
        }
    }

    /// The entries of one page. When the page is damaged the whole segment is scanned, and its index is in
    /// memory from then on; an index in memory is one page of what is behind `floor`.
    fn page(
        &self,
        page: usize,
        floor: Option<&ShardId>,
        all: &Segments,
        wait: bool,
    ) -> Result<Page, Trouble> {
        let (offset, is_last) = match &*self.index.read() {
            Index::Memory(entries) => return Ok(Page::of(entries, floor)),
            Index::Footer { fences, .. } if page >= fences.len() => {
                return Ok(Page { entries: Vec::new(), is_last: true });
            }
            Index::Footer { pages_offset, fences, .. } => {
                (pages_offset + (page * PAGE_BYTES) as u64, page + 1 == fences.len())
            }
        };
        let bytes = match all.bytes(self, offset, PAGE_BYTES, wait) {
            // The records may be readable where the page is not.
            Err(Trouble::Shard(_)) => None,
            bytes => bytes?,
        };
        let decoded =
            bytes.and_then(|bytes| codec::decode_page(self.salt, page as u32, &bytes).ok());
        if let Some(entries) = decoded {
            return Ok(Page { entries, is_last });
        }
        if !wait {
            return Err(Trouble::WouldBlock);
        }
        // Another may have done it meanwhile.
        if self.pages().is_some() {
            reindex::rescan(all, self)?;
        }
        match &*self.index.read() {
            Index::Memory(entries) => Ok(Page::of(entries, floor)),
            Index::Footer { .. } => Err(Trouble::Missing),
        }
    }

    /// Where the pages of the index are; `None` when it is in memory.
    pub(crate) fn pages(&self) -> Option<Pages> {
        match &*self.index.read() {
            Index::Memory(_) => None,
            Index::Footer { pages_offset, fences, .. } => Some((*pages_offset, fences.len())),
        }
    }

    /// Keeps the index in memory from now on: those of `entries` that are live. How many live shards are not
    /// among them; they count as dead.
    pub(super) fn set_entries(&self, entries: BTreeMap<ShardId, IndexEntry>) -> u32 {
        let mut index = self.index.write();
        let mut state = self.state.lock();
        let mut live = Liveness::default();
        entries.values().filter(|e| state.get(e.number)).for_each(|e| live.set(e));
        let lost = state.live - live.live;
        (state.bits, state.live, state.bytes) = (live.bits, live.live, live.bytes);
        *index = Index::Memory(entries);
        lost
    }

    /// A write to its file has failed: it is not written to again.
    pub(crate) fn leave(&self) {
        self.is_left.store(true, Ordering::SeqCst);
    }

    /// Where its footer begins or began; 0 when it never had one.
    pub(super) fn sealed_at(&self) -> u64 {
        self.sealed_at.load(Ordering::SeqCst)
    }

    /// Compaction could not copy all that is live in it, and need not try again.
    pub(crate) fn set_stuck(&self) {
        self.is_stuck.store(true, Ordering::SeqCst);
    }

    /// See [`Segment::set_stuck`].
    pub(crate) fn is_stuck(&self) -> bool {
        self.is_stuck.load(Ordering::SeqCst)
    }

    /// See [`Segment::leave`].
    pub(crate) fn is_left(&self) -> bool {
        self.is_left.load(Ordering::SeqCst)
    }
}

/// Entries of an index, sorted by id.
struct Page {
    entries: Vec<IndexEntry>,
    /// Whether no other page has higher ids.
    is_last: bool,
}

impl Page {
    /// As many as a page on disk has, behind `floor`.
    fn of(entries: &BTreeMap<ShardId, IndexEntry>, floor: Option<&ShardId>) -> Self {
        let from = floor.map_or(Bound::Unbounded, |floor| Bound::Excluded(*floor));
        let mut rest = entries.range((from, Bound::Unbounded)).map(|(_, entry)| *entry);
        let entries: Vec<_> = rest.by_ref().take(PAGE_ENTRIES).collect();
        Self { is_last: rest.next().is_none(), entries }
    }
}

impl Liveness {
    fn get(&self, number: u32) -> bool {
        self.bits.get(number as usize / 64).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    fn set(&mut self, entry: &IndexEntry) {
        let number = entry.number;
        let at = number as usize / 64;
        if self.bits.len() <= at {
            self.bits.resize(at + 1, 0);
        }
        if let Some(word) = self.bits.get_mut(at)
            && *word & (1 << (number % 64)) == 0
        {
            *word |= 1 << (number % 64);
            self.live += 1;
            self.bytes += record_bytes(entry);
        }
    }

    /// Whether it was set.
    fn clear(&mut self, number: u32, bytes: u64) -> bool {
        let was_set = self.get(number);
        if let Some(word) = self.bits.get_mut(number as usize / 64) {
            *word &= !(1 << (number % 64));
        }
        self.live -= u32::from(was_set);
        self.bytes = self.bytes.saturating_sub(if was_set { bytes } else { 0 });
        was_set
    }
}

/// The bytes that seal a segment whose records end at `end`: padding, pages of what is live, tables and trailer.
/// Also the index to use from then on, and what blobs it holds.
pub(crate) fn seal_bytes(
    drive: DriveId,
    segment: &Segment,
    end: u64,
    dead: &[DeadRecord],
) -> (Vec<u8>, Index, Vec<SessionRange>) {
    let entries = segment.entries();
    // Of the same moment as the entries: others may be deleted meanwhile.
    let mut live = Liveness::default();
    entries.iter().for_each(|entry| live.set(entry));
    live.bits.resize(segment.state.lock().bits.len().max(live.bits.len()), 0);
    let pages_offset = end.next_multiple_of(PAGE_BYTES as u64);
    let mut bytes = vec![0; (pages_offset - end) as usize];
    let mut tables = FooterTables {
        fences: Vec::new(),
        last: entries.last().map(|entry| entry.header.id),
        ranges: ranges(entries.iter().map(|entry| &entry.header.id)),
        dead: dead.to_vec(),
        live: live.bits,
        filter: vec![0; codec::filter_bytes(entries.len())],
    };
    for (page, chunk) in entries.chunks(PAGE_ENTRIES).enumerate() {
        bytes.extend_from_slice(&codec::encode_page(segment.salt, page as u32, chunk));
        tables.fences.extend(chunk.first().map(|entry| entry.header.id));
    }
    for entry in &entries {
        codec::filter_add(&mut tables.filter, &entry.header.id);
    }
    let encoded = codec::encode_tables(&tables);
    let trailer = Trailer {
        drive,
        segment: segment.number,
        records_end: end,
        pages_offset,
        pages: tables.fences.len() as u32,
        shards: entries.len() as u32,
        shard_bytes: entries.iter().map(record_bytes).sum(),
        ranges: tables.ranges.len() as u32,
        dead: tables.dead.len() as u32,
        live_words: tables.live.len() as u32,
        filter_bytes: tables.filter.len() as u32,
        tables_offset: pages_offset + (tables.fences.len() * PAGE_BYTES) as u64,
        tables_len: encoded.len() as u64,
        tables_checksum: twox_hash::XxHash3_64::oneshot(&encoded),
    };
    bytes.extend_from_slice(&encoded);
    bytes.extend_from_slice(&codec::encode_trailer(&trailer, segment.salt));
    let ranges = tables.ranges.clone();
    (bytes, Index::of_footer(&trailer, tables), ranges)
}

/// Bytes that the record of `entry` takes in its segment.
pub(crate) fn record_bytes(entry: &IndexEntry) -> u64 {
    let body = RecordBody::Shard(entry.header);
    Record { segment: 0, offset: 0, number: 0, body }.disk_len().unwrap_or(0)
}

/// The span of each session, sorted by session.
pub(crate) fn ranges<'a>(ids: impl Iterator<Item = &'a ShardId>) -> Vec<SessionRange> {
    let mut spans: BTreeMap<SessionId, (u64, u64)> = BTreeMap::new();
    for id in ids {
        let sequence = id.blob.sequence;
        let span = spans.entry(id.blob.session).or_insert((sequence, sequence));
        *span = (span.0.min(sequence), span.1.max(sequence));
    }
    let range = |(session, (first, last))| SessionRange { session, first, last };
    spans.into_iter().map(range).collect()
}
