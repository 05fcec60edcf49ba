//! Random batches, against an ordered map that does the same.

use std::collections::BTreeMap;

use bytes::Bytes;
use types::Revision;

use super::{Client, data};
use crate::{
    Batch, Direction, Guard, Key, KeyRange, Outcome, Write, decode_counter, encode_counter,
};

const BATCHES: usize = 1500;
const KEYS: u64 = 24;

/// What the store should be.
#[derive(Default)]
struct Model {
    entries: BTreeMap<Key, (Bytes, Revision)>,
}

impl Model {
    fn counter(&self, key: &Key) -> i64 {
        self.entries.get(key).and_then(|(value, _)| decode_counter(value)).unwrap_or(0)
    }

    fn holds(&self, guard: &Guard, writes: &[Write]) -> bool {
        match guard {
            Guard::Absent(key) => !self.entries.contains_key(key),
            Guard::Exists(key) => self.entries.contains_key(key),
            Guard::Revision(key, revision) => {
                self.entries.get(key).is_some_and(|(_, found)| found == revision)
            }
            Guard::EmptyRange(range) => !self.entries.keys().any(|key| range.contains(key)),
            Guard::AtMost(key, most) => {
                let adds = writes.iter().map(|write| match write {
                    Write::Add(counter, by) if counter == key => *by,
                    _ => 0,
                });
                self.counter(key) + adds.sum::<i64>() <= *most
            }
        }
    }

    fn apply(&mut self, writes: &[Write], revision: Revision) {
        for write in writes {
            match write {
                Write::Put(key, value) => {
                    self.entries.insert(key.clone(), (value.clone(), revision));
                }
                Write::PutStamped(prefix, suffix, value) => {
                    let stamp = revision.0.to_be_bytes();
                    let bytes = [prefix.as_bytes(), &stamp[..], &suffix[..]].concat();
                    let key = Key::new(bytes).expect("a key");
                    self.entries.insert(key, (value.clone(), revision));
                }
                Write::Delete(key) => {
                    self.entries.remove(key);
                }
                Write::DeleteRange(range) => self.entries.retain(|key, _| !range.contains(key)),
                Write::Add(key, by) => {
                    let sum = encode_counter(self.counter(key) + by);
                    self.entries.insert(key.clone(), (Bytes::copy_from_slice(&sum), revision));
                }
            }
        }
    }
}

/// Makes random batches. Counters, plain keys and stamped ones have spaces of their own, for only the
/// owner of a key knows what it holds.
struct Maker<'a> {
    client: &'a Client,
    model: &'a Model,
}

impl Maker<'_> {
    fn plain(&self) -> Key {
        data(&[b"m", &[self.client.below(KEYS) as u8]])
    }

    fn counter(&self) -> Key {
        data(&[b"n", &[self.client.below(3) as u8]])
    }

    fn range(&self) -> KeyRange {
        let (a, b) = (self.plain(), self.plain());
        KeyRange::new(a.clone().min(b.clone()), a.max(b.successor())).expect("a range")
    }

    fn guard(&self) -> Guard {
        match self.client.below(6) {
            0 => Guard::Absent(self.plain()),
            1 => Guard::Exists(self.plain()),
            2 => Guard::EmptyRange(self.range()),
            3 => Guard::AtMost(self.counter(), self.client.below(60) as i64 - 10),
            _ => {
                let key = self.plain();
                let read = self.model.entries.get(&key).map(|(_, revision)| *revision);
                let stale = self.client.below(4) == 0;
                match read {
                    Some(revision) => Guard::Revision(key, Revision(revision.0 - u64::from(stale))),
                    None => Guard::Absent(key),
                }
            }
        }
    }

    fn batch(&self) -> Batch {
        let mut batch = Batch::default();
        for _ in 0..self.client.below(3) {
            batch.guard(self.guard());
        }
        let mut plain: Vec<Key> = (0..self.client.below(5)).map(|_| self.plain()).collect();
        plain.sort();
        plain.dedup();
        for key in plain {
            match self.client.below(3) {
                0 => batch.write(Write::Delete(key)),
                _ => batch.put(key, self.client.bytes(self.client.below(40) as usize)),
            };
        }
        for _ in 0..self.client.below(4) {
            batch.write(Write::Add(self.counter(), self.client.below(21) as i64 - 10));
        }
        match self.client.below(12) {
            0 => {
                // Alone, so that no key is changed twice.
                batch.writes.retain(|write| matches!(write, Write::Add(..)));
                batch.write(Write::DeleteRange(self.range()));
            }
            1 => {
                let suffix = self.client.bytes(3);
                batch.write(Write::PutStamped(data(&[b"o"]), suffix.into(), Bytes::new()));
            }
            2 => {
                let stamped = KeyRange::prefix(&data(&[b"o"]));
                batch.write(Write::DeleteRange(stamped));
            }
            _ => {}
        }
        batch
    }
}

pub(super) async fn random_batches_agree_with_a_map(client: &Client) {
    let mut model = Model::default();
    let mut last = client.store.revision().await.expect("the store answers");
    let everything = KeyRange::new(data(&[b"m"]), data(&[b"p"])).expect("a range");
    for number in 0..BATCHES {
        let batch = Maker { client, model: &model }.batch();
        let failing = batch.guards.iter().position(|guard| !model.holds(guard, &batch.writes));
        match (client.commit(batch.clone()).await, failing) {
            (Outcome::Conflict(found), Some(expected)) => assert_eq!(found, expected),
            (Outcome::Committed(revision), None) => {
                assert!(revision > last);
                last = revision;
                model.apply(&batch.writes, revision);
            }
            other => panic!("batch {number}: {other:?} of {batch:?}"),
        }
        if number % 50 == 0 || number + 1 == BATCHES {
            let page = client.store.scan(&everything, 4096, Direction::Forward).await;
            let entries = page.expect("the store answers").entries;
            let found = entries.iter().map(|entry| (&entry.key, (&entry.value, entry.revision)));
            let expected = model.entries.iter().map(|(key, (value, rev))| (key, (value, *rev)));
            assert!(found.eq(expected), "batch {number}");
        }
    }
}
