//! Memory for long replies: listings, and the outcome of deletes. A page of 1000 long keys weighs megabytes, and a
//! client that does not read it keeps it here; so pages have places, from before they are made until their last byte
//! has gone to the connection. Not for objects: their bodies are never whole in memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use runtime::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{ApiResult, Code};
use crate::ops::Operation;
use crate::reply::{Reply, ReplyBody};

/// What is set aside before a page is made; most pages take less. 1000 keys of 1024 bytes that must all be escaped
/// take a little more than three times as much.
pub(crate) const PAGE_BYTES: usize = 2 << 20;
const KIB: usize = 1024;

/// The places.
pub(crate) struct Pages {
    memory: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
    wait: Duration,
}

/// A place for one page.
pub(crate) struct Place(OwnedSemaphorePermit);

impl Pages {
    /// In `bytes` of memory, at least one page. A page waits for its place no longer than `wait`.
    pub(crate) fn new(bytes: usize, clock: Arc<dyn Clock>, wait: Duration) -> Self {
        let memory = Arc::new(Semaphore::new(bytes.max(PAGE_BYTES) / KIB));
        Self { memory, clock, wait }
    }

    /// A place for the page that `operation` will make, if it makes one from nothing but a request's head.
    ///
    /// # Errors
    /// `SlowDown` when there is none for too long.
    pub(crate) async fn place_for(&self, operation: Operation) -> ApiResult<Option<Place>> {
        match operation {
            Operation::ListBuckets
            | Operation::ListObjects
            | Operation::ListObjectsV2
            | Operation::ListParts
            | Operation::ListMultipartUploads => self.place().await.map(Some),
            _ => Ok(None),
        }
    }

    /// A place for one page.
    ///
    /// # Errors
    /// `SlowDown` when there is none for too long.
    pub(crate) async fn place(&self) -> ApiResult<Place> {
        let permits = u32::try_from(PAGE_BYTES / KIB).unwrap_or(u32::MAX);
        tokio::select! {
            biased;
            permit = self.memory.clone().acquire_many_owned(permits) => {
                permit.map(Place).map_err(|_| Code::ServiceUnavailable.into())
            }
            () = self.clock.sleep(self.wait) => Err(Code::SlowDown.into()),
        }
    }
}

impl Place {
    /// Gives back what `reply` does not need, and the rest when its body has gone.
    pub(crate) fn attach(mut self, reply: &mut Reply) {
        let ReplyBody::Bytes(body) = &mut reply.body else { return };
        let needed = body.len().div_ceil(KIB);
        drop(self.0.split(self.0.num_permits().saturating_sub(needed)));
        *body = Bytes::from_owner(Held { bytes: std::mem::take(body), _place: self });
    }
}

/// A body that keeps its place as long as anybody refers to it.
struct Held {
    bytes: Bytes,
    _place: Place,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use runtime::SimClock;

    use super::*;

    #[tokio::test]
    async fn a_page_keeps_its_place_until_it_has_gone() {
        let clock = Arc::new(SimClock::default());
        let wait = Duration::from_secs(5);
        let pages = Arc::new(Pages::new(0, clock.clone(), wait));
        let all = pages.memory.available_permits();
        let place = pages.place_for(Operation::ListObjects).await.expect("free").expect("a page");
        assert!(pages.place_for(Operation::GetObject).await.expect("no page").is_none());
        let waiting = tokio::spawn({
            let pages = pages.clone();
            async move { pages.place().await.map(|_| ()).map_err(|e| e.code()) }
        });
        tokio::task::yield_now().await;
        clock.advance(wait);
        assert_eq!(waiting.await.expect("ends"), Err(Code::SlowDown));

        let mut reply = Reply::xml(vec![b'x'; 10 * KIB + 1]);
        place.attach(&mut reply);
        assert_eq!(pages.memory.available_permits(), all - 11);
        let ReplyBody::Bytes(mut body) = reply.body else { panic!("a document") };
        let rest = body.split_off(10 * KIB);
        drop(body);
        assert_eq!((rest.as_ref(), pages.memory.available_permits()), (&b"x"[..], all - 11));
        drop(rest);
        assert_eq!(pages.memory.available_permits(), all);

        let place = pages.place().await.expect("free");
        place.attach(&mut Reply::empty(http::StatusCode::OK));
        assert_eq!(pages.memory.available_permits(), all);
    }
}
