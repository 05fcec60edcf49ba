//! The S3 operations that a measurement is made of, on one connection.

use http::Method;

use crate::connection::{Call, Connection, Take};
use crate::payload::Payload;
use crate::sign::encode;
use crate::{Failure, xml};

/// Keys asked for in one page of a listing.
const PAGE_KEYS: &str = "1000";

/// One bucket seen through one connection.
pub(crate) struct Store {
    connection: Connection,
    /// `/bucket`, percent-encoded.
    bucket_path: String,
    region: String,
}

/// One page of a listing.
pub(crate) struct Page {
    /// Keys on it.
    pub(crate) keys: u64,
    /// Where the next page begins; `None` on the last.
    pub(crate) next: Option<String>,
    /// Length of the reply in bytes.
    pub(crate) len: u64,
}

impl Store {
    pub(crate) fn new(connection: Connection, bucket: &str, region: &str) -> Self {
        let bucket_path = format!("/{}", encode(bucket, false));
        Self { connection, bucket_path, region: region.to_owned() }
    }

    pub(crate) async fn connect(&mut self) -> std::io::Result<()> {
        self.connection.connect().await
    }

    /// Makes the bucket unless it is there; tells whether it was made.
    pub(crate) async fn ensure_bucket(&mut self) -> Result<bool, Failure> {
        match self.on_bucket(Method::HEAD, Payload::empty()).await {
            Ok(()) => return Ok(false),
            Err(Failure::Status { status: 404, .. }) => {}
            Err(failure) => return Err(failure),
        }
        let body = match self.region.as_str() {
            "us-east-1" => Payload::empty(),
            region => Payload::text(format!(
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
            )),
        };
        match self.on_bucket(Method::PUT, body).await {
            Ok(()) => Ok(true),
            Err(Failure::Status { status: 409, code }) if code == "BucketAlreadyOwnedByYou" => {
                Ok(false)
            }
            Err(failure) => Err(failure),
        }
    }

    pub(crate) async fn delete_bucket(&mut self) -> Result<(), Failure> {
        self.on_bucket(Method::DELETE, Payload::empty()).await
    }

    pub(crate) async fn put(&mut self, key: &str, body: Payload) -> Result<(), Failure> {
        self.on_object(Method::PUT, key, body).await.map(drop)
    }

    /// Reads the object to its end; `len` is the length that it must have.
    pub(crate) async fn get(&mut self, key: &str, len: u64) -> Result<(), Failure> {
        let got = self.on_object(Method::GET, key, Payload::empty()).await?;
        if got == len { Ok(()) } else { Err(Failure::WrongLength) }
    }

    pub(crate) async fn delete(&mut self, key: &str) -> Result<(), Failure> {
        self.on_object(Method::DELETE, key, Payload::empty()).await.map(drop)
    }

    /// One page of ListObjectsV2, from the beginning or from where the last page said.
    pub(crate) async fn list(&mut self, prefix: &str, from: Option<&str>) -> Result<Page, Failure> {
        let from = from.map(|token| format!("continuation-token={}&", encode(token, false)));
        let query = format!(
            "{}list-type=2&max-keys={PAGE_KEYS}&prefix={}",
            from.unwrap_or_default(),
            encode(prefix, false)
        );
        let path = self.bucket_path.clone();
        let call = Call { method: Method::GET, path, query, body: Payload::empty() };
        let reply = self.connection.call(&call, Take::Bytes).await?;
        let text = str::from_utf8(&reply.bytes).map_err(|_| Failure::WrongListing)?;
        let next = match xml::text_of(text, "IsTruncated").as_deref() {
            Some("false") => None,
            Some("true") => {
                let token = xml::text_of(text, "NextContinuationToken");
                Some(token.ok_or(Failure::WrongListing)?)
            }
            _ => return Err(Failure::WrongListing),
        };
        Ok(Page { keys: xml::count(text, "Key"), next, len: reply.len })
    }

    async fn on_bucket(&mut self, method: Method, body: Payload) -> Result<(), Failure> {
        let path = self.bucket_path.clone();
        let call = Call { method, path, query: String::new(), body };
        self.connection.call(&call, Take::Length).await.map(drop)
    }

    async fn on_object(
        &mut self,
        method: Method,
        key: &str,
        body: Payload,
    ) -> Result<u64, Failure> {
        let path = format!("{}/{}", self.bucket_path, encode(key, true));
        let call = Call { method, path, query: String::new(), body };
        self.connection.call(&call, Take::Length).await.map(|reply| reply.len)
    }
}
