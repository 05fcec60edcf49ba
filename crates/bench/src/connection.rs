//! One persistent HTTP/1.1 connection that signs what it sends.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use runtime::Clock;
use tokio::net::TcpStream;

use crate::payload::Payload;
use crate::sign::{EMPTY_SHA256, Signer, UNSIGNED_PAYLOAD, Unsigned, stamp};
use crate::{Credentials, Endpoint, Failure, xml};

/// Most bytes kept of a reply that is read into memory; a page of a listing is well below.
const REPLY_MAX_BYTES: usize = 16 << 20;

/// A request, before it is signed.
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Percent-encoded.
    pub(crate) path: String,
    /// Percent-encoded, in the order of the names.
    pub(crate) query: String,
    pub(crate) body: Payload,
}

/// What to do with the body of a successful reply.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Take {
    /// Count its bytes and let them go.
    Length,
    /// Keep it.
    Bytes,
}

/// A successful reply.
pub(crate) struct Reply {
    /// Length of the body in bytes.
    pub(crate) len: u64,
    /// The body, when it was to be kept.
    pub(crate) bytes: Bytes,
}

/// A connection to the endpoint, made when it is first needed and again after it broke.
pub(crate) struct Connection {
    endpoint: Endpoint,
    authority: String,
    signer: Signer,
    sign_payload: bool,
    clock: Arc<dyn Clock>,
    sender: Option<SendRequest<Payload>>,
    /// The second that `stamp` was made for.
    stamped_s: Option<u64>,
    stamp: String,
}

impl Connection {
    pub(crate) fn new(
        endpoint: &Endpoint,
        credentials: Credentials,
        region: &str,
        sign_payload: bool,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            endpoint: endpoint.clone(),
            authority: endpoint.authority(),
            signer: Signer::new(credentials, region.to_owned()),
            sign_payload,
            clock,
            sender: None,
            stamped_s: None,
            stamp: String::new(),
        }
    }

    /// Connects now.
    pub(crate) async fn connect(&mut self) -> std::io::Result<()> {
        let stream = TcpStream::connect((self.endpoint.host(), self.endpoint.port())).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        // It ends with the connection; what goes wrong on it shows in the requests.
        tokio::spawn(connection);
        self.sender = Some(sender);
        Ok(())
    }

    /// Sends a request and reads the whole reply.
    ///
    /// A kept connection that the server closed meanwhile is replaced once: all requests that are
    /// made here may be repeated.
    ///
    /// # Errors
    /// [`Failure::Status`] for a reply that is not a success; other failures close the connection.
    pub(crate) async fn call(&mut self, call: &Call, take: Take) -> Result<Reply, Failure> {
        let kept = self.sender.is_some();
        let response = match self.send(call).await {
            Err(Failure::Broken) if kept => self.send(call).await?,
            outcome => outcome?,
        };
        let status = response.status();
        let take = if status.is_success() { take } else { Take::Bytes };
        let reply = match read(response.into_body(), take).await {
            Ok(reply) => reply,
            Err(failure) => {
                self.sender = None;
                return Err(failure);
            }
        };
        if status.is_success() {
            return Ok(reply);
        }
        let code = xml::text_of(&String::from_utf8_lossy(&reply.bytes), "Code").unwrap_or_default();
        // What a stranger sends goes into a report only if it looks like a code.
        let plain = code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric());
        let code = if plain { code } else { String::new() };
        Err(Failure::Status { status: status.as_u16(), code })
    }

    async fn send(&mut self, call: &Call) -> Result<Response<Incoming>, Failure> {
        let request = self.sign(call).ok_or(Failure::Broken)?;
        if self.sender.is_none() {
            self.connect().await.map_err(|_| Failure::Connect)?;
        }
        // Taken out, so that a call that is dropped halfway leaves no connection behind.
        let mut sender = self.sender.take().ok_or(Failure::Connect)?;
        sender.ready().await.map_err(|_| Failure::Broken)?;
        let response = sender.send_request(request).await.map_err(|_| Failure::Broken)?;
        self.sender = Some(sender);
        Ok(response)
    }

    /// `None` when the path or a header holds what HTTP cannot carry.
    fn sign(&mut self, call: &Call) -> Option<Request<Payload>> {
        let now = self.clock.now();
        if self.stamped_s != Some(now.seconds()) {
            self.stamped_s = Some(now.seconds());
            self.stamp = stamp(now);
        }
        let hash = match (call.body.len(), self.sign_payload) {
            (0, _) => EMPTY_SHA256.to_owned(),
            (_, true) => call.body.sha256(),
            (_, false) => UNSIGNED_PAYLOAD.to_owned(),
        };
        let token = self.signer.session_token().map(str::to_owned);
        let mut headers = vec![
            ("host", self.authority.as_str()),
            ("x-amz-content-sha256", hash.as_str()),
            ("x-amz-date", self.stamp.as_str()),
        ];
        headers.extend(token.as_deref().map(|token| ("x-amz-security-token", token)));
        let unsigned = Unsigned {
            method: call.method.as_str(),
            path: &call.path,
            query: &call.query,
            headers: &headers,
            payload_hash: &hash,
        };
        let authorization = self.signer.authorization(&self.stamp, &unsigned);
        let target = match call.query.as_str() {
            "" => call.path.clone(),
            query => format!("{}?{query}", call.path),
        };
        let mut request = Request::builder().method(call.method.clone()).uri(target);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if call.method == Method::PUT && call.body.len() == 0 {
            // hyper leaves this out when there is no body, and S3 refuses an object of undeclared length.
            request = request.header(header::CONTENT_LENGTH, 0);
        }
        let authorization = HeaderValue::try_from(authorization).ok()?;
        request.header(header::AUTHORIZATION, authorization).body(call.body.clone()).ok()
    }
}

async fn read(mut body: Incoming, take: Take) -> Result<Reply, Failure> {
    let (mut len, mut kept) = (0, BytesMut::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure::Broken)?;
        let Some(data) = frame.data_ref() else { continue };
        len += data.len() as u64;
        if take == Take::Bytes {
            if kept.len() + data.len() > REPLY_MAX_BYTES {
                return Err(Failure::WrongLength);
            }
            kept.extend_from_slice(data);
        }
    }
    Ok(Reply { len, bytes: kept.freeze() })
}
