//! Runs the body of every fuzz target over its seeds, over damaged seeds and over random bytes: seconds of what
//! `fuzz/` does for days, the same on every run.

use conformance::Noise;
use conformance::fuzz::{TARGETS, target};

const ROUNDS: u64 = 30_000;

fn smoke(name: &str) {
    let target = target(name).expect("a target of this name");
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{name} has no seeds");
    for seed in &seeds {
        (target.run)(seed);
    }
    let mut noise = Noise::new(
        name.bytes().fold(17, |hash: u64, byte| hash.wrapping_mul(31) ^ u64::from(byte)),
    );
    (target.run)(&[]);
    for _ in 0..ROUNDS {
        let len = noise.below(300) as usize;
        let mut input = noise.bytes(len);
        if noise.below(4) > 0 {
            let pick = noise.below(seeds.len() as u64) as usize;
            input.clone_from(&seeds[pick]);
            damage(&mut input, &mut noise);
        }
        (target.run)(&input);
    }
}

/// One to four changes of the kinds that disks, wires and attackers make.
fn damage(input: &mut Vec<u8>, noise: &mut Noise) {
    for _ in 0..=noise.below(4) {
        let at = noise.below(input.len() as u64 + 1) as usize;
        match noise.below(6) {
            0 => input.truncate(at),
            1 => input.insert(at, noise.next_u64() as u8),
            2 => input.extend_from_slice(&noise.next_u64().to_le_bytes()),
            3 if at < input.len() => {
                input.remove(at);
            }
            4 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff][noise.below(5) as usize],
            _ if at < input.len() => input[at] ^= 1 << noise.below(8),
            _ => {}
        }
    }
}

#[test]
fn segment_bytes() {
    smoke("segment_bytes");
}

#[test]
fn segment_fields() {
    smoke("segment_fields");
}

#[test]
fn frames() {
    smoke("frames");
}

#[test]
fn records() {
    smoke("records");
}

#[test]
fn record_keys() {
    smoke("record_keys");
}

#[test]
fn request_targets() {
    smoke("request_targets");
}

#[test]
fn copy_sources() {
    smoke("copy_sources");
}

#[test]
fn every_target_has_its_file() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/fuzz_targets");
    for target in TARGETS {
        let file = std::path::Path::new(folder).join(format!("{}.rs", target.name));
        assert!(file.is_file(), "{} has no file in fuzz/fuzz_targets", target.name);
    }
}
