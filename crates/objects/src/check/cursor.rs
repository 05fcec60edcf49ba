//! Reading a range of records page by page.

use std::collections::VecDeque;

use kv::{Direction, Entry, KeyRange, KvError, Reader};

/// Records of one look.
const PAGE_ENTRIES: usize = 256;

/// A place in a range.
pub(super) struct Cursor<'a> {
    reader: &'a dyn Reader,
    rest: Option<KeyRange>,
    page: VecDeque<Entry>,
}

impl<'a> Cursor<'a> {
    /// At the beginning of `range`.
    pub(super) fn new(reader: &'a dyn Reader, range: KeyRange) -> Self {
        Self { reader, rest: Some(range), page: VecDeque::new() }
    }

    /// The next record, which stays the next.
    pub(super) async fn peek(&mut self) -> Result<Option<&Entry>, KvError> {
        while self.page.is_empty()
            && let Some(range) = self.rest.take()
        {
            let page = self.reader.scan(&range, PAGE_ENTRIES, Direction::Forward).await?;
            let last = page.entries.last().filter(|_| page.more);
            self.rest = last.and_then(|last| range.starting_at(last.key.successor()));
            self.page = page.entries.into();
        }
        Ok(self.page.front())
    }

    /// The next record.
    pub(super) async fn next(&mut self) -> Result<Option<Entry>, KvError> {
        self.peek().await?;
        Ok(self.page.pop_front())
    }
}
