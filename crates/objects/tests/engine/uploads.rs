//! Listings of uploads and parts.

use std::collections::BTreeSet;

use objects::*;
use types::UploadId;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn uploads_are_listed_in_pages() {
    let world = World::new().await;
    let mut all = BTreeSet::new();
    for key in ["a", "a", "a", "a\0b", "b/1", "b/2", "b/2", "c"] {
        all.insert((key.to_owned(), world.begin(key).await));
    }
    let all: Vec<_> = all.into_iter().collect();
    let list = async |request: UploadsRequest| {
        let proof = world.on_bucket("first").await;
        world.engine.list_uploads(proof, request).await.expect("a page")
    };
    for max in 1..=9 {
        let mut request = UploadsRequest { max, ..Default::default() };
        let mut found = Vec::new();
        loop {
            let page = list(request.clone()).await;
            assert!(page.uploads.len() <= max);
            found.extend(page.uploads.into_iter().map(|u| (u.key, u.upload)));
            let Some((key, upload)) = page.next else { break };
            (request.after_key, request.after_upload) = (Some(key), upload);
        }
        assert_eq!(found, all, "pages of {max}");
    }
    let keys = |page: &UploadPage| page.uploads.iter().map(|u| u.key.clone()).collect::<Vec<_>>();
    // Behind a key alone means behind all of its uploads.
    let behind = UploadsRequest { after_key: Some("a".to_owned()), max: 9, ..Default::default() };
    assert_eq!(keys(&list(behind).await), ["a\0b", "b/1", "b/2", "b/2", "c"]);
    let under = UploadsRequest { prefix: "b/".to_owned(), max: 9, ..Default::default() };
    assert_eq!(keys(&list(under).await), ["b/1", "b/2", "b/2"]);
    let rolled = |after_key: Option<&str>, max| UploadsRequest {
        delimiter: Some("/".to_owned()),
        after_key: after_key.map(str::to_owned),
        max,
        ..Default::default()
    };
    let page = list(rolled(None, 5)).await;
    assert_eq!((keys(&page).len(), page.prefixes), (4, vec!["b/".to_owned()]));
    assert_eq!(page.next, Some(("b/".to_owned(), None)));
    assert_eq!(keys(&list(rolled(Some("b/"), 5)).await), ["c"]);
    assert_eq!(keys(&list(rolled(Some("b/1"), 5)).await), ["c"]);
    assert_eq!(list(rolled(None, 0)).await, UploadPage::default());
    let long = UploadsRequest {
        after_key: Some("a".repeat(5000)),
        after_upload: Some(UploadId::new(0)),
        max: 9,
        ..Default::default()
    };
    assert_eq!(keys(&list(long).await), ["b/1", "b/2", "b/2", "c"]);
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_listed_in_pages() {
    let world = World::new().await;
    let checksum = Some((ChecksumAlgorithm::Crc32c, ChecksumKind::Composite));
    let upload = world.begin_with("a", NewUpload { checksum, ..NewUpload::default() }).await;
    let numbers = [1_u16, 2, 5, 9_999, 10_000];
    let mut etags = Vec::new();
    for number in numbers {
        etags.push(world.part("a", upload, number, &bytes(SMALL, number.into())).await.etag);
    }
    let list = async |after, max| {
        let proof = world.on("a").await;
        let page = world.engine.list_parts(proof, upload, after, max).await.expect("a page");
        assert_eq!(page.checksum, checksum);
        assert!(page.parts.iter().all(|p| p.checksum.is_some() && p.len == SMALL as u64));
        let numbers: Vec<u16> = page.parts.iter().map(|p| p.number.get()).collect();
        (numbers, page.next)
    };
    assert_eq!(list(0, 1000).await, (numbers.to_vec(), None));
    assert_eq!(list(0, 5).await, (numbers.to_vec(), None));
    assert_eq!(list(0, 2).await, (vec![1, 2], Some(2)));
    assert_eq!(list(2, 2).await, (vec![5, 9_999], Some(9_999)));
    assert_eq!(list(9_999, 2).await, (vec![10_000], None));
    assert_eq!(list(10_000, 2).await, (vec![], None));
    assert_eq!(list(0, 0).await, (vec![], None));
    world.abort("a", upload).await.expect("aborted");
    let gone = world.engine.list_parts(world.on("a").await, upload, 0, 10).await;
    assert!(matches!(gone, Err(UploadError::NoSuchUpload)));
    crate::collect::ends_clean(&world).await;
}
