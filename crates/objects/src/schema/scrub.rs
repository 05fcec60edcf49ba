//! How far the scrub of a drive is, so that it goes on there after a restart. Written at most once a slice: what was
//! verified since is verified again.
//!
//! A control record with a JSON value, because people read it: `/scrub/{drive}`, where the drive is 16 hexadecimal
//! digits. One that is missing or cannot be read makes the pass begin anew.

use bytes::Bytes;
use kv::Key;
use net::ShardId;
use serde::{Deserialize, Serialize};
use types::{BlobId, CopyId, DriveId, UnixMillis};

use super::codec::{Record, Undecodable};

/// Where a scrub is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Version of this record's format: 1.
    pub v: u32,
    /// When the pass began.
    pub began_at_ms: UnixMillis,
    /// The last shard that was verified, as blob, index and copy in 50 hexadecimal digits; `None` when the pass has
    /// ended.
    pub after: Option<String>,
    /// Bytes read in this pass.
    pub bytes: u64,
    /// Shards verified in this pass.
    pub shards: u64,
    /// Shards of this pass that were damaged.
    pub damaged: u64,
    /// When a pass last ended.
    pub ended_at_ms: Option<UnixMillis>,
}

impl Progress {
    /// The shard behind which to go on; `None` for a new pass.
    pub fn position(&self) -> Option<ShardId> {
        self.after.as_deref().and_then(parse_id)
    }

    /// Notes the last shard that was verified.
    pub fn set_position(&mut self, after: Option<ShardId>) {
        self.after = after.map(|id| format_id(&id));
    }
}

/// The record's key.
#[allow(clippy::expect_used, reason = "a short path that begins with a slash is a control key")]
pub fn key(drive: DriveId) -> Key {
    Key::control(&format!("/scrub/{drive}")).expect("a control key")
}

/// Hexadecimal digits of an id.
const ID_DIGITS: usize = 2 * (BlobId::LEN + 1 + CopyId::LEN);

fn format_id(id: &ShardId) -> String {
    let blob = u128::from_be_bytes(id.blob.to_bytes());
    format!("{blob:032x}{:02x}{:016x}", id.index, id.copy.get())
}

fn parse_id(text: &str) -> Option<ShardId> {
    if text.len() != ID_DIGITS || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let (blob, rest) = text.split_at_checked(32)?;
    let (index, copy) = rest.split_at_checked(2)?;
    let blob = u128::from_str_radix(blob, 16).ok()?;
    Some(ShardId {
        blob: BlobId::from_bytes(blob.to_be_bytes()),
        index: u8::from_str_radix(index, 16).ok()?,
        copy: CopyId::new(u64::from_str_radix(copy, 16).ok()?),
    })
}

impl Record for Progress {
    const NAME: &'static str = "scrub";

    fn encode(&self) -> Bytes {
        // Numbers and texts always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    fn decode(value: &[u8]) -> Result<Self, Undecodable> {
        let progress: Self = serde_json::from_slice(value).map_err(|_| Undecodable(Self::NAME))?;
        if progress.v == 1 { Ok(progress) } else { Err(Undecodable(Self::NAME)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use types::SessionId;

    use super::*;

    fn id(session: u64, sequence: u64, index: u8, copy: u64) -> ShardId {
        let blob = BlobId { session: SessionId::new(session), sequence };
        ShardId { blob, index, copy: CopyId::new(copy) }
    }

    #[test]
    fn golden_bytes() {
        let mut progress = Progress {
            v: 1,
            began_at_ms: UnixMillis(5),
            bytes: 7,
            shards: 2,
            damaged: 1,
            ended_at_ms: Some(UnixMillis(4)),
            ..Progress::default()
        };
        progress.set_position(Some(id(1, 2, 3, 4)));
        let json = concat!(
            r#"{"v":1,"began_at_ms":5,"after":"00000000000000010000000000000002030000000000000004","#,
            r#""bytes":7,"shards":2,"damaged":1,"ended_at_ms":4}"#
        );
        assert_eq!(progress.encode(), json);
        assert_eq!(Progress::decode(json.as_bytes()), Ok(progress));
        assert!(Progress::decode(br#"{"v":2}"#).is_err());
        assert_eq!(key(DriveId::new(0xab)).as_bytes(), b"/scrub/00000000000000ab");
    }

    proptest! {
        #[test]
        fn positions_round_trip(session: u64, sequence: u64, index: u8, copy: u64) {
            let mut progress = Progress { v: 1, ..Progress::default() };
            prop_assert_eq!(progress.position(), None);
            let id = id(session, sequence, index, copy);
            progress.set_position(Some(id));
            prop_assert_eq!(Progress::decode(&progress.encode()).expect("ours").position(), Some(id));
        }

        #[test]
        fn any_text_is_no_position_or_one(after in "\\PC{0,60}", value: Vec<u8>) {
            let progress = Progress { after: Some(after), ..Progress::default() };
            let _ = (progress.position(), Progress::decode(&value));
        }
    }
}
