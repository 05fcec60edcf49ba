//! A few threads for calls that block.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use runtime::{Thread, spawn_thread};

type Job = Box<dyn FnOnce() + Send>;

/// Threads that run what they are given, oldest first. The queue is not bounded: who submits, waits.
pub(crate) struct Pool {
    queue: Arc<Queue>,
    threads: Mutex<Vec<Thread>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    ready: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Pool {
    pub(crate) fn new(name: &str, threads: usize) -> io::Result<Self> {
        let pool = Self { queue: Arc::default(), threads: Mutex::default() };
        for _ in 0..threads.max(1) {
            let queue = pool.queue.clone();
            pool.threads.lock().push(spawn_thread(name, move || queue.work())?);
        }
        Ok(pool)
    }

    /// Queues `job`. When the pool is closed the job is dropped, and with it its reply channel.
    pub(crate) fn submit(&self, job: impl FnOnce() + Send + 'static) {
        let mut state = self.queue.state.lock();
        if !state.closed {
            state.jobs.push_back(Box::new(job));
            self.queue.ready.notify_one();
        }
    }

    /// Finishes what is queued and ends the threads.
    pub(crate) fn close(&self) {
        self.queue.state.lock().closed = true;
        self.queue.ready.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock());
        threads.into_iter().for_each(Thread::join);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

impl Queue {
    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
                state = self.state.lock();
            } else if state.closed {
                return;
            } else {
                self.ready.wait(&mut state);
            }
        }
    }
}
