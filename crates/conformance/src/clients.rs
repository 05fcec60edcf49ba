//! Client programs: found where `cargo xtask setup` puts them, run with an environment that holds nothing but
//! what the test says, and ended by their id when they take too long.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::accounts::{OTHER, ROOT};
use crate::binary::repository;
use crate::scratch::Scratch;
use crate::server::Server;

/// Longest run of one client program.
const RUN_LIMIT: Duration = Duration::from_secs(540);

/// A client program about to run.
#[derive(Debug)]
pub struct Client {
    name: String,
    command: Command,
}

/// A client program that has ended.
#[derive(Debug)]
pub struct Finished {
    name: String,
    status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Client {
    /// `clients/SCRIPT` under Python, against `server`.
    pub fn script(script: &str, server: &Server, scratch: &Scratch) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script);
        Self::new(script, installed("python"), server, scratch).arg("-B").arg(file.display())
    }

    /// A program of the Python environment (`aws`, `s3cmd`), against `server`.
    pub fn python_program(name: &str, server: &Server, scratch: &Scratch) -> Self {
        Self::new(name, installed("python"), server, scratch)
            .arg("-B")
            .arg(installed(name).display())
    }

    /// A program of the system (`rclone`, `restic`), against `server`.
    ///
    /// # Panics
    /// When it is not installed.
    pub fn system_program(name: &str, server: &Server, scratch: &Scratch) -> Self {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&paths).map(|dir| dir.join(name)).find(|p| p.is_file());
        let Some(program) = found else { panic!("{name} is missing: run `cargo xtask setup`") };
        Self::new(name, program, server, scratch)
    }

    fn new(name: &str, program: PathBuf, server: &Server, scratch: &Scratch) -> Self {
        let mut command = Command::new(program);
        let home = scratch.folder("home");
        command.current_dir(scratch.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", &home).env("TMPDIR", scratch.folder("tmp")).env("LC_ALL", "C.UTF-8");
        command.env("AWS_CONFIG_FILE", home.join("none")).env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("AWS_SHARED_CREDENTIALS_FILE", home.join("none"));
        command.env("AWS_ACCESS_KEY_ID", ROOT.access_key_id);
        command.env("AWS_SECRET_ACCESS_KEY", ROOT.secret_access_key);
        command.env("AWS_DEFAULT_REGION", "us-east-1").env("AWS_ENDPOINT_URL", server.s3());
        command.env("UC_ENDPOINT", server.s3()).env("UC_ADMIN", server.admin());
        command.env("UC_SERVER_PID", server.pid().to_string());
        command
            .env("UC_OTHER_KEY", OTHER.access_key_id)
            .env("UC_OTHER_SECRET", OTHER.secret_access_key);
        Self { name: name.to_owned(), command }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, text: impl std::fmt::Display) -> Self {
        self.command.arg(text.to_string());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args(mut self, texts: &[&str]) -> Self {
        self.command.args(texts);
        self
    }

    /// One more variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it with its output to nowhere, for programs that a test leaves running.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(mut self) -> Child {
        let output = || Stdio::null();
        let child = self.command.stdin(output()).stdout(output()).stderr(Stdio::inherit()).spawn();
        child.expect("the client can be started")
    }

    /// Starts it with all that it says in the file at `path`, for programs that a test leaves running.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn_to(mut self, path: &Path) -> Child {
        let file = std::fs::File::create(path).expect("a file can be made");
        let errors = file.try_clone().expect("a file has a second handle");
        let child = self.command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
        child.expect("the client can be started")
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started or takes longer than nine minutes.
    pub fn run(mut self) -> Finished {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("the client can be started");
        let output = drain(child.stdout.take());
        let errors = drain(child.stderr.take());
        let begin = Instant::now();
        let status = loop {
            match child.try_wait().expect("the client is our child") {
                Some(status) => break Some(status),
                None if begin.elapsed() > RUN_LIMIT => break None,
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let stdout = output.join().unwrap_or_default();
        let stderr = errors.join().unwrap_or_default();
        let Some(status) = status else {
            panic!("{} took over {RUN_LIMIT:?}\n{stdout}\n{stderr}", self.name);
        };
        Finished { name: self.name, status, stdout, stderr }
    }

    /// Runs it and expects success.
    ///
    /// # Panics
    /// When it fails, with all that it said.
    pub fn succeed(self) -> Finished {
        let finished = self.run();
        assert!(finished.status.success(), "{finished}");
        finished
    }
}

impl Finished {
    /// The last line that it wrote, as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn report(&self) -> serde_json::Value {
        let last = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// Whether it ended with status 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, status, stdout, stderr } = self;
        write!(f, "{name}: {status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// Reads a pipe to its end on a thread of its own. What could be read is what the report shows.
fn drain<R: std::io::Read + Send + 'static>(pipe: Option<R>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A program of the repository's Python environment.
fn installed(name: &str) -> PathBuf {
    let path = repository().join(".venv/bin").join(name);
    assert!(path.exists(), "{} is missing: run `cargo xtask setup`", path.display());
    path
}
