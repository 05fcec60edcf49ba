//! Listings of objects, against a model.

use std::collections::BTreeSet;

use kv::Batch;
use objects::schema::object::{Body, Object};
use objects::schema::{Etag, Home, Record as _, object};
use objects::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use types::{UnixMillis, VersionId};

use crate::support::*;

/// One item of a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Key(String),
    Prefix(String),
}

impl Item {
    fn text(&self) -> &str {
        match self {
            Self::Key(text) | Self::Prefix(text) => text,
        }
    }
}

/// Everything that a listing without a limit shows, in order.
fn model(keys: &BTreeSet<String>, request: &ListRequest) -> Vec<Item> {
    let delimiter = request.delimiter.as_deref().filter(|d| !d.is_empty());
    let item = |key: &String| {
        let rest = key.strip_prefix(&request.prefix)?;
        let end = delimiter.and_then(|d| Some(rest.find(d)? + d.len()));
        Some(match end {
            Some(end) => Item::Prefix(key[..request.prefix.len() + end].to_owned()),
            None => Item::Key(key.clone()),
        })
    };
    let mut items: Vec<Item> = keys.iter().filter_map(item).collect();
    items.dedup();
    items.retain(|item| request.after.as_deref().is_none_or(|after| item.text() > after));
    items.sort_by(|a, b| a.text().cmp(b.text()));
    items
}

fn items(page: &ListPage) -> Vec<Item> {
    let keys = page.objects.iter().map(|o| Item::Key(o.key.clone()));
    let mut items: Vec<Item> =
        keys.chain(page.prefixes.iter().cloned().map(Item::Prefix)).collect();
    items.sort_by(|a, b| a.text().cmp(b.text()));
    items
}

/// Puts records without bodies: a listing never looks at those.
async fn fill(world: &World, bucket: BucketInfo, keys: &BTreeSet<String>) {
    let home = Home::of(bucket.id);
    let mut records = keys.iter().enumerate();
    loop {
        let mut batch = Batch::default();
        for (at, key) in records.by_ref().take(90) {
            let record = Object {
                len: 0,
                etag: Etag::of_md5([1; 16]),
                last_modified: UnixMillis(at as u64),
                checksum: None,
                version: VersionId::new(at as u128),
                headers: ObjectHeaders::default(),
                body: Body::Inline,
            };
            batch.put(object::key(home, key), record.encode());
        }
        if batch.writes.is_empty() {
            return;
        }
        let outcome = world.kv.commit(world.engine.next_batch_id(), batch).await;
        assert!(matches!(outcome, Ok(kv::Outcome::Committed(_))));
    }
}

async fn list_in(world: &World, bucket: &str, request: ListRequest) -> ListPage {
    let proof = world.on_bucket(bucket).await;
    world.engine.list_objects(proof, request).await.expect("a page")
}

async fn check(world: &World, bucket: &str, keys: &BTreeSet<String>, request: &ListRequest) {
    let expected = model(keys, request);
    let mut found = Vec::new();
    let mut next = request.clone();
    loop {
        let page = list_in(world, bucket, next.clone()).await;
        let page_items = items(&page);
        assert!(page_items.len() <= next.max);
        let last = page_items.last().map(|item| item.text().to_owned());
        found.extend(page_items);
        let Some(token) = page.next else { break };
        assert_eq!(Some(&token), last.as_ref(), "the next page begins behind the last item");
        next.after = Some(token);
    }
    assert_eq!(found, expected, "{request:?}");
}

fn texts() -> impl Strategy<Value = String> {
    // Few characters, so that prefixes and delimiters meet; the ends of the range of bytes among them.
    prop::collection::vec(
        prop::sample::select(vec!["a", "b", "/", "//", "\0", "é", "\u{10ffff}", "ab", "-"]),
        1..6,
    )
    .prop_map(|pieces| pieces.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_are_those_of_the_model() {
    let world = World::new().await;
    let config = Config { failure_persistence: None, ..Config::with_cases(48) };
    let mut runner = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(Default::default()),
    );
    let optional = || prop::option::of(texts());
    let requests = prop::collection::vec(
        (optional(), optional(), optional(), 1_usize..6).prop_map(
            |(prefix, delimiter, after, max)| ListRequest {
                prefix: prefix.unwrap_or_default(),
                delimiter,
                after,
                max,
            },
        ),
        8,
    );
    let cases = (prop::collection::btree_set(texts(), 0..40), requests);
    let number = std::sync::atomic::AtomicU32::new(0);
    let handle = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        runner
            .run(&cases, |(keys, requests)| {
                handle.block_on(async {
                    let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let name = format!("bucket-{number}");
                    fill(&world, world.create_bucket(&name).await, &keys).await;
                    for request in &requests {
                        check(&world, &name, &keys, request).await;
                    }
                });
                Ok(())
            })
            .expect("all cases hold");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_shows_facts_and_ends_where_it_says() {
    let world = World::new().await;
    let written = world.put("a/1", b"one").await;
    world.put("a/2", b"two").await;
    world.put("b", &bytes(LARGE, 1)).await;
    let page = world.list(ListRequest { max: 1, ..Default::default() }).await;
    let [object] = &page.objects[..] else { panic!("one object") };
    assert_eq!((object.key.as_str(), object.len, &object.etag), ("a/1", 3, &written.etag));
    assert_eq!(object.last_modified, written.last_modified);
    assert_eq!(page.next.as_deref(), Some("a/1"));

    let rolled = |after: Option<&str>, max| ListRequest {
        delimiter: Some("/".to_owned()),
        after: after.map(str::to_owned),
        max,
        ..Default::default()
    };
    let page = world.list(rolled(None, 1)).await;
    assert_eq!((page.objects.len(), &page.prefixes[..]), (0, &["a/".to_owned()][..]));
    assert_eq!(page.next.as_deref(), Some("a/"));
    // Neither the token nor a key inside the prefix brings it back.
    for after in ["a/", "a/1", "a/zzz"] {
        let page = world.list(rolled(Some(after), 5)).await;
        assert_eq!((page.objects.len(), page.prefixes.len()), (1, 0), "{after}");
        assert_eq!(page.next, None);
    }
    // A page that is exactly full says that there is no more.
    let page = world.list(rolled(None, 2)).await;
    assert_eq!((page.objects.len(), page.prefixes.len(), page.next), (1, 1, None));
    assert_eq!(world.list(rolled(None, 0)).await, ListPage::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn overlong_questions_have_answers() {
    let world = World::new().await;
    let keys: BTreeSet<String> =
        ["a".to_owned(), "k".repeat(1024), format!("{}é", "k".repeat(1022)), "z".to_owned()].into();
    fill(&world, world.create_bucket("long").await, &keys).await;
    let long = "k".repeat(5000);
    let split = format!("{}é{}", "k".repeat(1023), "x".repeat(3000));
    for after in [&long, &split] {
        for delimiter in [None, Some("é"), Some("x"), Some("k")] {
            let request = ListRequest {
                after: Some(after.clone()),
                delimiter: delimiter.map(str::to_owned),
                max: 10,
                ..Default::default()
            };
            check(&world, "long", &keys, &request).await;
        }
    }
    for prefix in ["k".repeat(1024), long] {
        let request = ListRequest { prefix, max: 10, ..Default::default() };
        check(&world, "long", &keys, &request).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_common_prefix_of_thousands_costs_one_step() {
    let world = World::new().await;
    let mut keys: BTreeSet<String> = (0..20_000).map(|n| format!("deep/{n:05}")).collect();
    keys.insert("zzz".to_owned());
    fill(&world, world.create_bucket("deep").await, &keys).await;
    let request = ListRequest { delimiter: Some("/".to_owned()), max: 1000, ..Default::default() };
    let page = list_in(&world, "deep", request).await;
    assert_eq!((page.prefixes, page.objects.len()), (vec!["deep/".to_owned()], 1));
    let mut request = ListRequest { max: 1000, ..Default::default() };
    let mut count = 0;
    loop {
        let page = list_in(&world, "deep", request.clone()).await;
        count += page.objects.len();
        match page.next {
            Some(next) => request.after = Some(next),
            None => break,
        }
    }
    assert_eq!(count, keys.len());
}
