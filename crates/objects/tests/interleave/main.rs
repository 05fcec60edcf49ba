//! Races, played out: each scene is a few operations of real engines on one thread, each of whose calls on the
//! key-value store and the drives waits until the schedule lets it go. Scenes of two actors are played in every
//! order, those of more in random ones. After each schedule, what clients were told must be what some order of
//! their requests would have told them, and after the background has done its work nothing may be left behind.
//!
//! A failure prints the choices that lead to it; `explore::replay` plays them again.
#![allow(clippy::disallowed_methods, missing_docs, unreachable_pub, reason = "tests")]

mod bodies;
mod clock;
mod desk;
mod drives;
mod explore;
#[path = "../engine/fsck.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod fsck;
mod gated;
mod model;
mod play;
mod truth;
mod world;

mod background;
mod uploads;
mod weaknesses;
mod writes;
