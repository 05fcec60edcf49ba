//! What the engines of this crate have in common: the evaluation of batches, writer sessions with the
//! outcomes of their batches, and the history that watchers read. All in memory and free of files, threads
//! and clocks; how any of it is stored is each engine's own.

mod group;
mod history;
mod sessions;

pub(crate) use group::{Base, Decided, Group};
pub(crate) use history::History;
pub(crate) use sessions::{Memo, Seen, SessionRecord, SessionTable, WINDOW_SLOTS};

use crate::{Kv, KvError};

/// A page of a scan ends with the entry that reaches this many bytes of values.
pub(crate) const PAGE_BYTES: usize = 1 << 20;

/// What a closed store answers.
pub(crate) fn closed() -> KvError {
    KvError::Unavailable("the store is closed".to_owned())
}

/// Ends every session that still lives.
pub(crate) async fn end_all_sessions(store: &impl Kv) -> Result<(), KvError> {
    for session in store.sessions().await? {
        if session.ended.is_none() {
            store.end_session(session.id).await?;
        }
    }
    Ok(())
}
