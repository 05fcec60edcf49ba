//! What a request is about: the host and the path, decoded once into validated names. These same values are
//! authorised and stored under; nothing else in the crate looks at the path.

use types::{BucketName, InvalidName, ObjectKey};

use crate::error::{ApiError, ApiResult, Code};
use crate::query::decode_strict;

/// The target of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The service: `/`.
    Service,
    /// A bucket.
    Bucket(BucketName),
    /// An object.
    Object(BucketName, ObjectKey),
}

/// Base domains for virtual-host style, longest first.
#[derive(Clone, Debug)]
pub(crate) struct Domains(Vec<String>);

impl Domains {
    /// Lower-cased, without ports.
    pub(crate) fn new(domains: &[String]) -> Self {
        let mut domains: Vec<String> = domains
            .iter()
            .map(|d| strip_port(d.trim_matches('.')).to_ascii_lowercase())
            .filter(|d| !d.is_empty())
            .collect();
        domains.sort_by_key(|d| std::cmp::Reverse(d.len()));
        domains.dedup();
        Self(domains)
    }

    /// The bucket that the host names, if it lies under one of the domains.
    fn bucket_of(&self, host: &str) -> Option<String> {
        let host = strip_port(host).trim_end_matches('.').to_ascii_lowercase();
        for domain in &self.0 {
            if host == *domain {
                return None;
            }
            let bucket = host.strip_suffix(domain.as_str()).and_then(|h| h.strip_suffix('.'));
            if let Some(bucket) = bucket {
                return Some(bucket.to_owned());
            }
        }
        None
    }
}

impl Target {
    /// Of a host header and a path as it was sent.
    pub(crate) fn resolve(host: &str, raw_path: &str, domains: &Domains) -> ApiResult<Self> {
        let path = decode_strict(raw_path).ok_or(Code::InvalidUri)?;
        let path = path.strip_prefix('/').ok_or(Code::InvalidUri)?;
        let virtual_bucket = domains.bucket_of(host);
        let (bucket, key) = match &virtual_bucket {
            Some(bucket) => (bucket.as_str(), path),
            None if path.is_empty() => return Ok(Self::Service),
            None => path.split_once('/').unwrap_or((path, "")),
        };
        let bucket = parse_bucket(bucket)?;
        if key.is_empty() {
            return Ok(Self::Bucket(bucket));
        }
        Ok(Self::Object(bucket, parse_key(key)?))
    }

    /// The bucket, if there is one.
    pub(crate) fn bucket(&self) -> Option<&BucketName> {
        match self {
            Self::Service => None,
            Self::Bucket(bucket) | Self::Object(bucket, _) => Some(bucket),
        }
    }

    /// The key, if there is one.
    pub(crate) fn key(&self) -> Option<&ObjectKey> {
        match self {
            Self::Service | Self::Bucket(_) => None,
            Self::Object(_, key) => Some(key),
        }
    }

    /// As errors name it.
    pub(crate) fn resource(&self) -> String {
        match self {
            Self::Service => "/".to_owned(),
            Self::Bucket(bucket) => format!("/{bucket}"),
            Self::Object(bucket, key) => format!("/{bucket}/{key}"),
        }
    }
}

/// A bucket's name, or `InvalidBucketName`.
pub(crate) fn parse_bucket(text: &str) -> ApiResult<BucketName> {
    BucketName::new(text)
        .map_err(|_| ApiError::new(Code::InvalidBucketName).detail("BucketName", clip(text)))
}

/// An object's key, or the error that AWS gives.
pub(crate) fn parse_key(text: &str) -> ApiResult<ObjectKey> {
    ObjectKey::new(text).map_err(|error| match error {
        InvalidName::TooLong => ApiError::new(Code::KeyTooLong)
            .detail("Size", text.len().to_string())
            .detail("MaxSizeAllowed", types::limits::OBJECT_KEY_MAX_BYTES.to_string()),
        InvalidName::TooShort | InvalidName::Malformed => {
            ApiError::with(Code::InvalidArgument, "A key must be specified.")
        }
    })
}

/// At most 128 characters of what a client sent, for an error.
pub(crate) fn clip(text: &str) -> String {
    text.chars().take(128).collect()
}

fn strip_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.contains(':') => {
            name
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(host: &str, path: &str) -> Result<String, Code> {
        let domains = Domains::new(&["localhost".to_owned(), "s3.example.com:9000".to_owned()]);
        match Target::resolve(host, path, &domains) {
            Ok(Target::Object(bucket, key)) => Ok(format!("{bucket}|{key}")),
            Ok(Target::Bucket(bucket)) => Ok(bucket.to_string()),
            Ok(Target::Service) => Ok("service".to_owned()),
            Err(error) => Err(error.code()),
        }
    }

    #[test]
    fn path_style() {
        for (path, expected) in [
            ("/", "service"),
            ("/abc", "abc"),
            ("/abc/", "abc"),
            ("/abc/k", "abc|k"),
            ("/abc//", "abc|/"),
            ("/abc//k", "abc|/k"),
            ("/abc/../../etc", "abc|../../etc"),
            ("/abc/%2e%2e/x", "abc|../x"),
            ("/abc/a%252Fb", "abc|a%2Fb"),
            ("/abc/a+b%20c", "abc|a+b c"),
            ("/abc%2Fk", "abc|k"),
            ("/abc/%F0%9F%A6%80", "abc|🦀"),
        ] {
            for host in ["127.0.0.1:9000", "localhost", "[::1]:9000", "other.example.com"] {
                assert_eq!(resolve(host, path).as_deref(), Ok(expected), "{host} {path}");
            }
        }
    }

    #[test]
    fn virtual_host_style() {
        for (host, path, expected) in [
            ("abc.localhost:9000", "/", "abc"),
            ("abc.localhost", "/k/l", "abc|k/l"),
            ("ABC.LocalHost", "//k", "abc|/k"),
            ("a.b.c.s3.example.com", "/k", "a.b.c|k"),
            ("s3.example.com:9000", "/abc/k", "abc|k"),
        ] {
            assert_eq!(resolve(host, path).as_deref(), Ok(expected), "{host} {path}");
        }
    }

    #[test]
    fn bad_paths_are_refused() {
        let long = format!("/abc/{}", "k".repeat(1025));
        for (host, path, code) in [
            ("h", "*", Code::InvalidUri),
            ("h", "", Code::InvalidUri),
            ("h", "/abc/%", Code::InvalidUri),
            ("h", "/abc/%ff", Code::InvalidUri),
            ("h", "//abc", Code::InvalidBucketName),
            ("h", "/ABC/k", Code::InvalidBucketName),
            ("h", "/../k", Code::InvalidBucketName),
            ("x.localhost", "/k", Code::InvalidBucketName),
            ("h", long.as_str(), Code::KeyTooLong),
        ] {
            assert_eq!(resolve(host, path), Err(code), "{host} {path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_key_survives_the_path(key in "\\PC{1,40}|[./%?+ ]{1,9}") {
            let path = format!("/abc/{}", crate::query::encode_url(&key));
            proptest::prop_assert_eq!(resolve("h", &path), Ok(format!("abc|{key}")));
        }

        #[test]
        fn any_path_is_survived(host in ".{0,20}", path in "/?.{0,40}") {
            let _ = resolve(&host, &path);
        }
    }
}
