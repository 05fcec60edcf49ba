//! Accounts: `/tenants/{account}`, JSON.

use kv::{Batch, Key, Kv, KvError, Outcome};
use serde::{Deserialize, Serialize};
use types::{AccountId, BatchId, UnixMillis};

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Version of this record's format: 1.
    pub v: u32,
    /// Which.
    pub id: AccountId,
    /// When it was first seen.
    pub created_at_ms: UnixMillis,
}

/// Makes the account's record if there is none; whether it was made now.
pub async fn ensure(
    kv: &dyn Kv,
    batch_id: BatchId,
    id: AccountId,
    now: UnixMillis,
) -> Result<bool, KvError> {
    let key =
        Key::control(&format!("/tenants/{id}")).map_err(|e| KvError::Corrupt(e.to_string()))?;
    if kv.get(&key).await?.is_some() {
        return Ok(false);
    }
    let record = Account { v: 1, id, created_at_ms: now };
    let value = serde_json::to_vec(&record).map_err(|e| KvError::Corrupt(e.to_string()))?;
    let mut batch = Batch::default();
    batch.unchanged(key.clone(), None).put(key, value);
    match kv.commit(batch_id, batch).await? {
        Outcome::Committed(_) => Ok(true),
        Outcome::Conflict(_) => Ok(false),
        Outcome::Fenced | Outcome::Unknown => {
            Err(KvError::Unavailable("the account could not be recorded".to_owned()))
        }
    }
}
