//! The engine over the embedded key-value store and real drives in temporary directories.
#![allow(clippy::disallowed_methods, missing_docs, unreachable_pub, reason = "tests")]

mod buckets;
mod check;
mod collect;
mod conditions;
mod copies;
mod deletes;
mod faults;
mod fsck;
mod hooked;
mod listing;
mod multipart;
mod objects;
mod races;
mod reencode;
mod repair;
mod scrub;
mod support;
mod uploads;
