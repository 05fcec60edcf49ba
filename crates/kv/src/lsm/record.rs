//! The stored forms of the engine itself: what stands around an owner's value, and the records of the
//! `meta` keyspace. Not here: values, which the engine never interprets.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `data` | the key | revision (8 bytes, big-endian), then the value |
//! | `meta` | `format` | [`FORMAT`]: four bytes of magic, four of version |
//! | `meta` | `revision` | the newest revision, 8 bytes, big-endian |
//! | `meta` | `s` + session id | [`SessionRecord`] |
//! | `meta` | `o` + session id + slot (4 bytes, big-endian) | [`Memo`], the outcome of one batch |
//!
//! All integers are big-endian. A batch's slot is its sequence modulo [`WINDOW_SLOTS`].
//! Not here: what sessions and outcomes mean, see `engine/sessions.rs`.

use bytes::Bytes;
use types::{BatchId, Revision, SessionId, UnixMillis};

use crate::engine::{Memo, SessionRecord, WINDOW_SLOTS};
use crate::{KvError, SessionInfo, Versioned};

/// The format record of stores that this code reads and writes.
pub(super) const FORMAT: [u8; 8] = *b"UCKV\0\0\0\x01";
/// Key of the format record.
pub(super) const FORMAT_KEY: &[u8] = b"format";
/// Key of the newest revision.
pub(super) const REVISION_KEY: &[u8] = b"revision";
/// First byte of the keys of session records.
pub(super) const SESSION_KEYS: u8 = b's';
/// First byte of the keys of outcomes.
pub(super) const OUTCOME_KEYS: u8 = b'o';
/// Length of the revision in front of a value.
pub(super) const PREFIX_LEN: usize = 8;

const SESSION_VERSION: u8 = 1;
const SESSION_FIXED_LEN: usize = 1 + 8 * 4 + 1;
const MEMO_LEN: usize = 8 + 1 + 8;

/// Says what does not verify, and what to do about it.
pub(super) fn damaged(what: &str) -> KvError {
    KvError::Corrupt(format!(
        "{what}; keep the directory as it is, and restore a backup or another replica"
    ))
}

/// A value with its revision in front.
pub(super) fn encode_value(revision: Revision, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PREFIX_LEN + value.len());
    bytes.extend_from_slice(&revision.0.to_be_bytes());
    bytes.extend_from_slice(value);
    bytes
}

/// Splits what [`encode_value`] made.
pub(super) fn split_value(stored: &[u8]) -> Result<(Revision, &[u8]), KvError> {
    match stored.split_first_chunk::<PREFIX_LEN>() {
        Some((prefix, value)) => Ok((Revision(u64::from_be_bytes(*prefix)), value)),
        None => Err(damaged("a stored value is shorter than its revision")),
    }
}

/// Splits what [`encode_value`] made, and copies the value out.
pub(super) fn decode_value(stored: &[u8]) -> Result<Versioned, KvError> {
    let (revision, value) = split_value(stored)?;
    Ok(Versioned { value: Bytes::copy_from_slice(value), revision })
}

impl SessionRecord {
    /// Its key.
    pub(super) fn key(id: SessionId) -> [u8; 9] {
        let mut key = [SESSION_KEYS; 9];
        key[1..].copy_from_slice(&id.to_bytes());
        key
    }

    /// version · opened at · oldest read · ended (0: lives) · last sequence · forgotten · label
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SESSION_FIXED_LEN + self.info.label.len());
        bytes.push(SESSION_VERSION);
        let ended = self.info.ended.map_or(0, |revision| revision.0);
        for number in [self.info.opened_at.0, self.info.oldest_read.0, ended, self.last_sequence] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.push(u8::from(self.forgotten));
        bytes.extend_from_slice(self.info.label.as_bytes());
        bytes
    }

    /// Reads [`Self::encode`]'s form, given the key it stood under.
    pub(super) fn decode(key: &[u8], bytes: &[u8]) -> Result<Self, KvError> {
        Self::parse(key, bytes).ok_or_else(|| damaged("a session record does not parse"))
    }

    fn parse(key: &[u8], bytes: &[u8]) -> Option<Self> {
        let id = SessionId::from_slice(key.strip_prefix(&[SESSION_KEYS])?)?;
        let (fixed, label) = bytes.split_at_checked(SESSION_FIXED_LEN)?;
        let (version, fixed) = fixed.split_first()?;
        let (forgotten, numbers) = fixed.split_last()?;
        if *version != SESSION_VERSION || *forgotten > 1 {
            return None;
        }
        let number = |index: usize| {
            let slice = numbers.get(8 * index..8 * index + 8)?;
            slice.try_into().ok().map(u64::from_be_bytes)
        };
        let ended = number(2)?;
        Some(Self {
            info: SessionInfo {
                id,
                label: String::from_utf8(label.to_vec()).ok()?,
                opened_at: UnixMillis(number(0)?),
                oldest_read: Revision(number(1)?),
                ended: (ended != 0).then_some(Revision(ended)),
            },
            last_sequence: number(3)?,
            forgotten: *forgotten == 1,
        })
    }
}

impl Memo {
    /// The key of a batch's outcome.
    pub(super) fn key(id: BatchId) -> [u8; 13] {
        let mut key = [OUTCOME_KEYS; 13];
        key[1..9].copy_from_slice(&id.session.to_bytes());
        let slot = (id.sequence % WINDOW_SLOTS) as u32;
        key[9..].copy_from_slice(&slot.to_be_bytes());
        key
    }

    /// sequence · 1: committed, 2: conflict · revision or index
    pub(super) fn encode(self, sequence: u64) -> [u8; MEMO_LEN] {
        let (tag, number) = match self {
            Self::Committed(revision) => (1, revision.0),
            Self::Conflict(index) => (2, u64::from(index)),
        };
        let mut bytes = [tag; MEMO_LEN];
        bytes[..8].copy_from_slice(&sequence.to_be_bytes());
        bytes[9..].copy_from_slice(&number.to_be_bytes());
        bytes
    }

    /// Reads a key and a value back into the batch and its outcome.
    pub(super) fn decode(key: &[u8], bytes: &[u8]) -> Result<(BatchId, Self), KvError> {
        Self::parse(key, bytes).ok_or_else(|| damaged("the record of an outcome does not parse"))
    }

    fn parse(key: &[u8], bytes: &[u8]) -> Option<(BatchId, Self)> {
        let session = SessionId::from_slice(key.strip_prefix(&[OUTCOME_KEYS])?.get(..8)?)?;
        let bytes: &[u8; MEMO_LEN] = bytes.try_into().ok()?;
        let sequence = u64::from_be_bytes(bytes[..8].try_into().ok()?);
        let number = u64::from_be_bytes(bytes[9..].try_into().ok()?);
        let id = BatchId { session, sequence };
        let memo = match bytes[8] {
            1 => Self::Committed(Revision(number)),
            2 => Self::Conflict(u32::try_from(number).ok()?),
            _ => return None,
        };
        (Self::key(id) == *key).then_some((id, memo))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(label: &str, ended: Option<u64>) -> SessionRecord {
        SessionRecord {
            info: SessionInfo {
                id: SessionId::new(0x0102_0304_0506_0708),
                label: label.to_owned(),
                opened_at: UnixMillis(0x0a0b),
                oldest_read: Revision(3),
                ended: ended.map(Revision),
            },
            last_sequence: 9,
            forgotten: false,
        }
    }

    #[test]
    fn golden_value() {
        let bytes = encode_value(Revision(0x0102), b"v");
        assert_eq!(bytes, b"\0\0\0\0\0\0\x01\x02v");
        assert_eq!(split_value(&bytes).expect("parses"), (Revision(0x0102), &b"v"[..]));
        assert!(split_value(b"1234567").is_err());
    }

    #[test]
    fn golden_format() {
        assert_eq!(FORMAT, [0x55, 0x43, 0x4b, 0x56, 0, 0, 0, 1]);
    }

    #[test]
    fn golden_session() {
        let key = SessionRecord::key(SessionId::new(0x0102_0304_0506_0708));
        assert_eq!(key, *b"s\x01\x02\x03\x04\x05\x06\x07\x08");
        let expected: &[u8] = b"\x01\
            \0\0\0\0\0\0\x0a\x0b\
            \0\0\0\0\0\0\0\x03\
            \0\0\0\0\0\0\0\x05\
            \0\0\0\0\0\0\0\x09\
            \0node-1";
        assert_eq!(record("node-1", Some(5)).encode(), expected);
    }

    #[test]
    fn golden_outcome() {
        let id = BatchId { session: SessionId::new(7), sequence: 65_536 + 2 };
        assert_eq!(Memo::key(id), *b"o\0\0\0\0\0\0\0\x07\0\0\0\x02");
        let committed = Memo::Committed(Revision(0x0304));
        assert_eq!(committed.encode(id.sequence), *b"\0\0\0\0\0\x01\0\x02\x01\0\0\0\0\0\0\x03\x04");
        assert_eq!(Memo::Conflict(1).encode(2), *b"\0\0\0\0\0\0\0\x02\x02\0\0\0\0\0\0\0\x01");
    }

    proptest! {
        #[test]
        fn sessions_round_trip(label in "\\PC{0,40}", ended: Option<u64>, forgotten: bool) {
            let ended = ended.filter(|revision| *revision != 0);
            let record = SessionRecord { forgotten, ..record(&label, ended) };
            let key = SessionRecord::key(record.info.id);
            prop_assert_eq!(SessionRecord::decode(&key, &record.encode()).expect("parses"), record);
        }

        #[test]
        fn outcomes_round_trip(session: u64, sequence: u64, number: u32, committed: bool) {
            let id = BatchId { session: SessionId::new(session), sequence };
            let memo = if committed {
                Memo::Committed(Revision(u64::from(number)))
            } else {
                Memo::Conflict(number)
            };
            let decoded = Memo::decode(&Memo::key(id), &memo.encode(sequence)).expect("parses");
            prop_assert_eq!(decoded, (id, memo));
        }

        #[test]
        fn garbage_is_refused_without_panic(key: Vec<u8>, bytes: Vec<u8>) {
            let _ = SessionRecord::decode(&key, &bytes);
            let _ = Memo::decode(&key, &bytes);
            let _ = decode_value(&bytes);
        }
    }
}
