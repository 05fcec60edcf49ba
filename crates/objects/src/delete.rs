//! DeleteObject and DeleteObjects: metadata only. What the objects pointed to is filed for collection.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::StreamExt as _;
use tenancy::Authorized;
use tenancy::action::DeleteObject;
use types::{BucketId, limits};

use crate::commit::{Attempts, Verdict};
use crate::engine::Engine;
use crate::error::Failure;
use crate::ledger::{Current, Ledger, Place};
use crate::schema::{Home, bucket, object};

/// Keys in one batch: each takes at most a guard, two deletes and a garbage record, and all share two counters.
const KEYS_PER_BATCH: usize = (limits::KV_BATCH_MAX_OPS - 2) / 4;
/// Batches under way at once for one request.
const BATCHES_AT_ONCE: usize = 8;
/// Conflicts after which the keys of a batch go each its own way.
const BATCH_ATTEMPTS_MAX: u32 = 4;

impl Engine {
    /// Removes an object; whether there was one.
    ///
    /// # Errors
    /// [`Failure`]; after [`Failure::Unknown`] the object may be gone.
    pub async fn delete_object(&self, proof: Authorized<DeleteObject>) -> Result<bool, Failure> {
        let target = proof.into_resource();
        let home = Home::of(target.bucket.id);
        self.delete_one(Place { home, key: target.key.as_str() }).await
    }

    /// Removes several objects; the results are in the order of the proofs. Of a key that is named twice, the
    /// second finds nothing.
    pub async fn delete_objects(
        &self,
        proofs: Vec<Authorized<DeleteObject>>,
    ) -> Vec<Result<bool, Failure>> {
        let targets: Vec<_> = proofs.into_iter().map(Authorized::into_resource).collect();
        let mut seen = HashSet::new();
        let mut by_bucket: BTreeMap<BucketId, Vec<usize>> = BTreeMap::new();
        for (at, target) in targets.iter().enumerate() {
            if seen.insert((target.bucket.id, &target.key)) {
                by_bucket.entry(target.bucket.id).or_default().push(at);
            }
        }
        let mut batches = Vec::new();
        for (bucket, all) in by_bucket {
            for some in all.chunks(KEYS_PER_BATCH) {
                let keys: Vec<(usize, String)> = some
                    .iter()
                    .filter_map(|&at| Some((at, targets.get(at)?.key.as_str().to_owned())))
                    .collect();
                batches.push((Home::of(bucket), keys));
            }
        }
        let run = |(home, keys)| self.clone().delete_batch(home, keys);
        let done: Vec<_> = futures::stream::iter(batches)
            .map(run)
            .buffer_unordered(BATCHES_AT_ONCE)
            .collect()
            .await;
        let mut results: HashMap<usize, Result<bool, Failure>> =
            done.into_iter().flatten().collect();
        (0..targets.len()).map(|at| results.remove(&at).unwrap_or(Ok(false))).collect()
    }

    async fn delete_one(&self, place: Place<'_>) -> Result<bool, Failure> {
        let mut attempts = Attempts::new(self, place.current_key());
        loop {
            let [bucket, current] = self.look([place.bucket_key(), place.current_key()]).await?;
            bucket.ok_or(Failure::NoSuchBucket)?;
            let Some(old) = Current::from_look_up(current)? else { return Ok(false) };
            let mut ledger = Ledger::new(self.now());
            ledger.remove(place, &old);
            if let Verdict::Committed(_) = attempts.commit(ledger.finish()).await? {
                return Ok(true);
            }
        }
    }

    /// Removes distinct keys of one bucket, at most [`KEYS_PER_BATCH`], together if it can.
    async fn delete_batch(
        self,
        home: Home,
        keys: Vec<(usize, String)>,
    ) -> Vec<(usize, Result<bool, Failure>)> {
        let mut results = Vec::with_capacity(keys.len());
        match self.delete_together(home, &keys).await {
            Ok(Some(there)) => {
                results.extend(keys.iter().zip(there).map(|((at, _), there)| (*at, Ok(there))));
            }
            // Each key meets its own conflict, or its own failure.
            Ok(None) | Err(Failure::Damaged(_)) => {
                for (at, key) in &keys {
                    results.push((*at, self.delete_one(Place { home, key }).await));
                }
            }
            Err(failure) => {
                results.extend(keys.iter().map(|(at, _)| (*at, Err(same(&failure)))));
            }
        }
        results
    }

    /// Which of the keys were there; `None` after too many conflicts.
    async fn delete_together(
        &self,
        home: Home,
        keys: &[(usize, String)],
    ) -> Result<Option<Vec<bool>>, Failure> {
        for _ in 0..BATCH_ATTEMPTS_MAX {
            let mut wanted = vec![bucket::key(home)];
            wanted.extend(keys.iter().map(|(_, key)| object::key(home, key)));
            let mut found = self.inner.kv.multi_get(&wanted).await?.into_iter();
            found.next().flatten().ok_or(Failure::NoSuchBucket)?;
            let mut ledger = Ledger::new(self.now());
            let mut there = Vec::with_capacity(keys.len());
            for ((_, key), found) in keys.iter().zip(found) {
                let old = Current::from_look_up(found)?;
                there.push(old.is_some());
                if let Some(old) = old {
                    ledger.remove(Place { home, key }, &old);
                }
            }
            if !there.contains(&true) {
                return Ok(Some(there));
            }
            if let Verdict::Committed(_) = self.commit_once(ledger.finish()).await? {
                return Ok(Some(there));
            }
        }
        Ok(None)
    }
}

/// The failure of a batch, for each of its keys.
fn same(failure: &Failure) -> Failure {
    use kv::KvError;
    match failure {
        Failure::NoSuchBucket => Failure::NoSuchBucket,
        Failure::Unknown => Failure::Unknown,
        Failure::Fenced => Failure::Fenced,
        Failure::Contended => Failure::Contended,
        Failure::Damaged(what) => Failure::Damaged(what),
        Failure::Read(error) => Failure::Read(error.clone()),
        Failure::Store(error) => Failure::Store(error.clone()),
        Failure::Kv(error) => Failure::Kv(match error {
            KvError::Unavailable(text) => KvError::Unavailable(text.clone()),
            KvError::Full(text) => KvError::Full(text.clone()),
            KvError::Corrupt(text) => KvError::Corrupt(text.clone()),
            KvError::TooLarge(error) => KvError::TooLarge(*error),
            KvError::Compacted(revision) => KvError::Compacted(*revision),
            KvError::SnapshotExpired => KvError::SnapshotExpired,
        }),
    }
}
