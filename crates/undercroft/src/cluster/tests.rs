//! Starts on real directories: first, again, degraded, refused.
#![allow(clippy::disallowed_methods, reason = "tests prepare and damage directories")]

use runtime::disk::RealDisk;
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
        self.open(&Mode::Serve { data: drives.iter().map(|name| self.path(name)).collect() }).await
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

#[tokio::test]
async fn missing_drives_degrade_and_are_never_made_again() {
    let place = Place::new();
    close(place.dev(None).await.expect("a first start")).await;
    std::fs::rename(place.path("node-2"), place.path("away-2")).expect("moved");
    std::fs::remove_dir_all(place.path("node-4")).expect("removed");
    std::fs::create_dir(place.path("node-4")).expect("an unmounted mount point");
    let degraded = place.dev(None).await.expect("a degraded start");
    assert_eq!((degraded.missing(), degraded.notes.len()), (2, 2), "{:?}", degraded.notes);
    assert_eq!(degraded.layout.drives.len(), 5);
    close(degraded).await;
    assert!(!place.path("node-2").exists());
    assert_eq!(std::fs::read_dir(place.path("node-4")).expect("there").count(), 0);
    std::fs::rename(place.path("away-2"), place.path("node-2")).expect("moved back");
    let better = place.dev(None).await.expect("a better start");
    assert_eq!(better.missing(), 1);
    close(better).await;
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
        let mode = Mode::Serve { data: vec![place.path("a"), place.path("b")] };
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
