//! Put, get and head of single objects.

use objects::*;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_every_size_come_back() {
    let world = World::new().await;
    let inline = types::limits::INLINE_MAX_BYTES;
    let lens =
        [0, 1, inline - 1, inline, inline + 1, 65_536 * 3 - 1, 65_536 * 3, 65_536 * 3 + 1, 3 << 20];
    for (at, len) in lens.into_iter().enumerate() {
        let (key, content) = (format!("k{len}"), bytes(len, at as u64));
        let written = world.put(&key, &content).await;
        assert_eq!(world.get(&key).await.as_deref(), Some(&content[..]), "{len} bytes");
        let head = world.head(&key).await;
        assert_eq!((head.len, &head.etag), (len as u64, &written.etag));
        assert_eq!((head.range.clone(), head.partial, head.parts), (0..len as u64, false, None));
        assert_eq!(head.last_modified, written.last_modified);
        assert_eq!(head.etag, hex_md5(&content));
    }
    let census = world.check().await;
    assert_eq!((census.objects, census.blobs), (9, 5));
    assert_eq!(census.bytes, lens.iter().sum::<usize>() as u64);
    assert!(census.garbage.is_empty() && census.repairs.is_empty());
    crate::collect::ends_clean(&world).await;
}

fn hex_md5(content: &[u8]) -> String {
    use md5::Digest as _;
    md5::Md5::digest(content).iter().map(|b| format!("{b:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_just_bytes() {
    let world = World::new().await;
    let long = "k".repeat(1024);
    let keys =
        ["a", "a/b", "a/", "/", "//", "/a", "..", "../..", "a b", "\0", "a\0b", "🦀", "é", &long];
    for key in keys {
        world.put(key, format!("content of {key}").as_bytes()).await;
    }
    for key in keys {
        let content = world.get(key).await.expect("there");
        assert_eq!(content, format!("content of {key}").as_bytes());
    }
    assert!(world.delete("a").await);
    assert_eq!(world.get("a").await, None);
    assert!(world.get("a/b").await.is_some());
    assert_eq!(world.check().await.objects, keys.len() - 1);
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_checksums_are_kept() {
    let world = World::new().await;
    let mut headers = ObjectHeaders {
        content_type: Some("text/plain; charset=utf-8".to_owned()),
        content_encoding: Some("gzip".to_owned()),
        content_disposition: Some("attachment".to_owned()),
        content_language: Some("de".to_owned()),
        cache_control: Some("no-store".to_owned()),
        expires: Some("never, perhaps".to_owned()),
        website_redirect: Some("/x".to_owned()),
        ..ObjectHeaders::default()
    };
    headers.user.insert("note".to_owned(), "ünïcode".to_owned());
    // The published check values of each algorithm.
    let algorithms = [
        (ChecksumAlgorithm::Crc32, "y/Q5Jg=="),
        (ChecksumAlgorithm::Crc32c, "4waSgw=="),
        (ChecksumAlgorithm::Crc64Nvme, "rosUhgp5mIg="),
        (ChecksumAlgorithm::Sha1, "98O8HYCOBHMq32eZZczDTKeuNEE="),
        (ChecksumAlgorithm::Sha256, "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
    ];
    for (algorithm, known) in algorithms {
        let declared = DeclaredChecksum { algorithm, value: DeclaredValue::None };
        let digests = DeclaredDigests { md5: None, checksum: Some(declared) };
        let request = PutRequest { headers: headers.clone(), digests, ..request(b"123456789") };
        let written = world.try_put("a", request).await.expect("a put");
        let stored = written.checksum.expect("a checksum");
        assert_eq!(stored.value.algorithm(), algorithm);
        assert_eq!(stored.value.to_base64(), known);
        assert_eq!(stored.kind, ChecksumKind::FullObject);
        let head = world.head("a").await;
        assert_eq!((head.headers, head.checksum), (headers.clone(), Some(stored.clone())));
    }
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_give_exactly_those_bytes() {
    let world = World::new().await;
    for len in [SMALL, LARGE] {
        let content = bytes(len, 7);
        world.put("a", &content).await;
        let last = len as u64 - 1;
        let cases = [
            (Selection::FirstLast(0, 0), 0..1),
            (Selection::FirstLast(10, 99), 10..100),
            (Selection::FirstLast(last, last + 5), last..last + 1),
            (Selection::From(17), 17..last + 1),
            (Selection::Suffix(5), last - 4..last + 1),
            (Selection::Suffix(1 << 40), 0..last + 1),
            (Selection::Part(part_number(1)), 0..last + 1),
        ];
        for (selection, range) in cases {
            let (info, found) = world.select("a", selection).await.expect("a range");
            assert_eq!((info.range.clone(), info.partial), (range.clone(), true), "{selection:?}");
            assert_eq!(found, slice(&content, range), "{selection:?}");
        }
        for selection in [Selection::From(last + 1), Selection::Suffix(0)] {
            let error = world.select("a", selection).await.expect_err("no bytes");
            assert!(
                matches!(error, GetError::RangeNotSatisfiable { len: told } if told == last + 1)
            );
        }
        let error = world.select("a", Selection::Part(part_number(2))).await.expect_err("no part");
        assert!(matches!(error, GetError::NoSuchPart { parts: 1 }));
    }
    world.put("empty", b"").await;
    assert!(world.select("empty", Selection::Suffix(1)).await.is_err());
    let (info, found) =
        world.select("empty", Selection::Part(part_number(1))).await.expect("part one");
    assert_eq!((info.partial, found.len()), (false, 0));
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bodies_leave_nothing() {
    let world = World::new().await;
    world.put("a", b"before").await;
    for len in [SMALL, LARGE] {
        let content = bytes(len, 3);
        let declared =
            |change: i64| PutRequest { len: (len as i64 + change) as u64, ..request(&content) };
        let failed = |error| PutError::Failure(Failure::Store(StoreError::Body(error))).to_string();
        let short = world.try_put("a", declared(1)).await.expect_err("too short");
        assert_eq!(short.to_string(), failed(BodyError::Incomplete));
        let long = world.try_put("a", declared(-1)).await.expect_err("too long");
        assert_eq!(long.to_string(), failed(BodyError::TooLong));

        let digests = DeclaredDigests { md5: Some([1; 16]), checksum: None };
        let wrong = world.try_put("a", PutRequest { digests, ..request(&content) }).await;
        assert!(matches!(wrong, Err(PutError::Digest(DigestMismatch::Md5))));
        let algorithm = ChecksumAlgorithm::Sha256;
        let value = ChecksumValue::new(algorithm, &[0; 32]).expect("32 bytes");
        let value = DeclaredValue::Trailer(Box::new(|| Some(value)));
        let digests =
            DeclaredDigests { md5: None, checksum: Some(DeclaredChecksum { algorithm, value }) };
        let wrong = world.try_put("a", PutRequest { digests, ..request(&content) }).await;
        assert!(matches!(wrong, Err(PutError::Digest(DigestMismatch::Checksum))));

        let mut pieces = vec![Ok(bytes::Bytes::from(content.clone()))];
        pieces.push(Err(BodyError::Refused("signature".to_owned())));
        let body: BodyStream = Box::pin(futures::stream::iter(pieces));
        let refused = world.try_put("a", PutRequest { body, ..request(&content) }).await;
        assert_eq!(
            refused.expect_err("refused at its end").to_string(),
            failed(BodyError::Refused("signature".to_owned()))
        );
    }
    let huge = PutRequest { len: types::limits::PUT_MAX_BYTES + 1, ..request(b"") };
    assert!(matches!(world.try_put("a", huge).await, Err(PutError::TooLarge)));
    assert_eq!(world.get("a").await.as_deref(), Some(&b"before"[..]));
    let census = world.check().await;
    assert_eq!((census.objects, census.blobs, census.garbage.len()), (1, 0, 0));
    no_shards_are_left(&world).await;
    crate::collect::ends_clean(&world).await;
}

/// What was discarded is gone from the drives, once the background has had its turn.
pub async fn no_shards_are_left(world: &World) {
    for _ in 0..500 {
        let mut left = 0;
        for (_, status) in world.engine.drive_statuses().await {
            left += status.shards;
        }
        if left == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("shards of refused bodies are still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn overwriting_replaces_everything() {
    let world = World::new().await;
    let lens = [SMALL, LARGE, LARGE + 1, 0, LARGE, SMALL, SMALL + 1, 0];
    for (at, len) in lens.into_iter().enumerate() {
        let content = bytes(len, at as u64);
        world.put("a", &content).await;
        assert_eq!(world.get("a").await.as_deref(), Some(&content[..]));
        let census = world.check().await;
        assert_eq!((census.objects, census.bytes), (1, len as u64));
    }
    let census = world.check().await;
    // Three blobs were written and replaced; the collector that removes them is not this test's.
    assert_eq!((census.blobs, census.references, census.garbage.len()), (3, 0, 3));
    assert!(census.garbage.values().all(|&times| times == 1));
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_a_replaced_object_finishes() {
    let world = World::new().await;
    let content = bytes(2 << 20, 1);
    world.put("a", &content).await;
    let found =
        world.engine.get_object(world.on("a").await, GetRequest::default()).await.expect("found");
    assert_eq!(world.engine.metrics_snapshot().open_reads, 1);
    world.put("a", b"new").await;
    world.delete("a").await;
    assert_eq!(read(found.body).await.expect("the old body"), content);
    assert_eq!(world.engine.metrics_snapshot().open_reads, 0);
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_engine_finds_everything() {
    let world = World::new().await;
    let content = bytes(LARGE, 1);
    world.put("a", &content).await;
    world.engine.stop().await;
    let fenced = world.try_put("b", request(b"x")).await;
    assert!(matches!(fenced, Err(PutError::Failure(Failure::Fenced))), "{fenced:?}");
    let engine = world.second_engine().await;
    let found = engine.get_object(world.on("a").await, GetRequest::default()).await.expect("found");
    assert_eq!(read(found.body).await.expect("the body"), content);
    engine.put_object(world.on("b").await, request(b"y")).await.expect("a put");
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drives_are_told_in_the_layouts_order() {
    let world = World::new().await;
    world.put("a", &bytes(LARGE, 1)).await;
    let statuses = world.engine.drive_statuses().await;
    let ids: Vec<_> = statuses.iter().map(|(drive, _)| drive.id.get()).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    assert_eq!(statuses.iter().map(|(_, status)| status.shards).sum::<u64>(), 5);
    assert_eq!(world.engine.region(), "us-east-1");
}
