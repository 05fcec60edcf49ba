//! Plays one schedule of a scene: somebody chooses who goes on, until all have ended; then everything is checked.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use std::time::Duration;

use futures::future::BoxFuture;
use types::DriveId;

use crate::desk::{Call, Desk, Fate, OTHERS};
use crate::gated::Weakness;
use crate::model::{Event, Op, State, Told};
use crate::truth;
use crate::world::{DRIVES, Woken, World, turn_of_others};

/// What has happened before.
#[derive(Clone, Debug)]
pub enum Given {
    /// A client's request, which succeeds.
    Op(Op),
    /// All drives but the first two are away, or back again.
    TwoDrives,
    AllDrives,
    /// The first drive that has a shard is replaced by an empty one, or bits of it flip.
    Wiped,
    Rotten,
    /// Background workers of the first engine, by name.
    Upkeep(&'static [&'static str]),
    /// All engines report the oldest open read, as they do every few seconds.
    Reports,
}

/// Who acts.
#[derive(Clone, Debug)]
pub enum Player {
    /// A client of an engine.
    Client(usize, Op),
    /// Background workers of an engine, by name, one after the other.
    Upkeep(usize, &'static [&'static str]),
    /// Somebody who ends the session of this engine.
    EndsSession(usize),
}

/// A few actors who meet.
#[derive(Clone, Debug)]
pub struct Scene {
    pub name: String,
    pub engines: usize,
    pub given: Vec<Given>,
    pub players: Vec<Player>,
    /// Most replies and calls of commits lost, and clients who hang up, in one schedule.
    pub faults: usize,
    /// Most times that an actor who could go on is interrupted; `None`: any number.
    pub preemptions: Option<usize>,
    /// What the store does wrong.
    pub weakness: Weakness,
}

/// What may happen next.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The actor goes on; if it commits, with this fate.
    Go(usize, Fate),
    /// The time comes that the actor sleeps for.
    Wake(usize),
    /// The actor's client hangs up.
    HangUp(usize),
}

impl Step {
    /// Who acts.
    pub fn actor(self) -> usize {
        match self {
            Self::Go(actor, _) | Self::Wake(actor) | Self::HangUp(actor) => actor,
        }
    }

    /// Whether something goes wrong with it.
    pub fn is_fault(self) -> bool {
        !matches!(self, Self::Go(_, Fate::Go) | Self::Wake(_))
    }
}

/// Somebody who decides.
pub trait Chooser {
    /// One of `steps`, by its place. The first does not interrupt the one who went last.
    fn choose(&mut self, steps: &[Step]) -> usize;
}

struct Actor {
    player: Player,
    future: Option<BoxFuture<'static, Told>>,
    woken: Arc<Woken>,
    began: Option<usize>,
    ended: Option<(usize, Told)>,
}

impl Actor {
    fn is_client(&self) -> bool {
        matches!(self.player, Player::Client(..))
    }

    fn poll(&mut self, desk: &Desk, me: usize, moment: usize) {
        let Some(future) = &mut self.future else { return };
        let waker = Waker::from(self.woken.clone());
        desk.enter(me);
        if let Poll::Ready(told) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.ended = Some((moment, told));
            self.future = None;
        }
        desk.enter(OTHERS);
    }
}

/// What was done, for people.
#[derive(Default)]
pub struct Trace(pub Vec<(usize, usize, String)>);

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let choices: Vec<usize> = self.0.iter().map(|(choice, _, _)| *choice).collect();
        writeln!(f, "choices: {choices:?}")?;
        self.0.iter().try_for_each(|(_, _, line)| writeln!(f, "  {line}"))
    }
}

/// Plays `scene` as `chooser` wants, and checks what comes of it.
pub async fn play(scene: &Scene, chooser: &mut dyn Chooser, trace: &mut Trace) {
    let mut world = World::new(scene.engines, scene.weakness).await;
    let mut start = State::new();
    for given in &scene.given {
        set_up(&mut world, &mut start, given).await;
    }
    let mut actors = Vec::new();
    let ends = |engine: &usize| {
        scene.players.iter().any(|p| matches!(p, Player::EndsSession(other) if other == engine))
    };
    for player in &scene.players {
        let future = match player {
            Player::Client(engine, op) => world.client(*engine, op).await,
            Player::Upkeep(engine, names) => world.upkeep(*engine, names, ends(engine)),
            Player::EndsSession(engine) => world.end_session(*engine),
        };
        actors.push(Actor {
            player: player.clone(),
            future: Some(future),
            woken: Arc::default(),
            began: None,
            ended: None,
        });
    }
    world.desk.close();
    act(&world, &mut actors, scene, chooser, trace).await;
    world.desk.open();
    world.quiesce().await;
    let events: Vec<Event> = actors.iter().filter_map(event).collect();
    let dead: Vec<usize> = (0..scene.engines).filter(ends).collect();
    truth::check(&mut world, &dead, &start, &events).await;
}

fn event(actor: &Actor) -> Option<Event> {
    let Player::Client(_, op) = &actor.player else { return None };
    let (ended, told) = actor.ended.clone()?;
    Some(Event { op: op.clone(), told, began: actor.began?, ended })
}

async fn set_up(world: &mut World, start: &mut State, given: &Given) {
    match given {
        Given::Op(op) => {
            let request = world.client(0, op).await;
            let told = world.run(request).await;
            assert_eq!(told, start.apply(op), "{op:?}");
            world.quiesce().await;
        }
        Given::TwoDrives => (3..=DRIVES).for_each(|n| world.drives.set_away(DriveId::new(n), true)),
        Given::AllDrives => {
            (3..=DRIVES).for_each(|n| world.drives.set_away(DriveId::new(n), false));
            // What is remembered of the drives is old by then.
            world.pass(Duration::from_secs(2));
        }
        Given::Wiped => world.drives.wipe(world.drives.first_used()),
        Given::Rotten => world.drives.rot(world.drives.first_used()),
        Given::Upkeep(names) => {
            let round = world.upkeep(0, names, false);
            world.run(round).await;
            world.quiesce().await;
        }
        Given::Reports => {
            for engine in 0..world.engines.len() {
                let report = world.upkeep(engine, &["oldest-read"], false);
                world.run(report).await;
            }
        }
    }
}

async fn act(
    world: &World,
    actors: &mut [Actor],
    scene: &Scene,
    chooser: &mut dyn Chooser,
    trace: &mut Trace,
) {
    let (mut last, mut faults, mut preemptions) = (None, scene.faults, scene.preemptions);
    for moment in 0.. {
        assert!(moment < 2000, "it does not come to an end");
        let mut steps = steps(world, actors, last, faults > 0);
        let interrupts = |step: &Step, first: Option<Step>| {
            Some(step.actor()) != last && first.is_some_and(|first| Some(first.actor()) == last)
        };
        let first = steps.first().copied();
        if preemptions == Some(0) {
            steps.retain(|step| !interrupts(step, first) || matches!(step, Step::HangUp(_)));
        }
        if steps.is_empty() {
            if actors.iter().all(|actor| actor.future.is_none()) {
                return;
            }
            // Whoever is left waits for one of the engine's own tasks.
            let next = world.clock.next().expect("somebody can go on");
            world.clock.advance_to(next);
            settle(world, actors, moment).await;
            continue;
        }
        let choice = chooser.choose(&steps);
        let step = steps[choice];
        let line = describe(world, actors, step);
        trace.0.push((choice, steps.len(), line));
        if interrupts(&step, first) && !matches!(step, Step::HangUp(_)) {
            preemptions = preemptions.map(|left| left - 1);
        }
        faults -= usize::from(step.is_fault());
        take(world, actors, step, moment);
        settle(world, actors, moment).await;
        last = Some(step.actor());
    }
}

/// What may happen now; first, that the one who went last goes on.
fn steps(world: &World, actors: &[Actor], last: Option<usize>, faults: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut order: Vec<usize> = (0..actors.len()).chain([OTHERS]).collect();
    order.sort_by_key(|who| Some(*who) != last);
    for &who in &order {
        let actor = actors.get(who);
        if actor.is_some_and(|actor| actor.future.is_none()) {
            continue;
        }
        let begins = actor.is_some_and(|actor| actor.began.is_none());
        if begins || !world.desk.waiting(who).is_empty() {
            steps.push(Step::Go(who, Fate::Go));
        } else if actor.is_some() && world.clock.wakes(who).is_some() {
            steps.push(Step::Wake(who));
        }
    }
    if !faults {
        return steps;
    }
    for (who, actor) in actors.iter().enumerate() {
        if actor.future.is_none() || actor.began.is_none() {
            continue;
        }
        if world.desk.waiting(who).contains(&Call::Commit) {
            steps.push(Step::Go(who, Fate::LoseReply));
            steps.push(Step::Go(who, Fate::LoseCall));
        }
        if actor.is_client() {
            steps.push(Step::HangUp(who));
        }
    }
    steps
}

fn take(world: &World, actors: &mut [Actor], step: Step, moment: usize) {
    match step {
        Step::Go(who, fate) => {
            world.desk.release(who, fate);
            if let Some(actor) = actors.get_mut(who) {
                actor.began.get_or_insert(moment);
                actor.woken.set();
            }
        }
        Step::Wake(who) => {
            let until = world.clock.wakes(who).expect("it sleeps");
            world.clock.advance_to(until);
        }
        Step::HangUp(who) => {
            let actor = &mut actors[who];
            actor.future = None;
            actor.ended = Some((moment, Told::Unknown));
        }
    }
}

/// Polls all who were woken, until nobody is.
async fn settle(world: &World, actors: &mut [Actor], moment: usize) {
    loop {
        for (who, actor) in actors.iter_mut().enumerate() {
            if actor.began.is_some() && actor.woken.take() {
                actor.poll(&world.desk, who, moment);
            }
        }
        turn_of_others().await;
        let is_woken = |actor: &Actor| actor.future.is_some() && actor.woken.is_set();
        if !actors.iter().any(|actor| actor.began.is_some() && is_woken(actor)) {
            return;
        }
    }
}

fn describe(world: &World, actors: &[Actor], step: Step) -> String {
    let who = step.actor();
    let name = match actors.get(who) {
        Some(actor) => format!("{who} {:?}", actor.player),
        None => "the engine's own tasks".to_owned(),
    };
    match step {
        Step::Go(_, Fate::Go) => format!("{name}: {:?}", world.desk.waiting(who)),
        Step::Go(_, fate) => format!("{name}: {:?} {fate:?}", world.desk.waiting(who)),
        Step::Wake(_) => format!("{name}: its time comes"),
        Step::HangUp(_) => format!("{name}: hangs up"),
    }
}
