//! Keys, values and limits.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use types::{ErrorKind, limits};

use super::{Client, data, pages, path, under};
use crate::{Batch, Direction, Guard, Key, KeyRange, KvError, Outcome};

pub(super) async fn keys_are_ordered_by_their_bytes(client: &Client) {
    let mut suffixes: BTreeSet<Vec<u8>> =
        [&b""[..], b"\0", b"\0\0", b"\xff", b"\xff\xff", b"a", b"a\0", b"a\xff", b"b"]
            .map(<[u8]>::to_vec)
            .into();
    while suffixes.len() < 400 {
        let len = client.below(6) as usize;
        suffixes.insert(client.bytes(len));
    }
    let mut shuffled: Vec<&Vec<u8>> = suffixes.iter().collect();
    for index in (1..shuffled.len()).rev() {
        shuffled.swap(index, client.below(index as u64 + 1) as usize);
    }
    for some in shuffled.chunks(50) {
        let mut batch = Batch::default();
        for suffix in some {
            batch.put(data(&[b"k", suffix]), Bytes::copy_from_slice(suffix));
        }
        client.must(batch).await;
    }
    client.put(&data(&[b"j"]), "before").await;
    client.put(&data(&[b"l"]), "behind").await;
    let forward = pages(&*client.store, &under(b"k"), 64, Direction::Forward).await;
    let expected: Vec<Key> = suffixes.iter().map(|suffix| data(&[b"k", suffix])).collect();
    let keys: Vec<Key> = forward.iter().map(|entry| entry.key.clone()).collect();
    assert_eq!(keys, expected);
    for (entry, suffix) in forward.iter().zip(&suffixes) {
        assert_eq!(entry.value, suffix);
    }
    let mut backward = pages(&*client.store, &under(b"k"), 64, Direction::Backward).await;
    backward.reverse();
    assert_eq!(backward, forward);
}

pub(super) async fn values_of_any_length_come_back(client: &Client) {
    let longest_key =
        Key::control(&"/long".repeat(1000)[..limits::KV_KEY_MAX_BYTES]).expect("a path");
    for len in [0, 1, 7, 8, 9, 4095, 70_000, limits::KV_VALUE_MAX_BYTES] {
        let value = Bytes::from(client.bytes(len));
        let revision = client.put(&longest_key, value.clone()).await;
        let found = client.get(&longest_key).await.expect("is there");
        assert!(found.value == value, "a value of {len} bytes");
        assert_eq!(found.revision, revision);
    }
    assert_eq!(client.get(&path("/absent")).await, None);
}

pub(super) async fn limits_are_kept_and_nothing_is_written(client: &Client) {
    let key = path("/limit");
    let mut many = Batch::default();
    many.put(key.clone(), "x");
    for number in 0..limits::KV_BATCH_MAX_OPS {
        many.guard(Guard::Absent(path(&format!("/limit/{number}"))));
    }
    let mut long = Batch::default();
    long.put(key.clone(), vec![0; limits::KV_VALUE_MAX_BYTES + 1]);
    let mut heavy = Batch::default();
    for number in 0..3 {
        heavy.put(path(&format!("/limit/{number}")), vec![0; limits::KV_VALUE_MAX_BYTES]);
    }
    heavy.put(key.clone(), "x");
    for batch in [many, long, heavy] {
        let refused = client.try_commit(batch).await;
        assert!(matches!(refused, Err(KvError::TooLarge(_))), "{refused:?}");
    }
    assert_eq!(client.all(&KeyRange::prefix(&key)).await, vec![]);
}

pub(super) async fn a_closed_store_says_so(client: &Client) {
    let key = path("/closed");
    client.put(&key, "x").await;
    client.store.close(Duration::from_secs(30)).await.expect("closes");
    let unavailable = |result: Result<(), KvError>| match result {
        Ok(()) => panic!("a closed store answered"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}"),
    };
    unavailable(client.store.get(&key).await.map(drop));
    unavailable(client.store.snapshot().await.map(drop));
    unavailable(client.store.revision().await.map(drop));
    unavailable(client.store.end_session(client.session).await.map(drop));
    let mut batch = Batch::default();
    batch.put(key, "y");
    match client.try_commit(batch).await {
        Ok(Outcome::Unknown) => {}
        other => unavailable(other.map(drop)),
    }
}
