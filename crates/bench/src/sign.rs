//! AWS Signature Version 4, in the header, for the few requests that a load generator makes.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>. Not here:
//! presigned URLs and signed chunks.

use std::fmt::Write as _;

use aws_lc_rs::{digest, hmac};
use types::UnixMillis;

use crate::Credentials;

/// Stands for a body that the signature does not cover.
pub(crate) const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// The SHA-256 of no bytes.
pub(crate) const EMPTY_SHA256: &str =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What of a request is signed.
pub(crate) struct Unsigned<'a> {
    pub(crate) method: &'a str,
    /// Percent-encoded, from the slash on.
    pub(crate) path: &'a str,
    /// Percent-encoded and in the order of the names, without the question mark.
    pub(crate) query: &'a str,
    /// Names in lower case and in order, values without surrounding blanks. Holds `host`,
    /// `x-amz-content-sha256` and `x-amz-date`.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) payload_hash: &'a str,
}

/// Signs requests for one identity in one region. Remembers the key of the day.
pub(crate) struct Signer {
    credentials: Credentials,
    region: String,
    day: String,
    key: hmac::Key,
}

impl Signer {
    pub(crate) fn new(credentials: Credentials, region: String) -> Self {
        Self {
            credentials,
            region,
            day: String::new(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &[]),
        }
    }

    pub(crate) fn session_token(&self) -> Option<&str> {
        self.credentials.session_token.as_deref()
    }

    /// The value of the `Authorization` header. `stamp` is the value of `x-amz-date`.
    pub(crate) fn authorization(&mut self, stamp: &str, request: &Unsigned<'_>) -> String {
        let day = stamp.get(..8).unwrap_or(stamp);
        if self.day != day {
            self.key = signing_key(&self.credentials.secret_access_key, day, &self.region);
            day.clone_into(&mut self.day);
        }
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let names: Vec<&str> = request.headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let canonical =
            hex(digest::digest(&digest::SHA256, canonical_request(request, &names).as_bytes()));
        let to_sign = format!("{ALGORITHM}\n{stamp}\n{scope}\n{canonical}");
        let signature = hex(hmac::sign(&self.key, to_sign.as_bytes()));
        let id = &self.credentials.access_key_id;
        format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}")
    }
}

fn canonical_request(request: &Unsigned<'_>, names: &str) -> String {
    let Unsigned { method, path, query, headers, payload_hash } = request;
    let mut text = format!("{method}\n{path}\n{query}\n");
    for (name, value) in *headers {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}:{value}");
    }
    let _ = write!(text, "\n{names}\n{payload_hash}");
    text
}

fn signing_key(secret: &str, day: &str, region: &str) -> hmac::Key {
    let first = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{secret}").as_bytes());
    [day, region, "s3", "aws4_request"].iter().fold(first, |key, part| {
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref())
    })
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes.as_ref().iter().flat_map(|&byte| [digit(byte >> 4), digit(byte)]).collect()
}

/// Percent-encodes all but `A-Z a-z 0-9 - . _ ~`, and the slash only where it separates.
pub(crate) fn encode(text: &str, keep_slash: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            b'/' if keep_slash => encoded.push('/'),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

/// The time as `x-amz-date` has it, such as `20130524T000000Z`.
pub(crate) fn stamp(now: UnixMillis) -> String {
    let (days, rest) = (now.seconds() / 86_400, now.seconds() % 86_400);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// The date of a day counted from 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date
/// algorithms").
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: (&str, &str) = ("host", "examplebucket.s3.amazonaws.com");
    const DATE: (&str, &str) = ("x-amz-date", "20130524T000000Z");

    fn signer() -> Signer {
        let credentials = Credentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
        };
        Signer::new(credentials, "us-east-1".to_owned())
    }

    fn signature(request: &Unsigned<'_>) -> String {
        let text = signer().authorization(DATE.1, request);
        let scope = "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, ";
        assert!(text.starts_with(&format!("AWS4-HMAC-SHA256 {scope}")), "{text}");
        text.rsplit('=').next().expect("a signature").to_owned()
    }

    /// The four examples of the page that the module documentation names.
    #[test]
    fn published_examples() {
        let hash = ("x-amz-content-sha256", EMPTY_SHA256);
        let get = Unsigned {
            method: "GET",
            path: "/test.txt",
            query: "",
            headers: &[HOST, ("range", "bytes=0-9"), hash, DATE],
            payload_hash: EMPTY_SHA256,
        };
        let expected = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        assert_eq!(signature(&get), expected);

        let body = hex(digest::digest(&digest::SHA256, b"Welcome to Amazon S3."));
        let put = Unsigned {
            method: "PUT",
            path: &encode("/test$file.text", true),
            query: "",
            headers: &[
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                HOST,
                ("x-amz-content-sha256", &body),
                DATE,
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ],
            payload_hash: &body,
        };
        let expected = "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd";
        assert_eq!(signature(&put), expected);

        for (query, expected) in [
            ("lifecycle=", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            (
                "max-keys=2&prefix=J",
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            let headers = &[HOST, hash, DATE];
            let list =
                Unsigned { method: "GET", path: "/", query, headers, payload_hash: EMPTY_SHA256 };
            assert_eq!(signature(&list), expected, "{query}");
        }
    }

    #[test]
    fn the_key_follows_the_day() {
        let mut one = signer();
        let request =
            Unsigned { method: "GET", path: "/", query: "", headers: &[HOST], payload_hash: "" };
        let first = one.authorization("20130524T000000Z", &request);
        let next = one.authorization("20130525T000000Z", &request);
        assert_eq!(one.authorization("20130524T000000Z", &request), first);
        assert_eq!(signer().authorization("20130525T000000Z", &request), next);
    }

    #[test]
    fn stamps() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (951_868_800, "20000301T000000Z"),
            (1_369_353_600, "20130524T000000Z"),
            (4_107_542_399, "21000228T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(stamp(UnixMillis(seconds * 1000 + 999)), text);
        }
    }

    #[test]
    fn encoding() {
        assert_eq!(encode("a b/ü~", true), "a%20b/%C3%BC~");
        assert_eq!(encode("a/b+", false), "a%2Fb%2B");
        assert_eq!(hex([0, 0x9f, 0xff]), "009fff");
    }
}
