//! What disks and people do to files: bits that flip, files that are cut, exchanged, lost or put back as they were.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::files::{Noise, files};

/// One kind of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A bit in the first 64 bytes: a header.
    Head,
    /// A bit in the last 256 bytes: a footer, or a last frame.
    Tail,
    /// A bit somewhere.
    Bit,
    /// Four KiB of zeroes somewhere: a block that was never written.
    Block,
    /// The end is missing.
    Cut,
    /// The file is gone.
    Gone,
    /// Another file of another drive is in its place.
    Exchanged,
    /// The file as it was earlier is in its place.
    Stale,
}

impl Damage {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Head,
        Self::Tail,
        Self::Bit,
        Self::Block,
        Self::Cut,
        Self::Gone,
        Self::Exchanged,
        Self::Stale,
    ];
}

/// Damages files of drives by a seed.
#[derive(Debug)]
pub struct Rot {
    luck: Noise,
    /// Copies of files as they were, with their places.
    kept: Vec<(PathBuf, Vec<u8>)>,
}

impl Rot {
    /// By this seed.
    pub fn new(seed: u64) -> Self {
        Self { luck: Noise::new(seed), kept: Vec::new() }
    }

    /// Remembers some files of `drive`, to put them back later as they are now.
    pub fn remember(&mut self, drive: &Path) {
        for path in shard_files(drive) {
            if self.luck.below(4) == 0
                && let Ok(bytes) = std::fs::read(&path)
            {
                self.kept.push((path, bytes));
            }
        }
    }

    /// Damages about every second file of `drive`, in all ways; `other` is where exchanged files come from. Says what
    /// it did. Files that the server removes meanwhile are left out.
    pub fn spoil(&mut self, drive: &Path, other: &Path) -> Vec<(Damage, PathBuf)> {
        let strangers = shard_files(other);
        let mut done = Vec::new();
        for (path, bytes) in std::mem::take(&mut self.kept) {
            // In place, as a disk does it that has lost writes; and only where the file still is.
            let is_here = path.starts_with(drive) && path.is_file();
            if is_here && replace(&path, &bytes).is_ok() {
                done.push((Damage::Stale, path));
            }
        }
        for path in shard_files(drive) {
            if self.luck.below(2) != 0 {
                continue;
            }
            let kinds = &Damage::ALL[..Damage::ALL.len() - 1];
            let kind = kinds[self.luck.below(kinds.len() as u64) as usize];
            if self.apply(kind, &path, &strangers).is_ok() {
                done.push((kind, path));
            }
        }
        done
    }

    fn apply(&mut self, kind: Damage, path: &Path, strangers: &[PathBuf]) -> std::io::Result<()> {
        let file = File::options().read(true).write(true).open(path)?;
        let len = file.metadata()?.len().max(1);
        match kind {
            Damage::Head => self.flip(&file, 0, len.min(64)),
            Damage::Tail => self.flip(&file, len.saturating_sub(256), len.min(256)),
            Damage::Bit => self.flip(&file, 0, len),
            Damage::Block => {
                let blocks = len.div_ceil(4096);
                let at = 4096 * self.luck.below(blocks);
                file.write_all_at(&vec![0; 4096.min(len - at) as usize], at)
            }
            Damage::Cut => file.set_len(self.luck.below(len)),
            Damage::Gone => std::fs::remove_file(path),
            Damage::Exchanged if strangers.is_empty() => Ok(()),
            Damage::Exchanged => {
                let other = &strangers[self.luck.below(strangers.len() as u64) as usize];
                replace(path, &std::fs::read(other)?)
            }
            Damage::Stale => Ok(()),
        }
    }

    fn flip(&mut self, file: &File, from: u64, len: u64) -> std::io::Result<()> {
        let (at, bit) = (from + self.luck.below(len), self.luck.below(8));
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        file.write_all_at(&[byte[0] ^ (1 << bit)], at)
    }
}

/// Gives the file these bytes, under the same name and number.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let file = File::options().write(true).open(path)?;
    file.set_len(0)?;
    file.write_all_at(bytes, 0)
}

/// Files with shards in them on `drive`, in a stable order.
fn shard_files(drive: &Path) -> Vec<PathBuf> {
    ["files", "segments"].iter().flat_map(|name| files(&drive.join(name)).into_values()).collect()
}
