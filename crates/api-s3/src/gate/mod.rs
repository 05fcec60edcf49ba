//! The one gate before routing: what every request must be before anything else looks at it.
//!
//! It decides who claims to sign and over what, and refuses every shape that the signature check (of s3s, see
//! [`crate::verifier`]) would let through or would handle in a way that is not ours: anonymous requests, Signature
//! Version 2, two kinds of authentication at once, `x-amz-*` headers that the signature does not cover, stale or
//! foreign credential scopes, forms, and bodies whose length or hash nobody declared. It does not verify the
//! signature, and it knows nothing of permissions: those are `tenancy`'s.

mod authorization;
mod payload;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use types::UnixMillis;

use crate::address::{Domains, Target};
use crate::error::{ApiError, ApiResult, Code};
use crate::ops::Operation;
use crate::query::Query;
use crate::route::route;

pub(crate) use authorization::{Claim, Means};
pub(crate) use payload::{Payload, Trailer};

/// What the gate measures against.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// The region of this server.
    pub(crate) region: String,
    /// Base domains of virtual-host style.
    pub(crate) domains: Domains,
}

/// A request that has passed. Its signature is still to be verified.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// What it is about.
    pub(crate) target: Target,
    /// Its query.
    pub(crate) query: Query,
    /// Its headers, with the `x-amz-*` parameters of a presigned query among them.
    pub(crate) headers: HeaderMap,
    /// What it asks for.
    pub(crate) operation: Operation,
    /// Who claims to have signed it.
    pub(crate) claim: Claim,
    /// How its body is protected.
    pub(crate) payload: Payload,
    /// Length of the body in bytes, without framing; `None` when the client did not say.
    pub(crate) body_len: Option<u64>,
}

/// Checks a request at `now`.
pub(crate) fn check(parts: &Parts, now: UnixMillis, policy: &Policy) -> ApiResult<Admitted> {
    let host = only_header(&parts.headers, header::HOST.as_str())?.unwrap_or_default();
    let target = Target::resolve(host, parts.uri.path(), &policy.domains)?;
    let query = Query::parse(parts.uri.query())?;
    refuse_forms(parts)?;
    check_values(&parts.headers)?;
    let claim = Claim::read(&parts.headers, &query)?;
    claim.check_covers(&parts.headers)?;
    claim.check_time(&parts.headers, now)?;
    let mut headers = parts.headers.clone();
    if claim.means == Means::Query {
        adopt_parameters(&mut headers, &query)?;
    }
    let operation = route(&parts.method, &target, &query, &headers)?;
    claim.check_scope(policy, operation)?;
    let payload = Payload::read(&headers, &claim)?;
    let body_len = payload.body_len(&headers)?;
    Ok(Admitted { target, query, headers, operation, claim, payload, body_len })
}

/// A form would have to be held in memory until its signature is found inside it. Forms are not built.
fn refuse_forms(parts: &Parts) -> ApiResult<()> {
    let form = |value: &HeaderValue| {
        let text = value.as_bytes().trim_ascii().to_ascii_lowercase();
        text.starts_with(b"multipart/form-data")
    };
    let forms = parts.headers.get_all(header::CONTENT_TYPE).into_iter().any(form);
    if parts.method == Method::POST && forms {
        return Err(ApiError::unbuilt("POST of a form"));
    }
    Ok(())
}

/// Each `x-amz-*` header stands once and is UTF-8: a second or an unreadable value would not be in what the
/// signature covers, or would be joined there to something that no handler sees.
fn check_values(headers: &HeaderMap) -> ApiResult<()> {
    for name in headers.keys() {
        if !name.as_str().starts_with("x-amz-") {
            continue;
        }
        let values = headers.get_all(name);
        let readable = |value: &HeaderValue| std::str::from_utf8(value.as_bytes()).is_ok();
        let many = values.iter().count() > 1 && !name.as_str().starts_with("x-amz-meta-");
        if many || !values.iter().all(readable) {
            return Err(ApiError::with(
                Code::InvalidArgument,
                "A header is repeated or is not valid UTF-8",
            )
            .detail("ArgumentName", name.as_str()));
        }
    }
    Ok(())
}

/// Parameters of a presigned query that only carry the signature.
const SIGNING_PARAMETERS: [&str; 7] = [
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
];

/// Signers may move `x-amz-*` headers into the query that they sign; there they mean the same.
fn adopt_parameters(headers: &mut HeaderMap, query: &Query) -> ApiResult<()> {
    for (name, value) in query.iter() {
        let lower = name.to_ascii_lowercase();
        if !lower.starts_with("x-amz-") {
            continue;
        }
        if SIGNING_PARAMETERS.contains(&lower.as_str()) {
            if lower == "x-amz-security-token" {
                return Err(Code::InvalidToken.into());
            }
            continue;
        }
        let bad = || {
            ApiError::with(Code::InvalidArgument, "A query parameter cannot be taken for a header")
                .detail("ArgumentName", crate::address::clip(&lower))
        };
        let name = HeaderName::from_bytes(lower.as_bytes()).map_err(|_| bad())?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| bad())?;
        match headers.get(&name) {
            Some(present) if *present != value => return Err(bad()),
            Some(_) => {}
            None => {
                headers.insert(name, value);
            }
        }
    }
    Ok(())
}

/// The text of a header that may stand once.
pub(crate) fn only_header<'h>(headers: &'h HeaderMap, name: &str) -> ApiResult<Option<&'h str>> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match std::str::from_utf8(value.as_bytes()) {
            Ok(text) => Ok(Some(text.trim())),
            Err(_) => Err(repeated(name)),
        },
        (Some(_), Some(_)) => Err(repeated(name)),
    }
}

fn repeated(name: &str) -> ApiError {
    ApiError::with(Code::InvalidRequest, "A header is repeated or is not valid UTF-8")
        .detail("Header", name)
}

#[cfg(test)]
mod tests;
