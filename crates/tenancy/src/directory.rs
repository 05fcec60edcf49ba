//! The directory of buckets: which name is which bucket, and whose. Two control records a bucket:
//!
//! * `/buckets/{name}`: [`BucketEntry`] as JSON, the owner of the name.
//! * `/tenants/{account}/buckets/{name}`: the same value, so that an account's buckets can be listed.
//!
//! They are written in one batch with the bucket's definition, which `objects` owns. That batch crosses token
//! ranges; it is one of the few that may (see `ARCHITECTURE.md`).

use kv::{Batch, Direction, Guard, InvalidKey, Key, KeyRange, Kv, KvError, Write};
use serde::{Deserialize, Serialize};
use types::{AccountId, BucketId, BucketName, Revision, UnixMillis, limits};

/// What the directory says of one bucket. JSON, with a format version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketEntry {
    /// Version of this record's format: 1.
    pub v: u32,
    /// The bucket.
    pub id: BucketId,
    /// Who owns it.
    pub owner: AccountId,
    /// When it was made.
    pub created_at_ms: UnixMillis,
}

/// Adds to `batch` what claims `name`: it must be free, and is the entry's afterwards.
pub fn claim(batch: &mut Batch, name: &BucketName, entry: &BucketEntry) -> Result<(), KvError> {
    let value = encode(entry)?;
    batch.guard(Guard::Absent(name_key(name)?));
    batch.put(name_key(name)?, value.clone());
    batch.put(owner_key(entry.owner, name)?, value);
    Ok(())
}

/// Adds to `batch` what gives `name` up, if it is still what was read at `revision`.
pub fn release(
    batch: &mut Batch,
    name: &BucketName,
    owner: AccountId,
    revision: Revision,
) -> Result<(), KvError> {
    batch.guard(Guard::Revision(name_key(name)?, revision));
    batch.write(Write::Delete(name_key(name)?));
    batch.write(Write::Delete(owner_key(owner, name)?));
    Ok(())
}

/// The bucket of that name, with the revision of its record.
pub async fn find(
    kv: &dyn Kv,
    name: &BucketName,
) -> Result<Option<(BucketEntry, Revision)>, KvError> {
    let found = kv.get(&name_key(name)?).await?;
    found.map(|v| Ok((decode(&v.value)?, v.revision))).transpose()
}

/// The buckets of `owner` that begin with `prefix` and lie behind `after`, in order of name, at most `limit`, and
/// whether there are more. Both texts may be anything that a client sends.
pub async fn list(
    kv: &dyn Kv,
    owner: AccountId,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<(BucketName, BucketEntry)>, bool), KvError> {
    if prefix.len() > limits::BUCKET_NAME_MAX_BYTES {
        return Ok((Vec::new(), false));
    }
    page(kv, &format!("/tenants/{owner}/buckets/"), prefix, after, limit).await
}

/// All buckets of all accounts behind `after`, as [`list`].
pub async fn list_all(
    kv: &dyn Kv,
    after: Option<&BucketName>,
    limit: usize,
) -> Result<(Vec<(BucketName, BucketEntry)>, bool), KvError> {
    page(kv, "/buckets/", "", after.map(BucketName::as_str), limit).await
}

/// A page of the entries under `base`.
async fn page(
    kv: &dyn Kv,
    base: &str,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<(BucketName, BucketEntry)>, bool), KvError> {
    if limit == 0 {
        return Ok((Vec::new(), false));
    }
    let all = KeyRange::prefix(&control(&format!("{base}{prefix}"))?);
    let range = match after {
        Some(after) => all.starting_at(behind(base, after)?),
        None => Some(all),
    };
    let Some(range) = range else { return Ok((Vec::new(), false)) };
    let page = kv.scan(&range, limit.min(limits::KV_SCAN_MAX_ENTRIES), Direction::Forward).await?;
    let mut buckets = Vec::with_capacity(page.entries.len());
    for entry in &page.entries {
        let name = entry.key.as_bytes().get(base.len()..).unwrap_or_default();
        let name = std::str::from_utf8(name).ok().and_then(|n| BucketName::new(n).ok());
        let name = name.ok_or_else(|| damaged("a bucket's name"))?;
        buckets.push((name, decode(&entry.value)?));
    }
    Ok((buckets, page.more))
}

/// The first key that may be of a name behind `text`. A text longer than any name compares with every name as
/// its front does.
fn behind(base: &str, text: &str) -> Result<Key, KvError> {
    let front = text.as_bytes().get(..limits::BUCKET_NAME_MAX_BYTES).unwrap_or(text.as_bytes());
    let key = Key::new([base.as_bytes(), front].concat());
    key.map(|key| key.successor()).map_err(|e: InvalidKey| KvError::Corrupt(e.to_string()))
}

fn name_key(name: &BucketName) -> Result<Key, KvError> {
    control(&format!("/buckets/{name}"))
}

fn owner_key(owner: AccountId, name: &BucketName) -> Result<Key, KvError> {
    control(&format!("/tenants/{owner}/buckets/{name}"))
}

fn control(path: &str) -> Result<Key, KvError> {
    Key::control(path).map_err(|e: InvalidKey| KvError::Corrupt(e.to_string()))
}

fn encode(entry: &BucketEntry) -> Result<Vec<u8>, KvError> {
    serde_json::to_vec(entry).map_err(|e| KvError::Corrupt(e.to_string()))
}

fn decode(bytes: &[u8]) -> Result<BucketEntry, KvError> {
    match serde_json::from_slice::<BucketEntry>(bytes) {
        Ok(entry) if entry.v == 1 => Ok(entry),
        Ok(entry) => Err(damaged(&format!("a bucket's directory record of format {}", entry.v))),
        Err(_) => Err(damaged("a bucket's directory record")),
    }
}

fn damaged(what: &str) -> KvError {
    KvError::Corrupt(format!("{what} cannot be read"))
}
