//! What to measure, and how: plain types with text forms, so that a command line only has to name
//! them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::BenchError;

/// One measurement of one S3 endpoint.
#[derive(Clone, Debug)]
pub struct S3BenchConfig {
    /// Where the service listens.
    pub endpoint: Endpoint,
    /// The bucket to use. Made if it is missing, and then removed again unless [`Self::keep`].
    pub bucket: String,
    /// What to do.
    pub op: Operation,
    /// Size of every object. At most [`S3BenchConfig::SIZE_MAX`].
    pub size: ByteSize,
    /// Connections, each with one request at a time; at least 1.
    pub concurrency: usize,
    /// How long new requests are begun. Those under way are finished and counted.
    pub duration: Duration,
    /// Who asks.
    pub credentials: Credentials,
    /// Region that requests are signed for.
    pub region: String,
    /// Objects to prepare for every operation but `put`; at least 1.
    pub objects: u64,
    /// What all keys begin with; `None` picks a fresh random prefix, so that runs do not meet.
    pub prefix: Option<String>,
    /// The objects stand there from an earlier run with the same prefix, size and number, and
    /// [`Self::keep`].
    pub prepared: bool,
    /// Leave bucket and objects behind.
    pub keep: bool,
    /// Sign a SHA-256 of every body instead of `UNSIGNED-PAYLOAD`.
    pub sign_payload: bool,
    /// Processes of the server on this machine, whose processor time and memory are reported too.
    pub server_pids: Vec<u32>,
}

impl S3BenchConfig {
    /// The largest object that one PUT may make.
    pub const SIZE_MAX: ByteSize = ByteSize(types::limits::PUT_MAX_BYTES);

    /// Checks the ranges that the fields' documentation gives.
    ///
    /// # Errors
    /// [`BenchError::OutOfRange`].
    pub fn check(&self) -> Result<(), BenchError> {
        if self.concurrency == 0 {
            return Err(BenchError::OutOfRange("concurrency must be at least 1"));
        }
        if self.objects == 0 {
            return Err(BenchError::OutOfRange("the number of objects must be at least 1"));
        }
        if self.size > Self::SIZE_MAX {
            return Err(BenchError::OutOfRange("an object of one PUT has at most 5 GiB"));
        }
        if self.prefix.as_ref().is_some_and(|prefix| prefix.len() > 900) {
            return Err(BenchError::OutOfRange("a prefix has at most 900 bytes"));
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if self.region.is_empty() || !self.region.bytes().all(plain) {
            return Err(BenchError::OutOfRange("a region is letters, digits and dashes"));
        }
        if self.bucket.is_empty() {
            return Err(BenchError::OutOfRange("a bucket must be named"));
        }
        if self.prepared && self.prefix.is_none() {
            return Err(BenchError::OutOfRange("prepared objects need their prefix"));
        }
        if self.prepared && self.op == Operation::Delete {
            return Err(BenchError::OutOfRange("objects to delete must be prepared afresh"));
        }
        Ok(())
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// PUT of new objects.
    Put,
    /// GET of prepared objects, chosen at random; bodies are read to the end and their lengths
    /// checked.
    Get,
    /// ListObjectsV2, page after page of 1000 over all prepared keys; the number of keys is
    /// checked.
    List,
    /// DELETE of prepared objects, each once; ends early when none is left.
    Delete,
    /// 70 % get of prepared objects, 20 % put of new ones, 10 % delete of the oldest one that the
    /// same connection has put, or a page of a listing while there is none.
    Mixed,
}

impl Operation {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 5] = [
        ("put", Self::Put),
        ("get", Self::Get),
        ("list", Self::List),
        ("delete", Self::Delete),
        ("mixed", Self::Mixed),
    ];
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, op)| op == self).map_or("", |(name, _)| name);
        f.pad(name)
    }
}

impl FromStr for Operation {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, op)| *op).ok_or(InvalidText("one of put, get, list, delete, mixed"))
    }
}

/// Text that does not have the form it should; holds a description of that form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct InvalidText(&'static str);

/// A number of bytes. Written as a whole number and a unit: none or `B`; `KB MB GB TB` (powers of
/// 1000); `KiB MiB GiB TiB` or `K M G T` (powers of 1024). Letters of any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

const BYTE_SIZE_FORM: InvalidText = InvalidText("a size such as 4096, 4KiB, 64MiB or 1GB");

impl FromStr for ByteSize {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let (number, unit) = split_unit(text).ok_or(BYTE_SIZE_FORM)?;
        let factor: u64 = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            _ => return Err(BYTE_SIZE_FORM),
        };
        number.checked_mul(factor).map(Self).ok_or(BYTE_SIZE_FORM)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let whole = |&&(_, bits): &&(&str, u32)| self.0 != 0 && self.0.trailing_zeros() >= bits;
        match units.iter().find(whole) {
            Some((unit, bits)) => write!(f, "{}{unit}", self.0 >> bits),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// A span of time, written as a whole number and `ms`, `s` (also when there is no unit), `m` or
/// `h`; not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

const SPAN_FORM: InvalidText = InvalidText("a duration such as 500ms, 10s, 2m or 1h");

impl FromStr for Span {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let (number, unit) = split_unit(text).ok_or(SPAN_FORM)?;
        let factor_ms: u64 = match unit {
            "ms" => 1,
            "" | "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(SPAN_FORM),
        };
        let span_ms = number.checked_mul(factor_ms).filter(|&ms| ms > 0 && ms <= 7 * 86_400_000);
        span_ms.map(|ms| Self(Duration::from_millis(ms))).ok_or(SPAN_FORM)
    }
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

/// An `http://host[:port]` address. Buckets are addressed by path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
}

/// Why an endpoint was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// Transport encryption is not built into the load generator.
    #[error("https is not implemented in the load generator; measure over http")]
    HttpsNotImplemented,
    /// Not an address of a service.
    #[error("expected an endpoint such as http://127.0.0.1:9000, without path, query or user")]
    Malformed,
}

impl Endpoint {
    /// The host to connect to: a name, an IPv4 address or an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The value of the `Host` header: without the port when that is 80.
    pub fn authority(&self) -> String {
        match self.port {
            80 => self.host.clone(),
            port => format!("{}:{port}", self.host),
        }
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let uri: http::Uri = text.parse().map_err(|_| InvalidEndpoint::Malformed)?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(InvalidEndpoint::HttpsNotImplemented),
            _ => return Err(InvalidEndpoint::Malformed),
        }
        let authority = uri.authority().ok_or(InvalidEndpoint::Malformed)?;
        let plain = uri.path() == "/" && uri.query().is_none() && !authority.as_str().contains('@');
        if !plain || authority.host().is_empty() {
            return Err(InvalidEndpoint::Malformed);
        }
        let port = match authority.port_u16() {
            Some(port) => port,
            None if authority.as_str() == authority.host() => 80,
            None => return Err(InvalidEndpoint::Malformed),
        };
        Ok(Self { host: authority.host().to_owned(), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority())
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An access key and its secret; the secret does not show in debug output.
#[derive(Clone)]
pub struct Credentials {
    /// The access key id.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
    /// The token of temporary credentials.
    pub session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("1B", 1),
            ("4KiB", 4096),
            ("4kib", 4096),
            ("4K", 4096),
            ("4KB", 4000),
            ("64MiB", 64 << 20),
            ("10GiB", 10 << 30),
            ("1GB", 1_000_000_000),
            ("2T", 2 << 40),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in
            ["", "KiB", "-1", "+1", "1.5K", "1 K", "1KiBs", "99999999999999999999", "99999999T"]
        {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        for (bytes, text) in [(0, "0B"), (1000, "1000B"), (4096, "4KiB"), (3 << 29, "1536MiB")] {
            assert_eq!(ByteSize(bytes).to_string(), text);
            assert_eq!(text.parse(), Ok(ByteSize(bytes)));
        }
    }

    #[test]
    fn spans() {
        for (text, ms) in
            [("10s", 10_000), ("3", 3_000), ("250ms", 250), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(ms))), "{text}");
        }
        for text in ["", "s", "0s", "-1s", "1.5s", "1d", "999999999h", "10 s"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn endpoints() {
        for (text, host, port, authority) in [
            ("http://127.0.0.1:9000", "127.0.0.1", 9000, "127.0.0.1:9000"),
            ("http://s3.example.org/", "s3.example.org", 80, "s3.example.org"),
            ("http://[::1]:9000", "::1", 9000, "[::1]:9000"),
        ] {
            let endpoint: Endpoint = text.parse().expect("an endpoint");
            assert_eq!((endpoint.host(), endpoint.port()), (host, port));
            assert_eq!(endpoint.authority(), authority);
        }
        let https = "https://s3.example.org".parse::<Endpoint>();
        assert_eq!(https, Err(InvalidEndpoint::HttpsNotImplemented));
        for text in [
            "",
            "127.0.0.1:9000",
            "http://",
            "http://h/path",
            "http://h?q",
            "http://u:p@h:1",
            "http://h:99999",
            "ftp://h",
            "http://h:",
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(InvalidEndpoint::Malformed), "{text}");
        }
    }

    #[test]
    fn operations_and_secrets() {
        for (name, op) in Operation::ALL {
            assert_eq!(name.parse(), Ok(op));
            assert_eq!(op.to_string(), name);
        }
        assert!("PUT".parse::<Operation>().is_err());
        let credentials = Credentials {
            access_key_id: "AKIA".to_owned(),
            secret_access_key: "hush".to_owned(),
            session_token: Some("hush".to_owned()),
        };
        let text = format!("{credentials:?}");
        assert!(text.contains("AKIA") && !text.contains("hush"), "{text}");
    }
}
