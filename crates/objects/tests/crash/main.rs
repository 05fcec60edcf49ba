//! Crashes and faults, walked systematically: the real engine over real drive stores on simulated disks, where the
//! power fails, or a call does, at every place that there is. Afterwards everything acknowledged is there, nothing
//! is half there, and once the background has done its work nothing is left behind.
#![allow(clippy::disallowed_methods, missing_docs, unreachable_pub, reason = "tests")]

#[path = "../interleave/bodies.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod bodies;
mod clock;
mod deeds;
mod faults;
#[path = "../engine/fsck.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod fsck;
mod lying;
mod mortal;
mod power;
mod world;
