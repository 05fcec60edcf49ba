//! Writer sessions and the outcomes of their batches, in memory. An engine changes the table only after
//! what it will say is durable.

use std::collections::BTreeMap;

use types::{BatchId, Revision, SessionId};

use crate::{Outcome, SessionInfo};

/// Outcomes remembered per session: about two seconds of the fastest commit rate measured.
pub(crate) const WINDOW_SLOTS: u64 = 65_536;

/// A writer session, as engines keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionRecord {
    /// What the trait shows of it.
    pub(crate) info: SessionInfo,
    /// The highest sequence with an outcome, written when it matters: at its end.
    pub(crate) last_sequence: u64,
    /// Whether its outcomes were dropped (only ever after its end).
    pub(crate) forgotten: bool,
}

/// What is remembered of a batch: only outcomes that are decided are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memo {
    /// It committed.
    Committed(Revision),
    /// This guard did not hold.
    Conflict(u32),
}

impl Memo {
    /// As the trait says it.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Committed(revision) => Outcome::Committed(revision),
            Self::Conflict(index) => Outcome::Conflict(index as usize),
        }
    }
}

/// What is known of a batch that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It was never decided.
    Never,
    /// It was decided so.
    Decided(Memo),
    /// So many came behind it that nobody can say.
    TooOld,
}

/// One session.
pub(crate) struct Session {
    pub(crate) record: SessionRecord,
    /// Slot `sequence % WINDOW_SLOTS` holds the highest such sequence with an outcome.
    window: Vec<Option<(u64, Memo)>>,
}

impl Session {
    /// A session without outcomes.
    pub(crate) fn new(record: SessionRecord) -> Self {
        Self { record, window: Vec::new() }
    }

    /// What is known of the batch with this sequence.
    pub(crate) fn seen(&self, sequence: u64) -> Seen {
        if self.record.forgotten {
            let decided = sequence <= self.record.last_sequence;
            return if decided { Seen::TooOld } else { Seen::Never };
        }
        match self.window.get((sequence % WINDOW_SLOTS) as usize).copied().flatten() {
            Some((held, memo)) if held == sequence => Seen::Decided(memo),
            Some((held, _)) if held > sequence => Seen::TooOld,
            // The slot only ever rises, so a batch that it has not reached was never decided.
            _ => Seen::Never,
        }
    }

    fn remember(&mut self, sequence: u64, memo: Memo) {
        let slot = (sequence % WINDOW_SLOTS) as usize;
        if self.window.len() <= slot {
            self.window.resize(slot + 1, None);
        }
        if let Some(place) = self.window.get_mut(slot) {
            *place = Some((sequence, memo));
        }
        self.record.last_sequence = self.record.last_sequence.max(sequence);
    }
}

/// All sessions.
#[derive(Default)]
pub(crate) struct SessionTable {
    sessions: BTreeMap<SessionId, Session>,
}

impl SessionTable {
    /// One of them.
    pub(crate) fn get(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    /// Puts or replaces a session's record and keeps its outcomes.
    pub(crate) fn put(&mut self, record: SessionRecord) {
        match self.sessions.get_mut(&record.info.id) {
            Some(session) => {
                let last_sequence = session.record.last_sequence.max(record.last_sequence);
                session.record = SessionRecord { last_sequence, ..record };
            }
            None => {
                self.sessions.insert(record.info.id, Session::new(record));
            }
        }
    }

    /// Records an outcome; one of an unknown session has nobody who could ask for it.
    pub(crate) fn remember(&mut self, id: BatchId, memo: Memo) {
        if let Some(session) = self.sessions.get_mut(&id.session) {
            session.remember(id.sequence, memo);
        }
    }

    /// What is known of a batch; of an unknown session nothing ever was.
    pub(crate) fn seen(&self, id: BatchId) -> Seen {
        self.sessions.get(&id.session).map_or(Seen::Never, |session| session.seen(id.sequence))
    }

    /// What the trait shows, by id.
    pub(crate) fn infos(&self) -> Vec<SessionInfo> {
        self.sessions.values().map(|session| session.record.info.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use types::UnixMillis;

    use super::*;

    fn table() -> SessionTable {
        let mut table = SessionTable::default();
        table.put(SessionRecord {
            info: SessionInfo {
                id: SessionId::new(1),
                label: String::new(),
                opened_at: UnixMillis(0),
                oldest_read: Revision(0),
                ended: None,
            },
            last_sequence: 0,
            forgotten: false,
        });
        table
    }

    fn id(sequence: u64) -> BatchId {
        BatchId { session: SessionId::new(1), sequence }
    }

    #[test]
    fn outcomes_in_any_order_are_told_from_what_fell_out_of_the_window() {
        let mut table = table();
        let memo = |n| Memo::Committed(Revision(n));
        for sequence in [5, 3, 4, 0] {
            table.remember(id(sequence), memo(sequence));
        }
        assert_eq!(table.seen(id(3)), Seen::Decided(memo(3)));
        assert_eq!(table.seen(id(0)), Seen::Decided(memo(0)));
        assert_eq!(table.seen(id(1)), Seen::Never);
        table.remember(id(3 + WINDOW_SLOTS), memo(9));
        assert_eq!(table.seen(id(3)), Seen::TooOld);
        assert_eq!(table.seen(id(4)), Seen::Decided(memo(4)));
        assert_eq!(table.seen(id(6 + WINDOW_SLOTS)), Seen::Never);
        assert_eq!(table.seen(BatchId { session: SessionId::new(2), sequence: 3 }), Seen::Never);
    }

    #[test]
    fn a_forgotten_session_says_only_what_it_still_knows() {
        let mut table = table();
        table.remember(id(7), Memo::Conflict(0));
        let mut record = table.get(SessionId::new(1)).expect("is there").record.clone();
        record.forgotten = true;
        table.put(record);
        assert_eq!(table.seen(id(7)), Seen::TooOld);
        assert_eq!(table.seen(id(8)), Seen::Never);
    }
}
