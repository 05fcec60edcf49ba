//! Parts, completions and abortions that meet.

use crate::bodies::{Content, blob, inline};
use crate::explore::sample;
use crate::gated::Weakness;
use crate::model::{MADE, Op};
use crate::play::{Given, Player, Scene};
use crate::writes::pair;

const FIRST: [Content; 2] = [inline(1), blob(2)];

/// What completing lists, for each of [`FIRST`].
const LISTED: [&[(u16, Content)]; 2] = [&[(1, inline(1))], &[(1, blob(2))]];
const SECOND: &[(u16, Content)] = &[(2, blob(3))];

#[test]
fn parts_and_the_end_of_their_upload() {
    for (first, listed) in FIRST.into_iter().zip(LISTED) {
        let given = [Op::Part(1, first)];
        let complete = Op::Complete(listed);
        for new in [inline(3), blob(4)] {
            pair("part x abort", &given, &Op::Part(1, new), &Op::Abort);
            pair("part x abort, another number", &given, &Op::Part(2, new), &Op::Abort);
            pair("part x complete", &given, &Op::Part(1, new), &complete);
            pair("part x complete, another number", &given, &Op::Part(2, new), &complete);
            pair("part x part", &given, &Op::Part(1, new), &Op::Part(1, blob(5)));
            pair("part x delete bucket", &given, &Op::Part(1, new), &Op::DeleteBucket);
        }
    }
}

#[test]
fn completions() {
    for (first, listed) in FIRST.into_iter().zip(LISTED) {
        let given = [Op::Part(1, first), Op::Part(2, blob(3))];
        let complete = Op::Complete(listed);
        pair("complete x abort", &given, &complete, &Op::Abort);
        pair("complete x complete", &given, &complete, &complete);
        pair("complete x put", &given, &complete, &Op::Put(MADE, blob(4)));
        pair("complete x put, inline", &given, &complete, &Op::Put(MADE, inline(4)));
        pair("complete x delete", &given, &complete, &Op::Delete(MADE));
        pair("complete x delete bucket", &given, &complete, &Op::DeleteBucket);
        let other = Op::Complete(SECOND);
        pair("complete x complete otherwise", &given, &complete, &other);
        pair("abort x abort", &given, &Op::Abort, &Op::Abort);
    }
}

#[test]
fn copies_of_what_was_completed() {
    let given = [Op::Part(1, blob(2)), Op::Complete(LISTED[1])];
    let copy = Op::Copy(MADE, "a");
    pair("copy of parts x delete", &given, &copy, &Op::Delete(MADE));
    pair("copy of parts x overwrite", &given, &copy, &Op::Put(MADE, blob(3)));
    pair("copy of parts x complete again", &given, &copy, &Op::Complete(LISTED[1]));
}

#[test]
fn crowds() {
    let scene = |name: &str, ops: &[Op]| Scene {
        name: name.to_owned(),
        engines: 2,
        given: vec![Given::Op(Op::Part(1, blob(2)))],
        players: (0..).zip(ops).map(|(at, op)| Player::Client(at % 2, op.clone())).collect(),
        faults: 2,
        preemptions: None,
        weakness: Weakness::None,
    };
    let complete = Op::Complete(LISTED[1]);
    let ops = [Op::Part(1, blob(3)), complete.clone(), Op::Abort, Op::Part(2, blob(4))];
    sample(&scene("parts, complete and abort", &ops), 2000);
    let ops = [complete.clone(), complete, Op::Put(MADE, blob(5)), Op::Copy(MADE, "a")];
    sample(&scene("complete twice, put and copy", &ops), 2000);
    let ops = [Op::Part(1, blob(3)), Op::Put("a", blob(4)), Op::DeleteBucket, Op::Delete("a")];
    sample(&scene("part, put, delete and the end of the bucket", &ops), 2000);
}
