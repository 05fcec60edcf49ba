//! `dev` and `serve`: builds the graph of handles, serves, and takes it down again in order.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use api_http::{AdminServer, MetricsHandle, ServeError};
use api_s3::{S3Config, S3Limits};
use objects::{Engine, EngineConfig, UpkeepOptions};
use runtime::disk::{Disk, RealDisk};
use runtime::{Clock, Runtime, Throttle, Workers};
use tenancy::{Credentials, Gate};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::banner::Banner;
use crate::cluster::{Cluster, Opener};
use crate::config::{self, KeyOrigin, Keys, Mode, ServerConfig};
use crate::process;
use crate::signals::Signals;
use crate::status::ServerStatus;
use crate::watch::DriveWatch;

/// Bytes that all bodies under way may hold in memory together. Requests beyond wait, then are told to slow
/// down.
const BODY_MEMORY_BYTES: usize = 192 << 20;

/// Part of the time that background work may take while clients are served.
const BACKGROUND_SHARE: f64 = 0.2;

/// How long the admin listener may take to answer what it has begun.
const ADMIN_DRAIN: Duration = Duration::from_secs(2);

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Serves until a signal asks to end.
///
/// # Errors
/// When it may not or cannot start; the message is for a person.
pub(crate) async fn run(mut config: ServerConfig) -> anyhow::Result<()> {
    process::prepare();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let runtime = Runtime::real();
    let opener = Opener {
        mode: &config.mode,
        meta: &config.meta,
        runtime: runtime.clone(),
        disk: disk.clone(),
    };
    let cluster = opener.open().await?;
    let (drives, missing) = (cluster.layout.drives.len(), cluster.missing());
    tracing::info!(cluster = %cluster.record.id, new = cluster.is_new, drives, missing, "cluster open");
    cluster.notes.iter().for_each(|note| tracing::warn!("{note}"));
    let served = serve(&mut config, &cluster, &runtime, &*disk).await;
    let closed = cluster.close().await;
    served.and(closed)
}

async fn serve(
    config: &mut ServerConfig,
    cluster: &Cluster,
    runtime: &Runtime,
    disk: &dyn Disk,
) -> anyhow::Result<()> {
    let entropy = &*runtime.entropy;
    let root = cluster.root_account();
    let keys = config::load(&config.credentials, config.pair.take(), root, entropy, disk)?;
    let engine = start_engine(config, cluster, runtime).await?;
    let served = serve_engine(config, cluster, runtime, keys, engine.clone()).await;
    engine.stop().await;
    served
}

async fn start_engine(
    config: &ServerConfig,
    cluster: &Cluster,
    runtime: &Runtime,
) -> anyhow::Result<Engine> {
    let command = match config.mode {
        Mode::Dev { .. } => "dev",
        Mode::Serve { .. } => "serve",
    };
    let engine = EngineConfig {
        kv: cluster.kv.clone(),
        carrier: cluster.carrier.clone(),
        layout: cluster.layout.clone(),
        geometry: cluster.geometry,
        runtime: runtime.clone(),
        region: config.region.clone(),
        label: format!("undercroft {command}, process {}", std::process::id()),
        memory_budget_bytes: BODY_MEMORY_BYTES,
        throttle: Arc::new(Throttle::new(runtime.clock.clone(), BACKGROUND_SHARE)),
        upkeep: UpkeepOptions { scrub_pass: config.scrub_pass, ..UpkeepOptions::default() },
    };
    Engine::start(engine).await.context("the object engine does not start")
}

async fn serve_engine(
    config: &ServerConfig,
    cluster: &Cluster,
    runtime: &Runtime,
    keys: Keys,
    engine: Engine,
) -> anyhow::Result<()> {
    for account in keys.credentials.accounts() {
        let (id, now) = (engine.next_batch_id(), runtime.clock.now());
        let made = tenancy::account::ensure(&*cluster.kv, id, account, now).await;
        made.context("the accounts cannot be recorded")?;
    }
    let metrics = MetricsHandle::install(VERSION)?;
    api_s3::describe_metrics();
    let s3 = TcpListener::bind(config.s3_listen)
        .await
        .with_context(|| cannot_listen("S3", "--s3-listen", config.s3_listen))?;
    let s3_address = s3.local_addr().context("the S3 listener has no address")?;
    let workers = Arc::new(Workers::new(runtime.clock.clone()));
    let meta = config.meta.display().to_string();
    let status = Arc::new(ServerStatus::new(cluster, engine.clone(), meta, workers.clone()));
    let clock = runtime.clock.clone();
    let admin = AdminServer::bind(config.admin_listen, status, metrics.clone(), VERSION, clock)
        .await
        .with_context(|| cannot_listen("administration", "--admin-listen", config.admin_listen))?;
    let banner = banner(config, cluster, &keys, s3_address, admin.address());

    workers.start(metrics.upkeep());
    engine.workers().into_iter().for_each(|worker| workers.start(worker));
    workers.start(drive_watch(config, cluster, engine.clone()));
    let (stop, stopped) = watch::channel(false);
    let s3_config = s3_config(config, cluster, runtime, keys.credentials, engine);
    let s3 = tokio::spawn(api_s3::serve(s3, s3_config, until(stopped.clone())));
    let admin = tokio::spawn(admin.serve(until(stopped)));
    let signals = Signals::listen().context("signals cannot be received")?;
    say(&banner);
    let served = until_asked(signals, s3, admin, stop, &*runtime.clock).await;
    workers.stop();
    served
}

fn drive_watch(config: &ServerConfig, cluster: &Cluster, engine: Engine) -> DriveWatch {
    let is_dev = matches!(config.mode, Mode::Dev { .. });
    DriveWatch::new(cluster, is_dev, &config.meta, move || engine.sweep())
}

fn cannot_listen(purpose: &str, flag: &str, address: SocketAddr) -> String {
    format!(
        "{address} cannot be used for {purpose}; name another with {flag} (port 0 picks a free one)"
    )
}

fn s3_config(
    config: &ServerConfig,
    cluster: &Cluster,
    runtime: &Runtime,
    credentials: Credentials,
    engine: Engine,
) -> S3Config {
    S3Config {
        engine,
        gate: Gate::new(cluster.kv.clone()),
        credentials: Arc::new(credentials),
        region: config.region.clone(),
        domains: config.domains.clone(),
        runtime: runtime.clone(),
        limits: S3Limits { max_connections: process::connections_max(), ..S3Limits::default() },
    }
}

/// Runs both servers until a signal, then lets them drain. A server that ends by itself ends the process.
async fn until_asked(
    signals: Signals,
    mut s3: JoinHandle<std::io::Result<()>>,
    mut admin: JoinHandle<Result<(), ServeError>>,
    stop: watch::Sender<bool>,
    clock: &dyn Clock,
) -> anyhow::Result<()> {
    tokio::select! {
        () = signals.asked_to_end() => {}
        ended = &mut s3 => {
            ended.context("the S3 listener failed")?.context("the S3 listener failed")?;
            bail!("the S3 listener ended by itself");
        }
        ended = &mut admin => {
            ended.context("the admin listener failed")??;
            bail!("the admin listener ended by itself");
        }
    }
    // Nobody listens only when both have ended already.
    let _ = stop.send(true);
    s3.await.context("the S3 listener failed while it drained")??;
    tokio::select! {
        ended = &mut admin => ended.context("the admin listener failed while it drained")??,
        () = clock.sleep(ADMIN_DRAIN) => admin.abort(),
    }
    tracing::info!("ended; everything that was acknowledged is kept");
    Ok(())
}

/// Resolves when `stopped` turns true, or its sender is gone.
async fn until(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

fn banner(
    config: &ServerConfig,
    cluster: &Cluster,
    keys: &Keys,
    s3: SocketAddr,
    admin: SocketAddr,
) -> String {
    let is_dev = matches!(config.mode, Mode::Dev { .. });
    let banner = Banner {
        s3,
        admin,
        region: &config.region,
        meta: &config.meta,
        credentials: &config.credentials,
        key: &keys.first,
        origin: keys.origin,
        show_secret: is_dev && keys.origin != KeyOrigin::Environment,
        geometry: cluster.geometry.to_string(),
        drives: cluster.layout.drives.len(),
        missing: cluster.missing(),
        parity: cluster.record.parity(),
        notes: &cluster.notes,
    };
    banner.text()
}

/// A closed standard output is no reason not to serve.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
