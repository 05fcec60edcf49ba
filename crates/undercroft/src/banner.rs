//! What a person sees at the start. The lines `S3 endpoint` and `Admin endpoint` are stable: programs read
//! them.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use tenancy::AccessKey;

use crate::config::KeyOrigin;

/// What the banner tells.
pub(crate) struct Banner<'a> {
    /// Where S3 listens.
    pub(crate) s3: SocketAddr,
    /// Where health and metrics listen.
    pub(crate) admin: SocketAddr,
    /// The region that clients sign for.
    pub(crate) region: &'a str,
    /// The metadata directory.
    pub(crate) meta: &'a Path,
    /// The file of keys.
    pub(crate) credentials: &'a Path,
    /// The key to start with.
    pub(crate) key: &'a AccessKey,
    /// Where it is from.
    pub(crate) origin: KeyOrigin,
    /// Whether the secret may be shown: only where a generated one protects nothing but a trial.
    pub(crate) show_secret: bool,
    /// How new blobs are cut: `3+2`.
    pub(crate) geometry: String,
    /// Drives of the cluster.
    pub(crate) drives: usize,
    /// Those that are not there.
    pub(crate) missing: usize,
    /// Drives that may be lost when all are there.
    pub(crate) parity: usize,
    /// What the start found, a sentence each.
    pub(crate) notes: &'a [String],
}

impl Banner<'_> {
    /// The text, with a newline at its end.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let (s3, admin) = (url(self.s3), url(self.admin));
        writeln!(out, "Undercroft {}\n", env!("CARGO_PKG_VERSION"))?;
        writeln!(out, "S3 endpoint:    {s3}")?;
        writeln!(out, "Admin endpoint: {admin}  (GET /health, GET /metrics)")?;
        writeln!(out, "Region:         {}", self.region)?;
        let drives = self.drives;
        writeln!(
            out,
            "Data:           {drives} drive{}, {}; {}",
            plural(drives),
            self.geometry,
            self.bearable()
        )?;
        writeln!(out, "Metadata:       {}, one replica (see below)", self.meta.display())?;
        writeln!(out, "Credentials:    {}", self.credentials_line())?;
        writeln!(out, "\nTry:\n")?;
        self.write_commands(out, &s3)?;
        writeln!(
            out,
            "\nWARNING: metadata has one replica. If {} is lost, so is every object,",
            self.meta.display()
        )?;
        writeln!(
            out,
            "whatever the redundancy of the data. Keep it on your safest disk and back it up while stopped."
        )?;
        if self.parity == 0 {
            writeln!(
                out,
                "WARNING: data has no redundancy: the loss of one drive loses objects for good."
            )?;
        }
        if self.missing > self.parity {
            writeln!(
                out,
                "WARNING: more drives are missing than the redundancy covers: objects above 8 KiB may be unreadable"
            )?;
            writeln!(out, "until the drives return. Nothing is deleted meanwhile.")?;
        } else if self.missing > 0 {
            let left = self.parity - self.missing;
            writeln!(
                out,
                "DEGRADED: {} of {} drives missing. Everything can be read; {left} more may be lost.",
                self.missing, self.drives
            )?;
        }
        self.notes.iter().try_for_each(|note| writeln!(out, "NOTE: {note}"))
    }

    fn bearable(&self) -> String {
        match self.parity {
            0 => "no drive may be lost".to_owned(),
            parity => format!("any {parity} may be lost"),
        }
    }

    fn credentials_line(&self) -> String {
        let file = self.credentials.display();
        match self.origin {
            KeyOrigin::Environment => format!("{} from the environment", self.key.id),
            KeyOrigin::File => file.to_string(),
            KeyOrigin::Generated => format!("{file} (made just now)"),
        }
    }

    fn write_commands(&self, out: &mut String, s3: &str) -> std::fmt::Result {
        if self.show_secret {
            writeln!(out, "  export AWS_ACCESS_KEY_ID={}", self.key.id)?;
            writeln!(out, "  export AWS_SECRET_ACCESS_KEY={}", self.key.secret.expose())?;
        } else {
            let place = match self.origin {
                KeyOrigin::Environment => "as in the environment".to_owned(),
                KeyOrigin::File | KeyOrigin::Generated => {
                    format!("from {}", self.credentials.display())
                }
            };
            writeln!(out, "  export AWS_ACCESS_KEY_ID={}", self.key.id)?;
            writeln!(out, "  export AWS_SECRET_ACCESS_KEY=…  # {place}")?;
        }
        writeln!(out, "  export AWS_ENDPOINT_URL={s3} AWS_REGION={}", self.region)?;
        writeln!(out, "  aws s3 mb s3://first-bucket")?;
        writeln!(out, "  aws s3 cp README.md s3://first-bucket/")?;
        writeln!(out, "  aws s3 ls s3://first-bucket/")
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// A URL that a client on this machine can use: listening on every address includes loopback.
fn url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

#[cfg(test)]
mod tests {
    use tenancy::Secret;
    use types::{AccessKeyId, AccountId};

    use super::*;

    fn text(show_secret: bool, origin: KeyOrigin, missing: usize, parity: usize) -> String {
        let key = AccessKey {
            account: AccountId::new(1).expect("small"),
            id: AccessKeyId::new("KEY").expect("valid"),
            secret: Secret::new("the-secret-itself"),
        };
        let banner = Banner {
            s3: "0.0.0.0:9000".parse().expect("an address"),
            admin: "[::1]:9001".parse().expect("an address"),
            region: "us-east-1",
            meta: Path::new("meta"),
            credentials: Path::new("credentials.json"),
            key: &key,
            origin,
            show_secret,
            geometry: "3+2".to_owned(),
            drives: 5,
            missing,
            parity,
            notes: &["Drive x is missing.".to_owned()],
        };
        banner.text()
    }

    #[test]
    fn programs_find_the_endpoints() {
        let text = text(true, KeyOrigin::Generated, 0, 2);
        let line = |start: &str| text.lines().find(|line| line.starts_with(start)).expect("there");
        assert!(line("S3 endpoint").ends_with("http://127.0.0.1:9000"));
        assert!(line("Admin endpoint").contains("http://[::1]:9001 "));
        assert!(text.contains("the-secret-itself") && text.contains("one replica"), "{text}");
        assert!(!text.contains("DEGRADED"));
    }

    #[test]
    fn secrets_are_shown_only_when_asked_for() {
        for origin in [KeyOrigin::File, KeyOrigin::Environment] {
            assert!(!text(false, origin, 0, 2).contains("the-secret-itself"));
        }
    }

    #[test]
    fn what_is_missing_is_said_in_words() {
        assert!(text(false, KeyOrigin::File, 1, 2).contains("1 more may be lost"));
        assert!(text(false, KeyOrigin::File, 3, 2).contains("may be unreadable"));
        assert!(text(false, KeyOrigin::File, 0, 0).contains("no redundancy"));
        assert!(text(false, KeyOrigin::File, 0, 2).contains("NOTE: Drive x is missing."));
    }
}
