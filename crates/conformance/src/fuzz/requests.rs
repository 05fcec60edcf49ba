//! What a client writes into paths, hosts and headers: parsed once, into the names that are authorised and then
//! stored under. No encoding may make one name pass for another.

use api_s3::fuzzing;
use types::{BucketName, ObjectKey};

use super::draw::Draw;

/// A host header, a zero byte, a raw path and query: any bytes are survived; and a name that is encoded comes
/// back as itself, by path and by host.
pub(super) fn targets(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (host, path) = text.split_once('\0').unwrap_or(("localhost", &text));
    let domains = ["localhost".to_owned(), "s3.example.com".to_owned()];
    let (raw, raw_query) = path.split_once('?').unwrap_or((path, ""));
    if let Some((bucket, key)) = fuzzing::target(host, raw, &domains) {
        assert!(key.is_none() || bucket.is_some(), "a key without a bucket");
        is_canonical(bucket.as_ref(), key.as_ref());
        if let (Some(bucket), Some(key)) = (bucket, key) {
            let again = format!("/{bucket}/{}", fuzzing::encode_url(key.as_str()));
            let found = fuzzing::target("localhost", &again, &domains);
            assert_eq!(found, Some((Some(bucket.clone()), Some(key.clone()))), "by path");
            let host = format!("{bucket}.localhost:9000");
            let again = format!("/{}", fuzzing::encode_url(key.as_str()));
            assert_eq!(
                fuzzing::target(&host, &again, &domains),
                Some((Some(bucket), Some(key))),
                "by host"
            );
        }
    }
    let _ = (fuzzing::query(raw_query), fuzzing::range(&text));

    let mut draw = Draw(data);
    let (name, value) = (draw.text(), draw.text());
    if !name.is_empty() {
        let raw = format!("{}={}", fuzzing::encode_url(&name), fuzzing::encode_url(&value));
        assert_eq!(fuzzing::query(&raw), Some(vec![(name, value)]));
    }
}

/// A value of `x-amz-copy-source`: any bytes are survived; an encoded name comes back as itself; nothing that is
/// behind the first slash can change the bucket.
pub(super) fn copy_sources(data: &[u8]) {
    if let Some((bucket, key)) = fuzzing::copy_source(data) {
        is_canonical(Some(&bucket), Some(&key));
        let again = format!("/{bucket}/{}", fuzzing::encode_url(key.as_str()));
        assert_eq!(fuzzing::copy_source(again.as_bytes()), Some((bucket, key)));
    }
    let mut tail = b"first-bucket/".to_vec();
    tail.extend_from_slice(data);
    if let Some((bucket, _)) = fuzzing::copy_source(&tail) {
        assert_eq!(bucket.as_str(), "first-bucket");
    }
    let text = String::from_utf8_lossy(data);
    if (1..=1024).contains(&text.len()) {
        let encoded = format!("first-bucket/{}", fuzzing::encode_url(&text));
        let (bucket, key) =
            fuzzing::copy_source(encoded.as_bytes()).expect("an encoded key is a key");
        assert_eq!((bucket.as_str(), key.as_str()), ("first-bucket", text.as_ref()));
    }
}

/// A name that came out of a parser is a name to the validator too.
fn is_canonical(bucket: Option<&BucketName>, key: Option<&ObjectKey>) {
    if let Some(bucket) = bucket {
        assert_eq!(BucketName::new(bucket.as_str()).as_ref(), Ok(bucket));
        assert!(!bucket.as_str().contains(['/', '%', '\\', '\0']), "{bucket}");
    }
    if let Some(key) = key {
        assert_eq!(ObjectKey::new(key.as_str()).as_ref(), Ok(key));
    }
}

/// Hosts and paths of every style.
pub(super) fn target_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "localhost:9000\0/bucket/key",
        "bucket.localhost\0/a/b?list-type=2&prefix=a%20b",
        "127.0.0.1\0/bucket/..%2f..//%00?uploads",
        "bucket.s3.example.com.\0//lead",
        "\0/",
        "bytes=0-5",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Copy sources of every style.
pub(super) fn copy_source_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "/bucket/key",
        "bucket/a%20b+c",
        "bucket%2Fkey?versionId=null",
        "bucket/../other/k",
        "//x/%zz",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
