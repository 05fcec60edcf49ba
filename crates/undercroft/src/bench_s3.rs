//! `bench s3`: maps the command line to the load generator and prints its report.

use std::io::Write as _;

use anyhow::Context;
use bench::{ByteSize, Credentials, Endpoint, Operation, Progress, Report, S3BenchConfig, Span};
use clap::Args;
use runtime::Runtime;

/// Options of `bench s3`.
#[derive(Args)]
pub(crate) struct BenchS3Args {
    /// The endpoint to measure, such as http://127.0.0.1:9000. Plain HTTP only.
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL")]
    endpoint: Endpoint,
    /// The bucket to use. Made if it is missing, and removed afterwards unless --keep is given.
    #[arg(long, value_name = "NAME", default_value = "undercroft-bench")]
    bucket: String,
    /// What to measure: put, get, list, delete, or mixed (70 % get, 20 % put, 10 % delete).
    #[arg(long, value_name = "OPERATION")]
    op: Operation,
    /// Size of each object: 4096, 4KiB, 64MiB, 1GB …
    #[arg(long, value_name = "SIZE", default_value = "4KiB")]
    size: ByteSize,
    /// Connections, each with one request at a time.
    #[arg(long, value_name = "N", default_value_t = 32)]
    concurrency: usize,
    /// How long requests are begun: 500ms, 10s, 2m …
    #[arg(long, value_name = "SPAN", default_value = "10s")]
    duration: Span,
    /// Objects to prepare for every operation but put.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    objects: u64,
    /// What all keys begin with. [default: a fresh random prefix]
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// The objects are there from an earlier run with --keep and the same --prefix, --size and --objects.
    #[arg(long, requires = "prefix")]
    prepared: bool,
    /// Leave bucket and objects behind.
    #[arg(long)]
    keep: bool,
    /// Sign a SHA-256 of every body instead of sending it as an unsigned payload.
    #[arg(long)]
    sign_payload: bool,
    /// A process of the server on this machine: reports its processor time and memory. Repeatable.
    #[arg(long = "server-pid", value_name = "PID")]
    server_pids: Vec<u32>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Who asks.
    #[arg(long, value_name = "ID", env = "AWS_ACCESS_KEY_ID")]
    access_key_id: String,
    /// The secret. Better given by the environment: others can see command lines.
    #[arg(long, value_name = "SECRET", env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    secret_access_key: String,
    /// The token of temporary credentials.
    #[arg(long, value_name = "TOKEN", env = "AWS_SESSION_TOKEN", hide_env_values = true)]
    session_token: Option<String>,
    /// The region to sign for.
    #[arg(long, value_name = "NAME", env = "AWS_REGION", default_value = "us-east-1")]
    region: String,
}

impl std::fmt::Debug for BenchS3Args {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BenchS3Args").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl BenchS3Args {
    fn config(self) -> S3BenchConfig {
        S3BenchConfig {
            endpoint: self.endpoint,
            bucket: self.bucket,
            op: self.op,
            size: self.size,
            concurrency: self.concurrency,
            duration: self.duration.0,
            credentials: Credentials {
                access_key_id: self.access_key_id,
                secret_access_key: self.secret_access_key,
                session_token: self.session_token,
            },
            region: self.region,
            objects: self.objects,
            prefix: self.prefix,
            prepared: self.prepared,
            keep: self.keep,
            sign_payload: self.sign_payload,
            server_pids: self.server_pids,
        }
    }
}

/// Measures, and prints what came out.
///
/// # Errors
/// When the measurement cannot be made; failed requests are in the report instead.
pub(crate) async fn run(args: BenchS3Args) -> anyhow::Result<()> {
    let json = args.json;
    let report = bench::run_s3(args.config(), &Runtime::real(), &Progress::terminal()).await?;
    let text = render(&report, json)?;
    std::io::stdout().write_all(text.as_bytes()).context("the report cannot be printed")
}

fn render(report: &Report, json: bool) -> anyhow::Result<String> {
    if json { Ok(serde_json::to_string_pretty(report)? + "\n") } else { Ok(report.to_string()) }
}
