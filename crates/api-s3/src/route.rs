//! From method, target and query to an operation. Pure. A sub-resource in a place where S3 has none is
//! refused: a request is never taken for another one because a part of it was not understood.

use http::{HeaderMap, Method, header};

use crate::address::Target;
use crate::error::{ApiError, ApiResult, Code};
use crate::ops::Operation;
use crate::query::Query;
use crate::unbuilt;

/// Sub-resources that are built, and the operations that they belong to.
const SUBRESOURCES: &[(&str, &[Operation])] = &[
    ("delete", &[Operation::DeleteObjects]),
    ("location", &[Operation::GetBucketLocation]),
    (
        "partNumber",
        &[
            Operation::GetObject,
            Operation::HeadObject,
            Operation::UploadPart,
            Operation::UploadPartCopy,
        ],
    ),
    (
        "uploadId",
        &[
            Operation::AbortMultipartUpload,
            Operation::CompleteMultipartUpload,
            Operation::ListParts,
            Operation::UploadPart,
            Operation::UploadPartCopy,
        ],
    ),
    ("uploads", &[Operation::CreateMultipartUpload, Operation::ListMultipartUploads]),
    ("versioning", &[Operation::GetBucketVersioning]),
];

/// Headers that stand for another operation when they come with the wrong one.
const COPY_SOURCE: &str = "x-amz-copy-source";

/// The operation that a request asks for.
///
/// # Errors
/// `NotImplemented` for what S3 has and this server has not; `MethodNotAllowed` and `InvalidArgument` for what S3
/// has not either.
pub(crate) fn route(
    method: &Method,
    target: &Target,
    query: &Query,
    headers: &HeaderMap,
) -> ApiResult<Operation> {
    unbuilt::check_query(method, target, query)?;
    let operation = match target {
        Target::Service => service(method)?,
        Target::Bucket(_) => bucket(method, query)?,
        Target::Object(..) => object(method, query, headers)?,
    };
    for (name, operations) in SUBRESOURCES {
        if query.has(name) && !operations.contains(&operation) {
            return Err(not_allowed(method));
        }
    }
    check_version(operation, query)?;
    let copies = [Operation::CopyObject, Operation::UploadPartCopy].contains(&operation);
    if headers.contains_key(COPY_SOURCE) && !copies {
        return Err(ApiError::argument(
            "x-amz-copy-source",
            "",
            "This operation does not accept x-amz-copy-source.",
        ));
    }
    if operation == Operation::DeleteObject && headers.contains_key(header::IF_MATCH) {
        return Err(ApiError::unbuilt("If-Match").detail("Header", "If-Match"));
    }
    unbuilt::check_headers(headers)?;
    Ok(operation)
}

fn service(method: &Method) -> ApiResult<Operation> {
    match *method {
        Method::GET => Ok(Operation::ListBuckets),
        _ => Err(not_allowed(method)),
    }
}

fn bucket(method: &Method, query: &Query) -> ApiResult<Operation> {
    match *method {
        Method::GET if query.has("location") => Ok(Operation::GetBucketLocation),
        Method::GET if query.has("versioning") => Ok(Operation::GetBucketVersioning),
        Method::GET if query.has("uploads") => Ok(Operation::ListMultipartUploads),
        Method::GET => match query.get("list-type") {
            None => Ok(Operation::ListObjects),
            Some("2") => Ok(Operation::ListObjectsV2),
            Some(other) => Err(ApiError::argument(
                "list-type",
                other,
                "Invalid List Type specified in Request",
            )),
        },
        Method::HEAD => Ok(Operation::HeadBucket),
        Method::PUT => Ok(Operation::CreateBucket),
        Method::DELETE => Ok(Operation::DeleteBucket),
        Method::POST if query.has("delete") => Ok(Operation::DeleteObjects),
        Method::POST => Err(ApiError::unbuilt("POST of a form")),
        _ => Err(not_allowed(method)),
    }
}

fn object(method: &Method, query: &Query, headers: &HeaderMap) -> ApiResult<Operation> {
    let upload = query.has("uploadId");
    match *method {
        Method::GET if upload => Ok(Operation::ListParts),
        Method::GET => Ok(Operation::GetObject),
        Method::HEAD => Ok(Operation::HeadObject),
        Method::PUT => {
            let copy = headers.contains_key(COPY_SOURCE);
            match (query.has("partNumber"), upload) {
                (false, false) if copy => Ok(Operation::CopyObject),
                (false, false) => Ok(Operation::PutObject),
                (true, true) if copy => Ok(Operation::UploadPartCopy),
                (true, true) => Ok(Operation::UploadPart),
                (true, false) => Err(ApiError::argument(
                    "uploadId",
                    "",
                    "This operation does not accept partNumber without uploadId",
                )),
                (false, true) => Err(ApiError::argument(
                    "partNumber",
                    "",
                    "This operation does not accept uploadId without partNumber",
                )),
            }
        }
        Method::POST if query.has("uploads") => Ok(Operation::CreateMultipartUpload),
        Method::POST if upload => Ok(Operation::CompleteMultipartUpload),
        Method::DELETE if upload => Ok(Operation::AbortMultipartUpload),
        Method::DELETE => Ok(Operation::DeleteObject),
        _ => Err(not_allowed(method)),
    }
}

/// No bucket has versions: the only version there can be is `null`.
fn check_version(operation: Operation, query: &Query) -> ApiResult<()> {
    let Some(version) = query.get("versionId") else { return Ok(()) };
    let accepted =
        [Operation::GetObject, Operation::HeadObject, Operation::DeleteObject].contains(&operation);
    if !accepted {
        return Err(ApiError::argument(
            "versionId",
            crate::address::clip(version),
            "This operation does not accept a version-id.",
        ));
    }
    match version {
        "null" => Ok(()),
        "" => Err(ApiError::argument("versionId", "", "Version id cannot be the empty string")),
        other => {
            Err(ApiError::new(Code::NoSuchVersion).detail("VersionId", crate::address::clip(other)))
        }
    }
}

fn not_allowed(method: &Method) -> ApiError {
    ApiError::new(Code::MethodNotAllowed).detail("Method", method.as_str())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::address::Domains;

    /// Method, path and query, headers, and the operation or code that must come of them.
    type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str);

    const COPY: &[(&str, &str)] = &[("x-amz-copy-source", "abc/k")];
    const IF_MATCH: &[(&str, &str)] = &[("if-match", "*")];

    fn ask(method: &str, path_and_query: &str, headers: &[(&'static str, &'static str)]) -> String {
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        let target = Target::resolve("h", path, &Domains::new(&[])).expect("a path");
        let query = Query::parse(query).expect("a query");
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_static(value));
        }
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        match route(&method, &target, &query, &map) {
            Ok(operation) => operation.name().to_owned(),
            Err(error) => error.code().as_str().to_owned(),
        }
    }

    #[test]
    fn every_operation_has_its_route() {
        let routes: &[Case] = &[
            ("GET", "/", &[], "ListBuckets"),
            ("PUT", "/abc", &[], "CreateBucket"),
            ("HEAD", "/abc", &[], "HeadBucket"),
            ("DELETE", "/abc/", &[], "DeleteBucket"),
            ("GET", "/abc?location", &[], "GetBucketLocation"),
            ("GET", "/abc?versioning", &[], "GetBucketVersioning"),
            ("GET", "/abc", &[], "ListObjects"),
            ("GET", "/abc?list-type=2&prefix=acl", &[], "ListObjectsV2"),
            ("POST", "/abc?delete", &[], "DeleteObjects"),
            ("GET", "/abc?uploads", &[], "ListMultipartUploads"),
            ("PUT", "/abc/k", &[], "PutObject"),
            ("PUT", "/abc/k", COPY, "CopyObject"),
            ("GET", "/abc/k?versionId=null", &[], "GetObject"),
            ("GET", "/abc/k?partNumber=1", &[], "GetObject"),
            ("HEAD", "/abc/k", &[], "HeadObject"),
            ("DELETE", "/abc/k", &[], "DeleteObject"),
            ("POST", "/abc/k?uploads", &[], "CreateMultipartUpload"),
            ("PUT", "/abc/k?uploadId=u&partNumber=1", &[], "UploadPart"),
            ("PUT", "/abc/k?uploadId=u&partNumber=1", COPY, "UploadPartCopy"),
            ("POST", "/abc/k?uploadId=u", &[], "CompleteMultipartUpload"),
            ("DELETE", "/abc/k?uploadId=u", &[], "AbortMultipartUpload"),
            ("GET", "/abc/k?uploadId=u", &[], "ListParts"),
        ];
        let mut seen = std::collections::BTreeSet::new();
        for (method, path, headers, name) in routes {
            assert_eq!(ask(method, path, headers), *name, "{method} {path}");
            seen.insert(*name);
        }
        for operation in Operation::ALL {
            assert!(seen.contains(operation.name()), "{} has no route", operation.name());
        }
    }

    #[test]
    fn nothing_is_taken_for_something_else() {
        let routes: &[Case] = &[
            ("PUT", "/abc?acl", &[], "NotImplemented"),
            ("PUT", "/abc?versioning", &[], "NotImplemented"),
            ("HEAD", "/abc?versioning", &[], "NotImplemented"),
            ("GET", "/abc/k?versioning", &[], "NotImplemented"),
            ("GET", "/abc?versioning&location", &[], "MethodNotAllowed"),
            ("GET", "/abc?versioning&acl", &[], "NotImplemented"),
            ("PUT", "/abc/k?tagging", &[], "NotImplemented"),
            ("GET", "/abc/k?attributes", &[], "NotImplemented"),
            ("POST", "/abc/k?select&select-type=2", &[], "NotImplemented"),
            ("POST", "/abc", &[], "NotImplemented"),
            ("DELETE", "/abc/k", IF_MATCH, "NotImplemented"),
            ("PUT", "/abc?uploads", &[], "MethodNotAllowed"),
            ("PUT", "/abc?delete", &[], "MethodNotAllowed"),
            ("DELETE", "/abc?location", &[], "MethodNotAllowed"),
            ("GET", "/abc/k?uploads", &[], "MethodNotAllowed"),
            ("HEAD", "/abc/k?uploadId=u", &[], "MethodNotAllowed"),
            ("POST", "/abc/k", &[], "MethodNotAllowed"),
            ("POST", "/abc/k?delete", &[], "MethodNotAllowed"),
            ("PATCH", "/abc/k", &[], "MethodNotAllowed"),
            ("DELETE", "/", &[], "MethodNotAllowed"),
            ("DELETE", "/abc/k?partNumber=1", &[], "MethodNotAllowed"),
            ("PUT", "/abc/k?partNumber=1", &[], "InvalidArgument"),
            ("PUT", "/abc/k?uploadId=1", &[], "InvalidArgument"),
            ("PUT", "/abc/k?versionId=null", &[], "InvalidArgument"),
            ("GET", "/abc?list-type=3", &[], "InvalidArgument"),
            ("GET", "/abc/k", COPY, "InvalidArgument"),
            ("GET", "/abc/k?versionId=", &[], "InvalidArgument"),
            ("GET", "/abc/k?versionId=x", &[], "NoSuchVersion"),
            ("DELETE", "/abc/k?versionId=x", &[], "NoSuchVersion"),
        ];
        for (method, path, headers, code) in routes {
            assert_eq!(ask(method, path, headers), *code, "{method} {path}");
        }
    }
}
