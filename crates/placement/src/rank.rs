//! Choosing drives: weighted rendezvous hashing with fair shares, in integers only.
//!
//! Each drive draws an exponentially distributed waiting time for the group (from a hash) at a rate
//! that is its weight; the shortest wait comes first. A node's wait is that of its first drive, so
//! the rates of a node's drives add up. A domain that should hold a copy of a fraction `f` of all
//! groups gets the rate `-log(1 - f)`: that is what makes the *fractions* follow the capacities
//! when several are drawn without putting back (order sampling), where rates in proportion to
//! capacity would overfill the small ones. What is left is -8 to +2 % of the fair share in small
//! clusters, for moving some 5 to 15 % more than the least when capacities differ.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use twox_hash::XxHash3_64;
use types::{BlobId, DriveId, NodeId};

use crate::{Drive, Layout};

/// Binary digits after the point of a fair share.
const SHARE_BITS: u32 = 48;
/// Binary digits after the point of a logarithm.
const LOG_BITS: u32 = 40;
/// Digits that a rate has more than a logarithm: the rates of small drives on large nodes stay
/// exact.
const RATE_EXTRA_BITS: u32 = 18;
/// No rate is above that of the share `1 - 2^-16`.
const SHARE_REST_MIN: u64 = 1 << (SHARE_BITS - 16);

/// Separates this use of the hash from all others.
const SEED: u64 = 0x756e_6465_7263_726f;

pub(crate) fn group_of(blob: BlobId, groups: u32) -> u32 {
    let hash = XxHash3_64::oneshot_with_seed(SEED, &blob.to_bytes());
    ((u128::from(hash) * u128::from(groups)) >> 64) as u32
}

pub(crate) fn place_group(
    layout: &Layout,
    group: u32,
    count: usize,
    up: impl Fn(DriveId) -> bool,
) -> Vec<DriveId> {
    let drives: Vec<&Drive> = layout.active().collect();
    let count = count.min(drives.len());
    let rates = rates(&drives, count);
    let mut candidates: Vec<Candidate<'_>> = drives
        .iter()
        .zip(rates)
        .filter(|(drive, _)| up(drive.id))
        .map(|(&drive, rate)| Candidate { drive, wait: wait(group, drive.id), rate })
        .collect();
    candidates.sort_by(Candidate::order);
    let mut chosen = spread(&candidates, count);
    for change in layout.overrides.iter().filter(|change| change.group == group) {
        let usable = candidates.iter().any(|candidate| candidate.drive.id == change.to);
        if usable && !chosen.contains(&change.to) {
            chosen.iter_mut().filter(|id| **id == change.from).for_each(|id| *id = change.to);
        }
    }
    chosen
}

struct Candidate<'a> {
    drive: &'a Drive,
    /// The waiting time at rate one.
    wait: u64,
    rate: Rate,
}

#[derive(Clone, Copy)]
struct Rate {
    /// The domain has its place in every group.
    certain: bool,
    /// With [`LOG_BITS`] and [`RATE_EXTRA_BITS`] digits after the point; never zero.
    value: u64,
}

impl Candidate<'_> {
    /// Those that have a certain place, then by waiting time, the shortest first; by id where all
    /// is equal.
    fn order(&self, other: &Self) -> Ordering {
        let left = u128::from(self.wait) * u128::from(other.rate.value);
        let right = u128::from(other.wait) * u128::from(self.rate.value);
        let certain = other.rate.certain.cmp(&self.rate.certain);
        certain.then(left.cmp(&right)).then_with(|| self.drive.id.cmp(&other.drive.id))
    }
}

/// Takes `count` of the ordered candidates; each time the first on a least used node, and of those
/// in a least used zone.
fn spread(candidates: &[Candidate<'_>], count: usize) -> Vec<DriveId> {
    let mut nodes: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
    let mut left: Vec<&Drive> = candidates.iter().map(|candidate| candidate.drive).collect();
    let mut chosen = Vec::with_capacity(count.min(left.len()));
    while chosen.len() < count {
        let used = |drive: &Drive| {
            let node = nodes.get(&drive.node).copied().unwrap_or(0);
            (node, zones.get(drive.zone.as_str()).copied().unwrap_or(0))
        };
        let best = left.iter().enumerate().min_by_key(|(_, drive)| used(drive));
        let Some(place) = best.map(|(place, _)| place) else { break };
        let drive = left.remove(place);
        *nodes.entry(drive.node).or_default() += 1;
        *zones.entry(drive.zone.as_str()).or_default() += 1;
        chosen.push(drive.id);
    }
    chosen
}

/// The rate of each drive when `count` copies are placed. The domains that share out the copies are
/// the nodes, or the single drives when there are fewer nodes than copies.
fn rates(drives: &[&Drive], count: usize) -> Vec<Rate> {
    let mut nodes: BTreeMap<NodeId, u128> = BTreeMap::new();
    for drive in drives {
        *nodes.entry(drive.node).or_default() += capacity(drive);
    }
    if nodes.len() < count {
        let capacities: Vec<u128> = drives.iter().map(|drive| capacity(drive)).collect();
        return shares(&capacities, count).into_iter().map(rate_of).collect();
    }
    let capacities: Vec<u128> = nodes.values().copied().collect();
    let rates = shares(&capacities, count).into_iter().map(rate_of);
    let nodes: BTreeMap<NodeId, (Rate, u128)> = nodes
        .into_iter()
        .zip(rates)
        .map(|((node, capacity), rate)| (node, (rate, capacity)))
        .collect();
    let part_of = |drive: &&Drive| {
        let (rate, whole) = nodes.get(&drive.node).copied().unwrap_or((rate_of(0), 1));
        // Both factors are below 2^64; the quotient is at most the node's rate.
        let value = (u128::from(rate.value) * capacity(drive) / whole).max(1) as u64;
        Rate { value, ..rate }
    };
    drives.iter().map(part_of).collect()
}

fn capacity(drive: &Drive) -> u128 {
    u128::from(drive.capacity_bytes.max(1))
}

/// Fair shares: the fraction of all groups in which each domain holds one of `count` copies, in
/// proportion to capacity but at most one, in units of `2^-SHARE_BITS`.
fn shares(capacities: &[u128], count: usize) -> Vec<u64> {
    let mut order: Vec<usize> = (0..capacities.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(capacities[i]));
    let mut shares = vec![0; capacities.len()];
    let mut copies = count as u128;
    // Scaled so that no product below overflows.
    let sum: u128 = capacities.iter().sum();
    let scale = (128 - sum.leading_zeros()).saturating_sub(60);
    let capacity = |i: usize| (capacities[i] >> scale).max(1);
    let mut rest: u128 = order.iter().map(|&i| capacity(i)).sum();
    for i in order {
        let share = (copies << SHARE_BITS) * capacity(i) / rest.max(1);
        rest -= capacity(i);
        if share >= 1 << SHARE_BITS {
            shares[i] = 1 << SHARE_BITS;
            copies = copies.saturating_sub(1);
        } else {
            shares[i] = share as u64;
            // From here on every share is below one: what is taken out leaves the ratio as it is.
            rest += capacity(i);
        }
    }
    shares
}

/// The rate `-log2(1 - share)`.
fn rate_of(share: u64) -> Rate {
    let rest = (1u64 << SHARE_BITS).saturating_sub(share);
    let value = if share == 0 {
        0
    } else {
        minus_log2(rest.max(SHARE_REST_MIN) << (64 - SHARE_BITS)) << RATE_EXTRA_BITS
    };
    Rate { certain: rest == 0, value: value.max(1) }
}

/// The waiting time of a drive in a group at rate one.
fn wait(group: u32, drive: DriveId) -> u64 {
    let mut input = [0; 12];
    input[..4].copy_from_slice(&group.to_be_bytes());
    input[4..].copy_from_slice(&drive.to_bytes());
    minus_log2(XxHash3_64::oneshot_with_seed(SEED, &input))
}

/// `-log2(x / 2^64)` with [`LOG_BITS`] digits after the point, digit by digit; zero counts as one.
fn minus_log2(x: u64) -> u64 {
    let x = x.max(1);
    let zeros = x.leading_zeros();
    let mut mantissa = x << zeros;
    let mut log = u64::from(63 - zeros) << LOG_BITS;
    for digit in (0..LOG_BITS).rev() {
        // The mantissa is in [1, 2), its square in [1, 4); 63 digits after the point.
        let square = u128::from(mantissa) * u128::from(mantissa);
        if square >> 127 == 1 {
            log |= 1 << digit;
            mantissa = (square >> 64) as u64;
        } else {
            mantissa = (square >> 63) as u64;
        }
    }
    (64 << LOG_BITS) - log
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms() {
        assert_eq!(minus_log2(1 << 63), 1 << LOG_BITS);
        assert_eq!(minus_log2(1), 64 << LOG_BITS);
        assert_eq!(minus_log2(0), 64 << LOG_BITS);
        for x in [3u64, 0x1234_5678_9abc_def0, u64::MAX - 1, u64::MAX / 3, 1 << 40 | 1] {
            let exact = 64.0 - (x as f64).log2();
            let ours = minus_log2(x) as f64 / (1u64 << LOG_BITS) as f64;
            assert!((exact - ours).abs() < 1e-9, "{x}: {exact} {ours}");
        }
    }

    #[test]
    fn shares_are_in_proportion_and_at_most_one() {
        let as_f64 = |capacities: &[u128], count| -> Vec<f64> {
            let shares = shares(capacities, count);
            shares.into_iter().map(|share| share as f64 / (1u64 << SHARE_BITS) as f64).collect()
        };
        let near =
            |left: &[f64], right: &[f64]| left.iter().zip(right).all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(near(&as_f64(&[1, 1, 1, 1], 2), &[0.5; 4]));
        assert!(near(&as_f64(&[1, 10, 1, 1, 1, 1], 2), &[0.2, 1.0, 0.2, 0.2, 0.2, 0.2]));
        assert!(near(&as_f64(&[8, 4, 2, 2], 3), &[1.0, 1.0, 0.5, 0.5]));
        assert!(near(&as_f64(&[5, 1, 3], 3), &[1.0; 3]));
        assert!(near(&as_f64(&[5, 1, 3], 0), &[0.0; 3]));
        assert!(as_f64(&[], 3).is_empty());
        let huge = u128::from(u64::MAX);
        assert!(near(&as_f64(&vec![huge; 60_000], 6), &[0.0001; 60_000]));
    }
}
