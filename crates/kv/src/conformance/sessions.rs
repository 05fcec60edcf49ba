//! Writer sessions: the fence that collection rests on.

use types::{BatchId, Revision, SessionId, UnixMillis};

use super::{Client, at_once, data, path, under};
use crate::{Batch, Outcome, SessionInfo};

fn batch(number: u64) -> Batch {
    let mut batch = Batch::default();
    batch.put(data(&[b"s", &number.to_be_bytes()]), "x");
    batch
}

/// Another session of the same store.
async fn another(client: &Client, id: u64) -> SessionId {
    let session = SessionId::new(id);
    client.store.open_session(session, "another", UnixMillis(id)).await.expect("opens");
    session
}

async fn info(client: &Client, id: SessionId) -> SessionInfo {
    let sessions = client.store.sessions().await.expect("the store answers");
    assert!(sessions.windows(2).all(|pair| pair[0].id < pair[1].id), "sessions come by id");
    sessions.into_iter().find(|session| session.id == id).expect("the session is listed")
}

pub(super) async fn unknown_and_ended_sessions_are_fenced(client: &Client) {
    let session = SessionId::new(77);
    let id = |sequence| BatchId { session, sequence };
    let commit = async |sequence| {
        client.store.commit(id(sequence), batch(sequence)).await.expect("the store answers")
    };
    assert_eq!(commit(1).await, Outcome::Fenced);
    another(client, 77).await;
    let before = info(client, session).await;
    assert_eq!((before.label.as_str(), before.opened_at), ("another", UnixMillis(77)));
    assert_eq!(before.ended, None);
    assert!(matches!(commit(2).await, Outcome::Committed(_)));
    let ended = client.store.end_session(session).await.expect("ends");
    assert_eq!(info(client, session).await.ended, Some(ended));
    for sequence in [1, 3, 4] {
        assert_eq!(commit(sequence).await, Outcome::Fenced);
    }
    assert_eq!(client.all(&under(b"s")).await.len(), 1);
    client.put(&path("/others"), "live on").await;
}

pub(super) async fn ending_again_gives_the_same_revision(client: &Client) {
    let session = another(client, 78).await;
    let last = client.put(&path("/before"), "x").await;
    let ended = client.store.end_session(session).await.expect("ends");
    assert!(ended > last, "the end is a commit of its own");
    assert!(client.put(&path("/behind"), "x").await > ended);
    let again = at_once(8, |_| {
        let client = client.clone();
        async move { client.store.end_session(session).await.expect("ends") }
    })
    .await;
    assert!(again.iter().all(|revision| *revision == ended), "{again:?} and {ended}");
}

pub(super) async fn ids_are_never_used_again(client: &Client) {
    let session = another(client, 79).await;
    let open = async || client.store.open_session(session, "thief", UnixMillis(0)).await;
    assert!(open().await.is_err());
    client.store.end_session(session).await.expect("ends");
    assert!(open().await.is_err());
    assert_eq!(info(client, session).await.label, "another");
}

pub(super) async fn outcomes_outlive_their_session(client: &Client) {
    let session = another(client, 80).await;
    let id = BatchId { session, sequence: 1 };
    let first = client.store.commit(id, batch(1)).await.expect("the store answers");
    assert!(matches!(first, Outcome::Committed(_)));
    client.store.end_session(session).await.expect("ends");
    let again = client.store.commit(id, batch(1)).await.expect("the store answers");
    assert_eq!(again, first, "what committed before the end was not fenced by it");
}

pub(super) async fn the_oldest_read_only_rises(client: &Client) {
    let session = another(client, 81).await;
    let opened = info(client, session).await.oldest_read;
    assert!(opened <= client.store.revision().await.expect("the store answers"));
    let report = async |revision| {
        client.store.report_oldest_read(session, Revision(revision)).await.expect("is noted");
        info(client, session).await.oldest_read.0
    };
    let base = opened.0 + 100;
    assert_eq!(report(base).await, base);
    assert_eq!(report(base - 1).await, base);
    assert_eq!(report(base + 5).await, base + 5);
}

pub(super) async fn an_end_is_ordered_with_commits(client: &Client) {
    let session = another(client, 82).await;
    let writers = at_once(17, |writer| {
        let client = client.clone();
        async move {
            if writer == 16 {
                while client.all(&under(b"s")).await.len() < 40 {
                    tokio::task::yield_now().await;
                }
                let ended = client.store.end_session(session).await.expect("ends");
                return vec![ended];
            }
            let mut committed = Vec::new();
            for number in 0.. {
                let sequence = writer + 16 * number + 1;
                let id = BatchId { session, sequence };
                match client.store.commit(id, batch(sequence)).await.expect("answers") {
                    Outcome::Committed(revision) => committed.push(revision),
                    Outcome::Fenced => break,
                    other => panic!("{other:?}"),
                }
            }
            committed
        }
    })
    .await;
    let (end, committed) = writers.split_last().expect("writers");
    let committed: Vec<Revision> = committed.concat();
    assert!(committed.iter().all(|revision| *revision < end[0]), "committed behind the end");
    assert_eq!(client.all(&under(b"s")).await.len(), committed.len());
}
