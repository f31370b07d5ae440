//! `urlshort export`: writes all links to a file.

use std::{
    cell::Cell,
    error::Error,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::{
    Args, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use thiserror::Error;

use super::{
    terminal::Printable,
    transfer::{self, MissingFile},
};
use crate::{
    clock::Clock,
    config::Config,
    observability::logging::Chain,
    store::Store,
    transfer::{
        Format,
        export::{self, ExportError, Progress},
    },
};

/// The options for `urlshort export`.
#[derive(Args, Clone, Debug)]
pub struct ExportOptions {
    /// jsonl contains everything, including password hashes; csv is for spreadsheets
    #[arg(long, value_parser = format_parser(), default_value = "jsonl", hide_possible_values = true)]
    pub format: Format,

    /// File to write, readable only by its owner; by default, standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Returns a parser for the formats that can be exported.
fn format_parser() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(["jsonl", "csv"]).try_map(|name| Format::from_str(&name, false))
}

/// The error for an export that left out damaged links.
#[derive(Debug, Error)]
#[error("{0} damaged links were not exported")]
struct DamagedLinks(u64);

/// The counts of exported and damaged links.
struct Exported {
    written: u64,
    damaged: u64,
}

/// Writes all readable links, and prints their number to standard error.
///
/// # Errors
/// An error from the store or the output, or an error if any links were damaged.
pub fn run(config: &Config, options: &ExportOptions) -> Result<(), Box<dyn Error>> {
    transfer::runtime()?.block_on(async {
        let store = transfer::open_store(&config.store, MissingFile::Fail).await?;
        let exported = match &options.output {
            None => write(&*store, options.format, io::stdout().lock()).await,
            Some(file) => write_file(&*store, options.format, file).await,
        };
        store.close().await;
        let Exported { written, damaged } = exported?;
        let place = match &options.output {
            None => "standard output".into(),
            Some(file) => file.display().to_string(),
        };
        eprintln!("urlshort: exported {} to {}", transfer::links(written), Printable(place));
        match damaged {
            0 => Ok(()),
            damaged => Err(DamagedLinks(damaged).into()),
        }
    })
}

/// Writes to a temporary file, and renames it to `file` on success.
async fn write_file(store: &dyn Store, format: Format, file: &Path) -> Result<Exported, ExportError> {
    let mut partial = file.as_os_str().to_owned();
    partial.push(".partial");
    let output = create_private(Path::new(&partial))?;
    let exported = write(store, format, &output).await?;
    output.sync_all().and_then(|()| fs::rename(&partial, file))?;
    Ok(exported)
}

/// Creates a file that only its owner can read.
///
/// An existing file is removed first. Otherwise, the export could be written to a file that others can read, or through
/// a symbolic link.
fn create_private(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => OpenOptions::new().write(true).create_new(true).mode(0o600).open(path),
    }
}

async fn write(store: &dyn Store, format: Format, output: impl io::Write) -> Result<Exported, ExportError> {
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
    let written = export::export(store, format, Clock::system().now(), output, progress).await;
    bar.finish_and_clear();
    Ok(Exported { written: written?, damaged: damaged.get() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn a_new_file_is_private_and_replaces_the_old_one() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("links.csv");
        std::fs::write(&file, "old").unwrap();
        write_file(&MemoryStore::default(), Format::Csv, &file).await.unwrap();
        assert!(std::fs::read_to_string(&file).unwrap().starts_with("key,target,"));
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_partial_file_or_symbolic_link_is_removed_first() {
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
