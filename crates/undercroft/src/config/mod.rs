//! From a parsed command line to what a server needs to know. Reads the environment; nothing else does.

mod credentials;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

pub(crate) use credentials::{KeyOrigin, KeyPair, Keys, environment_pair, load};

use crate::cli::{DevArgs, ServeArgs, ServerArgs};

/// Which command it is; they differ in their defaults and in what they tell a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Drives are the folders `node-*` of this directory.
    Dev {
        /// Where everything is.
        dir: PathBuf,
        /// How many nodes were asked for.
        nodes: Option<u16>,
    },
    /// Drives are these directories.
    Serve {
        /// Absolute, in the order given.
        data: Vec<PathBuf>,
        /// Absolute: places of lost drives that may be filled again.
        accept_empty: Vec<PathBuf>,
    },
}

/// A server's configuration, defaults resolved.
pub(crate) struct ServerConfig {
    /// Which command.
    pub(crate) mode: Mode,
    /// The metadata directory.
    pub(crate) meta: PathBuf,
    /// File of access keys.
    pub(crate) credentials: PathBuf,
    /// The pair that the environment gives.
    pub(crate) pair: Option<KeyPair>,
    /// See [`ServerArgs::s3_listen`].
    pub(crate) s3_listen: SocketAddr,
    /// See [`ServerArgs::admin_listen`].
    pub(crate) admin_listen: SocketAddr,
    /// See [`ServerArgs::region`].
    pub(crate) region: String,
    /// See [`ServerArgs::domains`].
    pub(crate) domains: Vec<String>,
    /// See [`ServerArgs::scrub_pass`].
    pub(crate) scrub_pass: Duration,
}

impl ServerConfig {
    /// Of `undercroft dev`.
    ///
    /// # Errors
    /// When the environment's key pair is not usable.
    pub(crate) fn dev(args: DevArgs) -> anyhow::Result<Self> {
        let meta = args.dir.join("meta");
        let home = args.dir.clone();
        let mode = Mode::Dev { dir: args.dir, nodes: args.nodes };
        Self::new(mode, meta, &home, args.server)
    }

    /// Of `undercroft serve`.
    ///
    /// # Errors
    /// When a path cannot be made absolute, or the environment's key pair is not usable.
    pub(crate) fn serve(args: ServeArgs) -> anyhow::Result<Self> {
        let (data, meta) = serve_places(&args.data, args.meta.as_deref())?;
        let accept_empty =
            args.accept_empty.iter().map(|path| absolute(path)).collect::<anyhow::Result<_>>()?;
        let home = meta.clone();
        Self::new(Mode::Serve { data, accept_empty }, meta, &home, args.server)
    }

    fn new(mode: Mode, meta: PathBuf, home: &Path, server: ServerArgs) -> anyhow::Result<Self> {
        Ok(Self {
            mode,
            meta,
            credentials: server.credentials.unwrap_or_else(|| home.join("credentials.json")),
            pair: environment_pair()?,
            s3_listen: server.s3_listen,
            admin_listen: server.admin_listen,
            region: server.region,
            domains: server.domains,
            scrub_pass: server.scrub_pass,
        })
    }
}

/// The directories of `serve`'s drives, absolute and in the order given, and that of its metadata.
///
/// # Errors
/// When a path cannot be made absolute.
pub(crate) fn serve_places(
    data: &[PathBuf],
    meta: Option<&Path>,
) -> anyhow::Result<(Vec<PathBuf>, PathBuf)> {
    let data = data.iter().map(|path| absolute(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let meta = match meta {
        Some(meta) => absolute(meta)?,
        None => default_meta(&data),
    };
    Ok((data, meta))
}

/// One spelling for each place, without a slash at the end: the layout remembers drives by it.
fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path)
        .map(|path| path.components().collect::<PathBuf>())
        .with_context(|| format!("{} is no usable path", path.display()))
}

/// Name of the metadata directory inside a drive's directory.
pub(crate) const META_INSIDE: &str = "meta";

/// The order of `--data` may change from start to start: an existing one wins over the first.
fn default_meta(data: &[PathBuf]) -> PathBuf {
    let mut inside = data.iter().map(|dir| dir.join(META_INSIDE));
    let first = inside.clone().next().unwrap_or_else(|| PathBuf::from(META_INSIDE));
    inside.find(|meta| meta.is_dir()).unwrap_or(first)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests prepare directories")]

    use super::*;

    #[test]
    fn a_place_is_spelled_in_one_way() {
        use crate::cli::{Cli, Command};
        use clap::Parser as _;
        let data = |args: &[&str]| {
            let cli = Cli::parse_from([&["undercroft", "serve", "--data"], args].concat());
            let Command::Serve(args) = cli.command else { panic!("another command") };
            match ServerConfig::serve(args).expect("usable").mode {
                Mode::Serve { data, .. } => data,
                Mode::Dev { .. } => panic!("another mode"),
            }
        };
        let plain = data(&["/mnt/disk"]);
        assert_eq!(plain[0].as_os_str(), "/mnt/disk");
        for other in ["/mnt/disk/", "/mnt//disk", "/mnt/./disk//"] {
            assert_eq!(data(&[other])[0].as_os_str(), plain[0].as_os_str(), "{other}");
        }
    }

    #[test]
    fn metadata_is_found_again_when_the_order_changes() {
        let root = tempfile::tempdir().expect("a directory");
        let (a, b) = (root.path().join("a"), root.path().join("b"));
        assert_eq!(default_meta(&[a.clone(), b.clone()]), a.join("meta"));
        std::fs::create_dir_all(a.join("meta")).expect("made");
        assert_eq!(default_meta(&[b, a.clone()]), a.join("meta"));
    }
}
