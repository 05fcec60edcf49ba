//! Bodies with known bytes.

use std::collections::HashMap;

use bytes::Bytes;
use futures::stream;
use objects::*;
use runtime::Entropy as _;

/// A body, by its length and a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Content {
    pub len: usize,
    pub seed: u64,
}

thread_local! {
    static KNOWN: std::cell::RefCell<HashMap<Content, (Bytes, String)>> =
        std::cell::RefCell::default();
}

/// Beside its record.
pub const fn inline(seed: u64) -> Content {
    Content { len: 100, seed }
}

/// One stripe of shards.
pub const fn blob(seed: u64) -> Content {
    Content { len: types::limits::INLINE_MAX_BYTES + 1000, seed }
}

/// Several stripes of shards.
pub const fn long(seed: u64) -> Content {
    Content { len: 140_000, seed }
}

impl Content {
    fn known(self) -> (Bytes, String) {
        let make = || {
            use md5::Digest as _;
            let mut bytes = vec![0; self.len];
            runtime::SimEntropy::new(self.seed).fill(&mut bytes);
            let etag = md5::Md5::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
            (Bytes::from(bytes), etag)
        };
        KNOWN.with_borrow_mut(|known| known.entry(self).or_insert_with(make).clone())
    }

    pub fn bytes(self) -> Bytes {
        self.known().0
    }

    /// As uploading it answers.
    pub fn etag(self) -> String {
        self.known().1
    }

    pub fn stream(self) -> BodyStream {
        Box::pin(stream::iter([Ok(self.bytes())]))
    }
}
