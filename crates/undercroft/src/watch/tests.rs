//! Drives that vanish under a running cluster, on real directories.
#![allow(clippy::disallowed_methods, reason = "tests prepare and damage directories")]

use std::sync::atomic::{AtomicUsize, Ordering};

use net::{Carrier as _, DriveState};
use runtime::Runtime;
use runtime::disk::RealDisk;
use shards::Identity;
use tempfile::TempDir;

use super::*;
use crate::cluster::Opener;
use crate::config::Mode;

/// A cluster that is watched, but for its engine.
struct Place {
    root: TempDir,
    cluster: Cluster,
    watch: DriveWatch,
    sweeps: Arc<AtomicUsize>,
}

impl Place {
    async fn new(is_dev: bool) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let mode = if is_dev {
            Mode::Dev { dir: root.path().to_owned(), nodes: Some(3) }
        } else {
            let data = (1..=3).map(|n| root.path().join(format!("node-{n}"))).collect();
            Mode::Serve { data, accept_empty: Vec::new() }
        };
        let meta = root.path().join("meta");
        let (runtime, disk) = (Runtime::real(), Arc::new(RealDisk));
        let opener = Opener { mode: &mode, meta: &meta, runtime, disk };
        let cluster = opener.open().await.expect("a first start");
        let sweeps = Arc::new(AtomicUsize::new(0));
        let counted = sweeps.clone();
        let sweep = move || {
            counted.fetch_add(1, Ordering::SeqCst);
        };
        let watch = DriveWatch::new(&cluster, is_dev, &meta, sweep);
        Self { root, cluster, watch, sweeps }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn id(&self, node: usize) -> DriveId {
        self.cluster.layout.drives[node - 1].id
    }

    fn trouble(&self, node: usize) -> Option<String> {
        self.cluster.places.get(self.id(node)).trouble
    }

    fn attached(&self, node: usize) -> bool {
        self.cluster.carrier.store_of(self.id(node)).is_some()
    }

    /// Steps until `done`.
    async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let clock = Runtime::real().clock;
        let end = clock.monotonic() + Duration::from_secs(60);
        while !done(self) {
            assert!(clock.monotonic() < end, "never: {what}");
            assert!(matches!(self.watch.step().await, Ok(Progress::Idle(_))));
            self.watch.drives.iter_mut().for_each(|drive| drive.next_look = Duration::ZERO);
            clock.sleep(Duration::from_millis(2)).await;
        }
    }

    /// Steps until every drive was looked at, twice.
    async fn look_around(&mut self) {
        for _ in 0..2 {
            let clock = Runtime::real().clock;
            self.watch.drives.iter_mut().for_each(|drive| drive.next_look = Duration::ZERO);
            self.watch.step().await.expect("a step");
            while self.watch.drives.iter().any(|drive| drive.task.is_some()) {
                self.watch.step().await.expect("a step");
                clock.sleep(Duration::from_millis(2)).await;
            }
        }
    }

    async fn close(self) {
        self.cluster.close().await.expect("closes");
    }
}

#[tokio::test]
async fn while_all_is_well_nothing_happens() {
    let mut place = Place::new(true).await;
    let stores = [1, 2, 3].map(|n| place.cluster.carrier.store_of(place.id(n)).expect("open"));
    place.look_around().await;
    for (n, store) in (1..).zip(&stores) {
        let now = place.cluster.carrier.store_of(place.id(n)).expect("open");
        assert!(Arc::ptr_eq(&now, store) && place.trouble(n).is_none());
    }
    assert_eq!(place.sweeps.load(Ordering::SeqCst), 0);
    drop(stores);
    place.close().await;
}

#[tokio::test]
async fn dev_makes_a_removed_drive_anew_and_asks_for_a_sweep() {
    let mut place = Place::new(true).await;
    for (node, is_emptied) in [(2, false), (3, true)] {
        let name = format!("node-{node}");
        let former = place.cluster.carrier.store_of(place.id(node)).expect("open");
        std::fs::remove_dir_all(place.path(&name)).expect("removed");
        if is_emptied {
            std::fs::create_dir(place.path(&name)).expect("made");
        }
        let id = place.id(node);
        let is_new = move |place: &Place| {
            let now = place.cluster.carrier.store_of(id);
            now.is_some_and(|now| !Arc::ptr_eq(&now, &former))
        };
        place.until("another store", is_new).await;
        assert_eq!(place.cluster.carrier.status(id).await.state, DriveState::Up);
        let identity = Store::identity(Arc::new(RealDisk), &place.path(&name)).expect("read");
        assert_eq!(identity.map(|identity| identity.drive), Some(id));
        assert!(place.trouble(node).is_none() && place.attached(1));
    }
    assert_eq!(place.sweeps.load(Ordering::SeqCst), 2);
    assert!(place.watch.sweep_again_at.is_some(), "uploads that were under way");
    place.close().await;
}

#[tokio::test]
async fn serve_leaves_an_empty_place_alone_and_says_what_to_do() {
    let mut place = Place::new(false).await;
    std::fs::rename(place.path("node-2"), place.path("away")).expect("moved");
    std::fs::create_dir(place.path("node-2")).expect("an unmounted mount point");
    place.until("away", |place| !place.attached(2)).await;
    place.look_around().await;
    let why = place.trouble(2).expect("it is said");
    let flag = format!("--accept-empty {} ", place.path("node-2").display());
    assert!(why.contains(&flag), "{why}");
    assert_eq!(std::fs::read_dir(place.path("node-2")).expect("there").count(), 0);
    assert_eq!(place.sweeps.load(Ordering::SeqCst), 0);

    // It is mounted again.
    std::fs::remove_dir(place.path("node-2")).expect("removed");
    std::fs::rename(place.path("away"), place.path("node-2")).expect("moved back");
    place.until("back", |place| place.attached(2)).await;
    assert!(place.trouble(2).is_none());
    assert_eq!(place.sweeps.load(Ordering::SeqCst), 1);
    place.close().await;
}

#[tokio::test]
async fn another_directory_of_the_same_drive_is_opened_anew() {
    let mut place = Place::new(false).await;
    let former = place.cluster.carrier.store_of(place.id(1)).expect("open");
    // An older copy of the drive, put in its place.
    std::fs::rename(place.path("node-1"), place.path("away")).expect("moved");
    std::fs::create_dir(place.path("node-1")).expect("made");
    let (from, to) = (place.path("away/drive.json"), place.path("node-1/drive.json"));
    std::fs::copy(from, to).expect("copied");
    let id = place.id(1);
    let is_new = move |place: &Place| {
        let now = place.cluster.carrier.store_of(id);
        now.is_some_and(|now| !Arc::ptr_eq(&now, &former))
    };
    place.until("another store", is_new).await;
    assert_eq!(place.sweeps.load(Ordering::SeqCst), 1);
    place.close().await;
}

#[tokio::test]
async fn a_lost_or_damaged_identity_is_written_again() {
    let mut place = Place::new(false).await;
    let (ours, other) = (place.path("node-1/drive.json"), place.path("node-2/drive.json"));
    let text = std::fs::read_to_string(&ours).expect("read");
    let damages: [&dyn Fn(); 3] = [
        &|| std::fs::remove_file(&ours).expect("removed"),
        &|| std::fs::write(&ours, "{").expect("written"),
        &|| assert!(std::fs::copy(&other, &ours).expect("copied") > 0),
    ];
    for damage in damages {
        let former = place.cluster.carrier.store_of(place.id(1)).expect("open");
        damage();
        let is_whole = |_: &Place| std::fs::read_to_string(&ours).is_ok_and(|now| now == text);
        place.until("written again", is_whole).await;
        place.look_around().await;
        let now = place.cluster.carrier.store_of(place.id(1)).expect("open");
        assert!(Arc::ptr_eq(&former, &now) && place.trouble(1).is_none());
    }
    assert_eq!(place.sweeps.load(Ordering::SeqCst), 0);
    place.close().await;
}

#[tokio::test]
async fn when_all_is_gone_nothing_is_made_anew() {
    let mut place = Place::new(true).await;
    for name in ["meta", "node-1", "node-2", "node-3"] {
        std::fs::rename(place.path(name), place.path(&format!("away-{name}"))).expect("moved");
    }
    place.until("all away", |place| (1..=3).all(|node| !place.attached(node))).await;
    place.look_around().await;
    assert!((1..=3).all(|node| !place.path(&format!("node-{node}")).exists()));
    assert!((1..=3).all(|node| place.trouble(node).is_some()));
}

#[tokio::test]
async fn a_disk_that_hangs_holds_up_no_other_drive() {
    let mut place = Place::new(true).await;
    let (never, answer) = oneshot::channel();
    place.watch.drives[0].task = Some((Task::Close(answer), Duration::ZERO));
    let former = place.cluster.carrier.store_of(place.id(2)).expect("open");
    std::fs::remove_dir_all(place.path("node-2")).expect("removed");
    let id = place.id(2);
    let is_new = move |place: &Place| {
        let now = place.cluster.carrier.store_of(id);
        now.is_some_and(|now| !Arc::ptr_eq(&now, &former))
    };
    place.until("another store", is_new).await;
    place.watch.drives[0].say_slow(&place.watch.shared);
    assert!(place.trouble(1).is_some_and(|why| why.contains("restarted")));
    assert!(
        matches!(place.watch.drives[0].task, Some((Task::Close(_), _))),
        "nothing else is done there"
    );
    never.send(()).expect("it is waited for");
    place.until("looked at again", |place| place.watch.drives[0].task.is_none()).await;
    place.close().await;
}

fn identity(cluster: &str, drive: u64) -> Identity {
    let (drive, node) = (DriveId::new(drive), NodeId::new(1));
    Identity { v: 1, cluster: cluster.to_owned(), drive, node, created_at_ms: 0 }
}

#[test]
fn verdicts() {
    let judged = |is_attached, found, is_ours, may_refill| {
        let sight = Sight { found, is_ours, has_meta: true };
        judge(("c", DriveId::new(1)), is_attached, &sight, may_refill, |_| "why".to_owned())
    };
    let own = || Found::Drive(identity("c", 1));
    let why = || "why".to_owned();
    let unreadable = || Found::Unreadable("EIO".to_owned());
    assert_eq!(judged(true, own(), true, true), Verdict::Fine);
    assert!(matches!(judged(true, own(), false, true), Verdict::Lost(_)));
    assert_eq!(judged(true, unreadable(), true, true), Verdict::Doubtful(why()));
    assert_eq!(judged(true, unreadable(), false, true), Verdict::Lost(why()));
    assert_eq!(judged(true, Found::Other("x".to_owned()), true, true), Verdict::Doubtful(why()));
    let strangers = [Found::Drive(identity("c", 2)), Found::Drive(identity("d", 1))];
    for found in strangers.into_iter().chain([Found::Empty, Found::Other("x".to_owned())]) {
        assert_eq!(judged(true, found.clone(), false, true), Verdict::Lost(why()), "{found:?}");
        let expected = if found == Found::Empty { Verdict::Refill } else { Verdict::Away(why()) };
        assert_eq!(judged(false, found.clone(), false, true), expected, "{found:?}");
        assert_eq!(judged(false, found, false, false), Verdict::Away(why()));
    }
    assert_eq!(judged(false, own(), false, false), Verdict::Back);
    assert_eq!(judged(false, unreadable(), false, true), Verdict::Away(why()));
}
