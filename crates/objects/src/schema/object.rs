//! The current object of a key: what a listing shows, and a pointer to its bytes. Typically under 512 bytes.
//!
//! Key: [`Kind::Current`], `bucket id (8), key (raw)`.

use bytes::Bytes;
use kv::{Key, KeyRange};
use types::{BucketId, UnixMillis, UploadId, VersionId};

use super::codec::{self, Record, Undecodable, halves, whole};
use super::key::{self, Home};
use super::{BlobLocation, Etag, Kind, checksum, headers, location};
use crate::digest::{ChecksumAlgorithm, ChecksumKind};
use crate::model::{ObjectHeaders, StoredChecksum};

/// A version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Length in bytes.
    pub len: u64,
    /// Its ETag.
    pub etag: Etag,
    /// When it was written.
    pub last_modified: UnixMillis,
    /// Its checksum, if one was asked for.
    pub checksum: Option<StoredChecksum>,
    /// Its id: it owns the reference to the body.
    pub version: VersionId,
    /// Its headers.
    pub headers: ObjectHeaders,
    /// Where its bytes are.
    pub body: Body,
}

/// Where an object's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Beside the object; no record at all when there are no bytes.
    Inline,
    /// In one blob.
    Blob {
        /// Where its records are.
        home: BucketId,
        /// The blob; its copies are a hint, the blob's own record is the truth.
        blob: BlobLocation,
    },
    /// In the parts of a completed upload.
    Parts(PartSet),
}

/// A pointer to the parts of a completed upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartSet {
    /// Where its records are.
    pub home: BucketId,
    /// The upload that it was.
    pub upload: UploadId,
    /// How many parts it has.
    pub count: u32,
    /// When the parts are numbered from 1 without a gap and all but the last, which is not longer, have the
    /// same length: that length in bytes. Otherwise 0, and the manifest says where parts begin.
    pub uniform_len: u64,
}

/// What a listing shows of an object: decoded without touching the rest of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Length in bytes.
    pub len: u64,
    /// Its ETag.
    pub etag: Etag,
    /// When it was written.
    pub last_modified: UnixMillis,
    /// Its checksum's algorithm and kind.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
}

/// The record's key.
pub fn key(home: Home, key: &str) -> Key {
    raw_key(home, key.as_bytes())
}

/// As [`key`], for a place between keys: `text` is no longer than an object's key may be.
pub(crate) fn raw_key(home: Home, text: &[u8]) -> Key {
    key::build(home.token(), Kind::Current, &[&home.bucket().to_bytes(), text])
}

/// The keys of all current objects of a bucket whose own keys begin with `prefix`, which is no longer than an
/// object's key may be.
pub fn range(home: Home, prefix: &str) -> KeyRange {
    key::range(home.token(), Kind::Current, &[&home.bucket().to_bytes(), prefix.as_bytes()])
}

/// Bytes in front of the object's own key.
pub const KEY_HEAD_LEN: usize = key::HEAD_LEN + BucketId::LEN;

/// Which object of which bucket a key is of.
pub fn parse_key(key: &[u8]) -> Option<(BucketId, &str)> {
    let (_, rest) = key::split_kind(key, Kind::Current)?;
    let (bucket, text) = key::take_bucket(rest)?;
    Some((bucket, std::str::from_utf8(text).ok()?))
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(uint64, tag = "1")]
    len: u64,
    #[prost(fixed64, tag = "2")]
    md5_high: u64,
    #[prost(fixed64, tag = "3")]
    md5_low: u64,
    #[prost(uint32, tag = "4")]
    etag_parts: u32,
    #[prost(uint64, tag = "5")]
    last_modified_ms: u64,
    #[prost(uint32, tag = "6")]
    checksum_code: u32,
    #[prost(bytes = "vec", tag = "7")]
    checksum_value: Vec<u8>,
    #[prost(uint32, tag = "8")]
    checksum_parts: u32,
    #[prost(fixed64, tag = "9")]
    version_high: u64,
    #[prost(fixed64, tag = "10")]
    version_low: u64,
    #[prost(message, optional, tag = "11")]
    headers: Option<headers::Wire>,
    #[prost(oneof = "WireBody", tags = "12, 13, 14")]
    body: Option<WireBody>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum WireBody {
    #[prost(message, tag = "12")]
    Inline(WireInline),
    #[prost(message, tag = "13")]
    Blob(WireBlob),
    #[prost(message, tag = "14")]
    Parts(WireParts),
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireInline {}

#[derive(Clone, PartialEq, prost::Message)]
struct WireBlob {
    #[prost(fixed64, tag = "1")]
    home: u64,
    #[prost(message, optional, tag = "2")]
    blob: Option<location::Wire>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireParts {
    #[prost(fixed64, tag = "1")]
    home: u64,
    #[prost(fixed64, tag = "2")]
    upload_high: u64,
    #[prost(fixed64, tag = "3")]
    upload_low: u64,
    #[prost(uint32, tag = "4")]
    count: u32,
    #[prost(uint64, tag = "5")]
    uniform_len: u64,
}

/// The front of [`Wire`]: the rest is skipped.
#[derive(Clone, PartialEq, prost::Message)]
struct WireSummary {
    #[prost(uint64, tag = "1")]
    len: u64,
    #[prost(fixed64, tag = "2")]
    md5_high: u64,
    #[prost(fixed64, tag = "3")]
    md5_low: u64,
    #[prost(uint32, tag = "4")]
    etag_parts: u32,
    #[prost(uint64, tag = "5")]
    last_modified_ms: u64,
    #[prost(uint32, tag = "6")]
    checksum_code: u32,
}

const VERSION: u8 = 1;

impl Record for Object {
    const NAME: &'static str = "object";

    fn encode(&self) -> Bytes {
        let (md5_high, md5_low) = self.etag.halves();
        let (version_high, version_low) = halves(self.version.get());
        let (checksum_code, checksum_value, checksum_parts) =
            checksum::to_fields(self.checksum.as_ref());
        let wire = Wire {
            len: self.len,
            md5_high,
            md5_low,
            etag_parts: self.etag.parts,
            last_modified_ms: self.last_modified.0,
            checksum_code,
            checksum_value,
            checksum_parts,
            version_high,
            version_low,
            headers: headers::to_wire(&self.headers),
            body: Some(body_to_wire(&self.body)),
        };
        codec::seal(VERSION, &wire)
    }

    fn decode(value: &[u8]) -> Result<Self, Undecodable> {
        let wire: Wire = codec::open(Self::NAME, VERSION, value)?;
        let wrong = Undecodable(Self::NAME);
        Ok(Self {
            len: wire.len,
            etag: Etag::from_halves(wire.md5_high, wire.md5_low, wire.etag_parts),
            last_modified: UnixMillis(wire.last_modified_ms),
            checksum: checksum::from_fields(
                wire.checksum_code,
                &wire.checksum_value,
                wire.checksum_parts,
            )
            .map_err(|()| wrong)?,
            version: VersionId::new(whole(wire.version_high, wire.version_low)),
            headers: headers::from_wire(wire.headers),
            body: wire.body.and_then(body_from_wire).ok_or(wrong)?,
        })
    }
}

impl Summary {
    /// From a stored [`Object`].
    ///
    /// # Errors
    /// As [`Object::decode`], except that what lies behind the front of the record is not looked at.
    pub fn decode(value: &[u8]) -> Result<Self, Undecodable> {
        let wire: WireSummary = codec::open(Object::NAME, VERSION, value)?;
        Ok(Self {
            len: wire.len,
            etag: Etag::from_halves(wire.md5_high, wire.md5_low, wire.etag_parts),
            last_modified: UnixMillis(wire.last_modified_ms),
            checksum: checksum::from_code(wire.checksum_code)
                .map_err(|()| Undecodable(Object::NAME))?,
        })
    }
}

fn body_to_wire(body: &Body) -> WireBody {
    match body {
        Body::Inline => WireBody::Inline(WireInline {}),
        Body::Blob { home, blob } => {
            WireBody::Blob(WireBlob { home: home.get(), blob: Some(blob.to_wire()) })
        }
        Body::Parts(set) => {
            let (upload_high, upload_low) = halves(set.upload.get());
            WireBody::Parts(WireParts {
                home: set.home.get(),
                upload_high,
                upload_low,
                count: set.count,
                uniform_len: set.uniform_len,
            })
        }
    }
}

fn body_from_wire(wire: WireBody) -> Option<Body> {
    Some(match wire {
        WireBody::Inline(WireInline {}) => Body::Inline,
        WireBody::Blob(WireBlob { home, blob }) => {
            Body::Blob { home: BucketId::new(home), blob: BlobLocation::from_wire(blob.as_ref()?)? }
        }
        WireBody::Parts(parts) => Body::Parts(PartSet {
            home: BucketId::new(parts.home),
            upload: UploadId::new(whole(parts.upload_high, parts.upload_low)),
            count: parts.count,
            uniform_len: parts.uniform_len,
        }),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::digest::ChecksumValue;
    use crate::schema::codec::testing::{golden, round_trips};
    use crate::schema::{checksum, headers, location};

    fn sample(body: Body) -> Object {
        let value =
            ChecksumValue::new(ChecksumAlgorithm::Crc32, &[1, 2, 3, 4]).expect("four bytes");
        let mut headers =
            ObjectHeaders { content_type: Some("text/plain".to_owned()), ..Default::default() };
        headers.user.insert("a".to_owned(), "b".to_owned());
        Object {
            len: 100_000,
            etag: Etag { md5: [0xab; 16], parts: 3 },
            last_modified: UnixMillis(1_700_000_000_123),
            checksum: Some(StoredChecksum { value, kind: ChecksumKind::Composite, parts: Some(3) }),
            version: VersionId::new(0x99),
            headers,
            body,
        }
    }

    fn bodies() -> impl Strategy<Value = Body> {
        let set = (any::<u64>(), any::<u128>(), any::<u32>(), any::<u64>()).prop_map(
            |(home, upload, count, uniform_len)| {
                let (home, upload) = (BucketId::new(home), UploadId::new(upload));
                Body::Parts(PartSet { home, upload, count, uniform_len })
            },
        );
        let blob = (any::<u64>(), location::testing::locations())
            .prop_map(|(home, blob)| Body::Blob { home: BucketId::new(home), blob });
        prop_oneof![Just(Body::Inline), blob, set]
    }

    const FRONT: &str = "0108a08d0611abababababababab19abababababababab200328fbd095ffbc3130113a04010203044003\
                         519900000000000000";
    const HEADERS: &str = "5a140a0a746578742f706c61696e42060a0161120162";

    #[test]
    fn golden_bytes() {
        golden(&sample(Body::Inline), &format!("{FRONT}{HEADERS}6200"));
        let home = BucketId::new(7);
        let blob = sample(Body::Blob { home, blob: location::testing::sample() });
        golden(
            &blob,
            &format!(
                "{FRONT}{HEADERS}6a55090700000000000000124a09221100000000000010071802200128\
                 0130a08d063a3300 00000000000000d000000000000000c00100000000000000d100000000000000c1\
                 0200000000000000d200000000000000c2"
            )
            .replace(' ', ""),
        );
        assert!(blob.encode().len() < 512);
        let set = PartSet { home, upload: UploadId::new(5), count: 3, uniform_len: 5 << 20 };
        golden(
            &sample(Body::Parts(set)),
            &format!("{FRONT}{HEADERS}7219090700000000000000190500000000000000200328 8080c002")
                .replace(' ', ""),
        );
    }

    #[test]
    fn keys_are_raw() {
        let home = Home::of(BucketId::new(7));
        for text in ["a", "a/b", "..", "//", "/x", "\0", "é\u{10ffff}"] {
            let key = key(home, text);
            assert_eq!(parse_key(key.as_bytes()), Some((home.bucket(), text)));
            assert_eq!(&key.as_bytes()[KEY_HEAD_LEN..], text.as_bytes());
            assert!(range(home, text).contains(&key));
        }
    }

    proptest! {
        #[test]
        fn round_trip(
            numbers in any::<(u64, u128, u32, u64, u128)>(),
            checksum in prop::option::of(checksum::testing::stored()),
            headers in headers::testing::headers(),
            body in bodies(),
        ) {
            let (len, md5, parts, ms, version) = numbers;
            let record = Object {
                len, etag: Etag { md5: md5.to_be_bytes(), parts }, last_modified: UnixMillis(ms),
                checksum, version: VersionId::new(version), headers, body,
            };
            round_trips(&record);
            let summary = Summary::decode(&record.encode()).expect("decodes");
            prop_assert_eq!(summary.len, record.len);
            prop_assert_eq!(summary.etag, record.etag);
            prop_assert_eq!(summary.last_modified, record.last_modified);
            prop_assert_eq!(summary.checksum, record.checksum.map(|c| (c.value.algorithm(), c.kind)));
        }

        #[test]
        fn any_bytes(value in prop::collection::vec(any::<u8>(), 0..128)) {
            let mut value = value;
            let _ = (Object::decode(&value), Summary::decode(&value), parse_key(&value));
            if let Some(first) = value.first_mut() {
                *first = VERSION;
            }
            let _ = (Object::decode(&value), Summary::decode(&value));
        }
    }
}
