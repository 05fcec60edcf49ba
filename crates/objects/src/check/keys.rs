//! Keys under a token. The schema makes keys from a home; of a record that was met by its key only the token of its
//! home is known, and nothing else of a home is in a key.

use kv::{Key, KeyRange};
use types::{BlobId, BucketId, Token, UploadId, limits};

use crate::schema::reference::{self, Owner, Target};
use crate::schema::{Home, Kind, blob, body, kind_range, manifest, object, part};

/// The same key under another token.
fn under(token: Token, key: &Key) -> Key {
    let rest = key.as_bytes().get(1 + Token::LEN..).unwrap_or_default();
    // It was a key before, and its length is the same.
    Key::data(token, &[rest]).unwrap_or_else(|_| key.clone())
}

fn any_home() -> Home {
    Home::of(BucketId::new(0))
}

/// Everything under all tokens.
pub(super) fn all() -> Option<KeyRange> {
    let first = Key::data(Token(0), &[]).ok()?;
    let last = Key::data(Token(u32::MAX), &[]).ok()?;
    KeyRange::new(first, last.prefix_end())
}

pub(super) fn manifest(token: Token, upload: UploadId) -> Key {
    under(token, &manifest::key(any_home(), upload))
}

pub(super) fn blob(token: Token, id: BlobId) -> Key {
    under(token, &blob::key(any_home(), id))
}

pub(super) fn part(token: Token, upload: UploadId, number: u16) -> Key {
    under(token, &part::key(any_home(), upload, number))
}

pub(super) fn part_body(token: Token, upload: UploadId, number: u16) -> Key {
    under(token, &body::part_key(any_home(), upload, number))
}

pub(super) fn reference(token: Token, target: Target, owner: Owner) -> Key {
    under(token, &reference::key(any_home(), target, owner))
}

/// All parts of an upload.
pub(super) fn parts(token: Token, upload: UploadId) -> KeyRange {
    KeyRange::prefix(&under(token, part::range(any_home(), upload).start()))
}

/// All references to `target`.
pub(super) fn references(token: Token, target: Target) -> KeyRange {
    KeyRange::prefix(&under(token, reference::range(any_home(), target).start()))
}

/// All references to blobs, or to part sets.
pub(super) fn references_to(token: Token, what: u8) -> KeyRange {
    let all = kind_range(token, Kind::Reference);
    let prefix = Key::new([all.start().as_bytes(), &[what]].concat());
    prefix.map_or(all, |prefix| KeyRange::prefix(&prefix))
}

/// Key of an object that a record names; `None` when nothing can have that name.
pub(super) fn object(bucket: BucketId, key: &str) -> Option<Key> {
    (key.len() <= limits::OBJECT_KEY_MAX_BYTES).then(|| object::key(Home::of(bucket), key))
}

/// Whose bytes an object's body is.
pub(super) fn object_of_body(key: &[u8]) -> Option<(BucketId, String)> {
    let key = with_kind(key, Kind::Current)?;
    object::parse_key(&key).map(|(bucket, text)| (bucket, text.to_owned()))
}

/// Whose bytes a part's body is.
pub(super) fn part_of_body(key: &[u8]) -> Option<(UploadId, u16)> {
    part::parse_key(&with_kind(key, Kind::Part)?)
}

fn with_kind(key: &[u8], kind: Kind) -> Option<Vec<u8>> {
    let mut key = key.to_vec();
    *key.get_mut(1 + Token::LEN)? = kind.byte();
    Some(key)
}
