//! The program as a neighbour on its machine: what others may read of its files, and what clients may take from it.

#![allow(clippy::disallowed_methods, reason = "tests use the file system directly")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server that ends with the test.
struct Server {
    child: Child,
    s3: String,
    admin: String,
}

impl Server {
    /// `undercroft dev` in `dir`, with at most so many open files.
    fn start(dir: &Path, descriptors: u32) -> Self {
        let script = format!("umask 000; ulimit -n {descriptors}; exec \"$0\" \"$@\"");
        let mut child = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_undercroft"), "dev", "--dir"])
            .arg(dir)
            .args(["--s3-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .env_remove("UNDERCROFT_ACCESS_KEY_ID")
            .env_remove("UNDERCROFT_SECRET_ACCESS_KEY")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (mut s3, mut admin) = (String::new(), String::new());
        for line in lines.map_while(Result::ok) {
            let address = line.split("http://").nth(1).unwrap_or_default();
            let address = address.split(' ').next().unwrap_or_default().to_owned();
            if line.starts_with("S3 endpoint") {
                s3 = address;
            } else if line.starts_with("Admin endpoint") {
                admin = address;
                break;
            }
        }
        assert!(!s3.is_empty() && !admin.is_empty(), "it says where it listens");
        Self { child, s3, admin }
    }

    fn health(&self) -> String {
        let mut stream = TcpStream::connect(&self.admin).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        let request = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request).expect("sent");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("answered");
        reply
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn assert_private(path: &Path) -> usize {
    let metadata = std::fs::symlink_metadata(path).expect("there");
    assert_eq!(metadata.mode() & 0o077, 0, "{} is open to others", path.display());
    if !metadata.is_dir() {
        return 1;
    }
    let entries = std::fs::read_dir(path).expect("a directory");
    entries.map(|entry| assert_private(&entry.expect("an entry").path())).sum()
}

#[test]
fn nobody_else_may_read_what_is_stored() {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path().join("data");
    let server = Server::start(&dir, 1024);
    assert!(server.health().starts_with("HTTP/1.1 200"));
    assert!(assert_private(&dir) > 5, "there are files");
}

#[test]
fn idle_connections_do_not_take_the_descriptors_of_the_drives() {
    let temporary = tempfile::tempdir().expect("a directory");
    let server = Server::start(temporary.path(), 256);
    let hold = || TcpStream::connect(&server.s3).expect("the queue takes it");
    let held: Vec<TcpStream> = std::iter::repeat_with(hold).take(300).collect();
    assert!(server.health().starts_with("HTTP/1.1 200"));
    drop(held);
}
