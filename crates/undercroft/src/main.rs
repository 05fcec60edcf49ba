//! The `undercroft` program: configuration, roles, wiring, command line. No logic of storage.

mod banner;
mod bench_s3;
mod check;
mod cli;
mod cluster;
mod config;
mod logging;
mod process;
mod server;
mod signals;
mod status;
mod watch;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser as _;

use cli::{BenchCommand, Cli, Command};
use config::ServerConfig;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return check::usage(&error),
    };
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("undercroft: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Dev(args) => {
            logging::start(args.server.log_format, args.server.log_level);
            let config = ServerConfig::dev(args)?;
            server_runtime()?.block_on(server::run(config))?;
        }
        Command::Serve(args) => {
            logging::start(args.server.log_format, args.server.log_level);
            let config = ServerConfig::serve(args)?;
            server_runtime()?.block_on(server::run(config))?;
        }
        Command::Check(args) => return Ok(check::run(args)),
        Command::Bench(BenchCommand::S3(args)) => bench_runtime()?.block_on(bench_s3::run(args))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// At least four workers: some of what they call blocks for a moment even on small machines.
fn server_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.max(4))
        .thread_name(logging::WORKER_THREAD)
        .enable_all()
        .build()
        .context("the system gives no threads")
}

/// One thread: it leaves the processors to the server that is measured on the same machine.
fn bench_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().context("the system gives no timer or network")
}
