//! Telling what a crash left unwritten from what has rotted. A footer is written in one go and synced afterwards, so
//! that a power cut can leave any of its sectors out: those read as zeroes, and ours never are zeroes throughout.

use std::ops::Range;

use crate::codec::{INDEX_ENTRY_BYTES, PAGE_BYTES, TRAILER_BYTES};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: u64 = 512;
const PAGE_HEADER_BYTES: usize = 16;

/// Whether a trailer at `at` has a sector that was never written.
pub(super) fn trailer(bytes: &[u8], at: u64) -> bool {
    is_torn(bytes, at, &[0..24, TRAILER_BYTES - 8..TRAILER_BYTES])
}

/// Whether an index page has one.
pub(super) fn page(bytes: &[u8], at: u64) -> bool {
    let count =
        bytes.get(4..6).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_le_bytes);
    let entries = PAGE_HEADER_BYTES + usize::from(count) * INDEX_ENTRY_BYTES;
    is_torn(bytes, at, &[0..entries.min(PAGE_BYTES - 8), PAGE_BYTES - 8..PAGE_BYTES])
}

/// Whether tables have one.
pub(super) fn tables(bytes: &[u8], at: u64) -> bool {
    is_torn(bytes, at, std::slice::from_ref(&(0..bytes.len())))
}

/// Whether, in some sector, all of those parts of `bytes` that are in it are zeroes.
fn is_torn(bytes: &[u8], at: u64, parts: &[Range<usize>]) -> bool {
    let mut start = 0;
    while start < bytes.len() {
        let in_sector = SECTOR_BYTES - (at + start as u64) % SECTOR_BYTES;
        let end = bytes.len().min(start + in_sector as usize);
        let inside = |part: &Range<usize>| part.start.max(start)..part.end.min(end);
        let mut ours = parts.iter().map(inside).filter(|part| !part.is_empty()).peekable();
        let is_ours = ours.peek().is_some();
        let is_zero =
            |part| bytes.get::<Range<usize>>(part).is_some_and(|b| b.iter().all(|b| *b == 0));
        if is_ours && ours.all(is_zero) {
            return true;
        }
        start = end;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_that_were_never_written_are_zero() {
        let whole = vec![7; 2000];
        assert!(!tables(&whole, 300));
        // From 300, the second sector begins at 212.
        let mut torn = whole.clone();
        torn[212..724].fill(0);
        assert!(tables(&torn, 300));
        torn[500] = 1;
        assert!(!tables(&torn, 300));
        // A trailer in one sector, and one in two.
        let mut torn = vec![7; TRAILER_BYTES];
        torn[..40].fill(0);
        assert!(!trailer(&torn, 0) && trailer(&torn, 512 - 40));
    }

    #[test]
    fn the_empty_end_of_a_page_is_no_sign() {
        let mut bytes = vec![0; PAGE_BYTES];
        bytes[0..16 + 64].fill(7);
        bytes[4..6].copy_from_slice(&1_u16.to_le_bytes());
        bytes[PAGE_BYTES - 8..].fill(7);
        assert!(!page(&bytes, 4096));
        bytes[4..6].copy_from_slice(&20_u16.to_le_bytes());
        assert!(page(&bytes, 4096), "entries of the second sector are not there");
    }
}
