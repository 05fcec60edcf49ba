//! Tests of the gate: every check, for both ways of signing, and for every operation.

use http::Request;

use super::*;

/// 2013-05-24T00:00:00Z, as in AWS's examples.
const NOW: UnixMillis = UnixMillis(1_369_353_600_000);
const SIGNATURE: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// A request under construction.
#[derive(Clone)]
struct Sketch {
    method: &'static str,
    path: String,
    query: Vec<String>,
    headers: Vec<(String, String)>,
    means: Means,
    signed: Vec<String>,
    date: String,
    expires: String,
    credential: String,
}

impl Sketch {
    fn new(means: Means, method: &'static str, path_and_query: &str) -> Self {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        Self {
            method,
            path: path.to_owned(),
            query: query.split('&').filter(|q| !q.is_empty()).map(str::to_owned).collect(),
            headers: vec![("host".to_owned(), "127.0.0.1:9000".to_owned())],
            means,
            signed: vec!["host".to_owned()],
            date: "20130524T000000Z".to_owned(),
            expires: "60".to_owned(),
            credential: "KEY/20130524/us-east-1/s3/aws4_request".to_owned(),
        }
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self.signed.push(name.to_owned());
        self
    }

    fn unsigned(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn parts(mut self) -> Parts {
        match self.means {
            Means::Header => {
                if !self.headers.iter().any(|(n, _)| n == "x-amz-content-sha256") {
                    self = self.header("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
                }
                let date = self.date.clone();
                self = self.header("x-amz-date", &date);
                let text = format!(
                    "AWS4-HMAC-SHA256 Credential={}, SignedHeaders={}, Signature={SIGNATURE}",
                    self.credential,
                    self.signed.join(";")
                );
                self = self.unsigned("authorization", &text);
            }
            Means::Query => self.query.extend([
                "X-Amz-Algorithm=AWS4-HMAC-SHA256".to_owned(),
                format!("X-Amz-Credential={}", self.credential.replace('/', "%2F")),
                format!("X-Amz-Date={}", self.date),
                format!("X-Amz-Expires={}", self.expires),
                format!("X-Amz-SignedHeaders={}", self.signed.join("%3B")),
                format!("X-Amz-Signature={SIGNATURE}"),
            ]),
        }
        self.bare_parts()
    }

    /// Without adding anything.
    fn bare_parts(self) -> Parts {
        let uri = format!("{}?{}", self.path, self.query.join("&"));
        let mut request = Request::builder().method(self.method).uri(uri);
        for (name, value) in self.headers {
            request = request.header(name, value.as_bytes());
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn ask(self) -> ApiResult<Admitted> {
        check_at(&self.parts(), NOW)
    }

    fn refused(self) -> ApiError {
        let text = format!("{} {} {:?}", self.method, self.path, self.query);
        match self.ask() {
            Ok(admitted) => panic!("{text} was admitted as {:?}", admitted.operation),
            Err(error) => error,
        }
    }
}

fn check_at(parts: &Parts, now: UnixMillis) -> ApiResult<Admitted> {
    let domains = Domains::new(&["localhost".to_owned()]);
    check(parts, now, &Policy { region: "us-east-1".to_owned(), domains })
}

const ROUTES: [(&str, &str); 19] = [
    ("GET", "/"),
    ("PUT", "/abc"),
    ("HEAD", "/abc"),
    ("GET", "/abc?location"),
    ("DELETE", "/abc"),
    ("GET", "/abc"),
    ("GET", "/abc?list-type=2"),
    ("PUT", "/abc/k"),
    ("GET", "/abc/k"),
    ("HEAD", "/abc/k"),
    ("DELETE", "/abc/k"),
    ("POST", "/abc?delete"),
    ("POST", "/abc/k?uploads"),
    ("PUT", "/abc/k?uploadId=1&partNumber=1"),
    ("POST", "/abc/k?uploadId=1"),
    ("DELETE", "/abc/k?uploadId=1"),
    ("GET", "/abc/k?uploadId=1"),
    ("GET", "/abc?uploads"),
    ("PUT", "/abc?acl"),
];

const MEANS: [Means; 2] = [Means::Header, Means::Query];

#[test]
fn signed_requests_of_both_kinds_are_admitted() {
    for means in MEANS {
        for (method, path) in &ROUTES[..18] {
            let admitted = Sketch::new(means, method, path).ask().expect("admitted");
            assert_eq!(admitted.claim.access_key, "KEY");
            assert_eq!(admitted.payload, Payload::Unsigned);
        }
        let copy = Sketch::new(means, "PUT", "/abc/k").header("x-amz-copy-source", "/abc/j");
        assert_eq!(copy.ask().expect("admitted").operation, Operation::CopyObject);
    }
}

/// The incident of half the S3 servers there are: `x-amz-*` headers that nobody signed.
#[test]
fn unsigned_amz_headers_are_refused_on_every_route_and_for_both_kinds() {
    for means in MEANS {
        for (method, path) in ROUTES {
            for (name, value) in [
                ("x-amz-copy-source", "/other/secret"),
                ("x-amz-meta-a", "b"),
                ("x-amz-acl", "private"),
                ("x-amz-tagging", "a=b"),
                ("x-amz-storage-class", "STANDARD"),
                ("x-amz-expected-bucket-owner", "000000000001"),
                ("x-amz-security-token", "t"),
                ("x-amz-anything", "x"),
            ] {
                let error = Sketch::new(means, method, path).unsigned(name, value).refused();
                assert_eq!(error.code(), Code::AccessDenied, "{means:?} {method} {path} {name}");
                let xml = String::from_utf8(error.to_xml("/", "1", "2")).expect("UTF-8");
                let element = format!("<HeadersNotSigned>{name}</HeadersNotSigned>");
                assert!(xml.contains(&element), "{xml}");
            }
        }
    }
}

#[test]
fn the_host_must_be_signed() {
    for means in MEANS {
        let mut sketch = Sketch::new(means, "GET", "/abc/k");
        sketch.signed = vec!["content-type".to_owned()];
        let error = sketch.refused();
        assert_eq!(error.code(), Code::AccessDenied);
    }
}

#[test]
fn nobody_and_two_at_once_are_refused_on_every_route() {
    for (method, path) in ROUTES {
        let bare = Sketch::new(Means::Header, method, path).bare_parts();
        let error = check_at(&bare, NOW).expect_err("anonymous");
        assert_eq!(error.code(), Code::AccessDenied, "{method} {path}");

        let both = Sketch::new(Means::Query, method, path).unsigned(
            "authorization",
            &format!(
                "AWS4-HMAC-SHA256 Credential=KEY/20130524/us-east-1/s3/aws4_request, \
                 SignedHeaders=host, Signature={SIGNATURE}"
            ),
        );
        assert_eq!(both.refused().code(), Code::InvalidArgument, "{method} {path}");
    }
}

#[test]
fn version_2_is_refused_clearly() {
    let header =
        Sketch::new(Means::Header, "GET", "/abc/k").unsigned("authorization", "AWS KEY:sig");
    let error = check_at(&header.bare_parts(), NOW).expect_err("refused");
    assert!(error.message().contains("AWS4-HMAC-SHA256"), "{}", error.message());
    let query = "/abc/k?AWSAccessKeyId=KEY&Expires=1&Signature=x";
    let error =
        check_at(&Sketch::new(Means::Header, "GET", query).bare_parts(), NOW).expect_err("refused");
    assert_eq!(error.code(), Code::InvalidRequest);
    // s3s would look at these first.
    let mixed = Sketch::new(Means::Header, "GET", query);
    assert_eq!(mixed.refused().code(), Code::InvalidArgument);
    let mixed = Sketch::new(Means::Query, "GET", query);
    assert_eq!(mixed.refused().code(), Code::InvalidArgument);
}

#[test]
fn other_schemes_are_refused() {
    for (text, code) in [
        ("Bearer x", Code::InvalidArgument),
        ("", Code::InvalidArgument),
        ("AWS4-HMAC-SHA256", Code::AuthorizationHeaderMalformed),
        ("AWS4-HMAC-SHA256 Credential=K", Code::AuthorizationHeaderMalformed),
        ("AWS4-HMAC-SHA256 Credential=K, Credential=K", Code::AuthorizationHeaderMalformed),
        (
            "AWS4-HMAC-SHA256 a=b, SignedHeaders=host, Signature=s",
            Code::AuthorizationHeaderMalformed,
        ),
        ("AWS4-ECDSA-P256-SHA256 Credential=K", Code::NotImplemented),
    ] {
        let sketch = Sketch::new(Means::Header, "GET", "/abc/k").unsigned("authorization", text);
        let error = check_at(&sketch.bare_parts(), NOW).expect_err("refused");
        assert_eq!(error.code(), code, "{text}");
    }
}

#[test]
fn the_credential_scope_is_checked() {
    for (credential, code) in [
        ("KEY/20130524/us-east-1/s3/aws4_request", None),
        ("KEY/20130524/eu-west-1/s3/aws4_request", Some("region")),
        ("KEY/20130524/us-east-1/sts/aws4_request", Some("service")),
        ("KEY/20130524/us-east-1/s3/aws2_request", Some("terminal")),
        ("KEY/20130523/us-east-1/s3/aws4_request", Some("date")),
        ("KEY/2013/us-east-1/s3/aws4_request", Some("date")),
        ("A/KEY/20130524/us-east-1/s3/aws4_request", Some("mal-formed")),
        ("KEY", Some("mal-formed")),
    ] {
        for means in MEANS {
            let mut sketch = Sketch::new(means, "GET", "/abc/k");
            sketch.credential = credential.to_owned();
            let Some(word) = code else {
                assert!(sketch.ask().is_ok());
                continue;
            };
            let error = sketch.refused();
            let expected = match means {
                Means::Header => Code::AuthorizationHeaderMalformed,
                Means::Query => Code::AuthorizationQueryParametersError,
            };
            assert_eq!(error.code(), expected, "{credential}");
            assert!(error.message().contains(word), "{credential}: {}", error.message());
        }
    }
}

#[test]
fn a_wrong_region_says_the_right_one() {
    let mut sketch = Sketch::new(Means::Header, "GET", "/abc/k");
    sketch.credential = "KEY/20130524/eu-west-1/s3/aws4_request".to_owned();
    let xml = String::from_utf8(sketch.refused().to_xml("/", "1", "2")).expect("UTF-8");
    assert!(xml.contains("<Region>us-east-1</Region>"), "{xml}");
}

#[test]
fn the_time_of_a_header_is_within_fifteen_minutes() {
    for (date, fine) in [
        ("20130524T000000Z", true),
        ("20130524T001500Z", true),
        ("20130524T001501Z", false),
        ("20130525T000000Z", false),
    ] {
        let mut sketch = Sketch::new(Means::Header, "GET", "/abc/k");
        sketch.date = date.to_owned();
        sketch.credential = format!("KEY/{}/us-east-1/s3/aws4_request", &date[..8]);
        match fine {
            true => assert!(sketch.ask().is_ok(), "{date}"),
            false => assert_eq!(sketch.refused().code(), Code::RequestTimeTooSkewed, "{date}"),
        }
    }
    let parts = Sketch::new(Means::Header, "GET", "/abc/k").parts();
    for (seconds, fine) in [(900, true), (901, false)] {
        let later = UnixMillis(NOW.0 + seconds * 1000);
        assert_eq!(check_at(&parts, later).is_ok(), fine, "{seconds} s later");
    }
}

#[test]
fn a_presigned_url_lives_as_long_as_it_says() {
    let parts = Sketch::new(Means::Query, "GET", "/abc/k").parts();
    for (offset, fine) in [(0, true), (60, true), (61, false), (-900, true), (-901, false)] {
        let at = UnixMillis(NOW.0.saturating_add_signed(offset * 1000));
        assert_eq!(check_at(&parts, at).is_ok(), fine, "{offset} s");
    }
    for (expires, fine) in [
        ("1", true),
        ("604800", true),
        ("604801", false),
        ("0", false),
        ("-1", false),
        ("x", false),
        ("", false),
        ("99999999999999999999", false),
    ] {
        let mut sketch = Sketch::new(Means::Query, "GET", "/abc/k");
        sketch.expires = expires.to_owned();
        match fine {
            true => assert!(sketch.ask().is_ok(), "{expires}"),
            false => {
                let code = sketch.refused().code();
                assert_eq!(code, Code::AuthorizationQueryParametersError, "{expires}");
            }
        }
    }
}

#[test]
fn incomplete_and_repeated_query_parameters_are_refused() {
    let whole = Sketch::new(Means::Query, "GET", "/abc/k").parts();
    let query = whole.uri.query().expect("a query").to_owned();
    let parameters: Vec<&str> = query.split('&').collect();
    for at in 0..parameters.len() {
        let mut less = parameters.clone();
        let name = less.remove(at);
        let sketch = Sketch::new(Means::Header, "GET", &format!("/abc/k?{}", less.join("&")));
        assert!(check_at(&sketch.bare_parts(), NOW).is_err(), "without {name}");
        let mut more = parameters.clone();
        more.push(name);
        let sketch = Sketch::new(Means::Header, "GET", &format!("/abc/k?{}", more.join("&")));
        assert!(check_at(&sketch.bare_parts(), NOW).is_err(), "twice {name}");
    }
}

#[test]
fn signed_parameters_stand_for_headers() {
    let query = "/abc/k?x-amz-acl=private&X-Amz-Meta-Colour=blue";
    let admitted = Sketch::new(Means::Query, "PUT", query).ask().expect("admitted");
    assert_eq!(admitted.headers.get("x-amz-meta-colour").map(|v| v.as_bytes()), Some(&b"blue"[..]));
    let refused = Sketch::new(Means::Query, "PUT", "/abc/k?x-amz-acl=public-read").refused();
    assert_eq!(refused.code(), Code::NotImplemented);
    let token = Sketch::new(Means::Query, "PUT", "/abc/k?X-Amz-Security-Token=t").refused();
    assert_eq!(token.code(), Code::InvalidToken);
    let copy = Sketch::new(Means::Query, "PUT", "/abc/k?x-amz-copy-source=abc%2Fj");
    assert_eq!(copy.ask().expect("admitted").operation, Operation::CopyObject);
    let differs = Sketch::new(Means::Query, "PUT", "/abc/k?x-amz-acl=private")
        .header("x-amz-acl", "bucket-owner-full-control");
    assert_eq!(differs.refused().code(), Code::InvalidArgument);
}

#[test]
fn payload_declarations() {
    let streaming = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
    let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let ask = |headers: &[(&str, &str)]| {
        let mut sketch = Sketch::new(Means::Header, "PUT", "/abc/k");
        for (name, value) in headers {
            sketch = sketch.header(name, value);
        }
        sketch.ask().map(|a| (a.payload, a.body_len)).map_err(|e| e.code())
    };
    let decoded = ("x-amz-decoded-content-length", "5");
    let sha = "x-amz-content-sha256";
    let hashed = ask(&[(sha, hash), ("content-length", "7")]).expect("admitted");
    assert!(matches!(hashed, (Payload::Hash(_), Some(7))));
    assert_eq!(ask(&[(sha, "UNSIGNED-PAYLOAD")]), Ok((Payload::Unsigned, None)));
    assert_eq!(
        ask(&[(sha, streaming), decoded]),
        Ok((Payload::Chunked { signed: true, trailer: Trailer::None }, Some(5)))
    );
    let crc = Trailer::Checksum(objects::ChecksumAlgorithm::Crc32);
    let trailer = ("x-amz-trailer", "x-amz-checksum-crc32");
    for (name, signed) in [
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", false),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", true),
    ] {
        let expected = Ok((Payload::Chunked { signed, trailer: crc }, Some(5)));
        assert_eq!(ask(&[(sha, name), decoded, trailer]), expected);
        assert_eq!(ask(&[(sha, name), decoded]), Err(Code::InvalidRequest));
    }
    for (headers, code) in [
        (vec![(sha, streaming)], Code::MissingContentLength),
        (vec![(sha, streaming), ("x-amz-decoded-content-length", "-5")], Code::InvalidArgument),
        (vec![(sha, "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"), decoded], Code::NotImplemented),
        (vec![(sha, "nonsense")], Code::InvalidArgument),
        (
            vec![(sha, "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855")],
            Code::InvalidArgument,
        ),
        (vec![(sha, streaming), decoded, trailer], Code::InvalidRequest),
        (vec![(sha, "UNSIGNED-PAYLOAD"), trailer], Code::InvalidRequest),
        (vec![(sha, streaming), decoded, ("x-amz-trailer", "x-amz-meta-a")], Code::InvalidRequest),
    ] {
        assert_eq!(ask(&headers), Err(code), "{headers:?}");
    }
    let presigned = Sketch::new(Means::Query, "PUT", "/abc/k")
        .header(sha, streaming)
        .header("x-amz-decoded-content-length", "5");
    assert_eq!(presigned.refused().code(), Code::NotImplemented);
}

#[test]
fn a_header_without_a_payload_declaration_is_refused() {
    let mut sketch =
        Sketch::new(Means::Header, "GET", "/abc/k").header("x-amz-date", "20130524T000000Z");
    let text = format!(
        "AWS4-HMAC-SHA256 Credential={}, SignedHeaders={}, Signature={SIGNATURE}",
        sketch.credential,
        sketch.signed.join(";")
    );
    sketch = sketch.unsigned("authorization", &text);
    let error = check_at(&sketch.bare_parts(), NOW).expect_err("refused");
    assert_eq!(error.code(), Code::InvalidRequest);
}

#[test]
fn forms_are_refused_before_anything_is_read() {
    for content_type in [
        "multipart/form-data; boundary=x",
        "Multipart/Form-Data;boundary=x",
        " multipart/form-data",
    ] {
        for path in ["/abc", "/abc/k", "/"] {
            let sketch =
                Sketch::new(Means::Header, "POST", path).unsigned("content-type", content_type);
            let error = check_at(&sketch.bare_parts(), NOW).expect_err("refused");
            assert_eq!(error.code(), Code::NotImplemented, "{content_type} {path}");
        }
    }
}

#[test]
fn repeated_and_unreadable_headers_are_refused() {
    for means in MEANS {
        let twice = Sketch::new(means, "PUT", "/abc/k")
            .header("x-amz-copy-source", "/abc/a")
            .header("x-amz-copy-source", "/abc/b");
        assert_eq!(twice.refused().code(), Code::InvalidArgument);
        let mut parts = Sketch::new(means, "PUT", "/abc/k").header("x-amz-meta-a", "x").parts();
        let latin = HeaderValue::from_bytes(b"\xe9").expect("a value");
        parts.headers.append("x-amz-meta-a", latin);
        let error = check_at(&parts, NOW).expect_err("refused");
        assert_eq!(error.code(), Code::InvalidArgument);
        let hosts = Sketch::new(means, "PUT", "/abc/k").unsigned("host", "elsewhere");
        assert_eq!(hosts.refused().code(), Code::InvalidRequest);
    }
}
