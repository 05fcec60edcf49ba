//! How a request's body is protected, from `x-amz-content-sha256` and its companions.

use http::{HeaderMap, header};
use objects::ChecksumAlgorithm;

use super::{Claim, Means, only_header};
use crate::error::{ApiError, ApiResult, Code};
use crate::headers::checksum_algorithm_of;
use crate::query::hex_digit;

/// How a body is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// By nothing.
    Unsigned,
    /// By its SHA-256.
    Hash([u8; 32]),
    /// In aws-chunked framing.
    Chunked {
        /// Whether each chunk (and the trailer) carries a signature.
        signed: bool,
        /// What follows the last chunk.
        trailer: Trailer,
    },
}

/// What follows the last chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trailer {
    /// Nothing.
    None,
    /// A checksum.
    Checksum(ChecksumAlgorithm),
}

impl Payload {
    /// Reads the declaration.
    pub(super) fn read(headers: &HeaderMap, claim: &Claim) -> ApiResult<Self> {
        let trailer = read_trailer(headers)?;
        let declared = only_header(headers, "x-amz-content-sha256")?;
        let payload = match (declared, claim.means) {
            (None, Means::Query) => Self::Unsigned,
            (None, Means::Header) => {
                return Err(ApiError::with(
                    Code::InvalidRequest,
                    "Missing required header for this request: x-amz-content-sha256",
                ));
            }
            (Some(text), means) => Self::parse(text, means, trailer)?,
        };
        let takes_trailer = matches!(payload, Self::Chunked { trailer: Trailer::Checksum(_), .. });
        if trailer != Trailer::None && !takes_trailer {
            return Err(ApiError::with(
                Code::InvalidRequest,
                "x-amz-trailer needs a value of x-amz-content-sha256 that ends in -TRAILER",
            ));
        }
        Ok(payload)
    }

    fn parse(text: &str, means: Means, trailer: Trailer) -> ApiResult<Self> {
        let payload = match text {
            "UNSIGNED-PAYLOAD" => Self::Unsigned,
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => {
                Self::Chunked { signed: true, trailer: Trailer::None }
            }
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Self::Chunked { signed: true, trailer },
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Self::Chunked { signed: false, trailer },
            "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
            | "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER" => {
                return Err(ApiError::unbuilt(text));
            }
            _ => Self::Hash(parse_hash(text).ok_or_else(|| {
                ApiError::argument(
                    "x-amz-content-sha256",
                    crate::address::clip(text),
                    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
                     STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a \
                     valid sha256 value.",
                )
            })?),
        };
        match payload {
            Self::Chunked { .. } if means == Means::Query => {
                Err(ApiError::unbuilt("a streaming payload of a presigned URL"))
            }
            Self::Chunked { trailer: Trailer::None, .. } if text.ends_with("-TRAILER") => {
                Err(ApiError::with(
                    Code::InvalidRequest,
                    "Missing required header for this request: x-amz-trailer",
                ))
            }
            payload => Ok(payload),
        }
    }

    /// Length of the body without framing.
    pub(super) fn body_len(self, headers: &HeaderMap) -> ApiResult<Option<u64>> {
        let name = match self {
            Self::Chunked { .. } => "x-amz-decoded-content-length",
            Self::Unsigned | Self::Hash(_) => header::CONTENT_LENGTH.as_str(),
        };
        let Some(text) = only_header(headers, name)? else {
            return match self {
                Self::Chunked { .. } => Err(Code::MissingContentLength.into()),
                Self::Unsigned | Self::Hash(_) => Ok(None),
            };
        };
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse::<u64>() {
            Ok(len) if digits => Ok(Some(len)),
            _ => {
                Err(ApiError::with(Code::InvalidArgument, "The length of the body is not a number")
                    .detail("ArgumentName", name))
            }
        }
    }
}

fn read_trailer(headers: &HeaderMap) -> ApiResult<Trailer> {
    let Some(text) = only_header(headers, "x-amz-trailer")? else { return Ok(Trailer::None) };
    let algorithm = checksum_algorithm_of(&text.to_ascii_lowercase());
    algorithm.map(Trailer::Checksum).ok_or_else(|| {
        ApiError::with(
            Code::InvalidRequest,
            "The value specified in the x-amz-trailer header is not supported",
        )
        .detail("Header", "x-amz-trailer")
    })
}

fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = hex_digit(*high)? << 4 | hex_digit(*low)?;
    }
    Some(hash)
}
