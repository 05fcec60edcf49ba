//! Requests without a library, for the admin listener and for looking at a server from outside.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its status code.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

impl Response {
    /// Its body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Gets `path` from `endpoint` (`http://host:port`), unsigned.
///
/// # Errors
/// Whatever the connection says, or an answer that is not HTTP.
pub fn get(endpoint: &str, path: &str) -> std::io::Result<Response> {
    ask("GET", endpoint, path)
}

/// Posts nothing to `path` of `endpoint`, unsigned.
///
/// # Errors
/// As [`get`].
pub fn post(endpoint: &str, path: &str) -> std::io::Result<Response> {
    ask("POST", endpoint, path)
}

fn ask(method: &str, endpoint: &str, path: &str) -> std::io::Result<Response> {
    let wrong = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    let host = endpoint.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let head = format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n");
    write!(stream, "{head}Content-Length: 0\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.ok_or_else(|| wrong("no end of headers"))?;
    let body = bytes.split_off(end + 4);
    let head = String::from_utf8_lossy(&bytes);
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| wrong("no status code"))?;
    Ok(Response { status, body })
}
