//! Deletes, one and many.

use objects::*;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn deleting_says_what_was_there() {
    let world = World::new().await;
    assert!(!world.delete("a").await);
    for len in [0, SMALL, LARGE] {
        world.put("a", &bytes(len, 1)).await;
        assert!(world.delete("a").await);
        assert!(!world.delete("a").await);
        assert_eq!(world.get("a").await, None);
    }
    let census = world.check().await;
    assert_eq!((census.objects, census.bytes, census.references), (0, 0, 0));
    assert_eq!((census.blobs, census.garbage.len()), (1, 1));
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_at_once() {
    let world = World::new().await;
    // Every third is missing, every tenth is large, some share a blob, and one is named twice.
    let mut keys: Vec<String> = (0..300).map(|n| format!("k{n:03}")).collect();
    let large = bytes(LARGE, 9);
    let mut puts = Vec::new();
    for (n, key) in keys.iter().enumerate().filter(|(n, _)| n % 3 != 0) {
        let content = if n % 10 == 0 { &large[..] } else { &large[..SMALL] };
        let (engine, proof, request) =
            (world.engine.clone(), world.on(key).await, request(content));
        puts.push(tokio::spawn(async move { engine.put_object(proof, request).await }));
    }
    for put in futures::future::join_all(puts).await {
        put.expect("no panic").expect("a put");
    }
    for copy in 0..40 {
        let key = format!("c{copy}");
        crate::copies::copy(&world, "k010", &key).await.expect("a copy");
        keys.push(key);
    }
    keys.push("k001".to_owned());
    let mut proofs = Vec::new();
    for key in &keys {
        proofs.push(world.on(key).await);
    }
    let results = world.engine.delete_objects(proofs).await;
    assert_eq!(results.len(), keys.len());
    for (n, result) in results.into_iter().enumerate() {
        let there = result.expect("a delete");
        let expected = n < 340 && (n >= 300 || n % 3 != 0);
        assert_eq!(there, expected, "{}", keys[n]);
    }
    let census = world.check().await;
    assert_eq!((census.objects, census.bytes, census.references), (0, 0, 0));
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_batches_delete_each_key_once() {
    let world = World::new().await;
    let keys: Vec<String> = (0..60).map(|n| format!("k{n}")).collect();
    for key in &keys {
        world.put(key, b"x").await;
    }
    let mut batches = Vec::new();
    for _ in 0..4 {
        let mut proofs = Vec::new();
        for key in &keys {
            proofs.push(world.on(key).await);
        }
        let engine = world.engine.clone();
        batches.push(tokio::spawn(async move { engine.delete_objects(proofs).await }));
    }
    let mut there = 0;
    for batch in futures::future::join_all(batches).await {
        for result in batch.expect("no panic") {
            there += usize::from(result.expect("a delete"));
        }
    }
    assert_eq!(there, keys.len());
    assert_eq!(world.check().await.objects, 0);
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deleted_of_nothing() {
    let world = World::new().await;
    assert!(world.engine.delete_objects(Vec::new()).await.is_empty());
    let proof = world.on("a").await;
    world.engine.delete_bucket(world.on_bucket("first").await).await.expect("removed");
    let results = world.engine.delete_objects(vec![proof]).await;
    assert!(matches!(results[..], [Err(Failure::NoSuchBucket)]));
    crate::collect::ends_clean(&world).await;
}
