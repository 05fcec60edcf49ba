//! What is to be done about a blob: a pure decision over what its record says, what its drives were seen to have,
//! and how the drives are. Not here: looking and doing (`mend`).

use std::collections::{BTreeMap, HashMap, HashSet};

use net::DriveState;
use placement::{DriveRole, Layout};
use types::{CopyId, DriveId, NodeId};

use crate::schema::repair::Fault;
use crate::schema::{BlobLocation, CopyPlace};

/// What a drive was seen to have of a copy that the record names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is there, and as far as was asked it is whole.
    Whole,
    /// It is there, and bytes of it do not verify.
    Corrupt,
    /// It is not there.
    Absent,
    /// The drive does not answer.
    Away,
}

/// How the drives are.
pub(super) struct Drives<'a> {
    pub(super) layout: &'a Layout,
    pub(super) states: &'a HashMap<DriveId, DriveState>,
    /// Drives of the layout whose copies count as lost, whether they answer or not.
    pub(super) out: &'a HashSet<DriveId>,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Shards to make, each with its drive.
    pub(super) make: Vec<(u8, DriveId)>,
    /// Shards that lack a copy and cannot be made now: no drive is free for them, or their drive may come back.
    pub(super) wait: Vec<u8>,
    /// The copies of `make` and `wait` that the record names, and what is wrong with them.
    pub(super) bad: BTreeMap<(u8, CopyId), Fault>,
    /// Copies to read from.
    pub(super) sources: Vec<CopyPlace>,
    /// Shards of which a copy may be read, wholly or in part.
    pub(super) readable: usize,
    /// Shards that are only on drives that are away.
    pub(super) away: usize,
}

impl Plan {
    /// Whether nothing is wrong.
    pub(super) fn is_whole(&self) -> bool {
        self.make.is_empty() && self.wait.is_empty()
    }
}

impl Drives<'_> {
    /// Whether a new copy may be put on this drive.
    fn takes(&self, drive: DriveId) -> bool {
        let is_active = self.layout.drive(drive).is_some_and(|d| d.state == DriveRole::Active);
        is_active && self.states.get(&drive) == Some(&DriveState::Up)
    }

    /// Whether the copies on this drive count as lost.
    fn is_out(&self, drive: DriveId) -> bool {
        self.out.contains(&drive) || self.layout.drive(drive).is_none()
    }

    /// Drives that take new copies of this blob: where placement would put them, then all others.
    fn in_order(&self, blob: &BlobLocation) -> Vec<DriveId> {
        let takes = |drive| self.takes(drive);
        let mut order = self.layout.place(blob.id, blob.geometry.total(), takes);
        let all = self.layout.place(blob.id, self.layout.drives.len(), takes);
        let others: Vec<DriveId> = all.into_iter().filter(|drive| !order.contains(drive)).collect();
        order.extend(others);
        order
    }

    fn node(&self, drive: DriveId) -> Option<NodeId> {
        self.layout.drive(drive).map(|drive| drive.node)
    }
}

/// Decides. `seen` has what was seen of each copy that the record names.
pub(super) fn plan(blob: &BlobLocation, seen: &[(CopyPlace, Seen)], drives: &Drives<'_>) -> Plan {
    let mut plan = Plan::default();
    let mut held = HashSet::new();
    let mut lost: Vec<(u8, Option<DriveId>)> = Vec::new();
    for index in 0..blob.geometry.total() as u8 {
        let copies: Vec<_> = seen.iter().filter(|(place, _)| place.index == index).collect();
        let is_out = |place: &CopyPlace| drives.is_out(place.drive);
        let has = |wanted: &[Seen], out_too: bool| {
            let mut copies = copies.iter();
            copies.any(|(place, seen)| wanted.contains(seen) && (out_too || !is_out(place)))
        };
        if has(&[Seen::Whole, Seen::Corrupt], true) {
            plan.readable += 1;
        } else if has(&[Seen::Away], true) {
            plan.away += 1;
        }
        let can_read = |seen: Seen| matches!(seen, Seen::Whole | Seen::Corrupt);
        let sources = copies.iter().filter(|(_, seen)| can_read(*seen));
        plan.sources.extend(sources.map(|(place, _)| *place));
        if has(&[Seen::Whole], false) {
            held.extend(copies.iter().map(|(place, _)| place.drive));
            continue;
        }
        let fault = |(place, seen): &&(CopyPlace, Seen)| match seen {
            Seen::Corrupt => ((place.index, place.copy), Fault::Corrupt),
            Seen::Absent => ((place.index, place.copy), Fault::Missing),
            Seen::Away | Seen::Whole => ((place.index, place.copy), Fault::Away),
        };
        plan.bad.extend(copies.iter().copied().map(|copy| fault(&copy)));
        if has(&[Seen::Away], false) {
            held.extend(copies.iter().map(|(place, _)| place.drive));
            plan.wait.push(index);
        } else {
            lost.push((index, copies.first().map(|(place, _)| place.drive)));
        }
    }
    place(blob, &lost, held, drives, &mut plan);
    plan
}

/// Finds a drive for each lost shard: the one that had it, else the best without a copy of this blob, on a node with
/// few of them.
fn place(
    blob: &BlobLocation,
    lost: &[(u8, Option<DriveId>)],
    mut held: HashSet<DriveId>,
    drives: &Drives<'_>,
    plan: &mut Plan,
) {
    let mut homeless = Vec::new();
    for &(index, drive) in lost {
        let same = drive.filter(|drive| drives.takes(*drive) && !drives.is_out(*drive));
        match same.filter(|drive| held.insert(*drive)) {
            Some(drive) => plan.make.push((index, drive)),
            None => homeless.push(index),
        }
    }
    let order = if homeless.is_empty() { Vec::new() } else { drives.in_order(blob) };
    for index in homeless {
        let on_node = |drive: DriveId| {
            held.iter().filter(|other| drives.node(**other) == drives.node(drive)).count()
        };
        let free = order.iter().filter(|drive| !held.contains(*drive));
        match free.copied().min_by_key(|drive| on_node(*drive)) {
            Some(drive) => {
                held.insert(drive);
                plan.make.push((index, drive));
            }
            None => plan.wait.push(index),
        }
    }
    plan.make.sort_unstable();
    plan.wait.sort_unstable();
}
