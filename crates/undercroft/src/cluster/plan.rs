//! Decides, from the layout and from what was seen, which drives to open and which to admit. Pure.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

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
    /// Lost drives of the layout, with the empty places where they are made anew under the same ids.
    pub(super) refill: Vec<(Slot, DriveId)>,
    /// Drives to admit.
    pub(super) join: Vec<Join>,
    /// Drives of the layout that are not there.
    pub(super) missing: Vec<Missing>,
}

/// A drive of the layout that is not where it was.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// Which.
    pub(super) drive: DriveId,
    /// Its place, when that is among the directories given.
    pub(super) path: Option<PathBuf>,
    /// What is there, and what can be done, without a full stop.
    pub(super) why: String,
}

/// A drive to admit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Join {
    /// Where.
    pub(super) slot: Slot,
    /// Its identity, when a crash came between making the drive and recording it.
    pub(super) identity: Option<Identity>,
}

/// Which empty places of lost drives are filled again. The id stays the same: every copy on a drive has a random
/// id of its own, so if the old disk comes back after all, it brings only copies that no record names any more.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refill<'a> {
    /// All, as long as a drive is left to fill them from: `dev`, where losing a folder is a thing to try.
    All,
    /// These.
    Only(&'a [PathBuf]),
}

/// The plan for the cluster with this id.
///
/// The rule that matters: a place where a drive of the layout was, and is not now, is a missing drive. An
/// empty directory there may be the mount point of a disk that is not mounted, so nothing is made in it unless
/// `refill` says so.
///
/// # Errors
/// A [`Refusal`]; nothing has been changed then.
pub(super) fn plan(
    layout: &Layout,
    cluster: &str,
    seen: Vec<Seen>,
    refill: Refill<'_>,
) -> Result<Plan, Refusal> {
    let mut plan = Plan::default();
    let present = present(cluster, &seen)?;
    // Where each drive of the layout was that nobody has seen now.
    let gone: HashMap<&str, &Drive> = layout
        .drives
        .iter()
        .filter(|drive| !present.contains_key(&drive.id))
        .map(|drive| (drive.path_hint.as_str(), drive))
        .collect();
    if let Refill::Only(accepted) = refill {
        accepted.iter().try_for_each(|path| check_accepted(path, &seen, &gone))?;
    }
    let is_refilled = |slot: &Slot| match refill {
        Refill::All => gone.len() < layout.drives.len(),
        Refill::Only(accepted) => accepted.contains(&slot.path),
    };
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
            (Found::Empty, Some(drive)) if is_refilled(&slot) => {
                looked_for.push(drive.id);
                plan.refill.push((slot, drive.id));
            }
            (found, Some(drive)) => {
                looked_for.push(drive.id);
                let why = vacancy(&slot.path, &found, refill);
                plan.missing.push(Missing { drive: drive.id, path: Some(slot.path), why });
            }
        }
    }
    for drive in gone.values().filter(|drive| !looked_for.contains(&drive.id)) {
        let why =
            format!("it was last at {}, which is not among the directories given", drive.path_hint);
        plan.missing.push(Missing { drive: drive.id, path: None, why });
    }
    plan.missing.sort_by_key(|missing| missing.drive);
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

/// That `path` is the empty place of a drive that is gone.
fn check_accepted(path: &Path, seen: &[Seen], gone: &HashMap<&str, &Drive>) -> Result<(), Refusal> {
    let why = match seen.iter().find(|seen| seen.slot.path == path) {
        None => "it is not among the --data directories".to_owned(),
        Some(Seen { slot, found }) => match (found, gone.get(slot.hint.as_str())) {
            (Found::Empty, Some(_)) => return Ok(()),
            (Found::Empty, None) => {
                "it is empty, but no lost drive was there: without the flag it joins as a new drive"
                    .to_owned()
            }
            (Found::Drive(identity), _) => format!("it holds drive {}", identity.drive),
            (Found::Other(entry), _) => format!("it is not empty (there is {entry:?})"),
            (Found::Unreadable(why), _) => format!("it cannot be read ({why})"),
        },
    };
    Err(Refusal::NotAccepted { path: path.to_owned(), why })
}

/// What is at the place of a drive instead of the drive, and what a person can do; without a full stop.
pub(super) fn vacancy(path: &Path, found: &Found, refill: Refill<'_>) -> String {
    let path = path.display();
    match found {
        Found::Unreadable(why) => format!("{path} cannot be read ({why})"),
        Found::Other(entry) => {
            format!("{path} holds something else (there is {entry:?}), which was left alone")
        }
        Found::Drive(identity) => {
            format!("{path} holds drive {}, which was left alone", identity.drive)
        }
        Found::Empty if matches!(refill, Refill::All) => format!("{path} is empty"),
        Found::Empty => format!(
            "{path} is empty, or its file system is not mounted. It was left alone; if its disk was lost, and a \
             new one is there, start with --accept-empty {path} to have it refilled"
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

    const NONE: Refill<'_> = Refill::Only(&[]);

    fn ids(plan: &Plan) -> Vec<u64> {
        plan.open.iter().map(|(_, id)| id.get()).collect()
    }

    #[test]
    fn a_first_start_admits_every_empty_directory() {
        let places = vec![seen("a", Found::Empty), seen("b", Found::Empty)];
        let plan = plan(&layout(&[]), CLUSTER, places, NONE).expect("fine");
        assert_eq!((plan.open.len(), plan.join.len(), plan.missing.len()), (0, 2, 0));
    }

    #[test]
    fn an_empty_place_of_a_known_drive_is_a_missing_drive() {
        let layout = layout(&[(1, "a"), (2, "b"), (3, "c")]);
        for gone in
            [Found::Empty, Found::Other("x".to_owned()), Found::Unreadable("EIO".to_owned())]
        {
            let places = vec![seen("a", Found::Drive(identity(1))), seen("b", gone)];
            let plan = plan(&layout, CLUSTER, places, NONE).expect("degraded");
            assert_eq!(
                (ids(&plan), plan.join.len(), plan.missing.len()),
                (vec![1], 0, 2),
                "{plan:?}"
            );
        }
    }

    #[test]
    fn what_a_missing_drive_says_names_the_flag() {
        let layout = layout(&[(1, "a"), (2, "/mnt/b")]);
        let places = vec![seen("a", Found::Drive(identity(1))), seen("/mnt/b", Found::Empty)];
        let plan = plan(&layout, CLUSTER, places, NONE).expect("degraded");
        let [missing] = &plan.missing[..] else { panic!("{plan:?}") };
        assert!(missing.why.contains("--accept-empty /mnt/b "), "{missing:?}");
    }

    #[test]
    fn an_accepted_place_is_refilled_under_the_same_id() {
        let layout = layout(&[(1, "a"), (2, "b"), (3, "c")]);
        let places = || {
            let empty = ["b", "c"].map(|hint| seen(hint, Found::Empty));
            [seen("a", Found::Drive(identity(1)))].into_iter().chain(empty).collect::<Vec<_>>()
        };
        let refilled = |plan: &Plan| -> Vec<(String, u64)> {
            plan.refill.iter().map(|(slot, id)| (slot.hint.clone(), id.get())).collect()
        };
        let accepted = [PathBuf::from("b")];
        let one = plan(&layout, CLUSTER, places(), Refill::Only(&accepted)).expect("degraded");
        assert_eq!((ids(&one), refilled(&one)), (vec![1], vec![("b".to_owned(), 2)]));
        assert_eq!((one.join.len(), one.missing.len()), (0, 1), "{one:?}");
        let both = plan(&layout, CLUSTER, places(), Refill::All).expect("fine");
        let expected = vec![("b".to_owned(), 2), ("c".to_owned(), 3)];
        assert_eq!((ids(&both), refilled(&both), both.join.len()), (vec![1], expected, 0));
        assert!(both.missing.is_empty(), "{both:?}");
    }

    #[test]
    fn nothing_is_refilled_by_itself_when_no_drive_is_left() {
        let layout = layout(&[(1, "a"), (2, "b")]);
        let places = vec![seen("a", Found::Empty), seen("b", Found::Empty)];
        let plan = plan(&layout, CLUSTER, places, Refill::All).expect("nothing left");
        assert_eq!((plan.open.len(), plan.refill.len(), plan.missing.len()), (0, 0, 2));
    }

    #[test]
    fn what_is_no_empty_place_of_a_lost_drive_is_not_refilled() {
        let layout = layout(&[(1, "a"), (2, "b"), (3, "c"), (4, "d")]);
        for (path, says) in [
            ("elsewhere", "not among"),
            ("a", "holds drive"),
            ("c", "photo.jpg"),
            ("d", "EIO"),
            ("new", "no lost drive"),
        ] {
            let places = vec![
                seen("a", Found::Drive(identity(1))),
                seen("b", Found::Empty),
                seen("c", Found::Other("photo.jpg".to_owned())),
                seen("d", Found::Unreadable("EIO".to_owned())),
                seen("new", Found::Empty),
            ];
            let accepted = [PathBuf::from("b"), PathBuf::from(path)];
            let refused = plan(&layout, CLUSTER, places, Refill::Only(&accepted));
            let refused = refused.expect_err("refused");
            assert!(matches!(refused, Refusal::NotAccepted { .. }), "{refused}");
            let message = refused.to_string();
            assert!(message.contains(path) && message.contains(says), "{message}");
        }
        let moved = vec![seen("a", Found::Empty), seen("b", Found::Drive(identity(1)))];
        let accepted = [PathBuf::from("a")];
        let refused = plan(&layout, CLUSTER, moved, Refill::Only(&accepted));
        assert!(matches!(refused, Err(Refusal::NotAccepted { .. })), "its drive was moved away");
    }

    #[test]
    fn drives_are_known_by_identity_wherever_they_are() {
        let layout = layout(&[(1, "a"), (2, "b")]);
        let swapped =
            vec![seen("b", Found::Drive(identity(1))), seen("a", Found::Drive(identity(2)))];
        let plan = plan(&layout, CLUSTER, swapped, NONE).expect("fine");
        assert_eq!((ids(&plan), plan.join.len(), plan.missing.len()), (vec![1, 2], 0, 0));
    }

    #[test]
    fn a_moved_drive_leaves_its_old_place_free() {
        let layout = layout(&[(1, "a")]);
        let places = vec![seen("a", Found::Empty), seen("b", Found::Drive(identity(1)))];
        let plan = plan(&layout, CLUSTER, places, NONE).expect("fine");
        assert_eq!((ids(&plan), plan.join.len(), plan.missing.len()), (vec![1], 1, 0));
    }

    #[test]
    fn a_crash_in_the_middle_of_joining_is_finished() {
        let places =
            vec![seen("a", Found::Drive(identity(1))), seen("b", Found::Drive(identity(2)))];
        let plan = plan(&layout(&[(1, "a")]), CLUSTER, places, NONE).expect("fine");
        let joined: Vec<_> = plan.join.iter().map(|join| join.identity.clone()).collect();
        assert_eq!((ids(&plan), joined), (vec![1], vec![Some(identity(2))]));
    }

    #[test]
    fn strangers_are_refused() {
        let other = Identity { cluster: "c2".to_owned(), ..identity(1) };
        let refused = |places| plan(&layout(&[]), CLUSTER, places, NONE).expect_err("refused");
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
