//! Made-up files and folders, and comparison of what came back.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Numbers that nothing can compress, the same for the same seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Noise(u64);

impl Noise {
    /// From a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Luck that differs from run to run, unless `UC_SEED` says which it is to be. Prints its seed, for the next time.
    ///
    /// # Panics
    /// When `UC_SEED` is no number.
    pub fn of_this_run() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = match std::env::var("UC_SEED") {
            Ok(text) => text.parse().expect("UC_SEED is a number"),
            Err(_) => now.map_or(0, |since| since.as_nanos() as u64),
        };
        println!("UC_SEED={seed}");
        Self::new(seed)
    }

    /// `count` different numbers below `end`.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn pick(&mut self, count: usize, end: u64) -> Vec<u64> {
        let mut all: Vec<u64> = (0..end).collect();
        let mut take = |_| all.remove(self.below(all.len() as u64) as usize);
        (0..count).map(&mut take).collect()
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next_u64() % end
    }

    /// That many bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next_u64().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// Writes a file of `len` bytes of noise, and the folders above it.
///
/// # Panics
/// When it cannot be written.
pub fn write_noise(path: &Path, len: u64, seed: u64) {
    let parent = path.parent().expect("a file is in a folder");
    std::fs::create_dir_all(parent).expect("folders can be made");
    let mut file =
        BufWriter::with_capacity(1 << 20, File::create(path).expect("a file can be made"));
    let mut noise = Noise::new(seed);
    let mut left = len;
    while left > 0 {
        let chunk = noise.bytes(left.min(1 << 20) as usize);
        file.write_all(&chunk).expect("a file can be written");
        left -= chunk.len() as u64;
    }
    file.flush().expect("a file can be written");
}

/// A folder of some 60 files: every size that matters, deep paths, names that are hard to encode.
pub fn write_tree(root: &Path, seed: u64) {
    let sizes = [0, 1, 100, 8191, 8193, 65_536, 65_537, 200_000, 1_000_003, 3_145_729];
    for (n, size) in sizes.into_iter().enumerate() {
        write_noise(&root.join(format!("sizes/{size}.bin")), size, seed + n as u64);
    }
    let names = [
        "with space",
        "plus+sign",
        "per%20cent",
        "amp&er=sand",
        "ümläut",
        "日本",
        "🦀",
        "a'b\"c",
        "#hash?q",
    ];
    for (n, name) in names.into_iter().enumerate() {
        write_noise(&root.join("names").join(name), 500 + n as u64, seed + 100 + n as u64);
        write_noise(
            &root.join("names").join(format!("{name}.d")).join(name),
            50,
            seed + 200 + n as u64,
        );
    }
    for n in 0..30 {
        let path = root.join(format!("deep/{}/{}/file-{n}", n % 3, n % 5));
        write_noise(&path, 1000 * n + 1, seed + 300 + n);
    }
    write_noise(&root.join("large/eleven-mib.bin"), (11 << 20) + 7, seed + 400);
}

/// Relative path and full path of every file below `root`. A folder that goes away meanwhile is empty.
pub(crate) fn files(root: &Path) -> BTreeMap<PathBuf, PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => panic!("{}: {error}", folder.display()),
        };
        for entry in entries {
            let path = entry.expect("a folder can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let relative = path.strip_prefix(root).expect("it is below the root").to_owned();
                found.insert(relative, path);
            }
        }
    }
    found
}

/// Expects two files to be the same, byte for byte.
///
/// # Panics
/// When they are not, saying where they differ.
pub fn assert_same_file(left: &Path, right: &Path) {
    let open = |path: &Path| {
        let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        BufReader::with_capacity(1 << 20, file)
    };
    let (mut left_file, mut right_file) = (open(left), open(right));
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let mut at = 0_u64;
    loop {
        a.clear();
        b.clear();
        left_file.by_ref().take(1 << 20).read_to_end(&mut a).expect("a file can be read");
        right_file.by_ref().take(1 << 20).read_to_end(&mut b).expect("a file can be read");
        if a != b {
            let same = a.iter().zip(&b).take_while(|(x, y)| x == y).count() as u64;
            panic!("{} and {} differ at byte {}", left.display(), right.display(), at + same);
        }
        if a.is_empty() {
            return;
        }
        at += a.len() as u64;
    }
}

/// Expects two folders to hold the same files, byte for byte.
///
/// # Panics
/// When they do not.
pub fn assert_same_tree(left: &Path, right: &Path) {
    let (left_files, right_files) = (files(left), files(right));
    let names = |files: &BTreeMap<PathBuf, PathBuf>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&left_files), names(&right_files), "not the same names");
    for (a, b) in left_files.values().zip(right_files.values()) {
        assert_same_file(a, b);
    }
}

/// Flips one bit in the middle of every file below `root` that is longer than `min_len` bytes; how many.
///
/// # Panics
/// When a file cannot be changed.
pub fn flip_bits(root: &Path, min_len: u64) -> usize {
    use std::os::unix::fs::FileExt as _;
    let mut flipped = 0;
    for path in files(root).values() {
        let len = path.metadata().map_or(0, |m| m.len());
        if len <= min_len {
            continue;
        }
        let file =
            File::options().read(true).write(true).open(path).expect("a shard can be opened");
        let mut byte = [0];
        file.read_exact_at(&mut byte, len / 2).expect("a shard can be read");
        file.write_all_at(&[byte[0] ^ 0x10], len / 2).expect("a shard can be written");
        flipped += 1;
    }
    flipped
}
