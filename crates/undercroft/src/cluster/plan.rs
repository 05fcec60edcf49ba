//! Decides, from the layout and from what was seen, which drives to open and which to admit. Pure.

use std::collections::HashMap;
use std::path::PathBuf;

use placement::{Drive, Layout};
use shards::Identity;
use types::DriveId;

use super::refusal::Refusal;
use super::survey::{Found, Seen, Slot};

/// What to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Drives of the layout, with where they are.
    pub(super) open: Vec<(Slot, DriveId)>,
    /// Drives to admit.
    pub(super) join: Vec<Join>,
    /// What is missing, a sentence each.
    pub(super) notes: Vec<String>,
}

/// A drive to admit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Join {
    /// Where.
    pub(super) slot: Slot,
    /// Its identity, when a crash came between making the drive and recording it.
    pub(super) identity: Option<Identity>,
}

/// The plan for the cluster with this id.
///
/// The rule that matters: a place where a drive of the layout was, and is not now, is a missing drive. An
/// empty directory there may be the mount point of a disk that is not mounted, so nothing is made in it.
///
/// # Errors
/// A [`Refusal`]; nothing has been changed then.
pub(super) fn plan(layout: &Layout, cluster: &str, seen: Vec<Seen>) -> Result<Plan, Refusal> {
    let mut plan = Plan::default();
    let present = present(cluster, &seen)?;
    // Where each drive of the layout was that nobody has seen now.
    let gone: HashMap<&str, &Drive> = layout
        .drives
        .iter()
        .filter(|drive| !present.contains_key(&drive.id))
        .map(|drive| (drive.path_hint.as_str(), drive))
        .collect();
    let mut looked_for: Vec<DriveId> = Vec::new();
    for Seen { slot, found } in seen {
        let missing_here = gone.get(slot.hint.as_str());
        match (found, missing_here) {
            (Found::Drive(identity), _) if layout.drive(identity.drive).is_some() => {
                plan.open.push((slot, identity.drive));
            }
            (Found::Drive(identity), _) => plan.join.push(Join { slot, identity: Some(identity) }),
            (Found::Empty, None) => plan.join.push(Join { slot, identity: None }),
            (Found::Other(entry), None) => {
                return Err(Refusal::NotEmpty { path: slot.path, entry });
            }
            (Found::Unreadable(why), None) => {
                return Err(Refusal::Unreadable { path: slot.path, why });
            }
            (found, Some(drive)) => {
                looked_for.push(drive.id);
                plan.notes.push(missing(drive, &slot, &found));
            }
        }
    }
    for drive in gone.into_values().filter(|drive| !looked_for.contains(&drive.id)) {
        plan.notes.push(format!(
            "Drive {} is missing: it was last at {}, which is not among the directories given.",
            drive.id, drive.path_hint
        ));
    }
    plan.notes.sort();
    Ok(plan)
}

/// The drives that were seen, each once and all of this cluster.
fn present(cluster: &str, seen: &[Seen]) -> Result<HashMap<DriveId, PathBuf>, Refusal> {
    let mut present: HashMap<DriveId, PathBuf> = HashMap::new();
    for Seen { slot, found } in seen {
        let Found::Drive(identity) = found else { continue };
        if identity.cluster != cluster {
            let (path, theirs) = (slot.path.clone(), identity.cluster.clone());
            return Err(Refusal::ForeignDrive { path, theirs, ours: cluster.to_owned() });
        }
        if let Some(first) = present.insert(identity.drive, slot.path.clone()) {
            return Err(Refusal::SameDrive {
                first,
                second: slot.path.clone(),
                id: identity.drive,
            });
        }
    }
    Ok(present)
}

fn missing(drive: &Drive, slot: &Slot, found: &Found) -> String {
    let (id, path) = (drive.id, slot.path.display());
    match found {
        Found::Unreadable(why) => format!("Drive {id} is missing: {path} cannot be read ({why})."),
        Found::Other(entry) => format!(
            "Drive {id} is missing: {path} holds something else (there is {entry:?}), which was left alone."
        ),
        Found::Empty | Found::Drive(_) => format!(
            "Drive {id} is missing: {path} is empty, or its file system is not mounted. It was left alone."
        ),
    }
}

#[cfg(test)]
mod tests {
    use placement::DriveRole;
    use types::NodeId;

    use super::*;

    const CLUSTER: &str = "c1";

    fn identity(id: u64) -> Identity {
        let drive = DriveId::new(id);
        Identity {
            v: 1,
            cluster: CLUSTER.to_owned(),
            drive,
            node: NodeId::new(1),
            created_at_ms: 0,
        }
    }

    fn seen(hint: &str, found: Found) -> Seen {
        Seen { slot: Slot { path: PathBuf::from(hint), hint: hint.to_owned() }, found }
    }

    fn layout(drives: &[(u64, &str)]) -> Layout {
        let drive = |(id, hint): &(u64, &str)| Drive {
            id: DriveId::new(*id),
            node: NodeId::new(1),
            zone: String::new(),
            tier: String::new(),
            capacity_bytes: 1,
            state: DriveRole::Active,
            path_hint: (*hint).to_owned(),
        };
        Layout { drives: drives.iter().map(drive).collect(), ..Layout::empty() }
    }

    fn ids(plan: &Plan) -> Vec<u64> {
        plan.open.iter().map(|(_, id)| id.get()).collect()
    }

    #[test]
    fn a_first_start_admits_every_empty_directory() {
        let plan =
            plan(&layout(&[]), CLUSTER, vec![seen("a", Found::Empty), seen("b", Found::Empty)]);
        let plan = plan.expect("fine");
        assert_eq!((plan.open.len(), plan.join.len(), plan.notes.len()), (0, 2, 0));
    }

    #[test]
    fn an_empty_place_of_a_known_drive_is_a_missing_drive() {
        let layout = layout(&[(1, "a"), (2, "b"), (3, "c")]);
        for gone in
            [Found::Empty, Found::Other("x".to_owned()), Found::Unreadable("EIO".to_owned())]
        {
            let places = vec![seen("a", Found::Drive(identity(1))), seen("b", gone)];
            let plan = plan(&layout, CLUSTER, places).expect("degraded");
            assert_eq!(
                (ids(&plan), plan.join.len(), plan.notes.len()),
                (vec![1], 0, 2),
                "{plan:?}"
            );
        }
    }

    #[test]
    fn drives_are_known_by_identity_wherever_they_are() {
        let layout = layout(&[(1, "a"), (2, "b")]);
        let swapped =
            vec![seen("b", Found::Drive(identity(1))), seen("a", Found::Drive(identity(2)))];
        let plan = plan(&layout, CLUSTER, swapped).expect("fine");
        assert_eq!((ids(&plan), plan.join.len(), plan.notes.len()), (vec![1, 2], 0, 0));
    }

    #[test]
    fn a_moved_drive_leaves_its_old_place_free() {
        let layout = layout(&[(1, "a")]);
        let places = vec![seen("a", Found::Empty), seen("b", Found::Drive(identity(1)))];
        let plan = plan(&layout, CLUSTER, places).expect("fine");
        assert_eq!((ids(&plan), plan.join.len(), plan.notes.len()), (vec![1], 1, 0));
    }

    #[test]
    fn a_crash_in_the_middle_of_joining_is_finished() {
        let places =
            vec![seen("a", Found::Drive(identity(1))), seen("b", Found::Drive(identity(2)))];
        let plan = plan(&layout(&[(1, "a")]), CLUSTER, places).expect("fine");
        let joined: Vec<_> = plan.join.iter().map(|join| join.identity.clone()).collect();
        assert_eq!((ids(&plan), joined), (vec![1], vec![Some(identity(2))]));
    }

    #[test]
    fn strangers_are_refused() {
        let other = Identity { cluster: "c2".to_owned(), ..identity(1) };
        let refused = |places| plan(&layout(&[]), CLUSTER, places).expect_err("refused");
        let foreign = refused(vec![seen("a", Found::Drive(other))]);
        assert!(matches!(foreign, Refusal::ForeignDrive { .. }));
        let twice =
            vec![seen("a", Found::Drive(identity(1))), seen("b", Found::Drive(identity(1)))];
        assert!(matches!(refused(twice), Refusal::SameDrive { .. }));
        let holiday = vec![seen("a", Found::Other("photo.jpg".to_owned()))];
        assert!(matches!(refused(holiday), Refusal::NotEmpty { .. }));
        let broken = vec![seen("a", Found::Unreadable("EACCES".to_owned()))];
        assert!(matches!(refused(broken), Refusal::Unreadable { .. }));
    }
}
