//! `urlshort export`: every link of the store to a file.

use std::{
    cell::Cell,
    error::Error,
    fs::OpenOptions,
    io::{self, BufWriter},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::Args;
use thiserror::Error;

use super::transfer::{self, Missing};
use crate::{
    clock::Clock,
    config::Config,
    observability::logging::Chain,
    store::Store,
    transfer::export::{self, ExportError, Format, Progress},
};

/// What is exported, and where to.
#[derive(Args, Clone, Debug)]
pub struct ExportOptions {
    /// jsonl has everything, hashes of passwords included; csv is for spreadsheets
    #[arg(long, value_enum, default_value_t = Format::Jsonl, hide_possible_values = true)]
    pub format: Format,

    /// File to write, readable for its owner alone; standard output where none is given
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Links were left out of an export.
#[derive(Debug, Error)]
#[error("{0} damaged links were not exported")]
struct DamagedLinks(u64);

/// Writes all links that can be read.
///
/// # Errors
/// Failures of the store and of the output, and damaged links.
pub fn run(config: &Config, options: &ExportOptions) -> Result<(), Box<dyn Error>> {
    transfer::runtime()?.block_on(async {
        let store = transfer::open_store(config, Missing::IsAnError).await?;
        let exported = match &options.output {
            None => write(&*store, options.format, io::stdout().lock()).await,
            Some(file) => write_file(&*store, options.format, file).await,
        };
        store.close().await;
        match exported? {
            0 => Ok(()),
            damaged => Err(DamagedLinks(damaged).into()),
        }
    })
}

/// Writes a file that bears its name only once it is complete.
async fn write_file(store: &dyn Store, format: Format, file: &Path) -> Result<u64, ExportError> {
    let mut partial = file.as_os_str().to_owned();
    partial.push(".partial");
    let output = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial);
    let output = output.map_err(ExportError::Output)?;
    let damaged = write(store, format, &output).await?;
    output.sync_all().and_then(|()| std::fs::rename(&partial, file)).map_err(ExportError::Output)?;
    Ok(damaged)
}

/// Writes all links, and returns how many were left out because they are damaged.
async fn write(store: &dyn Store, format: Format, output: impl io::Write) -> Result<u64, ExportError> {
    let (bar, damaged) = (transfer::counter(), Cell::new(0));
    let output = BufWriter::with_capacity(transfer::BUFFER, output);
    let progress = |progress: Progress<'_>| match progress {
        Progress::Written(count) => bar.set_position(count),
        Progress::Damaged(link) => {
            damaged.set(damaged.get() + 1);
            let key = link.key.escape_debug();
            bar.suspend(|| eprintln!("{key}: damaged, not exported: {}", Chain(&link.error)));
        }
    };
    let exported = export::export(store, format, Clock::system().now(), output, progress).await;
    bar.finish_and_clear();
    exported.map(|_| damaged.get())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn a_file_is_for_its_owner_alone_and_replaces_the_last_one() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("links.csv");
        std::fs::write(&file, "old").unwrap();
        write_file(&MemoryStore::default(), Format::Csv, &file).await.unwrap();
        assert!(std::fs::read_to_string(&file).unwrap().starts_with("key,target,"));
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
