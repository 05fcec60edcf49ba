//! Recounts a store at rest: every record against every other, by the same check that operators have.

use std::collections::BTreeMap;

use kv::{Key, KeyRange, Kv, Step};
use objects::check::Problem;
use objects::schema::garbage::Candidate;
use objects::schema::*;
use types::{BlobId, Token};

/// What there is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub objects: usize,
    pub bytes: u64,
    pub blobs: usize,
    pub references: usize,
    pub uploads: usize,
    pub parts: usize,
    pub manifests: usize,
    /// Candidates filed, with how often each.
    pub garbage: BTreeMap<Candidate, usize>,
    pub repairs: Vec<(u8, BlobId)>,
}

/// Panics when something does not fit.
pub async fn check(store: &dyn Kv) -> Census {
    let mut problems: Vec<Problem> = Vec::new();
    let reader = store.snapshot().await.expect("a snapshot");
    let sessions = store.sessions().await.expect("the sessions");
    let mut report = |problem| problems.push(problem);
    let counts = objects::check::check(&*reader, &sessions, None, &mut report).await;
    let counts = counts.expect("a check");
    assert_eq!(problems, [], "at rest");
    let mut census = Census {
        objects: counts.objects as usize,
        bytes: counts.object_bytes,
        blobs: counts.blobs as usize,
        references: counts.references as usize,
        uploads: counts.uploads as usize,
        parts: counts.parts as usize,
        manifests: counts.manifests as usize,
        ..Census::default()
    };
    let mut visit = |key: &[u8], _: &[u8], _| {
        match kind_of(key) {
            Some((_, Kind::Garbage)) => {
                let (_, candidate) = garbage::parse_key(key).expect("a key");
                *census.garbage.entry(candidate).or_default() += 1;
            }
            Some((_, Kind::Repair)) => {
                census.repairs.push(repair::parse_key(key).expect("a key"));
            }
            _ => {}
        }
        Step::Next
    };
    let first = |token| Key::data(Token(token), &[]).expect("a key");
    let range = KeyRange::new(first(0), first(u32::MAX).prefix_end()).expect("a range");
    reader.visit(&range, &mut visit).await.expect("a visit");
    census
}
