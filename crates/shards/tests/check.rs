//! The check of a drive that no store has open: what is damaged is named exactly, and nothing is changed.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::*;
use runtime::disk::{Disk, Fault, SimDisk};
use shards::check::{DriveCheck, DriveCounts, FoundCopy, Harm, Observer, Problem, Trouble};
use shards::{OpenError, ShardError, ShardHeader, ShardId, Store, StoreOptions};

/// What was said of a copy.
type Said = (Option<ShardHeader>, Option<Harm>, Vec<Range<u64>>);

/// What a check said.
#[derive(Default)]
struct Seen {
    copies: BTreeMap<ShardId, Said>,
    problems: Vec<Problem>,
    twice: usize,
    bytes: u64,
}

impl Observer for Seen {
    fn copy(&mut self, copy: FoundCopy<'_>) {
        assert_eq!(copy.harm.is_some(), !copy.detail.is_empty(), "{copy:?}");
        let said = (copy.header, copy.harm, copy.damaged);
        self.twice += usize::from(self.copies.insert(copy.id, said).is_some());
    }

    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    fn read(&mut self, bytes: u64) {
        self.bytes += bytes;
    }
}

impl Seen {
    fn troubles(&self) -> BTreeSet<Trouble> {
        self.problems.iter().map(|problem| problem.trouble).collect()
    }

    /// Copies that are not whole.
    fn harmed(&self) -> BTreeMap<ShardId, Harm> {
        let harmed = |(id, copy): (&ShardId, &(_, Option<Harm>, _))| Some((*id, copy.1?));
        self.copies.iter().filter_map(harmed).collect()
    }
}

/// Every file below the drive, and its bytes.
fn contents(disk: &SimDisk, dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in disk.list(dir).expect("listed") {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            all.extend(contents(disk, &path));
        } else {
            let file = disk.open(&path, false).expect("opened");
            let len = file.len().expect("a length");
            all.insert(path, file.read_vec(len as usize, 0, true).expect("read"));
        }
    }
    all
}

/// Checks the drive, twice, and that this changed nothing.
fn check(disk: &SimDisk) -> (Seen, DriveCounts) {
    let before = contents(disk, Path::new(DIR));
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        let check = DriveCheck::open(Arc::new(disk.clone()), Path::new(DIR)).expect("opened");
        assert_eq!(check.identity(), &identity());
        let mut seen = Seen::default();
        let counts = check.run(&mut seen);
        outcomes.push((seen, counts));
    }
    let (second, first) = (outcomes.pop().expect("two"), outcomes.pop().expect("two"));
    assert_eq!(first.0.problems, second.0.problems);
    assert_eq!(first.0.copies, second.0.copies);
    assert!(contents(disk, Path::new(DIR)) == before, "the check has changed something");
    first
}

/// What is live after [`history`].
struct Live {
    small: Vec<ShardHeader>,
    large: Vec<ShardHeader>,
}

impl Live {
    fn ids(&self) -> BTreeSet<ShardId> {
        self.small.iter().chain(&self.large).map(|header| header.id).collect()
    }
}

/// A drive with several segments, large files, and deletes of both, some in the segment of their victim. It is
/// closed unless it is to look as after a crash.
async fn history(is_closed: bool) -> (SimDisk, Live) {
    let disk = sim_drive(64 << 20, 7);
    let store = open(&disk, 7).expect("opened");
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for n in 1..=60 {
        small.push(shard(1 + n % 3, n, n * 997 % 30_000));
        put(&store, small.last().expect("one")).await.expect("committed");
        if n % 20 == 0 {
            large.push(shard(1, 1000 + n, 1_100_000 + n));
            put(&store, large.last().expect("one")).await.expect("committed");
        }
        if n % 5 == 0 {
            let gone = small.swap_remove((n * 7 % small.len() as u64) as usize);
            assert_eq!(store.delete(gone.id).await, Ok(true));
        }
    }
    let gone = large.remove(1);
    assert_eq!(store.delete(gone.id).await, Ok(true));
    if is_closed {
        store.close().await;
    }
    drop(store);
    (disk, Live { small, large })
}

fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    let dir = Path::new("/drive/segments");
    disk.list(dir).expect("listed").iter().map(|entry| dir.join(&entry.name)).collect()
}

fn large_path(header: &ShardHeader) -> PathBuf {
    let id = header.id;
    let (sequence, index, copy) = (id.blob.sequence, id.index, id.copy);
    let dir = format!("/drive/files/{}/{:013x}", id.blob.session, sequence >> 12);
    Path::new(&dir).join(format!("{sequence:016x}-{index:02x}-{copy}.shard"))
}

fn len(disk: &SimDisk, path: &Path) -> u64 {
    disk.open(path, false).and_then(|file| file.len()).expect("a length")
}

#[tokio::test]
async fn a_whole_drive_is_clean_closed_or_not() {
    for is_closed in [true, false] {
        let (disk, live) = history(is_closed).await;
        let (seen, counts) = check(&disk);
        assert_eq!(seen.problems, [], "closed: {is_closed}");
        assert_eq!(seen.copies.keys().copied().collect::<BTreeSet<_>>(), live.ids());
        assert_eq!((seen.harmed().len(), seen.twice), (0, 0));
        for header in live.small.iter().chain(&live.large) {
            assert_eq!(seen.copies[&header.id].0, Some(*header));
        }
        assert_eq!(counts.unsealed, u64::from(!is_closed));
        assert_eq!((counts.segments, counts.files), (segments(&disk).len() as u64, 2));
        assert!(counts.segments > 3 && seen.bytes >= 2_200_000);
    }
}

/// The end of a segment that was not sealed is no footer, whatever stands there.
#[tokio::test]
async fn the_end_of_an_open_segment_is_no_footer() {
    for deletes in 0..6 {
        let disk = sim_drive(64 << 20, 7);
        let store = open(&disk, 7).expect("opened");
        for n in 1..=8 {
            put(&store, &shard(1, n, n * 13 % 40)).await.expect("committed");
        }
        for n in 1..=deletes {
            assert_eq!(store.delete(shard(1, n, 0).id).await, Ok(true));
        }
        drop(store);
        let (seen, counts) = check(&disk);
        assert_eq!((&seen.problems[..], counts.unsealed), (&[][..], 1), "{deletes}");
        assert_eq!(seen.copies.len() as u64, 8 - deletes);
    }
}

#[tokio::test]
async fn a_drive_in_use_is_refused() {
    let disk = sim_drive(64 << 20, 7);
    let check = |disk: &SimDisk| DriveCheck::open(Arc::new(disk.clone()), Path::new(DIR));
    assert!(check(&disk).is_ok(), "never opened, never locked");
    assert!(!disk.exists(Path::new("/drive/lock")).expect("looked"), "and not marked by the check");
    let store = open(&disk, 7).expect("opened");
    assert!(matches!(check(&disk), Err(OpenError::Locked { .. })));
    store.close().await;
    drop(store);
    let held = check(&disk).expect("free");
    assert!(matches!(open(&disk, 7), Err(OpenError::Locked { .. })), "no start during a check");
    drop(held);
    assert!(open(&disk, 7).is_ok());
    let empty = DriveCheck::open(Arc::new(disk), Path::new("/elsewhere"));
    assert!(matches!(empty, Err(OpenError::NotFormatted { .. })));
}

#[tokio::test]
async fn every_bit_of_a_sealed_segment_is_accounted_for() {
    let (disk, live) = history(true).await;
    let path = segments(&disk)[1].clone();
    let size = len(&disk, &path);
    let before: BTreeSet<ShardId> = live.ids();
    let mut met = BTreeSet::new();
    for offset in
        (0..1100).step_by(37).chain((1100..size).step_by(2039)).chain((size - 600..size).step_by(3))
    {
        assert!(disk.corrupt(&path, offset, 0x10));
        let (seen, _) = check(&disk);
        assert!(disk.corrupt(&path, offset, 0x10), "and back again");
        let (troubles, harmed) = (seen.troubles(), seen.harmed());
        assert!(harmed.len() <= 1 && harmed.values().all(|harm| *harm == Harm::Frames));
        assert_eq!(seen.copies.keys().copied().collect::<BTreeSet<_>>(), before, "at {offset}");
        assert!(seen.problems.iter().all(|problem| path.ends_with(&problem.path)));
        let found = troubles.len() + harmed.len();
        // What is left of a shard that was deleted is nothing to anybody.
        assert!(found == 1 || (found == 0 && offset > 1024), "{offset}: {:?}", seen.problems);
        met.extend(troubles);
        if offset < 64 || (512..576).contains(&offset) {
            assert_eq!(seen.troubles(), BTreeSet::from([Trouble::SegmentHeader]));
        } else if offset < 1024 {
            assert_eq!(seen.troubles(), BTreeSet::from([Trouble::Padding]));
        } else if offset >= size - 128 {
            assert_eq!(seen.troubles(), BTreeSet::from([Trouble::Trailer]));
        }
    }
    for trouble in [Trouble::Trailer, Trouble::Tables, Trouble::IndexPage] {
        assert!(met.contains(&trouble), "{trouble:?} was not met");
    }
}

#[tokio::test]
async fn the_header_of_a_record_is_missed_and_its_copy_found() {
    let disk = sim_drive(64 << 20, 7);
    let store = open(&disk, 7).expect("opened");
    for n in 1..=3 {
        put(&store, &shard(1, n, 2000)).await.expect("committed");
    }
    assert_eq!(store.delete(shard(1, 2, 2000).id).await, Ok(true));
    store.close().await;
    drop(store);
    let path = segments(&disk)[0].clone();
    let stride = 88 + 2008;
    for (offset, trouble) in [
        (1024 + 20, Some(Trouble::RecordHeader)),
        // A record that is dead, and the delete that says so.
        (1024 + stride + 20, None),
        (1024 + 3 * stride + 20, Some(Trouble::DeleteUnreadable)),
    ] {
        assert!(disk.corrupt(&path, offset, 1));
        let (seen, _) = check(&disk);
        assert!(disk.corrupt(&path, offset, 1));
        assert_eq!(seen.troubles(), trouble.into_iter().collect(), "at {offset}");
        assert_eq!((seen.copies.len(), seen.harmed().len()), (2, 0));
    }
}

#[tokio::test]
async fn frames_are_named() {
    let (disk, live) = history(true).await;
    let (path, header) = (large_path(&live.large[0]), live.large[0]);
    let stride = 65_536 + 8;
    for frame in [3, 4, 9] {
        assert!(disk.corrupt(&path, 88 + frame * stride + 77, 1));
    }
    let (seen, _) = check(&disk);
    assert_eq!(seen.problems, []);
    assert_eq!(seen.harmed(), BTreeMap::from([(header.id, Harm::Frames)]));
    assert_eq!(seen.copies[&header.id].2, [3..5, 9..10]);
    // Cut in the middle of frame 12.
    let file = disk.open(&path, true).expect("opened");
    file.set_len(88 + 12 * stride + 5).expect("cut");
    let (seen, _) = check(&disk);
    let (_, harm, damaged) = &seen.copies[&header.id];
    assert_eq!((*harm, damaged.last()), (Some(Harm::Cut), Some(&(12..header.frames()))));
    // Cut in the middle of the header, and then not to be told from anything.
    file.set_len(50).expect("cut");
    let (seen, _) = check(&disk);
    assert_eq!(seen.copies[&header.id], (None, Some(Harm::Cut), vec![]));
}

#[tokio::test]
async fn large_files_are_who_they_say_they_are() {
    let (disk, live) = history(true).await;
    let [one, two] = [live.large[0], live.large[1]].map(|header| (header.id, large_path(&header)));
    let aside = Path::new("/drive/aside");
    disk.rename(&one.1, aside).expect("renamed");
    disk.rename(&two.1, &one.1).expect("renamed");
    disk.rename(aside, &two.1).expect("renamed");
    let (seen, _) = check(&disk);
    let both = BTreeMap::from([(one.0, Harm::Misplaced), (two.0, Harm::Misplaced)]);
    assert_eq!(seen.harmed(), both);
    // One removed, one damaged in its header, one too long.
    disk.remove(&one.1).expect("removed");
    assert!(disk.corrupt(&two.1, 50, 1));
    let (seen, _) = check(&disk);
    assert_eq!(seen.harmed(), BTreeMap::from([(two.0, Harm::Header)]));
    assert!(!seen.copies.contains_key(&one.0));
    let (disk, live) = history(true).await;
    let path = large_path(&live.large[0]);
    let size = len(&disk, &path);
    disk.open(&path, true).and_then(|file| file.set_len(size + 9)).expect("extended");
    let (seen, _) = check(&disk);
    assert_eq!(seen.harmed(), BTreeMap::from([(live.large[0].id, Harm::TooLong)]));
    assert!(seen.copies[&live.large[0].id].2.is_empty());
}

#[tokio::test]
async fn segments_in_the_wrong_place_are_not_believed() {
    let (disk, live) = history(true).await;
    let paths = segments(&disk);
    disk.rename(&paths[1], &paths[2]).expect("renamed");
    let (seen, _) = check(&disk);
    assert_eq!(seen.troubles(), BTreeSet::from([Trouble::SegmentMisplaced]));
    // What stands in them is no copy here; what only they say was deleted is back.
    assert!(!live.ids().is_subset(&seen.copies.keys().copied().collect()));
    assert!(disk.corrupt(&paths[2], 9, 1) && disk.corrupt(&paths[2], 521, 1));
    assert_eq!(check(&disk).0.troubles(), BTreeSet::from([Trouble::SegmentUnreadable]));
}

/// An old copy of a segment has its number and salt, and less in it.
#[tokio::test]
async fn another_segment_in_its_place_is_noticed_by_what_deletes_say() {
    let disk = sim_drive(64 << 20, 7);
    let options = || StoreOptions { segment_bytes: 4096, ..options() };
    let store = open_with(&disk, 7, options()).expect("opened");
    for n in 1..=6 {
        put(&store, &shard(1, n, 2000)).await.expect("committed");
    }
    // Record 1 of segment 1, deleted from a later segment.
    assert_eq!(store.delete(shard(1, 2, 2000).id).await, Ok(true));
    store.close().await;
    drop(store);
    assert_eq!(check(&disk).0.problems, []);
    // The same number on the same drive, but other shards.
    let other = sim_drive(64 << 20, 7);
    let store = open_with(&other, 7, options()).expect("opened");
    for n in 11..=16 {
        put(&store, &shard(1, n, 2000)).await.expect("committed");
    }
    store.close().await;
    drop(store);
    let path = segments(&disk)[0].clone();
    let file = other.open(&path, false).expect("opened");
    let bytes = file.read_vec(file.len().expect("a length") as usize, 0, true).expect("read");
    disk.remove(&path).expect("removed");
    let file = disk.create(&path).expect("made");
    file.write_at(&[std::io::IoSlice::new(&bytes)], 0).expect("written");
    let (seen, _) = check(&disk);
    assert_eq!(seen.troubles(), BTreeSet::from([Trouble::DeleteDisagrees]));
}

#[tokio::test]
async fn a_torn_end_is_no_damage() {
    let (disk, live) = history(false).await;
    let path = segments(&disk).pop().expect("a segment");
    let size = len(&disk, &path);
    let file = disk.open(&path, true).expect("opened");
    for cut in (1024..size).rev().step_by(977) {
        file.set_len(cut).expect("cut");
        let (seen, _) = check(&disk);
        assert_eq!(seen.problems, []);
        assert!(seen.harmed().values().all(|harm| *harm == Harm::Torn) && seen.harmed().len() <= 1);
        // It says what a start will find.
        let whole: BTreeSet<ShardId> =
            seen.copies.iter().filter(|(_, copy)| copy.1.is_none()).map(|(id, _)| *id).collect();
        assert!(whole.iter().filter(|id| !live.ids().contains(id)).count() <= 12);
    }
    let (seen, _) = check(&disk);
    let store = open(&disk, 7).expect("opened");
    let found: BTreeSet<ShardId> = list_all(&store, 50).await.iter().map(|h| h.id).collect();
    let whole = seen.copies.iter().filter(|(_, copy)| copy.1.is_none()).map(|(id, _)| *id);
    assert_eq!(whole.collect::<BTreeSet<_>>(), found);
}

#[tokio::test]
async fn strange_names_and_leftovers_are_noted() {
    let (disk, _) = history(true).await;
    for path in ["drive.txt", "segments/1.seg", "temp/0000000000000001.tmp", "temp/x"] {
        disk.create(&Path::new(DIR).join(path)).expect("made");
    }
    for dir in ["quarantine", "files/notes", "files/0000000000000001/1"] {
        disk.create_dir_all(&Path::new(DIR).join(dir)).expect("made");
    }
    let inside = disk.list(Path::new("/drive/files/0000000000000001")).expect("listed");
    let stray = format!("/drive/files/0000000000000001/{}/stray", inside[0].name);
    disk.create(Path::new(&stray)).expect("made");
    disk.create(Path::new("/drive/quarantine/old.shard")).expect("made");
    let (seen, counts) = check(&disk);
    let strange = seen.problems.iter().filter(|p| p.trouble == Trouble::UnknownName).count();
    assert_eq!((strange, counts.temporary), (6, 1));
    let rest = BTreeSet::from([Trouble::UnknownName, Trouble::Quarantined]);
    assert_eq!(seen.troubles(), rest);
}

/// Any bytes in any file: it says something, and ends.
#[tokio::test]
async fn rubbish_does_not_stop_it() {
    for seed in 0..40 {
        let (disk, _) = history(seed % 2 == 0).await;
        let rolls = Rolls::new(seed);
        let paths: Vec<PathBuf> = contents(&disk, Path::new(DIR)).into_keys().collect();
        let path = &paths[rolls.below(paths.len() as u64) as usize];
        if path.ends_with("drive.json") || path.ends_with("lock") {
            continue;
        }
        let size = len(&disk, path);
        for _ in 0..rolls.below(200) {
            disk.corrupt(path, rolls.below(size), rolls.below(255) as u8 + 1);
        }
        if rolls.below(3) == 0 {
            let file = disk.open(path, true).expect("opened");
            file.set_len(rolls.below(2 * size)).expect("cut");
        }
        check(&disk);
    }
}

/// Puts, deletes and compacts until something fails or enough is done.
async fn live(store: &Store, rolls: &Rolls, sequence: &mut u64, known: &mut Vec<ShardId>) {
    for _ in 0..60 {
        match rolls.below(12) {
            0 => drop(store.compact(20_000).await),
            1..=4 if !known.is_empty() => {
                let id = known.swap_remove(rolls.below(known.len() as u64) as usize);
                drop(store.delete(id).await);
            }
            _ => {
                *sequence += 1 + rolls.below(600);
                let header = shard(1 + rolls.below(2), *sequence, rolls.payload_len());
                known.extend(put(store, &header).await.is_ok().then_some(header.id));
            }
        }
    }
}

/// A drive after a life that ended badly, or well.
async fn past(seed: u64) -> SimDisk {
    let (disk, rolls) = (sim_drive(256 << 20, seed), Rolls::new(seed));
    let (mut sequence, mut known) = (0, Vec::new());
    for round in 0..3 {
        let store = open(&disk, seed * 3 + round).expect("opened");
        if rolls.below(3) > 0 {
            let after = rolls.below(250);
            let error = std::io::ErrorKind::Other;
            disk.inject(Fault { call: None, after, error, forever: true });
        }
        live(&store, &rolls, &mut sequence, &mut known).await;
        if rolls.below(2) == 0 {
            store.close().await;
        }
        drop(store);
        disk.crash(rolls.below(u64::MAX));
    }
    disk
}

/// The copies that a check calls whole are those that a start finds, after whatever crash; and it finds no damage.
#[tokio::test]
async fn a_check_and_a_start_agree_after_a_crash() {
    for seed in 0..20 {
        let disk = past(seed).await;
        let (seen, _) = check(&disk);
        // A footer that was being written when the power failed; this disk tears within sectors, too.
        let fine = [
            Trouble::Unfinished,
            Trouble::Trailer,
            Trouble::Tables,
            Trouble::IndexPage,
            Trouble::Quarantined,
        ];
        let rest = seen.problems.iter().find(|problem| !fine.contains(&problem.trouble));
        assert_eq!(rest, None, "seed {seed}");
        let torn = |harm: &Harm| *harm == Harm::Torn;
        assert!(seen.harmed().values().all(torn), "seed {seed}: {:?}", seen.harmed());
        let store = open(&disk, seed).expect("opened");
        let found: Vec<ShardId> = list_all(&store, 100).await.iter().map(|h| h.id).collect();
        let whole = seen.copies.iter().filter(|(_, copy)| copy.1.is_none());
        assert_eq!(whole.map(|(id, _)| *id).collect::<Vec<_>>(), found, "seed {seed}");
    }
}

/// And when bytes rot, both miss the same frames.
#[tokio::test]
async fn a_check_and_a_reader_agree_on_what_is_rotten() {
    for seed in 100..120 {
        let (disk, rolls) = (past(seed).await, Rolls::new(seed + 1));
        let files = contents(&disk, Path::new(DIR)).into_keys();
        let ours = |path: &PathBuf| path.extension().is_some_and(|e| e == "seg" || e == "shard");
        for path in files.filter(ours) {
            let size = len(&disk, &path);
            for _ in 0..rolls.below(4).min(size) {
                disk.corrupt(&path, rolls.below(size), 1 << rolls.below(8));
            }
        }
        let (seen, _) = check(&disk);
        let Ok(store) = open(&disk, seed) else { continue };
        for (id, (header, harm, damaged)) in &seen.copies {
            let frames: Vec<u64> = damaged.iter().cloned().flatten().collect();
            match store.header(*id).await {
                Ok(found) => {
                    assert_eq!(Some(found), *header, "seed {seed}");
                    assert_eq!(store.verify(*id).await, Ok(frames), "seed {seed}: {harm:?}");
                }
                Err(ShardError::NotFound(_)) => assert_eq!(*harm, Some(Harm::Torn)),
                Err(ShardError::Corrupt { .. }) => assert!(harm.is_some() && header.is_none()),
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        for header in list_all(&store, 100).await {
            assert!(seen.copies.contains_key(&header.id), "seed {seed}");
        }
    }
}

/// A segment whose every structure verifies and says anything: nothing of it stops the check.
fn lies(rolls: &Rolls) -> Vec<u8> {
    use shards::codec::*;
    let (salt, number) = (rolls.below(u64::MAX), 1);
    let header = SegmentHeader { drive: identity().drive, number, salt };
    let mut bytes = encode_segment_header(&header);
    let any = |rolls: &Rolls| match rolls.below(4) {
        0 => rolls.below(5),
        1 => 1 << rolls.below(57),
        2 => rolls.below(100_000),
        _ => rolls.below(1 << 56),
    };
    let shard_of = |rolls: &Rolls| ShardHeader {
        payload_len: any(rolls),
        ..shard(1, rolls.below(4), any(rolls) / 3)
    };
    let mut entries = Vec::new();
    for _ in 0..rolls.below(12) {
        let (offset, header) = (bytes.len() as u64, shard_of(rolls));
        let number = if rolls.below(2) == 0 { rolls.below(5) as u32 } else { u32::MAX };
        let body = match rolls.below(3) {
            0 => RecordBody::Delete { id: header.id, segment: 1, number, bytes: any(rolls) },
            _ => RecordBody::Shard(header),
        };
        bytes.extend(encode_record(&Record { segment: 1, offset, number, body }, salt));
        bytes.resize(bytes.len() + 8 * rolls.below(20) as usize, 0);
        let offset = if rolls.below(2) == 0 { offset } else { any(rolls) };
        entries.push(IndexEntry { header, number, offset });
    }
    let records_end = bytes.len() as u64 / (1 + rolls.below(2));
    entries.sort_by_key(|entry| entry.header.id);
    bytes
        .resize(bytes.len().next_multiple_of(PAGE_BYTES) + PAGE_BYTES * rolls.below(2) as usize, 0);
    let pages_offset = bytes.len() as u64;
    bytes.extend(encode_page(salt, 0, &entries));
    let tables = FooterTables {
        fences: entries.first().map_or(vec![shard(1, 1, 1).id], |entry| vec![entry.header.id]),
        last: entries.last().map_or(Some(shard(1, 1, 1).id), |entry| Some(entry.header.id)),
        ranges: Vec::new(),
        dead: (0..rolls.below(4))
            .map(|n| DeadRecord { segment: n % 2, number: any(rolls) as u32, bytes: 9 })
            .collect(),
        live: vec![u64::MAX; rolls.below(3) as usize],
        filter: vec![0; rolls.below(30) as usize],
    };
    let (tables_offset, encoded) = (bytes.len() as u64, encode_tables(&tables));
    bytes.extend(&encoded);
    let trailer = Trailer {
        drive: header.drive,
        segment: 1,
        records_end,
        pages_offset,
        pages: 1,
        shards: rolls.below(9) as u32,
        shard_bytes: any(rolls),
        ranges: 0,
        dead: tables.dead.len() as u32,
        live_words: tables.live.len() as u32,
        filter_bytes: tables.filter.len() as u32,
        tables_offset,
        tables_len: encoded.len() as u64,
        tables_checksum: twox_hash::XxHash3_64::oneshot(&encoded),
    };
    bytes.extend(encode_trailer(&trailer, salt));
    bytes
}

#[test]
fn structures_that_verify_and_lie_do_not_stop_it() {
    let mut met = BTreeSet::new();
    for seed in 0..500 {
        let (disk, rolls) = (sim_drive(64 << 20, seed), Rolls::new(seed));
        disk.create_dir_all(Path::new("/drive/segments")).expect("made");
        let file = disk.create(Path::new("/drive/segments/0000000000000001.seg")).expect("made");
        let bytes = lies(&rolls);
        file.write_at(&[std::io::IoSlice::new(&bytes)], 0).expect("written");
        met.extend(check(&disk).0.troubles());
    }
    for trouble in [Trouble::IndexDisagrees, Trouble::RecordHeader, Trouble::DeleteDisagrees] {
        assert!(met.contains(&trouble), "{trouble:?} was not met: {met:?}");
    }
}
