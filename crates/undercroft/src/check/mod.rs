//! `undercroft check`: verifies a store that is stopped, and says what is damaged, what that means, and what repairs
//! it. It changes nothing but what opening the metadata changes (its journal is replayed). The checking itself is in
//! `shards::check` (files) and `objects::check` (records); here they are brought together.

mod document;
mod drives;
mod render;

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use kv::Kv as _;
use objects::check::{Copies, ProblemKind};
use placement::Layout;
use runtime::Runtime;
use runtime::disk::{Disk, RealDisk};
use shards::OpenError;
use shards::check::DriveCheck;
use types::DriveId;

use crate::cluster::{AtRest, drive_dirs, metadata_at_rest};
use crate::config::{Mode, serve_places};
use document::{Document, Drive, Problem};

/// `check`: where the store is, as for `serve` or `dev`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct CheckArgs {
    /// A drive of `serve`. Repeat it for each drive: one that is left out counts as missing.
    #[arg(
        long = "data",
        value_name = "DIR",
        required_unless_present = "dir",
        conflicts_with = "dir"
    )]
    data: Vec<PathBuf>,
    /// Where metadata is. [default: meta inside the --data directory that has one]
    #[arg(long, value_name = "DIR", conflicts_with = "dir")]
    meta: Option<PathBuf>,
    /// The directory of `dev`, with all drives and the metadata.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Prints one JSON document instead of a report for people.
    #[arg(long)]
    json: bool,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  clean
  1  something is damaged, and every object can be read
  2  bytes of objects are lost, or records are wrong
  3  not checked: the report says why

The store must be stopped. Nothing is changed on its drives.";

/// The check could not be made.
const NOT_CHECKED: u8 = 3;

/// Prints what is wrong with a command line. The exit code is clap's own, but for `check`, whose 2 means something
/// else.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // There is nobody to tell when standard error is closed.
    let _ = error.print();
    let is_check = std::env::args_os().nth(1).is_some_and(|name| name == "check");
    match error.exit_code() {
        0 => ExitCode::SUCCESS,
        _ if is_check => ExitCode::from(NOT_CHECKED),
        code => ExitCode::from(u8::try_from(code).unwrap_or(1)),
    }
}

/// Checks, prints, and gives the exit code: 0 clean, 1 damaged and all readable, 2 objects lost or records wrong,
/// 3 not checked.
pub(crate) fn run(args: CheckArgs) -> ExitCode {
    let json = args.json;
    let mut document = Document::default();
    if let Err(error) = check(args, &mut document) {
        document.error = Some(format!("{error:#}"));
    }
    document.conclude();
    let text = if json { document.json() } else { render::text(&document) };
    if let Err(error) = std::io::stdout().write_all(text.as_bytes()) {
        eprintln!("undercroft: the report cannot be printed: {error}");
        return ExitCode::from(NOT_CHECKED);
    }
    ExitCode::from(document.exit_code())
}

fn check(args: CheckArgs, document: &mut Document) -> anyhow::Result<()> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let (mode, meta) = match args.dir {
        Some(dir) => {
            let meta = dir.join("meta");
            // No node more than there is.
            (Mode::Dev { dir, nodes: Some(0) }, meta)
        }
        None => {
            let (data, meta) = serve_places(&args.data, args.meta.as_deref())?;
            (Mode::Serve { data, accept_empty: Vec::new() }, meta)
        }
    };
    let executor = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the system gives no timer")?;
    document.metadata = meta.display().to_string();
    // Drives are looked at before the metadata is opened: whoever runs there is not to be disturbed.
    let found = Finder::new(&disk, &mode)?;
    let metadata = executor.block_on(metadata_at_rest(&*disk, &meta, Runtime::real()));
    let layout = metadata.as_ref().ok().and_then(|at_rest| at_rest.layout.clone());
    let found = found.with(&disk, &mode, layout.as_ref())?;
    if found.drives.is_empty() && metadata.is_err() {
        return metadata.map(|_| ()).context("no drive was found either");
    }
    let mut copies = Copies::default();
    let cluster = metadata.as_ref().ok().and_then(|at| at.record.as_ref());
    let cluster = cluster.map(|record| record.id.clone());
    let records = metadata.as_ref().ok().map(|_| (cluster.as_deref(), layout.as_ref()));
    // No store starts before the end, not even without its metadata.
    let _locked = verify_drives(found, records, &mut copies, document);
    let AtRest { kv, .. } =
        metadata.context("only the drives were checked, and not what is on them for whom")?;
    executor
        .block_on(async {
            let reader = kv.snapshot().await?;
            let sessions = kv.sessions().await?;
            let mut report = |problem| document.problems.push(drives::of_record(problem));
            let counts =
                objects::check::check(&*reader, &sessions, Some(&mut copies), &mut report).await?;
            document.count(&counts);
            anyhow::Ok(())
        })
        .context("the metadata could not be read to its end")?;
    document.tell_missing(layout.as_ref());
    Ok(())
}

/// What is at a place where a drive may be.
struct Place {
    path: PathBuf,
    hint: String,
    drive: Result<DriveCheck, OpenError>,
}

/// The drives that were found, locked.
struct Finder {
    drives: Vec<Place>,
}

impl Finder {
    /// Those that can be found without metadata.
    fn new(disk: &Arc<dyn Disk>, mode: &Mode) -> anyhow::Result<Self> {
        Self { drives: Vec::new() }.with(disk, mode, None)
    }

    /// And those that the layout knows of.
    fn with(
        mut self,
        disk: &Arc<dyn Disk>,
        mode: &Mode,
        layout: Option<&Layout>,
    ) -> anyhow::Result<Self> {
        for (path, hint) in drive_dirs(&**disk, mode, layout)? {
            if self.drives.iter().any(|place| place.path == path) {
                continue;
            }
            let drive = DriveCheck::open(disk.clone(), &path);
            if let Err(error @ OpenError::Locked { .. }) = drive {
                return Err(error).context(
                    "a store that is running cannot be checked: stop it, and check again. Nothing was changed",
                );
            }
            self.drives.push(Place { path, hint, drive });
        }
        Ok(self)
    }
}

impl Place {
    fn id(&self) -> Option<DriveId> {
        self.drive.as_ref().ok().map(|drive| drive.identity().drive)
    }
}

/// Verifies all drives; `records` is what the metadata says of them, if it can be read. They stay locked.
fn verify_drives(
    found: Finder,
    records: Option<(Option<&str>, Option<&Layout>)>,
    copies: &mut Copies,
    document: &mut Document,
) -> Vec<DriveCheck> {
    let (cluster, layout) = records.unwrap_or_default();
    let total = found.drives.len();
    let present: BTreeSet<DriveId> = found.drives.iter().filter_map(Place::id).collect();
    let mut seen = BTreeSet::new();
    let mut locked = Vec::new();
    for (number, place) in found.drives.into_iter().enumerate() {
        let shown = place.path.display().to_string();
        let check = match place.drive {
            Ok(check) => check,
            Err(error) => {
                let known = layout.iter().flat_map(|layout| &layout.drives);
                let mut known = known.filter(|drive| !present.contains(&drive.id));
                let last_here = known.find(|drive| drive.path_hint == place.hint);
                document.unusable(last_here.map(|drive| drive.id), &shown, &error);
                continue;
            }
        };
        let identity = check.identity().clone();
        if cluster.is_some_and(|cluster| cluster != identity.cluster) {
            document.foreign(&identity, &shown);
            continue;
        }
        if !seen.insert(identity.drive) {
            document.twice(&identity, &shown);
            continue;
        }
        copies.add_drive(identity.drive);
        let progress = std::io::stderr()
            .is_terminal()
            .then(|| format!("Drive {} of {total}, {shown}", number + 1));
        let mut observer = drives::Collector::new(
            identity.drive,
            &place.path,
            copies,
            document,
            progress,
            records.is_none(),
        );
        let counts = check.run(&mut observer);
        let live = observer.finish();
        document.drives.push(Drive::checked(identity.drive, shown, counts, live));
        locked.push(check);
    }
    locked
}

impl Document {
    /// Drives that the layout has and that were not looked at, if nothing else has told of them.
    fn tell_missing(&mut self, layout: Option<&Layout>) {
        let checked: BTreeSet<String> = self
            .drives
            .iter()
            .filter(|d| d.state == "checked")
            .filter_map(|d| d.id.clone())
            .collect();
        let told: BTreeSet<String> = self
            .problems
            .iter()
            .filter(|problem| problem.kind == ProblemKind::DriveMissing.name())
            .filter_map(|problem| problem.drive.clone())
            .collect();
        for drive in layout.iter().flat_map(|layout| &layout.drives) {
            let id = drive.id.to_string();
            if checked.contains(&id) {
                continue;
            }
            if !self.drives.iter().any(|known| known.id.as_ref() == Some(&id)) {
                self.drives.push(Drive::missing(drive.id, drive.path_hint.clone()));
            }
            if !told.contains(&id) {
                let message = format!(
                    "Drive {id} could not be looked at; it was last at {}. No record names a copy on it.",
                    drive.path_hint
                );
                let kind = ProblemKind::DriveMissing;
                let problem = objects::check::Problem::new(kind, message);
                self.problems.push(Problem { drive: Some(id), ..drives::of_record(problem) });
            }
        }
    }
}
