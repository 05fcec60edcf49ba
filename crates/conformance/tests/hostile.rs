//! What no client should do: the server stays up, bounded in memory, and shows nothing that it did not wholly
//! receive. Each group has a server of its own, as the peak of its memory is looked at.

use conformance::{Client, Scratch, Server};

/// Runs one class of `clients/hostile.py`.
fn group(name: &str) {
    let scratch = Scratch::with_other_account();
    let mut server = Server::start(&scratch);
    Client::script("hostile.py", &server, &scratch).arg(name).succeed();
    assert!(server.is_up(), "the server is gone: {}", server.log());
    let peak = server.peak_memory_mib();
    assert!(peak < 512, "{peak} MiB");
    let said = server.log();
    assert!(!said.contains("panicked at"), "a worker panicked:\n{said}");
    server.stop();
}

#[test]
fn bodies_that_are_not_what_was_said() {
    group("Bodies");
}

#[test]
fn clients_that_vanish() {
    group("Vanishing");
}

#[test]
fn requests_that_are_none() {
    group("Nonsense");
}

#[test]
fn too_many_and_too_slow() {
    group("Crowds");
}
