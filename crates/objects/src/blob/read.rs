//! Reading: windows of stripes, each fetched whole and verified before any of it is given out, the next one
//! under way while the last one is consumed.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use erasure::BlobShape;
use futures::Stream;
use tokio::task::JoinHandle;
use types::limits::FRAME_BYTES;

use super::budget::Held;
use super::fetch::Fetcher;
use super::{Inner, OnDamage, Relocate, StoredBlob};
use crate::error::ReadError;
use crate::model::OutputStream;

/// About how many bytes the first window has: a reader waits for all of it.
const FIRST_BYTES: usize = 1 << 20;
/// About how many bytes later windows have; twice as many are held.
const WINDOW_BYTES: usize = 4 << 20;

/// A range of a blob, window by window.
struct Reader {
    store: Arc<Inner>,
    fetcher: Fetcher,
    range: Range<u64>,
    /// The next stripe to fetch.
    next: u64,
    /// One behind the last.
    end: u64,
    windows: u64,
    /// Pays for one stripe at a time, for the reader's whole life.
    base: Option<Arc<Held>>,
}

/// A part of the blob in memory.
struct Window {
    pieces: VecDeque<Bytes>,
    _credit: Option<Held>,
}

impl Reader {
    fn new(
        store: Arc<Inner>,
        blob: StoredBlob,
        range: Range<u64>,
        on_damage: OnDamage,
        relocate: Option<Relocate>,
    ) -> Self {
        let shape = BlobShape { geometry: blob.geometry, len: blob.len };
        let range = range.start..range.end.min(blob.len);
        let (next, end) = match range.is_empty() {
            true => (0, 0),
            false => (shape.stripe_of(range.start), shape.stripe_of(range.end - 1) + 1),
        };
        let fetcher = Fetcher::new(store.clone(), blob, on_damage, relocate);
        Self { store, fetcher, range, next, end, windows: 0, base: None }
    }

    fn stripe_bytes(&self) -> usize {
        self.fetcher.shape().stripe_bytes() as usize
    }

    fn base_bytes(&self) -> usize {
        base_bytes(self.range.end.saturating_sub(self.range.start), self.stripe_bytes())
    }

    /// The next stripes to fetch and what pays for them. While something is still `unread`, only what can be
    /// paid for beyond the base. `None`: not now.
    fn plan(&mut self, unread: bool) -> Option<(Range<u64>, Option<Held>)> {
        let about = if self.windows == 0 { FIRST_BYTES } else { WINDOW_BYTES };
        let most = (about / self.stripe_bytes()).max(1) as u64;
        let count = most.min(self.end - self.next);
        let credit = match (count, unread) {
            (0, _) => return None,
            (1, false) => None,
            _ => self.store.budget.try_extra(count as usize * self.stripe_bytes()),
        };
        let count = match (&credit, unread) {
            (Some(_), _) => count,
            (None, false) => 1,
            (None, true) => return None,
        };
        Some((self.next..self.next + count, credit))
    }

    async fn fetch(
        &mut self,
        stripes: Range<u64>,
        credit: Option<Held>,
    ) -> Result<Window, ReadError> {
        let pieces = self.fetcher.fetch(stripes.clone(), &self.range).await?;
        self.next = stripes.end;
        self.windows += 1;
        Ok(Window { pieces, _credit: credit })
    }
}

/// Begins now: the first window is here when this returns.
pub(super) async fn open(
    store: Arc<Inner>,
    blob: StoredBlob,
    range: Range<u64>,
    (on_damage, relocate): (OnDamage, Option<Relocate>),
) -> Result<OutputStream, ReadError> {
    let mut reader = Box::new(Reader::new(store, blob, range, on_damage, relocate));
    let mut window = None;
    if reader.next < reader.end {
        let base = reader.store.budget.acquire(reader.base_bytes()).await;
        reader.base = Some(base.map(Arc::new).map_err(|_| ReadError::Busy)?);
        if let Some((stripes, credit)) = reader.plan(false) {
            window = Some(reader.fetch(stripes, credit).await?);
        }
    }
    Ok(Box::pin(Output { window, ahead: Ahead::Idle(reader) }))
}

/// Bytes that a reader of `len` bytes holds for its whole life.
pub(super) fn base_bytes(len: u64, stripe_bytes: usize) -> usize {
    // A frame is always read whole.
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    len.saturating_add(2 * FRAME_BYTES).min(stripe_bytes)
}

/// Begins with the first poll; `base` pays.
pub(super) fn lazy(
    store: Arc<Inner>,
    blob: StoredBlob,
    range: Range<u64>,
    (on_damage, relocate): (OnDamage, Option<Relocate>),
    base: Arc<Held>,
) -> OutputStream {
    let mut reader = Box::new(Reader::new(store, blob, range, on_damage, relocate));
    reader.base = Some(base);
    Box::pin(Output { window: None, ahead: Ahead::Idle(reader) })
}

/// The stream: the window being consumed, and the one behind it.
struct Output {
    window: Option<Window>,
    ahead: Ahead,
}

enum Ahead {
    Idle(Box<Reader>),
    Fetching(Task),
    Over,
}

/// A window on its way; dropping it stops it.
struct Task(JoinHandle<(Box<Reader>, Result<Window, ReadError>)>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Output {
    fn fetch_ahead(&mut self) {
        let unread = self.window.is_some();
        self.ahead = match std::mem::replace(&mut self.ahead, Ahead::Over) {
            Ahead::Idle(mut reader) => match reader.plan(unread) {
                Some((stripes, credit)) => Ahead::Fetching(Task(tokio::spawn(async move {
                    let window = reader.fetch(stripes, credit).await;
                    (reader, window)
                }))),
                None => Ahead::Idle(reader),
            },
            other => other,
        };
    }
}

impl Stream for Output {
    type Item = Result<Bytes, ReadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            this.window.take_if(|window| window.pieces.is_empty());
            this.fetch_ahead();
            if let Some(piece) = this.window.as_mut().and_then(|window| window.pieces.pop_front()) {
                return Poll::Ready(Some(Ok(piece)));
            }
            let Ahead::Fetching(task) = &mut this.ahead else {
                this.ahead = Ahead::Over;
                return Poll::Ready(None);
            };
            let fetched = ready!(Pin::new(&mut task.0).poll(cx));
            match fetched {
                Ok((reader, Ok(window))) => {
                    this.window = Some(window);
                    this.ahead = Ahead::Idle(reader);
                }
                Ok((_, Err(error))) => {
                    this.ahead = Ahead::Over;
                    return Poll::Ready(Some(Err(error)));
                }
                // The runtime is shutting down, or a panic that the hook has reported.
                Err(_) => {
                    this.ahead = Ahead::Over;
                    return Poll::Ready(Some(Err(ReadError::Unavailable)));
                }
            }
        }
    }
}
