//! Conditions on ETags and dates (RFC 9110 §13, with AWS's precedence). Pure.

use types::UnixMillis;

use crate::error::{CompleteError, GetError, PutError};
use crate::model::{EtagCondition, ReadConditions, WriteConditions};
use crate::schema::Etag;

/// Why a write may not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmet {
    /// `If-Match` on an absent object.
    Absent,
    /// Anything else.
    Failed,
}

impl From<Unmet> for PutError {
    fn from(unmet: Unmet) -> Self {
        match unmet {
            Unmet::Absent => Self::NoSuchKey,
            Unmet::Failed => Self::PreconditionFailed,
        }
    }
}

impl From<Unmet> for CompleteError {
    fn from(unmet: Unmet) -> Self {
        match unmet {
            Unmet::Absent => Self::NoSuchKey,
            Unmet::Failed => Self::PreconditionFailed,
        }
    }
}

impl EtagCondition {
    fn covers(&self, etag: Etag) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(etags) => {
                let text = etag.to_text();
                etags.contains(&text)
            }
        }
    }
}

impl WriteConditions {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }

    /// Against the current object's ETag.
    pub(crate) fn check(&self, current: Option<Etag>) -> Result<(), Unmet> {
        if let Some(wanted) = &self.if_match {
            match current {
                None => return Err(Unmet::Absent),
                Some(etag) if !wanted.covers(etag) => return Err(Unmet::Failed),
                Some(_) => {}
            }
        }
        match (&self.if_none_match, current) {
            (Some(unwanted), Some(etag)) if unwanted.covers(etag) => Err(Unmet::Failed),
            _ => Ok(()),
        }
    }
}

impl ReadConditions {
    /// Against an object: a true `If-Match` overrides `If-Unmodified-Since`, and a false `If-None-Match`
    /// overrides `If-Modified-Since`.
    pub(crate) fn check(&self, etag: Etag, last_modified: UnixMillis) -> Result<(), GetError> {
        let modified_after = |date: UnixMillis| last_modified.seconds() > date.seconds();
        let may = match (&self.if_match, self.if_unmodified_since) {
            (Some(wanted), _) => wanted.covers(etag),
            (None, Some(date)) => !modified_after(date),
            (None, None) => true,
        };
        if !may {
            return Err(GetError::PreconditionFailed);
        }
        let changed = match (&self.if_none_match, self.if_modified_since) {
            (Some(known), _) => !known.covers(etag),
            (None, Some(date)) => modified_after(date),
            (None, None) => true,
        };
        if changed {
            return Ok(());
        }
        Err(GetError::NotModified { etag: etag.to_text(), last_modified })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETAG: Etag = Etag { md5: [0x11; 16], parts: 0 };

    fn one(text: &str) -> Option<EtagCondition> {
        Some(EtagCondition::OneOf(vec!["x".to_owned(), text.to_owned()]))
    }

    fn same() -> Option<EtagCondition> {
        one(&ETAG.to_text())
    }

    #[test]
    fn conditions_of_writes() {
        let any = || Some(EtagCondition::Any);
        let check = |if_match, if_none_match, current| {
            WriteConditions { if_match, if_none_match }.check(current)
        };
        assert_eq!(check(None, None, None), Ok(()));
        assert_eq!(check(None, any(), None), Ok(()));
        assert_eq!(check(None, any(), Some(ETAG)), Err(Unmet::Failed));
        assert_eq!(check(None, same(), Some(ETAG)), Err(Unmet::Failed));
        assert_eq!(check(None, one("y"), Some(ETAG)), Ok(()));
        assert_eq!(check(same(), None, Some(ETAG)), Ok(()));
        assert_eq!(check(any(), None, Some(ETAG)), Ok(()));
        assert_eq!(check(one("y"), None, Some(ETAG)), Err(Unmet::Failed));
        assert_eq!(check(same(), None, None), Err(Unmet::Absent));
        assert_eq!(check(any(), None, None), Err(Unmet::Absent));
    }

    /// The table of the GetObject documentation, each row twice: dates at, before and behind.
    #[test]
    fn conditions_of_reads() {
        #[derive(Debug, PartialEq)]
        enum Is {
            Ok,
            Unchanged,
            Failed,
        }
        let written = UnixMillis(1_000_999);
        let date = |seconds: u64| Some(UnixMillis(seconds * 1000));
        let check = |if_match, if_none_match, since: (u64, u64)| {
            let conditions = ReadConditions {
                if_match,
                if_none_match,
                if_modified_since: date(since.0).filter(|_| since.0 > 0),
                if_unmodified_since: date(since.1).filter(|_| since.1 > 0),
            };
            match conditions.check(ETAG, written) {
                Ok(()) => Is::Ok,
                Err(GetError::NotModified { etag, .. }) if etag == ETAG.to_text() => Is::Unchanged,
                Err(GetError::PreconditionFailed) => Is::Failed,
                Err(other) => panic!("{other}"),
            }
        };
        assert_eq!(check(None, None, (0, 0)), Is::Ok);
        assert_eq!(check(same(), None, (0, 0)), Is::Ok);
        assert_eq!(check(one("y"), None, (0, 0)), Is::Failed);
        assert_eq!(check(None, same(), (0, 0)), Is::Unchanged);
        assert_eq!(check(None, Some(EtagCondition::Any), (0, 0)), Is::Unchanged);
        assert_eq!(check(None, one("y"), (0, 0)), Is::Ok);
        // Modified in second 1000: not after it, though there are 999 ms more.
        assert_eq!(check(None, None, (1000, 0)), Is::Unchanged);
        assert_eq!(check(None, None, (999, 0)), Is::Ok);
        assert_eq!(check(None, None, (0, 1000)), Is::Ok);
        assert_eq!(check(None, None, (0, 999)), Is::Failed);
        // Overrides.
        assert_eq!(check(same(), None, (0, 999)), Is::Ok);
        assert_eq!(check(one("y"), None, (0, 1000)), Is::Failed);
        assert_eq!(check(None, same(), (999, 0)), Is::Unchanged);
        assert_eq!(check(None, one("y"), (1000, 0)), Is::Ok);
        // Failing comes before being unchanged.
        assert_eq!(check(one("y"), same(), (0, 0)), Is::Failed);
        assert_eq!(check(same(), same(), (0, 0)), Is::Unchanged);
    }
}
