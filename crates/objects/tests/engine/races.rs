//! Many at once: conditions are exact, counters and garbage are exact.

use futures::future::join_all;
use objects::*;

use crate::copies::plain;
use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_writers_finds_nothing_there() {
    let world = World::new().await;
    for len in [SMALL, LARGE] {
        let mut writers = Vec::new();
        for writer in 0..32 {
            let conditions =
                WriteConditions { if_match: None, if_none_match: Some(EtagCondition::Any) };
            let request = PutRequest { conditions, ..request(&bytes(len, writer)) };
            let (engine, proof) = (world.engine.clone(), world.on("a").await);
            writers.push(tokio::spawn(async move { engine.put_object(proof, request).await }));
        }
        let mut won = Vec::new();
        for (writer, result) in join_all(writers).await.into_iter().enumerate() {
            match result.expect("no panic") {
                Ok(_) => won.push(writer),
                Err(error) => assert!(matches!(error, PutError::PreconditionFailed), "{error}"),
            }
        }
        let [winner] = won[..] else { panic!("{won:?} have won") };
        assert_eq!(world.get("a").await, Some(bytes(len, winner as u64)));
        world.check().await;
        assert!(world.delete("a").await);
    }
    // What the losers had stored is gone, and what the winner had is garbage that is filed.
    let census = world.check().await;
    assert_eq!((census.blobs, census.garbage.len()), (1, 1));
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_counter_of_etags_is_exact() {
    let world = World::new().await;
    world.put("counter", b"0").await;
    let counters = (0..8).map(|_| async {
        let mut added = 0;
        while added < 10 {
            let request = GetRequest::default();
            let found = world.engine.get_object(world.on("counter").await, request).await;
            let found = found.expect("a counter");
            let etag = found.info.etag;
            let text = String::from_utf8(read(found.body).await.expect("a body")).expect("text");
            let next = text.parse::<u64>().expect("a number") + 1;
            let if_match = Some(EtagCondition::OneOf(vec![etag]));
            let conditions = WriteConditions { if_match, if_none_match: None };
            let put = PutRequest { conditions, ..request_of(next) };
            match world.try_put("counter", put).await {
                Ok(_) => added += 1,
                Err(PutError::PreconditionFailed) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    join_all(counters).await;
    assert_eq!(world.get("counter").await.as_deref(), Some(&b"80"[..]));
    world.check().await;
    crate::collect::ends_clean(&world).await;
}

fn request_of(number: u64) -> PutRequest {
    request(number.to_string().as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn overwrites_and_deletes_of_one_key_are_exact() {
    let world = World::new().await;
    let mut tasks = Vec::new();
    for task in 0..24_u64 {
        let world = (world.engine.clone(), world.on("a").await, world.on("a").await);
        tasks.push(tokio::spawn(async move {
            let (engine, put, delete) = world;
            let len = if task % 3 == 0 { LARGE } else { SMALL };
            engine.put_object(put, request(&bytes(len, task))).await.expect("a put");
            if task % 4 == 0 {
                engine.delete_object(delete).await.expect("a delete");
            }
        }));
    }
    for task in join_all(tasks).await {
        task.expect("no panic");
    }
    let census = world.check().await;
    let left = world.get("a").await;
    assert_eq!(
        (census.objects, census.bytes),
        match &left {
            Some(content) => (1, content.len() as u64),
            None => (0, 0),
        }
    );
    // Eight large bodies; each is current or was filed exactly once.
    let current = usize::from(left.is_some_and(|content| content.len() == LARGE));
    assert_eq!((census.blobs, census.garbage.len()), (8, 8 - current));
    assert!(census.garbage.values().all(|&times| times == 1));
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_put_lands_in_a_deleted_bucket() {
    let world = World::new().await;
    for round in 0..20 {
        let name = format!("bucket-{round}");
        world.create_bucket(&name).await;
        let mut puts = Vec::new();
        for writer in 0..4 {
            let proof = world.on_in(&name, &format!("k{writer}")).await;
            let engine = world.engine.clone();
            let len = if writer == 0 && round % 5 == 0 { LARGE } else { SMALL };
            puts.push(tokio::spawn(async move {
                engine.put_object(proof, request(&bytes(len, writer))).await
            }));
        }
        let proof = world.on_bucket(&name).await;
        let deleted = world.engine.delete_bucket(proof).await;
        let mut put = 0;
        for result in join_all(puts).await {
            match result.expect("no panic") {
                Ok(_) => put += 1,
                Err(PutError::Failure(Failure::NoSuchBucket)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        match deleted {
            Ok(()) => assert_eq!(put, 0),
            Err(DeleteBucketError::NotEmpty) => assert!(put > 0),
            Err(error) => panic!("{error}"),
        }
        world.check().await;
    }
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parts_meet_completing_and_aborting() {
    let world = World::new().await;
    for round in 0..12_u64 {
        let key = format!("k{round}");
        let upload = world.begin(&key).await;
        let first = world.part(&key, upload, 1, &bytes(SMALL, round)).await.etag;
        let mut parts = Vec::new();
        for seed in 0..4_u64 {
            // Some replace the part that is being listed, some add another.
            let number = 1 + (seed % 2) as u16;
            let (engine, proof) = (world.engine.clone(), world.on(&key).await);
            let content = bytes(if seed == 3 { LARGE } else { SMALL }, 100 + seed);
            let request = PartRequest {
                upload,
                number: part_number(number),
                len: content.len() as u64,
                digests: DeclaredDigests::default(),
                body: body(&content),
            };
            parts.push(tokio::spawn(async move { engine.put_part(proof, request).await }));
        }
        let ended = match round % 2 {
            0 => match world.complete(&key, upload, &[(1, &first)]).await {
                Ok(_) => {
                    let content = world.get(&key).await;
                    assert_eq!(content, Some(bytes(SMALL, round)));
                    true
                }
                Err(CompleteError::InvalidPart { number: 1 }) => false,
                Err(error) => panic!("{error}"),
            },
            _ => {
                world.abort(&key, upload).await.expect("aborted");
                true
            }
        };
        for result in join_all(parts).await {
            match result.expect("no panic") {
                Ok(_) => {}
                Err(UploadError::NoSuchUpload) => assert!(ended),
                Err(error) => panic!("{error}"),
            }
        }
        world.check().await;
        if !ended {
            world.abort(&key, upload).await.expect("aborted");
        }
    }
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn completing_twice_makes_one_object() {
    let world = World::new().await;
    let upload = world.begin("a").await;
    let etag = world.part("a", upload, 1, &bytes(LARGE, 1)).await.etag;
    let mut tries = Vec::new();
    for _ in 0..8 {
        let (engine, proof) = (world.engine.clone(), world.on("a").await);
        let request = CompleteRequest { parts: completed(&[(1, &etag)]), ..Default::default() };
        tries.push(tokio::spawn(
            async move { engine.complete_upload(proof, upload, request).await },
        ));
    }
    let mut results = Vec::new();
    for result in join_all(tries).await {
        results.push(result.expect("no panic").expect("made"));
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
    let census = world.check().await;
    assert_eq!((census.objects, census.references, census.garbage.len()), (1, 2, 0));
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copy_meets_the_deletion_of_its_source() {
    let world = World::new().await;
    for round in 0..16_u64 {
        let content = bytes(if round % 2 == 0 { LARGE } else { SMALL }, round);
        world.put("source", &content).await;
        let (engine, source, target) =
            (world.engine.clone(), world.on("source").await, world.on("target").await);
        let copy = tokio::spawn(async move { engine.copy_object(source, target, plain()).await });
        if round % 4 < 2 {
            tokio::task::yield_now().await;
        }
        assert!(world.delete("source").await);
        match copy.await.expect("no panic") {
            Ok(_) => assert_eq!(world.get("target").await, Some(content)),
            Err(CopyError::Source(GetError::NoSuchKey)) => {}
            Err(error) => panic!("{error}"),
        }
        world.check().await;
    }
    crate::collect::ends_clean(&world).await;
}
