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

#[cfg(test)]
mod tests {
    use erasure::{Geometry, Matrix};
    use placement::Drive;
    use proptest::prelude::*;
    use types::{BlobId, SessionId};

    use super::*;

    fn layout(drives: u64, drives_per_node: u64) -> Layout {
        let drive = |number| Drive {
            id: DriveId::new(number),
            node: NodeId::new(number / drives_per_node),
            zone: String::new(),
            tier: String::new(),
            capacity_bytes: 1 << 40,
            state: DriveRole::Active,
            path_hint: String::new(),
        };
        Layout { drives: (0..drives).map(drive).collect(), ..Layout::empty() }
    }

    fn blob(geometry: &str, sequence: u64) -> BlobLocation {
        BlobLocation {
            id: BlobId { session: SessionId::new(1), sequence },
            geometry: geometry.parse::<Geometry>().expect("a geometry"),
            matrix: Matrix::default(),
            len: 1000,
            copies: Vec::new(),
        }
    }

    fn on(index: u8, drive: u64) -> CopyPlace {
        let copy = CopyId::new(100 + u64::from(index));
        CopyPlace { index, drive: DriveId::new(drive), copy }
    }

    fn all_up(layout: &Layout) -> HashMap<DriveId, DriveState> {
        layout.drives.iter().map(|drive| (drive.id, DriveState::Up)).collect()
    }

    #[test]
    fn what_is_lost_is_made_where_it_was() {
        let (layout, out) = (layout(9, 1), HashSet::new());
        let states = all_up(&layout);
        let drives = Drives { layout: &layout, states: &states, out: &out };
        let seen = [
            (on(0, 8), Seen::Whole),
            (on(1, 7), Seen::Absent),
            (on(2, 6), Seen::Corrupt),
            (on(3, 5), Seen::Whole),
            (on(4, 4), Seen::Whole),
        ];
        let plan = plan(&blob("3+2", 1), &seen, &drives);
        assert_eq!(plan.make, [(1, DriveId::new(7)), (2, DriveId::new(6))]);
        let bad =
            [((1, CopyId::new(101)), Fault::Missing), ((2, CopyId::new(102)), Fault::Corrupt)];
        assert_eq!(plan.bad, bad.into());
        // What is corrupt may have whole frames.
        let sources: Vec<u8> = plan.sources.iter().map(|place| place.index).collect();
        assert_eq!((sources, plan.readable, plan.away), (vec![0, 2, 3, 4], 4, 0));
        assert!(plan.wait.is_empty() && !plan.is_whole());
    }

    #[test]
    fn a_drive_that_may_come_back_is_waited_for_and_one_that_is_out_is_not() {
        let layout = layout(6, 1);
        let mut states = all_up(&layout);
        states.insert(DriveId::new(1), DriveState::Away);
        let seen: Vec<_> = (0..5)
            .map(|n| (on(n, n.into()), if n == 1 { Seen::Away } else { Seen::Whole }))
            .collect();
        let blob = blob("3+2", 1);
        for (is_out, make, wait) in
            [(false, vec![], vec![1]), (true, vec![(1, DriveId::new(5))], vec![])]
        {
            let out = is_out.then(|| DriveId::new(1)).into_iter().collect();
            let found = plan(&blob, &seen, &Drives { layout: &layout, states: &states, out: &out });
            assert_eq!((found.make, found.wait), (make, wait));
            assert_eq!((found.readable, found.away), (4, 1));
        }
        // Without a spare drive there is nothing to be done either.
        states.insert(DriveId::new(5), DriveState::Full);
        let out = [DriveId::new(1)].into();
        let found = plan(&blob, &seen, &Drives { layout: &layout, states: &states, out: &out });
        assert_eq!((found.make, found.wait), (vec![], vec![1]));
    }

    #[test]
    fn nodes_without_a_copy_come_first() {
        // Nodes 0, 1, 2 with two drives each; copies on nodes 0 and 1.
        let (layout, out) = (layout(6, 2), HashSet::new());
        let states = all_up(&layout);
        let drives = Drives { layout: &layout, states: &states, out: &out };
        for sequence in 0..50 {
            let seen = [(on(0, 0), Seen::Whole), (on(1, 2), Seen::Whole)];
            let found = plan(&blob("2+1", sequence), &seen, &drives);
            let [(2, drive)] = found.make[..] else { panic!("{found:?}") };
            assert!(drive.get() >= 4, "{drive}");
        }
    }

    proptest! {
        /// Whatever was seen: every shard is whole, made or waits; new copies go to drives that take them and
        /// have none of this blob; and nobody waits while a drive is free.
        #[test]
        fn every_shard_is_accounted_for(
            kinds in prop::collection::vec(0_usize..5, 8),
            condition in prop::collection::vec(0_usize..6, 12),
            sequence: u64,
        ) {
            let mut layout = layout(12, 1);
            let mut states = HashMap::new();
            let mut out = HashSet::new();
            for (drive, condition) in layout.drives.iter_mut().zip(&condition) {
                let state = match condition {
                    0 | 1 => DriveState::Up,
                    2 => DriveState::Full,
                    3 => DriveState::Suspect,
                    _ => DriveState::Away,
                };
                states.insert(drive.id, state);
                if *condition == 5 {
                    out.insert(drive.id);
                }
                if *condition == 1 {
                    drive.state = DriveRole::Draining;
                }
            }
            let blob = blob("6+2", sequence);
            let mut seen = Vec::new();
            for (index, kind) in kinds.iter().enumerate().filter(|(_, kind)| **kind > 0) {
                let place = on(index as u8, index as u64);
                let is_away = states.get(&place.drive) == Some(&DriveState::Away);
                let what = [Seen::Whole, Seen::Whole, Seen::Corrupt, Seen::Absent, Seen::Away][*kind];
                seen.push((place, if is_away { Seen::Away } else { what }));
            }
            let drives = Drives { layout: &layout, states: &states, out: &out };
            let found = plan(&blob, &seen, &drives);
            let made: HashSet<DriveId> = found.make.iter().map(|(_, drive)| *drive).collect();
            prop_assert_eq!(made.len(), found.make.len());
            let mut kept = HashSet::new();
            for index in 0..8_u8 {
                let copy = seen.iter().find(|(place, _)| place.index == index);
                let is_whole = copy.is_some_and(|(place, seen)| {
                    *seen == Seen::Whole && !out.contains(&place.drive)
                });
                let is_made = found.make.iter().any(|(made, _)| *made == index);
                let waits = found.wait.contains(&index);
                prop_assert_eq!(u8::from(is_whole) + u8::from(is_made) + u8::from(waits), 1);
                if let Some((place, _)) = copy {
                    prop_assert_eq!(
                        found.bad.contains_key(&(place.index, place.copy)),
                        !is_whole
                    );
                    if is_whole || (waits && !out.contains(&place.drive)) {
                        kept.insert(place.drive);
                    }
                }
            }
            for drive in &made {
                prop_assert!(drives.takes(*drive) && !kept.contains(drive));
            }
            let free = layout.drives.iter().any(|drive| {
                drives.takes(drive.id) && !kept.contains(&drive.id) && !made.contains(&drive.id)
            });
            let may_return = |index: &u8| {
                seen.iter().any(|(place, seen)| {
                    place.index == *index && *seen == Seen::Away && !out.contains(&place.drive)
                })
            };
            prop_assert!(!free || found.wait.iter().all(may_return));
        }
    }
}
