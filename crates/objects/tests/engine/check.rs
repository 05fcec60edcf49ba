//! The check of a store at rest says exactly what is wrong: one thing is made wrong at a time, in records and in what
//! the drives are said to hold.

use kv::{Batch, Direction, Key, KeyRange, Write};
use net::{Carrier as _, ShardHeader};
use objects::check::{Copies, Counts, Harm, Lost, Problem, ProblemKind as Kind, Severity};
use objects::schema::blob::Blob;
use objects::schema::manifest::Manifest;
use objects::schema::object::{Body, Object};
use objects::schema::part::Part;
use objects::schema::reference::{Owner, Reference, Target};
use objects::schema::*;
use types::{
    BatchId, BlobId, BucketId, BucketName, CopyId, DriveId, SessionId, UnixMillis, UploadId,
    VersionId,
};

use crate::copies::plain;
use crate::support::*;

/// One of everything: in `first`, `inline`, `blob`, `multi` (of parts 1 to 3, the last one inline, 4 left out), an
/// upload to `open`; in `second`, `copy` of `blob`.
struct Store {
    world: World,
    first: BucketId,
    second: BucketId,
    blob: BlobId,
    multi: UploadId,
    open: UploadId,
    sequence: std::cell::Cell<u64>,
}

const SESSION: SessionId = SessionId::new(0x77);

impl Store {
    async fn new() -> Self {
        let world = World::new().await;
        world.create_bucket("second").await;
        world.put("inline", &bytes(SMALL, 1)).await;
        world.put("blob", &bytes(LARGE, 2)).await;
        let multi = world.begin("multi").await;
        let mut etags = Vec::new();
        for (number, len) in [(1, PART), (2, PART), (3, SMALL), (4, LARGE)] {
            etags.push(world.part("multi", multi, number, &bytes(len, 3)).await.etag);
        }
        let parts = [(1, &*etags[0]), (2, &*etags[1]), (3, &*etags[2])];
        world.complete("multi", multi, &parts).await.expect("made");
        let open = world.begin("open").await;
        world.part("open", open, 7, &bytes(LARGE, 4)).await;
        let (source, target) = (world.on("blob").await, world.on_in("second", "copy").await);
        world.engine.copy_object(source, target, plain()).await.expect("a copy");
        world.kv.open_session(SESSION, "test", UnixMillis(0)).await.expect("a session");
        let id = |name| BucketName::new(name).expect("a name");
        let find = |name| tenancy::directory::find(world.kv.as_ref(), name);
        let (first, second) = (id("first"), id("second"));
        let first = find(&first).await.expect("a look").expect("a bucket").0.id;
        let second = find(&second).await.expect("a look").expect("a bucket").0.id;
        let key = object::key(Home::of(first), "blob");
        let object = world.kv.get(&key).await.expect("a look").expect("there");
        let Body::Blob { blob, .. } = Object::decode(&object.value).expect("an object").body else {
            panic!("not a blob");
        };
        let sequence = std::cell::Cell::new(1);
        Self { world, first, second, blob: blob.id, multi, open, sequence }
    }

    fn home(&self) -> Home {
        Home::of(self.first)
    }

    async fn check(&self, copies: Option<&mut Copies>) -> (Vec<Problem>, Counts) {
        let kv = self.world.kv.as_ref();
        let reader = kv.snapshot().await.expect("a snapshot");
        let sessions = kv.sessions().await.expect("the sessions");
        let mut problems = Vec::new();
        let mut report = |problem| problems.push(problem);
        let counts = objects::check::check(&*reader, &sessions, copies, &mut report).await;
        (problems, counts.expect("a check"))
    }

    async fn value(&self, key: &Key) -> Option<bytes::Bytes> {
        self.world.kv.get(key).await.expect("a look").map(|found| found.value)
    }

    async fn record<R: Record>(&self, key: &Key) -> R {
        R::decode(&self.value(key).await.expect("there")).expect("decodes")
    }

    async fn write(&self, edits: Vec<(Key, Option<bytes::Bytes>)>) {
        let mut batch = Batch::default();
        for (key, value) in edits {
            batch.write(match value {
                Some(value) => Write::Put(key, value),
                None => Write::Delete(key),
            });
        }
        let sequence = self.sequence.replace(self.sequence.get() + 1);
        let id = BatchId { session: SESSION, sequence };
        let outcome = self.world.kv.commit(id, batch).await.expect("a commit");
        assert!(matches!(outcome, kv::Outcome::Committed(_)));
    }

    /// Makes the edits, checks, and undoes them. What was found, as kinds and objects.
    async fn with(&self, edits: &[(Key, Option<bytes::Bytes>)]) -> Vec<(Kind, String)> {
        let mut before = Vec::new();
        for (key, _) in edits {
            before.push((key.clone(), self.value(key).await));
        }
        self.write(edits.to_vec()).await;
        let (problems, _) = self.check(None).await;
        self.write(before).await;
        said(&problems)
    }

    /// The first key under this home that begins with `kind`, in order.
    async fn keys(&self, kind: objects::schema::Kind) -> Vec<Key> {
        let prefix = [self.home().token().to_bytes().as_slice(), &[kind.byte()]].concat();
        let prefix = Key::new([&[kv::DATA_SPACE][..], &prefix].concat()).expect("a key");
        let range = KeyRange::prefix(&prefix);
        let page = self.world.kv.scan(&range, 100, Direction::Forward).await.expect("a page");
        page.entries.into_iter().map(|entry| entry.key).collect()
    }

    /// What the drives hold, each copy with its drive.
    async fn shards(&self) -> Vec<(DriveId, ShardHeader)> {
        let mut all = Vec::new();
        for drive in self.world.carrier.drives() {
            let headers = self.world.carrier.list(drive, None, 1000).await.expect("a list");
            all.extend(headers.into_iter().map(|header| (drive, header)));
        }
        all
    }
}

fn said(problems: &[Problem]) -> Vec<(Kind, String)> {
    let object = |problem: &Problem| {
        let object = problem.object.as_ref();
        object.map_or(String::new(), |object| format!("{}/{}", object.bucket, object.key))
    };
    let mut said: Vec<_> = problems.iter().map(|p| (p.kind, object(p))).collect();
    said.sort();
    for problem in problems {
        assert!(problem.message.ends_with('.') && problem.remedy.ends_with('.'), "{problem:?}");
    }
    said
}

fn one(kind: Kind, object: &str) -> Vec<(Kind, String)> {
    vec![(kind, object.to_owned())]
}

/// A table of whole copies, but for what `change` makes of them.
fn table(
    shards: &[(DriveId, ShardHeader)],
    mut change: impl FnMut(DriveId, &ShardHeader) -> Option<(DriveId, Option<Harm>)>,
) -> Copies {
    let mut copies = Copies::default();
    (1..=DRIVES).for_each(|drive| copies.add_drive(DriveId::new(drive)));
    for (drive, header) in shards {
        if let Some((drive, harm)) = change(*drive, header) {
            copies.add(drive, header.id, Some(header), harm, true);
        }
    }
    copies
}

fn junk() -> Option<bytes::Bytes> {
    Some(bytes::Bytes::from_static(b"\xff\xff\xff"))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_wrong_with_a_whole_store() {
    let store = Store::new().await;
    let shards = store.shards().await;
    let mut copies = table(&shards, |drive, _| Some((drive, None)));
    let (problems, counts) = store.check(Some(&mut copies)).await;
    assert_eq!(problems, []);
    assert_eq!((counts.buckets, counts.objects, counts.blobs, counts.uploads), (2, 4, 5, 1));
    assert_eq!((counts.shards, counts.orphan_shards), (shards.len() as u64, 0));
    let stored = |len: u64| len + len.div_ceil(65_536) * 8;
    let bytes: u64 = shards.iter().map(|(_, header)| stored(header.payload_len)).sum();
    assert_eq!((counts.bytes_named, counts.bytes_unnamed), (bytes, 0));
    assert_eq!((counts.degraded_blobs, counts.lost_objects), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_that_does_not_decode_is_named() {
    use objects::schema::Kind as Of;
    let store = Store::new().await;
    for kind in Of::ALL {
        // A body does not decode: it verifies or it does not.
        if matches!(kind, Of::CurrentBody | Of::PartBody | Of::Noncurrent | Of::Repair) {
            continue;
        }
        for key in store.keys(kind).await {
            let found = store.with(&[(key.clone(), junk())]).await;
            let kinds: Vec<Kind> = found.iter().map(|(kind, _)| *kind).collect();
            assert!(kinds.contains(&Kind::Undecodable), "{key:?}: {found:?}");
            let lost = kinds.iter().filter(|kind| **kind != Kind::Undecodable);
            // What only that record said is missing elsewhere, too.
            let fine = lost.clone().all(|kind| match key.as_bytes()[5] {
                0x02 => *kind == Kind::Counter,
                0x22 => *kind == Kind::ObjectLost,
                0x23 => *kind == Kind::NotFiled || *kind == Kind::UploadStray,
                _ => false,
            });
            assert!(fine, "{key:?}: {found:?}");
        }
    }
    let unknown = [&store.keys(Of::Blob).await[0].as_bytes()[..5], &[0x99, 1]].concat();
    let unknown = Key::new(unknown).expect("a key");
    let found = store.with(&[(unknown, junk())]).await;
    assert_eq!(found, one(Kind::UnknownRecord, ""));
    assert_eq!(Kind::UnknownRecord.severity(), Severity::Note);
    let short = Key::new([store.keys(Of::Blob).await[0].as_bytes(), b"x"].concat());
    let found = store.with(&[(short.expect("a key"), junk())]).await;
    assert_eq!(found, one(Kind::Key, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_and_buckets_are_what_they_say() {
    let store = Store::new().await;
    let home = store.home();
    for which in counter::Counter::ALL {
        let key = counter::key(home, which);
        let found = store.with(&[(key, Some(kv::encode_counter(2).to_vec().into()))]).await;
        assert_eq!(found, one(Kind::Counter, ""));
    }
    let gone = store.with(&[(bucket::key(home), None)]).await;
    assert_eq!(gone, one(Kind::Bucket, ""));
    let control = |path: &str| Key::control(path).expect("a key");
    let owner = store.world.principal.account;
    for path in ["/buckets/first".to_owned(), format!("/tenants/{owner}/buckets/first")] {
        let found = store.with(&[(control(&path), None)]).await;
        assert!(!found.is_empty() && found.iter().all(|(kind, _)| *kind == Kind::Directory));
        let found = store.with(&[(control(&path), junk())]).await;
        assert!(found.iter().any(|(kind, _)| *kind == Kind::Undecodable), "{found:?}");
    }
    for path in ["/holds/0000000000000001", "/collection", "/anything"] {
        assert_eq!(store.with(&[(control(path), junk())]).await, one(Kind::Undecodable, ""));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn references_are_true_both_ways() {
    let store = Store::new().await;
    let home = store.home();
    let at = |bucket, key: &str| object::key(Home::of(bucket), key);
    let version = |object: Object| Owner::Version(object.version);
    let of_blob = version(store.record(&at(store.first, "blob")).await);
    let of_copy = version(store.record(&at(store.second, "copy")).await);
    let of_multi = version(store.record(&at(store.first, "multi")).await);
    let (blob, set) = (Target::Blob(store.blob), Target::PartSet(store.multi));
    for (target, owner, name) in [
        (blob, of_blob, "first/blob"),
        (blob, of_copy, "second/copy"),
        (set, of_multi, "first/multi"),
    ] {
        let found = store.with(&[(reference::key(home, target, owner), None)]).await;
        let expected = Kind::ReferenceMissing;
        match target {
            Target::Blob(_) => assert_eq!(found, one(expected, name)),
            // Then nothing uses the part set.
            Target::PartSet(_) => {
                assert_eq!(found, [(expected, name.to_owned()), (Kind::NotFiled, String::new())]);
            }
        }
    }
    // References without an owner.
    let value = |key: &str| Reference { bucket: store.first, key: key.to_owned() }.encode();
    let nobody = Owner::Version(VersionId::new(5));
    for (owner, name) in
        [(nobody, "blob"), (nobody, "nothing"), (Owner::Part(store.open, 3), "open")]
    {
        let key = reference::key(home, blob, owner);
        let found = store.with(&[(key, Some(value(name)))]).await;
        assert_eq!(found, one(Kind::ReferenceDangling, &format!("first/{name}")));
    }
    // An object that is gone leaves its reference, its bytes and its count.
    let found = store.with(&[(at(store.first, "blob"), None)]).await;
    let counters = [(Kind::Counter, String::new()), (Kind::Counter, String::new())];
    let dangling = (Kind::ReferenceDangling, "first/blob".to_owned());
    assert_eq!(found, [&counters[..], &[dangling]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_and_bodies_are_there() {
    let store = Store::new().await;
    let home = store.home();
    // Both owners miss it.
    let found = store.with(&[(blob::key(home, store.blob), None)]).await;
    let missing = |name: &str| (Kind::BlobMissing, name.to_owned());
    assert_eq!(found, [missing("first/blob"), missing("second/copy")]);
    let key = blob::key(home, store.blob);
    let mut record: Blob = store.record(&key).await;
    record.location.len += 1;
    let found = store.with(&[(key, Some(record.encode()))]).await;
    let disagrees = |name: &str| (Kind::BlobDisagrees, name.to_owned());
    assert_eq!(found, [disagrees("first/blob"), disagrees("second/copy")]);
    // The body beside an object.
    let key = body::current_key(home, "inline");
    let context = body::Context::Version(VersionId::new(5));
    let others = body::seal(context, &bytes(SMALL, 1));
    for value in [None, Some(others)] {
        let found = store.with(&[(key.clone(), value)]).await;
        assert_eq!(found, one(Kind::ObjectLost, "first/inline"));
    }
    let stray = body::current_key(home, "blob");
    let found = store.with(&[(stray, junk())]).await;
    assert_eq!(found, one(Kind::BodyStray, "first/blob"));
    // The body beside a part of an object.
    let key = body::part_key(home, store.multi, 3);
    assert_eq!(store.with(&[(key, None)]).await, one(Kind::ObjectLost, "first/multi"));
    let stray = body::part_key(home, store.open, 7);
    assert_eq!(store.with(&[(stray, junk())]).await, one(Kind::BodyStray, "first/open"));
    // A blob that nobody uses and nobody has filed.
    let stray = BlobId { session: SESSION, sequence: 1 };
    let mut record: Blob = store.record(&blob::key(home, store.blob)).await;
    record.location.id = stray;
    let found = store.with(&[(blob::key(home, stray), Some(record.encode()))]).await;
    assert_eq!(found, one(Kind::NotFiled, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_add_up() {
    let store = Store::new().await;
    let home = store.home();
    let found = store.with(&[(manifest::key(home, store.multi), None)]).await;
    // All its parts belong to nothing then, but for the one that was filed.
    assert!(found.contains(&(Kind::ObjectLost, "first/multi".to_owned())), "{found:?}");
    let key = manifest::key(home, store.multi);
    let record: Manifest = store.record(&key).await;
    let longer = Manifest { len: record.len + 1, ..record.clone() };
    let found = store.with(&[(key, Some(longer.encode()))]).await;
    let wrong = (Kind::Manifest, "first/multi".to_owned());
    assert_eq!(found, [wrong.clone(), wrong]);
    let key = part::key(home, store.multi, 2);
    let record: Part = store.record(&key).await;
    let found = store.with(&[(key.clone(), None)]).await;
    let expected = [
        (Kind::ObjectLost, "first/multi".to_owned()),
        (Kind::ReferenceDangling, "first/multi".to_owned()),
    ];
    assert_eq!(found, expected);
    store.write(vec![(key.clone(), None)]).await;
    let (problems, counts) = store.check(None).await;
    let part = PART as u64;
    assert_eq!(problems[0].lost, [Lost { part: None, bytes: part..2 * part }]);
    assert_eq!(counts.lost_objects, 1);
    store.write(vec![(key, Some(record.encode()))]).await;
    // Uploads.
    let stray = UploadId::new(5);
    let found = store
        .with(&[(pulse::key(home, stray), Some(pulse::Pulse { at: UnixMillis(1) }.encode()))])
        .await;
    assert_eq!(found, one(Kind::UploadStray, ""));
    let found = store.with(&[(upload::key(home, "open", store.open), None)]).await;
    assert_eq!(found, [(Kind::NotFiled, String::new()), (Kind::UploadStray, String::new())]);
    let record = Part { blob: None, len: 0, ..record };
    let found = store.with(&[(part::key(home, stray, 1), Some(record.encode()))]).await;
    assert_eq!(found, one(Kind::NotFiled, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_where_the_records_say() {
    let store = Store::new().await;
    let shards = store.shards().await;
    let of_blob = |header: &ShardHeader| header.id.blob == store.blob;
    let drive = |number| DriveId::new(number);
    let harm = |damaged| Harm { what: "rotten".to_owned(), path: "x".to_owned(), damaged };
    // Gone, harmed, of something else, moved.
    let mut gone = table(&shards, |d, h| (!(of_blob(h) && d == drive(2))).then_some((d, None)));
    let mut rotten =
        table(&shards, |d, h| Some((d, (of_blob(h) && d == drive(2)).then(|| harm(None)))));
    let mut moved =
        table(&shards, |d, h| Some((if of_blob(h) && d == drive(2) { drive(3) } else { d }, None)));
    let mut other = table(&shards, |d, h| (!(of_blob(h) && d == drive(2))).then_some((d, None)));
    let (at, header) = shards.iter().find(|(d, h)| of_blob(h) && *d == drive(2)).expect("a copy");
    let longer = ShardHeader { blob_len: header.blob_len + 1, ..*header };
    other.add(*at, header.id, Some(&longer), None, true);
    for (copies, kind, orphans) in [
        (&mut gone, Kind::CopyMissing, 0),
        (&mut rotten, Kind::CopyDamaged, 0),
        (&mut moved, Kind::CopyMoved, 1),
        (&mut other, Kind::CopyDisagrees, 0),
    ] {
        let (problems, counts) = store.check(Some(copies)).await;
        // Either of the two that share it: the ids of their versions are random.
        let owners = ["first/blob", "second/copy"].map(|owner| one(kind, owner));
        assert!(owners.contains(&said(&problems)), "{problems:?}");
        let problem = &problems[0];
        assert_eq!((problem.drive, problem.blob), (Some(drive(2)), Some(store.blob)));
        assert_eq!((problem.margin, &problem.lost[..]), (Some(1), &[][..]));
        assert_eq!((counts.degraded_blobs, counts.orphan_shards), (1, orphans));
    }
    // A drive that nobody has looked at.
    let mut away = Copies::default();
    for number in 1..=4 {
        away.add_drive(drive(number));
    }
    for (d, header) in shards.iter().filter(|(d, _)| *d != drive(5)) {
        away.add(*d, header.id, Some(header), None, true);
    }
    let (problems, counts) = store.check(Some(&mut away)).await;
    assert_eq!(said(&problems), one(Kind::DriveMissing, ""));
    assert_eq!((problems[0].drive, counts.degraded_blobs), (Some(drive(5)), 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_bytes_are_named_by_object_and_part() {
    let store = Store::new().await;
    let shards = store.shards().await;
    let drive = |number| DriveId::new(number);
    // The second part's blob, on three drives.
    let key = part::key(store.home(), store.multi, 2);
    let second = store.record::<Part>(&key).await.blob.expect("a blob").id;
    let mut copies =
        table(&shards, |d, h| (h.id.blob != second || d.get() > 3).then_some((d, None)));
    let (problems, counts) = store.check(Some(&mut copies)).await;
    let lost: Vec<&Problem> = problems.iter().filter(|p| p.kind == Kind::ObjectLost).collect();
    assert_eq!((problems.len(), lost.len(), counts.lost_objects), (4, 1, 1));
    let part = PART as u64;
    assert_eq!(said(&problems)[3], (Kind::ObjectLost, "first/multi".to_owned()));
    assert_eq!(lost[0].lost, [Lost { part: Some(2), bytes: part..2 * part }]);
    assert_eq!(lost[0].margin, Some(-1));
    assert!(!lost[0].remedy.contains("Bring back"));
    // The blob that two objects share, on two drives, and a third is away: that one would help.
    let mut copies = Copies::default();
    (2..=5).for_each(|number| copies.add_drive(drive(number)));
    for (d, header) in shards.iter().filter(|(d, _)| *d != drive(1)) {
        if header.id.blob != store.blob || d.get() > 3 {
            copies.add(*d, header.id, Some(header), None, true);
        }
    }
    let (problems, counts) = store.check(Some(&mut copies)).await;
    let lost: Vec<&Problem> = problems.iter().filter(|p| p.kind == Kind::ObjectLost).collect();
    assert_eq!(counts.lost_objects, 2);
    for problem in &lost {
        assert_eq!(problem.lost, [Lost { part: None, bytes: 0..LARGE as u64 }]);
        assert!(problem.remedy.contains(&drive(1).to_string()), "{}", problem.remedy);
    }
    // A part of an upload in progress is no object.
    let key = part::key(store.home(), store.open, 7);
    let open = store.record::<Part>(&key).await.blob.expect("a blob").id;
    let mut copies = table(&shards, |d, h| (h.id.blob != open || d.get() > 3).then_some((d, None)));
    let (problems, counts) = store.check(Some(&mut copies)).await;
    assert_eq!(said(&problems)[3], (Kind::PartLost, "first/open".to_owned()));
    assert_eq!(counts.lost_objects, 0);
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::single_range_in_vec_init, reason = "lists of one range are what is meant")]
async fn damage_in_different_stripes_loses_nothing() {
    let store = Store::new().await;
    let shards = store.shards().await;
    let harm = |damaged| Harm { what: "rotten".to_owned(), path: "x".to_owned(), damaged };
    let damage = |frames: fn(u64) -> Vec<std::ops::Range<u64>>| {
        table(&shards, |d, h| {
            let is_it = h.id.blob == store.blob;
            Some((d, is_it.then(|| harm(Some(frames(d.get()))))))
        })
    };
    // 300,000 bytes in 3+2 are two stripes.
    let mut apart = damage(|drive| if drive < 3 { vec![0..1] } else { vec![1..2] });
    let (problems, counts) = store.check(Some(&mut apart)).await;
    assert_eq!((problems.len(), counts.lost_objects), (5 + 2, 2), "copies and objects");
    let second = Lost { part: None, bytes: 3 * 65_536..LARGE as u64 };
    assert_eq!(problems[6].lost, [second], "three of five frames of the second stripe");
    let mut spread = damage(|drive| if drive % 2 == 0 { vec![0..1] } else { vec![] });
    let (problems, counts) = store.check(Some(&mut spread)).await;
    assert_eq!((counts.lost_objects, problems[0].margin), (0, Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_record_names_is_counted() {
    let store = Store::new().await;
    let shards = store.shards().await;
    let mut copies = table(&shards, |d, _| Some((d, None)));
    let strange = |session| {
        let mut header = shards[0].1;
        header.id.blob = BlobId { session, sequence: 9 };
        header
    };
    let (ours, unknown) = (strange(SESSION), strange(SessionId::new(0x99)));
    let drive = DriveId::new(1);
    copies.add(drive, ours.id, Some(&ours), None, true);
    copies.add(drive, unknown.id, Some(&unknown), None, true);
    // One that is there twice, one that does not count, and one that is garbage.
    copies.add(drive, ours.id, Some(&ours), None, true);
    let mut torn = unknown;
    torn.id.copy = CopyId::new(1);
    copies.add(drive, torn.id, Some(&torn), None, false);
    let mut filed = ours;
    filed.id.copy = CopyId::new(2);
    copies.add(drive, filed.id, Some(&filed), None, true);
    let record = garbage::Garbage {
        copies: vec![CopyPlace { index: filed.id.index, drive, copy: filed.id.copy }],
        ..garbage::Garbage::filed(store.home(), UnixMillis(0))
    };
    let candidate = garbage::Candidate::Copies(filed.id.blob);
    let key = garbage::key(store.home(), types::Revision(1), candidate);
    store.write(vec![(key, Some(record.encode()))]).await;
    let (problems, counts) = store.check(Some(&mut copies)).await;
    assert_eq!(problems, []);
    assert_eq!((counts.orphan_shards, counts.kept_orphan_shards), (2, 1));
    assert_eq!((counts.garbage_shards, counts.shards), (1, shards.len() as u64 + 3));
    let len = ours.payload_len;
    assert_eq!(counts.bytes_unnamed, 2 * (len + len.div_ceil(65_536) * 8));
}
