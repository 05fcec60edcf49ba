//! Every limit that more than one crate has to know, named once; their relations are checked by the
//! compiler. Lengths are in bytes unless the name says otherwise.

/// Longest object key (AWS: 1,024 bytes of UTF-8).
pub const OBJECT_KEY_MAX_BYTES: usize = 1024;
/// Shortest and longest bucket name.
pub const BUCKET_NAME_MIN_BYTES: usize = 3;
/// See [`BUCKET_NAME_MIN_BYTES`].
pub const BUCKET_NAME_MAX_BYTES: usize = 63;
/// User metadata: sum of the lengths of names (without `x-amz-meta-`) and values (AWS: 2 KB).
pub const USER_METADATA_MAX_BYTES: usize = 2048;
/// All system metadata headers of one object together (AWS: 2 KB).
pub const SYSTEM_METADATA_MAX_BYTES: usize = 2048;
/// Largest object that one PUT or one copy may make, and the largest part.
pub const PUT_MAX_BYTES: u64 = 5 << 30;
/// Smallest part that is not the last.
pub const PART_MIN_BYTES: u64 = 5 << 20;
/// Largest part number.
pub const PART_NUMBER_MAX: u16 = 10_000;
/// Largest object (AWS: 5 TiB here; it has since been raised there).
pub const OBJECT_MAX_BYTES: u64 = 5 << 40;
/// Most keys in one page of a listing, or in one DeleteObjects.
pub const LIST_PAGE_MAX_KEYS: usize = 1000;

/// Payload of a full frame: the unit of checksums, of reads and (later) of encryption.
pub const FRAME_BYTES: usize = 64 * 1024;
/// Shards of one blob, data and parity together.
pub const SHARDS_MAX: usize = 32;
/// Objects up to this size are stored inside the key-value store, beside their record.
/// Measured: see `docs/performance.md`.
pub const INLINE_MAX_BYTES: usize = 8 * 1024;
/// Shards of at least this payload length get a file of their own; smaller ones share segments.
pub const SHARD_FILE_MIN_BYTES: u64 = 1 << 20;

/// Longest key of the key-value store.
pub const KV_KEY_MAX_BYTES: usize = 4096;
/// Longest value of the key-value store.
pub const KV_VALUE_MAX_BYTES: usize = 512 * 1024;
/// Most guards and writes together in one batch (etcd's default is 128).
pub const KV_BATCH_MAX_OPS: usize = 96;
/// Most bytes of keys and values in one batch (etcd's default is 1.5 MiB).
pub const KV_BATCH_MAX_BYTES: usize = 1 << 20;
/// Most entries in one page of a scan.
pub const KV_SCAN_MAX_ENTRIES: usize = 4096;
/// Most keys that one `DeleteRange` may remove.
pub const KV_DELETE_RANGE_MAX_KEYS: usize = 4096;

// Keys are escaped (at most doubled) and prefixed in the key space.
const _: () = assert!(2 * OBJECT_KEY_MAX_BYTES + 256 <= KV_KEY_MAX_BYTES);
const _: () = assert!(KV_VALUE_MAX_BYTES + 2 * KV_KEY_MAX_BYTES <= KV_BATCH_MAX_BYTES);
const _: () = assert!(INLINE_MAX_BYTES <= KV_VALUE_MAX_BYTES);
const _: () = assert!(PART_MIN_BYTES > INLINE_MAX_BYTES as u64);
const _: () = assert!(SHARD_FILE_MIN_BYTES > FRAME_BYTES as u64);
const _: () = assert!(PART_NUMBER_MAX as u64 * PUT_MAX_BYTES >= OBJECT_MAX_BYTES);
