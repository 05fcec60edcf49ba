//! What placement promises, measured over all groups of a layout.

use std::collections::{BTreeMap, BTreeSet};

use placement::{Drive, DriveRole, Layout, LayoutError, Override};
use proptest::prelude::*;
use types::{BlobId, DriveId, NodeId, SessionId};

const GIB: u64 = 1 << 30;

fn drive(id: u64, node: u64, zone: &str, capacity_gib: u64) -> Drive {
    Drive {
        id: DriveId::new(id),
        node: NodeId::new(node),
        zone: zone.to_owned(),
        tier: String::new(),
        capacity_bytes: capacity_gib * GIB,
        state: DriveRole::Active,
        path_hint: format!("/data/{id}"),
    }
}

fn layout(drives: impl IntoIterator<Item = Drive>, groups: u32) -> Layout {
    let empty = Layout { groups, ..Layout::empty() };
    drives.into_iter().fold(empty, |layout, drive| layout.with_drive(drive).expect("new"))
}

fn all_up(_: DriveId) -> bool {
    true
}

fn sets(layout: &Layout, count: usize) -> Vec<BTreeSet<DriveId>> {
    let place = |group| layout.place_group(group, count, all_up).into_iter().collect();
    (0..layout.groups).map(place).collect()
}

fn load(sets: &[BTreeSet<DriveId>]) -> BTreeMap<DriveId, usize> {
    let mut load = BTreeMap::new();
    sets.iter().flatten().for_each(|&id| *load.entry(id).or_default() += 1);
    load
}

/// Copies that are in `after` and were not in `before`.
fn moved(before: &[BTreeSet<DriveId>], after: &[BTreeSet<DriveId>]) -> usize {
    before.iter().zip(after).map(|(before, after)| after.difference(before).count()).sum()
}

#[test]
fn golden_placement() {
    let layout = layout((1..=7).map(|id| drive(id, id, "", 100 * (1 + id % 3))), 1024);
    let ids = |group| -> Vec<u64> {
        layout.place_group(group, 5, all_up).into_iter().map(DriveId::get).collect()
    };
    let groups: Vec<Vec<u64>> = (0..4).map(ids).collect();
    assert_eq!(groups, GOLDEN, "a change here moves every blob of every cluster");
    let blob = BlobId { session: SessionId::new(0x0123_4567_89ab_cdef), sequence: 42 };
    assert_eq!(layout.group_of(blob), GOLDEN_GROUP);
}

const GOLDEN: [[u64; 5]; 4] = [[2, 5, 6, 7, 4], [5, 2, 1, 6, 4], [2, 5, 7, 1, 4], [2, 5, 1, 6, 7]];
const GOLDEN_GROUP: u32 = 940;

#[test]
fn equal_drives_are_used_equally() {
    let layout = layout((1..=12).map(|id| drive(id, id, "", 100)), 8192);
    for (id, copies) in load(&sets(&layout, 5)) {
        let fair = 8192.0 * 5.0 / 12.0;
        assert!((copies as f64 / fair - 1.0).abs() < 0.05, "{id}: {copies} of {fair}");
    }
}

#[test]
fn the_load_follows_capacity_also_when_many_are_drawn() {
    // Capacities from 1 to 4, five copies on eight nodes: most of the nodes are in most of the groups.
    let layout = layout((1..=8).map(|id| drive(id, id, "", 100 * id.div_ceil(2))), 8192);
    let load = load(&sets(&layout, 3));
    let total: u64 = layout.drives.iter().map(|drive| drive.capacity_bytes).sum();
    for drive in &layout.drives {
        let fair = 8192.0 * 3.0 * drive.capacity_bytes as f64 / total as f64;
        let copies = load[&drive.id] as f64;
        // What fills first is what counts: nobody gets much more than the fair share.
        let ratio = copies / fair;
        assert!((0.88..1.05).contains(&ratio), "{}: {copies} of {fair}", drive.id);
    }
}

#[test]
fn a_node_gets_at_most_one_copy_of_each_group_however_large_it_is() {
    let small = (1..=5).map(|id| drive(id, id, "", 100));
    let large = (10..14).map(|id| drive(id, 9, "", 10_000));
    let layout = layout(small.chain(large), 2048);
    let load = load(&sets(&layout, 3));
    let on_large: usize = (10..14).map(|id| load[&DriveId::new(id)]).sum();
    assert_eq!(on_large, 2048);
    for id in 10..14 {
        assert!((load[&DriveId::new(id)] as f64 / 512.0 - 1.0).abs() < 0.15);
    }
}

#[test]
fn drives_of_one_node_share_by_capacity_when_there_are_fewer_nodes_than_copies() {
    let layout = layout((1..=6).map(|id| drive(id, 1, "", 100 * id)), 8192);
    let load = load(&sets(&layout, 2));
    for drive in &layout.drives {
        let fair = 8192.0 * 2.0 * drive.capacity_bytes as f64 / (2100 * GIB) as f64;
        let copies = load[&drive.id] as f64;
        let ratio = copies / fair;
        assert!((0.88..1.05).contains(&ratio), "{}: {copies} of {fair}", drive.id);
    }
}

#[test]
fn one_more_equal_drive_moves_exactly_its_share() {
    let before = layout((1..=10).map(|id| drive(id, id, "", 100)), 8192);
    let after = before.with_drive(drive(11, 11, "", 100)).expect("new");
    let (old, new) = (sets(&before, 5), sets(&after, 5));
    let its_share = load(&new)[&DriveId::new(11)];
    assert_eq!(moved(&old, &new), its_share);
    assert_eq!(after.epoch, before.epoch + 1);
    // And back again: only what stood on it moves.
    let back = after.without_drive(DriveId::new(11)).expect("there");
    assert_eq!(sets(&back, 5), old);
}

#[test]
fn a_drive_of_any_size_moves_little_more_than_its_share() {
    for (capacity, node) in [(10, 20), (100, 20), (400, 20), (5000, 20), (100, 3), (1000, 3)] {
        let before = layout((1..=9).map(|id| drive(id, id, "", 100 * (1 + id % 3))), 4096);
        let after = before.with_drive(drive(20, node, "", capacity)).expect("new");
        let (old, new) = (sets(&before, 5), sets(&after, 5));
        let its_share = load(&new)[&DriveId::new(20)] as f64;
        let moved = moved(&old, &new) as f64;
        assert!(moved <= 1.25 * its_share + 40.0, "{capacity}: {moved} for a share of {its_share}");
    }
}

#[test]
fn nodes_then_zones_are_kept_apart_while_they_can_be() {
    let zones = ["a", "b", "c"];
    let drives =
        (0..18u64).map(|id| drive(id + 1, id / 2, zones[(id / 6) as usize], 100 + id * 20));
    let layout = layout(drives, 512);
    for (count, per_node, per_zone) in [(3, 1, 1), (5, 1, 2), (9, 1, 3), (12, 2, 4), (18, 2, 6)] {
        for group in 0..layout.groups {
            let chosen = layout.place_group(group, count, all_up);
            let (mut nodes, mut in_zones) = (BTreeMap::new(), BTreeMap::new());
            for id in &chosen {
                let drive = layout.drive(*id).expect("in the layout");
                *nodes.entry(drive.node).or_insert(0) += 1;
                *in_zones.entry(drive.zone.clone()).or_insert(0) += 1;
            }
            assert_eq!(chosen.len(), count);
            assert!(nodes.values().all(|&n| n <= per_node));
            assert!(in_zones.values().all(|&n| n <= per_zone), "{count}: {in_zones:?}");
        }
    }
}

#[test]
fn only_active_drives_that_are_up_are_chosen() {
    let layout = layout((1..=6).map(|id| drive(id, id, "", 100)), 64);
    let layout = layout
        .with_change(DriveId::new(1), |drive| drive.state = DriveRole::Draining)
        .and_then(|layout| layout.with_change(DriveId::new(2), |d| d.state = DriveRole::Out))
        .expect("there");
    let up = |id: DriveId| id.get() != 3;
    for group in 0..64 {
        let chosen: BTreeSet<u64> =
            layout.place_group(group, 5, up).into_iter().map(DriveId::get).collect();
        assert_eq!(chosen, BTreeSet::from([4, 5, 6]));
    }
    assert!(layout.fits(3, up) && !layout.fits(4, up) && layout.fits(4, all_up));
    assert!(Layout::empty().place_group(0, 3, all_up).is_empty());
    assert!(layout.place_group(0, 0, all_up).is_empty());
}

#[test]
fn an_override_spares_a_drive_in_its_group_only() {
    let mut layout = layout((1..=8).map(|id| drive(id, id, "", 100)), 16);
    let before = layout.place_group(3, 4, all_up);
    let other = layout.place_group(4, 4, all_up);
    let spare = layout.drives.iter().map(|d| d.id).find(|id| !before.contains(id)).expect("eight");
    layout.overrides.push(Override { group: 3, from: before[1], to: spare });
    let mut expected = before.clone();
    expected[1] = spare;
    assert_eq!(layout.place_group(3, 4, all_up), expected);
    assert_eq!(layout.place_group(4, 4, all_up), other);
    // A target that is down or already chosen changes nothing.
    assert_eq!(layout.place_group(3, 4, |id| id != spare), before);
    layout.overrides = vec![Override { group: 3, from: before[1], to: before[0] }];
    assert_eq!(layout.place_group(3, 4, all_up), before);
}

#[test]
fn extreme_capacities_do_not_overflow() {
    let drives = (0..40).map(|id| Drive {
        capacity_bytes: [0, 1, u64::MAX][id as usize % 3],
        ..drive(id + 1, id / 2, "", 0)
    });
    let layout = layout(drives, 32);
    for count in [1, 2, 19, 20, 21, 32, 40, usize::MAX] {
        let chosen = layout.place_group(7, count, all_up);
        let distinct: BTreeSet<_> = chosen.iter().collect();
        assert_eq!((chosen.len(), distinct.len()), (count.min(40), count.min(40)));
    }
}

#[test]
fn json_is_versioned_and_checked() {
    let mut layout = layout([drive(1, 2, "z", 1), drive(3, 4, "", 2)], 8);
    layout.overrides.push(Override { group: 7, from: DriveId::new(1), to: DriveId::new(3) });
    let text = serde_json::to_string(&layout).expect("JSON");
    assert_eq!(
        text,
        concat!(
            r#"{"v":1,"epoch":2,"groups":8,"drives":["#,
            r#"{"id":"0000000000000001","node":"0000000000000002","zone":"z","tier":"","#,
            r#""capacity_bytes":1073741824,"state":"active","path_hint":"/data/1"},"#,
            r#"{"id":"0000000000000003","node":"0000000000000004","zone":"","tier":"","#,
            r#""capacity_bytes":2147483648,"state":"active","path_hint":"/data/3"}],"#,
            r#""overrides":[{"group":7,"from":"0000000000000001","to":"0000000000000003"}]}"#
        )
    );
    assert_eq!(serde_json::from_str::<Layout>(&text).expect("the same"), layout);
    for (from, to) in [
        (r#""v":1"#, r#""v":2"#),
        (r#""groups":8"#, r#""groups":0"#),
        (r#""groups":8"#, r#""groups":4294967295"#),
        (r#""id":"0000000000000003""#, r#""id":"0000000000000001""#),
        (r#""to":"0000000000000003""#, r#""to":"0000000000000009""#),
        (r#""group":7"#, r#""group":8"#),
        ("active", "retired"),
    ] {
        let wrong = text.replacen(from, to, 1);
        assert!(wrong != text && serde_json::from_str::<Layout>(&wrong).is_err(), "{to}");
    }
}

#[test]
fn changes_of_a_layout_are_checked() {
    let one = layout([drive(1, 1, "", 1)], 8);
    let twice = Err(LayoutError::DuplicateDrive(DriveId::new(1)));
    assert_eq!(one.with_drive(drive(1, 9, "", 1)), twice);
    let nobody = Err(LayoutError::NoSuchDrive(DriveId::new(2)));
    assert_eq!(one.without_drive(DriveId::new(2)), nobody);
    assert_eq!(one.with_change(DriveId::new(2), |_| {}), nobody);
    let renamed = one.with_change(DriveId::new(1), |drive| drive.id = DriveId::new(5));
    assert_eq!(renamed.expect("there").drives[0].id, DriveId::new(1));
    assert_eq!(one.nodes(), [NodeId::new(1)]);
}

fn any_drives() -> impl Strategy<Value = Vec<Drive>> {
    let one = (0u64..8, prop_oneof![Just(0), 1u64..5000]);
    proptest::collection::vec(one, 1..24).prop_map(|drives| {
        // A node stands in one zone.
        let zones = ["", "a", "b"];
        let one = |(id, (node, capacity)): (usize, (u64, u64))| {
            drive(id as u64 + 1, node, zones[node as usize % 3], capacity)
        };
        drives.into_iter().enumerate().map(one).collect()
    })
}

proptest! {
    #[test]
    fn choices_are_distinct_and_as_many_as_there_can_be(
        drives in any_drives(), count in 0usize..30, group in 0u32..64, down in any::<u32>()
    ) {
        let layout = layout(drives, 64);
        let up = |id: DriveId| down >> (id.get() % 32) & 1 == 0;
        let chosen = layout.place_group(group, count, up);
        let distinct: BTreeSet<_> = chosen.iter().copied().collect();
        prop_assert_eq!(distinct.len(), chosen.len());
        prop_assert_eq!(chosen.len(), count.min(layout.room(up)));
        prop_assert!(chosen.iter().all(|&id| up(id)));
        let nodes: BTreeSet<_> = chosen.iter().filter_map(|&id| layout.drive(id)).map(|d| d.node).collect();
        let all: BTreeSet<_> = layout.active().filter(|d| up(d.id)).map(|d| d.node).collect();
        prop_assert_eq!(nodes.len(), all.len().min(count));
    }

    #[test]
    fn the_order_of_drives_in_the_layout_does_not_matter(
        drives in any_drives(), count in 0usize..12, group in 0u32..64
    ) {
        let mut reversed = drives.clone();
        reversed.reverse();
        let (one, other) = (layout(drives, 64), layout(reversed, 64));
        prop_assert_eq!(
            one.place_group(group, count, all_up), other.place_group(group, count, all_up)
        );
    }

    #[test]
    fn a_drive_that_goes_down_takes_no_other_with_it(
        drives in any_drives(), count in 1usize..12, group in 0u32..64, which in any::<usize>()
    ) {
        let layout = layout(drives, 64);
        let before = layout.place_group(group, count, all_up);
        let lost = before[which % before.len()];
        let after = layout.place_group(group, count, |id| id != lost);
        let kept = before.iter().filter(|id| after.contains(id)).count();
        prop_assert!(kept + 1 >= before.len(), "{:?} {:?}", before, after);
    }
}
