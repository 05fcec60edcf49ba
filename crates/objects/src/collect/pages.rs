//! Finding garbage that may be collected, a page at a time, from token to token.

use kv::{Key, KeyRange, Kv, KvError, Step};
use types::{Revision, Token};

use crate::schema::garbage::{self, Candidate, Garbage};
use crate::schema::{Home, Kind, Record as _, kind_range};
use crate::tour;

/// A garbage record.
#[derive(Clone, Debug)]
pub(super) struct Filed {
    pub(super) key: Key,
    pub(super) revision: Revision,
    pub(super) candidate: Candidate,
    pub(super) record: Garbage,
}

impl Filed {
    pub(super) fn home(&self) -> Home {
        Home::of(self.record.home)
    }
}

/// What was found.
#[derive(Default)]
pub(super) struct Page {
    pub(super) filed: Vec<Filed>,
    /// Where to go on; `None` at the end.
    pub(super) next: Option<Key>,
    /// Records that cannot be read; they stay.
    pub(super) unreadable: u64,
}

/// Garbage filed up to `horizon`, at most `limit` records, from the first key at or behind `from` on.
pub(super) async fn read(
    kv: &dyn Kv,
    from: Option<&Key>,
    horizon: Revision,
    limit: usize,
) -> Result<Page, KvError> {
    let start =
        from.cloned().unwrap_or_else(|| kind_range(Token(0), Kind::Garbage).start().clone());
    let end = kind_range(Token(u32::MAX), Kind::Garbage).end().clone();
    let mut page = Page::default();
    let Some(range) = KeyRange::new(start, end) else { return Ok(page) };
    let mut visit = |key: &[u8], value: &[u8], _| {
        let Some((token, kind)) = tour::place_of(key) else { return Step::Next };
        let begin = |token| kind_range(Token(token), Kind::Garbage).start().clone();
        let next_token =
            || token.checked_add(1).map_or(Step::Stop, |token| Step::SeekTo(begin(token)));
        if kind < Kind::Garbage.byte() {
            return Step::SeekTo(begin(token));
        }
        if kind > Kind::Garbage.byte() {
            return next_token();
        }
        let filed = parse(key, value);
        // They lie in the order of their revisions.
        if filed.as_ref().is_some_and(|filed| filed.revision > horizon) {
            return next_token();
        }
        match filed {
            Some(filed) if page.filed.len() == limit => {
                page.next = Some(filed.key);
                return Step::Stop;
            }
            Some(filed) => page.filed.push(filed),
            None => page.unreadable += 1,
        }
        Step::Next
    };
    kv.snapshot().await?.visit(&range, &mut visit).await?;
    Ok(page)
}

fn parse(key: &[u8], value: &[u8]) -> Option<Filed> {
    let (revision, candidate) = garbage::parse_key(key)?;
    let record = Garbage::decode(value).ok()?;
    let key = Key::new(key.to_vec()).ok()?;
    // What does not lie at the home that it names would be looked up in the wrong place.
    if key != garbage::key(Home::of(record.home), revision, candidate) {
        return None;
    }
    Some(Filed { key, revision, candidate, record })
}
