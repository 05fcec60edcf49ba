//! One request from its head to its reply: gate, signature, admission, operation, and what every reply carries.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response};
use http_body::Body;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::address::{Domains, Target};
use crate::body::{ChunkSigner, Idle, RequestBody, Wire};
use crate::call::{Call, Shared, TREE_MAX_BYTES};
use crate::config::S3Config;
use crate::error::{ApiError, ApiResult, Code};
use crate::gate::{self, Admitted, Policy};
use crate::pages::Pages;
use crate::reply::{Reply, ReplyBody, Sending};
use crate::telemetry::{Record, server_timing};
use crate::verifier::Verifier;
use crate::wire::Lingering;

const SERVER: HeaderValue = HeaderValue::from_static("Undercroft");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
const HOST_ID: HeaderName = HeaderName::from_static("x-amz-id-2");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Less could not hold the longest document that an operation takes, which would then wait for ever.
const XML_MEMORY_MIN_BYTES: usize = 16 << 20;

/// Answers requests.
pub(crate) struct Service {
    shared: Arc<Shared>,
    policy: Policy,
    verifier: Verifier,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    host_id: String,
}

/// Where a request's time went.
#[derive(Default)]
struct Phases {
    gate: Duration,
    auth: Duration,
    wait: Duration,
}

impl Service {
    /// Over that configuration.
    pub(crate) fn new(config: S3Config) -> Self {
        let mut host_id = [0; 24];
        config.runtime.entropy.fill(&mut host_id);
        let policy =
            Policy { region: config.region.clone(), domains: Domains::new(&config.domains) };
        let verifier = Verifier::new(config.credentials.clone());
        let places = Arc::new(Semaphore::new(config.limits.max_in_flight));
        let xml_memory = config.limits.xml_memory_bytes.max(XML_MEMORY_MIN_BYTES) / 1024;
        let tree_memory = xml_memory.max(TREE_MAX_BYTES / 1024);
        let (xml_memory, tree_memory) =
            (Arc::new(Semaphore::new(xml_memory)), Arc::new(Semaphore::new(tree_memory)));
        let limits = &config.limits;
        let clock = config.runtime.clock.clone();
        let pages = Pages::new(limits.page_memory_bytes, clock, limits.admission_wait);
        Self {
            shared: Arc::new(Shared { config, xml_memory, tree_memory, pages }),
            policy,
            verifier,
            places,
            waiting: AtomicUsize::new(0),
            host_id: base64::engine::general_purpose::STANDARD.encode(host_id),
        }
    }

    /// Answers one request. Never fails: what goes wrong is a reply too.
    pub(crate) async fn handle<B>(self: Arc<Self>, request: Request<B>) -> Response<Sending>
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Send,
    {
        let runtime = &self.shared.config.runtime;
        let id = format!("{:016X}", runtime.entropy.nonzero_u64());
        let mut record = Record::begin(runtime.clock.clone(), id);
        let (parts, body) = request.into_parts();
        let expects = parts.headers.contains_key(header::EXPECT);
        let wire = Lingering::new(body, expects, record.meter(), runtime.clock.clone());
        let (held_back, wire) = (wire.held_back(), wire.into_wire());
        let mut phases = Phases::default();
        let mut reply = match self.answer(&parts, wire, &mut record, &mut phases).await {
            Ok(reply) => {
                record.answer(reply.status.as_u16(), "");
                reply
            }
            Err(error) => {
                record.answer(error.code().status_code(), error.code().as_str());
                self.refusal(&parts, &error, record.request_id())
            }
        };
        if held_back.is_true() {
            // Said, not just done: a client would send its next request into the closing connection.
            reply.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        self.finish(reply, record, &phases)
    }

    async fn answer(
        &self,
        parts: &Parts,
        wire: Wire,
        record: &mut Record,
        phases: &mut Phases,
    ) -> ApiResult<Reply> {
        let now = self.shared.config.runtime.clock.now();
        let admitted = gate::check(parts, now, &self.policy);
        phases.gate = record.elapsed();
        let admitted = admitted?;
        record.about(admitted.operation.name(), admitted.target.resource());
        let verified = self.verifier.verify(parts, &admitted.claim).await;
        phases.auth = record.elapsed();
        let (principal, secret) = verified?;
        // Only now: a stranger takes no place, none in the queue for one, and slows no repair down.
        let foreground = self.shared.config.engine.throttle().foreground();
        record.admit(self.admit().await?, foreground);
        phases.wait = record.elapsed();
        let operation = admitted.operation;
        let call = self.call(admitted, principal, &secret, wire);
        let place = self.shared.pages.place_for(operation).await?;
        let mut reply = operation.run(call).await?;
        if let Some(place) = place {
            place.attach(&mut reply);
        }
        Ok(reply)
    }

    fn call(
        &self,
        admitted: Admitted,
        principal: tenancy::Principal,
        secret: &tenancy::Secret,
        wire: Wire,
    ) -> Call {
        let Admitted { target, query, headers, claim, payload, body_len, .. } = admitted;
        let config = &self.shared.config;
        let body = body_len.map(|len| {
            let idle = Idle::new(config.runtime.clock.clone(), config.limits.body_idle);
            let signer = || ChunkSigner::of_claim(&claim, secret.expose());
            RequestBody::new(wire, payload, len, signer, idle)
        });
        Call {
            shared: self.shared.clone(),
            principal,
            target,
            query,
            headers,
            body: Mutex::new(body),
        }
    }

    /// A place among the requests under way. Nothing of a body has been read by then.
    async fn admit(&self) -> ApiResult<OwnedSemaphorePermit> {
        if let Ok(permit) = self.places.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let limits = &self.shared.config.limits;
        let waiting = Waiting::begin(&self.waiting);
        if waiting.before >= limits.max_in_flight {
            return Err(Code::SlowDown.into());
        }
        tokio::select! {
            permit = self.places.clone().acquire_owned() => {
                permit.map_err(|_| Code::ServiceUnavailable.into())
            }
            () = self.shared.config.runtime.clock.sleep(limits.admission_wait) => {
                Err(Code::SlowDown.into())
            }
        }
    }

    fn refusal(&self, parts: &Parts, error: &ApiError, request_id: &str) -> Reply {
        let mut reply = Reply::empty(error.code().status());
        if parts.method != Method::HEAD && error.code() != Code::NotModified {
            let host = parts.headers.get(header::HOST).and_then(|h| h.to_str().ok());
            let path = parts.uri.path();
            let target = Target::resolve(host.unwrap_or_default(), path, &self.policy.domains);
            let resource = target.map_or_else(|_| path.to_owned(), |target| target.resource());
            reply.set_xml(error.to_xml(&resource, request_id, &self.host_id));
        }
        for (name, value) in error.headers() {
            reply.set(name.clone(), value);
        }
        reply
    }

    fn finish(&self, reply: Reply, record: Record, phases: &Phases) -> Response<Sending> {
        let Reply { status, mut headers, body } = reply;
        let total = record.elapsed();
        let timing = server_timing(&[
            ("gate", phases.gate),
            ("auth", phases.auth.saturating_sub(phases.gate)),
            ("wait", phases.wait.saturating_sub(phases.auth)),
            (
                "work",
                if phases.wait.is_zero() {
                    Duration::ZERO
                } else {
                    total.saturating_sub(phases.wait)
                },
            ),
            ("total", total),
        ]);
        headers.insert(header::SERVER, SERVER);
        for (name, value) in [
            (REQUEST_ID, record.request_id()),
            (HOST_ID, self.host_id.as_str()),
            (SERVER_TIMING, timing.as_str()),
        ] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
        if let ReplyBody::Bytes(bytes) = &body {
            headers.insert(header::CONTENT_LENGTH, bytes.len().into());
        }
        let mut response = Response::new(Sending::new(body, record));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

/// Counts a request that waits for a place.
struct Waiting<'s> {
    count: &'s AtomicUsize,
    before: usize,
}

impl<'s> Waiting<'s> {
    fn begin(count: &'s AtomicUsize) -> Self {
        Self { count, before: count.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}
