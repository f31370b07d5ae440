//! `urlshort export`: every link of the store to a file.

use std::{
    cell::Cell,
    error::Error,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::Args;
use thiserror::Error;

use super::{
    terminal::Printable,
    transfer::{self, Missing},
};
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

/// Writes a file that gets its name once it is complete.
async fn write_file(store: &dyn Store, format: Format, file: &Path) -> Result<u64, ExportError> {
    let mut partial = file.as_os_str().to_owned();
    partial.push(".partial");
    let output = create_private(Path::new(&partial)).map_err(ExportError::Output)?;
    let damaged = write(store, format, &output).await?;
    output.sync_all().and_then(|()| fs::rename(&partial, file)).map_err(ExportError::Output)?;
    Ok(damaged)
}

/// Creates a file that only its owner can read. A file of that name is removed first: an old one would keep its mode,
/// and a link would have its target overwritten.
fn create_private(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => OpenOptions::new().write(true).create_new(true).mode(0o600).open(path),
    }
}

/// Writes all links, and returns how many were left out because they are damaged.
async fn write(store: &dyn Store, format: Format, output: impl io::Write) -> Result<u64, ExportError> {
    let (bar, damaged) = (transfer::counter(), Cell::new(0));
    let output = BufWriter::with_capacity(transfer::BUFFER, output);
    let progress = |progress: Progress<'_>| match progress {
        Progress::Written(count) => bar.set_position(count),
        Progress::Damaged(link) => {
            damaged.set(damaged.get() + 1);
            let reason = format!("{}: damaged, not exported: {}", link.key, Chain(&link.error));
            bar.suspend(|| eprintln!("{}", Printable(reason)));
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

    #[tokio::test]
    async fn what_an_earlier_run_or_somebody_else_has_left_is_neither_kept_nor_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (file, partial) = (directory.path().join("links"), directory.path().join("links.partial"));
        let precious = directory.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, &partial).unwrap();
        write_file(&MemoryStore::default(), Format::Csv, &file).await.unwrap();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");

        fs::write(&partial, "old").unwrap();
        fs::set_permissions(&partial, fs::Permissions::from_mode(0o644)).unwrap();
        write_file(&MemoryStore::default(), Format::Csv, &file).await.unwrap();
        let metadata = fs::symlink_metadata(&file).unwrap();
        assert!(metadata.is_file());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }
}
