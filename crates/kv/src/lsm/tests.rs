//! What is particular to this engine.
use super::*;

/// How a write fails on purpose.
#[derive(Clone, Copy, Debug)]
pub(super) enum WriteFault {
    /// Before anything reached the disk.
    Before,
    /// After all of it did.
    After,
    /// For want of room.
    Full,
}

impl Shared {
    pub(super) fn write(&self, batch: StoreBatch) -> Result<(), KvError> {
        let failed = || KvError::Unavailable("made to fail".to_owned());
        match self.fail_next_write.lock().take() {
            None => batch.commit(),
            Some(WriteFault::Before) => Err(failed()),
            Some(WriteFault::After) => batch.commit().and(Err(failed())),
            Some(WriteFault::Full) => Err(KvError::Full("made to fail".to_owned())),
        }
    }
}
