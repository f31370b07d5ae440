//! `urlshort import`: the links of a file into the store.

use std::{
    error::Error,
    fs::File,
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;
use thiserror::Error;
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{
    terminal::Printable,
    transfer::{self, Missing},
};
use crate::{
    clock::Clock,
    config::Config,
    policy::TargetPolicy,
    store::StoreError,
    transfer::{
        import::{Format, Importer, Outcome, Skip},
        reader::{self, Place, ReadError, Row},
    },
    web::router,
};

/// Links that go into the store at the same time. A commit then has many of them.
const CHUNK: usize = 512;

/// Bytes of a file that go into the store at the same time, as soon as they are more.
const CHUNK_BYTES: usize = 4 << 20;

/// Skipped links that are shown; `--report` has them all.
const SHOWN: usize = 20;

/// What is imported, and how.
#[derive(Args, Clone, Debug)]
pub struct ImportOptions {
    /// auto, jsonl, csv, yourls, shlink, kutt, bitly or chhoto
    #[arg(long, value_enum, default_value_t = Format::Auto, hide_possible_values = true)]
    pub format: Format,

    /// Only says what would be done
    #[arg(long)]
    pub dry_run: bool,

    /// File for what was skipped, and why: a JSON object a line
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
    #[error("the import stopped at {place}; run it again to go on")]
    Store { place: Place, source: StoreError },
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Takes over the links of a file. 0: all of them are in the store now. 1: some were skipped.
///
/// # Errors
/// Where the file can't be read to its end, or the store fails. What is in the store by then stays there.
pub fn run(config: &Config, options: &ImportOptions) -> Result<ExitCode, Box<dyn Error>> {
    let (input, size) = open(&options.file)?;
    let report = Report::create(options.report.as_deref())?;
    transfer::runtime()?.block_on(async {
        let mut policy = TargetPolicy::new(config.block_private_targets);
        if let Some(file) = &config.blocked_hosts {
            policy = policy.with_blocked_hosts(file.clone())?;
        }
        let missing = if options.dry_run { Missing::IsAnError } else { Missing::IsMade };
        let store = transfer::open_store(config, missing).await?;
        let importer = Importer {
            store: store.clone(),
            reserved: router::reserved_keys(),
            policy,
            own: config.base_url.clone(),
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
    let progress = size.map_or_else(transfer::counter, transfer::meter);
    let input = Metered { input, progress: size.is_some().then(|| progress.clone()) };
    // One chunk waits while another goes into the store and a third is read.
    let (chunks, mut waiting) = mpsc::channel(1);
    let reader = spawn_blocking(move || read(input, format, chunks));
    let mut result = Ok(());
    while let Some(rows) = waiting.recv().await {
        let first = rows.first().map_or(Place::Line(0), |row: &Row| row.place);
        match importer.take(rows).await {
            Ok(outcomes) => report.add(outcomes)?,
            Err(source) => {
                result = Err(ImportError::Store { place: first, source });
                break;
            }
        }
        progress.set_message(format!("{} links", report.taken()));
        if size.is_none() {
            progress.set_position(report.taken());
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

/// Reads the file and sends its rows in chunks, until nobody takes them any more.
fn read(input: impl Read, format: Format, chunks: mpsc::Sender<Vec<Row>>) -> Result<(), ReadError> {
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    let send =
        |chunk: &mut Vec<Row>| chunks.blocking_send(std::mem::take(chunk)).map_err(|_| ReadError::Stopped);
    let read = reader::read(input, format, Clock::system().now(), |row| {
        bytes += row.size;
        chunk.push(row);
        if chunk.len() == CHUNK || bytes >= CHUNK_BYTES {
            bytes = 0;
            send(&mut chunk)?;
        }
        Ok(())
    });
    // What came before the file turned out to be broken is as good as the rest.
    if !chunk.is_empty() {
        send(&mut chunk)?;
    }
    read
}

/// A reader that moves a progress bar.
struct Metered<R> {
    input: R,
    progress: Option<ProgressBar>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        if let Some(progress) = &self.progress {
            progress.inc(count as u64);
        }
        Ok(count)
    }
}

/// What became of the rows so far.
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

    fn taken(&self) -> u64 {
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

    fn skip(&mut self, Skip { place, key, reason }: &Skip) -> Result<(), ImportError> {
        self.skipped += 1;
        let key = key.as_ref().map(ToString::to_string);
        if self.shown.len() < SHOWN {
            let key = key.as_ref().map_or_else(String::new, |key| format!(", {key}"));
            self.shown.push(format!("{place}{key}: {}", Printable(reason)));
        }
        if let Some((path, file)) = &mut self.file {
            let (word, number) = place.as_pair();
            let line = json!({ word: number, "key": key, "reason": Printable(reason).to_string() });
            writeln!(file, "{line}").map_err(|error| ImportError::Report(path.clone(), error))?;
        }
        Ok(())
    }

    /// Shows what was skipped on standard error, and the counts on standard output.
    fn finish(&mut self, dry_run: bool) -> Result<(), ImportError> {
        let hidden = self.skipped - self.shown.len() as u64;
        for line in &self.shown {
            eprintln!("urlshort: skipped {line}");
        }
        if hidden > 0 {
            eprintln!("urlshort: skipped {hidden} more; --report FILE tells of all of them");
        }
        let verb = if dry_run { "to add" } else { "added" };
        let Self { added, present, skipped, .. } = self;
        // Nothing is left to do where standard output is closed.
        let _ = writeln!(io::stdout(), "{added} {verb}, {present} already there, {skipped} skipped");
        match &mut self.file {
            None => Ok(()),
            Some((path, file)) => file.flush().map_err(|error| ImportError::Report(path.clone(), error)),
        }
    }
}
