//! The command line: names, defaults and help, and nothing that acts on them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::filter::LevelFilter;

use crate::bench_s3::BenchS3Args;
use crate::check::CheckArgs;

/// S3 object storage on your own disks: one program, erasure coding, any number of drives of any size.
#[derive(Debug, Parser)]
#[command(name = "undercroft", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  undercroft dev                                       a whole cluster under ./undercroft-data
  undercroft serve --data /mnt/a --data /mnt/b         for keeps, on two disks
  undercroft check --dir ./undercroft-data             is everything whole? (stop it first)
  undercroft bench s3 --endpoint http://127.0.0.1:9000 --op put --size 4KiB

Metadata has one replica so far: whoever loses the metadata directory loses every object. Back it up.";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Starts a whole cluster in one process, to try things and to develop against.
    Dev(DevArgs),
    /// Serves the drives of this machine, for keeps.
    Serve(ServeArgs),
    /// Verifies every file and record of a stopped store, and says what is damaged and what repairs it.
    Check(CheckArgs),
    /// Measures an S3 endpoint, ours or another's.
    #[command(subcommand)]
    Bench(BenchCommand),
}

/// `dev`: drives are folders side by side, so that losing one can be tried with `rm`.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Where everything is kept: drives in node-1, node-2 …, metadata in meta, keys in credentials.json.
    #[arg(long, value_name = "DIR", default_value = "./undercroft-data")]
    pub(crate) dir: PathBuf,
    /// How many data nodes to start. More than before adds nodes; fewer takes none away. [default: 5, or
    /// as many as there are already]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) nodes: Option<u16>,
    /// What both servers share.
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `serve`: each `--data` is a drive.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// A drive: a directory on a file system of its own. Repeat it for each drive. A new empty directory
    /// joins the cluster; one that held a drive and is empty now counts as a missing drive (see
    /// --accept-empty).
    #[arg(long = "data", value_name = "DIR", required = true)]
    pub(crate) data: Vec<PathBuf>,
    /// Refills this --data directory: its drive is lost, and what is there now is a new, empty disk. Without
    /// this, an empty directory stays a missing drive, as a disk that is not mounted looks just the same. For
    /// one start; repeat it for each lost drive.
    #[arg(long, value_name = "DIR")]
    pub(crate) accept_empty: Vec<PathBuf>,
    /// Where metadata is kept, best on the safest and fastest disk. [default: meta inside the --data
    /// directory that has one, else inside the first]
    #[arg(long, value_name = "DIR")]
    pub(crate) meta: Option<PathBuf>,
    /// What both servers share.
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Options of everything that serves. A flag goes before its environment variable, that before the default.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Address of the S3 endpoint; port 0 picks a free one.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "UNDERCROFT_S3_LISTEN",
        default_value = "127.0.0.1:9000"
    )]
    pub(crate) s3_listen: SocketAddr,
    /// Address of health and metrics. It asks for no credentials: keep it private.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "UNDERCROFT_ADMIN_LISTEN",
        default_value = "127.0.0.1:9001"
    )]
    pub(crate) admin_listen: SocketAddr,
    /// The region that clients must sign for.
    #[arg(long, value_name = "NAME", env = "UNDERCROFT_REGION", default_value = "us-east-1")]
    pub(crate) region: String,
    /// A domain under which buckets are host names (BUCKET.DOMAIN). Repeatable, or with commas. Path style
    /// always works.
    #[arg(
        long = "domain",
        value_name = "DOMAIN",
        env = "UNDERCROFT_DOMAIN",
        value_delimiter = ',',
        default_value = "localhost"
    )]
    pub(crate) domains: Vec<String>,
    /// File of access keys. Made with a random key if it is absent and the environment gives none.
    /// [default: credentials.json in --dir, or in the metadata directory]
    #[arg(long, value_name = "FILE", env = "UNDERCROFT_CREDENTIALS")]
    pub(crate) credentials: Option<PathBuf>,
    /// In which time every byte of every drive is read and verified once: 90s, 30m, 12h or 14d. 0 is as fast as
    /// clients' requests let it.
    #[arg(
        long,
        value_name = "TIME",
        env = "UNDERCROFT_SCRUB_PASS",
        default_value = "14d",
        value_parser = time
    )]
    pub(crate) scrub_pass: Duration,
    /// Logs for people or for machines, on standard error.
    #[arg(long, value_name = "FORMAT", env = "UNDERCROFT_LOG_FORMAT", default_value = "human")]
    pub(crate) log_format: LogFormat,
    /// The least important messages that are logged.
    #[arg(long, value_name = "LEVEL", env = "UNDERCROFT_LOG_LEVEL", default_value = "info")]
    pub(crate) log_level: LogLevel,
}

/// Reads `90s`, `30m`, `12h`, `14d` or `0`; ten years are the most.
fn time(text: &str) -> Result<Duration, String> {
    const MAX_SECONDS: u64 = 10 * 366 * 24 * 3600;
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let seconds = text.char_indices().next_back().and_then(|(at, unit)| {
        let unit = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 24 * 3600,
            _ => return None,
        };
        let number = text.get(..at).filter(|number| number.bytes().all(|b| b.is_ascii_digit()))?;
        number.parse::<u64>().ok()?.checked_mul(unit).filter(|seconds| *seconds <= MAX_SECONDS)
    });
    let wrong = || "a number with s, m, h or d (up to ten years), as in 12h, or 0".to_owned();
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

/// How logs look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One readable line for each event.
    Human,
    /// One JSON object for each event.
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    /// Only what an operator must look at.
    Error,
    /// And what may become that.
    Warn,
    /// And what is good to know.
    Info,
    /// And what helps to find a fault.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// As a filter.
    pub(crate) fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Measures an S3 endpoint: requests and bytes a second, latencies, errors. A progress bar on a terminal.
    S3(BenchS3Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_flag_is_explained() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        check(&command);
    }

    #[test]
    fn times() {
        let seconds = |text| time(text).map(|time| time.as_secs()).ok();
        for (text, expected) in
            [("0", 0), ("0s", 0), ("90s", 90), ("30m", 1800), ("12h", 43_200), ("14d", 1_209_600)]
        {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        let wrong = " d 14 -1d +1d 1.5h 14D 1w 4000d 99999999999999999999s 1é d1";
        for wrong in wrong.split(' ').chain(["1 d"]) {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    fn check(command: &clap::Command) {
        assert!(command.get_about().is_some(), "{} says nothing", command.get_name());
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
        }
        command.get_subcommands().filter(|c| c.get_name() != "help").for_each(check);
    }
}
