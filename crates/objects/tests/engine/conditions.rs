//! Conditions of reads and writes, against real objects.

use objects::*;

use crate::support::*;

fn one(etag: &str) -> Option<EtagCondition> {
    Some(EtagCondition::OneOf(vec![etag.to_owned()]))
}

fn conditional(content: &[u8], conditions: WriteConditions) -> PutRequest {
    PutRequest { conditions, ..request(content) }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_hold_to_their_conditions() {
    let world = World::new().await;
    for len in [SMALL, LARGE] {
        let content = bytes(len, 5);
        let any = || Some(EtagCondition::Any);
        let if_match =
            |if_match| conditional(&content, WriteConditions { if_match, if_none_match: None });
        let if_none = |if_none_match| {
            conditional(&content, WriteConditions { if_match: None, if_none_match })
        };
        let absent = world.try_put("a", if_match(one("x"))).await;
        assert!(matches!(absent, Err(PutError::NoSuchKey)));
        let first = world.try_put("a", if_none(any())).await.expect("the first");
        let second = world.try_put("a", if_none(any())).await;
        assert!(matches!(second, Err(PutError::PreconditionFailed)));
        let wrong = world.try_put("a", if_match(one("x"))).await;
        assert!(matches!(wrong, Err(PutError::PreconditionFailed)));
        world.try_put("a", if_match(one(&first.etag))).await.expect("matches");
        world.try_put("a", if_match(any())).await.expect("there is one");
        assert!(world.delete("a").await);
    }
    assert_eq!(world.check().await.objects, 0);
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_hold_to_their_conditions() {
    let world = World::new().await;
    let written = world.put("a", b"x").await;
    let get = async |conditions| {
        let request = GetRequest { conditions, ..GetRequest::default() };
        let proof = world.on("a").await;
        world.engine.get_object(proof, request).await.map(|found| found.info)
    };
    let same = ReadConditions { if_match: one(&written.etag), ..Default::default() };
    assert!(get(same).await.is_ok());
    let other = ReadConditions { if_match: one("x"), ..Default::default() };
    assert!(matches!(get(other).await, Err(GetError::PreconditionFailed)));
    let unchanged = ReadConditions { if_none_match: one(&written.etag), ..Default::default() };
    match get(unchanged).await {
        Err(GetError::NotModified { etag, last_modified }) => {
            assert_eq!((etag, last_modified), (written.etag, written.last_modified));
        }
        other => panic!("{other:?}"),
    }
    crate::collect::ends_clean(&world).await;
}
