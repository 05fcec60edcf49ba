//! Threads for work that blocks.

/// A running thread; joined when dropped.
pub struct Thread {
    handle: Option<std::thread::JoinHandle<()>>,
}

impl Thread {
    /// Waits until the thread has ended. A panic inside it was already reported by the panic hook.
    pub fn join(mut self) {
        self.join_now();
    }

    /// Lets it run and end by itself: for what may hang in a call of the operating system for ever.
    pub fn detach(mut self) {
        self.handle = None;
    }

    fn join_now(&mut self) {
        if let Some(handle) = self.handle.take() {
            // A thread that drops its own handle must not wait for itself.
            if handle.thread().id() != std::thread::current().id() {
                let _ = handle.join();
            }
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.join_now();
    }
}

/// Starts a named thread. Its owner must make it end (close its channel) before dropping the handle.
///
/// # Errors
/// When the operating system has no more threads.
#[allow(clippy::disallowed_methods, reason = "this is the door")]
pub fn spawn_thread(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<Thread> {
    let handle = std::thread::Builder::new().name(name.to_owned()).spawn(body)?;
    Ok(Thread { handle: Some(handle) })
}
