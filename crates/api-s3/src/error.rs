//! S3 errors: the codes that this server uses, with the status and the message that AWS gives them, and their XML
//! form. What an engine error becomes is said in [`crate::mapping`], not here.

use std::borrow::Cow;

use http::StatusCode;
use http::header::HeaderName;

use crate::xml::Writer;

macro_rules! codes {
    ($($name:ident = $status:literal $text:literal $message:literal;)*) => {
        /// An S3 error code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Code { $($name),* }

        impl Code {
            /// The name on the wire.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// The HTTP status.
            pub(crate) const fn status_code(self) -> u16 {
                match self { $(Self::$name => $status),* }
            }

            /// The message, unless a better one is at hand.
            pub(crate) const fn message(self) -> &'static str {
                match self { $(Self::$name => $message),* }
            }

            /// The code of that name.
            pub(crate) fn find(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }

            /// Every code.
            #[cfg(test)]
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

codes! {
    AccessDenied = 403 "AccessDenied" "Access Denied";
    AuthorizationHeaderMalformed = 400 "AuthorizationHeaderMalformed" "The authorization header is malformed.";
    AuthorizationQueryParametersError = 400 "AuthorizationQueryParametersError" "The authorization query parameters are malformed.";
    BadDigest = 400 "BadDigest" "The Content-MD5 or checksum value that you specified did not match what the server received.";
    BucketAlreadyExists = 409 "BucketAlreadyExists" "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.";
    BucketAlreadyOwnedByYou = 409 "BucketAlreadyOwnedByYou" "Your previous request to create the named bucket succeeded and you already own it.";
    BucketNotEmpty = 409 "BucketNotEmpty" "The bucket you tried to delete is not empty.";
    EntityTooLarge = 400 "EntityTooLarge" "Your proposed upload exceeds the maximum allowed size.";
    EntityTooSmall = 400 "EntityTooSmall" "Your proposed upload is smaller than the minimum allowed size.";
    IllegalLocationConstraint = 400 "IllegalLocationConstraintException" "The location constraint is incompatible for the region specific endpoint this request was sent to.";
    IncompleteBody = 400 "IncompleteBody" "You did not provide the number of bytes specified by the Content-Length HTTP header.";
    InternalError = 500 "InternalError" "We encountered an internal error. Please try again.";
    InvalidAccessKeyId = 403 "InvalidAccessKeyId" "The AWS Access Key Id you provided does not exist in our records.";
    InvalidArgument = 400 "InvalidArgument" "Invalid Argument";
    InvalidBucketName = 400 "InvalidBucketName" "The specified bucket is not valid.";
    InvalidBucketOwner = 400 "InvalidBucketOwnerAWSAccountID" "The value of the expected bucket owner parameter must be an AWS account ID.";
    InvalidChunkSize = 403 "InvalidChunkSizeError" "Only the last chunk is allowed to have a size less than 8192 bytes";
    InvalidDigest = 400 "InvalidDigest" "The Content-MD5 you specified was invalid.";
    InvalidPart = 400 "InvalidPart" "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.";
    InvalidPartNumber = 416 "InvalidPartNumber" "The requested partnumber is not satisfiable";
    InvalidPartOrder = 400 "InvalidPartOrder" "The list of parts was not in ascending order. Parts must be ordered by part number.";
    InvalidRange = 416 "InvalidRange" "The requested range is not satisfiable";
    InvalidRequest = 400 "InvalidRequest" "Invalid Request";
    InvalidStorageClass = 400 "InvalidStorageClass" "The storage class you specified is not valid";
    InvalidToken = 400 "InvalidToken" "The provided token is malformed or otherwise invalid.";
    InvalidUri = 400 "InvalidURI" "Couldn't parse the specified URI.";
    KeyTooLong = 400 "KeyTooLongError" "Your key is too long";
    MalformedTrailer = 400 "MalformedTrailerError" "The request contained trailing data that was not well-formed or did not conform to our published schema.";
    MalformedXml = 400 "MalformedXML" "The XML you provided was not well-formed or did not validate against our published schema";
    MaxMessageLengthExceeded = 400 "MaxMessageLengthExceeded" "Your request was too big.";
    MetadataTooLarge = 400 "MetadataTooLarge" "Your metadata headers exceed the maximum allowed metadata size";
    MethodNotAllowed = 405 "MethodNotAllowed" "The specified method is not allowed against this resource.";
    MissingContentLength = 411 "MissingContentLength" "You must provide the Content-Length HTTP header.";
    MissingRequestBody = 400 "MissingRequestBodyError" "Request body is empty.";
    NoSuchBucket = 404 "NoSuchBucket" "The specified bucket does not exist";
    NoSuchKey = 404 "NoSuchKey" "The specified key does not exist.";
    NoSuchUpload = 404 "NoSuchUpload" "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.";
    NoSuchVersion = 404 "NoSuchVersion" "The specified version does not exist.";
    NotImplemented = 501 "NotImplemented" "A header or query parameter you provided implies functionality that is not implemented";
    NotModified = 304 "NotModified" "Not Modified";
    PreconditionFailed = 412 "PreconditionFailed" "At least one of the pre-conditions you specified did not hold";
    RequestTimeTooSkewed = 403 "RequestTimeTooSkewed" "The difference between the request time and the current time is too large.";
    RequestTimeout = 400 "RequestTimeout" "Your socket connection to the server was not read from or written to within the timeout period. Idle connections will be closed.";
    ServiceUnavailable = 503 "ServiceUnavailable" "Service is unable to handle request. Please reduce your request rate or try again.";
    SignatureDoesNotMatch = 403 "SignatureDoesNotMatch" "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
    SlowDown = 503 "SlowDown" "Please reduce your request rate.";
    // 507 is in no SDK's list of statuses to retry, and MinIO's clients know this code.
    StorageFull = 507 "XMinioStorageFull" "Storage backend has reached its minimum free drive threshold. Please delete a few objects to proceed.";
    XAmzContentSha256Mismatch = 400 "XAmzContentSHA256Mismatch" "The provided 'x-amz-content-sha256' header does not match what was computed.";
}

impl Code {
    /// The HTTP status.
    pub(crate) fn status(self) -> StatusCode {
        StatusCode::from_u16(self.status_code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// An error on its way to the client.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    code: Code,
    message: Cow<'static, str>,
    details: Vec<(&'static str, String)>,
    headers: Vec<(HeaderName, String)>,
}

/// What an operation gives.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// With the code's own message.
    pub(crate) fn new(code: Code) -> Self {
        Self::with(code, code.message())
    }

    /// With another message.
    pub(crate) fn with(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), details: Vec::new(), headers: Vec::new() }
    }

    /// `InvalidArgument` about one named argument, as AWS reports it.
    pub(crate) fn argument(
        name: &'static str,
        value: impl Into<String>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::with(Code::InvalidArgument, message)
            .detail("ArgumentName", name)
            .detail("ArgumentValue", value)
    }

    /// `NotImplemented`, naming what was asked for.
    pub(crate) fn unbuilt(what: &str) -> Self {
        Self::with(Code::NotImplemented, format!("{}: {what}", Code::NotImplemented.message()))
    }

    /// Adds an element.
    pub(crate) fn detail(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.push((name, value.into()));
        self
    }

    /// Adds a header to the reply.
    pub(crate) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The code.
    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// The message.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Headers that the reply carries beside the usual ones.
    pub(crate) fn headers(&self) -> &[(HeaderName, String)] {
        &self.headers
    }

    /// The XML document.
    pub(crate) fn to_xml(&self, resource: &str, request_id: &str, host_id: &str) -> Vec<u8> {
        let mut xml = Writer::new();
        xml.open("Error");
        xml.text("Code", self.code.as_str());
        xml.text("Message", &self.message);
        for (name, value) in &self.details {
            xml.text(name, value);
        }
        xml.text("Resource", resource);
        xml.text("RequestId", request_id);
        xml.text("HostId", host_id);
        xml.close("Error");
        xml.finish()
    }
}

impl From<Code> for ApiError {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_what_aws_sends() {
        let error = ApiError::new(Code::InvalidRange)
            .detail("RangeRequested", "bytes=9-")
            .detail("ActualObjectSize", "3");
        let xml =
            String::from_utf8(error.to_xml("/b/a<b", "4442587FB7D0A2F9", "host")).expect("UTF-8");
        assert_eq!(
            xml,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>InvalidRange</Code>\
             <Message>The requested range is not satisfiable</Message>\
             <RangeRequested>bytes=9-</RangeRequested><ActualObjectSize>3</ActualObjectSize>\
             <Resource>/b/a&lt;b</Resource><RequestId>4442587FB7D0A2F9</RequestId>\
             <HostId>host</HostId></Error>"
        );
    }

    #[test]
    fn names_are_unique_and_statuses_are_errors() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{code:?}");
            assert_eq!(Code::find(code.as_str()), Some(*code));
            assert!((300..600).contains(&code.status_code()), "{code:?}");
        }
    }
}
