//! `urlshort import`: imports the links in a file into the store.

use std::{
    error::Error,
    fs::File,
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::Args;
use serde_json::json;
use thiserror::Error;
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{
    terminal::Printable,
    transfer::{self, MissingFile},
};
use crate::{
    blocked_hosts::BlockedHosts,
    clock::Clock,
    config::Config,
    links::all_blocked_hosts,
    policy::TargetPolicy,
    store::StoreError,
    transfer::{
        Format,
        import::{Importer, Outcome, Skip},
        reader,
        row::{Position, ReadError, Row},
    },
    web::router,
};

/// The maximum number of rows in a batch. All rows in a batch are stored concurrently.
const BATCH: usize = 512;

/// The size in bytes at which a batch is stored, even if it has fewer than [`BATCH`] rows.
const BATCH_BYTES: usize = 4 << 20;

/// The maximum number of skipped rows to print. `--report` lists all of them.
const SHOWN: usize = 20;

/// The options for `urlshort import`.
#[derive(Args, Clone, Debug)]
pub struct ImportOptions {
    /// auto, jsonl, csv, yourls, shlink, kutt, bitly or chhoto
    #[arg(long, value_enum, default_value_t = Format::Auto, hide_possible_values = true)]
    pub format: Format,

    /// Only print what would be imported
    #[arg(long)]
    pub dry_run: bool,

    /// File for the skipped links and the reasons, one JSON object per line
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// File to read; - is standard input
    pub file: PathBuf,
}

#[derive(Debug, Error)]
enum ImportError {
    #[error("{} can't be opened", .0.display())]
    Open(PathBuf, #[source] io::Error),
    #[error("{} can't be written", .0.display())]
    Report(PathBuf, #[source] io::Error),
    #[error("the import stopped at {position}; run it again to continue")]
    Store { position: Position, source: StoreError },
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Imports a file.
///
/// The exit code is 0 if all of its links are now in the store, and 1 if some were skipped.
///
/// # Errors
/// An error from reading the file, or from the store. Links imported before the error stay in the store.
pub fn run(config: &Config, options: &ImportOptions) -> Result<ExitCode, Box<dyn Error>> {
    let (input, size) = open(&options.file)?;
    let report = Report::create(options.report.as_deref())?;
    transfer::runtime()?.block_on(async {
        let blocked = Arc::<BlockedHosts>::default();
        let policy = TargetPolicy::new(&config.policy, blocked.clone())?;
        let missing = if options.dry_run { MissingFile::Fail } else { MissingFile::Create };
        let store = transfer::open_store(&config.store, missing).await?;
        blocked.set_stored(all_blocked_hosts(&*store).await?);
        let importer = Importer {
            store: store.clone(),
            reserved: router::reserved_keys(),
            policy,
            base_url: config.server.base_url.clone(),
            dry_run: options.dry_run,
        };
        let imported = import(importer, input, size, options.format, report).await;
        store.close().await;
        Ok(imported?)
    })
}

fn open(file: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>), ImportError> {
    if file == Path::new("-") {
        return Ok((Box::new(io::stdin()), None));
    }
    let open = || {
        let file = File::open(file)?;
        let metadata = file.metadata()?;
        Ok((file, metadata.is_file().then_some(metadata.len())))
    };
    let (file, size) = open().map_err(|error| ImportError::Open(file.into(), error))?;
    Ok((Box::new(file), size))
}

async fn import(
    importer: Importer,
    input: Box<dyn Read + Send>,
    size: Option<u64>,
    format: Format,
    mut report: Report,
) -> Result<ExitCode, ImportError> {
    let (progress, input): (_, Box<dyn Read + Send>) = match size.map(transfer::meter) {
        Some(progress) => (progress.clone(), Box::new(progress.wrap_read(input))),
        None => (transfer::counter(), input),
    };
    // While one batch is being stored, the next is queued, and a third is being read.
    let (batches, mut waiting) = mpsc::channel(1);
    let reader = spawn_blocking(move || read(input, format, batches));
    let mut result = Ok(());
    while let Some(rows) = waiting.recv().await {
        let position = rows.first().map_or(Position::Line(0), |row: &Row| row.position);
        match importer.import(rows).await {
            Ok(outcomes) => report.add(outcomes)?,
            Err(source) => {
                result = Err(ImportError::Store { position, source });
                break;
            }
        }
        progress.set_message(format!("{} links", report.total()));
        if size.is_none() {
            progress.set_position(report.total());
        }
    }
    drop(waiting);
    progress.finish_and_clear();
    let read = reader.await.unwrap_or_else(|panic| Err(ReadError::Io(io::Error::other(panic))));
    report.finish(importer.dry_run)?;
    result?;
    read?;
    Ok(if report.skipped == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads the input and sends its rows in batches.
fn read(input: impl Read, format: Format, batches: mpsc::Sender<Vec<Row>>) -> Result<(), ReadError> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    let send =
        |batch: &mut Vec<Row>| batches.blocking_send(std::mem::take(batch)).map_err(|_| ReadError::Stopped);
    let read = reader::read(input, format, Clock::system().now(), |row| {
        bytes += row.size;
        batch.push(row);
        if batch.len() == BATCH || bytes >= BATCH_BYTES {
            bytes = 0;
            send(&mut batch)?;
        }
        Ok(())
    });
    // If reading failed, still import the rows before the error.
    if !batch.is_empty() {
        send(&mut batch)?;
    }
    read
}

/// The counts and the skipped rows of an import.
#[derive(Default)]
struct Report {
    added: u64,
    present: u64,
    skipped: u64,
    file: Option<(PathBuf, BufWriter<File>)>,
    shown: Vec<String>,
}

impl Report {
    fn create(path: Option<&Path>) -> Result<Self, ImportError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let file = File::create(path).map_err(|error| ImportError::Report(path.into(), error))?;
        Ok(Self { file: Some((path.into(), BufWriter::new(file))), ..Self::default() })
    }

    fn total(&self) -> u64 {
        self.added + self.present + self.skipped
    }

    fn add(&mut self, outcomes: Vec<Outcome>) -> Result<(), ImportError> {
        for outcome in outcomes {
            match outcome {
                Outcome::Added => self.added += 1,
                Outcome::Present => self.present += 1,
                Outcome::Skipped(skip) => self.skip(&skip)?,
            }
        }
        Ok(())
    }

    fn skip(&mut self, Skip { position, key, reason }: &Skip) -> Result<(), ImportError> {
        self.skipped += 1;
        let key = key.as_ref().map(ToString::to_string);
        if self.shown.len() < SHOWN {
            let key = key.as_ref().map_or_else(String::new, |key| format!(", {key}"));
            self.shown.push(format!("{position}{key}: {}", Printable(reason)));
        }
        if let Some((path, file)) = &mut self.file {
            let (unit, number) = position.as_pair();
            let line = json!({ unit: number, "key": key, "reason": Printable(reason).to_string() });
            writeln!(file, "{line}").map_err(|error| ImportError::Report(path.clone(), error))?;
        }
        Ok(())
    }

    /// Prints skipped rows to standard error, and the counts to standard output.
    fn finish(&mut self, dry_run: bool) -> Result<(), ImportError> {
        let hidden = self.skipped - self.shown.len() as u64;
        for line in &self.shown {
            eprintln!("urlshort: skipped {line}");
        }
        if hidden > 0 {
            eprintln!("urlshort: skipped {hidden} more; --report FILE lists all of them");
        }
        let verb = if dry_run { "to add" } else { "added" };
        let Self { added, present, skipped, .. } = self;
        // Ignore a closed standard output: the links are already in the store.
        let _ = writeln!(io::stdout(), "{added} {verb}, {present} already there, {skipped} skipped");
        match &mut self.file {
            None => Ok(()),
            Some((path, file)) => file.flush().map_err(|error| ImportError::Report(path.clone(), error)),
        }
    }
}
