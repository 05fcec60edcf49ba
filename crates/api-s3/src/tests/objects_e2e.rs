//! Objects, listings and uploads, end to end.

use super::matrix::crc32;
use super::support::*;

async fn with_bucket() -> Server {
    let server = Server::start().await;
    server.ask("PUT", "/bucket", b"").await.ok(200);
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets() {
    let server = Server::start().await;
    let made = server.ask("PUT", "/bucket", b"").await;
    assert_eq!(made.ok(200).header("location"), "/bucket");
    server.ask("PUT", "/bucket", b"").await.refused(409, "BucketAlreadyOwnedByYou");
    server.ask("PUT", "/Bucket", b"").await.refused(400, "InvalidBucketName");
    let elsewhere =
        b"<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint>\
                      </CreateBucketConfiguration>";
    server.ask("PUT", "/other", elsewhere).await.refused(400, "IllegalLocationConstraintException");
    server.ask("PUT", "/other", b"<x>").await.refused(400, "MalformedXML");
    let head = server.ask("HEAD", "/bucket", b"").await;
    assert_eq!(head.ok(200).header("x-amz-bucket-region"), REGION);
    let location = server.ask("GET", "/bucket?location=", b"").await;
    assert!(location.ok(200).text().contains("<LocationConstraint xmlns="));
    let versioning = server.ask("GET", "/bucket?versioning=", b"").await;
    assert!(versioning.ok(200).text().ends_with("2006-03-01/\"></VersioningConfiguration>"));
    server.ask("GET", "/absent?versioning=", b"").await.refused(404, "NoSuchBucket");
    let listed = server.ask("GET", "/", b"").await;
    assert_eq!(listed.ok(200).element("Name"), "bucket");
    for name in ["aa1", "aa2", "ab1"] {
        server.ask("PUT", &format!("/{name}"), b"").await.ok(200);
    }
    let page = server.ask("GET", "/?max-buckets=1&prefix=aa", b"").await;
    assert_eq!(page.ok(200).element("Name"), "aa1");
    let token = page.element("ContinuationToken").to_owned();
    let path = format!("/?max-buckets=1&prefix=aa&continuation-token={token}");
    let page = server.ask("GET", &path, b"").await;
    assert_eq!((page.ok(200).element("Name"), page.element("ContinuationToken")), ("aa2", ""));
    server.ask("PUT", "/bucket/k", b"x").await.ok(200);
    server.ask("DELETE", "/bucket", b"").await.refused(409, "BucketNotEmpty");
    server.ask("DELETE", "/bucket/k?versionId=null", b"").await.ok(204);
    server.ask("POST", "/bucket/k?uploads=", b"").await.ok(200);
    server.ask("DELETE", "/bucket", b"").await.ok(204);
    server.ask("GET", "/bucket", b"").await.refused(404, "NoSuchBucket");
    assert_eq!(server.ask("HEAD", "/bucket", b"").await.ok(404).body, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_and_its_headers() {
    let server = with_bucket().await;
    let put = Request::new("PUT", "/bucket/a%20key")
        .header("content-type", "text/plain")
        .header("content-encoding", "gzip")
        .header("content-disposition", "attachment")
        .header("content-language", "de")
        .header("cache-control", "no-cache")
        .header("expires", "never")
        .header("x-amz-meta-colour", "blue")
        .header("x-amz-meta-name", "=?UTF-8?B?w6k=?=")
        .header("x-amz-checksum-crc32", &crc32(b"hello"))
        .header("content-md5", "XUFAKrxLKna5cZ2REBfFkg==")
        .body(b"hello");
    let put = server.send(&put.sign(OWNER)).await;
    assert_eq!(put.ok(200).header("etag"), "\"5d41402abc4b2a76b9719d911017c592\"");
    assert_eq!(put.header("x-amz-checksum-crc32"), crc32(b"hello"));
    for method in ["GET", "HEAD"] {
        let got = server.ask(method, "/bucket/a%20key", b"").await;
        got.ok(200);
        assert_eq!(got.body, if method == "GET" { &b"hello"[..] } else { b"" });
        for (name, value) in [
            ("content-length", "5"),
            ("content-type", "text/plain"),
            ("content-encoding", "gzip"),
            ("content-disposition", "attachment"),
            ("content-language", "de"),
            ("cache-control", "no-cache"),
            ("expires", "never"),
            ("x-amz-meta-colour", "blue"),
            ("x-amz-meta-name", "=?UTF-8?B?w6k=?="),
            ("etag", "\"5d41402abc4b2a76b9719d911017c592\""),
            ("accept-ranges", "bytes"),
            ("x-amz-checksum-crc32", ""),
        ] {
            assert_eq!(got.header(name), value, "{method} {name}");
        }
        let asked =
            Request::new(method, "/bucket/a%20key").header("x-amz-checksum-mode", "ENABLED");
        let got = server.send(&asked.sign(OWNER)).await;
        assert_eq!(got.ok(200).header("x-amz-checksum-crc32"), crc32(b"hello"));
        assert_eq!(got.header("x-amz-checksum-type"), "FULL_OBJECT");
        let path = "/bucket/a%20key?response-content-type=a%2Fb&response-expires=x";
        let got = server.ask(method, path, b"").await;
        assert_eq!((got.ok(200).header("content-type"), got.header("expires")), ("a/b", "x"));
    }
    let plain = server.ask("PUT", "/bucket/plain", b"").await;
    assert_eq!(plain.ok(200).header("x-amz-checksum-crc64nvme"), "");
    let got = server.ask("GET", "/bucket/plain", b"").await;
    assert_eq!(got.ok(200).header("content-type"), "binary/octet-stream");
    assert_eq!(got.header("content-length"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_and_conditions() {
    let server = with_bucket().await;
    let etag =
        server.ask("PUT", "/bucket/k", b"0123456789").await.ok(200).header("etag").to_owned();
    let get = |headers: Vec<(&'static str, String)>| {
        let mut request = Request::new("GET", "/bucket/k");
        for (name, value) in headers {
            request = request.header(name, &value);
        }
        let request = request.sign(OWNER);
        let server = &server;
        async move { server.send(&request).await }
    };
    for (range, expected, content_range) in [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=5-500", "56789", "bytes 5-9/10"),
        ("bytes=-500", "0123456789", "bytes 0-9/10"),
    ] {
        let got = get(vec![("range", range.to_owned())]).await;
        assert_eq!(
            (got.ok(206).text(), got.header("content-range")),
            (expected, content_range),
            "{range}"
        );
    }
    for range in ["bytes=4-2", "bytes=a-b", "bytes=0-1,3-4", "items=0-1"] {
        let got = get(vec![("range", range.to_owned())]).await;
        assert_eq!(got.ok(200).text(), "0123456789", "{range}");
    }
    for range in ["bytes=10-", "bytes=-0", "bytes=99999999999999999999-"] {
        let got = get(vec![("range", range.to_owned())]).await;
        got.refused(416, "InvalidRange");
        assert_eq!((got.element("ActualObjectSize"), got.element("RangeRequested")), ("10", range));
    }
    let past = "Sun, 06 Nov 1994 08:49:37 GMT".to_owned();
    let range = || ("range", "bytes=2-4".to_owned());
    get(vec![("if-match", etag.clone())]).await.ok(200);
    get(vec![("if-match", "\"x\"".to_owned())]).await.refused(412, "PreconditionFailed");
    let same = get(vec![("if-none-match", etag.clone())]).await;
    assert_eq!((same.ok(304).header("etag"), same.body.len()), (etag.as_str(), 0));
    get(vec![("if-unmodified-since", past.clone())]).await.refused(412, "PreconditionFailed");
    get(vec![("if-modified-since", past.clone())]).await.ok(200);
    get(vec![("if-modified-since", "nonsense".to_owned())]).await.ok(200);
    get(vec![range(), ("if-range", etag.clone())]).await.ok(206);
    let changed = get(vec![range(), ("if-range", "\"x\"".to_owned())]).await;
    assert_eq!(changed.ok(200).text(), "0123456789");
    let put = |name: &str, value: &str| {
        let request = Request::new("PUT", "/bucket/k").header(name, value).body(b"new").sign(OWNER);
        let server = &server;
        async move { server.send(&request).await }
    };
    put("if-none-match", "*").await.refused(412, "PreconditionFailed");
    put("if-match", "\"x\"").await.refused(412, "PreconditionFailed");
    put("if-match", &etag).await.ok(200);
    let absent = Request::new("PUT", "/bucket/absent").header("if-match", "*").body(b"x");
    server.send(&absent.sign(OWNER)).await.refused(404, "NoSuchKey");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bodies() {
    let server = with_bucket().await;
    let put = |headers: &[(&str, &str)]| {
        let mut request = Request::new("PUT", "/bucket/k").body(b"hello");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.sign(OWNER);
        let server = &server;
        async move { server.send(&request).await }
    };
    put(&[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")]).await.refused(400, "BadDigest");
    put(&[("content-md5", "nonsense")]).await.refused(400, "InvalidDigest");
    put(&[("x-amz-checksum-crc32", "AAAAAA==")]).await.refused(400, "BadDigest");
    put(&[("x-amz-checksum-crc32", "AAAA")]).await.refused(400, "InvalidRequest");
    put(&[("x-amz-sdk-checksum-algorithm", "CRC32")]).await.refused(400, "InvalidRequest");
    put(&[("x-amz-checksum-sha512", "AAAA")]).await.refused(501, "NotImplemented");
    put(&[("x-amz-server-side-encryption", "AES256")]).await.refused(501, "NotImplemented");
    put(&[("x-amz-expected-bucket-owner", "000000000002")]).await.refused(403, "AccessDenied");
    put(&[("x-amz-meta-k", &"v".repeat(2049))]).await.refused(400, "MetadataTooLarge");
    let long = format!("/bucket/{}", "k".repeat(1025));
    server.ask("PUT", &long, b"x").await.refused(400, "KeyTooLongError");
    server.ask("GET", "/bucket/k", b"").await.refused(404, "NoSuchKey");

    let unsized_request = Request::new("PUT", "/bucket/k")
        .header("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
        .sign(OWNER)
        .header("transfer-encoding", "chunked");
    let mut connection = server.connect().await;
    connection.write(&unsized_request.head(None)).await;
    connection.write(b"5\r\nhello\r\n0\r\n\r\n").await;
    connection.read("PUT").await.refused(411, "MissingContentLength");

    let large = Request::new("PUT", "/bucket/k").header("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    let mut connection = server.connect().await;
    let request = large.sign(OWNER).header("expect", "100-continue");
    connection.write(&request.head(Some(6 << 30))).await;
    connection.read("PUT").await.refused(400, "EntityTooLarge");
}

#[tokio::test(flavor = "multi_thread")]
async fn chunked_bodies() {
    use crate::body::{ChunkSigner, hex};
    let server = with_bucket().await;
    let data = vec![b'a'; 20_000];
    let put = |payload: &'static str, trailer: bool| {
        let mut request = Request::new("PUT", "/bucket/k")
            .header("x-amz-content-sha256", payload)
            .header("content-encoding", "aws-chunked")
            .header("x-amz-decoded-content-length", "20000");
        if trailer {
            request = request.header("x-amz-trailer", "x-amz-checksum-crc32");
        }
        request.sign(OWNER)
    };
    let frame = |request: &Request, signed: bool, trailer: bool, damage: bool| {
        let date = request.date.clone();
        let mut signer = signed
            .then(|| ChunkSigner::new(OWNER.secret, &date[..8], REGION, &date, &request.signature));
        let mut wire = Vec::new();
        for chunk in [&data[..9000], &data[9000..], &[]] {
            let extension = signer.as_mut().map(|s| {
                let tail = ChunkSigner::chunk_tail(chunk);
                format!(";chunk-signature={}", s.sign("AWS4-HMAC-SHA256-PAYLOAD", &tail))
            });
            wire.extend_from_slice(
                format!("{:x}{}\r\n", chunk.len(), extension.unwrap_or_default()).as_bytes(),
            );
            wire.extend_from_slice(chunk);
            if !chunk.is_empty() {
                wire.extend_from_slice(b"\r\n");
            }
        }
        if trailer {
            let line = format!("x-amz-checksum-crc32:{}", crc32(&data));
            wire.extend_from_slice(format!("{line}\r\n").as_bytes());
            if let Some(signer) = &mut signer {
                let hash = aws_lc_rs::digest::digest(
                    &aws_lc_rs::digest::SHA256,
                    format!("{line}\n").as_bytes(),
                );
                let signature = signer.sign("AWS4-HMAC-SHA256-TRAILER", &hex(hash.as_ref()));
                wire.extend_from_slice(
                    format!("x-amz-trailer-signature:{signature}\r\n").as_bytes(),
                );
            }
        }
        wire.extend_from_slice(b"\r\n");
        if damage {
            let at = wire.len() / 2;
            wire[at] ^= 1;
        }
        wire
    };
    for (payload, signed, trailer) in [
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", true, false),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", true, true),
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", false, true),
    ] {
        let mut request = put(payload, trailer);
        request.body = frame(&request, signed, trailer, true);
        let answer = server.send(&request).await;
        answer.refused(
            if signed { 403 } else { 400 },
            if signed { "SignatureDoesNotMatch" } else { "BadDigest" },
        );
        server.ask("GET", "/bucket/k", b"").await.refused(404, "NoSuchKey");

        request.body = frame(&request, signed, trailer, false);
        let answer = server.send(&request).await;
        let expected = if trailer { crc32(&data) } else { String::new() };
        assert_eq!(answer.ok(200).header("x-amz-checksum-crc32"), expected, "{payload}");
        let got = server.ask("GET", "/bucket/k", b"").await;
        assert_eq!(got.ok(200).body, data);
        assert_eq!(got.header("content-encoding"), "");
        server.ask("DELETE", "/bucket/k", b"").await.ok(204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listings() {
    let server = with_bucket().await;
    for key in ["a", "a/b", "a/c", "b%20%26%3C", "d/%2E%2E/x", "%F0%9F%A6%80"] {
        server.ask("PUT", &format!("/bucket/{key}"), b"x").await.ok(200);
    }
    let all = server.ask("GET", "/bucket?list-type=2", b"").await;
    assert_eq!((all.ok(200).element("KeyCount"), all.element("IsTruncated")), ("6", "false"));
    assert!(
        all.text().contains("<Key>b &amp;&lt;</Key>") && all.text().contains("<Key>d/../x</Key>")
    );
    assert!(!all.text().contains("<Owner>"));
    let encoded =
        server.ask("GET", "/bucket?list-type=2&encoding-type=url&fetch-owner=true", b"").await;
    assert!(encoded.ok(200).text().contains("<Key>b%20%26%3C</Key>"));
    assert!(
        encoded.text().contains("<Key>%F0%9F%A6%80</Key>") && encoded.text().contains("<Owner>")
    );
    let rolled = server.ask("GET", "/bucket?list-type=2&delimiter=%2F", b"").await;
    assert_eq!(rolled.ok(200).element("KeyCount"), "5");
    assert!(rolled.text().contains("<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>"));

    let mut keys = Vec::new();
    let mut token = String::new();
    loop {
        let page = server.ask("GET", &format!("/bucket?list-type=2&max-keys=2{token}"), b"").await;
        let text = page.ok(200).text();
        keys.extend(
            text.split("<Key>").skip(1).map(|k| k.split("</Key>").next().unwrap_or("").to_owned()),
        );
        if page.element("IsTruncated") == "false" {
            break;
        }
        token = format!("&continuation-token={}", page.element("NextContinuationToken"));
    }
    assert_eq!(keys, ["a", "a/b", "a/c", "b &amp;&lt;", "d/../x", "🦀"]);
    let after = server.ask("GET", "/bucket?list-type=2&start-after=a%2Fc", b"").await;
    assert_eq!((after.ok(200).element("KeyCount"), after.element("StartAfter")), ("3", "a/c"));

    let first = server.ask("GET", "/bucket?max-keys=2&delimiter=%2F", b"").await;
    assert_eq!((first.ok(200).element("IsTruncated"), first.element("NextMarker")), ("true", "a/"));
    let second = server.ask("GET", "/bucket?max-keys=2&delimiter=%2F&marker=a%2F", b"").await;
    assert_eq!(second.ok(200).element("Key"), "b &amp;&lt;");
    let plain = server.ask("GET", "/bucket?max-keys=2", b"").await;
    assert_eq!((plain.ok(200).element("NextMarker"), plain.element("MaxKeys")), ("", "2"));
    let none = server.ask("GET", "/bucket?max-keys=0", b"").await;
    assert_eq!((none.ok(200).element("IsTruncated"), none.element("Key")), ("false", ""));
    let clamped = server.ask("GET", "/bucket?max-keys=5000", b"").await;
    assert_eq!(clamped.ok(200).element("MaxKeys"), "1000");
    for bad in
        ["max-keys=-1", "max-keys=x", "encoding-type=xml", "list-type=2&continuation-token=x"]
    {
        server.ask("GET", &format!("/bucket?{bad}"), b"").await.refused(400, "InvalidArgument");
    }
    let long = "p".repeat(3000);
    let nothing = server.ask("GET", &format!("/bucket?prefix={long}"), b"").await;
    assert_eq!(nothing.ok(200).element("Key"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes() {
    let server = with_bucket().await;
    for key in ["a", "b", "c"] {
        server.ask("PUT", &format!("/bucket/{key}"), b"x").await.ok(200);
    }
    server.ask("DELETE", "/bucket/never", b"").await.ok(204);
    let order = b"<Delete><Object><Key>a</Key></Object><Object><Key>never</Key></Object>\
                  <Object><Key>b</Key><VersionId>9</VersionId></Object></Delete>";
    server.ask("POST", "/bucket?delete=", order).await.refused(400, "InvalidRequest");
    let with_digest = |body: &[u8]| {
        let request = Request::new("POST", "/bucket?delete=")
            .header("x-amz-checksum-crc32", &crc32(body))
            .body(body)
            .sign(OWNER);
        let server = &server;
        async move { server.send(&request).await }
    };
    let result = with_digest(order).await;
    let text = result.ok(200).text();
    assert!(
        text.contains("<Deleted><Key>a</Key></Deleted><Deleted><Key>never</Key></Deleted>"),
        "{text}"
    );
    assert!(
        text.contains("<Error><Key>b</Key><VersionId>9</VersionId><Code>NoSuchVersion</Code>"),
        "{text}"
    );
    server.ask("GET", "/bucket/a", b"").await.refused(404, "NoSuchKey");
    server.ask("GET", "/bucket/b", b"").await.ok(200);
    let quiet =
        with_digest(b"<Delete><Quiet>true</Quiet><Object><Key>b</Key></Object></Delete>").await;
    assert!(!quiet.ok(200).text().contains("<Deleted>"));
    server.ask("GET", "/bucket/b", b"").await.refused(404, "NoSuchKey");
    let wrong = Request::new("POST", "/bucket?delete=")
        .header("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")
        .body(b"<Delete><Object><Key>c</Key></Object></Delete>");
    server.send(&wrong.sign(OWNER)).await.refused(400, "BadDigest");
    with_digest(b"<Delete></Delete>").await.refused(400, "MalformedXML");
    with_digest(b"<Delete><Object>").await.refused(400, "MalformedXML");
    server.ask("GET", "/bucket/c", b"").await.ok(200);
    let conditional = Request::new("DELETE", "/bucket/c").header("if-match", "\"x\"");
    server.send(&conditional.sign(OWNER)).await.refused(501, "NotImplemented");
    server.ask("GET", "/bucket/c", b"").await.ok(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn copies() {
    let server = with_bucket().await;
    let put = Request::new("PUT", "/bucket/..%2Fa").header("x-amz-meta-k", "v").body(b"body");
    server.send(&put.sign(OWNER)).await.ok(200);
    let copy = |target: &str, headers: &[(&str, &str)]| {
        let mut request = Request::new("PUT", target);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.sign(OWNER);
        let server = &server;
        async move { server.send(&request).await }
    };
    let source = ("x-amz-copy-source", "bucket/../a");
    let copied = copy("/bucket/b", &[source]).await;
    assert_eq!(copied.ok(200).element("ETag"), "&quot;841a2d689ad86bd1611447453c22c6fc&quot;");
    let got = server.ask("GET", "/bucket/b", b"").await;
    assert_eq!((got.ok(200).text(), got.header("x-amz-meta-k")), ("body", "v"));
    let replace = ("x-amz-metadata-directive", "REPLACE");
    let b = ("x-amz-copy-source", "/bucket/b?versionId=null");
    copy("/bucket/b", &[b]).await.refused(400, "InvalidRequest");
    copy("/bucket/b", &[b, replace, ("x-amz-meta-k", "w")]).await.ok(200);
    let got = server.ask("GET", "/bucket/b", b"").await;
    assert_eq!((got.ok(200).text(), got.header("x-amz-meta-k")), ("body", "w"));
    copy("/bucket/c", &[("x-amz-copy-source", "bucket/none")]).await.refused(404, "NoSuchKey");
    copy("/bucket/c", &[("x-amz-copy-source", "nowhere/k")]).await.refused(404, "NoSuchBucket");
    copy("/bucket/c", &[("x-amz-copy-source", "bucket")]).await.refused(400, "InvalidArgument");
    copy("/bucket/c", &[source, ("x-amz-metadata-directive", "X")])
        .await
        .refused(400, "InvalidArgument");
    let stale = ("x-amz-copy-source-if-match", "\"x\"");
    copy("/bucket/c", &[source, stale]).await.refused(412, "PreconditionFailed");
    let owner = ("x-amz-source-expected-bucket-owner", "000000000002");
    copy("/bucket/c", &[source, owner]).await.refused(403, "AccessDenied");
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads() {
    let server = with_bucket().await;
    let begun =
        Request::new("POST", "/bucket/big?uploads=").header("x-amz-meta-k", "v").sign(OWNER);
    let begun = server.send(&begun).await;
    let id = begun.ok(200).element("UploadId").to_owned();
    let listed = server.ask("GET", "/bucket?uploads=", b"").await;
    assert_eq!((listed.ok(200).element("UploadId"), listed.element("Key")), (id.as_str(), "big"));
    let first = vec![b'1'; 5 << 20];
    let part = |n: u32| format!("/bucket/big?partNumber={n}&uploadId={id}");
    let one = server.ask("PUT", &part(1), &first).await.ok(200).header("etag").to_owned();
    server.ask("PUT", "/bucket/src", b"0123456789").await.ok(200);
    let copy = Request::new("PUT", &part(2))
        .header("x-amz-copy-source", "bucket/src")
        .header("x-amz-copy-source-range", "bytes=2-4");
    let two = server.send(&copy.sign(OWNER)).await;
    let two = two.ok(200).element("ETag").replace("&quot;", "\"");
    server
        .ask("PUT", "/bucket/big?partNumber=0&uploadId=x", b"")
        .await
        .refused(404, "NoSuchUpload");
    server.ask("PUT", &part(0), b"").await.refused(400, "InvalidArgument");
    server.ask("PUT", &part(10_001), b"").await.refused(400, "InvalidArgument");
    let beyond = Request::new("PUT", &part(3))
        .header("x-amz-copy-source", "bucket/src")
        .header("x-amz-copy-source-range", "bytes=2-40");
    server.send(&beyond.sign(OWNER)).await.refused(400, "InvalidArgument");
    let parts = server.ask("GET", &format!("/bucket/big?uploadId={id}&max-parts=1"), b"").await;
    assert_eq!((parts.ok(200).element("PartNumber"), parts.element("IsTruncated")), ("1", "true"));
    assert_eq!(parts.element("NextPartNumberMarker"), "1");

    let document = |parts: &[(u32, &str)]| {
        let parts: String = parts
            .iter()
            .map(|(n, e)| format!("<Part><PartNumber>{n}</PartNumber><ETag>{e}</ETag></Part>"))
            .collect();
        format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>").into_bytes()
    };
    let path = format!("/bucket/big?uploadId={id}");
    let complete = |body: Vec<u8>| {
        let (server, path) = (&server, path.clone());
        async move { server.ask("POST", &path, &body).await }
    };
    complete(b"".to_vec()).await.refused(400, "MalformedXML");
    complete(document(&[])).await.refused(400, "MalformedXML");
    complete(document(&[(2, &two), (1, &one)])).await.refused(400, "InvalidPartOrder");
    complete(document(&[(1, "\"x\"")])).await.refused(400, "InvalidPart");
    complete(document(&[(1, &one), (7, &one)])).await.refused(400, "InvalidPart");
    let done = complete(document(&[(1, &one), (2, &two)])).await;
    assert!(done.ok(200).element("ETag").ends_with("-2&quot;"), "{}", done.text());
    assert_eq!(done.element("Location"), "http://127.0.0.1/bucket/big");

    let whole = server.ask("GET", "/bucket/big", b"").await;
    assert_eq!(whole.ok(200).body.len(), (5 << 20) + 3);
    assert!(whole.body.ends_with(b"1234"));
    assert_eq!(whole.header("x-amz-meta-k"), "v");
    let by_part = server.ask("GET", "/bucket/big?partNumber=2", b"").await;
    assert_eq!((by_part.ok(206).text(), by_part.header("x-amz-mp-parts-count")), ("234", "2"));
    assert_eq!(by_part.header("content-range"), "bytes 5242880-5242882/5242883");
    let head = server.ask("HEAD", "/bucket/big?partNumber=1", b"").await;
    assert_eq!(head.ok(206).header("content-length"), "5242880");
    server.ask("GET", "/bucket/big?partNumber=3", b"").await.refused(416, "InvalidPartNumber");
    let both = Request::new("GET", "/bucket/big?partNumber=1").header("range", "bytes=0-1");
    server.send(&both.sign(OWNER)).await.refused(400, "InvalidRequest");

    let begun = server.ask("POST", "/bucket/gone?uploads=", b"").await;
    let path = format!("/bucket/gone?uploadId={}", begun.ok(200).element("UploadId"));
    server.ask("DELETE", &path, b"").await.ok(204);
    server.ask("DELETE", &path, b"").await.refused(404, "NoSuchUpload");
    server.ask("GET", &path, b"").await.refused(404, "NoSuchUpload");
}

#[tokio::test(flavor = "multi_thread")]
async fn small_parts_and_checksums_of_uploads() {
    let server = with_bucket().await;
    let begun = Request::new("POST", "/bucket/big?uploads=")
        .header("x-amz-checksum-algorithm", "CRC32")
        .header("x-amz-checksum-type", "FULL_OBJECT")
        .sign(OWNER);
    let begun = server.send(&begun).await;
    assert_eq!(begun.ok(200).header("x-amz-checksum-algorithm"), "CRC32");
    let id = begun.element("UploadId").to_owned();
    let mut etags = Vec::new();
    for number in [1, 2] {
        let path = format!("/bucket/big?partNumber={number}&uploadId={id}");
        let part = Request::new("PUT", &path)
            .header("x-amz-checksum-crc32", &crc32(b"tiny"))
            .body(b"tiny");
        etags.push(server.send(&part.sign(OWNER)).await.ok(200).header("etag").to_owned());
    }
    let part = |n: usize| {
        format!("<Part><PartNumber>{n}</PartNumber><ETag>{}</ETag></Part>", etags[n - 1])
    };
    let complete = |body: String, checksum: Option<String>| {
        let body = format!("<CompleteMultipartUpload>{body}</CompleteMultipartUpload>");
        let mut request =
            Request::new("POST", &format!("/bucket/big?uploadId={id}")).body(body.as_bytes());
        if let Some(checksum) = checksum {
            request = request.header("x-amz-checksum-crc32", &checksum);
        }
        let request = request.sign(OWNER);
        let server = &server;
        async move { server.send(&request).await }
    };
    let small = complete(part(1) + &part(2), None).await;
    small.refused(400, "EntityTooSmall");
    assert_eq!((small.element("PartNumber"), small.element("ProposedSize")), ("1", "4"));
    complete(part(1), Some("AAAAAA==".to_owned())).await.refused(400, "BadDigest");
    let done = complete(part(1), Some(crc32(b"tiny"))).await;
    assert_eq!(done.ok(200).element("ChecksumCRC32"), crc32(b"tiny"));
    let get =
        Request::new("GET", "/bucket/big").header("x-amz-checksum-mode", "ENABLED").sign(OWNER);
    let got = server.send(&get).await;
    assert_eq!(
        (got.ok(200).text(), got.header("x-amz-checksum-crc32")),
        ("tiny", crc32(b"tiny").as_str())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_built_says_so() {
    let server = with_bucket().await;
    server.ask("PUT", "/bucket/k", b"x").await.ok(200);
    for (method, path) in [
        ("GET", "/bucket?acl="),
        ("PUT", "/bucket?policy="),
        ("PUT", "/bucket?versioning="),
        ("PUT", "/bucket/k?tagging="),
        ("PUT", "/bucket?lifecycle="),
        ("GET", "/bucket?cors="),
        ("GET", "/bucket?versions="),
        ("GET", "/bucket/k?attributes="),
        ("PUT", "/bucket/k?retention="),
    ] {
        server.ask(method, path, b"").await.refused(501, "NotImplemented");
    }
    server.ask("GET", "/bucket/k?versionId=3", b"").await.refused(404, "NoSuchVersion");
    server.ask("GET", "/bucket/k?versionId=null", b"").await.ok(200);
    server.ask("PATCH", "/bucket/k", b"").await.refused(405, "MethodNotAllowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_keys_and_virtual_hosts() {
    let server = with_bucket().await;
    for key in [
        "a",
        "a/b",
        "%2E%2E/%2E%2E/x",
        "/lead",
        "//",
        "a%2Bb",
        "%0A%01",
        "%F0%9F%A6%80",
        "a%3Fb%23c%25",
    ] {
        let path = format!("/bucket/{key}");
        server.ask("PUT", &path, key.as_bytes()).await.ok(200);
        assert_eq!(server.ask("GET", &path, b"").await.ok(200).text(), key);
    }
    let request = Request::new("GET", "/a/b").header("host", "bucket.localhost:9000").sign(OWNER);
    assert_eq!(server.send(&request).await.ok(200).text(), "a/b");
    let request = Request::new("GET", "/").header("host", "bucket.localhost").sign(OWNER);
    assert_eq!(server.send(&request).await.ok(200).element("Name"), "bucket");
}
