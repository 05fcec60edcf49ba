//! What every [`Disk`] has to do, whatever it is made of: called in one line by the tests of each.

use std::io::{self, ErrorKind, IoSlice};
use std::path::Path;

use super::{Disk, Entry, File};

/// Runs the suite in the existing, empty directory `dir`.
///
/// # Panics
/// When the disk does not conform.
pub fn run(disk: &dyn Disk, dir: &Path) {
    names(disk, &dir.join("names"));
    bytes(disk, &dir.join("bytes"));
    locks(disk, &dir.join("locks"));
    space(disk, dir);
}

fn kind<T>(result: io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

fn entry(name: &str, is_dir: bool) -> Entry {
    Entry { name: name.to_owned(), is_dir }
}

fn put(disk: &dyn Disk, path: &Path, data: &[u8]) {
    let file = disk.create(path).expect("created");
    file.write_at(&[IoSlice::new(data)], 0).expect("written");
}

fn contents(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, false).expect("opened");
    let len = file.len().expect("a length") as usize;
    file.read_vec(len, 0, true).expect("read")
}

fn names(disk: &dyn Disk, dir: &Path) {
    let deep = dir.join("b/c");
    assert_eq!(kind(disk.list(dir)), Some(ErrorKind::NotFound));
    assert_eq!(kind(disk.create(&dir.join("early"))), Some(ErrorKind::NotFound));
    disk.create_dir_all(&deep).expect("made with its parents");
    disk.create_dir_all(&deep).expect("made already");
    put(disk, &dir.join("z"), b"z");
    put(disk, &dir.join("a"), b"a");
    put(disk, &deep.join("x"), b"x");
    let all = [entry("a", false), entry("b", true), entry("z", false)];
    assert_eq!(disk.list(dir).expect("listed"), all, "sorted, and not what is deeper");
    disk.sync_dir(dir).expect("synced");

    assert_eq!(kind(disk.create(&dir.join("a"))), Some(ErrorKind::AlreadyExists));
    assert_eq!(kind(disk.open(&dir.join("none"), false)), Some(ErrorKind::NotFound));
    assert_eq!(kind(disk.remove(&dir.join("none"))), Some(ErrorKind::NotFound));
    assert_eq!(kind(disk.rename(&dir.join("none"), &dir.join("n"))), Some(ErrorKind::NotFound));
    assert!(disk.create_dir_all(&dir.join("a")).is_err(), "a file is in the way");

    disk.rename(&dir.join("a"), &dir.join("z")).expect("renamed over a file");
    assert_eq!(contents(disk, &dir.join("z")), b"a");
    assert!(!disk.exists(&dir.join("a")).expect("looked"));
    disk.rename(&dir.join("z"), &deep.join("z")).expect("renamed into another directory");
    assert!(disk.exists(&deep.join("z")).expect("looked") && disk.exists(&deep).expect("looked"));

    assert_eq!(kind(disk.remove_dir(&deep)), Some(ErrorKind::DirectoryNotEmpty));
    let open = disk.open(&deep.join("z"), false).expect("opened");
    disk.remove(&deep.join("z")).expect("removed");
    disk.remove(&deep.join("x")).expect("removed");
    let mut byte = [0];
    open.read_exact_at(&mut byte, 0).expect("an open file outlives its name");
    assert_eq!(byte, *b"a");
    disk.remove_dir(&deep).expect("removed");
    places(disk, &dir.join("places"));
    assert_eq!(disk.list(&dir.join("b")).expect("listed"), []);
}

/// A file knows whether a name still stands for it.
fn places(disk: &dyn Disk, dir: &Path) {
    disk.create_dir_all(dir).expect("made");
    let (path, other) = (dir.join("file"), dir.join("other"));
    put(disk, &path, b"a");
    let file = disk.open(&path, false).expect("opened");
    let lock = disk.lock(&path).expect("locked");
    let at = |path: &Path| {
        let (file, lock) = (file.is_at(path).expect("told"), lock.is_at(path).expect("told"));
        assert_eq!(file, lock);
        file
    };
    assert!(at(&path) && !at(&other) && !at(&dir.join("none/file")) && !at(&path.join("file")));
    disk.rename(&path, &other).expect("renamed");
    assert!(!at(&path) && at(&other));
    put(disk, &path, b"a");
    assert!(!at(&path), "another file has its name");
    disk.remove(&other).expect("removed");
    assert!(!at(&other));
    put(disk, &other, b"a");
    assert!(!at(&other), "another file has its name, and not its number");
    drop(disk.lock(&path).expect("the lock is on the file, not on the name"));
    [path, other].iter().for_each(|path| disk.remove(path).expect("removed"));
    disk.remove_dir(dir).expect("removed");
}

fn bytes(disk: &dyn Disk, dir: &Path) {
    disk.create_dir_all(dir).expect("made");
    let file = disk.create(&dir.join("f")).expect("created");
    assert!(file.is_empty().expect("a length"));
    let parts = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
    file.write_at(&parts, 10).expect("written behind the end");
    assert_eq!(file.read_vec(15, 0, true).expect("read"), *b"\0\0\0\0\0\0\0\0\0\0abcde");
    file.write_at(&[IoSlice::new(b"XY")], 11).expect("written over");
    assert_eq!(file.read_vec(5, 10, true).expect("read"), *b"aXYde");
    file.sync().expect("synced");

    let mut buffer = [9; 8];
    assert_eq!(file.read_at(&mut buffer, 12).expect("read"), 3, "short at the end");
    assert_eq!(file.read_at(&mut buffer, 15).expect("read"), 0);
    assert_eq!(file.read_at(&mut buffer, 1 << 40).expect("read"), 0);
    assert_eq!(kind(file.read_exact_at(&mut buffer, 12)), Some(ErrorKind::UnexpectedEof));
    assert_eq!(kind(file.read_vec(8, 12, true)), Some(ErrorKind::UnexpectedEof));
    assert_eq!(file.read_vec(0, 99, true).expect("nothing"), b"");
    match file.read_vec(5, 10, false) {
        Ok(bytes) => assert_eq!(bytes, b"aXYde"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
    }
    assert_eq!(kind(file.read_vec(99, 10, false)), Some(ErrorKind::WouldBlock));

    many_buffers(&*file);
    direct(disk, &dir.join("direct"));
    file.set_len(4).expect("cut");
    file.set_len(6).expect("extended");
    assert_eq!(file.read_vec(6, 0, true).expect("read"), [0; 6]);
    holes(&*file);
    let reader = disk.open(&dir.join("f"), false).expect("opened");
    assert!(reader.write_at(&[IoSlice::new(b"no")], 0).is_err(), "not opened for writing");
}

/// More buffers than the system takes at once.
/// Where direct writes are not to be had the same calls go through the page cache.
fn direct(disk: &dyn Disk, path: &Path) {
    const BLOCK: usize = crate::disk::DIRECT_ALIGN_BYTES;
    let memory = vec![7; 3 * BLOCK];
    let start = memory.as_ptr().align_offset(BLOCK);
    let file = disk.create(path).expect("created");
    let on = file.set_direct(true).expect("answered");
    let blocks = &memory[start..start + 2 * BLOCK];
    if let Err(error) = file.write_at(&[IoSlice::new(blocks)], 0) {
        assert!(on && error.kind() == ErrorKind::InvalidInput, "{error}");
        assert!(file.is_empty().expect("a length"), "refused, so nothing is written");
        assert!(!file.set_direct(false).expect("off"));
        file.write_at(&[IoSlice::new(blocks)], 0).expect("written through the cache");
    }
    direct_read(&*file, blocks);
    assert!(!file.set_direct(false).expect("off"));
    file.write_at(&[IoSlice::new(b"end")], 2 * BLOCK as u64).expect("a part of a block");
    file.sync().expect("synced");
    let mut expected = blocks.to_vec();
    expected.extend_from_slice(b"end");
    assert_eq!(contents(disk, path), expected);
}

/// Reads past the page cache, to the end of the file and over it.
fn direct_read(file: &dyn File, expected: &[u8]) {
    const BLOCK: usize = crate::disk::DIRECT_ALIGN_BYTES;
    let mut memory = vec![0; 4 * BLOCK];
    let start = memory.as_ptr().align_offset(BLOCK);
    let buffer = &mut memory[start..start + 3 * BLOCK];
    match file.read_at(buffer, 0) {
        Ok(n) => assert_eq!(buffer[..n], *expected),
        Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
    }
}

fn many_buffers(file: &dyn File) {
    let numbers: Vec<[u8; 4]> = (0..3000u32).map(u32::to_be_bytes).collect();
    let buffers: Vec<IoSlice<'_>> = numbers.iter().map(|n| IoSlice::new(n)).collect();
    file.write_at(&buffers, 5).expect("written");
    assert_eq!(file.read_vec(12_000, 5, true).expect("read"), numbers.concat());
}

fn holes(file: &dyn File) {
    let block = vec![7; 64 * 1024];
    file.write_at(&[IoSlice::new(&block)], 0).expect("written");
    match file.punch_hole(100, 40_000) {
        Ok(()) => {
            let bytes = file.read_vec(block.len(), 0, true).expect("read");
            assert!(bytes[..100].iter().all(|&b| b == 7), "before the hole");
            assert!(bytes[100..40_100].iter().all(|&b| b == 0), "in the hole");
            assert!(bytes[40_100..].iter().all(|&b| b == 7), "behind the hole");
            file.punch_hole(0, 0).expect("an empty hole");
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
    }
    assert_eq!(file.len().expect("a length"), block.len() as u64);
}

fn locks(disk: &dyn Disk, dir: &Path) {
    disk.create_dir_all(dir).expect("made");
    let path = dir.join("lock");
    let lock = disk.lock(&path).expect("locked");
    assert_eq!(kind(disk.lock(&path)), Some(ErrorKind::WouldBlock));
    drop(disk.lock(&dir.join("other")).expect("another lock"));
    drop(lock);
    drop(disk.lock(&path).expect("free again"));
}

fn space(disk: &dyn Disk, dir: &Path) {
    let space = disk.space(dir).expect("space");
    assert!(space.total > 0 && space.available <= space.total);
}
