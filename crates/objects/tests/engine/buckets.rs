//! Buckets.

use objects::*;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_name_belongs_to_one_bucket_of_one_account() {
    let world = World::new().await;
    let again = world.engine.create_bucket(world.new_bucket(1, "first")).await;
    assert!(matches!(again, Err(CreateBucketError::OwnedByYou)));
    let other = world.engine.create_bucket(world.new_bucket(2, "first")).await;
    assert!(matches!(other, Err(CreateBucketError::Taken)));
    let made = world.engine.create_bucket(world.new_bucket(2, "second")).await.expect("a bucket");
    assert_eq!((made.name.as_str(), made.owner.get()), ("second", 2));
    // Each account sees its own.
    let proof = world.on_account().await;
    let (mine, more) = world.engine.list_buckets(proof, "", None, 10).await.expect("a list");
    let names: Vec<_> = mine.iter().map(|b| b.name.as_str().to_owned()).collect();
    assert_eq!((names, more), (vec!["first".to_owned()], false));
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_creators_wins() {
    let world = World::new().await;
    let tries = (0..16).map(|account| {
        let (engine, proof) = (world.engine.clone(), world.new_bucket(account + 1, "wanted"));
        tokio::spawn(async move { engine.create_bucket(proof).await })
    });
    let mut won = 0;
    for result in futures::future::join_all(tries).await {
        match result.expect("no panic") {
            Ok(_) => won += 1,
            Err(error) => assert!(matches!(error, CreateBucketError::Taken), "{error}"),
        }
    }
    assert_eq!(won, 1);
    world.check().await;
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_are_listed_in_pages() {
    let world = World::new().await;
    for name in ["aa-1", "aa-2", "bb-1", "zz-1"] {
        world.create_bucket(name).await;
    }
    let list = async |prefix: &str, after: Option<&str>, max| {
        let proof = world.on_account().await;
        let page = world.engine.list_buckets(proof, prefix, after, max).await.expect("a page");
        (page.0.into_iter().map(|b| b.name.as_str().to_owned()).collect::<Vec<_>>(), page.1)
    };
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        list("", None, 10).await,
        (names(&["aa-1", "aa-2", "bb-1", "first", "zz-1"]), false)
    );
    assert_eq!(list("", None, 2).await, (names(&["aa-1", "aa-2"]), true));
    assert_eq!(list("", Some("aa-2"), 2).await, (names(&["bb-1", "first"]), true));
    assert_eq!(list("aa", None, 10).await, (names(&["aa-1", "aa-2"]), false));
    assert_eq!(list("aa", Some("aa-1"), 10).await, (names(&["aa-2"]), false));
    assert_eq!(list("", Some("zzz"), 10).await, (names(&[]), false));
    assert_eq!(list("", None, 0).await, (names(&[]), false));
    let long = "a".repeat(10_000);
    assert_eq!(list(&long, None, 10).await, (names(&[]), false));
    assert_eq!(list("", Some(&long), 10).await.0, names(&["bb-1", "first", "zz-1"]).to_vec());
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_end_with_their_bucket_but_not_before() {
    let world = World::new().await;
    let remove = async || world.engine.delete_bucket(world.on_bucket("first").await).await;
    let mut uploads = Vec::new();
    for key in ["a", "a", "b/c"] {
        let upload = world.begin(key).await;
        world.part(key, upload, 1, b"part").await;
        uploads.push((key, upload));
    }
    // While there is an object, nothing is lost.
    world.put("z", b"x").await;
    assert!(matches!(remove().await, Err(DeleteBucketError::NotEmpty)));
    for (key, upload) in &uploads {
        world.part(key, *upload, 2, b"more").await;
    }
    world.delete("z").await;
    let late = world.on("a").await;
    remove().await.expect("removed");
    world.create_bucket("first").await;
    let request = PartRequest {
        upload: uploads[0].1,
        number: part_number(3),
        len: 4,
        digests: Default::default(),
        body: body(b"late"),
    };
    let part = world.engine.put_part(late, request).await;
    assert!(matches!(part, Err(UploadError::NoSuchUpload)), "{part:?}");
    let census = world.check().await;
    // Each upload was filed for collection, once.
    assert_eq!((census.garbage.len(), census.garbage.values().max()), (3, Some(&1)));
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_empty_bucket_is_removed() {
    let world = World::new().await;
    let remove = async || world.engine.delete_bucket(world.on_bucket("first").await).await;
    world.put("a", b"x").await;
    assert!(matches!(remove().await, Err(DeleteBucketError::NotEmpty)));
    world.delete("a").await;

    // Proofs made while the bucket was there are worth nothing afterwards, not even under its old name.
    let (put, get) = (world.on("a").await, world.on("a").await);
    let (list, second) = (world.on_bucket("first").await, world.on_bucket("first").await);
    remove().await.expect("removed");
    let again = world.create_bucket("first").await;
    let put = world.engine.put_object(put, request(b"x")).await;
    assert!(matches!(put, Err(PutError::Failure(Failure::NoSuchBucket))), "{put:?}");
    let get = world.engine.get_object(get, GetRequest::default()).await;
    assert!(matches!(get, Err(GetError::Failure(Failure::NoSuchBucket))));
    let list = world.engine.list_objects(list, ListRequest { max: 1, ..Default::default() }).await;
    assert!(matches!(list, Err(Failure::NoSuchBucket)));
    let second = world.engine.delete_bucket(second).await;
    assert!(matches!(second, Err(DeleteBucketError::Failure(Failure::NoSuchBucket))));
    assert_eq!(
        world.on_bucket::<tenancy::action::ListBucket>("first").await.resource().id,
        again.id
    );
    world.check().await;
    crate::collect::ends_clean(&world).await;
}
