//! Which bytes a selection means. Pure; parts are looked up elsewhere.

use std::ops::Range;

use crate::error::GetError;
use crate::model::Selection;

/// Bytes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selected {
    pub(crate) range: Range<u64>,
    /// Whether a part of the object was asked for, even if it turns out to be all of it.
    pub(crate) partial: bool,
}

impl Selected {
    pub(crate) fn whole(len: u64) -> Self {
        Self { range: 0..len, partial: false }
    }
}

/// What `selection`, which is not of a part, means of an object of `len` bytes. A range whose end is before its
/// beginning is no range at all (RFC 9110 §14.1.1) and means the whole.
pub(crate) fn resolve(selection: Selection, len: u64) -> Result<Selected, GetError> {
    let range = match selection {
        Selection::Whole | Selection::Part(_) => return Ok(Selected::whole(len)),
        Selection::FirstLast(first, last) if last < first => return Ok(Selected::whole(len)),
        Selection::FirstLast(first, last) => first..last.saturating_add(1).min(len),
        Selection::From(first) => first..len,
        Selection::Suffix(count) => len.saturating_sub(count)..len,
    };
    if range.start >= range.end {
        return Err(GetError::RangeNotSatisfiable { len });
    }
    Ok(Selected { range, partial: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections() {
        let bytes = |selection, len| match resolve(selection, len) {
            Ok(Selected { range, partial: true }) => Some(range),
            Ok(Selected { range, partial: false }) => {
                assert_eq!(range, 0..len);
                Some(u64::MAX..u64::MAX)
            }
            Err(GetError::RangeNotSatisfiable { len: told }) => {
                assert_eq!(told, len);
                None
            }
            Err(other) => panic!("{other}"),
        };
        let whole = Some(u64::MAX..u64::MAX);
        assert_eq!(bytes(Selection::Whole, 10), whole);
        assert_eq!(bytes(Selection::Whole, 0), whole);
        assert_eq!(bytes(Selection::FirstLast(0, 0), 10), Some(0..1));
        assert_eq!(bytes(Selection::FirstLast(2, 5), 10), Some(2..6));
        assert_eq!(bytes(Selection::FirstLast(2, u64::MAX), 10), Some(2..10));
        assert_eq!(bytes(Selection::FirstLast(9, 9), 10), Some(9..10));
        assert_eq!(bytes(Selection::FirstLast(10, 10), 10), None);
        assert_eq!(bytes(Selection::FirstLast(5, 2), 10), whole);
        assert_eq!(bytes(Selection::From(0), 10), Some(0..10));
        assert_eq!(bytes(Selection::From(9), 10), Some(9..10));
        assert_eq!(bytes(Selection::From(10), 10), None);
        assert_eq!(bytes(Selection::From(0), 0), None);
        assert_eq!(bytes(Selection::Suffix(3), 10), Some(7..10));
        assert_eq!(bytes(Selection::Suffix(30), 10), Some(0..10));
        assert_eq!(bytes(Selection::Suffix(0), 10), None);
        assert_eq!(bytes(Selection::Suffix(1), 0), None);
    }
}
