//! A server process: started on free ports, watched, killed by its id and by nothing else.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::accounts::ROOT;
use crate::binary::server_binary;
use crate::fields::proc_status_kib;
use crate::scratch::Scratch;

/// How long a start may take before it counts as hung.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Lines of the server's output that are kept for a failure's report.
const LOG_LINES: usize = 2000;

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What starts the binary: a program and its arguments, or nothing.
    wrapper: Vec<String>,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    working_dir: PathBuf,
}

impl Launch {
    /// `undercroft dev` with five nodes on the data folder of `scratch`, with the root pair.
    pub fn dev(scratch: &Scratch) -> Self {
        Self::subcommand(scratch, "dev").arg("--dir").arg(scratch.data().display().to_string())
    }

    /// `undercroft serve` with one `--data` for each of `drives` (names inside `scratch`).
    pub fn serve(scratch: &Scratch, drives: &[&str]) -> Self {
        let path = |name: &str| scratch.path().join(name).display().to_string();
        let mut launch = Self::subcommand(scratch, "serve").arg("--meta").arg(path("meta"));
        for drive in drives {
            launch = launch.arg("--data").arg(path(drive));
        }
        launch
    }

    fn subcommand(scratch: &Scratch, name: &str) -> Self {
        let launch = Self {
            wrapper: Vec::new(),
            args: vec![name.to_owned()],
            environment: Vec::new(),
            working_dir: scratch.path().to_owned(),
        };
        launch
            .arg("--s3-listen=127.0.0.1:0")
            .arg("--admin-listen=127.0.0.1:0")
            .env("UNDERCROFT_ACCESS_KEY_ID", ROOT.access_key_id)
            .env("UNDERCROFT_SECRET_ACCESS_KEY", ROOT.secret_access_key)
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, text: impl Into<String>) -> Self {
        self.args.push(text.into());
        self
    }

    /// With a small file system in memory at each of these folders of `scratch`, which only the server sees, and
    /// which are gone with it. `None` where the system does not let us.
    ///
    /// # Panics
    /// When a folder cannot be made.
    #[must_use]
    pub fn on_small_disks(mut self, scratch: &Scratch, drives: &[&str], mib: u64) -> Option<Self> {
        let mounts: Vec<String> = drives
            .iter()
            .map(|name| {
                format!("mount -t tmpfs -o size={mib}m uc '{}'", scratch.folder(name).display())
            })
            .collect();
        let mounts = mounts.join(" && ");
        let path = std::env::var("PATH").unwrap_or_default();
        // As root in a namespace of mounts; as anybody else in one of users, too, where that is allowed.
        let is_allowed = |flags: &&str| {
            let mut trial = Command::new("unshare");
            trial.args([flags, "sh", "-c", &mounts]).stdout(Stdio::null()).stderr(Stdio::null());
            trial.status().is_ok_and(|status| status.success())
        };
        let flags = ["-m", "-rm"].into_iter().find(is_allowed)?;
        let script = format!("{mounts} && exec \"$@\"");
        self.wrapper = ["unshare", flags, "sh", "-c", &script, "sh"].map(str::to_owned).to_vec();
        Some(self.env("PATH", &path))
    }

    /// One more variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without the root pair in the environment.
    #[must_use]
    pub fn without_root_pair(mut self) -> Self {
        self.environment.retain(|(name, _)| !name.starts_with("UNDERCROFT_"));
        self
    }

    /// Starts it and waits until it has told its endpoints.
    ///
    /// # Errors
    /// When it ends first.
    ///
    /// # Panics
    /// When it neither ends nor becomes ready in two minutes.
    pub fn start(&self) -> Result<Server, Refused> {
        let mut command = self.command();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the server's binary can be started");
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let (told, lines) = channel();
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let readers = [
            collect(stdout, Arc::clone(&log), Some(told)),
            collect(stderr, Arc::clone(&log), None),
        ];
        let mut server =
            Server { child, s3: String::new(), admin: String::new(), log, launch: self.clone() };
        match server.wait_until_ready(&lines) {
            Ok(()) => Ok(server),
            Err(status) => {
                // The process can be gone before its last words have been read.
                for reader in readers {
                    reader.join().expect("reading what it says does not panic");
                }
                Err(Refused { status, said: server.log() })
            }
        }
    }
}

impl Launch {
    /// Starts it and kills it (`kill -9`) after `life`, ready or not.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_and_kill(&self, life: Duration) {
        let mut command = self.command();
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the server's binary can be started");
        std::thread::sleep(life);
        // An error means that it had ended already.
        let _ = child.kill();
        let _ = child.wait();
    }

    fn command(&self) -> Command {
        let binary = server_binary().display().to_string();
        let mut words = self.wrapper.iter().chain([&binary]).chain(&self.args);
        let mut command = Command::new(words.next().expect("there is a binary"));
        command.args(words).current_dir(&self.working_dir).env_clear().stdin(Stdio::null());
        command.env("HOME", &self.working_dir).env("RUST_BACKTRACE", "1");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A server that ended instead of serving.
#[derive(Debug)]
pub struct Refused {
    /// How it ended.
    pub status: ExitStatus,
    /// All that it wrote.
    pub said: String,
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    s3: String,
    admin: String,
    log: Arc<Mutex<VecDeque<String>>>,
    launch: Launch,
}

impl Server {
    /// `undercroft dev` with five nodes on the data folder of `scratch`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(scratch: &Scratch) -> Self {
        match Launch::dev(scratch).start() {
            Ok(server) => server,
            Err(refused) => panic!("no start, {}:\n{}", refused.status, refused.said),
        }
    }

    /// `http://host:port` of the S3 face.
    pub fn s3(&self) -> &str {
        &self.s3
    }

    /// `http://host:port` of the admin face.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Most memory it has had resident so far, in MiB.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn peak_memory_mib(&self) -> u64 {
        proc_status_kib(self.pid(), "VmHWM:").expect("the server is running") / 1024
    }

    /// What it has written, newest lines last.
    pub fn log(&self) -> String {
        let lines = self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        lines.iter().fold(String::new(), |all, line| all + line + "\n")
    }

    /// Waits until it has written `text`: its endpoints come before the rest of what it says at the start.
    ///
    /// # Panics
    /// When it does not within half a minute.
    pub fn await_log(&self, text: &str) {
        let begin = Instant::now();
        while !self.log().contains(text) {
            assert!(begin.elapsed() < Duration::from_secs(30), "no {text:?} in: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it is still running.
    pub fn is_up(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// `GET /health` of the admin face.
    ///
    /// # Panics
    /// When there is no answer or it is not JSON.
    pub fn health(&self) -> serde_json::Value {
        let answer = crate::get(&self.admin, "/health").expect("the admin face answers");
        serde_json::from_slice(&answer.body).expect("health is JSON")
    }

    /// `kill -9`, and waits for the end.
    pub fn kill9(&mut self) {
        // An error means that it had ended already, which is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end (SIGTERM), without waiting.
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub fn sigterm(&self) {
        let send = format!("kill -TERM {}", self.pid());
        let sent = Command::new("sh").args(["-c", &send]).status().expect("sh runs");
        assert!(sent.success(), "the server could not be signalled; it said:\n{}", self.log());
    }

    /// Waits for its end at most `limit`; `None` when it still runs then.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let begin = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if begin.elapsed() < limit => {
                    std::thread::sleep(Duration::from_millis(20))
                }
                _ => return None,
            }
        }
    }

    /// SIGTERM, and waits for a clean end.
    ///
    /// # Panics
    /// When it does not end within half a minute, or not with status 0.
    pub fn stop(mut self) {
        self.sigterm();
        let status = self.wait(Duration::from_secs(30));
        assert!(status.is_some_and(|s| s.success()), "ended with {status:?}:\n{}", self.log());
    }

    /// Starts another on the same folders, once this one has been killed or stopped.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(mut self) -> Self {
        self.kill9();
        match self.launch.start() {
            Ok(server) => server,
            Err(refused) => panic!("no restart, {}:\n{}", refused.status, refused.said),
        }
    }

    fn wait_until_ready(&mut self, lines: &Receiver<String>) -> Result<(), ExitStatus> {
        let begin = Instant::now();
        while self.s3.is_empty() || self.admin.is_empty() {
            match lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => {
                    let url = line.split_whitespace().find(|word| word.starts_with("http://"));
                    let url = url.unwrap_or_default().trim_end_matches('/').to_owned();
                    match line.trim_start() {
                        text if text.starts_with("S3 endpoint") => self.s3 = url,
                        text if text.starts_with("Admin endpoint") => self.admin = url,
                        _ => {}
                    }
                }
                Err(RecvTimeoutError::Timeout) if begin.elapsed() < START_LIMIT => {}
                Err(RecvTimeoutError::Timeout) => {
                    let said = self.log();
                    self.kill9();
                    panic!("not ready in {START_LIMIT:?}; it said:\n{said}");
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let limit = START_LIMIT.saturating_sub(begin.elapsed());
                    match self.wait(limit) {
                        Some(status) => return Err(status),
                        None => panic!("it closed its output and goes on:\n{}", self.log()),
                    }
                }
            }
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the server's last words (process {}):\n{}", self.pid(), self.log());
        }
        self.kill9();
    }
}

/// Reads lines on a thread of its own until the pipe closes.
fn collect(
    pipe: impl Read + Send + 'static,
    log: Arc<Mutex<VecDeque<String>>>,
    told: Option<Sender<String>>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { break };
            if let Some(told) = &told {
                // Nobody listens any more once the server is ready.
                let _ = told.send(line.clone());
            }
            let mut lines = log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if lines.len() == LOG_LINES {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    })
}
