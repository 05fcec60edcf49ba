//! A look at the library's journals before the library opens them.
//!
//! The library, on its own, (1) refuses to open a store whose last batch was torn by a power cut so that
//! its checksum is wrong, and (2) silently cuts a journal off at the first entry that it cannot parse,
//! even when whole, acknowledged batches stand behind it. So we read the journals first. Every batch is
//! synced before the next one begins, so only the last one can be torn: it is cut off. A whole batch
//! behind a broken one is damage, and the store is not opened.
//!
//! What was read is also written back in place and synced: a failed sync may have left pages that read
//! well from the cache and are not on the disk, and everything served after this start rests on them.
//!
//! Layout (fjall 3, little-endian): a batch is `01`, item count u32, seqno u64; then items: `02`,
//! type u8, compression u8, keyspace u64, key length u16, value length u32, stored length u32, key, stored
//! bytes; then `03`, xxh3-64 of all items' bytes, `46 4a 4c 03`. Unwritten space is zero.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use runtime::disk::{Disk, File};
use twox_hash::XxHash3_64;

use super::record::damaged;
use crate::KvError;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const MAGIC: &[u8] = b"FJL\x03";
const START_LEN: usize = 1 + 4 + 8;
const ITEM_HEAD_LEN: usize = 1 + 1 + 1 + 8 + 2 + 4 + 4;
const END_LEN: usize = 1 + 8 + 4;
/// No batch that we write comes near this.
const BATCH_MAX_BYTES: usize = 64 << 20;
const CHUNK_BYTES: usize = 1 << 20;
const BLANK: [u8; 4096] = [0; 4096];

/// The library's marker file; its content is checked by the library.
const VERSION_FILE: &str = "version";
/// Where the library keeps a directory for each keyspace.
pub(super) const KEYSPACES_DIR: &str = "keyspaces";

/// Whether all of it is zero; most of a journal is.
fn is_blank(bytes: &[u8]) -> bool {
    bytes.chunks(BLANK.len()).all(|chunk| BLANK.starts_with(chunk))
}

#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    /// A whole batch of this many bytes.
    Batch { len: usize, seqno: u64 },
    /// What is here may be the beginning of one.
    More,
    /// No batch begins here.
    Bad,
}

fn parse_batch(bytes: &[u8]) -> Parsed {
    let Some((head, mut rest)) = bytes.split_first_chunk::<START_LEN>() else {
        return if bytes.first().is_none_or(|tag| *tag == START) {
            Parsed::More
        } else {
            Parsed::Bad
        };
    };
    let [START, c0, c1, c2, c3, seqno @ ..] = *head else { return Parsed::Bad };
    let (mut items, seqno) = (u32::from_le_bytes([c0, c1, c2, c3]), u64::from_le_bytes(seqno));
    let body = rest;
    loop {
        let len = match rest.first() {
            None => return Parsed::More,
            Some(&END) => break,
            Some(&ITEM) => {
                let Some(head) = rest.first_chunk::<ITEM_HEAD_LEN>() else { return Parsed::More };
                let key = usize::from(u16::from_le_bytes([head[11], head[12]]));
                let stored = u32::from_le_bytes([head[17], head[18], head[19], head[20]]) as usize;
                ITEM_HEAD_LEN + key + stored
            }
            Some(&CLEAR) => 1 + 8,
            Some(_) => return Parsed::Bad,
        };
        let done = body.len() - rest.len();
        if items == 0 || done + len > BATCH_MAX_BYTES {
            return Parsed::Bad;
        }
        items -= 1;
        match rest.get(len..) {
            Some(tail) => rest = tail,
            None => return Parsed::More,
        }
    }
    let Some((end, _)) = rest.split_first_chunk::<END_LEN>() else { return Parsed::More };
    let [_, h0, h1, h2, h3, h4, h5, h6, h7, magic @ ..] = end;
    let done = body.len() - rest.len();
    let checksum = u64::from_le_bytes([*h0, *h1, *h2, *h3, *h4, *h5, *h6, *h7]);
    let hashed = body.get(..done).map(XxHash3_64::oneshot);
    if items != 0 || magic != MAGIC || hashed != Some(checksum) {
        return Parsed::Bad;
    }
    Parsed::Batch { len: START_LEN + done + END_LEN, seqno }
}

/// A file read from front to back through a buffer.
struct Source<'a> {
    file: &'a dyn File,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are done with.
    done: usize,
    /// Where in the file what is left of the buffer begins.
    at: u64,
    /// Whether the buffer reaches the end of the file.
    ended: bool,
}

impl Source<'_> {
    /// Reads a chunk more, and writes it back as it is.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.done);
        self.done = 0;
        let begin = self.buffer.len();
        let offset = self.at + begin as u64;
        self.buffer.resize(begin + CHUNK_BYTES, 0);
        let mut len = 0;
        while len < CHUNK_BYTES {
            let chunk = self.buffer.get_mut(begin + len..).unwrap_or_default();
            match self.file.read_at(chunk, offset + len as u64) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.buffer.truncate(begin + len);
        self.ended = len < CHUNK_BYTES;
        let chunk = self.buffer.get(begin..).unwrap_or_default();
        if !is_blank(chunk) {
            self.file.write_at(&[IoSlice::new(chunk)], offset)?;
        }
        Ok(())
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.done..).unwrap_or_default()
    }

    fn skip(&mut self, len: usize) {
        self.done += len;
        self.at += len as u64;
    }

    /// The batch here, if there is a whole one.
    fn batch(&mut self) -> io::Result<Option<(usize, u64)>> {
        loop {
            match parse_batch(self.rest()) {
                Parsed::Batch { len, seqno } => return Ok(Some((len, seqno))),
                Parsed::Bad => return Ok(None),
                Parsed::More if self.ended => return Ok(None),
                Parsed::More => self.fill()?,
            }
        }
    }

    /// Skips to the next byte that may begin a batch; whether all skipped was zero, and `None` at the end.
    fn next_start(&mut self) -> io::Result<(bool, Option<()>)> {
        let mut blank = true;
        loop {
            let rest = self.rest();
            let all_blank = is_blank(rest);
            let found = if all_blank { None } else { rest.iter().position(|byte| *byte == START) };
            let len = found.unwrap_or(rest.len());
            blank &= all_blank || is_blank(rest.get(..len).unwrap_or_default());
            self.skip(len);
            if found.is_some() {
                return Ok((blank, Some(())));
            }
            if self.ended {
                return Ok((blank, None));
            }
            self.fill()?;
        }
    }
}

/// What a journal holds.
#[derive(Debug, PartialEq, Eq)]
struct Findings {
    /// Length of its whole batches, from the front.
    valid_len: u64,
    /// Whether something other than zeroes follows.
    torn: bool,
    /// Whether a whole batch follows behind something broken.
    damaged: bool,
}

fn inspect(file: &dyn File) -> io::Result<Findings> {
    let mut source = Source { file, buffer: Vec::new(), done: 0, at: 0, ended: false };
    let mut last_seqno = None;
    while let Some((len, seqno)) = source.batch()? {
        last_seqno = Some(seqno);
        source.skip(len);
    }
    let valid_len = source.at;
    let mut findings = Findings { valid_len, torn: false, damaged: false };
    loop {
        let (blank, start) = source.next_start()?;
        findings.torn |= !blank || start.is_some();
        if start.is_none() {
            return Ok(findings);
        }
        // A stored value may look like a batch, but not like one that is newer than all before it.
        if let Some((_, seqno)) = source.batch()?
            && last_seqno.is_none_or(|last| seqno > last)
        {
            findings.damaged = true;
            return Ok(findings);
        }
        source.skip(1);
    }
}

fn journals(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<(u64, PathBuf)> = Vec::new();
    for entry in disk.list(dir)? {
        let number = entry.name.strip_suffix(".jnl").and_then(|stem| stem.parse().ok());
        if let Some(number) = number {
            found.push((number, dir.join(&entry.name)));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Removes what a crash in the middle of the library's very first start leaves: it would refuse to go on.
/// Nothing was ever stored as long as there is no keyspace.
fn mend_creation(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let keyspaces = dir.join(KEYSPACES_DIR);
    if disk.exists(&keyspaces)? && !disk.list(&keyspaces)?.is_empty() {
        return Ok(());
    }
    let version = dir.join(VERSION_FILE);
    let mut stale = journals(disk, dir)?;
    if disk.exists(&version)? {
        stale.push(version);
    }
    for path in &stale {
        disk.remove(path)?;
    }
    if stale.is_empty() { Ok(()) } else { disk.sync_dir(dir) }
}

/// Checks all journals in the library's directory and makes them such that the library opens them and
/// loses nothing. Blocks.
///
/// # Errors
/// [`KvError::Corrupt`] when a whole batch stands behind a broken one, [`KvError::Unavailable`] when the
/// disk fails.
pub(super) fn prepare(disk: &dyn Disk, dir: &Path) -> Result<(), KvError> {
    let failed = |e: io::Error| KvError::Unavailable(format!("cannot check the journals: {e}"));
    mend_creation(disk, dir).map_err(failed)?;
    let mut later_batches = false;
    for path in journals(disk, dir).map_err(failed)?.iter().rev() {
        let file = disk.open(path, true).map_err(failed)?;
        let findings = inspect(&*file).map_err(failed)?;
        // A journal is synced whole before anything is written to its successor.
        if findings.damaged || (findings.torn && later_batches) {
            return Err(damaged(&format!(
                "the journal {} has an unreadable batch at byte {} and valid data behind it",
                path.display(),
                findings.valid_len
            )));
        }
        if findings.torn {
            tracing::warn!(
                journal = %path.display(),
                at = findings.valid_len,
                "a batch that was never acknowledged is cut off"
            );
            file.set_len(findings.valid_len).map_err(failed)?;
        }
        file.sync().map_err(failed)?;
        later_batches |= findings.valid_len > 0;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests damage files on purpose")]
mod tests {
    use fjall::{Database, KeyspaceCreateOptions, PersistMode};
    use proptest::prelude::*;
    use runtime::disk::RealDisk;

    use super::*;

    /// Three batches as the library itself writes them, and where each ends.
    fn written(dir: &Path) -> (Vec<u8>, Vec<usize>) {
        let journal = dir.join("0.jnl");
        let database = Database::builder(dir)
            .manual_journal_persist(true)
            .journal_compression(fjall::CompressionType::None)
            .open()
            .expect("opens");
        let keyspace = database.keyspace("k", KeyspaceCreateOptions::default).expect("opens");
        for n in 0..3u8 {
            let mut batch = database.batch().durability(Some(PersistMode::SyncData));
            for item in 0..4u8 {
                batch.insert(&keyspace, [n, item], vec![n + 1; 3000]);
            }
            batch.remove(&keyspace, [9]);
            batch.commit().expect("commits");
        }
        let bytes = std::fs::read(&journal).expect("reads");
        let mut ends = Vec::new();
        let mut at = 0;
        while let Parsed::Batch { len, .. } = parse_batch(&bytes[at..]) {
            at += len;
            ends.push(at);
        }
        (bytes[..at + 10_000].to_vec(), ends)
    }

    fn count(dir: &Path) -> usize {
        let database = Database::builder(dir).open().expect("opens");
        let keyspace = database.keyspace("k", KeyspaceCreateOptions::default).expect("opens");
        keyspace.len().expect("reads")
    }

    #[test]
    fn our_reading_agrees_with_the_library_and_a_torn_end_is_cut_off() {
        let dir = tempfile::tempdir().expect("a directory");
        let (bytes, ends) = written(dir.path());
        assert_eq!(ends.len(), 3, "the library writes what this module reads");
        let journal = dir.path().join("0.jnl");
        let torn: [(&str, Vec<u8>, usize); 5] = [
            ("whole", bytes.clone(), 12),
            ("cut in the middle", bytes[..ends[1] + 5000].to_vec(), 8),
            ("cut in the head", bytes[..ends[1] + 7].to_vec(), 8),
            (
                "a lost page",
                [&bytes[..ends[1] + 100], &[0; 4096], &bytes[ends[1] + 4196..]].concat(),
                8,
            ),
            ("a lost head", [&bytes[..ends[1]], &[0; 600], &bytes[ends[1] + 600..]].concat(), 8),
        ];
        for (what, content, expected) in torn {
            std::fs::write(&journal, content).expect("writes");
            prepare(&RealDisk, dir.path()).expect(what);
            assert_eq!(count(dir.path()), expected, "{what}");
        }
    }

    #[test]
    fn damage_in_the_middle_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let (bytes, ends) = written(dir.path());
        for at in [0, 3, ends[0] - 5, ends[0] + 1, ends[0] + 40, ends[1] - 2] {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            std::fs::write(dir.path().join("0.jnl"), &bytes).expect("writes");
            let refused = prepare(&RealDisk, dir.path());
            assert!(matches!(refused, Err(KvError::Corrupt(_))), "byte {at}: {refused:?}");
        }
    }

    #[test]
    fn a_torn_journal_is_damage_once_its_successor_has_batches() {
        let dir = tempfile::tempdir().expect("a directory");
        let (bytes, ends) = written(dir.path());
        let torn = &bytes[..ends[1] - 1];
        std::fs::write(dir.path().join("0.jnl"), torn).expect("writes");
        std::fs::write(dir.path().join("1.jnl"), &bytes[ends[1]..]).expect("writes");
        assert!(matches!(prepare(&RealDisk, dir.path()), Err(KvError::Corrupt(_))));
        std::fs::write(dir.path().join("1.jnl"), [0; 5000]).expect("writes");
        prepare(&RealDisk, dir.path()).expect("the end of the last write was torn");
        assert_eq!(count(dir.path()), 4);
    }

    #[test]
    fn a_creation_that_was_interrupted_begins_again() {
        for version in [None, Some(&b""[..])] {
            let dir = tempfile::tempdir().expect("a directory");
            std::fs::create_dir(dir.path().join(KEYSPACES_DIR)).expect("makes");
            std::fs::write(dir.path().join("0.jnl"), [0; 100]).expect("writes");
            if let Some(version) = version {
                std::fs::write(dir.path().join(VERSION_FILE), version).expect("writes");
            }
            prepare(&RealDisk, dir.path()).expect("mends");
            assert_eq!(count(dir.path()), 0);
        }
    }

    proptest! {
        #[test]
        fn garbage_is_no_batch_and_no_panic(bytes: Vec<u8>, begin in 0u8..5) {
            let mut bytes = bytes;
            bytes.insert(0, begin);
            let is_batch = matches!(parse_batch(&bytes), Parsed::Batch { .. });
            prop_assert!(!is_batch);
        }
    }
}
