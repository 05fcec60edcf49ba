//! The desk where calls wait until the schedule lets them go. Not here: who decides.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// Whatever runs in no actor's name: tasks that the engine has spawned.
pub const OTHERS: usize = usize::MAX;

/// How a call is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// As if nothing had happened.
    Go,
    /// It is done, and its reply is lost.
    LoseReply,
    /// It is lost before it is done, and nobody can say so.
    LoseCall,
}

/// What a call is, for traces and for the faults that it may meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Get,
    Scan,
    Snapshot,
    Commit,
    Report,
    EndSession,
    Sessions,
    Revision,
    ShardCommit,
    ShardRead,
    ShardHeader,
    ShardDelete,
    ShardList,
    ShardPresence,
    ShardScrub,
}

/// See the module. Closed, it lets nobody pass without being told; open, it lets all pass.
#[derive(Default)]
pub struct Desk(Mutex<State>);

struct State {
    open: bool,
    current: usize,
    next: u64,
    tickets: BTreeMap<u64, Ticket>,
}

impl Default for State {
    fn default() -> Self {
        Self { open: true, current: OTHERS, next: 0, tickets: BTreeMap::new() }
    }
}

struct Ticket {
    actor: usize,
    call: Call,
    fate: Option<Fate>,
    waker: Waker,
}

impl Desk {
    /// From now on, calls made at the desk belong to `actor`.
    pub fn enter(&self, actor: usize) {
        self.0.lock().current = actor;
    }

    /// Who is being polled.
    pub fn current(&self) -> usize {
        self.0.lock().current
    }

    /// From now on, calls wait.
    pub fn close(&self) {
        self.0.lock().open = false;
    }

    /// From now on, calls pass, also those that wait.
    pub fn open(&self) {
        let mut state = self.0.lock();
        state.open = true;
        state.tickets.values().for_each(|ticket| ticket.waker.wake_by_ref());
    }

    /// The calls of `actor` that wait, oldest first.
    pub fn waiting(&self, actor: usize) -> Vec<Call> {
        let state = self.0.lock();
        let mine = |ticket: &&Ticket| ticket.actor == actor && ticket.fate.is_none();
        state.tickets.values().filter(mine).map(|ticket| ticket.call).collect()
    }

    /// Lets all calls of `actor` go that wait now; those that are commits with this fate.
    pub fn release(&self, actor: usize, fate: Fate) {
        let mut state = self.0.lock();
        for ticket in state.tickets.values_mut() {
            if ticket.actor == actor && ticket.fate.is_none() {
                let is_commit = ticket.call == Call::Commit;
                ticket.fate = Some(if is_commit { fate } else { Fate::Go });
                ticket.waker.wake_by_ref();
            }
        }
    }

    /// Waits to be let go.
    pub fn point(self: &Arc<Self>, call: Call) -> Point {
        Point { desk: self.clone(), call, ticket: None }
    }
}

/// See [`Desk::point`].
pub struct Point {
    desk: Arc<Desk>,
    call: Call,
    ticket: Option<u64>,
}

impl Future for Point {
    type Output = Fate;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Fate> {
        let desk = self.desk.clone();
        let mut state = desk.0.lock();
        if let Some(id) = self.ticket {
            let Some(ticket) = state.tickets.get_mut(&id) else { return Poll::Ready(Fate::Go) };
            if let Some(fate) = ticket.fate {
                return Poll::Ready(fate);
            }
            ticket.waker = cx.waker().clone();
        }
        if state.open {
            return Poll::Ready(Fate::Go);
        }
        if self.ticket.is_none() {
            let id = state.next;
            state.next += 1;
            let (actor, waker) = (state.current, cx.waker().clone());
            state.tickets.insert(id, Ticket { actor, call: self.call, fate: None, waker });
            self.ticket = Some(id);
        }
        Poll::Pending
    }
}

impl Drop for Point {
    fn drop(&mut self) {
        if let Some(id) = self.ticket {
            self.desk.0.lock().tickets.remove(&id);
        }
    }
}
