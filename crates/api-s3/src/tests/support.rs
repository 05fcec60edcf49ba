//! A server over a real engine in temporary directories, a signer of its own (the server's is s3s's), and an
//! HTTP client that sends exactly what it is told.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use erasure::Geometry;
use kv::{
    Batch, Direction, Key, KeyRange, Kv, KvError, KvStatus, Outcome, Page, Reader, Versioned,
    Watcher,
};
use net::LocalCarrier;
use objects::{Engine, EngineConfig};
use parking_lot::Mutex;
use placement::{Drive, DriveRole, Layout};
use runtime::Runtime;
use runtime::disk::RealDisk;
use shards::{Identity, Store, StoreOptions};
use tenancy::{AccessKey, Credentials, Gate, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use types::{AccessKeyId, AccountId, BatchId, DriveId, NodeId, Revision, SessionId, UnixMillis};

use crate::body::hex;
use crate::dates::amz_date;
use crate::query::{decode_strict, encode_url};
use crate::{S3Config, S3Limits, serve};

pub(super) const REGION: &str = "us-east-1";
pub(super) const OWNER: Identity2 = Identity2 { key: "OWNERKEY", secret: "owner's secret" };
pub(super) const OTHER: Identity2 = Identity2 { key: "OTHERKEY", secret: "other's secret" };

/// A pair of keys.
#[derive(Clone, Copy)]
pub(super) struct Identity2 {
    pub(super) key: &'static str,
    pub(super) secret: &'static str,
}

/// A running server.
pub(super) struct Server {
    pub(super) address: std::net::SocketAddr,
    pub(super) calls: Arc<Calls>,
    stop: Option<oneshot::Sender<()>>,
    task: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
    _dirs: tempfile::TempDir,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::start_with(S3Limits::default()).await
    }

    pub(super) async fn start_with(limits: S3Limits) -> Self {
        let dirs = tempfile::tempdir().expect("a directory");
        let runtime = Runtime::real();
        let mut stores = HashMap::new();
        let mut layout = Layout { groups: 64, ..Layout::empty() };
        for number in 1..=3 {
            let (drive, node) = (DriveId::new(number), NodeId::new(number));
            let dir = dirs.path().join(format!("drive-{number}"));
            let identity =
                Identity { v: 1, cluster: "c".repeat(32), drive, node, created_at_ms: 0 };
            Store::format(Arc::new(RealDisk), &dir, &identity).expect("formatted");
            let options = StoreOptions { min_free_bytes: 0, ..StoreOptions::default() };
            let store = Store::open(Arc::new(RealDisk), runtime.clone(), &dir, options);
            stores.insert(drive, store.expect("opened"));
            layout.drives.push(Drive {
                id: drive,
                node,
                zone: String::new(),
                tier: String::new(),
                capacity_bytes: 1 << 40,
                state: DriveRole::Active,
                path_hint: String::new(),
            });
        }
        let options = kv::lsm::LsmOptions { reserve_bytes: 0, ..Default::default() };
        let lsm = kv::lsm::Lsm::open(&dirs.path().join("meta"), runtime.clone(), options);
        let calls = Arc::new(Calls::default());
        let kv = Arc::new(Watched { inner: lsm.expect("opened"), calls: calls.clone() });
        let engine = Engine::start(EngineConfig {
            kv: kv.clone(),
            carrier: Arc::new(LocalCarrier::new(stores)),
            layout,
            geometry: Geometry::new(2, 1).expect("a geometry"),
            runtime: runtime.clone(),
            region: REGION.to_owned(),
            label: "test".to_owned(),
            memory_budget_bytes: 256 << 20,
            throttle: Arc::new(runtime::Throttle::new(runtime.clock.clone(), 1.0)),
            upkeep: objects::UpkeepOptions::default(),
        });
        let config = S3Config {
            engine: engine.await.expect("started"),
            gate: Gate::new(kv),
            credentials: Arc::new(credentials()),
            region: REGION.to_owned(),
            domains: vec!["localhost".to_owned()],
            runtime,
            limits,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, config, async {
            let _ = stopped.await;
        }));
        Self { address, calls, stop: Some(stop), task: Some(task), _dirs: dirs }
    }

    /// Begins the shutdown.
    pub(super) fn begin_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Waits for the end of the shutdown.
    pub(super) async fn stopped(&mut self) {
        let task = self.task.take().expect("not waited for yet");
        task.await.expect("the task ends").expect("the server ends well");
    }

    pub(super) async fn connect(&self) -> Connection {
        Connection { stream: TcpStream::connect(self.address).await.expect("connected") }
    }

    /// Sends one request on a connection of its own.
    pub(super) async fn send(&self, request: &Request) -> Answer {
        let mut connection = self.connect().await;
        connection.write(&request.to_bytes()).await;
        connection.read(request.method).await
    }

    /// Sends one request of the owner.
    pub(super) async fn ask(&self, method: &'static str, path: &str, body: &[u8]) -> Answer {
        self.send(&Request::new(method, path).body(body).sign(OWNER)).await
    }
}

fn credentials() -> Credentials {
    Credentials::new([(OWNER, 1), (OTHER, 2)].map(|(identity, account)| AccessKey {
        account: AccountId::new(account).expect("an account"),
        id: AccessKeyId::new(identity.key).expect("a key id"),
        secret: Secret::new(identity.secret),
    }))
}

/// A request, built up and then signed.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) signature: String,
    pub(super) date: String,
}

impl Request {
    /// `path` and query are URL-encoded already.
    pub(super) fn new(method: &'static str, path_and_query: &str) -> Self {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        let pair = |text: &str| {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            (name.to_owned(), value.to_owned())
        };
        Self {
            method,
            path: path.to_owned(),
            query: query.split('&').filter(|q| !q.is_empty()).map(pair).collect(),
            headers: vec![("host".to_owned(), "127.0.0.1".to_owned())],
            body: Vec::new(),
            signature: String::new(),
            date: amz_date(Runtime::real().clock.now()),
        }
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(n, _)| n != name || name.starts_with("x-amz-meta-"));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    /// Signs in the header, over the hash of the body unless another payload was declared.
    pub(super) fn sign(mut self, identity: Identity2) -> Self {
        if !self.headers.iter().any(|(n, _)| n == "x-amz-content-sha256") {
            let hash = hex(digest::digest(&digest::SHA256, &self.body).as_ref());
            self = self.header("x-amz-content-sha256", &hash);
        }
        let date = self.date.clone();
        self = self.header("x-amz-date", &date);
        let payload = self.value("x-amz-content-sha256");
        let (signed, signature) = self.signature(identity, &payload);
        let scope = self.scope();
        self.signature = signature.clone();
        let text = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}",
            identity.key
        );
        self.header("authorization", &text)
    }

    /// Signs in the query.
    pub(super) fn presign(mut self, identity: Identity2, expires: u32) -> Self {
        let encode = |text: &str| text.replace('/', "%2F").replace(';', "%3B");
        let mut names: Vec<&str> = self.headers.iter().map(|(n, _)| n.as_str()).collect();
        names.sort_unstable();
        for (name, value) in [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256".to_owned()),
            ("X-Amz-Credential", encode(&format!("{}/{}", identity.key, self.scope()))),
            ("X-Amz-Date", self.date.clone()),
            ("X-Amz-Expires", expires.to_string()),
            ("X-Amz-SignedHeaders", encode(&names.join(";"))),
        ] {
            self.query.push((name.to_owned(), value));
        }
        let (_, signature) = self.signature(identity, "UNSIGNED-PAYLOAD");
        self.query.push(("X-Amz-Signature".to_owned(), signature));
        self
    }

    fn value(&self, name: &str) -> String {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, v)| v.clone()).unwrap_or_default()
    }

    fn scope(&self) -> String {
        format!("{}/{REGION}/s3/aws4_request", &self.date[..8])
    }

    fn signature(&self, identity: Identity2, payload: &str) -> (String, String) {
        let mut headers = self.headers.clone();
        headers.sort();
        let names: Vec<&str> = headers.iter().map(|(n, _)| n.as_str()).collect();
        let signed = names.join(";");
        let lines: String = headers.iter().map(|(n, v)| format!("{n}:{}\n", v.trim())).collect();
        let mut query = self.query.clone();
        query.sort();
        let query: Vec<String> = query.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let path = decode_strict(&self.path).map_or_else(|| self.path.clone(), |p| encode_url(&p));
        let canonical =
            format!("{}\n{path}\n{}\n{lines}\n{signed}\n{payload}", self.method, query.join("&"));
        let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let text = format!("AWS4-HMAC-SHA256\n{}\n{}\n{hash}", self.date, self.scope());
        let mut key = format!("AWS4{}", identity.secret).into_bytes();
        for part in [&self.date[..8], REGION, "s3", "aws4_request", &text] {
            let key_now = hmac::Key::new(hmac::HMAC_SHA256, &key);
            key = hmac::sign(&key_now, part.as_bytes()).as_ref().to_vec();
        }
        (signed, hex(&key))
    }

    pub(super) fn head(&self, content_length: Option<usize>) -> Vec<u8> {
        let query: Vec<String> = self.query.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let separator = if query.is_empty() { "" } else { "?" };
        let mut text =
            format!("{} {}{separator}{} HTTP/1.1\r\n", self.method, self.path, query.join("&"));
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(len) = content_length {
            text.push_str(&format!("content-length: {len}\r\n"));
        }
        text.push_str("\r\n");
        text.into_bytes()
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let bodied = !self.body.is_empty() || ["PUT", "POST"].contains(&self.method);
        let mut bytes = self.head(bodied.then_some(self.body.len()));
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// A connection.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
}

impl Connection {
    pub(super) async fn write(&mut self, bytes: &[u8]) {
        // The server may have answered and closed already.
        let _ = self.stream.write_all(bytes).await;
    }

    /// Reads one answer.
    pub(super) async fn read(&mut self, method: &str) -> Answer {
        let read = tokio::time::timeout(Duration::from_secs(60), self.read_answer(method));
        read.await.expect("an answer in time")
    }

    async fn read_answer(&mut self, method: &str) -> Answer {
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            let read = self.stream.read_buf(&mut bytes).await.unwrap_or(0);
            assert!(read > 0, "closed within a head: {:?}", String::from_utf8_lossy(&bytes));
        };
        let text = String::from_utf8(bytes[..head].to_vec()).expect("a head in ASCII");
        let mut lines = text.split("\r\n");
        let status: u16 = lines
            .next()
            .expect("a line")
            .split(' ')
            .nth(1)
            .expect("a status")
            .parse()
            .expect("a number");
        let headers: Vec<(String, String)> = lines
            .filter_map(|l| l.split_once(':'))
            .map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()))
            .collect();
        let mut answer = Answer { status, headers, body: Vec::new(), whole: true };
        if status == 100 {
            assert_eq!(head, bytes.len(), "nothing behind a 100");
            return answer;
        }
        let bodiless = method == "HEAD" || [204, 304].contains(&status);
        let len =
            if bodiless { 0 } else { answer.header("content-length").parse().expect("a length") };
        let mut body = bytes.split_off(head);
        while body.len() < len {
            if self.stream.read_buf(&mut body).await.unwrap_or(0) == 0 {
                answer.whole = false;
                break;
            }
        }
        assert!(body.len() <= len, "bytes behind the body");
        answer.body = body;
        answer
    }

    /// Whether the server has closed the connection.
    pub(super) async fn closed(&mut self) -> bool {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_secs(30), self.stream.read(&mut byte));
        matches!(read.await, Ok(Ok(0) | Err(_)))
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) whole: bool,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, v)| v.as_str()).unwrap_or_default()
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    /// The text of the first element of that name.
    pub(super) fn element(&self, name: &str) -> &str {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let rest = self.text().split_once(&open).map(|(_, rest)| rest).unwrap_or_default();
        rest.split_once(&close).map(|(text, _)| text).unwrap_or_default()
    }

    /// Asserts an error of that code, with everything that an error must have.
    #[track_caller]
    pub(super) fn refused(&self, status: u16, code: &str) -> &Self {
        assert_eq!((self.status, self.element("Code")), (status, code), "{self:?}");
        for element in ["Message", "Resource", "RequestId", "HostId"] {
            assert!(!self.element(element).is_empty(), "no {element}: {}", self.text());
        }
        assert_eq!(self.element("RequestId"), self.header("x-amz-request-id"));
        assert_eq!(self.element("HostId"), self.header("x-amz-id-2"));
        assert!(self.header("server-timing").contains("total;dur="));
        self
    }

    /// Asserts a success.
    #[track_caller]
    pub(super) fn ok(&self, status: u16) -> &Self {
        assert_eq!(
            self.status,
            status,
            "{:?} {}",
            self.headers,
            String::from_utf8_lossy(&self.body)
        );
        assert!(!self.header("x-amz-request-id").is_empty());
        assert!(!self.header("x-amz-id-2").is_empty());
        assert!(self.header("server-timing").contains("total;dur="));
        self
    }
}

/// What reached the store.
#[derive(Default)]
pub(super) struct Calls {
    directory: AtomicUsize,
    others: Mutex<Vec<String>>,
}

impl Calls {
    fn key(&self, key: &Key) {
        if key.as_bytes().starts_with(b"/buckets/") {
            self.directory.fetch_add(1, Ordering::SeqCst);
        } else {
            self.other(&format!("get {:?}", String::from_utf8_lossy(key.as_bytes())));
        }
    }

    fn other(&self, what: &str) {
        self.others.lock().push(what.to_owned());
    }

    /// Look-ups of the directory, and everything else, since the last time.
    pub(super) fn take(&self) -> (usize, Vec<String>) {
        (self.directory.swap(0, Ordering::SeqCst), std::mem::take(&mut *self.others.lock()))
    }
}

struct Watched {
    inner: Arc<dyn Kv>,
    calls: Arc<Calls>,
}

#[async_trait::async_trait]
impl Kv for Watched {
    async fn get(&self, key: &Key) -> Result<Option<Versioned>, KvError> {
        self.calls.key(key);
        self.inner.get(key).await
    }

    async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<Versioned>>, KvError> {
        self.calls.other("multi_get");
        self.inner.multi_get(keys).await
    }

    async fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Page, KvError> {
        self.calls.other("scan");
        self.inner.scan(range, limit, direction).await
    }

    async fn snapshot(&self) -> Result<Box<dyn Reader>, KvError> {
        self.calls.other("snapshot");
        self.inner.snapshot().await
    }

    async fn commit(&self, id: BatchId, batch: Batch) -> Result<Outcome, KvError> {
        self.calls.other("commit");
        self.inner.commit(id, batch).await
    }

    async fn watch(&self, prefix: &Key, after: Revision) -> Result<Box<dyn Watcher>, KvError> {
        self.inner.watch(prefix, after).await
    }

    async fn open_session(
        &self,
        id: SessionId,
        label: &str,
        now: UnixMillis,
    ) -> Result<(), KvError> {
        self.inner.open_session(id, label, now).await
    }

    async fn report_oldest_read(&self, id: SessionId, oldest: Revision) -> Result<(), KvError> {
        self.inner.report_oldest_read(id, oldest).await
    }

    async fn end_session(&self, id: SessionId) -> Result<Revision, KvError> {
        self.inner.end_session(id).await
    }

    async fn sessions(&self) -> Result<Vec<kv::SessionInfo>, KvError> {
        self.inner.sessions().await
    }

    async fn revision(&self) -> Result<Revision, KvError> {
        self.inner.revision().await
    }

    async fn status(&self) -> Result<KvStatus, KvError> {
        self.inner.status().await
    }

    async fn close(&self, deadline: Duration) -> Result<(), KvError> {
        self.inner.close(deadline).await
    }
}
