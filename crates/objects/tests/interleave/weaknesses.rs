//! That the scenes can fail: each weakness of a store is noticed by one of them.

use crate::bodies::{blob, inline, long};
use crate::explore::notices;
use crate::gated::Weakness;
use crate::model::Op;
use crate::play::{Given, Player, Scene};

fn scene(weakness: Weakness, given: &[Given], players: &[Player]) -> Scene {
    Scene {
        name: "a store that errs".to_owned(),
        engines: 2,
        given: given.to_vec(),
        players: players.to_vec(),
        faults: 1,
        preemptions: Some(2),
        weakness,
    }
}

#[test]
fn a_store_that_forgets_what_was_read() {
    let given = [Given::Op(Op::Put("a", blob(1)))];
    let put = |seed| Player::Client(0, Op::Put("a", blob(seed)));
    let scene = scene(Weakness::Revision, &given, &[put(2), put(3)]);
    assert!(notices(&Scene { faults: 0, ..scene }));
}

#[test]
fn a_repair_that_does_not_look_again() {
    let put = Given::Op(Op::Put("a", blob(1)));
    let given = [put, Given::Wiped, Given::Upkeep(&["sweep"]), Given::Op(Op::Delete("a"))];
    let ended = [Given::Reports, Given::Upkeep(&["collect"]), Given::Reports];
    let given = [&given[..], &ended].concat();
    let players = [Player::Upkeep(0, &["repair"]), Player::Upkeep(1, &["collect"])];
    assert!(notices(&Scene { faults: 0, ..scene(Weakness::Revision, &given, &players) }));
}

#[test]
fn a_copy_that_is_overlooked_when_its_blob_is_encoded_again() {
    let given = [Given::TwoDrives, Given::Op(Op::Put("a", blob(1))), Given::AllDrives];
    let players = [Player::Upkeep(0, &["repair"]), Player::Client(1, Op::Copy("a", "b"))];
    assert!(notices(&Scene { faults: 0, ..scene(Weakness::EmptyRange, &given, &players) }));
}

#[test]
fn a_store_that_forgets_what_must_be_empty() {
    let players = [Player::Client(0, Op::Put("a", inline(2))), Player::Client(1, Op::DeleteBucket)];
    assert!(notices(&Scene { faults: 0, ..scene(Weakness::EmptyRange, &[], &players) }));
}

#[test]
fn a_store_that_does_things_twice() {
    let given = [Given::Op(Op::Put("a", inline(1)))];
    let players = [Player::Client(0, Op::Put("b", inline(2))), Player::Client(1, Op::Delete("a"))];
    assert!(notices(&scene(Weakness::Repeats, &given, &players)));
}

#[test]
fn a_store_that_does_not_fence() {
    let players = [
        Player::Client(0, Op::Put("a", blob(1))),
        Player::EndsSession(0),
        Player::Upkeep(1, &["oldest-read", "scrub", "collect"]),
    ];
    assert!(notices(&Scene { faults: 0, ..scene(Weakness::NoFence, &[], &players) }));
}

#[test]
fn a_store_that_forgets_open_reads() {
    let given = [Given::Op(Op::Put("a", long(1))), Given::Reports];
    let players = [
        Player::Client(0, Op::Get("a")),
        Player::Client(0, Op::Delete("a")),
        Player::Upkeep(0, &["oldest-read", "collect"]),
    ];
    let scene = scene(Weakness::OpenReads, &given, &players);
    assert!(notices(&Scene { engines: 1, faults: 0, ..scene }));
}
