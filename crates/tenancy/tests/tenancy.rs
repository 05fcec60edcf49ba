//! The directory, the gate, accounts and credentials over the embedded key-value store.
#![allow(clippy::disallowed_methods, missing_docs, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kv::lsm::{Lsm, LsmOptions};
use kv::{Batch, Key, Kv, KvError, Outcome};
use runtime::Runtime;
use tempfile::TempDir;
use tenancy::action::{
    CreateBucket, DeleteBucket, DeleteObject, GetObject, ListAllMyBuckets, ListBucket, PutObject,
};
use tenancy::directory::{self, BucketEntry};
use tenancy::{AccessKey, Authorized, Credentials, Gate, Principal, Refusal, Secret, account};
use types::{
    AccessKeyId, AccountId, BatchId, BucketId, BucketName, ErrorKind, ObjectKey, SessionId,
    UnixMillis,
};

struct World {
    kv: Arc<dyn Kv>,
    gate: Gate,
    sequence: AtomicU64,
    _dir: TempDir,
}

const SESSION: SessionId = SessionId::new(7);

fn account_id(number: u64) -> AccountId {
    AccountId::new(number).expect("an account")
}

fn name(text: &str) -> BucketName {
    BucketName::new(text).expect("a name")
}

fn principal(account: u64) -> Principal {
    let access_key = AccessKeyId::new("AKTEST").expect("a key id");
    Principal { account: account_id(account), access_key }
}

fn entry(id: u64, owner: u64) -> BucketEntry {
    BucketEntry {
        v: 1,
        id: BucketId::new(id),
        owner: account_id(owner),
        created_at_ms: UnixMillis(5),
    }
}

impl World {
    async fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        let options = LsmOptions { reserve_bytes: 0, ..LsmOptions::default() };
        let kv: Arc<dyn Kv> =
            Lsm::open(dir.path(), Runtime::real(), options).expect("the store opens");
        kv.open_session(SESSION, "test", UnixMillis(0)).await.expect("a session");
        Self { gate: Gate::new(kv.clone()), kv, sequence: AtomicU64::new(1), _dir: dir }
    }

    fn next_id(&self) -> BatchId {
        BatchId { session: SESSION, sequence: self.sequence.fetch_add(1, Ordering::Relaxed) }
    }

    async fn commit(&self, batch: Batch) -> Outcome {
        self.kv.commit(self.next_id(), batch).await.expect("an outcome")
    }

    async fn claim(&self, bucket: &str, id: u64, owner: u64) -> Outcome {
        let mut batch = Batch::default();
        directory::claim(&mut batch, &name(bucket), &entry(id, owner)).expect("a claim");
        self.commit(batch).await
    }

    async fn list(
        &self,
        owner: u64,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> (Vec<String>, bool) {
        let kv = self.kv.as_ref();
        let page = directory::list(kv, account_id(owner), prefix, after, limit).await;
        let (buckets, more) = page.expect("a page");
        (buckets.into_iter().map(|(name, _)| name.as_str().to_owned()).collect(), more)
    }

    async fn put_raw(&self, path: &str, value: &'static [u8]) {
        let mut batch = Batch::default();
        batch.put(Key::control(path).expect("a key"), value);
        assert!(matches!(self.commit(batch).await, Outcome::Committed(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_claimed_once_and_can_be_given_up() {
    let world = World::new().await;
    assert!(matches!(world.claim("photos", 1, 1).await, Outcome::Committed(_)));
    assert_eq!(world.claim("photos", 2, 2).await, Outcome::Conflict(0));
    let kv = world.kv.as_ref();
    let (found, revision) =
        directory::find(kv, &name("photos")).await.expect("a look-up").expect("an entry");
    assert_eq!(found, entry(1, 1));

    let release = async |revision| {
        let mut batch = Batch::default();
        directory::release(&mut batch, &name("photos"), account_id(1), revision)
            .expect("a release");
        world.commit(batch).await
    };
    assert_eq!(release(types::Revision(revision.0 - 1)).await, Outcome::Conflict(0));
    assert!(matches!(release(revision).await, Outcome::Committed(_)));
    assert_eq!(directory::find(kv, &name("photos")).await.expect("a look-up"), None);
    assert_eq!(world.list(1, "", None, 10).await, (vec![], false));
    assert!(matches!(world.claim("photos", 2, 2).await, Outcome::Committed(_)));
    assert_eq!(release(revision).await, Outcome::Conflict(0), "of an earlier bucket of that name");
    assert_eq!(world.list(2, "", None, 10).await.0, ["photos"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_are_listed_by_owner_in_pages() {
    let world = World::new().await;
    for (id, (bucket, owner)) in
        (1..).zip([("aaa", 1), ("aab", 2), ("abc", 1), ("b-c", 1), ("b.c", 1), ("bbb", 1)])
    {
        assert!(matches!(world.claim(bucket, id, owner).await, Outcome::Committed(_)));
    }
    let all = ["aaa", "abc", "b-c", "b.c", "bbb"];
    for limit in 1..=6 {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let (page, more) = world.list(1, "", after.as_deref(), limit).await;
            assert!(page.len() <= limit && (page.len() == limit || !more));
            after = page.last().cloned();
            found.extend(page);
            if !more {
                break;
            }
        }
        assert_eq!(found, all, "pages of {limit}");
    }
    assert_eq!(world.list(1, "a", None, 9).await.0, ["aaa", "abc"]);
    assert_eq!(world.list(1, "a", Some("aaa"), 9).await.0, ["abc"]);
    assert_eq!(world.list(1, "b", Some("aaa"), 9).await.0, ["b-c", "b.c", "bbb"]);
    assert_eq!(world.list(1, "a", Some("b"), 9).await, (vec![], false));
    assert_eq!(world.list(2, "", None, 9).await.0, ["aab"]);
    assert_eq!(world.list(3, "", None, 9).await, (vec![], false));
    assert_eq!(world.list(1, "", None, 0).await, (vec![], false));
    // Whatever a client sends.
    let long = "a".repeat(10_000);
    assert_eq!(world.list(1, &long, None, 9).await, (vec![], false));
    assert_eq!(world.list(1, "", Some(&long), 9).await.0, all[1..]);
    assert_eq!(world.list(1, "../2/", None, 9).await, (vec![], false));
    assert_eq!(world.list(1, "", Some("../"), 9).await.0, all);

    let kv = world.kv.as_ref();
    let (first, more) = directory::list_all(kv, None, 2).await.expect("a page");
    assert_eq!((first[1].0.as_str(), first[1].1.owner, more), ("aab", account_id(2), true));
    let (rest, more) = directory::list_all(kv, Some(&name("aab")), 100).await.expect("a page");
    assert_eq!((rest.len(), more), (4, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_does_everything_to_its_own_and_nothing_to_others() {
    let world = World::new().await;
    world.claim("mine", 1, 1).await;
    let (mine, owner, other) = (name("mine"), principal(1), principal(2));
    let key = || ObjectKey::new("a/../b").expect("a key");

    let proof: Authorized<ListBucket> =
        world.gate.bucket(&owner, &mine, None).await.expect("allowed");
    let bucket = proof.resource();
    assert_eq!((bucket.id, bucket.owner), (BucketId::new(1), account_id(1)));
    assert_eq!((&bucket.name, bucket.created_at), (&mine, UnixMillis(5)));
    assert_eq!(bucket.token(), types::Token::of(&1_u64.to_be_bytes()));
    assert_eq!(proof.principal(), &owner);
    let proof: Authorized<GetObject> =
        world.gate.object(&owner, &mine, key(), Some(account_id(1))).await.expect("allowed");
    assert_eq!(proof.into_resource().key, key(), "never cleaned, never normalised");

    let denied = |result: Result<(), Refusal>| {
        let refusal = result.expect_err("denied");
        assert!(matches!(refusal, Refusal::AccessDenied), "{refusal}");
        assert_eq!(refusal.kind(), ErrorKind::Denied);
    };
    denied(world.gate.bucket::<ListBucket>(&other, &mine, None).await.map(drop));
    denied(world.gate.bucket::<DeleteBucket>(&other, &mine, Some(account_id(1))).await.map(drop));
    denied(world.gate.object::<PutObject>(&other, &mine, key(), None).await.map(drop));
    denied(world.gate.objects::<DeleteObject>(&other, &mine, [key()], None).await.map(drop));
    // The caller's own condition: another owner than it expects.
    denied(world.gate.bucket::<ListBucket>(&owner, &mine, Some(account_id(2))).await.map(drop));

    let missing = world.gate.bucket::<ListBucket>(&owner, &name("missing"), None).await;
    let missing = missing.map(drop).expect_err("no bucket");
    assert_eq!(
        (missing.kind(), matches!(missing, Refusal::NoSuchBucket)),
        (ErrorKind::NotFound, true)
    );

    let keys = ["a", "b", "a"].map(|k| ObjectKey::new(k).expect("a key"));
    let proofs: Vec<Authorized<DeleteObject>> =
        world.gate.objects(&owner, &mine, keys.clone(), None).await.expect("allowed");
    assert!(proofs.iter().map(|p| &p.resource().key).eq(&keys));
    assert!(proofs.iter().all(|p| p.resource().bucket.id == BucketId::new(1)));

    let own: Authorized<ListAllMyBuckets> = world.gate.own_account(&other);
    assert_eq!(*own.resource(), account_id(2));
    let new: Authorized<CreateBucket> = world.gate.new_bucket(&other, name("new"));
    assert_eq!(new.into_resource().owner, account_id(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_denies_what_it_cannot_read() {
    let world = World::new().await;
    world.put_raw("/buckets/broken", b"{").await;
    world
        .put_raw(
            "/buckets/newer",
            br#"{"v":2,"id":"0000000000000001","owner":"000000000001","created_at_ms":5}"#,
        )
        .await;
    for bucket in ["broken", "newer"] {
        let refusal = world.gate.bucket::<ListBucket>(&principal(1), &name(bucket), None).await;
        let refusal = refusal.map(drop).expect_err("not readable");
        assert!(matches!(refusal, Refusal::Kv(KvError::Corrupt(_))), "{refusal}");
        assert_eq!(refusal.kind(), ErrorKind::Corrupt);
    }
    world.kv.close(std::time::Duration::from_secs(5)).await.expect("closed");
    let refusal = world.gate.bucket::<ListBucket>(&principal(1), &name("mine"), None).await;
    assert_eq!(refusal.map(drop).expect_err("closed").kind(), ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directorys_records_are_these_bytes() {
    let world = World::new().await;
    world.claim("photos", 0x1f, 42).await;
    let golden =
        r#"{"v":1,"id":"000000000000001f","owner":"000000000042","created_at_ms":5}"#.as_bytes();
    for path in ["/buckets/photos", "/tenants/000000000042/buckets/photos"] {
        let found = world.kv.get(&Key::control(path).expect("a key")).await.expect("a read");
        assert_eq!(found.expect("a record").value, golden, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_recorded_once() {
    let world = World::new().await;
    let ensure = async |now| {
        account::ensure(world.kv.as_ref(), world.next_id(), account_id(3), UnixMillis(now)).await
    };
    assert!(ensure(5).await.expect("recorded"));
    assert!(!ensure(9).await.expect("known"));
    let key = Key::control("/tenants/000000000003").expect("a key");
    let found = world.kv.get(&key).await.expect("a read").expect("a record");
    assert_eq!(found.value, r#"{"v":1,"id":"000000000003","created_at_ms":5}"#.as_bytes());
    world.kv.end_session(SESSION).await.expect("ended");
    let fenced = account::ensure(world.kv.as_ref(), world.next_id(), account_id(4), UnixMillis(1));
    assert!(fenced.await.is_err());
}

#[test]
fn credentials_are_found_by_id_and_secrets_are_not_printed() {
    let key = |account, id: &str, secret: &str| AccessKey {
        account: account_id(account),
        id: AccessKeyId::new(id).expect("a key id"),
        secret: Secret::new(secret),
    };
    let keys = [key(1, "AKONE", "first"), key(2, "AKTWO", "second"), key(1, "AKTHREE", "third")];
    let credentials = Credentials::new(keys);
    let found = credentials.find("AKTWO").expect("a key");
    assert_eq!((found.account, found.secret.expose()), (account_id(2), "second"));
    assert!(credentials.find("AKNONE").is_none());
    assert!(credentials.find("").is_none() && credentials.find("AK/ONE").is_none());
    assert_eq!(credentials.accounts().collect::<Vec<_>>(), [account_id(1), account_id(2)]);
    let printed = format!("{credentials:?} {found:?}");
    assert!(!printed.contains("second") && printed.contains("AKTWO"));
}
