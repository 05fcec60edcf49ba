//! The operations: one file each, registered in the one list below.

mod abort_multipart_upload;
mod complete_multipart_upload;
mod copy_object;
mod create_bucket;
mod create_multipart_upload;
mod delete_bucket;
mod delete_object;
mod delete_objects;
mod get_bucket_location;
mod get_bucket_versioning;
mod get_object;
mod head_bucket;
mod head_object;
mod list_buckets;
mod list_multipart_uploads;
mod list_objects;
mod list_objects_v2;
mod list_parts;
mod listing;
mod object_reply;
mod put_object;
mod upload_part;
mod upload_part_copy;

use crate::call::Call;
use crate::error::ApiResult;
use crate::reply::Reply;

macro_rules! operations {
    ($($name:ident: $module:ident;)*) => {
        /// An operation of S3 that is built.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Operation { $(#[doc = stringify!($name)] $name),* }

        impl Operation {
            /// All of them.
            #[cfg(test)]
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its name, as AWS has it.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// Does it.
            pub(crate) async fn run(self, call: Call) -> ApiResult<Reply> {
                match self { $(Self::$name => Box::pin($module::run(call)).await),* }
            }
        }
    };
}

operations! {
    ListBuckets: list_buckets;
    CreateBucket: create_bucket;
    HeadBucket: head_bucket;
    GetBucketLocation: get_bucket_location;
    GetBucketVersioning: get_bucket_versioning;
    DeleteBucket: delete_bucket;
    ListObjects: list_objects;
    ListObjectsV2: list_objects_v2;
    PutObject: put_object;
    GetObject: get_object;
    HeadObject: head_object;
    CopyObject: copy_object;
    DeleteObject: delete_object;
    DeleteObjects: delete_objects;
    CreateMultipartUpload: create_multipart_upload;
    UploadPart: upload_part;
    UploadPartCopy: upload_part_copy;
    CompleteMultipartUpload: complete_multipart_upload;
    AbortMultipartUpload: abort_multipart_upload;
    ListParts: list_parts;
    ListMultipartUploads: list_multipart_uploads;
}
