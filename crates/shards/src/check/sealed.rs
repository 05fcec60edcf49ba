//! The second pass over a segment: index against records, and every frame of what is live.

use std::collections::{BTreeMap, HashMap};

use runtime::disk::File;
use types::SessionId;

use super::frames;
use super::kills::{self, Kills};
use super::segments::{Footer, Segment, is_zero, read_tables};
use super::walk::{self, Step};
use super::window::Window;
use super::{Check, FoundCopy, Harm, Trouble, torn};
use crate::codec::{
    self, FooterTables, IndexEntry, PAGE_BYTES, RECORD_HEADER_BYTES, Record, RecordBody,
    SEGMENT_RECORDS_OFFSET, SessionRange, Trailer,
};
use crate::{ShardHeader, ShardId};

/// A segment under way.
struct Pass<'a> {
    segment: &'a Segment,
    window: Window<'a>,
    /// What the footer says; `None` when there is none to believe.
    tables: Option<FooterTables>,
    /// What the index says is live, in the order of the file; `None` when records have to be believed.
    index: Option<Vec<IndexEntry>>,
    /// The next of `index`.
    next: usize,
    deletes: usize,
    /// Hash of the shard and length of records that a delete names, by number.
    dead: HashMap<u32, (u64, u64)>,
}

impl Check<'_> {
    /// Verifies a segment; what newer segments' delete records say of it is in `kills`.
    pub(super) fn verify_segment(&mut self, file: &dyn File, segment: &Segment, kills: &mut Kills) {
        let outcome = self.begin(file, segment, kills).map(|mut pass| {
            self.walk(&mut pass, kills);
            self.compare_deletes(&pass, kills);
            if let Footer::Whole(trailer) = &segment.footer {
                self.slack(&mut pass, trailer);
            }
            self.counts.bytes += pass.window.len();
        });
        if let Err(error) = outcome {
            drop(kills.take(segment.number));
            let detail = format!("it cannot be read: {error}");
            self.problem(Trouble::ReadFailed, &segment.path, detail);
        }
    }

    fn begin<'a>(
        &mut self,
        file: &'a dyn File,
        segment: &'a Segment,
        kills: &Kills,
    ) -> std::io::Result<Pass<'a>> {
        let window = Window::new(file)?;
        let (mut tables, mut index) = (None, None);
        if let Footer::Whole(trailer) = &segment.footer {
            tables = read_tables(file, trailer)?;
            index = self.pages(file, segment, trailer)?;
        }
        if let (Footer::Whole(trailer), Some(tables), Some(entries)) =
            (&segment.footer, &tables, &index)
            && let Some(what) = disagreement(trailer, tables, entries)
        {
            self.problem(Trouble::IndexDisagrees, &segment.path, what);
        }
        if let Some(entries) = &mut index {
            entries.retain(|entry| !kills.is_dead(segment.number, entry.number));
            entries.sort_by_key(|entry| entry.offset);
        }
        Ok(Pass { segment, window, tables, index, next: 0, deletes: 0, dead: HashMap::new() })
    }

    /// All entries of the index, sorted by id; `None` when a page does not verify.
    fn pages(
        &mut self,
        file: &dyn File,
        segment: &Segment,
        trailer: &Trailer,
    ) -> std::io::Result<Option<Vec<IndexEntry>>> {
        let mut entries = Some(Vec::new());
        for page in 0..trailer.pages {
            let at = trailer.pages_offset + u64::from(page) * PAGE_BYTES as u64;
            let bytes = file.read_vec(PAGE_BYTES, at, true)?;
            match codec::decode_page(segment.salt, page, &bytes) {
                Ok(more) => entries.iter_mut().for_each(|entries| entries.extend(&more)),
                Err(_) => {
                    let detail = format!("page {page} of its index does not verify");
                    let is_torn = torn::page(&bytes, at);
                    self.unverified(is_torn, Trouble::IndexPage, &segment.path, detail);
                    entries = None;
                }
            }
        }
        Ok(entries)
    }

    fn walk(&mut self, pass: &mut Pass<'_>, kills: &mut Kills) {
        let end = pass.segment.records_end(pass.window.len());
        let place = (pass.segment.number, pass.segment.salt);
        let mut at = SEGMENT_RECORDS_OFFSET;
        while at < end {
            let known = pass.index.as_ref().and_then(|index| index.get(pass.next)).copied();
            let limit = known.map_or(end, |entry| entry.offset.min(end));
            if let Some(entry) = known.filter(|entry| entry.offset <= at) {
                at = self.indexed(pass, &entry);
                pass.next += 1;
                continue;
            }
            at = match walk::step(&mut pass.window, place, at, limit, self.observer) {
                Step::Record(record, len) => {
                    self.record(pass, &record, len, end, kills);
                    (at + len).min(limit.max(at + 8))
                }
                Step::Gap(next) => next,
                Step::Unreadable(next, error) => {
                    let detail = format!("bytes {at} to {next} cannot be read: {error}");
                    self.problem(Trouble::ReadFailed, &pass.segment.path, detail);
                    next
                }
            };
        }
        // Entries behind the end of the records: nothing of them is there.
        while let Some(entry) = pass.index.as_ref().and_then(|i| i.get(pass.next)).copied() {
            self.indexed(pass, &entry);
            pass.next += 1;
        }
    }

    /// A shard that the index says is live; where the next record begins.
    fn indexed(&mut self, pass: &mut Pass<'_>, entry: &IndexEntry) -> u64 {
        let (number, salt) = (pass.segment.number, pass.segment.salt);
        let body = RecordBody::Shard(entry.header);
        let record = Record { segment: number, offset: entry.offset, number: entry.number, body };
        let expected = codec::encode_record(&record, salt);
        let found = pass.window.get(entry.offset, RECORD_HEADER_BYTES, self.observer);
        if !found.is_ok_and(|found| found[..] == expected) {
            let name = name(&entry.header.id);
            let detail =
                format!("the header of the record of {name} at {} does not verify", entry.offset);
            self.problem(Trouble::RecordHeader, &pass.segment.path, detail);
        }
        self.live(pass, &entry.header, entry.offset, false);
        entry.offset.saturating_add(record.disk_len().unwrap_or(RECORD_HEADER_BYTES as u64))
    }

    /// A record that verifies and that the index, if there is one, does not say is live.
    fn record(
        &mut self,
        pass: &mut Pass<'_>,
        record: &Record,
        len: u64,
        end: u64,
        kills: &mut Kills,
    ) {
        let header = match record.body {
            RecordBody::Delete { id, segment, number, .. } => {
                pass.deletes += 1;
                return kills.name(segment, number, &id);
            }
            RecordBody::Shard(header) => header,
        };
        if kills.is_dead(pass.segment.number, record.number) {
            pass.dead.insert(record.number, (kills::hash(&header.id), len));
            return;
        }
        let was_live =
            pass.tables.as_ref().is_none_or(|tables| is_set(&tables.live, record.number));
        if pass.index.is_none() && was_live {
            let is_unsealed = matches!(pass.segment.footer, Footer::Absent);
            let is_cut = record.offset.saturating_add(len) > end;
            self.live(pass, &header, record.offset, is_unsealed || is_cut);
        }
    }

    /// Verifies a live copy and tells of it. With `or_torn`, one that does not verify is torn.
    fn live(&mut self, pass: &mut Pass<'_>, header: &ShardHeader, offset: u64, or_torn: bool) {
        let frames_offset = offset.saturating_add(RECORD_HEADER_BYTES as u64);
        let mut verdict = frames::verify(&mut pass.window, header, frames_offset, self.observer);
        if or_torn && verdict.harm.is_some() {
            verdict.harm = Some(Harm::Torn);
        }
        if verdict.harm.is_none() {
            self.padding(pass, header, frames_offset);
        }
        self.observer.copy(FoundCopy {
            id: header.id,
            header: Some(*header),
            harm: verdict.harm,
            damaged: verdict.damaged,
            path: &pass.segment.path,
            detail: verdict.detail,
        });
    }

    /// Zeroes up to the next multiple of 8.
    fn padding(&mut self, pass: &mut Pass<'_>, header: &ShardHeader, frames_offset: u64) {
        let stored = header.stored_len();
        let len = (codec::padded(stored) - stored) as usize;
        let found = pass.window.get(frames_offset.saturating_add(stored), len, self.observer);
        if !found.is_ok_and(|bytes| is_zero(&bytes)) {
            let detail = format!("bytes behind {} should be zero", name(&header.id));
            self.problem(Trouble::Padding, &pass.segment.path, detail);
        }
    }

    /// Zeroes between the records and the index.
    fn slack(&mut self, pass: &mut Pass<'_>, trailer: &Trailer) {
        let len = trailer.pages_offset.saturating_sub(trailer.records_end) as usize;
        if len >= PAGE_BYTES {
            let detail = "its index begins elsewhere than behind its records";
            return self.problem(Trouble::IndexDisagrees, &pass.segment.path, detail);
        }
        let found = pass.window.get(trailer.records_end, len, self.observer);
        if !found.is_ok_and(|bytes| is_zero(&bytes)) {
            let detail = "bytes in front of its index should be zero";
            self.problem(Trouble::Padding, &pass.segment.path, detail);
        }
    }

    /// Delete records against what they name, and against what the tables say of them.
    fn compare_deletes(&mut self, pass: &Pass<'_>, kills: &mut Kills) {
        let path = &pass.segment.path;
        let stored = pass.tables.as_ref().map_or(0, |tables| tables.dead.len());
        if pass.deletes < stored {
            let lost = stored - pass.deletes;
            let detail = format!("{lost} of its {stored} delete records do not verify");
            self.problem(Trouble::DeleteUnreadable, path, detail);
        }
        let mut wrong = 0_u64;
        for (number, bytes, meant) in kills.take(pass.segment.number) {
            let Some(&(id, len)) = pass.dead.get(&number) else { continue };
            let is_it = meant.is_none_or(|meant| meant == id);
            let is_long = u64::from(bytes) == len.min(u64::from(u32::MAX));
            wrong += u64::from(!is_it || !is_long);
        }
        if wrong > 0 {
            let detail =
                format!("{wrong} delete records name records of it that are of other shards");
            self.problem(Trouble::DeleteDisagrees, path, detail);
        }
    }
}

/// What of a footer that verifies does not agree with the rest of it.
fn disagreement(
    trailer: &Trailer,
    tables: &FooterTables,
    entries: &[IndexEntry],
) -> Option<&'static str> {
    let ids = || entries.iter().map(|entry| entry.header.id);
    let live: u32 = tables.live.iter().map(|word| word.count_ones()).sum();
    let fences = entries.chunks(codec::PAGE_ENTRIES).filter_map(|page| page.first());
    let bytes = |entry: &IndexEntry| {
        let body = RecordBody::Shard(entry.header);
        Record { segment: 0, offset: 0, number: 0, body }.disk_len().unwrap_or(0)
    };
    let mut filter = vec![0; codec::filter_bytes(entries.len())];
    ids().for_each(|id| codec::filter_add(&mut filter, &id));
    if !entries.is_sorted_by_key(|entry| entry.header.id) {
        Some("the pages of its index are not in order")
    } else if trailer.shards as usize != entries.len()
        || trailer.shard_bytes != entries.iter().map(bytes).sum::<u64>()
    {
        Some("its trailer counts other shards than its index has")
    } else if !fences.map(|entry| entry.header.id).eq(tables.fences.iter().copied())
        || tables.last != ids().next_back()
    {
        Some("its tables name other pages than it has")
    } else if live as usize != entries.len()
        || !entries.iter().all(|entry| is_set(&tables.live, entry.number))
    {
        Some("its table of live records does not fit its index")
    } else if tables.filter != filter {
        Some("its filter was made of other shards than its index has")
    } else if tables.ranges != ranges(ids()) {
        Some("its table of sessions does not fit its index")
    } else {
        None
    }
}

fn ranges(ids: impl Iterator<Item = ShardId>) -> Vec<SessionRange> {
    let mut spans: BTreeMap<SessionId, (u64, u64)> = BTreeMap::new();
    for id in ids {
        let sequence = id.blob.sequence;
        let span = spans.entry(id.blob.session).or_insert((sequence, sequence));
        *span = (span.0.min(sequence), span.1.max(sequence));
    }
    let range = |(session, (first, last))| SessionRange { session, first, last };
    spans.into_iter().map(range).collect()
}

fn is_set(bits: &[u64], number: u32) -> bool {
    bits.get(number as usize / 64).is_some_and(|word| word & (1 << (number % 64)) != 0)
}

/// How a copy is named to people.
pub(super) fn name(id: &ShardId) -> String {
    format!("shard {} of blob {}, copy {}", id.index, id.blob, id.copy)
}
