//! What holds collection back: holds, each of a backup or a person, and the switch of orphan collection.
//!
//! Control records with JSON values, because people read and write them: `/holds/{id}` is a [`Hold`], where the id
//! is 16 hexadecimal digits; `/collection` is a [`Switch`]. Whatever cannot be read holds everything back.

use bytes::Bytes;
use kv::{Key, KeyRange};
use serde::{Deserialize, Serialize};
use types::{Revision, UnixMillis};

use super::codec::{Record, Undecodable};

/// While it stands, nothing is collected that was filed at its revision or later. Metadata as of any revision from
/// then on keeps its shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Version of this record's format: 1.
    pub v: u32,
    /// What was filed from here on is kept.
    pub revision: Revision,
    /// For people.
    pub reason: String,
    /// When it was made.
    pub created_at_ms: UnixMillis,
    /// When it ends by itself.
    pub until_ms: UnixMillis,
}

/// Whether shards that no record names may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Orphans {
    /// Yes, when it is proven that none will.
    On,
    /// No: the records may be older than the shards.
    Off,
}

/// The switch of orphan collection. Without a record it is on. To be set off by whatever restores records from a
/// backup, before the store is used: what was written after the backup then looks like orphans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// Version of this record's format: 1.
    pub v: u32,
    /// Where it stands.
    pub orphans: Orphans,
    /// For people.
    pub reason: String,
}

const HOLDS: &str = "/holds/";

/// A hold's key.
#[allow(clippy::expect_used, reason = "a short path that begins with a slash is a control key")]
pub fn key(id: u64) -> Key {
    Key::control(&format!("{HOLDS}{id:016x}")).expect("a control key")
}

/// All holds.
#[allow(clippy::expect_used, reason = "a short path that begins with a slash is a control key")]
pub fn range() -> KeyRange {
    KeyRange::prefix(&Key::control(HOLDS).expect("a control key"))
}

/// Which hold a key is of.
pub fn parse_key(key: &[u8]) -> Option<u64> {
    let id = std::str::from_utf8(key).ok()?.strip_prefix(HOLDS)?;
    (id.len() == 16).then(|| u64::from_str_radix(id, 16).ok()).flatten()
}

/// The key of the switch.
#[allow(clippy::expect_used, reason = "a short path that begins with a slash is a control key")]
pub fn switch_key() -> Key {
    Key::control("/collection").expect("a control key")
}

impl Record for Hold {
    const NAME: &'static str = "hold";

    fn encode(&self) -> Bytes {
        to_json(self)
    }

    fn decode(value: &[u8]) -> Result<Self, Undecodable> {
        let hold: Self = serde_json::from_slice(value).map_err(|_| Undecodable(Self::NAME))?;
        if hold.v == 1 { Ok(hold) } else { Err(Undecodable(Self::NAME)) }
    }
}

impl Record for Switch {
    const NAME: &'static str = "collection";

    fn encode(&self) -> Bytes {
        to_json(self)
    }

    fn decode(value: &[u8]) -> Result<Self, Undecodable> {
        let switch: Self = serde_json::from_slice(value).map_err(|_| Undecodable(Self::NAME))?;
        if switch.v == 1 { Ok(switch) } else { Err(Undecodable(Self::NAME)) }
    }
}

/// Structures of numbers and texts always have a JSON form.
fn to_json(record: &impl Serialize) -> Bytes {
    serde_json::to_vec(record).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn golden_bytes() {
        let hold = Hold {
            v: 1,
            revision: Revision(7),
            reason: "backup".to_owned(),
            created_at_ms: UnixMillis(5),
            until_ms: UnixMillis(9),
        };
        let json = r#"{"v":1,"revision":7,"reason":"backup","created_at_ms":5,"until_ms":9}"#;
        assert_eq!(hold.encode(), json);
        assert_eq!(Hold::decode(json.as_bytes()), Ok(hold));
        let switch = Switch { v: 1, orphans: Orphans::Off, reason: "restored".to_owned() };
        let json = r#"{"v":1,"orphans":"off","reason":"restored"}"#;
        assert_eq!(switch.encode(), json);
        assert_eq!(Switch::decode(json.as_bytes()), Ok(switch));
        for other in [r#"{"v":2,"orphans":"on","reason":""}"#, r#"{"v":1,"orphans":"maybe"}"#, ""] {
            assert!(Switch::decode(other.as_bytes()).is_err(), "{other}");
        }
    }

    proptest! {
        #[test]
        fn keys_round_trip(id: u64) {
            prop_assert_eq!(parse_key(key(id).as_bytes()), Some(id));
            prop_assert!(range().contains(&key(id)));
            prop_assert!(!range().contains(&switch_key()));
        }

        #[test]
        fn any_bytes(value in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (Hold::decode(&value), Switch::decode(&value), parse_key(&value));
        }
    }
}
