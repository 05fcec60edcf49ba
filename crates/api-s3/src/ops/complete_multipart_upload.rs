//! CompleteMultipartUpload.

use http::{HeaderMap, header};
use objects::{ChecksumValue, CompleteRequest, CompletedPart};
use tenancy::action::PutObject;
use types::{PartNumber, limits};

use super::object_reply::checksum_text;
use crate::call::Call;
use crate::error::{ApiError, ApiResult, Code};
use crate::gate::only_header;
use crate::headers::{
    checksum_algorithms, checksum_element, checksum_header, checksum_kind_name, write_conditions,
};
use crate::mapping;
use crate::query::encode_url;
use crate::reply::Reply;
use crate::xml::{Element, Malformed, Writer};

/// Room for 10,000 parts, each with an ETag and a SHA-256.
const DOCUMENT_MAX_BYTES: usize = 4 << 20;

pub(super) async fn run(mut call: Call) -> ApiResult<Reply> {
    let upload = call.upload_id()?;
    let proof = call.may_object::<PutObject>().await?;
    let document =
        call.document("CompleteMultipartUpload", DOCUMENT_MAX_BYTES, |_, _| Ok(())).await?;
    let parts = parts(&*document.ok_or(Code::MalformedXml)?)?;
    let request = CompleteRequest {
        checksum: whole_checksum(&call.headers, parts.len())?,
        declared_len: declared_len(&call.headers)?,
        conditions: write_conditions(&call.headers)?,
        parts,
    };
    let result = call.engine().complete_upload(proof, upload, request).await;
    let result = result.map_err(mapping::complete)?;

    let host = only_header(&call.headers, header::HOST.as_str())?.unwrap_or_default();
    let (bucket, key) = (call.bucket()?.as_str(), call.key()?.as_str());
    let mut xml = Writer::new();
    xml.open_root("CompleteMultipartUploadResult");
    xml.text("Location", &format!("http://{host}/{bucket}/{}", encode_url(key)));
    xml.text("Bucket", bucket);
    xml.text("Key", key);
    xml.etag(&result.etag);
    if let Some(checksum) = &result.checksum {
        xml.text(checksum_element(checksum.value.algorithm()), &checksum_text(checksum));
        xml.text("ChecksumType", checksum_kind_name(checksum.kind));
    }
    xml.close("CompleteMultipartUploadResult");
    Ok(Reply::xml(xml.finish()))
}

fn parts(document: &Element) -> ApiResult<Vec<CompletedPart>> {
    if document.children.len() > usize::from(limits::PART_NUMBER_MAX) {
        return Err(Code::MalformedXml.into());
    }
    document.children.iter().map(part).collect()
}

fn part(element: &Element) -> ApiResult<CompletedPart> {
    let malformed = |_| ApiError::new(Code::MalformedXml);
    if element.name != "Part" {
        return Err(malformed(Malformed));
    }
    let number = element.only("PartNumber").map_err(malformed)?;
    let number = number.and_then(|n| n.trim().parse().ok()).and_then(PartNumber::new);
    let number = number.ok_or_else(|| malformed(Malformed))?;
    let etag = element.only("ETag").map_err(malformed)?;
    let etag = etag.ok_or_else(|| malformed(Malformed))?.trim().trim_matches('"').to_owned();
    let mut checksum = None;
    for algorithm in checksum_algorithms() {
        let text = element.only(checksum_element(algorithm)).map_err(malformed)?;
        let Some(text) = text.map(str::trim).filter(|t| !t.is_empty()) else { continue };
        let value = ChecksumValue::from_base64(algorithm, text).ok_or_else(|| {
            ApiError::new(Code::InvalidPart).detail("PartNumber", number.get().to_string())
        })?;
        if checksum.replace(value).is_some() {
            return Err(malformed(Malformed));
        }
    }
    Ok(CompletedPart { number, etag, checksum })
}

/// The whole object's checksum, if the client declares it. A composite one says of how many parts.
fn whole_checksum(headers: &HeaderMap, parts: usize) -> ApiResult<Option<ChecksumValue>> {
    let mut found = None;
    for algorithm in checksum_algorithms() {
        let name = checksum_header(algorithm);
        let Some(text) = only_header(headers, name)? else { continue };
        let (text, count) = match text.rsplit_once('-') {
            Some((text, count)) => (text, Some(count)),
            None => (text, None),
        };
        let counted = count.is_none_or(|count| count.parse() == Ok(parts));
        let value = ChecksumValue::from_base64(algorithm, text).filter(|_| counted);
        let value = value.ok_or_else(|| {
            ApiError::with(Code::InvalidRequest, format!("Value for {name} header is invalid."))
        })?;
        if found.replace(value).is_some() {
            return Err(ApiError::with(
                Code::InvalidRequest,
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            ));
        }
    }
    Ok(found)
}

fn declared_len(headers: &HeaderMap) -> ApiResult<Option<u64>> {
    const NAME: &str = "x-amz-mp-object-size";
    let Some(text) = only_header(headers, NAME)? else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        ApiError::with(Code::InvalidRequest, format!("Value for {NAME} header is invalid."))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(inner: &str) -> Result<Vec<CompletedPart>, Code> {
        let document = format!("<CompleteMultipartUpload>{inner}</CompleteMultipartUpload>");
        let element = Element::parse(document.as_bytes(), "CompleteMultipartUpload").expect("XML");
        parts(&element).map_err(|e| e.code())
    }

    #[test]
    fn parts_are_read() {
        let read = ask("<Part><ETag>&quot;a&quot;</ETag><PartNumber>1</PartNumber></Part>\
             <Part><PartNumber>3</PartNumber><ETag>b</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part>");
        let read = read.expect("two parts");
        assert_eq!(read[0].etag, "a");
        assert_eq!(read[1].number.get(), 3);
        assert!(read[1].checksum.is_some());
        assert_eq!(ask("").map(|p| p.len()), Ok(0));
    }

    #[test]
    fn bad_parts_are_refused() {
        for inner in [
            "<Part/>",
            "<Else/>",
            "<Part><PartNumber>1</PartNumber></Part>",
            "<Part><ETag>a</ETag></Part>",
            "<Part><ETag>a</ETag><PartNumber>0</PartNumber></Part>",
            "<Part><ETag>a</ETag><PartNumber>10001</PartNumber></Part>",
            "<Part><ETag>a</ETag><ETag>b</ETag><PartNumber>1</PartNumber></Part>",
        ] {
            assert_eq!(ask(inner).map(|p| p.len()), Err(Code::MalformedXml), "{inner}");
        }
        let many = "<Part><ETag>a</ETag><PartNumber>1</PartNumber></Part>".repeat(10_001);
        assert_eq!(ask(&many).map(|p| p.len()), Err(Code::MalformedXml));
    }
}
