//! The segments of a drive: what each of them is, and which records of all of them are dead.
//!
//! Two passes. The first reads footers, and the headers of records where there is none, and learns what is dead.
//! The second, newest segment first, verifies what is live; so a delete record is always read before the segment
//! whose record it names is compared with it.

use std::collections::BTreeSet;

use runtime::disk::File;

use super::kills::Kills;
use super::walk::{self, Step};
use super::window::Window;
use super::{Check, Trouble, torn};
use crate::codec::{
    self, DeadRecord, FooterTables, RecordBody, SEGMENT_HEADER_BYTES, SEGMENT_RECORDS_OFFSET,
    SegmentHeader, TRAILER_BYTES, Trailer, Undecodable,
};
use crate::segments::segment_number;

/// A segment that can be read.
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) path: String,
    pub(super) salt: u64,
    pub(super) footer: Footer,
}

/// What stands at its end.
pub(super) enum Footer {
    /// Trailer and tables verify.
    Whole(Trailer),
    /// The trailer verifies, the tables do not.
    NoTables(Trailer),
    /// It was not sealed, or its trailer is damaged: a start takes both for the same.
    Absent,
}

/// Where the second copy of a segment's header is.
const SECOND_HEADER: usize = SEGMENT_RECORDS_OFFSET as usize / 2;

impl Check<'_> {
    /// Verifies all segments.
    pub(super) fn segments(&mut self) {
        let mut numbers = Vec::new();
        for entry in self.list("segments") {
            match segment_number(&entry.name) {
                Some(number) if !entry.is_dir => numbers.push(number),
                _ => {
                    let path = format!("segments/{}", entry.name);
                    self.problem(Trouble::UnknownName, &path, "this is not of our making");
                }
            }
        }
        self.counts.segments = numbers.len() as u64;
        let present: BTreeSet<u64> = numbers.iter().copied().collect();
        let mut kills = Kills::default();
        let mut found: Vec<Segment> =
            numbers.into_iter().filter_map(|number| self.survey(number, &mut kills)).collect();
        kills.retain(|number| present.contains(&number));
        kills.sort();
        while let Some(segment) = found.pop() {
            match self.open_file(&segment.path) {
                Some(file) => self.verify_segment(&*file, &segment, &mut kills),
                None => drop(kills.take(segment.number)),
            }
        }
    }

    /// A file of the drive, open; a problem when it cannot be opened.
    pub(super) fn open_file(&mut self, path: &str) -> Option<Box<dyn File>> {
        match self.disk.open(&self.dir.join(path), false) {
            Ok(file) => Some(file),
            Err(error) => {
                let detail = format!("it cannot be opened: {error}");
                self.problem(Trouble::ReadFailed, path, detail);
                None
            }
        }
    }

    /// First pass over a segment.
    fn survey(&mut self, number: u64, kills: &mut Kills) -> Option<Segment> {
        let path = format!("segments/{number:016x}.seg");
        let file = self.open_file(&path)?;
        let surveyed = self.survey_file(&*file, number, &path, kills);
        match surveyed {
            Ok(segment) => segment,
            Err(error) => {
                self.problem(Trouble::ReadFailed, &path, format!("it cannot be read: {error}"));
                None
            }
        }
    }

    fn survey_file(
        &mut self,
        file: &dyn File,
        number: u64,
        path: &str,
        kills: &mut Kills,
    ) -> std::io::Result<Option<Segment>> {
        let len = file.len()?;
        let head = file.read_vec(len.min(SEGMENT_RECORDS_OFFSET) as usize, 0, true)?;
        let Some(header) = self.header(&head, len, number, path) else { return Ok(None) };
        let mut segment =
            Segment { number, path: path.to_owned(), salt: header.salt, footer: Footer::Absent };
        let Some(at) = len.checked_sub(TRAILER_BYTES as u64) else { return Ok(Some(segment)) };
        let tail = file.read_vec(TRAILER_BYTES, at, true)?;
        match codec::decode_trailer(&tail, header.salt) {
            Ok(trailer) if trailer.segment == number && trailer.fits(len) => {
                let bytes = table_bytes(file, &trailer)?;
                if let Ok(tables) = codec::decode_tables(&trailer, &bytes) {
                    tables.dead.into_iter().for_each(|dead| kills.add(dead));
                    segment.footer = Footer::Whole(trailer);
                    return Ok(Some(segment));
                }
                let is_torn = torn::tables(&bytes, trailer.tables_offset);
                self.unverified(is_torn, Trouble::Tables, path, "its tables do not verify".into());
                segment.footer = Footer::NoTables(trailer);
            }
            Err(Undecodable::Newer(version)) => {
                self.problem(Trouble::Newer, path, format!("its footer has version {version}"));
                return Ok(None);
            }
            Ok(_) | Err(Undecodable::Damaged) if self.looks_like_trailer(&tail, number) => {
                let is_torn = torn::trailer(&tail, at);
                let detail = "its trailer does not verify".into();
                self.unverified(is_torn, Trouble::Trailer, path, detail);
            }
            Ok(_) | Err(Undecodable::Damaged) => {}
        }
        self.counts.unsealed += u64::from(matches!(segment.footer, Footer::Absent));
        self.survey_records(file, &segment, kills)?;
        Ok(Some(segment))
    }

    /// A part of a footer does not verify.
    pub(super) fn unverified(&mut self, is_torn: bool, what: Trouble, path: &str, detail: String) {
        self.problem(if is_torn { Trouble::Unfinished } else { what }, path, detail);
    }

    /// Both copies of the header; `None` when there is none to believe, or it is of another segment.
    fn header(&mut self, head: &[u8], len: u64, number: u64, path: &str) -> Option<SegmentHeader> {
        let (first, second) = head.split_at(head.len().min(SECOND_HEADER));
        let copies = [first, second].map(codec::decode_segment_header);
        let header = match copies {
            [Err(Undecodable::Newer(version)), _] | [_, Err(Undecodable::Newer(version))] => {
                self.problem(Trouble::Newer, path, format!("it has version {version}"));
                return None;
            }
            [Ok(header), _] | [_, Ok(header)] => header,
            // It was being made: records are written only behind a durable header.
            _ if len <= SEGMENT_RECORDS_OFFSET => {
                self.counts.unsealed += 1;
                return None;
            }
            _ => {
                let detail = "neither copy of its header verifies";
                self.problem(Trouble::SegmentUnreadable, path, detail);
                return None;
            }
        };
        if header.drive != self.drive || header.number != number {
            let detail =
                format!("its header says segment {} of drive {}", header.number, header.drive);
            self.problem(Trouble::SegmentMisplaced, path, detail);
            return None;
        }
        if head.len() as u64 == SEGMENT_RECORDS_OFFSET {
            for (copy, name) in copies.iter().zip(["first", "second"]) {
                if *copy != Ok(header) {
                    let detail = format!("the {name} copy of its header does not verify");
                    self.problem(Trouble::SegmentHeader, path, detail);
                }
            }
            let slack = [first, second].map(|copy| copy.get(SEGMENT_HEADER_BYTES..));
            if slack.iter().flatten().any(|bytes| !is_zero(bytes)) {
                let detail = "bytes behind its header should be zero";
                self.problem(Trouble::Padding, path, detail);
            }
        }
        Some(header)
    }

    /// Whether what does not verify is a trailer all the same: most of what every trailer of this segment begins
    /// with is there. (One of it can stand in records, too.)
    fn looks_like_trailer(&self, tail: &[u8], number: u64) -> bool {
        let signs = [
            tail.starts_with(b"UCsf"),
            tail.get(8..16) == Some(&self.drive.to_bytes()[..]),
            tail.get(16..24) == Some(&number.to_le_bytes()[..]),
        ];
        signs.into_iter().filter(|sign| *sign).count() > 1
    }

    /// Learns from the delete records themselves what is dead.
    fn survey_records(
        &mut self,
        file: &dyn File,
        segment: &Segment,
        kills: &mut Kills,
    ) -> std::io::Result<()> {
        let mut window = Window::new(file)?;
        let end = segment.records_end(window.len());
        let (place, mut at) = ((segment.number, segment.salt), SEGMENT_RECORDS_OFFSET);
        while at < end {
            at = match walk::step(&mut window, place, at, end, self.observer) {
                Step::Record(record, len) => {
                    if let RecordBody::Delete { segment, number, bytes, .. } = record.body {
                        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
                        kills.add(DeadRecord { segment, number, bytes });
                    }
                    at + len
                }
                Step::Gap(next) | Step::Unreadable(next, _) => next,
            };
        }
        Ok(())
    }
}

impl Segment {
    /// Where to stop looking for records.
    pub(super) fn records_end(&self, file_len: u64) -> u64 {
        match &self.footer {
            Footer::Whole(trailer) | Footer::NoTables(trailer) => trailer.records_end,
            Footer::Absent => file_len,
        }
    }
}

/// The tables that a trailer that fits describes; `None` when they do not verify.
pub(super) fn read_tables(
    file: &dyn File,
    trailer: &Trailer,
) -> std::io::Result<Option<FooterTables>> {
    Ok(codec::decode_tables(trailer, &table_bytes(file, trailer)?).ok())
}

fn table_bytes(file: &dyn File, trailer: &Trailer) -> std::io::Result<Vec<u8>> {
    file.read_vec(trailer.tables_len as usize, trailer.tables_offset, true)
}

/// Whether all bytes are zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
