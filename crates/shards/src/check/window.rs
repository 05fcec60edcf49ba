//! Reading a file forwards in large steps, on past what the disk cannot read.

use std::io;

use bytes::Bytes;
use runtime::disk::File;

use super::Observer;

/// Reads in steps of this many bytes.
const STEP_BYTES: u64 = 4 << 20;

/// A part of a file in memory.
pub(super) struct Window<'a> {
    file: &'a dyn File,
    len: u64,
    start: u64,
    bytes: Bytes,
    /// Everything before this has been counted as read.
    counted: u64,
}

impl<'a> Window<'a> {
    /// # Errors
    /// When the file does not say how long it is.
    pub(super) fn new(file: &'a dyn File) -> io::Result<Self> {
        Ok(Self { file, len: file.len()?, start: 0, bytes: Bytes::new(), counted: 0 })
    }

    /// Length of the file in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// `len` bytes at `at`.
    ///
    /// # Errors
    /// `UnexpectedEof` behind the end of the file; what the disk says.
    pub(super) fn get(
        &mut self,
        at: u64,
        len: usize,
        observer: &mut dyn Observer,
    ) -> io::Result<Bytes> {
        let end = at.saturating_add(len as u64);
        if end > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if at < self.start || end > self.start + self.bytes.len() as u64 {
            let wanted = STEP_BYTES.max(len as u64).min(self.len - at);
            self.bytes = match self.file.read_vec(wanted as usize, at, true) {
                Ok(bytes) => bytes.into(),
                // One bad block must not spoil all that is read with it.
                Err(_) => self.file.read_vec(len, at, true)?.into(),
            };
            self.start = at;
            let read = at + self.bytes.len() as u64;
            observer.read(read.saturating_sub(self.counted.max(at)));
            self.counted = self.counted.max(read);
        }
        let from = (at - self.start) as usize;
        Ok(self.bytes.slice(from..from + len))
    }

    /// What is in memory from `at` on, without reading more.
    pub(super) fn rest(&self, at: u64) -> &[u8] {
        let from = at.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        from.and_then(|from| self.bytes.get(from..)).unwrap_or_default()
    }
}
