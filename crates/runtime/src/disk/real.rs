//! The operating system's disk.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::buffer::spare_capacity;
use rustix::fs::FlockOperation;

use super::{Disk, Entry, File, Lock, Space};

/// Files of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

struct RealFile(fs::File);

struct RealLock {
    // Closing the descriptor lets the lock go.
    file: fs::File,
}

impl Lock for RealLock {
    fn is_at(&self, path: &Path) -> io::Result<bool> {
        is_at(&self.file, path)
    }
}

/// A file that is open keeps its number: no other can have it.
fn is_at(file: &fs::File, path: &Path) -> io::Result<bool> {
    let named = match fs::metadata(path) {
        Ok(named) => named,
        Err(error) => {
            let is_gone = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
            return if is_gone.contains(&error.kind()) { Ok(false) } else { Err(error) };
        }
    };
    let held = file.metadata()?;
    Ok((held.dev(), held.ino()) == (named.dev(), named.ino()))
}

/// Most buffers that one `pwritev` takes on Linux.
const IOV_MAX: usize = 1024;

#[allow(clippy::disallowed_methods, reason = "this is the door")]
impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, path: &Path, writable: bool) -> io::Result<Box<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(writable).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut missing: Vec<PathBuf> = Vec::new();
        let mut at = path;
        while !at.as_os_str().is_empty() && !at.try_exists()? {
            missing.push(at.to_owned());
            match at.parent() {
                Some(parent) => at = parent,
                None => break,
            }
        }
        // The last name that is there may be of a process that was killed before it had synced it.
        if !at.as_os_str().is_empty() {
            sync_if_allowed(self.sync_dir(parent_of(at)))?;
        }
        for dir in missing.iter().rev() {
            match fs::create_dir(dir) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            // Also when another thread made it: its own sync may still be under way.
            self.sync_dir(parent_of(dir))?;
        }
        if path.as_os_str().is_empty() || path.is_dir() {
            Ok(())
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(Entry { name, is_dir: entry.file_type()?.is_dir() });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(Space {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            available: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(RealLock { file }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }
}

/// The directory of a name that somebody else made may not be ours to open.
fn sync_if_allowed(outcome: io::Result<()>) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem};
    match outcome {
        Err(error)
            if [InvalidInput, PermissionDenied, ReadOnlyFilesystem].contains(&error.kind()) =>
        {
            Ok(())
        }
        outcome => outcome,
    }
}

/// The directory that holds the name of `path`.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    #[cfg(target_os = "linux")]
    fn read_at_now(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut buffers = [io::IoSliceMut::new(buffer)];
        let flags = rustix::io::ReadWriteFlags::NOWAIT;
        match rustix::io::preadv2(&self.0, &mut buffers, offset, flags) {
            Ok(n) => Ok(n),
            // A file system that cannot say: ask again with waiting.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::AGAIN) => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn read_vec(&self, len: usize, offset: u64, wait: bool) -> io::Result<Vec<u8>> {
        if !wait {
            let mut buffer = vec![0; len];
            // Short counts come from the end of the cached range as well as from the end of the file.
            return match self.read_at_now(&mut buffer, offset)? {
                n if n == len => Ok(buffer),
                _ => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        let mut buffer = Vec::with_capacity(len);
        while buffer.len() < len {
            let at = offset.saturating_add(buffer.len() as u64);
            match rustix::io::pread(self.0.as_fd(), spare_capacity(&mut buffer), at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        buffer.truncate(len);
        Ok(buffer)
    }

    fn write_at(&self, buffers: &[io::IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        for chunk in buffers.chunks(IOV_MAX) {
            offset = write_chunk(&self.0, chunk, offset)?;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_direct(&self, on: bool) -> io::Result<bool> {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::OFlags;
            let flags = rustix::fs::fcntl_getfl(&self.0)? - OFlags::DIRECT;
            let flags = if on { flags | OFlags::DIRECT } else { flags };
            match rustix::fs::fcntl_setfl(&self.0, flags) {
                Ok(()) => Ok(on),
                Err(rustix::io::Errno::INVAL) if on => Ok(false),
                Err(error) => Err(error.into()),
            }
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = on;
            Ok(false)
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        is_at(&self.0, path)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        #[cfg(target_os = "linux")]
        {
            let flags =
                rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(&self.0, flags, offset, len).map_err(Into::into)
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = offset;
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}

/// Writes all of at most [`IOV_MAX`] buffers; the offset behind them.
fn write_chunk(file: &fs::File, buffers: &[io::IoSlice<'_>], offset: u64) -> io::Result<u64> {
    let total: usize = buffers.iter().map(|b| b.len()).sum();
    let mut done = 0;
    while done < total {
        let at = offset.saturating_add(done as u64);
        let outcome = if done == 0 {
            rustix::io::pwritev(file, buffers, at)
        } else {
            rustix::io::pwritev(file, &rest_of(buffers, done), at)
        };
        match outcome {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => done += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(offset.saturating_add(total as u64))
}

/// What is left of `buffers` behind their first `skip` bytes.
fn rest_of<'a>(buffers: &'a [io::IoSlice<'_>], mut skip: usize) -> Vec<io::IoSlice<'a>> {
    let mut rest = Vec::with_capacity(buffers.len());
    for buffer in buffers {
        let cut = skip.min(buffer.len());
        skip -= cut;
        if cut < buffer.len() {
            rest.push(io::IoSlice::new(&buffer[cut..]));
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_conforms() {
        let dir = tempfile::tempdir().expect("a directory");
        crate::disk::conformance::run(&RealDisk, dir.path());
    }

    #[test]
    fn the_rest_of_a_short_write_begins_where_it_stopped() {
        let (a, b, c) = ([1u8, 2, 3], [4u8, 5], [6u8]);
        let buffers = [io::IoSlice::new(&a), io::IoSlice::new(&b), io::IoSlice::new(&c)];
        for skip in 0..=6 {
            let rest: Vec<u8> =
                rest_of(&buffers, skip).iter().flat_map(|b| b.iter().copied()).collect();
            assert_eq!(rest, [1, 2, 3, 4, 5, 6][skip..]);
        }
    }
}
