//! Files and directories, as the formats of this project need them.
//!
//! Calls block; they are made from dedicated threads (see [`crate::spawn_thread`]). The contract is the
//! weakest that real disks keep: a write is durable only after `sync` of its file, a new name only after
//! `sync_dir` of its directory, and after a failed `sync` nothing is known of any byte written since the
//! last good one.

pub mod conformance;
mod real;
mod sim;

use std::io;
use std::path::Path;

pub use real::RealDisk;
pub use sim::{Call, Fault, SimDisk};

/// What direct writes are aligned to: the block size of every common file system and device.
pub const DIRECT_ALIGN_BYTES: usize = 4096;

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The bare name; names that are not UTF-8 are not ours and are left out.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Room on the file system that holds a path, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Size of the file system.
    pub total: u64,
    /// What may still be written.
    pub available: u64,
}

/// A disk: a tree of files. Paths are as the operating system takes them.
pub trait Disk: Send + Sync + 'static {
    /// Makes a new file for reading and writing; an existing one is `AlreadyExists`.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Opens an existing file for reading, or for reading and writing.
    fn open(&self, path: &Path, writable: bool) -> io::Result<Box<dyn File>>;

    /// Renames within one directory tree, replacing an existing file.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a directory and its parents; each new name is durable when this returns, and so is that of the
    /// deepest one that was there.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory; `DirectoryNotEmpty` when it is not.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// What is in a directory, sorted by name.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Room left.
    fn space(&self, path: &Path) -> io::Result<Space>;

    /// Takes an exclusive advisory lock on the file at `path` (made if absent), held until the returned
    /// value is dropped; `WouldBlock` when another process or holder has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;

    /// Whether a file or directory exists at `path`.
    fn exists(&self, path: &Path) -> io::Result<bool>;
}

/// An exclusive lock; dropping it lets go.
pub trait Lock: Send + Sync {
    /// Whether the name `path` still stands for the locked file: not when it, or a directory above it, was
    /// removed, renamed or replaced, or the file system was unmounted.
    fn is_at(&self, path: &Path) -> io::Result<bool>;
}

/// An open file. Reads and writes name their offset, so that one handle serves many threads.
pub trait File: Send + Sync + 'static {
    /// Reads up to `buffer.len()` bytes at `offset`; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Reads up to `buffer.len()` bytes at `offset` if that needs no waiting for a device, else `WouldBlock`.
    /// A caller must be ready to be told `WouldBlock` every time.
    fn read_at_now(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let _ = (buffer, offset);
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Writes all buffers, one behind the other, at `offset`.
    fn write_at(&self, buffers: &[io::IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Makes all written bytes and the length durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;

    /// Has reads and writes go past the page cache from here on, or not any more; whether they do now. While
    /// they do, the addresses and lengths of buffers and the offsets are multiples of [`DIRECT_ALIGN_BYTES`]; a
    /// file system that wants more answers with `InvalidInput` and has done nothing.
    fn set_direct(&self, on: bool) -> io::Result<bool>;

    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the name `path` still stands for this file: see [`Lock::is_at`].
    fn is_at(&self, path: &Path) -> io::Result<bool>;

    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts or extends (with zeroes) to `len`.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Gives the blocks of a range back to the file system; it reads as zeroes afterwards.
    /// File systems that cannot do this answer `Unsupported`.
    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()>;

    /// The `len` bytes at `offset` in a buffer of their own, which is not filled with zeroes first where that
    /// can be avoided. With `wait` false it fails with `WouldBlock` rather than wait for a device.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before.
    fn read_vec(&self, len: usize, offset: u64, wait: bool) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; len];
        if wait {
            self.read_exact_at(&mut buffer, offset)?;
        } else if self.read_at_now(&mut buffer, offset)? < len {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(buffer)
    }

    /// Reads exactly `buffer.len()` bytes at `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before.
    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    buffer = &mut buffer[n..];
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
