//! Code shared by the commands that open a store: runtime, deadlines and progress bars.

use std::{error::Error, io, path::PathBuf, sync::Arc, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};

use crate::{
    config::{StoreOptions, StoreUrl},
    store::{self, Store},
};

/// The size of the output buffer, in bytes.
pub(super) const BUFFER: usize = 1 << 18;

/// The minimum deadline for a store call.
///
/// No client is waiting for the result here, and a bulk transfer can slow the store down.
const MIN_DEADLINE: Duration = Duration::from_secs(30);

/// The error for a `STORE_URL` that a command can't use.
#[derive(Debug, Error)]
enum UnusableStore {
    #[error("STORE_URL: the memory: store lives inside the running service, so a command can't open it")]
    Memory,
    #[error("STORE_URL: there is no file {}", .0.display())]
    Missing(PathBuf),
}

pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build()
}

/// How to handle a missing SQLite file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MissingFile {
    Create,
    /// Fail, so that a misspelt name doesn't produce an empty export.
    Fail,
}

pub(super) async fn open_store(
    options: &StoreOptions,
    missing: MissingFile,
) -> Result<Arc<dyn Store>, Box<dyn Error>> {
    match &options.store_url {
        StoreUrl::Memory => return Err(UnusableStore::Memory.into()),
        StoreUrl::Sqlite(path) if missing == MissingFile::Fail && !path.exists() => {
            return Err(UnusableStore::Missing(path.clone()).into());
        }
        _ => {}
    }
    let options = StoreOptions { store_timeout: deadline(options), ..options.clone() };
    Ok(store::open_for_operator(&options).await?)
}

/// Formats a number of links, as in `1 link` or `2 links`.
pub(super) fn links(count: u64) -> String {
    format!("{count} link{}", if count == 1 { "" } else { "s" })
}

/// Returns the deadline for a store call.
pub(super) fn deadline(options: &StoreOptions) -> Duration {
    options.store_timeout.max(MIN_DEADLINE)
}

/// Returns a link counter, shown only on a terminal.
pub(super) fn counter() -> ProgressBar {
    bar(ProgressBar::new_spinner(), "{human_pos} links, {elapsed}")
}

/// Returns a progress bar for `size` bytes, shown only on a terminal.
pub(super) fn meter(size: u64) -> ProgressBar {
    bar(ProgressBar::new(size), "{wide_bar} {percent} %, {msg}, {eta} left")
}

fn bar(bar: ProgressBar, template: &str) -> ProgressBar {
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
