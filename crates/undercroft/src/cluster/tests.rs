//! Starts on real directories: first, again, degraded, refused.
#![allow(clippy::disallowed_methods, reason = "tests prepare and damage directories")]

use runtime::disk::RealDisk;
use shards::Identity;
use tempfile::TempDir;

use super::*;

struct Place {
    root: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { root: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    async fn dev(&self, nodes: Option<u16>) -> anyhow::Result<Cluster> {
        self.open(&Mode::Dev { dir: self.root.path().to_owned(), nodes }).await
    }

    async fn serve(&self, drives: &[&str]) -> anyhow::Result<Cluster> {
        self.serve_accepting(drives, &[]).await
    }

    async fn serve_accepting(&self, drives: &[&str], empty: &[&str]) -> anyhow::Result<Cluster> {
        let paths = |names: &[&str]| names.iter().map(|name| self.path(name)).collect();
        self.open(&Mode::Serve { data: paths(drives), accept_empty: paths(empty) }).await
    }

    async fn open(&self, mode: &Mode) -> anyhow::Result<Cluster> {
        let meta = self.path("meta");
        let opener =
            Opener { mode, meta: &meta, runtime: Runtime::real(), disk: Arc::new(RealDisk) };
        opener.open().await
    }
}

async fn close(cluster: Cluster) {
    cluster.close().await.expect("closes");
}

fn refusal(opened: anyhow::Result<Cluster>) -> Refusal {
    let error = opened.err().expect("a refusal");
    error.downcast::<Refusal>().expect("a refusal, not a failure")
}

#[tokio::test]
async fn a_cluster_is_made_once_and_found_again() {
    let place = Place::new();
    let first = place.dev(None).await.expect("a first start");
    assert!(first.is_new && first.notes.is_empty());
    assert_eq!((first.layout.drives.len(), first.geometry.to_string().as_str()), (5, "3+2"));
    assert_eq!(first.layout.nodes().len(), 5);
    let (record, layout) = (first.record.clone(), first.layout.clone());
    close(first).await;
    let again = place.dev(None).await.expect("a second start");
    assert!(!again.is_new && again.notes.is_empty());
    assert_eq!((&again.record, &again.layout), (&record, &layout));
    close(again).await;
}

#[tokio::test]
async fn a_second_opener_is_refused() {
    let place = Place::new();
    let first = place.dev(None).await.expect("a first start");
    let message = refusal(place.dev(None).await).to_string();
    assert!(message.contains("in use") || message.contains("running"), "{message}");
    close(first).await;
    close(place.dev(None).await.expect("the lock is free again")).await;
}

/// Moves one drive away, and replaces another by an empty directory.
fn lose(place: &Place, moved: &str, emptied: &str) {
    std::fs::rename(place.path(moved), place.path("away")).expect("moved");
    std::fs::remove_dir_all(place.path(emptied)).expect("removed");
    std::fs::create_dir(place.path(emptied)).expect("an unmounted mount point");
}

#[tokio::test]
async fn missing_drives_degrade_and_are_never_made_again_by_themselves() {
    let (place, all) = (Place::new(), ["a", "b", "c", "d", "e"]);
    close(place.serve(&all).await.expect("a first start")).await;
    lose(&place, "b", "d");
    let degraded = place.serve(&all).await.expect("a degraded start");
    assert_eq!((degraded.missing(), degraded.notes.len()), (2, 2), "{:?}", degraded.notes);
    assert_eq!(degraded.layout.drives.len(), 5);
    let flag = format!("--accept-empty {} ", place.path("d").display());
    assert!(degraded.notes.iter().any(|note| note.contains(&flag)), "{:?}", degraded.notes);
    close(degraded).await;
    assert!(!place.path("b").exists());
    assert_eq!(std::fs::read_dir(place.path("d")).expect("there").count(), 0);
    std::fs::rename(place.path("away"), place.path("b")).expect("moved back");
    let better = place.serve(&all).await.expect("a better start");
    assert_eq!(better.missing(), 1);
    close(better).await;
}

#[tokio::test]
async fn an_accepted_empty_directory_is_the_same_drive_made_anew() {
    let (place, all) = (Place::new(), ["a", "b", "c"]);
    let first = place.serve(&all).await.expect("a first start");
    let ids = |cluster: &Cluster| {
        let mut ids = cluster.carrier.drives();
        ids.sort_unstable();
        ids
    };
    let (layout, drives) = (first.layout.clone(), ids(&first));
    close(first).await;
    lose(&place, "a", "c");
    let one = place.serve_accepting(&all, &["c"]).await.expect("one is refilled");
    assert_eq!((one.missing(), &one.layout), (1, &layout));
    assert!(one.notes.iter().any(|note| note.contains("refills")), "{:?}", one.notes);
    close(one).await;
    let again = refusal(place.serve_accepting(&all, &["c"]).await);
    assert!(matches!(again, Refusal::NotAccepted { .. }), "{again}");
    let both = place.serve_accepting(&all, &["a"]).await.expect("a place that is not there");
    assert_eq!((both.missing(), ids(&both), &both.layout), (0, drives, &layout));
    close(both).await;
    // The old disk returns beside the new one.
    let twice = place.serve(&["a", "b", "c", "away"]).await;
    assert!(matches!(refusal(twice), Refusal::SameDrive { .. }));
    close(place.serve(&all).await.expect("without the old one")).await;
}

#[tokio::test]
async fn dev_makes_lost_drives_anew_unless_all_are_lost() {
    let place = Place::new();
    let first = place.dev(None).await.expect("a first start");
    let layout = first.layout.clone();
    close(first).await;
    lose(&place, "node-2", "node-4");
    let again = place.dev(None).await.expect("both are made anew");
    assert_eq!((again.missing(), again.notes.len(), &again.layout), (0, 2, &layout));
    close(again).await;
    for node in 1..=5 {
        std::fs::remove_dir_all(place.path(&format!("node-{node}"))).expect("removed");
    }
    let nothing = refusal(place.dev(None).await);
    assert!(matches!(nothing, Refusal::NothingLeft { drives: 5, .. }), "{nothing}");
    assert!(!place.path("node-1").exists());
}

#[tokio::test]
async fn nothing_left_is_refused() {
    let place = Place::new();
    close(place.serve(&["a"]).await.expect("a first start")).await;
    std::fs::remove_dir_all(place.path("a")).expect("removed");
    assert!(matches!(refusal(place.serve(&["a"]).await), Refusal::NothingLeft { drives: 1, .. }));
}

#[tokio::test]
async fn lost_metadata_is_refused_and_nothing_is_made() {
    let place = Place::new();
    close(place.serve(&["a", "b"]).await.expect("a first start")).await;
    std::fs::rename(place.path("meta"), place.path("elsewhere")).expect("moved");
    assert!(matches!(refusal(place.serve(&["a", "b"]).await), Refusal::MetadataLost { .. }));
    assert!(!place.path("meta").exists());
    std::fs::rename(place.path("elsewhere"), place.path("meta")).expect("moved back");
    close(place.serve(&["a", "b"]).await.expect("found again")).await;
}

#[tokio::test]
async fn new_drives_join_and_old_blobs_keep_the_promise_small() {
    let place = Place::new();
    let one = place.serve(&["a"]).await.expect("a first start");
    assert_eq!((one.geometry.to_string().as_str(), one.record.parity()), ("1+0", 0));
    let epoch = one.layout.epoch;
    close(one).await;
    let three = place.serve(&["a", "b", "c"]).await.expect("two join");
    assert_eq!((three.geometry.to_string().as_str(), three.record.parity()), ("2+1", 0));
    assert!(three.layout.epoch > epoch);
    assert_eq!((three.notes.len(), three.layout.nodes().len()), (2, 1));
    close(three).await;
    let fewer = place.serve(&["a", "c"]).await.expect("one is not named");
    assert_eq!((fewer.missing(), fewer.notes.len()), (1, 1));
    close(fewer).await;
}

#[tokio::test]
async fn metadata_may_be_inside_a_drive() {
    let place = Place::new();
    for _ in 0..2 {
        let data = vec![place.path("a"), place.path("b")];
        let mode = Mode::Serve { data, accept_empty: Vec::new() };
        let meta = place.path("a/meta");
        let disk = Arc::new(RealDisk);
        let opener = Opener { mode: &mode, meta: &meta, runtime: Runtime::real(), disk };
        let cluster = opener.open().await.expect("a start");
        assert_eq!((cluster.missing(), cluster.layout.drives.len()), (0, 2));
        close(cluster).await;
    }
}

#[tokio::test]
async fn dev_keeps_its_nodes_and_grows_when_asked() {
    let place = Place::new();
    close(place.dev(Some(3)).await.expect("a first start")).await;
    let same = place.dev(None).await.expect("the same");
    assert_eq!(same.layout.drives.len(), 3);
    close(same).await;
    let grown = place.dev(Some(4)).await.expect("one more");
    assert_eq!((grown.layout.drives.len(), grown.geometry.to_string().as_str()), (4, "3+1"));
    close(grown).await;
    let fewer = place.dev(Some(2)).await.expect("none is taken away");
    assert_eq!((fewer.layout.drives.len(), fewer.missing()), (4, 0));
    close(fewer).await;
}

#[tokio::test]
async fn drives_of_another_cluster_and_other_peoples_folders_are_refused() {
    let (ours, theirs) = (Place::new(), Place::new());
    close(ours.serve(&["a"]).await.expect("a first start")).await;
    close(theirs.serve(&["b"]).await.expect("a first start")).await;
    std::fs::rename(theirs.path("b"), ours.path("b")).expect("moved");
    assert!(matches!(refusal(ours.serve(&["a", "b"]).await), Refusal::ForeignDrive { .. }));
    std::fs::create_dir(ours.path("c")).expect("made");
    std::fs::write(ours.path("c/thesis.tex"), "years").expect("written");
    assert!(matches!(refusal(ours.serve(&["a", "c"]).await), Refusal::NotEmpty { .. }));
    assert_eq!(std::fs::read_dir(ours.path("c")).expect("there").count(), 1);
    assert!(matches!(refusal(ours.serve(&["a", "a"]).await), Refusal::SameDrive { .. }));
    close(ours.serve(&["a"]).await.expect("unharmed")).await;
}

#[tokio::test]
async fn a_crash_before_the_layout_was_recorded_is_finished() {
    let place = Place::new();
    close(place.serve(&["a"]).await.expect("a first start")).await;
    let identity_path = place.path("a/drive.json");
    let text = std::fs::read_to_string(&identity_path).expect("an identity");
    let mut identity: Identity = serde_json::from_str(&text).expect("JSON");
    identity.drive = DriveId::new(identity.drive.get() ^ 1);
    Store::format(Arc::new(RealDisk), &place.path("b"), &identity)
        .expect("made, then the power went");
    let two = place.serve(&["a", "b"]).await.expect("finished");
    assert!(two.layout.drive(identity.drive).is_some());
    close(two).await;
}
