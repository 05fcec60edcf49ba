//! What a server asks of the operating system for its own process: that its files are nobody else's business, and
//! that clients cannot take the file descriptors that its drives need.

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

/// Connections at once when descriptors are plenty.
const CONNECTIONS_MAX: usize = 2048;
/// Descriptors that are enough for everything.
const DESCRIPTORS_ENOUGH: u64 = 16 * 1024;

/// Makes new files readable by this user only (objects lie in them as they were sent), and raises the limit of
/// open files as far as is useful and allowed. Once, before anything is made.
pub(crate) fn prepare() {
    umask(Mode::RWXG | Mode::RWXO);
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(DESCRIPTORS_ENOUGH, |most| most.min(DESCRIPTORS_ENOUGH));
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files stays as it is");
        }
    }
    let connections = connections_max();
    if connections < CONNECTIONS_MAX {
        tracing::warn!(
            connections,
            "few open files are allowed (ulimit -n), so few connections are"
        );
    }
}

/// S3 connections that may be open at once: at most half of the descriptors, the others are the drives' and the
/// metadata's.
pub(crate) fn connections_max() -> usize {
    share(getrlimit(Resource::Nofile).current)
}

fn share(descriptors: Option<u64>) -> usize {
    let half = descriptors.map(|all| usize::try_from(all / 2).unwrap_or(usize::MAX));
    half.unwrap_or(CONNECTIONS_MAX).clamp(1, CONNECTIONS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drives_keep_half_of_the_descriptors() {
        assert_eq!(share(None), CONNECTIONS_MAX);
        assert_eq!(share(Some(1 << 20)), CONNECTIONS_MAX);
        assert_eq!(share(Some(1024)), 512);
        assert_eq!(share(Some(0)), 1);
    }
}
