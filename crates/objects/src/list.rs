//! Listings of objects: an ordered walk over one snapshot, which leaps over each common prefix instead of
//! scanning it. Memory is one page.

use kv::{Key, Step};
use tenancy::Authorized;
use tenancy::action::ListBucket;
use types::limits;

use crate::engine::Engine;
use crate::error::Failure;
use crate::model::{ListPage, ListRequest, ListedObject};
use crate::schema::object::{self, Summary};
use crate::schema::{Home, Undecodable, bucket};

impl Engine {
    /// A page of a bucket's objects.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn list_objects(
        &self,
        proof: Authorized<ListBucket>,
        request: ListRequest,
    ) -> Result<ListPage, Failure> {
        let home = Home::of(proof.into_resource().id);
        let max = request.max.min(limits::LIST_PAGE_MAX_KEYS);
        let reader = self.inner.kv.snapshot().await?;
        reader.get(&bucket::key(home)).await?.ok_or(Failure::NoSuchBucket)?;
        let mut walk = Walk::new(&request.prefix, request.delimiter.as_deref(), max);
        let Some(first) = walk.first(request.after.as_deref()) else {
            return Ok(ListPage::default());
        };
        let mut range = Some(object::range(home, &request.prefix));
        match first {
            Begin::At => {}
            Begin::Behind(text) => {
                let next = object::raw_key(home, cut(text)).successor();
                range = range.and_then(|r| r.starting_at(next));
            }
            Begin::BehindAll(prefix) => {
                let next = object::range(home, prefix).end().clone();
                range = range.and_then(|r| r.starting_at(next));
            }
        }
        let Some(range) = range else { return Ok(ListPage::default()) };
        let mut objects = Vec::new();
        let mut wrong = None;
        let mut visit =
            |key: &[u8], value: &[u8], _| match listed(key, value, &mut walk, &mut objects) {
                Ok(Next::Entry) => Step::Next,
                Ok(Next::Leap(prefix)) => Step::SeekTo(end_of(home, &prefix)),
                Ok(Next::Full) => Step::Stop,
                Err(error) => {
                    wrong = Some(error);
                    Step::Stop
                }
            };
        reader.visit(&range, &mut visit).await?;
        match wrong {
            Some(error) => Err(error.into()),
            None => Ok(ListPage { objects, next: walk.next(), prefixes: walk.prefixes }),
        }
    }
}

/// An `after` longer than any key compares with every key as its front does.
pub(crate) fn cut(text: &str) -> &[u8] {
    text.as_bytes().get(..limits::OBJECT_KEY_MAX_BYTES).unwrap_or(text.as_bytes())
}

fn end_of(home: Home, prefix: &str) -> Key {
    object::range(home, prefix).end().clone()
}

enum Next {
    Entry,
    Leap(String),
    Full,
}

fn listed(
    key: &[u8],
    value: &[u8],
    walk: &mut Walk<'_>,
    objects: &mut Vec<ListedObject>,
) -> Result<Next, Undecodable> {
    let text = key.get(object::KEY_HEAD_LEN..).and_then(|text| std::str::from_utf8(text).ok());
    let text = text.ok_or(Undecodable("object"))?;
    Ok(match walk.take(text) {
        Taken::Full => Next::Full,
        Taken::Prefix(prefix) => Next::Leap(prefix),
        Taken::Entry => {
            let summary = Summary::decode(value)?;
            objects.push(ListedObject {
                key: text.to_owned(),
                len: summary.len,
                etag: summary.etag.to_text(),
                last_modified: summary.last_modified,
                checksum: summary.checksum,
            });
            Next::Entry
        }
    })
}

/// The rules of a page, whatever is listed: which keys are rolled up, where a page begins, when it is full. Pure.
pub(crate) struct Walk<'a> {
    prefix: &'a str,
    delimiter: Option<&'a str>,
    max: usize,
    count: usize,
    more: bool,
    last: Option<String>,
    pub(crate) prefixes: Vec<String>,
}

/// Where a page begins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Begin<'a> {
    /// At the first key.
    At,
    /// Behind this key.
    Behind(&'a str),
    /// Behind all keys that begin with this.
    BehindAll(&'a str),
}

/// What became of a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is on the page.
    Entry,
    /// This common prefix is on the page: go on behind all keys that begin with it.
    Prefix(String),
    /// The page was full before it.
    Full,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(prefix: &'a str, delimiter: Option<&'a str>, max: usize) -> Self {
        let delimiter = delimiter.filter(|d| !d.is_empty());
        Self { prefix, delimiter, max, count: 0, more: false, last: None, prefixes: Vec::new() }
    }

    /// Where to begin; `None` when the page is certain to be empty.
    pub(crate) fn first<'b>(&self, after: Option<&'b str>) -> Option<Begin<'b>> {
        if self.max == 0 || self.prefix.len() > limits::OBJECT_KEY_MAX_BYTES {
            return None;
        }
        let Some(after) = after else { return Some(Begin::At) };
        Some(match self.common_prefix(after) {
            // A common prefix is not behind a text that it is the front of.
            Some(common) if common.len() <= limits::OBJECT_KEY_MAX_BYTES => {
                Begin::BehindAll(common)
            }
            _ => Begin::Behind(after),
        })
    }

    /// The common prefix that a key is rolled up to, if it is.
    fn common_prefix<'b>(&self, key: &'b str) -> Option<&'b str> {
        let delimiter = self.delimiter?;
        let rest = key.strip_prefix(self.prefix)?;
        let end = self.prefix.len() + rest.find(delimiter)? + delimiter.len();
        key.get(..end)
    }

    /// Takes the next key.
    pub(crate) fn take(&mut self, key: &str) -> Taken {
        if self.count == self.max {
            self.more = true;
            return Taken::Full;
        }
        self.count += 1;
        let common = self.common_prefix(key).map(str::to_owned);
        if self.count == self.max {
            self.last = Some(common.as_deref().unwrap_or(key).to_owned());
        }
        match common {
            Some(common) => {
                self.prefixes.push(common.clone());
                Taken::Prefix(common)
            }
            None => Taken::Entry,
        }
    }

    /// Where the next page begins, if there is one.
    pub(crate) fn next(&mut self) -> Option<String> {
        self.last.take().filter(|_| self.more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_begins_behind_a_common_prefix_it_would_repeat() {
        let walk = Walk::new("p/", Some("/"), 5);
        assert_eq!(walk.first(None), Some(Begin::At));
        assert_eq!(walk.first(Some("p/a")), Some(Begin::Behind("p/a")));
        assert_eq!(walk.first(Some("p/a/")), Some(Begin::BehindAll("p/a/")));
        assert_eq!(walk.first(Some("p/a/b/c")), Some(Begin::BehindAll("p/a/")));
        assert_eq!(walk.first(Some("o/a/")), Some(Begin::Behind("o/a/")));
        assert_eq!(Walk::new("", Some("/"), 0).first(None), None);
        assert_eq!(Walk::new("", Some(""), 1).first(Some("a/b")), Some(Begin::Behind("a/b")));
    }

    #[test]
    fn overlong_texts_are_cut() {
        let text = format!("{}é{}", "a".repeat(1023), "b".repeat(5000));
        assert_eq!(cut(&text), &text.as_bytes()[..1024]);
        assert_eq!(cut("a"), b"a");
        let walk = Walk::new("", Some("é"), 5);
        assert_eq!(walk.first(Some(&text)), Some(Begin::Behind(&text)));
    }
}
