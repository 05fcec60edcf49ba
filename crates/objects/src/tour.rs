//! Visiting the records of a few kinds in the whole key space: from token to token, skipping everything else.

use std::ops::ControlFlow;

use kv::{Key, KeyRange, Kv, KvError, Step};
use types::{Revision, Token};

use crate::schema::{Kind, kind_range};

/// What is called for each record: kind, key, value, revision.
pub(crate) type Visit<'v> =
    dyn for<'a> FnMut(Kind, &'a [u8], &'a [u8], Revision) -> ControlFlow<()> + Send + 'v;

/// Visits all records of `kinds` (ascending, at least one) at one revision, in the order of their keys.
///
/// # Errors
/// As the store has them. A snapshot's life is bounded: `visit` only notes what it sees.
pub(crate) async fn visit(
    kv: &dyn Kv,
    kinds: &[Kind],
    visit: &mut Visit<'_>,
) -> Result<(), KvError> {
    visit_from(kv, kinds, None, visit).await
}

/// As [`visit`], from the first key at or behind `from` on.
///
/// # Errors
/// As [`visit`].
pub(crate) async fn visit_from(
    kv: &dyn Kv,
    kinds: &[Kind],
    from: Option<&Key>,
    visit: &mut Visit<'_>,
) -> Result<(), KvError> {
    let (Some(&first), Some(&last)) = (kinds.first(), kinds.last()) else { return Ok(()) };
    let start = kind_range(Token(0), first).start().clone();
    let start = from.filter(|from| **from > start).cloned().unwrap_or(start);
    let end = kind_range(Token(u32::MAX), last).end().clone();
    let Some(range) = KeyRange::new(start, end) else { return Ok(()) };
    let mut step = |key: &[u8], value: &[u8], revision| {
        let Some((token, byte)) = place_of(key) else { return Step::Next };
        if let Some(&kind) = kinds.iter().find(|kind| kind.byte() == byte) {
            return match visit(kind, key, value, revision) {
                ControlFlow::Continue(()) => Step::Next,
                ControlFlow::Break(()) => Step::Stop,
            };
        }
        let seek = |token, kind| Step::SeekTo(kind_range(Token(token), kind).start().clone());
        match kinds.iter().find(|kind| kind.byte() > byte) {
            Some(&kind) => seek(token, kind),
            None => token.checked_add(1).map_or(Step::Stop, |token| seek(token, first)),
        }
    };
    kv.snapshot().await?.visit(&range, &mut step).await
}

/// Token and kind byte of a data key, also of kinds that this version does not know.
pub(crate) fn place_of(key: &[u8]) -> Option<(u32, u8)> {
    let token = key.get(1..1 + Token::LEN)?.try_into().ok()?;
    Some((u32::from_be_bytes(token), *key.get(1 + Token::LEN)?))
}
