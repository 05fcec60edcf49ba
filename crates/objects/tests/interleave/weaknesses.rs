//! That the scenes can fail: each weakness of a store is noticed by one of them.

use crate::bodies::{blob, inline};
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
