//! What is done when the power fails or a drive errs: what was there before, the deed, and what may be found after.

use std::collections::BTreeMap;

use net::{Carrier as _, ShardId};
use objects::{Failure, GetError};
use types::UploadId;

use crate::bodies::{Content, blob, inline};
use crate::world::World;

/// Each shard has a file of its own.
pub const fn large(seed: u64) -> Content {
    Content { len: (2 << 20) + 300_000, seed }
}

/// The deeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// In place of an object that is a blob.
    Put(Content),
    Part(Content),
    Complete,
    Copy,
    Delete,
    Get,
    Repair,
    /// Of something that was written while drives were away.
    Reencode,
    Collect,
    Compact,
    Scrub,
}

/// All that change something.
pub const CHANGES: [Deed; 11] = [
    Deed::Put(inline(3)),
    Deed::Put(blob(3)),
    Deed::Put(large(3)),
    Deed::Part(blob(3)),
    Deed::Complete,
    Deed::Copy,
    Deed::Delete,
    Deed::Repair,
    Deed::Reencode,
    Deed::Collect,
    Deed::Compact,
];

/// What may be found under each name: one of these.
pub type Expected = BTreeMap<String, Vec<Option<Content>>>;

/// What a deed needs to know.
pub struct Stage {
    pub expected: Expected,
    upload: UploadId,
}

const OLD: Content = blob(1);
const LARGE: Content = large(2);

fn found(expected: &mut Expected, name: &str, content: Content) {
    expected.insert(name.to_owned(), vec![Some(content)]);
}

/// Sets the stage for a deed.
pub async fn set(world: &mut World, deed: Deed) -> Stage {
    world.create_bucket().await;
    let mut expected = Expected::new();
    let is_long = matches!(deed, Deed::Delete | Deed::Repair | Deed::Get | Deed::Scrub);
    for (name, content) in [("a", OLD), ("large", LARGE), ("small", inline(9))] {
        if name == "large" && !is_long {
            continue;
        }
        world.put(name, content).await.expect("a put");
        found(&mut expected, name, content);
    }
    let upload = world.begin("made").await;
    world.part(("made", upload), 1, blob(4)).await.expect("a part");
    world.part(("made", upload), 2, blob(5)).await.expect("a part");
    match deed {
        Deed::Repair => {
            lose_one_of_each(world).await;
            world.work(&["sweep"]).await.expect("swept");
        }
        Deed::Reencode => {
            let away: Vec<_> = [1, 2].map(types::DriveId::new).into();
            let away: Vec<_> = away
                .into_iter()
                .map(|drive| (drive, world.carrier.detach(drive).expect("a drive")))
                .collect();
            for name in ["b", "c"] {
                // The first may still be thought to be written to all drives, and is degraded.
                world.put(name, blob(6)).await.expect("a put");
                found(&mut expected, name, blob(6));
            }
            for (drive, store) in away {
                world.carrier.attach(drive, store);
            }
        }
        Deed::Collect => {
            for name in ["b", "c"] {
                world.put(name, if name == "b" { blob(6) } else { large(7) }).await.expect("a put");
                world.delete(name).await.expect("a delete");
            }
            let upload = world.begin("never").await;
            world.part(("never", upload), 1, blob(8)).await.expect("a part");
            world.abort(("never", upload)).await.expect("aborted");
            world.work(&["oldest-read"]).await.expect("reported");
        }
        Deed::Compact => {
            let many = |number: u64| Content { len: 60_000, seed: 100 + number };
            for number in 0..12 {
                let name = format!("many-{number}");
                world.put(&name, many(number)).await.expect("a put");
                if number % 4 == 0 {
                    found(&mut expected, &name, many(number));
                } else {
                    world.delete(&name).await.expect("a delete");
                }
            }
            world.work(&["oldest-read", "collect"]).await.expect("collected");
        }
        _ => {}
    }
    Stage { expected, upload }
}

/// A drive loses its copies of all blobs that it has.
async fn lose_one_of_each(world: &World) {
    let records = world.records().await;
    let drive = records.values().next().expect("a blob").location.copies[0].drive;
    for (blob, record) in records {
        for copy in record.location.copies.iter().filter(|copy| copy.drive == drive) {
            let shard = ShardId { blob, index: copy.index, copy: copy.copy };
            assert!(world.carrier.delete(drive, shard).await.expect("deleted"));
        }
    }
}

/// What became of a deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Certainly not.
    Refused,
    /// Nobody can say.
    Unknown,
}

/// Does it, and notes what may be found afterwards.
pub async fn act(world: &mut World, deed: Deed, stage: &mut Stage) -> Outcome {
    let upload = ("made", stage.upload);
    let (name, before, after) = match deed {
        Deed::Put(content) => ("a", Some(OLD), Some(content)),
        Deed::Complete => ("made", None, Some(blob(4))),
        Deed::Copy => ("copy", None, Some(OLD)),
        Deed::Delete => ("large", Some(LARGE), None),
        _ => ("", None, None),
    };
    if !name.is_empty() {
        stage.expected.insert(name.to_owned(), vec![before, after]);
    }
    let outcome = match deed {
        Deed::Put(content) => told(world.put("a", content).await.map_err(|e| match e {
            objects::PutError::Failure(failure) => failure,
            other => panic!("{other}"),
        })),
        Deed::Part(content) => told(world.part(upload, 1, content).await.map_err(|e| match e {
            objects::UploadError::Failure(failure) => failure,
            other => panic!("{other}"),
        })),
        Deed::Complete => told(world.complete(upload, blob(4)).await.map_err(|e| match e {
            objects::CompleteError::Failure(failure) => failure,
            other => panic!("{other}"),
        })),
        Deed::Copy => told(world.copy("a", "copy").await.map_err(|e| match e {
            objects::CopyError::Source(GetError::Failure(failure)) => failure,
            objects::CopyError::Target(objects::PutError::Failure(failure)) => failure,
            other => panic!("{other}"),
        })),
        Deed::Delete => told(world.delete("large").await),
        Deed::Get => {
            read_all(world, &stage.expected).await;
            Outcome::Done
        }
        Deed::Repair | Deed::Reencode => background(world.work(&["repair"]).await),
        Deed::Collect => background(world.work(&["collect"]).await),
        Deed::Compact => background(world.work(&["compact"]).await),
        Deed::Scrub => background(world.work(&["scrub"]).await),
    };
    if !name.is_empty() && outcome != Outcome::Unknown {
        let certain = if outcome == Outcome::Done { after } else { before };
        stage.expected.insert(name.to_owned(), vec![certain]);
    }
    outcome
}

/// Reads everything: what comes is right, and nothing else is an answer but that it cannot be read now.
async fn read_all(world: &World, expected: &Expected) {
    for (name, contents) in expected {
        match world.get(name).await {
            Ok(bytes) => assert!(is_one_of(bytes.as_deref(), contents), "{name} is wrong"),
            Err(failure) => panic!("{name} can be read with one drive less: {failure}"),
        }
    }
}

fn told<T>(result: Result<T, Failure>) -> Outcome {
    match result {
        Ok(_) => Outcome::Done,
        Err(Failure::Unknown) => Outcome::Unknown,
        Err(Failure::Kv(_) | Failure::Store(_) | Failure::Read(_)) => Outcome::Refused,
        Err(failure) => panic!("{failure}"),
    }
}

fn background(result: Result<(), String>) -> Outcome {
    if result.is_ok() { Outcome::Done } else { Outcome::Refused }
}

fn is_one_of(bytes: Option<&[u8]>, contents: &[Option<Content>]) -> bool {
    contents.iter().any(|content| content.map(Content::bytes).as_deref() == bytes)
}

/// Every name is what it must be, and there is no other.
pub async fn check(world: &World, expected: &Expected) {
    let mut names = world.names().await;
    for (name, contents) in expected {
        let bytes = world.get(name).await.unwrap_or_else(|failure| panic!("{name}: {failure}"));
        assert!(
            is_one_of(bytes.as_deref(), contents),
            "{name} has {:?} bytes and should be one of {contents:?}",
            bytes.map(|bytes| bytes.len())
        );
        assert_eq!(names.remove(name), bytes_are_there(world, name).await, "{name} in the list");
    }
    assert!(names.is_empty(), "names out of nowhere: {names:?}");
}

async fn bytes_are_there(world: &World, name: &str) -> bool {
    world.get(name).await.expect("a read").is_some()
}
