//! Large shards: names against headers, headers against lengths, and every frame.

use std::io;

use runtime::disk::File;
use types::SessionId;

use super::frames;
use super::window::Window;
use super::{Check, FoundCopy, Harm, Trouble};
use crate::codec::{self, RECORD_HEADER_BYTES, Record, RecordBody, Undecodable};
use crate::files::{SEQUENCE_BITS, shard_of_name};
use crate::{ShardHeader, ShardId};

impl Check<'_> {
    /// Verifies all files of large shards.
    pub(super) fn files(&mut self) {
        for outer in self.list("files") {
            let path = format!("files/{}", outer.name);
            let session = outer.name.parse::<SessionId>().ok();
            match session.filter(|id| outer.is_dir && id.to_string() == outer.name) {
                Some(session) => self.session_files(session, &path),
                None => self.problem(Trouble::UnknownName, &path, "this is not of our making"),
            }
        }
    }

    fn session_files(&mut self, session: SessionId, outer: &str) {
        for inner in self.list(outer) {
            let path = format!("{outer}/{}", inner.name);
            let number = u64::from_str_radix(&inner.name, 16).ok();
            let number = number.filter(|n| inner.is_dir && format!("{n:013x}") == inner.name);
            let Some(number) = number else {
                self.problem(Trouble::UnknownName, &path, "this is not of our making");
                continue;
            };
            for entry in self.list(&path) {
                let path = format!("{path}/{}", entry.name);
                let id = shard_of_name(session, &entry.name)
                    .filter(|id| !entry.is_dir && id.blob.sequence >> SEQUENCE_BITS == number);
                match id {
                    Some(id) => self.file(id, &path),
                    None => {
                        let detail = "no shard has this name in this place";
                        self.problem(Trouble::UnknownName, &path, detail);
                    }
                }
            }
        }
    }

    fn file(&mut self, id: ShardId, path: &str) {
        self.counts.files += 1;
        let found = match self.disk.open(&self.dir.join(path), false) {
            Ok(file) => self.verify_file(id, &*file, path),
            Err(error) => Err(error),
        };
        let copy = found.unwrap_or_else(|error| {
            let detail = format!("it cannot be read: {error}");
            FoundCopy { harm: Some(Harm::Unreadable), detail, ..unharmed(id, None, path) }
        });
        self.observer.copy(copy);
    }

    fn verify_file<'p>(
        &mut self,
        id: ShardId,
        file: &dyn File,
        path: &'p str,
    ) -> io::Result<FoundCopy<'p>> {
        let mut window = Window::new(file)?;
        self.counts.bytes += window.len();
        let bytes = match window.get(0, RECORD_HEADER_BYTES, self.observer) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let detail = "the file is shorter than a header".to_owned();
                return Ok(FoundCopy { harm: Some(Harm::Cut), detail, ..unharmed(id, None, path) });
            }
            Err(error) => return Err(error),
        };
        let harmed = |harm, detail: &str| FoundCopy {
            harm: Some(harm),
            detail: detail.to_owned(),
            ..unharmed(id, None, path)
        };
        let header = match codec::decode_record(&bytes, 0) {
            Ok(Record { segment: 0, offset: 0, number: 0, body: RecordBody::Shard(header) }) => {
                header
            }
            Err(Undecodable::Newer(version)) => {
                self.problem(Trouble::Newer, path, format!("it has version {version}"));
                return Ok(harmed(Harm::Header, "its header is of a newer format"));
            }
            _ => return Ok(harmed(Harm::Header, "its header does not verify")),
        };
        if header.id != id {
            let detail = format!("its header says {}", super::sealed::name(&header.id));
            return Ok(harmed(Harm::Misplaced, &detail));
        }
        let verdict =
            frames::verify(&mut window, &header, RECORD_HEADER_BYTES as u64, self.observer);
        let len = (RECORD_HEADER_BYTES as u64).saturating_add(header.stored_len());
        let mut copy = FoundCopy {
            harm: verdict.harm,
            damaged: verdict.damaged,
            detail: verdict.detail,
            ..unharmed(id, Some(header), path)
        };
        if copy.harm.is_none() && window.len() > len {
            copy.harm = Some(Harm::TooLong);
            copy.detail = format!("{} bytes follow its end", window.len() - len);
        }
        Ok(copy)
    }
}

fn unharmed(id: ShardId, header: Option<ShardHeader>, path: &str) -> FoundCopy<'_> {
    FoundCopy { id, header, harm: None, damaged: Vec::new(), path, detail: String::new() }
}
