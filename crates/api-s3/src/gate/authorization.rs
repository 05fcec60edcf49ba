//! Who claims to have signed a request, and what the claim covers. Both ways of Signature Version 4, header and
//! query, come to one [`Claim`], so that no check can be made for one and forgotten for the other.

use http::{HeaderMap, header};
use types::UnixMillis;

use super::{Policy, only_header};
use crate::address::clip;
use crate::dates::{amz_date, iso8601, parse_amz_date};
use crate::error::{ApiError, ApiResult, Code};
use crate::ops::Operation;
use crate::query::Query;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SKEW_MAX_SECONDS: u64 = 15 * 60;
const EXPIRES_MAX_SECONDS: i64 = 7 * 24 * 3600;

/// Where the signature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    /// In the `Authorization` header.
    Header,
    /// In the query: a presigned URL.
    Query,
}

/// What a request says about its signature. Nothing of it is proven.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    /// Where the signature is.
    pub(crate) means: Means,
    /// The access key.
    pub(crate) access_key: String,
    /// Date of the scope: `YYYYMMDD`.
    pub(crate) scope_date: String,
    /// Region of the scope.
    pub(crate) region: String,
    /// The signature: 64 hexadecimal digits.
    pub(crate) signature: String,
    /// `X-Amz-Date`, as it was sent.
    pub(crate) date: String,
    signed_headers: Vec<String>,
    /// Seconds; of a presigned URL.
    expires: Option<u64>,
}

impl Claim {
    /// Reads the claim, whichever way it was made.
    pub(super) fn read(headers: &HeaderMap, query: &Query) -> ApiResult<Self> {
        let authorization = headers.get_all(header::AUTHORIZATION).iter().count();
        let presigned = ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature"];
        let presigned = presigned.iter().any(|name| query.has(name));
        let version_2 = query.has("Signature") || query.has("AWSAccessKeyId");
        match (authorization, presigned, version_2) {
            (0, false, false) => Err(Code::AccessDenied.into()),
            (0, true, false) => Self::from_query(query),
            (1, false, false) => {
                let text = only_header(headers, header::AUTHORIZATION.as_str())?;
                Self::from_header(text.unwrap_or_default(), headers)
            }
            (0, false, true) => Err(version_2_refused()),
            _ => Err(ApiError::argument(
                "Authorization",
                "",
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query \
                 string parameter or the Authorization header should be specified",
            )),
        }
    }

    fn from_header(text: &str, headers: &HeaderMap) -> ApiResult<Self> {
        let (scheme, fields) = text.split_once(' ').unwrap_or((text, ""));
        match scheme {
            ALGORITHM => {}
            "AWS" => return Err(version_2_refused()),
            "AWS4-ECDSA-P256-SHA256" => return Err(ApiError::unbuilt(scheme)),
            _ => {
                return Err(ApiError::argument(
                    "Authorization",
                    clip(scheme),
                    "Unsupported Authorization Type",
                ));
            }
        }
        let malformed = |what: &str| {
            ApiError::with(
                Code::AuthorizationHeaderMalformed,
                format!("The authorization header is malformed; {what}"),
            )
        };
        let (mut credential, mut signed, mut signature) = (None, None, None);
        for field in fields.split(',') {
            let (name, value) =
                field.trim().split_once('=').ok_or_else(|| malformed("a field has no value."))?;
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed,
                "Signature" => &mut signature,
                _ => return Err(malformed("it has a field that is not known.")),
            };
            if slot.replace(value).is_some() {
                return Err(malformed("it has a field twice."));
            }
        }
        let (Some(credential), Some(signed), Some(signature)) = (credential, signed, signature)
        else {
            return Err(malformed(
                "the authorization header requires three components: Credential, \
                                  SignedHeaders, and Signature.",
            ));
        };
        let date = only_header(headers, "x-amz-date")?.ok_or_else(|| {
            ApiError::with(
                Code::AccessDenied,
                "AWS authentication requires a valid Date or x-amz-date header",
            )
        })?;
        Self::assemble(Means::Header, credential, signed, signature, date, None, &malformed)
    }

    fn from_query(query: &Query) -> ApiResult<Self> {
        let malformed =
            |what: &str| ApiError::with(Code::AuthorizationQueryParametersError, what.to_owned());
        let only = |name: &str| {
            let mut values = query.iter().filter(|(n, _)| *n == name).map(|(_, v)| v);
            match (values.next(), values.next()) {
                (Some(value), None) => Ok(value),
                _ => Err(malformed(
                    "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, \
                     X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
                )),
            }
        };
        if only("X-Amz-Algorithm")? != ALGORITHM {
            return Err(malformed("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\""));
        }
        let expires = only("X-Amz-Expires")?
            .parse::<i64>()
            .map_err(|_| malformed("X-Amz-Expires should be a number"))?;
        if expires < 1 {
            return Err(malformed("X-Amz-Expires must be positive"));
        }
        if expires > EXPIRES_MAX_SECONDS {
            return Err(malformed(
                "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must \
                 be less than 604800 seconds",
            ));
        }
        Self::assemble(
            Means::Query,
            only("X-Amz-Credential")?,
            only("X-Amz-SignedHeaders")?,
            only("X-Amz-Signature")?,
            only("X-Amz-Date")?,
            Some(expires.unsigned_abs()),
            &malformed,
        )
    }

    fn assemble(
        means: Means,
        credential: &str,
        signed: &str,
        signature: &str,
        date: &str,
        expires: Option<u64>,
        malformed: &dyn Fn(&str) -> ApiError,
    ) -> ApiResult<Self> {
        let scope: Vec<&str> = credential.split('/').collect();
        let [access_key, scope_date, region, service, terminal] = scope.as_slice() else {
            return Err(malformed(
                "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
            ));
        };
        if *service != "s3" {
            return Err(malformed("incorrect service. This endpoint belongs to \"s3\"."));
        }
        if *terminal != "aws4_request" {
            return Err(malformed("incorrect terminal. This endpoint uses \"aws4_request\"."));
        }
        if parse_amz_date(date).is_none() {
            return Err(ApiError::with(
                Code::AccessDenied,
                "AWS authentication requires a valid Date or x-amz-date header",
            ));
        }
        if date.get(..8) != Some(scope_date) {
            return Err(malformed("the Credential's date is not the same as X-Amz-Date."));
        }
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if signature.len() != 64 || !signature.bytes().all(lower_hex) {
            return Err(Code::SignatureDoesNotMatch.into());
        }
        let signed_headers: Vec<String> = signed.split(';').map(str::to_owned).collect();
        let token = |b: u8| b.is_ascii_graphic() && !b.is_ascii_uppercase();
        if signed_headers.iter().any(|h| h.is_empty() || !h.bytes().all(token)) {
            return Err(malformed("the SignedHeaders are mal-formed."));
        }
        Ok(Self {
            means,
            access_key: (*access_key).to_owned(),
            scope_date: (*scope_date).to_owned(),
            region: (*region).to_owned(),
            signature: signature.to_owned(),
            date: date.to_owned(),
            signed_headers,
            expires,
        })
    }

    /// `host` and every `x-amz-*` header must be signed, whichever way the request is. Without this a presigned
    /// PUT becomes a copy of any object that its signer can read.
    pub(super) fn check_covers(&self, headers: &HeaderMap) -> ApiResult<()> {
        let signed = |name: &str| self.signed_headers.iter().any(|s| s == name);
        let mut unsigned: Vec<&str> = headers
            .keys()
            .map(http::HeaderName::as_str)
            .filter(|name| name.starts_with("x-amz-") && !signed(name))
            .collect();
        if !signed("host") {
            unsigned.push("host");
        }
        if unsigned.is_empty() {
            return Ok(());
        }
        unsigned.sort_unstable();
        Err(ApiError::with(
            Code::AccessDenied,
            "There were headers present in the request which were not signed",
        )
        .detail("HeadersNotSigned", unsigned.join(", ")))
    }

    /// The request must be of now.
    pub(super) fn check_time(&self, headers: &HeaderMap, now: UnixMillis) -> ApiResult<()> {
        let signed_at = parse_amz_date(&self.date).unwrap_or_default();
        let server_time = now.seconds();
        let Some(expires) = self.expires else {
            if signed_at.abs_diff(server_time) > SKEW_MAX_SECONDS {
                let request_time = only_header(headers, "x-amz-date")?.unwrap_or_default();
                return Err(ApiError::new(Code::RequestTimeTooSkewed)
                    .detail("RequestTime", request_time)
                    .detail("ServerTime", iso8601(now))
                    .detail("MaxAllowedSkewMilliseconds", (SKEW_MAX_SECONDS * 1000).to_string()));
            }
            return Ok(());
        };
        if signed_at > server_time + SKEW_MAX_SECONDS {
            return Err(ApiError::with(Code::AccessDenied, "Request is not valid yet")
                .detail("X-Amz-Date", self.date.clone())
                .detail("ServerTime", amz_date(now)));
        }
        if server_time > signed_at + expires {
            let end = UnixMillis((signed_at + expires) * 1000);
            return Err(ApiError::with(Code::AccessDenied, "Request has expired")
                .detail("X-Amz-Expires", expires.to_string())
                .detail("Expires", iso8601(end))
                .detail("ServerTime", iso8601(now)));
        }
        Ok(())
    }

    /// The scope must be of this region. As on AWS, `us-east-1` may always ask where a bucket is.
    pub(super) fn check_scope(&self, policy: &Policy, operation: Operation) -> ApiResult<()> {
        let asks_where = operation == Operation::GetBucketLocation && self.region == "us-east-1";
        if self.region == policy.region || asks_where {
            return Ok(());
        }
        let (given, expected) = (clip(&self.region), &policy.region);
        let wrong = format!("the region '{given}' is wrong; expecting '{expected}'");
        let error = match self.means {
            Means::Header => ApiError::with(
                Code::AuthorizationHeaderMalformed,
                format!("The authorization header is malformed; {wrong}"),
            ),
            Means::Query => ApiError::with(
                Code::AuthorizationQueryParametersError,
                format!("Error parsing the X-Amz-Credential parameter; {wrong}"),
            ),
        };
        Err(error.detail("Region", expected.clone()))
    }
}

fn version_2_refused() -> ApiError {
    ApiError::with(
        Code::InvalidRequest,
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
    )
}
