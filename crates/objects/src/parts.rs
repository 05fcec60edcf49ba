//! The parts of a completed upload, found and read lazily: a page of part records at a time, whatever the number
//! of parts, beginning at the part that the first byte wanted is in.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kv::{Direction, KeyRange};

use crate::blob::Held;
use crate::engine::Engine;
use crate::error::{Failure, GetError, ReadError};
use crate::model::OutputStream;
use crate::schema::manifest::{self, Manifest};
use crate::schema::object::PartSet;
use crate::schema::part::{self, Part};
use crate::schema::{Home, Record as _, body};
use crate::stream::Shared;

/// Part records per look-up.
const PAGE_PARTS: usize = 32;

/// One part, and where it begins in the whole.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    pub(crate) number: u16,
    pub(crate) begins: u64,
    pub(crate) part: Part,
}

impl Located {
    fn range(&self) -> Range<u64> {
        self.begins..self.begins.saturating_add(self.part.len)
    }
}

/// Which parts a set has, and where to begin looking for one.
enum Index {
    /// Numbered from 1 on, all but the last of this length.
    Uniform(u64),
    /// As the manifest says.
    Manifest(Arc<Manifest>),
}

/// Walks over the parts of a set in order.
pub(crate) struct Cursor {
    engine: Engine,
    set: PartSet,
    index: Index,
    /// The next record to look up, and where the next part begins.
    next: u16,
    begins: u64,
    page: VecDeque<(u16, Part)>,
    done: bool,
}

impl Engine {
    async fn index_of(&self, set: PartSet) -> Result<Index, Failure> {
        if set.uniform_len > 0 {
            return Ok(Index::Uniform(set.uniform_len));
        }
        let key = manifest::key(Home::of(set.home), set.upload);
        let found = self.inner.kv.get(&key).await?.ok_or(Failure::Damaged("manifest"))?;
        Ok(Index::Manifest(Arc::new(Manifest::decode(&found.value)?)))
    }

    /// A cursor on the part that holds byte `offset`, or on one shortly before it.
    async fn parts_from(&self, set: PartSet, offset: u64) -> Result<Cursor, Failure> {
        let index = self.index_of(set).await?;
        let (next, begins) = match &index {
            Index::Uniform(len) => {
                let before = (offset / *len).min(u64::from(set.count.saturating_sub(1)));
                let number = u16::try_from(before + 1).map_err(|_| Failure::Damaged("object"))?;
                (number, before * len)
            }
            Index::Manifest(manifest) => {
                manifest.checkpoint_at(offset).ok_or(Failure::Damaged("manifest"))?
            }
        };
        let engine = self.clone();
        Ok(Cursor { engine, set, index, next, begins, page: VecDeque::new(), done: false })
    }

    /// Part `number` of a set.
    ///
    /// # Errors
    /// [`GetError::NoSuchPart`] when the set has none of this number.
    pub(crate) async fn find_part(&self, set: PartSet, number: u16) -> Result<Located, GetError> {
        let missing = || GetError::NoSuchPart { parts: set.count };
        let index = self.index_of(set).await?;
        let (next, begins) = match &index {
            Index::Uniform(_) if u32::from(number) > set.count => return Err(missing()),
            Index::Uniform(len) => (number, u64::from(number.saturating_sub(1)) * len),
            Index::Manifest(manifest) if !manifest.contains(number) => return Err(missing()),
            Index::Manifest(manifest) => {
                manifest.checkpoint_of(number).ok_or(Failure::Damaged("manifest"))?
            }
        };
        let engine = self.clone();
        let mut cursor =
            Cursor { engine, set, index, next, begins, page: VecDeque::new(), done: false };
        while let Some(located) = cursor.next().await? {
            if located.number == number {
                return Ok(located);
            }
        }
        Err(Failure::Damaged("part").into())
    }

    /// Begins to read `range` of a part set of `len` bytes: the first bytes have been read when this returns.
    pub(crate) async fn open_parts(
        &self,
        set: PartSet,
        range: Range<u64>,
    ) -> Result<OutputStream, Failure> {
        if range.is_empty() {
            return Ok(Box::pin(stream::empty()));
        }
        let mut cursor = self.parts_from(set, range.start).await?;
        let first = loop {
            let located = cursor.next().await?.ok_or(Failure::Damaged("part"))?;
            if located.range().end > range.start {
                break located;
            }
        };
        // Before anything is sent: what has begun must never have to wait for others.
        let base = match first.range().end < range.end {
            true => Some(self.inner.blobs.base(range.end - range.start).await?),
            false => None,
        };
        let read = self.read_part(set, &first, &range, None).await?;
        let rest = Rest { engine: self.clone(), cursor, set, at: first.range().end, range, base };
        let rest = stream::try_unfold(rest, Rest::next).try_flatten();
        Ok(Box::pin(Shared::new(read.chain(rest))))
    }

    /// Reads what `range` of the whole takes from one part: the first bytes now, or, when `base` pays for it, later.
    async fn read_part(
        &self,
        set: PartSet,
        located: &Located,
        range: &Range<u64>,
        base: Option<Arc<Held>>,
    ) -> Result<OutputStream, Failure> {
        let own = located.range();
        let wanted = range.start.clamp(own.start, own.end) - own.start
            ..range.end.clamp(own.start, own.end) - own.start;
        if wanted.is_empty() {
            return Ok(Box::pin(stream::empty()));
        }
        let home = Home::of(set.home);
        match (&located.part.blob, base) {
            (Some(blob), None) => self.open_blob(home, blob, wanted).await,
            (Some(blob), Some(base)) => Ok(self.read_blob(home, blob, wanted, base)),
            (None, _) => {
                let key = body::part_key(home, set.upload, located.number);
                let found = self.inner.kv.get(&key).await?.ok_or(Failure::Damaged("body"))?;
                let context = body::Context::Part(set.upload, located.number);
                let bytes = body::open(context, &found.value)?;
                if bytes.len() as u64 != located.part.len {
                    return Err(Failure::Damaged("body"));
                }
                Ok(one(slice(&bytes, &wanted)))
            }
        }
    }
}

/// A stream of these bytes.
pub(crate) fn one(bytes: Bytes) -> OutputStream {
    Box::pin(stream::iter((!bytes.is_empty()).then_some(Ok(bytes))))
}

/// `range` of `bytes`, cut at their end.
pub(crate) fn slice(bytes: &Bytes, range: &Range<u64>) -> Bytes {
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(at(range.start)..at(range.end).max(at(range.start)))
}

/// What is left to read behind the first part.
struct Rest {
    engine: Engine,
    cursor: Cursor,
    set: PartSet,
    at: u64,
    range: Range<u64>,
    /// Pays for all of it; `None` when there is nothing.
    base: Option<Arc<Held>>,
}

impl Rest {
    async fn next(mut self) -> Result<Option<(OutputStream, Self)>, ReadError> {
        if self.at >= self.range.end {
            return Ok(None);
        }
        let part = self.next_part().await.map_err(|failure| {
            tracing::error!(upload = %self.set.upload, %failure, "a part could not be read");
            as_read_error(&failure)
        })?;
        Ok(Some((part, self)))
    }

    async fn next_part(&mut self) -> Result<OutputStream, Failure> {
        let located = self.cursor.next().await?.ok_or(Failure::Damaged("part"))?;
        if located.begins != self.at {
            return Err(Failure::Damaged("part"));
        }
        self.at = located.range().end;
        self.engine.read_part(self.set, &located, &self.range, self.base.clone()).await
    }
}

/// What a failure in mid-stream is to the reader.
fn as_read_error(failure: &Failure) -> ReadError {
    match failure {
        Failure::Read(error) => error.clone(),
        Failure::Damaged(_) => ReadError::Corrupt,
        _ => ReadError::Unavailable,
    }
}

impl Cursor {
    /// The next part of the set.
    pub(crate) async fn next(&mut self) -> Result<Option<Located>, Failure> {
        loop {
            while let Some((number, part)) = self.page.pop_front() {
                if !self.includes(number) {
                    continue;
                }
                let located = Located { number, begins: self.begins, part };
                self.begins = located.range().end;
                return Ok(Some(located));
            }
            if self.done {
                return Ok(None);
            }
            self.fetch().await?;
        }
    }

    fn includes(&self, number: u16) -> bool {
        match &self.index {
            Index::Uniform(_) => number >= 1 && u32::from(number) <= self.set.count,
            Index::Manifest(manifest) => manifest.contains(number),
        }
    }

    async fn fetch(&mut self) -> Result<(), Failure> {
        let home = Home::of(self.set.home);
        let first = part::key(home, self.set.upload, self.next);
        let end = part::range(home, self.set.upload).end().clone();
        let Some(range) = KeyRange::new(first, end) else {
            self.done = true;
            return Ok(());
        };
        let page = self.engine.inner.kv.scan(&range, PAGE_PARTS, Direction::Forward).await?;
        for entry in &page.entries {
            let (_, number) =
                part::parse_key(entry.key.as_bytes()).ok_or(Failure::Damaged("part"))?;
            self.page.push_back((number, Part::decode(&entry.value)?));
            self.next = number.saturating_add(1);
        }
        self.done = !page.more || page.entries.is_empty();
        Ok(())
    }
}
