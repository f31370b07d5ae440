//! What `export` and `import` share.

use std::{error::Error, io, path::PathBuf, sync::Arc, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};

use crate::{
    config::Config,
    store::{self, OpenOptions, Store, StoreError, StoreUrl},
};

/// Bytes that are read or written at a time.
pub(super) const BUFFER: usize = 1 << 18;

/// How long a call may take at least. Nobody waits for a single answer here, and a store that has so much to do at a
/// time may well be slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// There is no store to work with.
#[derive(Debug, Error)]
enum NoStore {
    #[error(
        "STORE_URL: the store memory: ends with each program, so nothing can be moved out of it or into it"
    )]
    Memory,
    #[error("STORE_URL: there is no file {}", .0.display())]
    Missing(PathBuf),
    #[error("STORE_URL: the {0:?} store can't be opened")]
    Closed(StoreUrl, #[source] StoreError),
}

pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build()
}

/// What to do about a store that is not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    IsMade,
    /// A file with a wrong name would be an empty export, and nobody would notice.
    IsAnError,
}

pub(super) async fn open_store(config: &Config, missing: Missing) -> Result<Arc<dyn Store>, Box<dyn Error>> {
    match &config.store_url {
        StoreUrl::Memory => return Err(NoStore::Memory.into()),
        StoreUrl::Sqlite(path) if missing == Missing::IsAnError && !path.exists() => {
            return Err(NoStore::Missing(path.clone()).into());
        }
        _ => {}
    }
    let deadline = config.store_timeout.max(PATIENCE);
    let options = OpenOptions {
        connections: config.store_connections,
        deadline,
        password_file: config.pgpassword_file.clone(),
    };
    let store = store::open(&config.store_url, &options).await;
    Ok(store.map_err(|error| NoStore::Closed(config.store_url.clone(), error))?)
}

/// Counts links on a terminal; where standard error is none, it shows nothing.
pub(super) fn counter() -> ProgressBar {
    bar(ProgressBar::new_spinner(), "{human_pos} links, {elapsed}")
}

/// Shows how far a file of `size` bytes has been read, and a message.
pub(super) fn meter(size: u64) -> ProgressBar {
    bar(ProgressBar::new(size), "{wide_bar} {percent} %, {msg}, {eta} left")
}

fn bar(bar: ProgressBar, template: &str) -> ProgressBar {
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
