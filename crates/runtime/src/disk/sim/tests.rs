//! The simulated disk keeps and loses what it should.

use super::*;

const ROOM: u64 = 1 << 20;

fn write(file: &dyn File, offset: u64, data: &[u8]) -> io::Result<()> {
    file.write_at(&[io::IoSlice::new(data)], offset)
}

fn contents(disk: &SimDisk, path: &Path) -> Option<Vec<u8>> {
    let file = disk.open(path, false).ok()?;
    let len = file.len().expect("a length") as usize;
    Some(file.read_vec(len, 0, true).expect("all bytes"))
}

#[test]
fn it_conforms() {
    crate::disk::conformance::run(&SimDisk::new(ROOM, 1), Path::new("/"));
}

#[test]
fn synced_bytes_under_a_synced_name_survive_every_crash() {
    for seed in 0..200 {
        let disk = SimDisk::new(ROOM, seed);
        let (dir, path) = (Path::new("/d"), Path::new("/d/f"));
        disk.create_dir_all(dir).expect("a directory");
        let file = disk.create(path).expect("a file");
        write(&*file, 0, &[7; 5000]).expect("written");
        file.sync().expect("synced");
        disk.sync_dir(dir).expect("synced");
        write(&*file, 5000, &[9; 5000]).expect("written");
        disk.crash(seed);
        let bytes = contents(&disk, path).expect("the file is there");
        assert_eq!(bytes[..5000], [7; 5000]);
        assert!(bytes[5000..].iter().all(|&b| b == 9 || b == 0));
        assert!(write(&*file, 0, b"late").is_err(), "a handle does not outlive the power");
    }
}

#[test]
fn unsynced_state_takes_every_legal_shape() {
    let (mut gone, mut whole, mut torn) = (0, 0, 0);
    for seed in 0..300 {
        let disk = SimDisk::new(ROOM, seed);
        disk.create_dir_all(Path::new("/d")).expect("a directory");
        let file = disk.create(Path::new("/d/f")).expect("a file");
        write(&*file, 0, &[7; 5000]).expect("written");
        disk.crash(seed);
        match contents(&disk, Path::new("/d/f")) {
            None => gone += 1,
            Some(bytes) if bytes == [7; 5000] => whole += 1,
            Some(_) => torn += 1,
        }
    }
    assert!(gone > 10 && whole > 10 && torn > 10, "{gone} {whole} {torn}");
}

#[test]
fn a_rename_in_one_directory_happens_or_does_not() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..100 {
        let disk = SimDisk::new(ROOM, seed);
        disk.create_dir_all(Path::new("/d")).expect("a directory");
        disk.create(Path::new("/d/a")).expect("a file").sync().expect("synced");
        disk.sync_dir(Path::new("/d")).expect("synced");
        disk.rename(Path::new("/d/a"), Path::new("/d/b")).expect("renamed");
        disk.crash(seed);
        let names = disk.list(Path::new("/d")).expect("listed");
        assert_eq!(names.len(), 1);
        outcomes.insert(names[0].name.clone());
    }
    assert_eq!(outcomes.len(), 2);
}

#[test]
fn after_a_failed_sync_a_good_one_promises_nothing_about_the_old_bytes() {
    let mut lost = 0;
    for seed in 0..50 {
        let disk = SimDisk::new(ROOM, seed);
        let file = disk.create(Path::new("/f")).expect("a file");
        disk.sync_dir(Path::new("/")).expect("synced");
        write(&*file, 0, &[1; 2048]).expect("written");
        let fault =
            Fault { call: Some(Call::Sync), after: 0, error: io::ErrorKind::Other, forever: false };
        disk.inject(fault);
        assert!(file.sync().is_err());
        write(&*file, 2048, &[2; 512]).expect("written");
        file.sync().expect("the second sync says yes");
        disk.crash(seed);
        let bytes = contents(&disk, Path::new("/f")).expect("the file is there");
        assert_eq!(bytes[2048..], [2; 512]);
        lost += usize::from(bytes[..2048] != [1; 2048]);
    }
    assert!(lost > 10, "{lost}");
}

#[test]
fn faults_hit_the_call_they_name() {
    let disk = SimDisk::new(ROOM, 1);
    let fault = |after, forever| Fault {
        call: Some(Call::Write),
        after,
        error: io::ErrorKind::StorageFull,
        forever,
    };
    let file = disk.create(Path::new("/f")).expect("a file");
    disk.inject(fault(1, false));
    write(&*file, 0, b"one").expect("the first is good");
    assert_eq!(write(&*file, 3, b"two").map_err(|e| e.kind()), Err(io::ErrorKind::StorageFull));
    write(&*file, 3, b"two").expect("the third is good");
    disk.inject(fault(0, true));
    assert!(write(&*file, 0, b"x").is_err() && write(&*file, 0, b"x").is_err());
    disk.heal();
    write(&*file, 0, b"x").expect("healed");
}

#[test]
fn room_is_counted_in_blocks_and_given_back() {
    let disk = SimDisk::new(10 * BLOCK_BYTES, 1);
    let available = || disk.space(Path::new("/")).expect("space").available / BLOCK_BYTES;
    let file = disk.create(Path::new("/f")).expect("a file");
    write(&*file, 0, &[1; 4 * BLOCK_BYTES as usize]).expect("it fits");
    assert_eq!(available(), 6);
    let too_much = write(&*file, 0, &[1; 11 * BLOCK_BYTES as usize]).map_err(|e| e.kind());
    assert_eq!(too_much, Err(io::ErrorKind::StorageFull));
    file.punch_hole(100, 2 * BLOCK_BYTES).expect("a hole");
    assert_eq!(available(), 7);
    disk.remove(Path::new("/f")).expect("removed");
    assert_eq!(available(), 10);
}

#[test]
fn a_lock_is_exclusive_until_dropped_or_the_power_fails() {
    let disk = SimDisk::new(ROOM, 1);
    let path = Path::new("/lock");
    let lock = disk.lock(path).expect("locked");
    assert_eq!(disk.lock(path).map(|_| ()).map_err(|e| e.kind()), Err(io::ErrorKind::WouldBlock));
    drop(lock);
    let old = disk.lock(path).expect("locked again");
    disk.crash(1);
    let new = disk.lock(path).expect("free after a crash");
    drop(old);
    assert!(disk.lock(path).is_err(), "a dead lock does not free a living one");
    drop(new);
}
