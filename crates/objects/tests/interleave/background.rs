//! Repair, encoding again, scrubbing and collection, who meet clients and each other.

use crate::bodies::{Content, blob, inline, long};
use crate::explore::{exhaust, sample};
use crate::gated::Weakness;
use crate::model::{MADE, Op};
use crate::play::{Given, Player, Scene};

const PART: &[(u16, Content)] = &[(1, blob(1))];
const OTHER_PART: &[(u16, Content)] = &[(1, blob(3))];

/// One of an engine's workers.
fn works(engine: usize, names: &'static [&'static str]) -> Player {
    Player::Upkeep(engine, names)
}

fn asks(engine: usize, op: Op) -> Player {
    Player::Client(engine, op)
}

fn scene(name: &str, given: &[Given], players: &[Player]) -> Scene {
    let engine = |player: &Player| match player {
        Player::Client(engine, _) | Player::Upkeep(engine, _) | Player::EndsSession(engine) => {
            *engine
        }
    };
    Scene {
        name: name.to_owned(),
        // One that does nothing would report no reads, and hold collection back.
        engines: players.iter().map(engine).max().unwrap_or(0) + 1,
        given: given.to_vec(),
        players: players.to_vec(),
        faults: 0,
        preemptions: None,
        weakness: Weakness::None,
    }
}

/// All schedules with few interruptions, the same with a fault, and random ones with more of both.
fn play(name: &str, given: &[Given], players: &[Player]) {
    let scene = scene(name, given, players);
    let works = |player: &&Player| matches!(player, Player::Upkeep(..));
    // Whoever works in the background makes many calls.
    let most = if players.len() == 2 && players.iter().filter(works).count() == 1 { 3 } else { 2 };
    exhaust(&Scene { preemptions: Some(most), ..scene.clone() });
    exhaust(&Scene { preemptions: Some(1), faults: 1, ..scene.clone() });
    sample(&Scene { faults: 2, ..scene }, 200);
}

/// What is unreferenced has been filed as such, and no read is older: what comes next is that it goes.
fn sealed(given: &[Given]) -> Vec<Given> {
    [given, &[Given::Reports, Given::Upkeep(&["collect"]), Given::Reports]].concat()
}

fn damaged() -> Vec<Given> {
    vec![Given::Op(Op::Put("a", blob(1))), Given::Wiped, Given::Upkeep(&["sweep"])]
}

/// Clients who meet a blob that `what` is working at.
fn others(what: &str) -> Vec<(String, Player)> {
    let others = [
        ("delete", Op::Delete("a")),
        ("overwrite", Op::Put("a", blob(2))),
        ("copy", Op::Copy("a", "b")),
        ("get", Op::Get("a")),
    ];
    others.into_iter().map(|(name, op)| (format!("{what} x {name}"), asks(1, op))).collect()
}

#[test]
fn repair_meets_clients() {
    for (name, other) in others("repair") {
        play(&name, &damaged(), &[works(0, &["repair"]), other]);
    }
    let given = [Given::Op(Op::Put("a", blob(1))), Given::Rotten, Given::Op(Op::Get("a"))];
    let given = [&given[..], &[Given::Upkeep(&["repair-filer"])]].concat();
    play("repair of rot x delete", &given, &[works(0, &["repair"]), asks(1, Op::Delete("a"))]);
}

#[test]
fn repair_meets_repair_and_scrubs() {
    play("repair x repair", &damaged(), &[works(0, &["repair"]), works(1, &["repair"])]);
    play("repair x scrub", &damaged(), &[works(0, &["repair"]), works(1, &["scrub"])]);
    play(
        "repair x scrub of one engine",
        &damaged(),
        &[works(0, &["repair"]), works(0, &["scrub"])],
    );
    play("repair x sweep", &damaged(), &[works(0, &["repair"]), works(1, &["sweep"])]);
}

#[test]
fn repair_meets_collection() {
    let given = [damaged(), vec![Given::Op(Op::Delete("a")), Given::Reports]].concat();
    play("repair x collection", &given, &[works(0, &["repair"]), works(1, &["collect"])]);
    let given = sealed(&given);
    play("repair x collection, the end", &given, &[works(0, &["repair"]), works(1, &["collect"])]);
    play(
        "repair x delete and collection",
        &[damaged(), vec![Given::Reports]].concat(),
        &[works(0, &["repair"]), asks(0, Op::Delete("a")), works(0, &["oldest-read", "collect"])],
    );
}

/// A blob of two shards, because two drives were all there was.
fn small() -> Vec<Given> {
    vec![Given::TwoDrives, Given::Op(Op::Put("a", blob(1))), Given::AllDrives]
}

#[test]
fn encoding_again_meets_clients() {
    for (name, other) in others("re-encode") {
        play(&name, &small(), &[works(0, &["repair"]), other]);
    }
    let given =
        [Given::TwoDrives, Given::Op(Op::Part(1, blob(1))), Given::AllDrives, Given::Reports];
    for (name, op) in [
        ("re-encode x complete", Op::Complete(PART)),
        ("re-encode x abort", Op::Abort),
        ("re-encode x part", Op::Part(1, blob(2))),
    ] {
        play(name, &given, &[works(0, &["repair"]), asks(1, op)]);
    }
}

#[test]
fn encoding_again_meets_collection() {
    let shared = [small(), vec![Given::Op(Op::Copy("a", "b")), Given::Reports]].concat();
    play(
        "re-encode x delete of one copy",
        &shared,
        &[works(0, &["repair"]), asks(1, Op::Delete("b"))],
    );
    let gone = [small(), vec![Given::Op(Op::Delete("a")), Given::Reports]].concat();
    play("re-encode x collection", &gone, &[works(0, &["repair"]), works(1, &["collect"])]);
    let gone = sealed(&gone);
    play(
        "re-encode x collection, the end",
        &gone,
        &[works(0, &["repair"]), works(1, &["collect"])],
    );
    play("re-encode x re-encode", &small(), &[works(0, &["repair"]), works(1, &["repair"])]);
    play(
        "re-encode x get and collection",
        &[small(), vec![Given::Reports]].concat(),
        &[works(0, &["repair"]), asks(1, Op::Get("a")), works(1, &["oldest-read", "collect"])],
    );
}

/// A shared blob is encoded again, owner by owner; the first owner goes in between, and somebody else collects.
fn half_encoded() -> (Vec<Given>, Vec<Player>) {
    let given = [small(), vec![Given::Op(Op::Copy("a", "b")), Given::Reports]].concat();
    let players = vec![
        works(0, &["repair"]),
        asks(1, Op::Delete("a")),
        works(0, &["oldest-read", "oldest-read"]),
        works(1, &["collect", "collect", "collect"]),
    ];
    (given, players)
}

#[test]
fn a_half_encoded_blob_is_kept() {
    let (given, players) = half_encoded();
    let scene = scene("re-encode x delete of an owner and collection", &given, &players);
    exhaust(&Scene { preemptions: Some(1), ..scene.clone() });
    sample(&Scene { faults: 2, ..scene }, 2000);
}

#[test]
fn collection_meets_clients() {
    // Filed once, and used again since: the record in the garbage is old.
    let op = Given::Op;
    let given =
        [op(Op::Put("a", blob(1))), op(Op::Copy("a", "b")), op(Op::Delete("a")), Given::Reports];
    for (name, other) in [
        ("collection x copy", Op::Copy("b", "a")),
        ("collection x delete of the last", Op::Delete("b")),
        ("collection x overwrite of the last", Op::Put("b", inline(2))),
        ("collection x get", Op::Get("b")),
    ] {
        play(name, &given, &[works(0, &["collect"]), asks(1, other)]);
    }
    let filed = [op(Op::Put("a", blob(1))), op(Op::Delete("a")), Given::Reports];
    for given in [filed.to_vec(), sealed(&filed)] {
        let collects = works(0, &["collect"]);
        let players = |other| [collects.clone(), other];
        play("collection x put", &given, &players(asks(1, Op::Put("a", blob(2)))));
        play("collection x collection", &given, &players(works(1, &["collect"])));
        play("collection x end of the bucket", &given, &players(asks(1, Op::DeleteBucket)));
    }
}

#[test]
fn collection_of_parts_meets_clients() {
    let op = Given::Op;
    let parts = [op(Op::Part(1, blob(1))), op(Op::Part(2, blob(2)))];
    let aborted = [&parts[..], &[op(Op::Abort), Given::Reports]].concat();
    play(
        "collection x collection of parts",
        &aborted,
        &[works(0, &["collect"]), works(1, &["collect"])],
    );
    play(
        "collection x late part",
        &aborted,
        &[works(0, &["collect"]), asks(1, Op::Part(2, blob(3)))],
    );
    let made = [&parts[..], &[op(Op::Complete(PART))]].concat();
    let left_out = [&made[..], &[Given::Reports]].concat();
    play(
        "collection of the rest x get",
        &left_out,
        &[works(0, &["collect"]), asks(1, Op::Get(MADE))],
    );
    play(
        "collection of the rest x delete",
        &left_out,
        &[works(0, &["collect"]), asks(1, Op::Delete(MADE))],
    );
    let shared =
        [&made[..], &[op(Op::Copy(MADE, "a")), op(Op::Delete(MADE)), Given::Reports]].concat();
    play(
        "collection of parts x copy",
        &shared,
        &[works(0, &["collect"]), asks(1, Op::Copy("a", "b"))],
    );
    play(
        "collection of parts x delete",
        &shared,
        &[works(0, &["collect"]), asks(1, Op::Delete("a"))],
    );
    play("collection of parts x get", &shared, &[works(0, &["collect"]), asks(1, Op::Get("a"))]);
}

#[test]
fn a_source_goes_while_it_is_copied() {
    let given = [Given::Op(Op::Put("a", blob(1))), Given::Reports];
    for engine in [0, 1] {
        let players = [
            asks(0, Op::Copy("a", "b")),
            asks(engine, Op::Delete("a")),
            works(engine, &["oldest-read", "collect", "collect"]),
            works(0, &["oldest-read", "oldest-read"]),
        ];
        let scene = scene("copy x delete and collection", &given, &players);
        exhaust(&Scene { preemptions: Some(2 - engine), ..scene.clone() });
        sample(&Scene { faults: 2, ..scene }, 1000);
    }
}

#[test]
fn a_reader_in_mid_stream_finishes() {
    let given = [Given::Op(Op::Put("a", long(1))), Given::Reports];
    for engine in [0, 1] {
        let players = [
            asks(0, Op::Get("a")),
            asks(engine, Op::Put("a", inline(2))),
            works(0, &["oldest-read", "oldest-read"]),
            works(engine, &["oldest-read", "collect", "collect"]),
        ];
        let scene = scene("get x overwrite and collection", &given, &players);
        exhaust(&Scene { preemptions: Some(1), ..scene.clone() });
        sample(&Scene { faults: 2, ..scene }, 1000);
    }
}

#[test]
fn a_stalled_writer_is_fenced() {
    let given = [Given::Op(Op::Put("a", blob(1)))];
    for op in
        [Op::Put("a", blob(2)), Op::Put("b", inline(3)), Op::Part(1, blob(4)), Op::Copy("a", "b")]
    {
        let players =
            [asks(0, op), Player::EndsSession(0), works(1, &["oldest-read", "scrub", "collect"])];
        let scene = scene("a writer whose session ends x collection", &given, &players);
        exhaust(&Scene { preemptions: Some(2), ..scene.clone() });
        sample(&Scene { faults: 2, ..scene }, 500);
    }
}

#[test]
fn stalled_background_is_fenced() {
    let gone = [Given::Op(Op::Put("a", blob(1))), Given::Op(Op::Delete("a")), Given::Reports];
    for (name, given, what) in [
        ("repair", damaged(), works(0, &["repair"])),
        ("re-encode", small(), works(0, &["repair"])),
        ("collection", gone.to_vec(), works(0, &["collect"])),
    ] {
        let others = works(1, &["oldest-read", "sweep", "scrub", "repair", "collect"]);
        let players = [what, Player::EndsSession(0), others];
        let name = format!("{name} whose session ends x the background of another");
        let scene = scene(&name, &given, &players);
        exhaust(&Scene { preemptions: Some(1), ..scene.clone() });
        sample(&Scene { faults: 1, ..scene }, 500);
    }
}

#[test]
fn everything_at_once() {
    let given = [
        Given::TwoDrives,
        Given::Op(Op::Put("a", blob(1))),
        Given::AllDrives,
        Given::Op(Op::Put("b", blob(2))),
        Given::Op(Op::Part(1, blob(3))),
        Given::Wiped,
        Given::Upkeep(&["sweep"]),
        Given::Reports,
    ];
    const ALL: &[&str] = &["oldest-read", "repair-filer", "repair", "scrub", "sweep", "collect"];
    let players = [
        asks(0, Op::Put("a", blob(4))),
        asks(1, Op::Copy("b", "a")),
        asks(0, Op::Complete(OTHER_PART)),
        asks(1, Op::Delete("b")),
        works(0, ALL),
        works(1, ALL),
    ];
    sample(&Scene { faults: 2, ..scene("everything at once", &given, &players) }, 1500);
}
