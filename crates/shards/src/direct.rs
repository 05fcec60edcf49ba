//! Reading a file from beginning to end past the page cache, so that what others use stays in it and what is
//! checked is what the disk has.

use std::io;

use runtime::disk::{DIRECT_ALIGN_BYTES, File};

use crate::cache::ReadFailure;

/// What is read at once.
const WINDOW_BYTES: usize = 1 << 20;
const BLOCK: u64 = DIRECT_ALIGN_BYTES as u64;

/// A window on one file at a time.
pub(crate) struct DirectReader {
    /// Holds a window of whole blocks at an aligned address, wherever the allocator put it.
    memory: Vec<u8>,
    skip: usize,
    /// Where in the file the window begins, and how much of it is there.
    at: u64,
    len: usize,
    /// Bytes read so far, of all files.
    pub(crate) bytes: u64,
}

impl DirectReader {
    pub(crate) fn new() -> Self {
        // Never grown, so that its address stays.
        let memory = vec![0; WINDOW_BYTES + DIRECT_ALIGN_BYTES];
        let skip = memory.as_ptr().align_offset(DIRECT_ALIGN_BYTES).min(DIRECT_ALIGN_BYTES);
        Self { memory, skip, at: 0, len: 0, bytes: 0 }
    }

    /// To be called before another file is read. Where a file system cannot read past the page cache, what follows
    /// goes through it.
    pub(crate) fn begin(&mut self, file: &dyn File) {
        self.len = 0;
        // If this fails, so will the reads, or not.
        let _ = file.set_direct(true);
    }

    /// `len` bytes at `offset`, at most the half of a window; what lies between them and `until` will be asked for
    /// next.
    pub(crate) fn get(
        &mut self,
        file: &dyn File,
        offset: u64,
        len: usize,
        until: u64,
    ) -> Result<&[u8], ReadFailure> {
        let end = offset.saturating_add(len as u64);
        let has = |reader: &Self| offset >= reader.at && end <= reader.at + reader.len as u64;
        if !has(self) {
            let wide = self.fill(file, offset, until.max(end));
            // A spot that cannot be read must not cost what is before it.
            if wide.is_err() && until > end {
                self.fill(file, offset, end)?;
            } else {
                wide?;
            }
        }
        if !has(self) {
            return Err(ReadFailure::Short);
        }
        let from = self.skip + (offset - self.at) as usize;
        self.memory.get(from..from + len).ok_or(ReadFailure::Short)
    }

    fn fill(&mut self, file: &dyn File, offset: u64, until: u64) -> io::Result<()> {
        self.at = offset - offset % BLOCK;
        self.len = 0;
        let wanted = until.saturating_sub(self.at).next_multiple_of(BLOCK).min(WINDOW_BYTES as u64);
        while self.len < wanted as usize {
            let buffer = &mut self.memory[self.skip + self.len..self.skip + wanted as usize];
            match file.read_at(buffer, self.at + self.len as u64) {
                Ok(0) => break,
                Ok(n) => {
                    self.len += n;
                    self.bytes += n as u64;
                    // Within a block there is only the end of the file.
                    if n % DIRECT_ALIGN_BYTES != 0 {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    // It wants larger blocks, or has a page cache only.
                    if file.set_direct(false)? {
                        return Err(error);
                    }
                    let n = file.read_at(buffer, self.at + self.len as u64)?;
                    self.len += n;
                    if n == 0 {
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use runtime::disk::{Call, Disk, Fault, SimDisk};

    use super::*;

    #[test]
    fn it_gives_every_byte_and_reads_each_once() {
        let disk = SimDisk::new(16 << 20, 1);
        let file = disk.create(Path::new("/f")).expect("created");
        let bytes: Vec<u8> = (0..3_000_001u32).map(|n| (n * 7 / 5) as u8).collect();
        file.write_at(&[io::IoSlice::new(&bytes)], 0).expect("written");
        let end = bytes.len() as u64;
        let mut reader = DirectReader::new();
        reader.begin(&*file);
        let mut at = 0;
        while at < bytes.len() {
            let len = 65_544.min(bytes.len() - at);
            let got = reader.get(&*file, at as u64, len, end);
            assert_eq!(got.ok(), Some(&bytes[at..at + len]));
            at += len;
        }
        assert!(reader.bytes < end + 4 * 65_544, "{} bytes read", reader.bytes);
        assert!(matches!(reader.get(&*file, end - 5, 6, end), Err(ReadFailure::Short)));
        let get = reader.get(&*file, end - 5, 5, end).ok().map(<[u8]>::to_vec);
        assert_eq!(get.as_deref(), Some(&bytes[at - 5..]));
    }

    #[test]
    fn one_refused_read_is_made_otherwise_and_one_that_failed_is_made_smaller() {
        let disk = SimDisk::new(16 << 20, 1);
        let file = disk.create(Path::new("/f")).expect("created");
        file.write_at(&[io::IoSlice::new(&[7; 500_000])], 0).expect("written");
        for error in [io::ErrorKind::InvalidInput, io::ErrorKind::Other] {
            let mut reader = DirectReader::new();
            reader.begin(&*file);
            disk.inject(Fault { call: Some(Call::Read), after: 0, error, forever: false });
            let got = reader.get(&*file, 10, 1000, 500_000).ok().map(<[u8]>::to_vec);
            assert_eq!((got.as_deref(), disk.faults_left()), (Some(&[7; 1000][..]), 0));
        }
    }
}
