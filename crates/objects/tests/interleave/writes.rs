//! Puts, deletes and copies that meet.

use crate::bodies::{Content, blob, inline};
use crate::explore::{exhaust, sample};
use crate::gated::Weakness;
use crate::model::Op;
use crate::play::{Given, Player, Scene};

/// Two clients: of one engine in every order, and of two with a fault in every order of few interruptions.
pub fn pair(name: &str, given: &[Op], one: &Op, other: &Op) {
    let scene = |second| Scene {
        name: name.to_owned(),
        engines: 2,
        given: given.iter().cloned().map(Given::Op).collect(),
        players: vec![Player::Client(0, one.clone()), Player::Client(second, other.clone())],
        faults: 0,
        preemptions: None,
        weakness: Weakness::None,
    };
    exhaust(&scene(0));
    exhaust(&Scene { faults: 1, preemptions: Some(2), ..scene(1) });
}

const OLD: [Content; 2] = [inline(1), blob(2)];
const NEW: [Content; 2] = [inline(3), blob(4)];
const OTHER: [Content; 2] = [inline(5), blob(6)];

#[test]
fn overwrites_of_one_key() {
    for old in OLD {
        for one in NEW {
            for other in OTHER {
                pair("put x put", &[Op::Put("a", old)], &Op::Put("a", one), &Op::Put("a", other));
            }
        }
    }
}

#[test]
fn only_one_of_two_finds_nothing_there() {
    for one in NEW {
        for other in OTHER {
            pair(
                "put x put, if there is none",
                &[],
                &Op::PutNew("a", one),
                &Op::PutNew("a", other),
            );
        }
    }
}

#[test]
fn puts_and_the_end_of_their_bucket() {
    for one in NEW {
        pair("put x delete bucket", &[], &Op::Put("a", one), &Op::DeleteBucket);
    }
}

#[test]
fn puts_and_deletes() {
    for old in OLD {
        for one in NEW {
            pair("put x delete", &[Op::Put("a", old)], &Op::Put("a", one), &Op::Delete("a"));
        }
        pair("delete x delete", &[Op::Put("a", old)], &Op::Delete("a"), &Op::Delete("a"));
    }
}

#[test]
fn copies_and_changes_of_their_source() {
    for old in OLD {
        let given = [Op::Put("a", old)];
        let copy = Op::Copy("a", "b");
        pair("copy x delete of its source", &given, &copy, &Op::Delete("a"));
        for new in NEW {
            pair("copy x overwrite of its source", &given, &copy, &Op::Put("a", new));
            pair("copy x overwrite of its target", &given, &copy, &Op::Put("b", new));
        }
        pair("copy x copy back", &given, &copy, &Op::Copy("b", "a"));
        pair("copy x delete bucket", &given, &copy, &Op::DeleteBucket);
    }
}

#[test]
fn readers_and_writers() {
    for old in OLD {
        let given = [Op::Put("a", old)];
        for new in NEW {
            pair("get x overwrite", &given, &Op::Get("a"), &Op::Put("a", new));
        }
        pair("get x delete", &given, &Op::Get("a"), &Op::Delete("a"));
    }
}

#[test]
fn crowds() {
    let scene = |name: &str, given: &[Op], ops: &[Op]| Scene {
        name: name.to_owned(),
        engines: 2,
        given: given.iter().cloned().map(Given::Op).collect(),
        players: (0..).zip(ops).map(|(at, op)| Player::Client(at % 2, op.clone())).collect(),
        faults: 2,
        preemptions: None,
        weakness: Weakness::None,
    };
    let put = Op::Put;
    sample(
        &scene(
            "puts and a delete",
            &[put("a", blob(1))],
            &[put("a", blob(2)), put("a", inline(3)), put("a", blob(4)), Op::Delete("a")],
        ),
        2000,
    );
    sample(
        &scene(
            "copies in a circle, and a put",
            &[put("a", blob(1)), put("b", blob(2))],
            &[Op::Copy("a", "b"), Op::Copy("b", "a"), put("a", blob(3)), Op::Delete("b")],
        ),
        2000,
    );
    sample(
        &scene(
            "put, copy, delete and the end of the bucket",
            &[put("a", inline(1))],
            &[put("b", blob(2)), Op::Copy("a", "b"), Op::Delete("a"), Op::DeleteBucket],
        ),
        2000,
    );
}
