//! Multipart uploads.

use kv::Batch;
use objects::schema::part::{self, Part};
use objects::schema::{Etag, Home, Record as _, pulse};
use objects::*;
use types::{UnixMillis, UploadId};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn parts_become_an_object() {
    let world = World::new().await;
    let headers =
        ObjectHeaders { content_type: Some("video/mp4".to_owned()), ..ObjectHeaders::default() };
    let new = NewUpload { headers: headers.clone(), checksum: None };
    let upload = world.begin_with("a", new).await;
    let content: Vec<Vec<u8>> = vec![bytes(PART, 1), bytes(PART, 2), bytes(SMALL, 3)];
    let mut etags = Vec::new();
    for (number, part) in (1..).zip(&content) {
        etags.push(world.part("a", upload, number, part).await.etag);
    }
    assert_eq!(world.get("a").await, None);
    let parts = [(1, &*etags[0]), (2, &*etags[1]), (3, &*etags[2])];
    let made = world.complete("a", upload, &parts).await.expect("made");
    assert!(made.etag.ends_with("-3") && made.etag.len() == 34, "{}", made.etag);
    let whole = content.concat();
    assert_eq!(world.get("a").await.as_deref(), Some(&whole[..]));
    let head = world.head("a").await;
    assert_eq!((head.parts, head.headers, head.etag), (Some(3), headers, made.etag.clone()));
    assert_eq!((head.len, made.len), (whole.len() as u64, whole.len() as u64));
    ranges(&world, &whole, &content, &[1, 2, 3]).await;

    // Repeating it succeeds, with or without conditions that it would not meet any more.
    let again = world.complete("a", upload, &parts).await.expect("made already");
    assert_eq!(again, made);
    let request = CompleteRequest {
        parts: completed(&parts),
        conditions: WriteConditions { if_match: None, if_none_match: Some(EtagCondition::Any) },
        ..CompleteRequest::default()
    };
    let again = world.engine.complete_upload(world.on("a").await, upload, request).await;
    assert_eq!(again.expect("made already"), made);
    // But not differently, and not after the object has been replaced.
    let fewer = world.complete("a", upload, &parts[..2]).await;
    assert!(matches!(fewer, Err(CompleteError::NoSuchUpload)));
    assert!(matches!(world.abort("a", upload).await, Err(UploadError::NoSuchUpload)));
    let late = world.try_part("a", upload, 4, b"x").await;
    assert!(matches!(late, Err(UploadError::NoSuchUpload)));
    let census = world.check().await;
    assert_eq!((census.manifests, census.parts, census.blobs), (1, 3, 2));
    assert!(census.garbage.is_empty());
    world.put("a", b"x").await;
    let replaced = world.complete("a", upload, &parts).await;
    assert!(matches!(replaced, Err(CompleteError::NoSuchUpload)));
    assert_eq!(world.check().await.garbage.len(), 1);
    crate::collect::ends_clean(&world).await;
}

/// Ranges that begin, end and lie in each part, and each part by its number.
async fn ranges(world: &World, whole: &[u8], parts: &[Vec<u8>], numbers: &[u16]) {
    let mut edges = vec![0];
    for part in parts {
        edges.push(edges[edges.len() - 1] + part.len() as u64);
    }
    let mut points: Vec<u64> =
        edges.iter().flat_map(|&e| [e.saturating_sub(1), e, e + 1, e + 70_000]).collect();
    points.retain(|&point| point < whole.len() as u64);
    for &first in &points {
        for &last in points.iter().filter(|&&last| last >= first) {
            let (_, found) =
                world.select("a", Selection::FirstLast(first, last)).await.expect("a range");
            assert!(found == slice(whole, first..last + 1), "{first} to {last}");
        }
    }
    for (at, &number) in numbers.iter().enumerate() {
        let (info, found) =
            world.select("a", Selection::Part(part_number(number))).await.expect("a part");
        assert_eq!(info.range, edges[at]..edges[at + 1]);
        assert_eq!((found == parts[at], info.parts), (true, Some(numbers.len() as u32)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_any_length_and_number_are_found() {
    let world = World::new().await;
    let upload = world.begin("a").await;
    let numbers = [2_u16, 3, 7, 9_000];
    let content =
        vec![bytes(PART + 5, 1), bytes(PART, 2), bytes(PART + 100_000, 3), bytes(LARGE, 4)];
    let mut etags = Vec::new();
    for (&number, part) in numbers.iter().zip(&content) {
        etags.push(world.part("a", upload, number, part).await.etag);
    }
    // Parts that are uploaded and not listed are left out, wherever they are.
    for number in [1, 5, 8, 10_000] {
        world.part("a", upload, number, &bytes(SMALL, 9)).await;
    }
    let parts: Vec<(u16, &str)> =
        numbers.iter().copied().zip(etags.iter().map(String::as_str)).collect();
    world.complete("a", upload, &parts).await.expect("made");
    let whole = content.concat();
    assert!(world.get("a").await == Some(whole.clone()));
    ranges(&world, &whole, &content, &numbers).await;
    for number in [1, 5, 8, 10_000] {
        let error = world.select("a", Selection::Part(part_number(number))).await;
        assert!(matches!(error, Err(GetError::NoSuchPart { parts: 4 })));
    }
    let census = world.check().await;
    assert_eq!((census.parts, census.garbage.len()), (8, 1));
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_uploaded_again_replaces_the_first() {
    let world = World::new().await;
    let upload = world.begin("a").await;
    for len in [SMALL, LARGE, LARGE, 0, SMALL, LARGE, 0] {
        world.part("a", upload, 1, &bytes(len, len as u64)).await;
        world.check().await;
    }
    let last = bytes(SMALL, 77);
    let first = world.part("a", upload, 1, &bytes(LARGE, 5)).await;
    let kept = world.part("a", upload, 1, &last).await;
    let stale = world.complete("a", upload, &[(1, &first.etag)]).await;
    assert!(matches!(stale, Err(CompleteError::InvalidPart { number: 1 })));
    world.complete("a", upload, &[(1, &kept.etag)]).await.expect("made");
    assert_eq!(world.get("a").await, Some(last));
    let census = world.check().await;
    assert_eq!((census.blobs, census.garbage.len()), (4, 4));
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_lists_are_refused() {
    let world = World::new().await;
    let upload = world.begin("a").await;
    let small = world.part("a", upload, 1, b"small").await.etag;
    let large = world.part("a", upload, 2, &bytes(PART, 1)).await.etag;
    let complete = async |parts: &[(u16, &str)]| world.complete("a", upload, parts).await;
    assert!(matches!(complete(&[]).await, Err(CompleteError::NoParts)));
    let order = complete(&[(2, &large), (1, &small)]).await;
    assert!(matches!(order, Err(CompleteError::InvalidPartOrder)));
    let twice = complete(&[(2, &large), (2, &large)]).await;
    assert!(matches!(twice, Err(CompleteError::InvalidPartOrder)));
    let missing = complete(&[(2, &large), (3, &small)]).await;
    assert!(matches!(missing, Err(CompleteError::InvalidPart { number: 3 })));
    let etag = complete(&[(2, &small)]).await;
    assert!(matches!(etag, Err(CompleteError::InvalidPart { number: 2 })));
    match complete(&[(1, &small), (2, &large)]).await {
        Err(CompleteError::TooSmall { number: 1, len: 5, etag }) => assert_eq!(etag, small),
        other => panic!("{other:?}"),
    }
    let unknown = world.complete("a", UploadId::new(1), &[(2, &large)]).await;
    assert!(matches!(unknown, Err(CompleteError::NoSuchUpload)));
    let elsewhere = world.complete("b", upload, &[(2, &large)]).await;
    assert!(matches!(elsewhere, Err(CompleteError::NoSuchUpload)));
    let with = async |declared_len, conditions| {
        let parts = completed(&[(2, &large)]);
        let request = CompleteRequest { parts, declared_len, conditions, checksum: None };
        world.engine.complete_upload(world.on("a").await, upload, request).await
    };
    let none = WriteConditions::default();
    assert!(matches!(with(Some(5), none.clone()).await, Err(CompleteError::WrongLength)));
    let same = WriteConditions { if_match: Some(EtagCondition::Any), if_none_match: None };
    assert!(matches!(with(None, same).await, Err(CompleteError::NoSuchKey)));
    world.put("a", b"x").await;
    let absent = WriteConditions { if_match: None, if_none_match: Some(EtagCondition::Any) };
    assert!(matches!(with(None, absent).await, Err(CompleteError::PreconditionFailed)));
    // After all that the upload is as it was.
    with(Some(PART as u64), none).await.expect("made");
    world.check().await;
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aborted_uploads_are_filed() {
    let world = World::new().await;
    let upload = world.begin("a").await;
    world.part("a", upload, 1, &bytes(LARGE, 1)).await;
    world.part("a", upload, 2, b"small").await;
    world.abort("a", upload).await.expect("aborted");
    assert!(matches!(world.abort("a", upload).await, Err(UploadError::NoSuchUpload)));
    let late = world.try_part("a", upload, 3, b"late").await;
    assert!(matches!(late, Err(UploadError::NoSuchUpload)));
    let census = world.check().await;
    assert_eq!((census.uploads, census.parts, census.garbage.len()), (0, 2, 1));
    crate::collect::ends_clean(&world).await;
}

fn digests(algorithm: ChecksumAlgorithm) -> DeclaredDigests {
    DeclaredDigests {
        md5: None,
        checksum: Some(DeclaredChecksum { algorithm, value: DeclaredValue::None }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checksums_of_the_whole_are_made_of_the_parts() {
    let world = World::new().await;
    let content = [bytes(PART, 1), bytes(SMALL, 2)];
    let whole = content.concat();
    for (algorithm, kind) in [
        (ChecksumAlgorithm::Crc32, ChecksumKind::FullObject),
        (ChecksumAlgorithm::Crc64Nvme, ChecksumKind::FullObject),
        (ChecksumAlgorithm::Crc32c, ChecksumKind::Composite),
        (ChecksumAlgorithm::Sha256, ChecksumKind::Composite),
    ] {
        let put = PutRequest { digests: digests(algorithm), ..request(&whole) };
        let plain = world.try_put("plain", put).await.expect("a put").checksum;
        let checksum = Some((algorithm, kind));
        let upload = world.begin_with("a", NewUpload { checksum, ..Default::default() }).await;
        let mut parts = Vec::new();
        for (number, part) in (1..).zip(&content) {
            // Computed whether the client asks for it or not.
            let written = world.part("a", upload, number, part).await;
            let value = written.checksum.map(|c| c.value);
            assert!(value.is_some());
            let number = part_number(number);
            parts.push(CompletedPart { number, etag: written.etag, checksum: value });
        }
        let mut wrong = parts.clone();
        wrong[1].checksum = parts[0].checksum.clone();
        let complete = async |parts, checksum| {
            let request = CompleteRequest { parts, checksum, ..Default::default() };
            world.engine.complete_upload(world.on("a").await, upload, request).await
        };
        let refused = complete(wrong, None).await;
        assert!(matches!(refused, Err(CompleteError::InvalidPart { number: 2 })));
        let refused = complete(parts.clone(), parts[0].checksum.clone()).await;
        assert!(matches!(refused, Err(CompleteError::Mismatch)));
        let made = complete(parts.clone(), None).await.expect("made").checksum.expect("one");
        assert_eq!((made.value.algorithm(), made.kind), (algorithm, kind));
        match kind {
            ChecksumKind::FullObject => assert_eq!(Some(&made), plain.as_ref()),
            ChecksumKind::Composite => assert_eq!(made.parts, Some(2)),
        }
        assert_eq!(world.head("a").await.checksum, Some(made));
        let (part, _) =
            world.select("a", Selection::Part(part_number(2))).await.expect("the second part");
        let told = part.checksum.expect("the part's");
        assert_eq!(
            (Some(told.value), told.kind, told.parts),
            (parts[1].checksum.clone(), kind, None)
        );
    }
    let other = digests(ChecksumAlgorithm::Sha1);
    let checksum = Some((ChecksumAlgorithm::Crc32, ChecksumKind::FullObject));
    let upload = world.begin_with("a", NewUpload { checksum, ..Default::default() }).await;
    let request =
        PartRequest { upload, number: part_number(1), len: 1, digests: other, body: body(b"x") };
    let refused = world.engine.put_part(world.on("a").await, request).await;
    assert!(matches!(refused, Err(UploadError::ChecksumAlgorithm)));
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_copied_from_objects() {
    let world = World::new().await;
    let (large, small) = (bytes(PART + LARGE, 1), bytes(SMALL, 2));
    world.put("large", &large).await;
    let small_etag = world.put("small", &small).await.etag;
    let upload = world.begin("a").await;
    let copy = async |from: &str, number, range, source_conditions| {
        let (source, target) = (world.on(from).await, world.on("a").await);
        let number = part_number(number);
        let request = PartCopyRequest { upload, number, range, source_conditions };
        world.engine.copy_part(source, target, request).await
    };
    let free = ReadConditions::default;
    let first = copy("large", 1, Some((7, PART as u64 + 6)), free()).await.expect("a part");
    let second = copy("small", 2, None, free()).await.expect("a part");
    assert_eq!((second.etag.as_str(), second.len), (small_etag.as_str(), SMALL as u64));
    let beyond = copy("small", 3, Some((0, SMALL as u64)), free()).await;
    let told = SMALL as u64;
    assert!(
        matches!(beyond, Err(CopyError::Source(GetError::RangeNotSatisfiable { len })) if len == told)
    );
    let missing = copy("nothing", 3, None, free()).await;
    assert!(matches!(missing, Err(CopyError::Source(GetError::NoSuchKey))));
    let other = ReadConditions {
        if_match: Some(EtagCondition::OneOf(vec!["x".to_owned()])),
        ..Default::default()
    };
    let failed = copy("small", 3, None, other).await;
    assert!(matches!(failed, Err(CopyError::Source(GetError::PreconditionFailed))));
    let parts = [(1, first.etag.as_str()), (2, second.etag.as_str())];
    world.complete("a", upload, &parts).await.expect("made");
    let whole = [&large[7..PART + 7], &small[..]].concat();
    assert!(world.get("a").await == Some(whole));
    let gone = copy("small", 3, None, free()).await;
    assert!(matches!(gone, Err(CopyError::Upload(UploadError::NoSuchUpload))));
    world.check().await;
    crate::collect::ends_clean(&world).await;
}

/// Ten thousand parts, as records only: their lengths are those of real parts, their bytes were never there.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_parts_are_one_commit() {
    let world = World::new().await;
    let bucket = world.on_bucket::<tenancy::action::ListBucket>("first").await.resource().id;
    let (home, upload) = (Home::of(bucket), world.begin("a").await);
    let md5 = |number: u16| [number.to_be_bytes(); 8].concat().try_into().expect("16 bytes");
    // One part is longer, so that the uniform shortcut does not hold.
    let len = |number: u16| PART as u64 + u64::from(number == 5_000);
    let numbers: Vec<u16> = (1..=10_000).collect();
    for some in numbers.chunks(90) {
        let mut batch = Batch::default();
        for &number in some {
            let record = Part {
                len: len(number),
                md5: md5(number),
                last_modified: UnixMillis(1),
                checksum: None,
                blob: None,
            };
            batch.put(part::key(home, upload, number), record.encode());
        }
        batch.put(pulse::key(home, upload), pulse::Pulse { at: UnixMillis(1) }.encode());
        let outcome = world.kv.commit(world.engine.next_batch_id(), batch).await;
        assert!(matches!(outcome, Ok(kv::Outcome::Committed(_))));
    }
    let etags: Vec<String> = numbers.iter().map(|&n| Etag::of_md5(md5(n)).to_text()).collect();
    let parts: Vec<(u16, &str)> =
        numbers.iter().copied().zip(etags.iter().map(String::as_str)).collect();
    let commits = world.kv.status().await.expect("a status").commits;
    let made = world.complete("a", upload, &parts).await.expect("made");
    assert_eq!(world.kv.status().await.expect("a status").commits, commits + 1);
    assert!(made.etag.ends_with("-10000"));
    assert_eq!(made.len, 10_000 * PART as u64 + 1);
    for (number, begins) in [(1_u16, 0), (64, 63 * PART as u64), (10_000, 9_999 * PART as u64 + 1)]
    {
        let selection = Selection::Part(part_number(number));
        let request = GetRequest { selection, ..GetRequest::default() };
        let info = world.engine.head_object(world.on("a").await, request).await.expect("a part");
        assert_eq!((info.range, info.parts), (begins..begins + len(number), Some(10_000)));
    }
    assert!(world.delete("a").await);
    crate::collect::ends_clean(&world).await;
    assert_eq!(world.check().await.parts, 0);
}
