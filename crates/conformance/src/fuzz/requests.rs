//! What a client writes into paths, hosts and headers: parsed once, and the same name for authorisation and for
//! storage.

use types::{BucketName, ObjectKey};

/// Placeholder.
pub(super) fn targets(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = (BucketName::new(&text), ObjectKey::new(text.as_ref()));
}
pub(super) fn target_seeds() -> Vec<Vec<u8>> {
    vec![]
}
pub(super) fn copy_sources(_data: &[u8]) {}
pub(super) fn copy_source_seeds() -> Vec<Vec<u8>> {
    vec![]
}
