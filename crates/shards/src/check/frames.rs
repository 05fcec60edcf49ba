//! Verifying the frames of one copy.

use std::io;
use std::ops::Range;

use super::window::Window;
use super::{Harm, Observer};
use crate::ShardHeader;
use crate::frame::{self, CHECKSUM_BYTES};

/// What is wrong with the frames of a copy.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) damaged: Vec<Range<u64>>,
    pub(super) harm: Option<Harm>,
    pub(super) detail: String,
}

/// Verifies all frames of the copy with this header, which begin at `offset`.
pub(super) fn verify(
    window: &mut Window<'_>,
    header: &ShardHeader,
    offset: u64,
    observer: &mut dyn Observer,
) -> Verdict {
    let mut verdict = Verdict::default();
    let (mut at, mut failure) = (offset, None);
    for number in 0..header.frames() {
        let len = header.frame_len(number);
        let stored = len + CHECKSUM_BYTES;
        if at.saturating_add(stored as u64) > window.len() {
            push(&mut verdict.damaged, number..header.frames());
            verdict.harm = Some(Harm::Cut);
            break;
        }
        match window.get(at, stored, observer) {
            Ok(bytes) if frame_verifies(header, number, len, &bytes) => {}
            Ok(_) => push(&mut verdict.damaged, number..number + 1),
            Err(error) => {
                push(&mut verdict.damaged, number..number + 1);
                failure = Some(error);
            }
        }
        at += stored as u64;
    }
    describe(&mut verdict, header, failure);
    verdict
}

fn frame_verifies(header: &ShardHeader, number: u64, len: usize, bytes: &[u8]) -> bool {
    let (payload, sum) = bytes.split_at(len.min(bytes.len()));
    let sum = sum.first_chunk().map(|sum| u64::from_le_bytes(*sum));
    sum == Some(frame::checksum(&header.id, number, payload))
}

fn describe(verdict: &mut Verdict, header: &ShardHeader, failure: Option<io::Error>) {
    if verdict.damaged.is_empty() {
        return;
    }
    let (all, which) = (header.frames(), ranges(&verdict.damaged));
    (verdict.harm, verdict.detail) = match (verdict.harm, failure) {
        (Some(Harm::Cut), _) => {
            (Some(Harm::Cut), format!("frames {which} of {all} are behind the end or damaged"))
        }
        (_, Some(error)) => {
            let said = format!("frames {which} of {all} cannot be read or are damaged: {error}");
            (Some(Harm::Unreadable), said)
        }
        (_, None) => (Some(Harm::Frames), format!("frames {which} of {all} do not verify")),
    };
}

/// Adds a range behind all others.
fn push(ranges: &mut Vec<Range<u64>>, next: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if last.end == next.start => last.end = next.end,
        _ => ranges.push(next),
    }
}

/// `2, 5 to 7 and 3 more`, numbered from 0.
fn ranges(ranges: &[Range<u64>]) -> String {
    const SHOWN: usize = 4;
    let one = |range: &Range<u64>| match range.end - range.start {
        1 => range.start.to_string(),
        _ => format!("{} to {}", range.start, range.end - 1),
    };
    let shown: Vec<String> = ranges.iter().take(SHOWN).map(one).collect();
    let left: u64 = ranges.iter().skip(SHOWN).map(|range| range.end - range.start).sum();
    match left {
        0 => shown.join(", "),
        left => format!("{} and {left} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "a list of one range is what is meant")]
    fn frames_are_named_shortly() {
        assert_eq!(super::ranges(&[0..1]), "0");
        assert_eq!(super::ranges(&[0..1, 3..6]), "0, 3 to 5");
        assert_eq!(super::ranges(&[0..1, 2..3, 4..5, 6..7, 8..10]), "0, 2, 4, 6 and 2 more");
    }
}
