//! Copies.

use objects::*;

use crate::support::*;

pub fn plain() -> CopyRequest {
    CopyRequest {
        headers: CopyHeaders::Keep,
        source_conditions: ReadConditions::default(),
        conditions: WriteConditions::default(),
        checksum: None,
    }
}

pub async fn copy(world: &World, from: &str, to: &str) -> Result<WriteResult, CopyError> {
    copy_with(world, from, to, plain()).await
}

pub async fn copy_with(
    world: &World,
    from: &str,
    to: &str,
    request: CopyRequest,
) -> Result<WriteResult, CopyError> {
    let (source, target) = (world.on(from).await, world.on(to).await);
    world.engine.copy_object(source, target, request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_share_their_blob_and_outlive_their_source() {
    let world = World::new().await;
    world.create_bucket("other").await;
    for len in [0, SMALL, LARGE] {
        let content = bytes(len, 4);
        let written = world.put("a", &content).await;
        let copied = copy(&world, "a", "b").await.expect("a copy");
        assert_eq!((&copied.etag, copied.len), (&written.etag, written.len));
        let (source, target) = (world.on("b").await, world.on_in("other", "c").await);
        world.engine.copy_object(source, target, plain()).await.expect("a copy");
        assert_eq!(world.check().await.blobs, usize::from(len == LARGE));
        assert!(world.delete("a").await && world.delete("b").await);
        assert_eq!(world.get_in("other", "c").await.as_deref(), Some(&content[..]));
        world.check().await;
    }
    let missing = copy(&world, "nothing", "b").await;
    assert!(matches!(missing, Err(CopyError::Source(GetError::NoSuchKey))));
    // The source's bucket may go; what the copy shares stays where it was.
    world.engine.delete_bucket(world.on_bucket("first").await).await.expect("removed");
    assert_eq!(world.get_in("other", "c").await.map(|b| b.len()), Some(LARGE));
    assert_eq!(world.check_shards().await, DRIVES as usize);
    world.check().await;
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_onto_itself_must_change_something() {
    let world = World::new().await;
    for len in [SMALL, LARGE] {
        let content = bytes(len, 6);
        world.put("a", &content).await;
        assert!(matches!(copy(&world, "a", "a").await, Err(CopyError::Nothing)));
        let headers =
            ObjectHeaders { cache_control: Some("max-age=1".to_owned()), ..Default::default() };
        let request = CopyRequest { headers: CopyHeaders::Replace(headers.clone()), ..plain() };
        copy_with(&world, "a", "a", request).await.expect("new headers");
        assert_eq!(world.head("a").await.headers, headers);
        assert_eq!(world.get("a").await.as_deref(), Some(&content[..]));
        let census = world.check().await;
        // The blob lost a reference and got another: it is filed all the same, and still used.
        let large = usize::from(len == LARGE);
        assert_eq!((census.blobs, census.references, census.garbage.len()), (large, large, large));
        let request = CopyRequest { checksum: Some(ChecksumAlgorithm::Sha256), ..plain() };
        copy_with(&world, "a", "a", request.clone()).await.expect("a checksum");
        assert!(matches!(copy_with(&world, "a", "a", request).await, Err(CopyError::Nothing)));
        assert_eq!(world.get("a").await.as_deref(), Some(&content[..]));
        world.check().await;
    }
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_checksum_is_computed_from_the_bytes() {
    let world = World::new().await;
    for len in [0, SMALL, LARGE] {
        let content = bytes(len, 8);
        let digests = |algorithm| DeclaredDigests {
            md5: None,
            checksum: Some(DeclaredChecksum { algorithm, value: DeclaredValue::None }),
        };
        let crc = digests(ChecksumAlgorithm::Crc32);
        world.try_put("a", PutRequest { digests: crc, ..request(&content) }).await.expect("a put");
        let sha = digests(ChecksumAlgorithm::Sha256);
        let known = world.try_put("s", PutRequest { digests: sha, ..request(&content) }).await;
        let wanted = Some(ChecksumAlgorithm::Sha256);
        let copied = copy_with(&world, "a", "b", CopyRequest { checksum: wanted, ..plain() }).await;
        assert_eq!(copied.expect("a copy").checksum, known.expect("a put").checksum);
        let kept = copy(&world, "a", "c").await.expect("a copy").checksum.expect("a checksum");
        assert_eq!(kept.value.algorithm(), ChecksumAlgorithm::Crc32);
    }
    world.check().await;
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_hold_on_both_sides() {
    let world = World::new().await;
    let source = world.put("a", b"source").await;
    let target = world.put("b", b"target").await;
    let one = |etag: &str| Some(EtagCondition::OneOf(vec![etag.to_owned()]));
    let of_source = |source_conditions| CopyRequest { source_conditions, ..plain() };
    let of_target = |if_match, if_none_match| CopyRequest {
        conditions: WriteConditions { if_match, if_none_match },
        ..plain()
    };
    let failed = |result: Result<WriteResult, CopyError>| {
        matches!(result, Err(CopyError::Source(GetError::PreconditionFailed)))
    };
    let other = ReadConditions { if_match: one("x"), ..Default::default() };
    assert!(failed(copy_with(&world, "a", "b", of_source(other)).await));
    let same = ReadConditions { if_none_match: one(&source.etag), ..Default::default() };
    assert!(failed(copy_with(&world, "a", "b", of_source(same)).await));
    let target_failed = |result: Result<WriteResult, CopyError>| {
        matches!(result, Err(CopyError::Target(PutError::PreconditionFailed)))
    };
    let any = Some(EtagCondition::Any);
    assert!(target_failed(copy_with(&world, "a", "b", of_target(None, any)).await));
    assert!(target_failed(copy_with(&world, "a", "b", of_target(one("x"), None)).await));
    copy_with(&world, "a", "b", of_target(one(&target.etag), None)).await.expect("a copy");
    assert_eq!(world.get("b").await.as_deref(), Some(&b"source"[..]));
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completed_upload_is_shared_too() {
    let world = World::new().await;
    let (first, last) = (bytes(PART, 1), bytes(SMALL, 2));
    let upload = world.begin("a").await;
    let one = world.part("a", upload, 1, &first).await;
    let two = world.part("a", upload, 2, &last).await;
    let made = world.complete("a", upload, &[(1, &one.etag), (2, &two.etag)]).await.expect("made");
    let copied = copy(&world, "a", "b").await.expect("a copy");
    assert_eq!(copied.etag, made.etag);
    assert!(world.delete("a").await);
    let whole = [first, last].concat();
    assert_eq!(world.get("b").await.as_deref(), Some(&whole[..]));
    let census = world.check().await;
    assert_eq!((census.manifests, census.parts, census.garbage.len()), (1, 2, 1));
    let sha = CopyRequest { checksum: Some(ChecksumAlgorithm::Sha1), ..plain() };
    let copied = copy_with(&world, "b", "c", sha).await.expect("a copy");
    assert_eq!(copied.checksum.map(|c| c.kind), Some(ChecksumKind::FullObject));
    crate::collect::ends_clean(&world).await;
}
