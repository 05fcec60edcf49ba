//! One segment: its index, and which of its records are dead.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::{Mutex, RwLock};
use types::{DriveId, SessionId};

use super::Segments;
use super::scan;
use crate::cache::Trouble;
use crate::codec::{
    self, DeadRecord, FooterTables, IndexEntry, PAGE_BYTES, PAGE_ENTRIES, Record, RecordBody,
    SessionRange, Trailer,
};
use crate::{ShardHeader, ShardId};

/// Where the entries of a segment are.
pub(crate) enum Index {
    /// In its footer; this is what of it stays in memory.
    Footer { pages_offset: u64, fences: Vec<ShardId>, last: Option<ShardId>, filter: Vec<u8> },
    /// All in memory: it is still appended to, or its footer is damaged, or it could not be sealed.
    Memory(BTreeMap<ShardId, IndexEntry>),
}

impl Index {
    /// The index of a segment whose footer has these tables.
    pub(crate) fn of_footer(trailer: &Trailer, tables: FooterTables) -> Self {
        let FooterTables { fences, last, filter, .. } = tables;
        Self::Footer { pages_offset: trailer.pages_offset, fences, last, filter }
    }
}

pub(crate) struct Segment {
    number: u64,
    salt: u64,
    index: RwLock<Index>,
    state: Mutex<Liveness>,
}

#[derive(Default)]
struct Liveness {
    /// One bit for each record number: a live shard.
    bits: Vec<u64>,
    /// How many bits are set.
    live: u32,
    /// Segments that have records which delete records in here killed.
    victims: BTreeSet<u64>,
}

impl Segment {
    /// The segment of a footer with these tables.
    pub(crate) fn sealed(number: u64, salt: u64, trailer: &Trailer, tables: FooterTables) -> Self {
        let live = tables.live.iter().map(|word| word.count_ones()).sum();
        let state = Liveness { bits: tables.live.clone(), live, victims: BTreeSet::new() };
        let index = RwLock::new(Index::of_footer(trailer, tables));
        Self { number, salt, index, state: Mutex::new(state) }
    }

    /// A segment with its index in memory.
    pub(crate) fn unsealed(number: u64, salt: u64, entries: BTreeMap<ShardId, IndexEntry>) -> Self {
        let mut state = Liveness::default();
        entries.values().for_each(|entry| state.set(entry.number));
        let index = RwLock::new(Index::Memory(entries));
        Self { number, salt, index, state: Mutex::new(state) }
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
            self.state.lock().set(entry.number);
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
        *self.index.write() = index;
    }

    /// Marks a record dead; whether it was a live shard.
    pub(crate) fn kill(&self, number: u32) -> bool {
        self.state.lock().clear(number)
    }

    /// Live records.
    pub(crate) fn live(&self) -> u32 {
        self.state.lock().live
    }

    fn is_live(&self, number: u32) -> bool {
        self.state.lock().get(number)
    }

    /// A delete record in this segment killed a record of segment `number`.
    pub(crate) fn add_victim(&self, number: u64) {
        self.state.lock().victims.insert(number);
    }

    /// Whether nothing in it is needed: sealed, no live shard, and all that its deletes killed is gone.
    pub(crate) fn is_needless(&self, exists: impl Fn(u64) -> bool) -> bool {
        let is_sealed = matches!(&*self.index.read(), Index::Footer { .. });
        let state = self.state.lock();
        is_sealed
            && state.live == 0
            && state.victims.iter().all(|&n| n == self.number || !exists(n))
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
        let entries = self.page(page, all, wait)?.entries;
        let at = entries.binary_search_by_key(id, |entry| entry.header.id);
        let entry = at.ok().and_then(|at| entries.get(at));
        Ok(entry.filter(|entry| self.is_live(entry.number)).copied())
    }

    /// Live headers behind `after` in order, at most `limit`. May wait.
    pub(crate) fn list(
        &self,
        after: Option<&ShardId>,
        limit: usize,
        all: &Segments,
    ) -> Result<Vec<ShardHeader>, Trouble> {
        if self.live() == 0 {
            return Ok(Vec::new());
        }
        let mut found: Vec<ShardHeader> = Vec::new();
        let mut at = match &*self.index.read() {
            Index::Memory(_) => 0,
            Index::Footer { fences, .. } => {
                after.map_or(0, |after| fences.partition_point(|f| f <= after).saturating_sub(1))
            }
        };
        loop {
            let page = self.page(at, all, true)?;
            for entry in &page.entries {
                let floor = found.last().map(|header| &header.id).or(after);
                let behind = floor.is_none_or(|floor| entry.header.id > *floor);
                if behind && found.len() < limit && self.is_live(entry.number) {
                    found.push(entry.header);
                }
            }
            if page.is_last || found.len() >= limit {
                return Ok(found);
            }
            at += 1;
        }
    }

    /// The entries of one page. When the page is damaged the whole segment is scanned, and its index is in
    /// memory from then on; an index in memory is one page.
    fn page(&self, page: usize, all: &Segments, wait: bool) -> Result<Page, Trouble> {
        let (offset, is_last) = match &*self.index.read() {
            Index::Memory(entries) => return Ok(Page::of(entries)),
            Index::Footer { fences, .. } if page >= fences.len() => {
                return Ok(Page { entries: Vec::new(), is_last: true });
            }
            Index::Footer { pages_offset, fences, .. } => {
                (pages_offset + (page * PAGE_BYTES) as u64, page + 1 == fences.len())
            }
        };
        let decoded = all
            .bytes(self, offset, PAGE_BYTES, wait)?
            .and_then(|bytes| codec::decode_page(self.salt, page as u32, &bytes).ok());
        match decoded {
            Some(entries) => Ok(Page { entries, is_last }),
            None if wait => self.rescan(all),
            None => Err(Trouble::WouldBlock),
        }
    }

    /// Reads all records' headers, the last resort.
    fn rescan(&self, all: &Segments) -> Result<Page, Trouble> {
        tracing::warn!(drive = %all.drive.id, segment = self.number, "index page damaged, scanning");
        let file = all.file(self, true)?;
        let scan = scan::scan(&*file.file, self.number, self.salt, scan::Trust::Headers)
            .map_err(|error| all.drive.read_failed(&file.path, &error))?;
        let entries = scan.entries();
        let page = Page::of(&entries);
        self.set_index(Index::Memory(entries));
        Ok(page)
    }
}

/// Entries of an index, sorted by id.
struct Page {
    entries: Vec<IndexEntry>,
    /// Whether no other page has higher ids.
    is_last: bool,
}

impl Page {
    fn of(entries: &BTreeMap<ShardId, IndexEntry>) -> Self {
        Self { entries: entries.values().copied().collect(), is_last: true }
    }
}

impl Liveness {
    fn get(&self, number: u32) -> bool {
        self.bits.get(number as usize / 64).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    fn set(&mut self, number: u32) {
        let at = number as usize / 64;
        if self.bits.len() <= at {
            self.bits.resize(at + 1, 0);
        }
        if let Some(word) = self.bits.get_mut(at) {
            self.live += u32::from(*word & (1 << (number % 64)) == 0);
            *word |= 1 << (number % 64);
        }
    }

    /// Whether it was set.
    fn clear(&mut self, number: u32) -> bool {
        let was_set = self.get(number);
        if let Some(word) = self.bits.get_mut(number as usize / 64) {
            *word &= !(1 << (number % 64));
        }
        self.live -= u32::from(was_set);
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
    let pages_offset = end.next_multiple_of(PAGE_BYTES as u64);
    let mut bytes = vec![0; (pages_offset - end) as usize];
    let mut tables = FooterTables {
        fences: Vec::new(),
        last: entries.last().map(|entry| entry.header.id),
        ranges: ranges(entries.iter().map(|entry| &entry.header.id)),
        dead: dead.to_vec(),
        live: segment.state.lock().bits.clone(),
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
