//! Every operation × {nobody, a key that is not known, a wrong secret, another account, the owner}: a denial never
//! reaches the store behind the directory of buckets.

use super::support::*;
use crate::ops::Operation;

const UPLOAD: &str = "uploadId=00000000000000000000000000000001";

/// A request for each operation, on a bucket and an object of the owner.
fn request_for(operation: Operation) -> Request {
    let complete =
        b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>a</ETag></Part>\
                     </CompleteMultipartUpload>";
    let delete = b"<Delete><Object><Key>k</Key></Object></Delete>";
    match operation {
        Operation::ListBuckets => Request::new("GET", "/"),
        Operation::CreateBucket => Request::new("PUT", "/theirs"),
        Operation::HeadBucket => Request::new("HEAD", "/theirs"),
        Operation::GetBucketLocation => Request::new("GET", "/theirs?location="),
        Operation::GetBucketVersioning => Request::new("GET", "/theirs?versioning="),
        Operation::DeleteBucket => Request::new("DELETE", "/theirs"),
        Operation::ListObjects => Request::new("GET", "/theirs"),
        Operation::ListObjectsV2 => Request::new("GET", "/theirs?list-type=2"),
        Operation::PutObject => Request::new("PUT", "/theirs/k").body(b"new"),
        Operation::GetObject => Request::new("GET", "/theirs/k"),
        Operation::HeadObject => Request::new("HEAD", "/theirs/k"),
        Operation::CopyObject => {
            Request::new("PUT", "/theirs/copy").header("x-amz-copy-source", "/theirs/k")
        }
        Operation::DeleteObject => Request::new("DELETE", "/theirs/k"),
        Operation::DeleteObjects => Request::new("POST", "/theirs?delete=")
            .header("x-amz-checksum-crc32", &crc32(delete))
            .body(delete),
        Operation::CreateMultipartUpload => Request::new("POST", "/theirs/k?uploads="),
        Operation::UploadPart => {
            Request::new("PUT", &format!("/theirs/k?partNumber=1&{UPLOAD}")).body(b"part")
        }
        Operation::UploadPartCopy => {
            Request::new("PUT", &format!("/theirs/k?partNumber=1&{UPLOAD}"))
                .header("x-amz-copy-source", "/theirs/k")
        }
        Operation::CompleteMultipartUpload => {
            Request::new("POST", &format!("/theirs/k?{UPLOAD}")).body(complete)
        }
        Operation::AbortMultipartUpload => Request::new("DELETE", &format!("/theirs/k?{UPLOAD}")),
        Operation::ListParts => Request::new("GET", &format!("/theirs/k?{UPLOAD}")),
        Operation::ListMultipartUploads => Request::new("GET", "/theirs?uploads="),
    }
}

pub(super) fn crc32(bytes: &[u8]) -> String {
    use base64::Engine as _;
    use s3s::crypto::Checksum as _;
    base64::engine::general_purpose::STANDARD.encode(s3s::crypto::Crc32::checksum(bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_for_everybody() {
    let server = Server::start().await;
    server.ask("PUT", "/theirs", b"").await.ok(200);
    server.ask("PUT", "/theirs/k", b"old").await.ok(200);
    server.calls.take();
    for operation in Operation::ALL.iter().copied() {
        let request = request_for(operation);
        let name = operation.name();
        let unknown = Identity2 { key: "NOSUCHKEY", secret: OWNER.secret };
        let wrong = Identity2 { key: OWNER.key, secret: "a guess" };
        let presigned = |identity| request.clone().presign(identity, 60);
        for (who, request, code) in [
            ("nobody", request.clone(), "AccessDenied"),
            ("unknown", request.clone().sign(unknown), "InvalidAccessKeyId"),
            ("wrong", request.clone().sign(wrong), "SignatureDoesNotMatch"),
            ("presigned unknown", presigned(unknown), "InvalidAccessKeyId"),
            ("presigned wrong", presigned(wrong), "SignatureDoesNotMatch"),
        ] {
            let answer = server.send(&request).await;
            assert_eq!(answer.status, 403, "{name} by {who}: {answer:?}");
            if request.method != "HEAD" {
                answer.refused(403, code);
            }
            let reached = server.calls.take();
            assert_eq!(reached, (0, vec![]), "{name} by {who} reached the store");
        }
        for request in [request.clone().sign(OTHER), presigned(OTHER)] {
            let answer = server.send(&request).await;
            let (_, others) = server.calls.take();
            match operation {
                Operation::ListBuckets => {
                    assert!(!answer.ok(200).text().contains("theirs"));
                }
                Operation::CreateBucket => {
                    answer.refused(409, "BucketAlreadyExists");
                }
                _ => {
                    assert_eq!(answer.status, 403, "{name} by another account: {answer:?}");
                    assert!(others.is_empty(), "{name} by another account reached {others:?}");
                }
            }
        }
    }
    let unchanged = server.ask("GET", "/theirs/k", b"").await;
    assert_eq!(unchanged.ok(200).body, b"old");
    for operation in Operation::ALL.iter().copied() {
        let answer = server.send(&request_for(operation).sign(OWNER)).await;
        assert_ne!(answer.status, 403, "{} by the owner: {answer:?}", operation.name());
        assert_ne!(answer.status / 100, 5, "{} by the owner: {answer:?}", operation.name());
    }
}

/// A presigned PUT must not become a copy, whatever is added to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_presigned_put_stays_a_put() {
    let server = Server::start().await;
    server.ask("PUT", "/theirs", b"").await.ok(200);
    server.ask("PUT", "/theirs/secret", b"secret").await.ok(200);
    let presigned = Request::new("PUT", "/theirs/open").presign(OWNER, 60);
    let attack = presigned.clone().header("x-amz-copy-source", "/theirs/secret");
    let answer = server.send(&attack).await;
    answer.refused(403, "AccessDenied");
    assert_eq!(answer.element("HeadersNotSigned"), "x-amz-copy-source");
    server.ask("GET", "/theirs/open", b"").await.refused(404, "NoSuchKey");
    server.send(&presigned.body(b"public")).await.ok(200);
    assert_eq!(server.ask("GET", "/theirs/open", b"").await.ok(200).body, b"public");
}

/// Nothing of a signed request may be changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_request_is_refused() {
    let server = Server::start().await;
    server.ask("PUT", "/theirs", b"").await.ok(200);
    let signed =
        Request::new("PUT", "/theirs/k").header("x-amz-meta-a", "1").body(b"body").sign(OWNER);
    let mut changes: Vec<(&str, Request)> = Vec::new();
    let mut change = |what, f: &dyn Fn(&mut Request)| {
        let mut request = signed.clone();
        f(&mut request);
        changes.push((what, request));
    };
    change("method", &|r| r.method = "POST");
    change("path", &|r| r.path = "/theirs/l".to_owned());
    change("query", &|r| r.query.push(("x".to_owned(), String::new())));
    change("header", &|r| {
        r.headers
            .iter_mut()
            .filter(|(n, _)| n == "x-amz-meta-a")
            .for_each(|(_, v)| *v = "2".to_owned());
    });
    change("host", &|r| {
        r.headers.iter_mut().filter(|(n, _)| n == "host").for_each(|(_, v)| *v = "h".to_owned());
    });
    for (what, request) in changes {
        let answer = server.send(&request).await;
        assert!([403, 405].contains(&answer.status), "{what}: {answer:?}");
    }
    let mut body = signed.clone();
    body.body = b"BODY".to_vec();
    server.send(&body).await.refused(400, "XAmzContentSHA256Mismatch");
    server.ask("GET", "/theirs/k", b"").await.refused(404, "NoSuchKey");
    server.send(&signed).await.ok(200);
}
