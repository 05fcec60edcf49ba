//! The records in memory: an ordered map that keeps, besides the newest value of a key, exactly those that a
//! held revision still shows. Not here: guards and sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;
use types::{Revision, limits};

use crate::engine::{Base, PAGE_BYTES};
use crate::{Direction, Entry, Key, KeyRange, KvError, Page, Versioned};

/// What a key was from a revision on; `None`: absent.
struct Version {
    revision: Revision,
    value: Option<Bytes>,
}

/// The map.
#[derive(Default)]
pub(super) struct Records {
    /// Versions oldest first. Never empty, and the first is never an absence.
    keys: BTreeMap<Key, Vec<Version>>,
    revision: Revision,
    /// Revisions that are held, by how often.
    held: BTreeMap<Revision, usize>,
    /// Keys with more than their newest value.
    stale: BTreeSet<Key>,
}

impl Records {
    /// The newest revision.
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// Sets or removes what has changed since the newest revision; [`Self::seal`] ends the change.
    pub(super) fn put(&mut self, key: Key, value: Option<Bytes>, revision: Revision) {
        self.keys.entry(key.clone()).or_default().push(Version { revision, value });
        self.prune(key);
    }

    /// From here on the newest revision is this one.
    pub(super) fn seal(&mut self, revision: Revision) {
        self.revision = revision;
    }

    /// Keeps what is shown now until it is released.
    pub(super) fn hold(&mut self) -> Revision {
        *self.held.entry(self.revision).or_default() += 1;
        self.revision
    }

    /// Ends one hold of a revision.
    pub(super) fn release(&mut self, revision: Revision) {
        let Some(count) = self.held.get_mut(&revision) else { return };
        *count -= 1;
        if *count == 0 {
            self.held.remove(&revision);
            self.prune_all();
        }
    }

    /// Ends all holds.
    pub(super) fn release_all(&mut self) {
        self.held.clear();
        self.prune_all();
    }

    fn prune_all(&mut self) {
        for key in std::mem::take(&mut self.stale) {
            self.prune(key);
        }
    }

    /// Drops the versions of a key that nobody can see.
    fn prune(&mut self, key: Key) {
        let Some(versions) = self.keys.get_mut(&key) else { return };
        let mut kept: Vec<Version> = Vec::with_capacity(1);
        let mut rest = std::mem::take(versions).into_iter().peekable();
        while let Some(version) = rest.next() {
            let shown = match rest.peek() {
                Some(next) => self.held.range(version.revision..next.revision).next().is_some(),
                None => true,
            };
            if shown && !(kept.is_empty() && version.value.is_none()) {
                kept.push(version);
            }
        }
        *versions = kept;
        match versions.len() {
            0 => drop(self.keys.remove(&key)),
            1 => {}
            _ => drop(self.stale.insert(key)),
        }
    }

    /// A record as of a revision that is the newest or held.
    pub(super) fn get(&self, key: &Key, at: Revision) -> Option<Versioned> {
        shown(self.keys.get(key)?, at)
    }

    /// See [`crate::Reader::scan`].
    pub(super) fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
        at: Revision,
    ) -> Page {
        let limit = limit.clamp(1, limits::KV_SCAN_MAX_ENTRIES);
        let found = self.within(range, at);
        match direction {
            Direction::Forward => fill(found, limit),
            Direction::Backward => fill(found.rev(), limit),
        }
    }

    fn within(
        &self,
        range: &KeyRange,
        at: Revision,
    ) -> impl DoubleEndedIterator<Item = (&Key, Versioned)> {
        let bounds = (Bound::Included(range.start()), Bound::Excluded(range.end()));
        self.keys
            .range::<Key, _>(bounds)
            .filter_map(move |(key, versions)| Some((key, shown(versions, at)?)))
    }
}

fn shown(versions: &[Version], at: Revision) -> Option<Versioned> {
    let version = versions.iter().rev().find(|version| version.revision <= at)?;
    let value = version.value.clone()?;
    Some(Versioned { value, revision: version.revision })
}

fn fill<'a>(found: impl Iterator<Item = (&'a Key, Versioned)>, limit: usize) -> Page {
    let mut page = Page::default();
    let mut bytes = 0;
    for (key, Versioned { value, revision }) in found {
        if page.entries.len() >= limit || bytes >= PAGE_BYTES {
            page.more = true;
            break;
        }
        bytes += value.len();
        page.entries.push(Entry { key: key.clone(), value, revision });
    }
    page
}

impl Base for Records {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn peek(&self, key: &Key, limit: usize) -> Result<Option<(Revision, Option<Bytes>)>, KvError> {
        let found = self.get(key, self.revision);
        Ok(found
            .map(|found| (found.revision, Some(found.value).filter(|value| value.len() <= limit))))
    }

    fn keys(&self, range: &KeyRange) -> impl Iterator<Item = Result<Key, KvError>> {
        self.within(range, self.revision).map(|(key, _)| Ok(key.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::control(text).expect("a path")
    }

    /// Changes one key in a revision of its own.
    fn change(records: &mut Records, text: &str, value: Option<&str>) -> Revision {
        let revision = Revision(records.revision().0 + 1);
        records.put(key(text), value.map(|value| Bytes::from(value.to_owned())), revision);
        records.seal(revision);
        revision
    }

    fn versions(records: &Records) -> usize {
        records.keys.values().map(Vec::len).sum()
    }

    #[test]
    fn exactly_what_is_held_is_kept() {
        let mut records = Records::default();
        change(&mut records, "/a", Some("1"));
        let first = records.hold();
        assert_eq!(records.hold(), first);
        for value in ["2", "3", "4"] {
            change(&mut records, "/a", Some(value));
        }
        assert_eq!(versions(&records), 2, "nobody sees 2 and 3");
        let second = records.hold();
        change(&mut records, "/a", None);
        let third = records.hold();
        change(&mut records, "/a", Some("6"));
        let see = |records: &Records, at| {
            records.get(&key("/a"), at).map(|found| String::from_utf8_lossy(&found.value).into())
        };
        let value = |text: &str| Some(text.to_owned());
        assert_eq!(see(&records, first), value("1"));
        assert_eq!(see(&records, second), value("4"));
        assert_eq!(see(&records, third), None);
        records.release(first);
        assert_eq!(see(&records, first), value("1"), "it was held twice");
        records.release(first);
        assert_eq!(versions(&records), 3);
        records.release(second);
        assert_eq!(versions(&records), 1, "an absence in front is nothing");
        assert_eq!(see(&records, third), None);
        change(&mut records, "/a", None);
        assert_eq!((versions(&records), records.stale.len()), (0, 0));
        records.release(third);
        assert_eq!(records.held.len(), 0);
    }
}
