//! Pages, snapshots, visits.

use std::collections::BTreeSet;

use types::Revision;

use super::{Client, at_once, data, pages, path, under};
use crate::{Batch, Direction, Entry, Key, KeyRange, Reader, Step, Write};

/// Puts keys under `k` with random suffixes over a small alphabet, so that many share prefixes.
async fn fill(client: &Client, count: usize) -> Vec<Key> {
    let mut keys = BTreeSet::new();
    while keys.len() < count {
        let len = 1 + client.below(6) as usize;
        let suffix: Vec<u8> = (0..len).map(|_| b"\0ab\xff"[client.below(4) as usize]).collect();
        keys.insert(data(&[b"k", &suffix]));
    }
    let keys: Vec<Key> = keys.into_iter().collect();
    for some in keys.chunks(90) {
        let mut batch = Batch::default();
        for key in some {
            batch.put(key.clone(), key.to_bytes());
        }
        client.must(batch).await;
    }
    keys
}

pub(super) async fn pages_join_to_the_whole_range(client: &Client) {
    let keys = fill(client, 300).await;
    for limit in [1, 2, 7, 99, 299, 300, 301, 4096] {
        for direction in [Direction::Forward, Direction::Backward] {
            let mut found = pages(&*client.store, &under(b"k"), limit, direction).await;
            if direction == Direction::Backward {
                found.reverse();
            }
            assert!(found.iter().map(|entry| &entry.key).eq(&keys), "{limit} {direction:?}");
        }
    }
    // A range that begins and ends at keys holds the first and not the last.
    let part = KeyRange::new(keys[10].clone(), keys[20].clone()).expect("a range");
    for direction in [Direction::Forward, Direction::Backward] {
        let page = client.store.scan(&part, 10, direction).await.expect("the store answers");
        assert_eq!(page.entries.len(), 10);
        let mut found: Vec<&Key> = page.entries.iter().map(|entry| &entry.key).collect();
        found.sort();
        assert!(found.into_iter().eq(&keys[10..20]));
        let page = client.store.scan(&part, 9, direction).await.expect("the store answers");
        assert!(page.more && page.entries.len() == 9);
    }
    let nothing = client.store.scan(&under(b"nothing"), 5, Direction::Forward).await;
    assert_eq!(nothing.expect("the store answers").entries, vec![]);
}

pub(super) async fn pages_are_bounded_in_bytes(client: &Client) {
    for number in 0..9u8 {
        client.put(&data(&[b"big", &[number]]), vec![number; 400 << 10]).await;
    }
    for direction in [Direction::Forward, Direction::Backward] {
        let page = client.store.scan(&under(b"big"), 100, direction).await.expect("answers");
        let bytes: usize = page.entries.iter().map(|entry| entry.value.len()).sum();
        assert!(page.more && bytes <= 2 << 20, "a page of {bytes} bytes");
        assert_eq!(pages(&*client.store, &under(b"big"), 100, direction).await.len(), 9);
    }
}

pub(super) async fn several_records_are_of_one_revision(client: &Client) {
    let (a, b) = (path("/a"), path("/b"));
    client.put(&a, "1").await;
    let keys = [b.clone(), a.clone(), path("/absent"), a.clone()];
    let found = client.store.multi_get(&keys).await.expect("the store answers");
    assert_eq!(found[0], None);
    assert_eq!(found[2], None);
    assert_eq!(found[1], found[3]);
    assert_eq!(found[1], client.get(&a).await);
    assert_eq!(client.store.multi_get(&[]).await.expect("the store answers"), vec![]);
}

pub(super) async fn what_was_acknowledged_is_seen(client: &Client) {
    at_once(16, |writer| {
        let client = client.clone();
        async move {
            let key = data(&[b"own", &[writer as u8]]);
            for round in 0u64..20 {
                let revision = client.put(&key, round.to_be_bytes().to_vec()).await;
                let found = client.get(&key).await.expect("was acknowledged");
                assert_eq!(
                    (found.revision, &found.value[..]),
                    (revision, &round.to_be_bytes()[..])
                );
                assert!(client.store.revision().await.expect("answers") >= revision);
                let reader = client.store.snapshot().await.expect("a snapshot");
                assert!(reader.revision() >= revision);
                assert_eq!(reader.get(&key).await.expect("answers"), Some(found));
            }
        }
    })
    .await;
}

async fn everything(reader: &dyn Reader, range: &KeyRange) -> Vec<Entry> {
    reader.scan(range, 4096, Direction::Forward).await.expect("the snapshot answers").entries
}

pub(super) async fn snapshots_stand_still(client: &Client) {
    let keys = fill(client, 120).await;
    let reader = client.store.snapshot().await.expect("a snapshot");
    let newest = client.store.revision().await.expect("the store answers");
    assert_eq!(reader.revision(), newest);
    let before = everything(&*reader, &under(b"k")).await;
    assert_eq!(before.len(), keys.len());
    for (index, key) in keys.iter().enumerate() {
        let mut batch = Batch::default();
        match index % 3 {
            0 => batch.put(key.clone(), "changed"),
            1 => batch.write(Write::Delete(key.clone())),
            _ => batch.put(data(&[b"k", key.as_bytes(), b"new"]), "new"),
        };
        client.must(batch).await;
    }
    assert_eq!(reader.revision(), newest);
    assert_eq!(everything(&*reader, &under(b"k")).await, before);
    let backward = reader.scan(&under(b"k"), 4096, Direction::Backward).await.expect("answers");
    assert!(backward.entries.iter().rev().eq(&before));
    let found = reader.multi_get(&keys).await.expect("the snapshot answers");
    for ((key, found), entry) in keys.iter().zip(&found).zip(&before) {
        let found = found.as_ref().expect("was there then");
        assert_eq!((&found.value, found.revision), (&entry.value, entry.revision));
        assert_eq!(reader.get(key).await.expect("answers").as_ref(), Some(found));
    }
    let later = client.store.snapshot().await.expect("a snapshot");
    assert!(later.revision() > newest);
    assert_ne!(everything(&*later, &under(b"k")).await, before);
}

pub(super) async fn visits_are_scans(client: &Client) {
    fill(client, 700).await;
    let reader = client.store.snapshot().await.expect("a snapshot");
    let expected = everything(&*reader, &under(b"k")).await;
    for stop in [1, 2, 255, 256, 257, 699, 700, 9999] {
        let mut seen = Vec::new();
        let visit = &mut |key: &[u8], value: &[u8], revision: Revision| {
            seen.push((key.to_vec(), value.to_vec(), revision));
            if seen.len() == stop { Step::Stop } else { Step::Next }
        };
        reader.visit(&under(b"k"), visit).await.expect("the snapshot answers");
        let expected = expected
            .iter()
            .take(stop)
            .map(|entry| (entry.key.as_bytes().to_vec(), entry.value.to_vec(), entry.revision));
        assert!(seen.into_iter().eq(expected), "stopped at {stop}");
    }
}

pub(super) async fn visits_that_seek_are_filtered_scans(client: &Client) {
    let keys = fill(client, 800).await;
    let reader = client.store.snapshot().await.expect("a snapshot");
    for round in 0..40 {
        // Per key: go on, or seek to some key behind it: near, far, between two, or out of the range.
        let seeks: Vec<Option<Key>> = (0..keys.len())
            .map(|index| match client.below(4 + round % 3) {
                0 => Some(keys[index].successor()),
                1 => keys.get(index + 1 + client.below(40) as usize).cloned(),
                2 => keys.get(index + 1 + client.below(5) as usize).map(Key::successor),
                3 if client.below(50) == 0 => Some(data(&[b"l"])),
                _ => None,
            })
            .collect();
        let mut expected = Vec::new();
        let mut from = None;
        for (key, seek) in keys.iter().zip(&seeks) {
            if from.as_ref().is_none_or(|from| key >= from) {
                expected.push(key.clone());
                from.clone_from(seek);
            }
        }
        let mut seen = Vec::new();
        let visit = &mut |bytes: &[u8], _: &[u8], _: Revision| {
            let index = keys.partition_point(|key| key.as_bytes() < bytes);
            seen.push(keys[index].clone());
            seeks[index].clone().map_or(Step::Next, Step::SeekTo)
        };
        reader.visit(&under(b"k"), visit).await.expect("the snapshot answers");
        assert_eq!(seen, expected);
    }
}
