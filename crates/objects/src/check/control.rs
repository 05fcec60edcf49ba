//! Control records: the directory of bucket names, and holds. Of the others, only that they are JSON.

use std::collections::HashMap;

use kv::{Entry, Key, KeyRange, KvError};
use serde::de::IgnoredAny;
use tenancy::directory::BucketEntry;
use types::{AccountId, BucketId, BucketName};

use super::cursor::Cursor;
use super::{Checker, Found, ProblemKind};
use crate::schema::hold::{self, Hold, Switch};
use crate::schema::{Home, Record as _, bucket};

impl Checker<'_> {
    /// Checks everything in the control space, and learns the names of buckets.
    pub(super) async fn control(&mut self) -> Result<(), KvError> {
        let Ok(root) = Key::control("/") else { return Ok(()) };
        let mut all = Cursor::new(self.reader, KeyRange::prefix(&root));
        // An account's list of its buckets says the same as the directory; that comes first.
        let mut directory: HashMap<String, (BucketId, AccountId)> = HashMap::new();
        while let Some(entry) = all.next().await? {
            let key = entry.key.clone();
            let Ok(path) = std::str::from_utf8(key.as_bytes()) else {
                self.key_problem(&entry);
                continue;
            };
            let parts: Vec<&str> = path.split('/').skip(1).collect();
            match parts.as_slice() {
                ["buckets", name] => {
                    if let Some(found) = self.directory_entry(name, &entry) {
                        directory.insert((*name).to_owned(), (found.id, found.owner));
                        self.named_bucket(name, found.id).await?;
                    }
                }
                ["tenants", account, "buckets", name] => {
                    let Some(found) = self.directory_entry(name, &entry) else { continue };
                    let is_theirs = found.owner.to_string() == *account;
                    if directory.get(*name) != Some(&(found.id, found.owner)) || !is_theirs {
                        let message = format!(
                            "The list of buckets of account {account} and the directory of names disagree on {name}."
                        );
                        self.problem(ProblemKind::Directory, None, message);
                    } else {
                        directory.remove(*name);
                    }
                }
                ["holds", _] => {
                    self.counts.holds += 1;
                    if hold::parse_key(key.as_bytes()).is_none() {
                        self.key_problem(&entry);
                    } else if Hold::decode(&entry.value).is_err() {
                        self.undecodable("hold", None, &entry);
                    }
                }
                ["collection"] if Switch::decode(&entry.value).is_err() => {
                    self.undecodable("collection", None, &entry);
                }
                _ if serde_json::from_slice::<IgnoredAny>(&entry.value).is_err() => {
                    self.undecodable("control", None, &entry);
                }
                _ => {}
            }
        }
        for (name, (_, owner)) in directory {
            let message =
                format!("Bucket {name} is not in the list of buckets of account {owner}.");
            self.problem(ProblemKind::Directory, None, message);
        }
        Ok(())
    }

    fn directory_entry(&mut self, name: &str, entry: &Entry) -> Option<BucketEntry> {
        let found = serde_json::from_slice::<BucketEntry>(&entry.value).ok();
        let found = found.filter(|found| found.v == 1 && BucketName::new(name).is_ok());
        if found.is_none() {
            self.undecodable("directory", None, entry);
        }
        found
    }

    async fn named_bucket(&mut self, name: &str, id: BucketId) -> Result<(), KvError> {
        self.names.insert(id, name.to_owned());
        let found = self.get::<bucket::Bucket>(&bucket::key(Home::of(id))).await?;
        if let Found::Absent = found {
            let message = format!("The directory names bucket {name} ({id}), which is not there.");
            self.problem(ProblemKind::Bucket, None, message);
            // It has been told.
            self.buckets.entry(id).or_default();
        }
        Ok(())
    }
}
