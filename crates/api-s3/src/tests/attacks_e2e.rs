//! Requests that mean harm, each against the whole face: heads that two parsers could read differently, signatures
//! taken from another request, names and ids from another place, and documents that cost more than they weigh.

use std::time::Duration;

use super::matrix::crc32;
use super::support::*;

async fn with_bucket() -> Server {
    let server = Server::start().await;
    server.ask("PUT", "/bucket", b"").await.ok(200);
    server
}

/// Everything that comes until the server closes or falls silent.
async fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut connection = server.connect().await;
    connection.write(bytes).await;
    let mut answer = Vec::new();
    let all = async {
        while let Ok(1..) =
            tokio::io::AsyncReadExt::read_buf(&mut connection.stream, &mut answer).await
        {}
    };
    let _ = tokio::time::timeout(Duration::from_millis(700), all).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// `head` with `line` put in front of its empty line.
fn with_line(head: Vec<u8>, line: &str) -> Vec<u8> {
    let text = String::from_utf8(head).expect("ASCII");
    let text = text.strip_suffix("\r\n").expect("an empty line");
    format!("{text}{line}\r\n\r\n").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_can_be_read_in_two_ways_are_refused() {
    let server = with_bucket().await;
    let put = Request::new("PUT", "/bucket/k").body(b"hello").sign(OWNER);
    for line in [
        "content-length: 4",
        "content-length: 5, 5",
        "content-length: +5",
        "content-length : 5",
        "x: a\r\n b",
        "x: a\0b",
        "host: other",
        "host: 127.0.0.1",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: identity",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked",
        "x-amz-date: 20130524T000000Z",
        "x-amz-content-sha256: UNSIGNED-PAYLOAD",
        "authorization: AWS4-HMAC-SHA256 x",
    ] {
        let mut bytes = with_line(put.head(Some(5)), line);
        bytes.extend_from_slice(b"hello");
        let answer = raw(&server, &bytes).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{line}: {answer}");
        server.ask("GET", "/bucket/k", b"").await.refused(404, "NoSuchKey");
    }
}

/// What lies behind a body is never taken for a request of its own.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_smuggled_behind_a_body() {
    let server = with_bucket().await;
    let get = Request::new("GET", "/").sign(OWNER);
    let smuggled = String::from_utf8(Request::new("GET", "/").sign(OWNER).to_bytes());
    let smuggled = smuggled.expect("ASCII");
    for line in ["transfer-encoding: chunked", "Transfer-Encoding:\tchunked"] {
        let mut bytes = with_line(get.head(Some(5 + smuggled.len())), line);
        bytes.extend_from_slice(format!("0\r\n\r\n{smuggled}").as_bytes());
        let answer = raw(&server, &bytes).await;
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{line}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_needs_a_host() {
    let server = with_bucket().await;
    let mut request = Request::new("GET", "/");
    request.headers.clear();
    let answer = raw(&server, &request.sign(OWNER).to_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_presigned_url_is_for_one_method_one_place_and_one_query() {
    let server = with_bucket().await;
    server.ask("PUT", "/bucket/k", b"body").await.ok(200);
    let get = Request::new("GET", "/bucket/k").presign(OWNER, 60);
    server.send(&get).await.ok(200);
    type Change = (&'static str, fn(&mut Request));
    let changes: [Change; 9] = [
        ("HEAD", |r| r.method = "HEAD"),
        ("DELETE", |r| r.method = "DELETE"),
        ("other key", |r| r.path = "/bucket/l".to_owned()),
        ("virtual host", |r| {
            r.path = "/k".to_owned();
            r.headers = vec![("host".to_owned(), "bucket.localhost".to_owned())];
        }),
        ("override", |r| r.query.push(("response-content-type".into(), "text/html".into()))),
        ("longer", |r| {
            r.query.iter_mut().filter(|q| q.0 == "X-Amz-Expires").for_each(|q| q.1 = "600".into())
        }),
        ("twice", |r| r.query.push(("X-Amz-Expires".into(), "600".into()))),
        ("copy source", |r| r.query.push(("X-Amz-Copy-Source".into(), "bucket%2Fk".into()))),
        ("both", |r| *r = r.clone().sign(OWNER)),
    ];
    for (what, change) in changes {
        let mut request = get.clone();
        change(&mut request);
        let answer = server.send(&request).await;
        assert!([400, 403].contains(&answer.status), "{what}: {answer:?}");
    }
    server.send(&get).await.ok(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn line_breaks_do_not_reach_a_reply() {
    let server = with_bucket().await;
    let evil = "a%0D%0Ax-evil%3A%201";
    let put = Request::new("PUT", &format!("/bucket/k?X-Amz-Meta-A={evil}"));
    server.send(&put.body(b"b").presign(OWNER, 60)).await.refused(400, "InvalidArgument");
    server.ask("PUT", "/bucket/k", b"b").await.ok(200);
    for name in ["type", "disposition", "encoding", "language"] {
        let path = format!("/bucket/k?response-content-{name}={evil}");
        let answer = server.ask("GET", &path, b"").await;
        assert_eq!(answer.ok(200).header("x-evil"), "", "{name}");
    }
    for path in
        [format!("/bucket/{evil}"), format!("/{evil}/k"), format!("/bucket?list-type={evil}")]
    {
        let answer = server.ask("GET", &path, b"").await;
        assert_eq!((answer.status / 100, answer.header("x-evil")), (4, ""), "{path}");
    }
}

/// An upload's id opens only the place that the upload was begun for.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_id_is_good_for_its_own_key_only() {
    let server = with_bucket().await;
    server.ask("PUT", "/bucket-2", b"").await.ok(200);
    server.ask("PUT", "/bucket/source", b"source").await.ok(200);
    let begun = server.ask("POST", "/bucket/k?uploads=", b"").await;
    let id = begun.ok(200).element("UploadId").to_owned();
    let part = server.ask("PUT", &format!("/bucket/k?partNumber=1&uploadId={id}"), b"p").await;
    let complete = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part>\
         </CompleteMultipartUpload>",
        part.ok(200).header("etag")
    );
    for place in ["/bucket/l", "/bucket-2/k", "/bucket/k/"] {
        let put = format!("{place}?partNumber=1&uploadId={id}");
        let all = format!("{place}?uploadId={id}");
        let copy = Request::new("PUT", &put).header("x-amz-copy-source", "/bucket/source");
        server.ask("PUT", &put, b"other").await.refused(404, "NoSuchUpload");
        server.send(&copy.sign(OWNER)).await.refused(404, "NoSuchUpload");
        server.ask("GET", &all, b"").await.refused(404, "NoSuchUpload");
        server.ask("DELETE", &all, b"").await.refused(404, "NoSuchUpload");
        server.ask("POST", &all, complete.as_bytes()).await.refused(404, "NoSuchUpload");
    }
    server.ask("POST", &format!("/bucket/k?uploadId={id}"), complete.as_bytes()).await.ok(200);
    assert_eq!(server.ask("GET", "/bucket/k", b"").await.ok(200).body, b"p");
}

/// A copy needs the right to read, whoever owns the target.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_copies_what_is_not_theirs() {
    let server = with_bucket().await;
    server.ask("PUT", "/bucket/secret", b"secret").await.ok(200);
    server.send(&Request::new("PUT", "/thieves").sign(OTHER)).await.ok(200);
    let begun = server.send(&Request::new("POST", "/thieves/k?uploads=").sign(OTHER)).await;
    let id = begun.ok(200).element("UploadId").to_owned();
    let part = format!("/thieves/k?partNumber=1&uploadId={id}");
    for source in [
        "/bucket/secret",
        "bucket%2Fsecret",
        "/thieves/../bucket/secret",
        "thieves/%2e%2e/bucket/secret",
        "bucket/secret?versionId=null",
    ] {
        for path in ["/thieves/k", part.as_str()] {
            let request = Request::new("PUT", path).header("x-amz-copy-source", source);
            let answer = server.send(&request.sign(OTHER)).await;
            let expected = if source.contains("thieves") { 404 } else { 403 };
            assert_eq!(answer.status, expected, "{source} {path}: {answer:?}");
        }
    }
}

/// A condition that says nothing is not the same as no condition.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_condition_does_not_let_a_write_through() {
    let server = with_bucket().await;
    server.ask("PUT", "/bucket/k", b"old").await.ok(200);
    for (name, value) in
        [("if-match", ""), ("if-match", ","), ("if-none-match", ""), ("if-none-match", " , ")]
    {
        let request = Request::new("PUT", "/bucket/k").header(name, value).body(b"new");
        let answer = server.send(&request.sign(OWNER)).await;
        assert_eq!(answer.status / 100, 4, "{name}: {value:?}: {answer:?}");
    }
    assert_eq!(server.ask("GET", "/bucket/k", b"").await.ok(200).body, b"old");
}

/// A body of unknown length is not the same as no body.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_without_a_length_is_not_ignored() {
    let server = with_bucket().await;
    let elsewhere = b"<CreateBucketConfiguration><LocationConstraint>mars</LocationConstraint>\
                      </CreateBucketConfiguration>";
    let request = Request::new("PUT", "/bucket-2").header("transfer-encoding", "chunked");
    let request = request.body(elsewhere).sign(OWNER);
    let mut bytes = request.head(None);
    bytes.extend_from_slice(format!("{:x}\r\n", elsewhere.len()).as_bytes());
    bytes.extend_from_slice(elsewhere);
    bytes.extend_from_slice(b"\r\n0\r\n\r\n");
    let mut connection = server.connect().await;
    connection.write(&bytes).await;
    connection.read("PUT").await.refused(411, "MissingContentLength");
    server.ask("GET", "/bucket-2", b"").await.refused(404, "NoSuchBucket");
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_of_any_length_and_the_longest_keys_are_survived() {
    use base64::Engine as _;
    let server = with_bucket().await;
    let mut long = vec![1];
    long.extend_from_slice(&[b'z'; 5000]);
    let long = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(long);
    let zeros = "%00".repeat(1024);
    let wide = "%F3%A0%80%81".repeat(256);
    for path in [
        format!("/bucket?list-type=2&continuation-token={long}"),
        format!("/?continuation-token={long}"),
        format!("/bucket?prefix={zeros}&delimiter=%00"),
        format!("/bucket?uploads=&prefix={zeros}&delimiter=%00"),
        format!("/bucket?uploads=&key-marker={zeros}&upload-id-marker={}", "f".repeat(32)),
        format!("/bucket?delimiter={}", "d".repeat(20_000)),
    ] {
        let answer = server.ask("GET", &path, b"").await;
        assert!(answer.status < 500, "{}: {answer:?}", &path[..40]);
    }
    for key in [&zeros, &wide] {
        server.ask("PUT", &format!("/bucket/{key}"), b"x").await.ok(200);
        let begun = server.ask("POST", &format!("/bucket/{key}?uploads="), b"").await;
        let id = begun.ok(200).element("UploadId").to_owned();
        let part = format!("/bucket/{key}?partNumber=10000&uploadId={id}");
        server.ask("PUT", &part, b"x").await.ok(200);
        server.ask("GET", "/bucket?uploads=&max-uploads=1", b"").await.ok(200);
        server.ask("DELETE", &format!("/bucket/{key}?uploadId={id}"), b"").await.ok(204);
        server.ask("GET", "/bucket?list-type=2&max-keys=1", b"").await.ok(200);
    }
}

/// Another account's documents are not read at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_denied_delete_does_not_wait_for_its_document() {
    let server = with_bucket().await;
    let body = b"<Delete><Object><Key>k</Key></Object></Delete>";
    let request = Request::new("POST", "/bucket?delete=")
        .header("x-amz-checksum-crc32", &crc32(body))
        .body(body)
        .sign(OTHER);
    let mut connection = server.connect().await;
    connection.write(&request.head(Some(body.len()))).await;
    connection.read("POST").await.refused(403, "AccessDenied");
}

/// Small elements take far more memory than their text.
#[tokio::test(flavor = "multi_thread")]
async fn documents_of_very_many_elements_are_refused() {
    let server = with_bucket().await;
    let body = format!("<Delete>{}</Delete>", "<a/>".repeat(1 << 20)).into_bytes();
    let request = Request::new("POST", "/bucket?delete=")
        .header("x-amz-checksum-crc32", &crc32(&body))
        .body(&body)
        .sign(OWNER);
    server.send(&request).await.refused(400, "MalformedXML");
}

/// The key that is signed is the key that is stored, decoded once, whatever it looks like.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_is_decoded_once() {
    let server = with_bucket().await;
    let keys = [
        ("a%2Fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("%2e%2e/%2e%2e/x", "../../x"),
        ("..%2f..%2fy", "../../y"),
        ("a+b", "a+b"),
        ("a%20b", "a b"),
        ("a%00b", "a\0b"),
        ("%2Fk", "/k"),
        ("a%3Fuploads", "a?uploads"),
        ("./c", "./c"),
    ];
    for (sent, _) in keys {
        server.ask("PUT", &format!("/bucket/{sent}"), sent.as_bytes()).await.ok(200);
    }
    let answer = server.ask("GET", "/bucket?list-type=2&encoding-type=url", b"").await;
    for (sent, key) in keys {
        let listed = format!("<Key>{}</Key>", crate::query::encode_url(key));
        assert!(answer.ok(200).text().contains(&listed), "{sent}: {}", answer.text());
        let virtual_host =
            Request::new("GET", &format!("/{sent}")).header("host", "bucket.localhost");
        let answer = server.send(&virtual_host.sign(OWNER)).await;
        assert_eq!(answer.ok(200).body, sent.as_bytes());
    }
    // The host's bucket wins, and it is the one that is authorised.
    server.send(&Request::new("PUT", "/thieves").sign(OTHER)).await.ok(200);
    let mixed = Request::new("PUT", "/thieves/k").header("host", "bucket.localhost").body(b"x");
    server.send(&mixed.sign(OTHER)).await.refused(403, "AccessDenied");
}

/// What a presigned URL says of its body is held against it, header or parameter.
#[tokio::test(flavor = "multi_thread")]
async fn a_presigned_body_is_what_was_signed() {
    let server = with_bucket().await;
    let hash =
        crate::body::hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"right").as_ref());
    let in_query = Request::new("PUT", &format!("/bucket/k?X-Amz-Content-Sha256={hash}"));
    let in_header = Request::new("PUT", "/bucket/k").header("x-amz-content-sha256", &hash);
    for request in [in_query, in_header] {
        let request = request.presign(OWNER, 60);
        let wrong = request.clone().body(b"wrong");
        server.send(&wrong).await.refused(400, "XAmzContentSHA256Mismatch");
        server.ask("GET", "/bucket/k", b"").await.refused(404, "NoSuchKey");
        server.send(&request.body(b"right")).await.ok(200);
        server.ask("DELETE", "/bucket/k", b"").await.ok(204);
    }
    for payload in ["STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"] {
        let request = Request::new("PUT", "/bucket/k")
            .header("x-amz-content-sha256", payload)
            .header("x-amz-trailer", "x-amz-checksum-crc32")
            .header("x-amz-decoded-content-length", "5")
            .presign(OWNER, 60);
        let answer = server.send(&request.body(b"5\r\nright\r\n0\r\n\r\n")).await;
        assert!([400, 501].contains(&answer.status), "{payload}: {answer:?}");
    }
    server.ask("GET", "/bucket/k", b"").await.refused(404, "NoSuchKey");
}

/// An unsigned chunked body cannot be passed off as a signed one, nor the other way round, and its trailer is the one
/// that was declared.
#[tokio::test(flavor = "multi_thread")]
async fn chunked_bodies_keep_their_word() {
    let server = with_bucket().await;
    let good = crc32(b"right");
    let put = |payload: &str, len: &str, body: String| {
        let request = Request::new("PUT", "/bucket/k")
            .header("x-amz-content-sha256", payload)
            .header("x-amz-decoded-content-length", len)
            .body(body.as_bytes());
        if payload.ends_with("TRAILER") {
            request.header("x-amz-trailer", "x-amz-checksum-crc32").sign(OWNER)
        } else {
            request.sign(OWNER)
        }
    };
    let unsigned = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    let trailer = format!("x-amz-checksum-crc32:{good}\r\n\r\n");
    let body = |trailer: &str| format!("5\r\nright\r\n0\r\n{trailer}");
    let twice = format!("x-amz-checksum-crc32:{good}\r\n{trailer}");
    let extra = format!("x-amz-meta-a:1\r\n{trailer}");
    let requests = [
        ("longer", put(unsigned, "4", body(&trailer))),
        ("shorter", put(unsigned, "6", body(&trailer))),
        ("negative", put(unsigned, "-5", body(&trailer))),
        ("huge", put(unsigned, "18446744073709551615", body(&trailer))),
        ("no trailer", put(unsigned, "5", body("\r\n"))),
        ("wrong trailer", put(unsigned, "5", body("x-amz-checksum-crc32:AAAAAA==\r\n\r\n"))),
        ("other trailer", put(unsigned, "5", body("x-amz-checksum-crc32c:AAAAAA==\r\n\r\n"))),
        ("trailer twice", put(unsigned, "5", body(&twice))),
        ("extra trailer", put(unsigned, "5", body(&extra))),
        ("unsigned as signed", put("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "5", body("\r\n"))),
        (
            "unsigned as signed",
            put("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", "5", body(&trailer)),
        ),
        ("ECDSA", put("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "5", body("\r\n"))),
        ("unknown", put("STREAMING-UNSIGNED-PAYLOAD", "5", body("\r\n"))),
    ];
    for (what, request) in requests {
        let answer = server.send(&request).await;
        assert!(answer.status >= 400 && answer.status != 500, "{what}: {answer:?}");
        server.ask("GET", "/bucket/k", b"").await.refused(404, "NoSuchKey");
    }
    server.send(&put(unsigned, "5", body(&trailer))).await.ok(200);
}

/// Listings wait for each other when memory is short, and give their places back.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_listings_is_answered_in_little_memory() {
    let limits = crate::S3Limits { page_memory_bytes: 1, ..crate::S3Limits::default() };
    let server = std::sync::Arc::new(Server::start_with(limits).await);
    server.ask("PUT", "/bucket", b"").await.ok(200);
    server.ask("PUT", "/bucket/k", b"x").await.ok(200);
    let storm: Vec<_> = (0..40)
        .map(|number| {
            let server = server.clone();
            let path = ["/bucket", "/bucket?list-type=2", "/bucket?uploads=", "/"][number % 4];
            tokio::spawn(async move { server.ask("GET", path, b"").await.status })
        })
        .collect();
    for answer in storm {
        assert_eq!(answer.await.expect("an answer"), 200);
    }
    server.ask("GET", "/nowhere", b"").await.refused(404, "NoSuchBucket");
    server.ask("GET", "/bucket", b"").await.ok(200);
}

/// Every way to protect a body needs a signature, in every operation that takes one.
#[tokio::test(flavor = "multi_thread")]
async fn no_kind_of_body_comes_without_a_signature() {
    let server = with_bucket().await;
    let begun = server.ask("POST", "/bucket/k?uploads=", b"").await;
    let part = format!("/bucket/k?partNumber=1&uploadId={}", begun.ok(200).element("UploadId"));
    let trailer = format!("5\r\nright\r\n0\r\nx-amz-checksum-crc32:{}\r\n\r\n", crc32(b"right"));
    let guess = Identity2 { key: OWNER.key, secret: "a guess" };
    let credential =
        |date: &str| format!("{}%2F{}%2F{REGION}%2Fs3%2Faws4_request", OWNER.key, &date[..8]);
    server.calls.take();
    for payload in [
        "UNSIGNED-PAYLOAD",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    ] {
        for path in ["/bucket/k", part.as_str()] {
            let mut request = Request::new("PUT", path)
                .header("x-amz-content-sha256", payload)
                .header("x-amz-decoded-content-length", "5")
                .body(trailer.as_bytes());
            if payload.ends_with("TRAILER") {
                request = request.header("x-amz-trailer", "x-amz-checksum-crc32");
            }
            let mut in_query = request.clone();
            in_query.query.push(("X-Amz-Credential".into(), credential(&request.date)));
            let mut mixed = request.clone().sign(OTHER);
            mixed.query.push(("X-Amz-Credential".into(), credential(&request.date)));
            let bare = request.clone().header("authorization", "AWS4-HMAC-SHA256");
            for (who, request) in [
                ("nobody", request.clone()),
                ("a guess", request.clone().sign(guess)),
                ("another account", request.clone().sign(OTHER)),
                ("a name in the query", in_query),
                ("a name in the query and another in the header", mixed),
                ("a scheme and nothing else", bare),
            ] {
                let answer = server.send(&request).await;
                assert!([400, 403].contains(&answer.status), "{who}, {payload}: {answer:?}");
                assert_eq!(server.calls.take().1, Vec::<String>::new(), "{who}, {payload}");
            }
        }
    }
    server.ask("GET", "/bucket/k", b"").await.refused(404, "NoSuchKey");
}
