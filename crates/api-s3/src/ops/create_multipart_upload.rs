//! CreateMultipartUpload.

use http::HeaderMap;
use objects::{ChecksumAlgorithm, ChecksumKind, NewUpload};
use tenancy::action::PutObject;

use crate::call::Call;
use crate::error::{ApiError, ApiResult, Code};
use crate::gate::only_header;
use crate::headers::{checksum_kind_name, checksum_name, named_algorithm, object_headers};
use crate::mapping;
use crate::reply::Reply;
use crate::xml::Writer;

pub(super) async fn run(call: Call) -> ApiResult<Reply> {
    let checksum = checksum(&call.headers)?;
    let request = NewUpload { headers: object_headers(&call.headers)?, checksum };
    let proof = call.may_object::<PutObject>().await?;
    let upload = call.engine().create_upload(proof, request).await.map_err(mapping::upload)?;
    let mut xml = Writer::new();
    xml.open_root("InitiateMultipartUploadResult");
    xml.text("Bucket", call.bucket()?.as_str());
    xml.text("Key", call.key()?.as_str());
    xml.text("UploadId", &upload.to_string());
    xml.close("InitiateMultipartUploadResult");
    let mut reply = Reply::xml(xml.finish());
    if let Some((algorithm, kind)) = checksum {
        reply.set_amz("x-amz-checksum-algorithm", checksum_name(algorithm));
        reply.set_amz("x-amz-checksum-type", checksum_kind_name(kind));
    }
    Ok(reply)
}

/// Algorithm and kind of the object's checksum. SHA has no whole-object form, because it cannot be combined from
/// parts; CRC-64/NVME has only that one.
fn checksum(headers: &HeaderMap) -> ApiResult<Option<(ChecksumAlgorithm, ChecksumKind)>> {
    let kind = match only_header(headers, "x-amz-checksum-type")? {
        None => None,
        Some("FULL_OBJECT") => Some(ChecksumKind::FullObject),
        Some("COMPOSITE") => Some(ChecksumKind::Composite),
        Some(_) => {
            return Err(ApiError::with(
                Code::InvalidRequest,
                "Value for x-amz-checksum-type header is invalid.",
            ));
        }
    };
    let Some(algorithm) = named_algorithm(headers, "x-amz-checksum-algorithm")? else {
        return match kind {
            None => Ok(None),
            Some(_) => Err(ApiError::with(
                Code::InvalidRequest,
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
            )),
        };
    };
    let usual = match algorithm {
        ChecksumAlgorithm::Crc64Nvme => ChecksumKind::FullObject,
        ChecksumAlgorithm::Crc32
        | ChecksumAlgorithm::Crc32c
        | ChecksumAlgorithm::Sha1
        | ChecksumAlgorithm::Sha256 => ChecksumKind::Composite,
    };
    let both = matches!(algorithm, ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c);
    match kind {
        Some(kind) if kind != usual && !both => Err(ApiError::with(
            Code::InvalidRequest,
            format!(
                "The {} checksum type cannot be used with the {} checksum algorithm.",
                checksum_kind_name(kind),
                checksum_name(algorithm).to_ascii_lowercase()
            ),
        )),
        kind => Ok(Some((algorithm, kind.unwrap_or(usual)))),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn ask(algorithm: Option<&'static str>, kind: Option<&'static str>) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("x-amz-checksum-algorithm", algorithm), ("x-amz-checksum-type", kind)]
        {
            if let Some(value) = value {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        match checksum(&headers) {
            Ok(found) => {
                found.map(|(a, k)| format!("{} {}", checksum_name(a), checksum_kind_name(k)))
            }
            Err(error) => Some(error.code().as_str().to_owned()),
        }
    }

    #[test]
    fn kinds_and_algorithms() {
        for (algorithm, kind, expected) in [
            (None, None, None),
            (Some("CRC32"), None, Some("CRC32 COMPOSITE")),
            (Some("crc32c"), Some("FULL_OBJECT"), Some("CRC32C FULL_OBJECT")),
            (Some("CRC64NVME"), None, Some("CRC64NVME FULL_OBJECT")),
            (Some("SHA256"), None, Some("SHA256 COMPOSITE")),
            (Some("SHA1"), Some("FULL_OBJECT"), Some("InvalidRequest")),
            (Some("CRC64NVME"), Some("COMPOSITE"), Some("InvalidRequest")),
            (Some("MD5"), None, Some("InvalidRequest")),
            (None, Some("COMPOSITE"), Some("InvalidRequest")),
            (Some("CRC32"), Some("PARTIAL"), Some("InvalidRequest")),
        ] {
            assert_eq!(ask(algorithm, kind).as_deref(), expected, "{algorithm:?} {kind:?}");
        }
    }
}
