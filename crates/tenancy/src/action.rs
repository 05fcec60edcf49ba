//! The actions that can be authorised, under AWS's names
//! (<https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html>).

use types::AccountId;

use crate::{BucketRef, NewBucket, ObjectRef};

/// Something that a principal can ask to do.
pub trait Action: Send + Sync + 'static {
    /// What it is done to.
    type Resource: Send + Sync + std::fmt::Debug;
    /// Its name in policies and audit records.
    const NAME: &'static str;
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident: $resource:ty = $text:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $name {}

        impl Action for $name {
            type Resource = $resource;
            const NAME: &'static str = $text;
        }
    )*};
}

actions! {
    /// List the caller's own buckets.
    ListAllMyBuckets: AccountId = "s3:ListAllMyBuckets";
    /// Make a bucket.
    CreateBucket: NewBucket = "s3:CreateBucket";
    /// Remove an empty bucket.
    DeleteBucket: BucketRef = "s3:DeleteBucket";
    /// List objects; also HeadBucket.
    ListBucket: BucketRef = "s3:ListBucket";
    /// Read the bucket's region.
    GetBucketLocation: BucketRef = "s3:GetBucketLocation";
    /// Read whether the bucket keeps versions.
    GetBucketVersioning: BucketRef = "s3:GetBucketVersioning";
    /// List uploads in progress.
    ListBucketMultipartUploads: BucketRef = "s3:ListBucketMultipartUploads";
    /// Read an object or its metadata; the source of a copy.
    GetObject: ObjectRef = "s3:GetObject";
    /// Write an object: put, the target of a copy, and every step of a multipart upload but abort.
    PutObject: ObjectRef = "s3:PutObject";
    /// Delete an object.
    DeleteObject: ObjectRef = "s3:DeleteObject";
    /// Abort an upload.
    AbortMultipartUpload: ObjectRef = "s3:AbortMultipartUpload";
    /// List an upload's parts.
    ListMultipartUploadParts: ObjectRef = "s3:ListMultipartUploadParts";
}
