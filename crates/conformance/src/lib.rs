//! The harness of the black-box tests: it starts the real binary as a child process, drives it with real
//! clients, kills it and starts it again. It is not linked into the product, and it knows the server only
//! from outside: command line, standard output, HTTP, files.
//!
//! See `README.md` beside this crate for what is covered and how to run one test.
// A test program stands outside of the product's runtime: it has a clock, threads and files of its own.
#![allow(clippy::disallowed_methods)]

mod accounts;
mod binary;
mod check;
mod clients;
mod damage;
mod fields;
mod files;
pub mod fuzz;
mod http;
mod scratch;
mod server;
mod upkeep;

pub use accounts::{Account, OTHER, ROOT};
pub use binary::server_binary;
pub use check::{Checked, check};
pub use clients::{Client, Finished};
pub use damage::{Damage, Rot};
pub use fields::metric;
pub use files::{Noise, assert_same_file, assert_same_tree, flip_bits, write_noise, write_tree};
pub use http::{Response, get, post};
pub use scratch::Scratch;
pub use server::{Launch, Refused, Server};
