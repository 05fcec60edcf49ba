//! What a caller must do about an error, whatever its cause.

/// The prescriptive kind of an error: not what went wrong, but what the caller has to do.
///
/// Every error enum in the workspace maps onto this in one exhaustive match, and each face maps kinds
/// (or the finer enum) onto its wire form in one exhaustive match of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request itself is wrong; repeating it cannot help.
    Invalid,
    /// What was named does not exist.
    NotFound,
    /// Somebody else changed what this relied on; read again and decide again.
    Conflict,
    /// The caller may not do this.
    Denied,
    /// Too much at once, or a passing fault; the same request may succeed later.
    Unavailable,
    /// No room: deletes and reads still work.
    Full,
    /// Nobody can say whether the write happened; nothing may be deleted on its account.
    Unknown,
    /// Stored bytes do not verify and no redundancy is left to mend them with.
    Corrupt,
    /// Not built.
    NotImplemented,
    /// A fault of ours.
    Internal,
}

impl ErrorKind {
    /// Whether the same request, unchanged, may succeed when repeated.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Unavailable | Self::Unknown | Self::Conflict)
    }
}
