//! `dev` and `serve`: builds the graph of handles, serves, and takes it down again in order.

use std::io::Write as _;
use std::sync::Arc;

use anyhow::Context;
use api_http::{AdminServer, MetricsHandle};
use objects::{Engine, EngineConfig};
use runtime::disk::{Disk, RealDisk};
use runtime::{Runtime, Workers};
use tokio::sync::watch;

use crate::banner::Banner;
use crate::cluster::{Cluster, Opener};
use crate::config::{self, KeyOrigin, Keys, Mode, ServerConfig};
use crate::signals;
use crate::status::ServerStatus;

/// Bytes that all bodies under way may hold in memory together. Requests beyond wait, then are told to slow
/// down.
const BODY_MEMORY_BYTES: usize = 192 << 20;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Serves until a signal asks to end.
///
/// # Errors
/// When it may not or cannot start; the message is for a person.
pub(crate) async fn run(mut config: ServerConfig) -> anyhow::Result<()> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let runtime = Runtime::real();
    let opener = Opener {
        mode: &config.mode,
        meta: &config.meta,
        runtime: runtime.clone(),
        disk: disk.clone(),
    };
    let cluster = opener.open().await?;
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
        tenancy::account::ensure(&*cluster.kv, id, account, now)
            .await
            .context("recording the accounts")?;
    }
    let metrics = MetricsHandle::install(VERSION)?;
    let workers = Workers::new(runtime.clock.clone());
    workers.start(metrics.upkeep());
    for worker in engine.workers() {
        workers.start(worker);
    }
    let status = ServerStatus::new(cluster, engine.clone(), config.meta.display().to_string());
    let admin = AdminServer::bind(config.admin_listen, Arc::new(status), metrics, VERSION).await?;
    let banner = banner(config, cluster, &keys, admin.address(), admin.address());
    let (stop, stopped) = watch::channel(false);
    let _ = stop;
    let _ = stopped;
    say(&banner);
    signals::asked_to_end().await.context("signals cannot be received")?;
    workers.stop();
    tracing::info!("ended; everything acknowledged is kept");
    Ok(())
}

fn banner(
    config: &ServerConfig,
    cluster: &Cluster,
    keys: &Keys,
    s3: std::net::SocketAddr,
    admin: std::net::SocketAddr,
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
