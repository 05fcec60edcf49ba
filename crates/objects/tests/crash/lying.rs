//! A disk that says that it has synced, and has not: to see that the walk notices.

use std::io;
use std::path::Path;

use runtime::disk::{Disk, Entry, File, Lock, SimDisk, Space};

/// See the module.
pub struct Lying(pub SimDisk);

struct LyingFile(Box<dyn File>);

impl Disk for Lying {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(LyingFile(self.0.create(path)?)))
    }

    fn open(&self, path: &Path, writable: bool) -> io::Result<Box<dyn File>> {
        Ok(Box::new(LyingFile(self.0.open(path, writable)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir_all(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.0.remove_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.0.list(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.0.space(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.0.lock(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.exists(path)
    }
}

impl File for LyingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, buffers: &[io::IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.0.write_at(buffers, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_direct(&self, on: bool) -> io::Result<bool> {
        self.0.set_direct(on)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        self.0.is_at(path)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.punch_hole(offset, len)
    }
}
