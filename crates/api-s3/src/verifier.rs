//! Signature verification by s3s: the only file that knows it.
//!
//! s3s 0.14.1 checks Signature Version 4 in both its forms: canonical request, derivation of the key, and a
//! comparison in constant time. Everything else of a request is ours, because there its ways differ from AWS's in
//! places that matter here (conditions with one ETag only, an error for a malformed `Range` or date, bodies held
//! chunk by chunk, forms in memory, character references and CDATA in XML). So it sees method, URI and headers, and
//! an empty body: all requests end in [`Proven`], which says who signed.

use std::sync::Arc;

use http::header::HeaderMap;
use http::request::Parts;
use http::{Extensions, Method, Uri};
use s3s::auth::{S3Auth, SecretKey};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::route::S3Route;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::validation::NameValidation;
use s3s::{Body, S3, S3Request, S3Response, S3Result, s3_error};
use tenancy::{Credentials, Principal};

use crate::error::{ApiError, ApiResult, Code};
use crate::gate::Claim;
use crate::xml::Element;

/// Verifies signatures.
pub(crate) struct Verifier {
    service: S3Service,
    credentials: Arc<Credentials>,
}

impl Verifier {
    /// Over these access keys.
    pub(crate) fn new(credentials: Arc<Credentials>) -> Self {
        let mut builder = S3ServiceBuilder::new(NoOperations);
        builder.set_auth(Keys(credentials.clone()));
        builder.set_route(Proven);
        builder.set_validation(AnyName);
        // The gate has checked the time, by the runtime's clock. s3s cannot be told not to look at the expiry of a
        // presigned URL, which it does by the system's.
        let mut config = S3Config::default();
        config.presigned_url_max_skew_time_secs = u32::MAX;
        config.xml_max_body_size = 0;
        config.post_object_max_file_size = 0;
        config.form_max_fields_size = 0;
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        Self { service: builder.build(), credentials }
    }

    /// Who signed the request, and the secret that the claim's chunk signatures are made with.
    ///
    /// # Errors
    /// `InvalidAccessKeyId` or `SignatureDoesNotMatch`.
    pub(crate) async fn verify(
        &self,
        parts: &Parts,
        claim: &Claim,
    ) -> ApiResult<(Principal, tenancy::Secret)> {
        let Some(key) = self.credentials.find(&claim.access_key) else {
            return Err(ApiError::new(Code::InvalidAccessKeyId)
                .detail("AWSAccessKeyId", crate::address::clip(&claim.access_key)));
        };
        let mut request = http::Request::new(Body::empty());
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = parts.uri.clone();
        *request.version_mut() = parts.version;
        *request.headers_mut() = parts.headers.clone();
        let reply = self.service.call(request).await.map_err(|_| Code::InternalError)?;
        let proven = reply.extensions().get::<Signer>();
        if reply.status().is_success() && proven.is_some_and(|s| s.0 == claim.access_key) {
            let principal = Principal { account: key.account, access_key: key.id.clone() };
            return Ok((principal, key.secret.clone()));
        }
        Err(refused(&reply.into_body(), claim))
    }
}

/// What s3s said, with our elements.
fn refused(body: &Body, claim: &Claim) -> ApiError {
    let document = body.bytes().unwrap_or_default();
    let document = Element::parse(&document, "Error").unwrap_or_default();
    let text = |name| document.only(name).ok().flatten();
    let code = text("Code").and_then(Code::find).unwrap_or(Code::AccessDenied);
    let error = match code {
        Code::SignatureDoesNotMatch => ApiError::new(code),
        _ => ApiError::with(code, text("Message").unwrap_or(code.message()).to_owned()),
    };
    error
        .detail("AWSAccessKeyId", crate::address::clip(&claim.access_key))
        .detail("SignatureProvided", claim.signature.clone())
}

/// s3s's own operations: none.
struct NoOperations;

impl S3 for NoOperations {}

struct Keys(Arc<Credentials>);

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        match self.0.find(access_key) {
            Some(key) => Ok(SecretKey::from(key.secret.expose())),
            None => Err(s3_error!(InvalidAccessKeyId)),
        }
    }
}

/// The end of every verified request.
struct Proven;

#[derive(Clone)]
struct Signer(String);

#[async_trait::async_trait]
impl S3Route for Proven {
    fn is_match(&self, _: &Method, _: &Uri, _: &HeaderMap, _: &mut Extensions) -> bool {
        true
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let mut response = S3Response::new(Body::empty());
        if let Some(credentials) = request.credentials {
            response.extensions.insert(Signer(credentials.access_key));
        }
        Ok(response)
    }
}

/// Names have been checked by the gate, which knows virtual hosts; s3s sees a path without them.
struct AnyName;

impl NameValidation for AnyName {
    fn validate_bucket_name(&self, _: &str) -> bool {
        true
    }
}
