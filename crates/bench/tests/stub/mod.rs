//! An S3 stand-in in memory: enough for a load generator, strict about signatures, and able to
//! misbehave. Its signature check shares no code with the signer.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use aws_lc_rs::{digest, hmac};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub(crate) const SECRET: &str = "the/secret+of=tests";

/// How the stand-in misbehaves.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// Answers PUTs of objects with 503.
    SlowDown,
    /// Sends one byte less than an object has.
    ShortBodies,
    /// Closes the connection in place of a reply to a GET.
    HangUp,
    /// Leaves a key out of listings.
    HideKeys,
    /// Refuses objects beyond this number.
    FullAfter(usize),
}

#[derive(Default)]
struct State {
    buckets: BTreeSet<String>,
    /// Lengths by path.
    objects: BTreeMap<String, usize>,
    counts: BTreeMap<String, u64>,
    fault: Fault,
}

/// Stops when dropped.
pub(crate) struct Stub {
    address: std::net::SocketAddr,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

type Reply = Response<BoxBody<Bytes, Infallible>>;

impl Stub {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State::default()));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, state.clone()));
        Self { address, state, _tasks: tasks }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn set_fault(&self, fault: Fault) {
        lock(&self.state).fault = fault;
    }

    /// How often something happened.
    pub(crate) fn count(&self, what: &str) -> u64 {
        lock(&self.state).counts.get(what).copied().unwrap_or(0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        let state = lock(&self.state);
        state.objects.is_empty() && state.buckets.is_empty()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no panic while locked")
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("an option");
        lock(&state).bump("connections", 1);
        let state = state.clone();
        let service = service_fn(move |request| answer(request, state.clone()));
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move {
            // Clients hang up as they like.
            let _ = connection.await;
        });
    }
}

/// An error makes the server hang up.
async fn answer(request: Request<Incoming>, state: Arc<Mutex<State>>) -> Result<Reply, HungUp> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| HungUp)?.to_bytes();
    let mut state = lock(&state);
    if !is_signed(&head, &body) {
        state.bump("bad signature", 1);
        return Ok(error(StatusCode::FORBIDDEN, "SignatureDoesNotMatch"));
    }
    if head.headers["x-amz-content-sha256"] != "UNSIGNED-PAYLOAD" && !body.is_empty() {
        state.bump("signed bodies", 1);
    }
    let path = head.uri.path().trim_start_matches('/');
    match path.split_once('/') {
        None if head.uri.query().is_some() => Ok(state.list(path, head.uri.query().expect("one"))),
        None => Ok(state.bucket(&head.method, path)),
        Some((bucket, _)) if !state.buckets.contains(bucket) => {
            Ok(error(StatusCode::NOT_FOUND, "NoSuchBucket"))
        }
        Some(_) => state.object(&head.method, path, body.len()),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("hung up")]
struct HungUp;

impl State {
    fn bump(&mut self, what: &str, by: u64) {
        *self.counts.entry(what.to_owned()).or_default() += by;
    }

    fn bucket(&mut self, method: &Method, bucket: &str) -> Reply {
        self.bump(&format!("{method} bucket"), 1);
        let there = self.buckets.contains(bucket);
        match *method {
            Method::PUT if there => error(StatusCode::CONFLICT, "BucketAlreadyOwnedByYou"),
            Method::PUT => {
                self.buckets.insert(bucket.to_owned());
                reply(StatusCode::OK, Bytes::new())
            }
            Method::HEAD if there => reply(StatusCode::OK, Bytes::new()),
            Method::DELETE if there && self.objects.is_empty() => {
                self.buckets.remove(bucket);
                reply(StatusCode::NO_CONTENT, Bytes::new())
            }
            Method::DELETE if there => error(StatusCode::CONFLICT, "BucketNotEmpty"),
            _ => error(StatusCode::NOT_FOUND, "NoSuchBucket"),
        }
    }

    fn object(&mut self, method: &Method, path: &str, len: usize) -> Result<Reply, HungUp> {
        self.bump(&format!("{method} object"), 1);
        match (method.clone(), self.fault) {
            (Method::PUT, Fault::SlowDown) => {
                return Ok(error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown"));
            }
            (Method::PUT, Fault::FullAfter(objects)) if self.objects.len() >= objects => {
                return Ok(error(StatusCode::FORBIDDEN, "QuotaExceeded"));
            }
            (Method::GET, Fault::HangUp) => return Err(HungUp),
            (Method::PUT, _) => {
                self.bump("PUT bytes", len as u64);
                self.objects.insert(path.to_owned(), len);
            }
            (Method::GET, fault) => {
                let Some(&len) = self.objects.get(path) else {
                    return Ok(error(StatusCode::NOT_FOUND, "NoSuchKey"));
                };
                let len = if fault == Fault::ShortBodies { len - 1 } else { len };
                return Ok(reply(StatusCode::OK, vec![7; len].into()));
            }
            (Method::DELETE, _) => {
                self.objects.remove(path);
                return Ok(reply(StatusCode::NO_CONTENT, Bytes::new()));
            }
            _ => return Ok(error(StatusCode::NOT_IMPLEMENTED, "NotImplemented")),
        }
        Ok(reply(StatusCode::OK, Bytes::new()))
    }

    fn list(&mut self, bucket: &str, query: &str) -> Reply {
        self.bump("LIST", 1);
        let value = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.into_iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_owned())
        };
        // Paths are stored as they come, percent-encoded but for slashes.
        let slashes = |text: String| text.replace("%2F", "/").replace("%25", "%");
        let prefix = format!("{bucket}/{}", slashes(value("prefix").unwrap_or_default()));
        let after = value("continuation-token").map(slashes);
        let max: usize = value("max-keys").and_then(|max| max.parse().ok()).unwrap_or(1000);
        let keys = self.objects.keys().filter(|path| path.starts_with(&prefix));
        let keys = keys.filter(|path| after.as_ref().is_none_or(|after| *path > after));
        let mut keys: Vec<&String> = keys.take(max + 1).collect();
        let more = keys.len() > max;
        keys.truncate(max);
        let last = keys.last().map(|key| key.to_string()).unwrap_or_default();
        if self.fault == Fault::HideKeys {
            keys.pop();
        }
        let mut xml = String::from("<ListBucketResult>");
        for key in keys {
            xml += &format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>");
        }
        xml += &format!("<IsTruncated>{more}</IsTruncated>");
        if more {
            xml += &format!("<NextContinuationToken>{last}</NextContinuationToken>");
        }
        reply(StatusCode::OK, (xml + "</ListBucketResult>").into())
    }
}

fn reply(status: StatusCode, body: Bytes) -> Reply {
    Response::builder().status(status).body(Full::new(body).boxed()).expect("a reply")
}

fn error(status: StatusCode, code: &str) -> Reply {
    reply(status, format!("<Error><Code>{code}</Code></Error>").into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

/// Signature Version 4, read from the request as it came over the wire.
fn is_signed(head: &http::request::Parts, body: &[u8]) -> bool {
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let fields = || {
        let text = header("authorization")?.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let field = |name: &str| text.split(", ").find_map(|part| part.strip_prefix(name));
        Some((field("Credential=")?, field("SignedHeaders=")?, field("Signature=")?))
    };
    let Some((credential, names, signature)) = fields() else { return false };
    let (Some(date), Some(hash)) = (header("x-amz-date"), header("x-amz-content-sha256")) else {
        return false;
    };
    let body_hash = hex(digest::digest(&digest::SHA256, body).as_ref());
    if hash != "UNSIGNED-PAYLOAD" && hash != body_hash {
        return false;
    }
    let mut canonical =
        format!("{}\n{}\n{}\n", head.method, head.uri.path(), head.uri.query().unwrap_or_default());
    for name in names.split(';') {
        canonical += &format!("{name}:{}\n", header(name).unwrap_or_default());
    }
    canonical += &format!("\n{names}\n{hash}");
    let canonical = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let day = &date[..8];
    let scope = format!("{day}/us-east-1/s3/aws4_request");
    let mut key = hmac(format!("AWS4{SECRET}").as_bytes(), day);
    for part in ["us-east-1", "s3", "aws4_request"] {
        key = hmac(&key, part);
    }
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{canonical}");
    credential == format!("TESTKEY/{scope}")
        && names.split(';').any(|name| name == "host")
        && signature == hex(&hmac(&key, &text))
}
