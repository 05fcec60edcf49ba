//! Watching.

use std::ops::ControlFlow;

use types::Revision;

use super::{Client, at_once, path};
use crate::{Batch, Event, Key, Watcher, Write};

/// Reads events until the one of `last`'s key.
async fn read_until(watcher: &mut Box<dyn Watcher>, last: &Key) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    loop {
        match watcher.next().await.expect("the history is kept") {
            ControlFlow::Continue(more) => {
                assert!(!more.is_empty(), "a page without events");
                events.extend(more);
            }
            ControlFlow::Break(()) => panic!("the store has not closed"),
        }
        if events.iter().any(|event| event.key == *last) {
            return events;
        }
    }
}

fn is_in_order(events: &[Event]) -> bool {
    events
        .windows(2)
        .all(|pair| (pair[0].revision, &pair[0].key) < (pair[1].revision, &pair[1].key))
}

pub(super) async fn changes_come_once_and_in_order(client: &Client) {
    client.put(&path("/w/before"), "x").await;
    let after = client.store.revision().await.expect("the store answers");
    let mut watcher = client.store.watch(&path("/w/"), after).await.expect("watches");
    let mut revisions: Vec<Revision> = at_once(16, |writer| {
        let client = client.clone();
        async move {
            let mut revisions = Vec::new();
            for round in 0..10 {
                let mut batch = Batch::default();
                batch.put(path(&format!("/w/{writer}/b")), format!("{round}"));
                batch.put(path(&format!("/w/{writer}/a")), format!("{round}"));
                batch.put(path(&format!("/x/{writer}")), "not watched");
                revisions.push(client.must(batch).await);
            }
            revisions
        }
    })
    .await
    .concat();
    revisions.sort();
    let end = path("/w/zzz");
    client.put(&end, "end").await;
    let events = read_until(&mut watcher, &end).await;
    assert!(is_in_order(&events), "events are out of order or doubled");
    assert_eq!(events.len(), 2 * revisions.len() + 1);
    for (pair, revision) in events.chunks(2).zip(&revisions) {
        assert!(pair.iter().all(|event| event.revision == *revision && event.value.is_some()));
    }
}

pub(super) async fn watchers_may_begin_in_the_past(client: &Client) {
    let key = path("/w/key");
    let first = client.put(&key, "1").await;
    let second = client.put(&key, "2").await;
    let mut batch = Batch::default();
    batch.write(Write::Delete(key.clone())).write(Write::Delete(path("/w/never")));
    let deleted = client.must(batch).await;
    let end = path("/w/zzz");
    let last = client.put(&end, "end").await;
    let event = |key: &Key, value: Option<&str>, revision| Event {
        key: key.clone(),
        value: value.map(|text| text.to_owned().into()),
        revision,
    };
    let all = [
        event(&key, Some("1"), first),
        event(&key, Some("2"), second),
        event(&key, None, deleted),
        event(&end, Some("end"), last),
    ];
    for (skip, after) in [(1, first), (2, second), (3, deleted)] {
        let mut watcher = client.store.watch(&path("/w/"), after).await.expect("watches");
        assert_eq!(read_until(&mut watcher, &end).await, all[skip..]);
    }
}
