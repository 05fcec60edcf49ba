//! Who chooses: all schedules of a scene one after the other, or random ones from seeds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use runtime::{Entropy as _, SimEntropy};

use crate::play::{Chooser, Scene, Step, Trace, play};

/// Schedules of one scene that are too many to be called exhaustive.
const SCHEDULES_MAX: usize = 200_000;

/// Follows a list of choices, then takes the first each time.
struct Replay {
    choices: Vec<usize>,
    at: usize,
}

impl Chooser for Replay {
    fn choose(&mut self, _: &[Step]) -> usize {
        let choice = self.choices.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        choice
    }
}

/// Priorities by actor, with a few moments at which the first falls to the end (Burckhardt et al., "A randomized
/// scheduler with probabilistic guarantees of finding bugs").
struct Priorities {
    dice: SimEntropy,
    /// Actors, most urgent first.
    order: Vec<usize>,
    falls: Vec<u64>,
    moment: u64,
}

/// Steps among which the moments of change lie.
const LENGTH: u64 = 60;
/// Moments of change.
const FALLS: u64 = 3;
/// One in so many steps at which a fault could happen has one.
const FAULT_ONE_IN: u64 = 12;

impl Priorities {
    fn new(seed: u64) -> Self {
        let dice = SimEntropy::new(seed);
        let falls = (0..FALLS).map(|_| dice.nonzero_u64() % LENGTH).collect();
        Self { dice, order: Vec::new(), falls, moment: 0 }
    }

    fn rank(&mut self, actor: usize) -> usize {
        if let Some(rank) = self.order.iter().position(|other| *other == actor) {
            return rank;
        }
        let rank = self.dice.nonzero_u64() as usize % (self.order.len() + 1);
        self.order.insert(rank, actor);
        rank
    }
}

impl Chooser for Priorities {
    fn choose(&mut self, steps: &[Step]) -> usize {
        self.moment += 1;
        steps.iter().for_each(|step| _ = self.rank(step.actor()));
        let plain: Vec<usize> = (0..steps.len()).filter(|at| !steps[*at].is_fault()).collect();
        let faults: Vec<usize> = (0..steps.len()).filter(|at| steps[*at].is_fault()).collect();
        let roll = self.dice.nonzero_u64();
        if plain.is_empty() || (!faults.is_empty() && roll.is_multiple_of(FAULT_ONE_IN)) {
            return faults[(roll / FAULT_ONE_IN) as usize % faults.len()];
        }
        let first = |this: &mut Self| {
            plain.iter().copied().min_by_key(|at| this.rank(steps[*at].actor())).unwrap_or(0)
        };
        let choice = first(self);
        if !self.falls.contains(&self.moment) {
            return choice;
        }
        let actor = steps[choice].actor();
        self.order.retain(|other| *other != actor);
        self.order.push(actor);
        first(self)
    }
}

/// Plays one schedule; whether everything was as it must be.
fn holds(scene: &Scene, chooser: &mut dyn Chooser, trace: &mut Trace) -> bool {
    let played = catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(play(scene, chooser, trace));
    }));
    played.is_ok()
}

/// Plays one schedule; a failure names the scene and the choices.
fn run(scene: &Scene, chooser: &mut dyn Chooser) -> Trace {
    let mut trace = Trace::default();
    let holds = holds(scene, chooser, &mut trace);
    assert!(holds, "scene `{}` fails, see above, with {trace}", scene.name);
    trace
}

/// The choices behind these, in the order of all schedules.
fn next(trace: &Trace) -> Option<Vec<usize>> {
    let mut path: Vec<(usize, usize)> = trace.0.iter().map(|(c, of, _)| (*c, *of)).collect();
    while path.pop_if(|(choice, of)| *choice + 1 == *of).is_some() {}
    path.last_mut()?.0 += 1;
    Some(path.into_iter().map(|(choice, _)| choice).collect())
}

/// Plays the schedule that these choices make, as a failure prints them.
#[allow(dead_code, reason = "for people who look into a failure")]
pub fn replay(scene: &Scene, choices: &[usize]) {
    let trace = run(scene, &mut Replay { choices: choices.to_vec(), at: 0 });
    eprintln!("scene `{}` holds with {trace}", scene.name);
}

/// Plays every schedule; how many there are.
pub fn exhaust(scene: &Scene) -> usize {
    let mut choices = Vec::new();
    for count in 1..=SCHEDULES_MAX {
        let trace = run(scene, &mut Replay { choices, at: 0 });
        match next(&trace) {
            Some(more) => choices = more,
            None => {
                let bound = match scene.preemptions {
                    None => "all".to_owned(),
                    Some(most) => format!("all with at most {most} interruption(s)"),
                };
                println!("{}: {count} schedules, {bound}, {} fault(s)", scene.name, scene.faults);
                return count;
            }
        }
    }
    panic!("`{}` has too many schedules", scene.name);
}

/// Whether any schedule fails, for scenes that must: the first that does is not told.
pub fn notices(scene: &Scene) -> bool {
    let mut choices = Vec::new();
    for _ in 0..SCHEDULES_MAX {
        let mut trace = Trace::default();
        if !holds(scene, &mut Replay { choices, at: 0 }, &mut trace) {
            return true;
        }
        match next(&trace) {
            Some(more) => choices = more,
            None => return false,
        }
    }
    panic!("`{}` has too many schedules", scene.name);
}

/// Plays the schedules of `seeds` seeds.
pub fn sample(scene: &Scene, seeds: u64) {
    for seed in 0..seeds {
        run(scene, &mut Priorities::new(seed));
    }
    println!("{}: {seeds} random schedules, at most {} fault(s)", scene.name, scene.faults);
}
