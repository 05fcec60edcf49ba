//! How much of a blob is left when some frames of some of its shards are not.

use std::collections::BTreeSet;
use std::ops::Range;

use erasure::BlobShape;

/// What can be used of one shard of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Every frame.
    Whole,
    /// All but these, ascending.
    Except(Vec<Range<u64>>),
    /// Nothing.
    Nothing,
}

impl Use {
    fn has(&self, stripe: u64) -> bool {
        match self {
            Self::Whole => true,
            Self::Except(ranges) => !ranges.iter().any(|range| range.contains(&stripe)),
            Self::Nothing => false,
        }
    }

    /// The better of two copies of one shard; frames of both may be used.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Whole, _) | (_, Self::Whole) => Self::Whole,
            (Self::Nothing, rest) | (rest, Self::Nothing) => rest,
            (Self::Except(a), Self::Except(b)) => {
                let both =
                    a.iter().flat_map(|a| b.iter().map(|b| a.start.max(b.start)..a.end.min(b.end)));
                Self::Except(both.filter(|range| !range.is_empty()).collect())
            }
        }
    }
}

/// How many more shards may be lost before bytes are, in the worst stripe: below 0 when bytes are lost. `shards`
/// has one for each index.
pub(super) fn margin(shape: BlobShape, shards: &[Use]) -> i64 {
    let left = |stripe| shards.iter().filter(|shard| shard.has(stripe)).count() as i64;
    let worst = spans(shape, shards).map(|span| left(span.start)).min();
    let whole = shards.iter().filter(|shard| **shard != Use::Nothing).count() as i64;
    worst.unwrap_or(whole) - shape.geometry.data() as i64
}

/// Bytes of the blob in stripes that cannot be put together.
pub(super) fn lost(shape: BlobShape, shards: &[Use]) -> Vec<Range<u64>> {
    let mut lost: Vec<Range<u64>> = Vec::new();
    for span in spans(shape, shards) {
        let left = shards.iter().filter(|shard| shard.has(span.start)).count();
        if left >= shape.geometry.data() {
            continue;
        }
        let from = shape.stripe_range(span.start).start;
        let to = shape.stripe_range(span.end.saturating_sub(1)).end;
        match lost.last_mut() {
            Some(last) if last.end == from => last.end = to,
            _ => lost.push(from..to),
        }
    }
    lost
}

/// Stripes in ranges throughout which the same frames can be used.
fn spans(shape: BlobShape, shards: &[Use]) -> impl Iterator<Item = Range<u64>> {
    let stripes = shape.stripes();
    let mut edges = BTreeSet::from([0, stripes]);
    for shard in shards {
        if let Use::Except(ranges) = shard {
            edges.extend(ranges.iter().flat_map(|r| [r.start.min(stripes), r.end.min(stripes)]));
        }
    }
    let edges: Vec<u64> = edges.into_iter().collect();
    let pairs: Vec<_> = edges.windows(2).filter_map(|w| Some(*w.first()?..*w.get(1)?)).collect();
    pairs.into_iter()
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "lists of one range are what is meant")]
mod tests {
    use super::*;

    const STRIPE: u64 = 3 * 65_536;

    fn shape(len: u64) -> BlobShape {
        BlobShape { geometry: "3+2".parse().expect("a geometry"), len }
    }

    fn but(ranges: &[Range<u64>]) -> Use {
        Use::Except(ranges.to_vec())
    }

    #[test]
    fn whole_shards_count() {
        let shape = shape(10 * STRIPE);
        let mut shards = vec![Use::Whole; 5];
        for left in (0..5).rev() {
            shards[left] = Use::Nothing;
            assert_eq!(margin(shape, &shards), left as i64 - 3);
        }
        assert_eq!(lost(shape, &shards), [0..10 * STRIPE]);
    }

    #[test]
    fn damage_in_different_stripes_does_not_add_up() {
        let shape = shape(10 * STRIPE - 5);
        let mut shards = vec![but(&[0..1]), but(&[1..2]), but(&[2..3]), but(&[3..4]), but(&[4..5])];
        assert_eq!((margin(shape, &shards), lost(shape, &shards)), (1, vec![]));
        shards[0] = but(&[2..3, 9..10]);
        shards[1] = but(&[2..4, 9..10]);
        assert_eq!(
            (margin(shape, &shards), lost(shape, &shards)),
            (-1, vec![2 * STRIPE..3 * STRIPE])
        );
        shards[2] = but(&[2..4, 9..10]);
        let gone = vec![2 * STRIPE..4 * STRIPE, 9 * STRIPE..10 * STRIPE - 5];
        assert_eq!((margin(shape, &shards), lost(shape, &shards)), (-1, gone));
    }

    #[test]
    fn two_copies_of_one_shard_help_each_other() {
        assert_eq!(but(&[0..2]).or(but(&[1..3])), but(&[1..2]));
        assert_eq!(but(&[0..2]).or(Use::Nothing), but(&[0..2]));
        assert_eq!(Use::Nothing.or(Use::Whole), Use::Whole);
    }

    #[test]
    fn a_blob_of_no_bytes_has_shards_all_the_same() {
        let shards = [Use::Nothing, Use::Nothing, Use::Nothing, Use::Whole, Use::Whole];
        assert_eq!((margin(shape(0), &shards), lost(shape(0), &shards)), (-1, vec![]));
    }
}
